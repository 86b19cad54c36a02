/* SPDX-License-Identifier: Apache-2.0 */
/* CosineSimilarity: Merge of Keras 1 in mode "cos": x·y / max(sqrt(x·x · y·y), 1e-7), with an axis of size 1 behind the batch. */
#include <math.h>

#include "layers/axes.h"
#include "layers/compose.h"
#include "layers/layer.h"

static const double least = 1e-7;

struct cosine_config {
    int64_t axes[2];
};

static void cosine_read(struct config_reader *reader, void *config, int variant)
{
    struct cosine_config *c = config;
    (void)variant;
    config_ints(reader, "axes", 2, c->axes, -1);
}

static int cosine_shape(struct layer_shape *s)
{
    const struct cosine_config *c = s->config;
    if (s->input_count != 2)
        return layer_shape_fail(s, "The cosine takes two tensors, not %d", s->input_count);
    const struct shape *x = &s->inputs[0], *y = &s->inputs[1];
    if (x->rank != 2 || y->rank != 2 || axis_resolve(c->axes[0], 2) != 1 || axis_resolve(c->axes[1], 2) != 1)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_CONFIG, "mode",
                         "The cosine is supported between samples of features only (rank 2, axis 1)");
    if (x->dims[1] != DIM_UNKNOWN && y->dims[1] != DIM_UNKNOWN && x->dims[1] != y->dims[1])
        return layer_shape_fail(s, "The samples have %lld and %lld features", (long long)x->dims[1],
                                (long long)y->dims[1]);
    s->outputs[0] = shape_of(3, (const int64_t[]){x->dims[0], 1, 1});
    return 0;
}

static int cosine_reference(const struct layer_run *run)
{
    const struct tensor *x = run->inputs[0], *y = run->inputs[1];
    int64_t n = x->shape.dims[1];
    if (n != y->shape.dims[1])
        return h5pt_fail(run->err, H5PT_SHAPE_MISMATCH, run->layer->path, "The samples differ in size");
    for (int64_t row = 0; row < x->shape.dims[0]; row++) {
        double xy = 0, xx = 0, yy = 0;
        for (int64_t i = row * n; i < (row + 1) * n; i++) {
            xy += (double)x->data[i] * (double)y->data[i];
            xx += (double)x->data[i] * (double)x->data[i];
            yy += (double)y->data[i] * (double)y->data[i];
        }
        run->outputs[0]->data[row] = (float)(xy / fmax(sqrt(xx * yy), least));
    }
    return 0;
}

/* Their product summed over the features, which keep size 1. */
static struct lowered dot(struct lowering *l, const struct keras_call *call, struct lowered x, struct lowered y)
{
    return lower_reduce(l, call, TORCH_SUM, lower_binary(l, call, TORCH_MUL, x, y), 1, (const int[]){1});
}

static int cosine_lower(struct lowering *l, const struct keras_call *call)
{
    struct lowered x = lower_input_keras(l, call, 0), y = lower_input_keras(l, call, 1);
    if (x.id < 0 || y.id < 0)
        return -1;
    struct lowered norm = lower_binary(l, call, TORCH_MUL, dot(l, call, x, x), dot(l, call, y, y));
    norm = lower_pointwise(l, call, norm, TORCH_SQRT, NULL, 0, NULL);
    norm = lower_clamp(l, call, norm, least, (double)INFINITY);
    struct lowered z = lower_binary(l, call, TORCH_DIV, dot(l, call, x, y), norm);
    const struct torch_attr dim = attr_int("dim", 1);
    z.id = lower_function(l, call, TORCH_UNSQUEEZE, z.id, 1, &dim, call->outputs[0]->shape, DTYPE_F32);
    z.layout = layout_keras(3);
    return lower_output(l, call, 0, z);
}

const struct layer_handler cosine_handler = {
    .config_size = sizeof(struct cosine_config),
    .read = cosine_read,
    .shape = cosine_shape,
    .reference = cosine_reference,
    .lower = cosine_lower,
};
