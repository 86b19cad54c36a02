/* SPDX-License-Identifier: Apache-2.0 */
/* Layers that do something in training only. At inference each is the identity; where torch has the same module it is kept,
 * so that the converted model can be trained on. The variant is one of enum dropout_variant. */
#include <string.h>

#include "layers/layer.h"
#include "layers/lower.h"
#include "layers/variants.h"

struct dropout_config {
    enum dropout_variant variant;
    double rate;
    bool whole; /* no noise_shape: each element is dropped by itself */
};

static void dropout_read(struct config_reader *reader, void *config, int variant)
{
    struct dropout_config *c = config;
    c->variant = (enum dropout_variant)variant;
    c->whole = true;
    switch (c->variant) {
    case DROPOUT_SPATIAL2:
    case DROPOUT_SPATIAL3:
        (void)config_data_format(reader);
        /* fall through */
    case DROPOUT_PLAIN:
    case DROPOUT_SPATIAL1:
    case DROPOUT_ALPHA:
    case DROPOUT_GAUSSIAN:
        c->rate = config_double(reader, "rate", 0);
        if (!(c->rate >= 0 && c->rate <= 1))
            config_refuse(reader, H5PT_CONFIG_INVALID, "rate", "The rate %g is not between 0 and 1", c->rate);
        /* Spatial layers make their own shape of noise and ignore this one. */
        c->whole = !config_get(reader, "noise_shape") || c->variant == DROPOUT_SPATIAL1 ||
                   c->variant == DROPOUT_SPATIAL2 || c->variant == DROPOUT_SPATIAL3;
        break;
    case DROPOUT_NOISE: config_ignore(reader, "stddev"); break;
    case DROPOUT_REGULARIZATION: config_ignore(reader, "l1 l2"); break;
    case DROPOUT_IDENTITY: break;
    }
}

static int dropout_shape(struct layer_shape *s)
{
    s->outputs[0] = s->inputs[0];
    if (s->layer->class->flags & LAYER_ANY_DTYPE)
        s->output_dtypes[0] = s->input_dtypes[0];
    return 0;
}

static int dropout_reference(const struct layer_run *run)
{
    memcpy(run->outputs[0]->data, run->inputs[0]->data, (size_t)run->inputs[0]->count * sizeof(float));
    return 0;
}

/* torch's module for the layer on a value in this layout; false when there is none. nn.Dropout1d, 2d and 3d drop whole
 * channels, which they look for at axis 1. */
static bool dropout_module(const struct keras_call *call, const struct layout *layout, enum torch_op *ret)
{
    const struct dropout_config *c = call->layer->config;
    struct layout spatial = layout_spatial(call->layer, layout->rank);
    if (c->rate <= 0 || !c->whole)
        return false;
    switch (c->variant) {
    case DROPOUT_PLAIN: *ret = TORCH_DROPOUT; return true;
    case DROPOUT_ALPHA: *ret = TORCH_ALPHA_DROPOUT; return true;
    case DROPOUT_SPATIAL1: *ret = TORCH_DROPOUT1D; return layout->rank == 3 && layout_equal(layout, &spatial);
    case DROPOUT_SPATIAL2: *ret = TORCH_DROPOUT2D; return layout->rank == 4 && layout_equal(layout, &spatial);
    case DROPOUT_SPATIAL3: *ret = TORCH_DROPOUT3D; return layout->rank == 5 && layout_equal(layout, &spatial);
    default: return false;
    }
}

static int dropout_lower(struct lowering *l, const struct keras_call *call)
{
    const struct dropout_config *c = call->layer->config;
    struct lowered x = lower_input(l, call, 0);
    enum torch_op op;
    if (x.id < 0)
        return -1;
    if (dropout_module(call, &x.layout, &op)) {
        struct torch_attr p = attr_float("p", c->rate);
        x = lower_pointwise(l, call, x, op, lower_module(l, call, NULL), 1, &p);
    }
    return lower_output(l, call, 0, x);
}

const struct layer_handler dropout_handler = {
    .config_size = sizeof(struct dropout_config),
    .read = dropout_read,
    .shape = dropout_shape,
    .reference = dropout_reference,
    .lower = dropout_lower,
};
