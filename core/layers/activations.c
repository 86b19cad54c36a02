/* SPDX-License-Identifier: Apache-2.0 */
/* Activation layers: Activation, ReLU, LeakyReLU, ELU, ThresholdedReLU, Softmax (the variant), and PReLU. */
#include <string.h>

#include "layers/activation.h"
#include "layers/axes.h"
#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"

static void activation_read_layer(struct config_reader *reader, void *config, int variant)
{
    *(struct activation *)config = activation_layer_read(reader, variant);
}

/* The mask of a Softmax: the input that it is, or -1. The other layers take none. */
static int softmax_mask(const struct keras_layer *layer, const json_t *arguments, const int *mask_of)
{
    return layer->class->flags & LAYER_TAKES_MASK ? layer_mask_argument(arguments, mask_of) : -1;
}

static int check_softmax(struct layer_shape *s)
{
    int mask = softmax_mask(s->layer, s->arguments, s->mask_of);
    struct shape both;
    if (layer_check_arguments(s, 2, "inputs mask") < 0)
        return -1;
    if (s->input_count != (mask < 0 ? 1 : 2) || s->input_dtypes[0] != DTYPE_F32)
        return layer_shape_fail(s, "It takes one tensor of float32 and a mask");
    if (mask < 0)
        return 0;
    const struct activation *a = s->config;
    /* Its sums lose their logarithm beside 1e9: weights of which all are hidden do not add up to 1. */
    if (!a->zeroes_masked && a->axis_count > 1)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_MASK, "mask",
                         "A mask is supported along one axis only in this Keras");
    if (s->input_dtypes[mask] != DTYPE_BOOL || s->inputs[mask].rank != s->inputs[0].rank ||
        !shape_broadcast(&s->inputs[0], &s->inputs[mask], &both) || !shape_equal(&both, &s->inputs[0]))
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_MASK, "mask",
                         "The mask should be of type bool and have the shape of the input");
    return 0;
}

static int activation_shape(struct layer_shape *s)
{
    const struct activation *a = s->config;
    struct shape *out = &s->outputs[0];
    *out = s->inputs[0];
    if ((s->layer->class->flags & LAYER_TAKES_MASK) && check_softmax(s) < 0)
        return -1;
    if (!activation_has_axes(a))
        return 0;
    struct axis_list list = {.count = a->axis_count};
    memcpy(list.axes, a->axes, sizeof list.axes);
    int axes[SHAPE_MAX_RANK];
    if (axis_list_resolve(&list, out->rank, axes) < 1)
        return layer_shape_fail(s, "The activation works along an axis that its input, of rank %d, does not have",
                                out->rank);
    int64_t *features = &out->dims[axes[0]];
    if (a->kind == ACTIVATION_GLU && *features != DIM_UNKNOWN) {
        if (*features % 2)
            return layer_shape_fail(s, "glu halves the features, but there are %lld", (long long)*features);
        *features /= 2;
    }
    return 0;
}

static const double masked_logit = -1e9;

/* Since Keras 3, logits that the mask hides are replaced, and what becomes of them is 0; before, something is taken off them. */
static int masked_softmax(const struct layer_run *run, const struct tensor *mask)
{
    const struct activation *a = run->config;
    struct tensor *out = run->outputs[0];
    struct walk walk;
    walk_begin(&walk, &out->shape, &mask->shape);
    for (int64_t i = 0; i < out->count; i++, walk_next(&walk)) {
        bool hidden = mask->data[walk.offset] == 0;
        float x = run->inputs[0]->data[i];
        out->data[i] = !hidden ? x : a->zeroes_masked ? (float)masked_logit : x + (float)masked_logit;
    }
    if (activation_reference(a, out, run->err) < 0)
        return -1;
    walk_begin(&walk, &out->shape, &mask->shape);
    for (int64_t i = 0; a->zeroes_masked && i < out->count; i++, walk_next(&walk))
        out->data[i] = mask->data[walk.offset] == 0 ? 0 : out->data[i];
    return 0;
}

static int activation_run(const struct layer_run *run)
{
    int mask = softmax_mask(run->layer, run->arguments, run->mask_of);
    if (mask >= 0)
        return masked_softmax(run, run->inputs[mask]);
    const struct activation *a = run->config;
    const struct tensor *x = run->inputs[0];
    struct tensor *out = run->outputs[0];
    if (a->kind == ACTIVATION_GLU) {
        activation_reference_glu(x, out);
        return 0;
    }
    memcpy(out->data, x->data, (size_t)x->count * sizeof *x->data);
    return activation_reference(a, out, run->err);
}

static int lower_masked_softmax(struct lowering *l, const struct keras_call *call, int mask)
{
    const struct activation *a = call->layer->config;
    const struct lowered none = {.id = -1};
    struct lowered x = lower_input_keras(l, call, 0), kept = lower_input_keras(l, call, mask);
    if (a->zeroes_masked)
        x = lower_where_number(l, call, kept, x, masked_logit);
    else
        x = lower_binary(l, call, TORCH_ADD, x, lower_where_number(l, call, kept, none, masked_logit));
    x = activation_lower(l, call, a, x, lower_module(l, call, NULL));
    if (a->zeroes_masked)
        x = lower_where_number(l, call, kept, x, 0);
    return lower_output(l, call, 0, x);
}

static int activation_lower_layer(struct lowering *l, const struct keras_call *call)
{
    const struct activation *a = call->layer->config;
    int mask = softmax_mask(call->layer, call->arguments, call->mask_of);
    if (mask >= 0)
        return lower_masked_softmax(l, call, mask);
    struct lowered x = a->kind == ACTIVATION_GLU ? lower_input_keras(l, call, 0) : lower_input(l, call, 0);
    x = activation_lower(l, call, a, x, lower_module(l, call, NULL));
    return lower_output(l, call, 0, x);
}

