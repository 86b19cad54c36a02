/* SPDX-License-Identifier: Apache-2.0 */
/* Masking: steps whose features all equal mask_value are set to zero (and masked: see keras/masks.c). */
#include "layers/masking.h"

#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"

struct masking_config {
    double mask_value;
};

double masking_value(const void *config)
{
    return ((const struct masking_config *)config)->mask_value;
}

static void masking_read(struct config_reader *reader, void *config, int variant)
{
    struct masking_config *c = config;
    (void)variant;
    c->mask_value = config_double(reader, "mask_value", 0.0);
}

static int masking_shape(struct layer_shape *s)
{
    if (s->inputs[0].rank < 2)
        return layer_shape_fail(s, "The input should have features, but has %d dimensions", s->inputs[0].rank);
    s->outputs[0] = s->inputs[0];
    return 0;
}

static int masking_reference(const struct layer_run *run)
{
    const struct masking_config *c = run->config;
    const struct tensor *x = run->inputs[0];
    int64_t width = x->shape.dims[x->shape.rank - 1];
    for (int64_t i = 0; width && i < x->count / width; i++) {
        bool kept = false;
        for (int64_t k = 0; k < width; k++)
            kept = kept || x->data[i * width + k] != (float)c->mask_value;
        for (int64_t k = 0; k < width; k++)
            run->outputs[0]->data[i * width + k] = x->data[i * width + k] * (kept ? 1.0f : 0.0f);
    }
    return 0;
}

static int masking_lower(struct lowering *l, const struct keras_call *call)
{
    const struct masking_config *c = call->layer->config;
    struct lowered x = lower_input_keras(l, call, 0);
    struct lowered differs = lower_scalar(l, call, TORCH_NOT_EQUAL_SCALAR, x, c->mask_value);
    struct torch_attr attrs[] = {attr_int("dim", -1), attr_bool("keepdim", true)};
    struct shape shape = lower_shape(l, x.id);
    if (shape.rank > 0)
        shape.dims[shape.rank - 1] = 1;
    struct lowered kept = {.layout = x.layout};
    kept.id = lower_function(l, call, TORCH_ANY, differs.id, 2, attrs, shape, DTYPE_BOOL);
    return lower_output(l, call, 0, lower_binary(l, call, TORCH_MUL, x, kept));
}

const struct layer_handler masking_handler = {
    .config_size = sizeof(struct masking_config),
    .read = masking_read,
    .shape = masking_shape,
    .reference = masking_reference,
    .lower = masking_lower,
};