const struct layer_handler activation_handler = {
    .config_size = sizeof(struct activation),
    .read = activation_read_layer,
    .shape = activation_shape,
    .reference = activation_run,
    .lower = activation_lower_layer,
};

/* ---- PReLU ---- */

struct prelu_config {
    int shared_count;
    int64_t shared[SHAPE_MAX_RANK]; /* axes with one slope for all positions; 1 is the first behind the batch */
};

static void prelu_read(struct config_reader *reader, void *config, int variant)
{
    struct prelu_config *c = config;
    (void)variant;
    c->shared_count = config_list(reader, "shared_axes", SHAPE_MAX_RANK, c->shared);
}

static int prelu_shape(struct layer_shape *s)
{
    const struct prelu_config *c = s->config;
    struct shape alpha = s->inputs[0];
    for (int i = 0; i < c->shared_count; i++) {
        if (c->shared[i] < 1 || c->shared[i] >= alpha.rank)
            return layer_shape_fail(s, "The shared axis %lld is not one of the input's", (long long)c->shared[i]);
        alpha.dims[c->shared[i]] = 1;
    }
    for (int i = 1; i < alpha.rank; i++)
        if (alpha.dims[i] == DIM_UNKNOWN)
            return h5pt_fail(s->err, H5PT_SHAPE_UNKNOWN, NULL, "The size of axis %d is not known, but has slopes", i);
    if (alpha.rank < 2)
        return layer_shape_fail(s, "The input must have features");
    layer_weight(s, "alpha", alpha.rank - 1, alpha.dims + 1);
    s->outputs[0] = s->inputs[0];
    return 0;
}

static int prelu_reference(const struct layer_run *run)
{
    const struct tensor *x = run->inputs[0], *alpha = run->weights[0];
    struct walk walk;
    walk_begin(&walk, &x->shape, &alpha->shape);
    for (int64_t i = 0; i < x->count; i++, walk_next(&walk))
        run->outputs[0]->data[i] = x->data[i] > 0 ? x->data[i] : alpha->data[walk.offset] * x->data[i];
    return 0;
}

/* nn.PReLU has one slope, or one for each channel (axis 1). */
static struct lowered prelu_module(struct lowering *l, const struct keras_call *call, struct lowered x, int64_t slopes)
{
    const char *module = lower_module(l, call, NULL);
    const struct shape *alpha = &lower_weight(call, "alpha")->shape;
    struct rearrangement r;
    if (x.layout.flat_rank && slopes > 1) {
        r = rearrange_features(alpha, (const int[]){0}, 0, &x.layout);
    } else {
        struct shape vector = shape_of(1, &slopes);
        r = rearrange_as_is(&vector);
    }
    int parameter = lower_parameter(l, call, module, "weight", "alpha", &r);
    struct torch_attr attr = attr_int("num_parameters", slopes);
    x.id = lower_node(l, call,
                      &(struct node_spec){.op = TORCH_PRELU,
                                          .module = module,
                                          .input_count = 1,
                                          .inputs = &x.id,
                                          .parameter_count = 1,
                                          .parameters = &parameter,
                                          .attr_count = 1,
                                          .attrs = &attr,
                                          .shape = lower_shape(l, x.id),
                                          .dtype = DTYPE_F32});
    return x;
}

/* relu(x) - alpha * relu(-x), with alpha as a parameter of the model. */
static struct lowered prelu_compose(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    struct shape alpha = {.rank = x.layout.rank, .dims = {1}};
    const struct shape *slopes = &lower_weight(call, "alpha")->shape;
    memcpy(alpha.dims + 1, slopes->dims, (size_t)slopes->rank * sizeof *slopes->dims);
    struct lowered above = lower_pointwise(l, call, x, TORCH_RELU, NULL, 0, NULL);
    struct lowered below = lower_scalar(l, call, TORCH_MUL_SCALAR, x, -1);
    below = lower_pointwise(l, call, below, TORCH_RELU, NULL, 0, NULL);
    struct lowered weight = lower_weight_value(l, call, "alpha", &alpha, &x.layout);
    below = lower_binary(l, call, TORCH_MUL, weight, below);
    return lower_binary(l, call, TORCH_SUB, above, below);
}

static int prelu_lower(struct lowering *l, const struct keras_call *call)
{
    const struct shape *alpha = &lower_weight(call, "alpha")->shape;
    bool shared_layer = call->layer->call_count > 1;
    struct lowered x = shared_layer ? lower_input_keras(l, call, 0) : lower_input(l, call, 0);
    if (x.id < 0)
        return -1;
    int along = 0, axis = 0; /* the axes of the input with more than one slope, and the last of them */
    for (int i = 0; i < alpha->rank; i++)
        if (alpha->dims[i] != 1) {
            along++;
            axis = i + 1;
        }
    bool channels = along == 1 && (x.layout.flat_rank ? axis == 1 : layout_axis(&x.layout, axis) == 1);
    if (along == 0 || channels) {
        x = prelu_module(l, call, x, along ? alpha->dims[axis - 1] : 1);
    } else {
        if (x.layout.flat_rank)
            x = lower_input_keras(l, call, 0);
        x = prelu_compose(l, call, x);
    }
    return lower_output(l, call, 0, x);
}

const struct layer_handler prelu_handler = {
    .config_size = sizeof(struct prelu_config),
    .read = prelu_read,
    .shape = prelu_shape,
    .reference = prelu_reference,
    .lower = prelu_lower,
};
