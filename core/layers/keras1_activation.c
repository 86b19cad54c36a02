/* SPDX-License-Identifier: Apache-2.0 */
/* ParametricSoftplus and SReLU of Keras 1: activations with weights for each feature, or for those that the weights do not share.
 *
 *   ParametricSoftplus  alpha * softplus(beta * x)
 *   SReLU               with z = x - t_left and w = |t_right|:
 *                       t_left + min(max(z, 0), w) - a_left * max(-z, 0) + a_right * max(z - w, 0);
 *                       Theano takes the minimum of w and the whole left part, which differs where a_left < 0 */
#include <math.h>
#include <string.h>

#include "layers/axes.h"
#include "layers/compose.h"
#include "layers/variants.h"

struct parametric_config {
    enum parametric_variant variant;
    bool theano;
    int shared_count;
    int64_t shared[SHAPE_MAX_RANK];
};

static const char *const slots[][4] = {
    [PARAMETRIC_SOFTPLUS] = {"alpha", "beta"},
    [PARAMETRIC_SRELU] = {"t_left", "a_left", "t_right", "a_right"},
};

static void parametric_read(struct config_reader *reader, void *config, int variant)
{
    struct parametric_config *c = config;
    c->variant = (enum parametric_variant)variant;
    c->theano = reader->version.theano;
    c->shared_count = config_list(reader, "shared_axes", SHAPE_MAX_RANK, c->shared);
}

static int parametric_shape(struct layer_shape *s)
{
    const struct parametric_config *c = s->config;
    struct shape weight = s->inputs[0];
    for (int i = 0; i < c->shared_count; i++) {
        if (c->shared[i] < 1 || c->shared[i] >= weight.rank)
            return layer_shape_fail(s, "The weights have axis %lld, which the input has not", (long long)c->shared[i]);
        weight.dims[c->shared[i]] = 1;
    }
    if (weight.rank < 2)
        return layer_shape_fail(s, "The input must have features");
    for (int i = 1; i < weight.rank; i++)
        if (weight.dims[i] == DIM_UNKNOWN)
            return h5pt_fail(s->err, H5PT_SHAPE_UNKNOWN, NULL, "The size of axis %d is not known, but has weights", i);
    for (int i = 0; i < 4 && slots[c->variant][i]; i++)
        layer_weight(s, slots[c->variant][i], weight.rank - 1, weight.dims + 1);
    s->outputs[0] = s->inputs[0];
    return 0;
}

static double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double srelu(double x, double t_left, double a_left, double t_right, double a_right, bool theano)
{
    double z = x - t_left, width = fabs(t_right), above = z > 0 ? z : 0, below = z < 0 ? a_left * z : 0;
    double left = theano ? fmin(above + below, width) : fmin(above, width) + below;
    return isnan(x) ? x : t_left + left + a_right * (z > width ? z - width : 0);
}

static int parametric_reference(const struct layer_run *run)
{
    const struct parametric_config *c = run->config;
    const struct tensor *x = run->inputs[0], *const *w = run->weights;
    struct walk walk;
    walk_begin(&walk, &x->shape, &w[0]->shape);
    for (int64_t i = 0; i < x->count; i++, walk_next(&walk)) {
        int64_t k = walk.offset;
        double v = (double)x->data[i];
        run->outputs[0]->data[i] = c->variant == PARAMETRIC_SOFTPLUS
                                       ? (float)((double)w[0]->data[k] * softplus((double)w[1]->data[k] * v))
                                       : (float)srelu(v, (double)w[0]->data[k], (double)w[1]->data[k],
                                                      (double)w[2]->data[k], (double)w[3]->data[k], c->theano);
    }
    return 0;
}

/* A weight as a parameter of the model, in the layout of x. */
static struct lowered weight_value(struct lowering *l, const struct keras_call *call, const char *slot,
                                   const struct lowered *x)
{
    struct shape shape = {.rank = x->layout.rank, .dims = {1}};
    const struct shape *weight = &lower_weight(call, slot)->shape;
    memcpy(shape.dims + 1, weight->dims, (size_t)weight->rank * sizeof *weight->dims);
    return lower_weight_value(l, call, slot, &shape, &x->layout);
}

static struct lowered relu(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    return lower_pointwise(l, call, x, TORCH_RELU, NULL, 0, NULL);
}

static struct lowered negative(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    return lower_scalar(l, call, TORCH_MUL_SCALAR, x, -1);
}

static struct lowered lower_softplus(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    struct lowered alpha = weight_value(l, call, "alpha", &x), beta = weight_value(l, call, "beta", &x);
    x = lower_binary(l, call, TORCH_MUL, beta, x);
    x = lower_pointwise(l, call, x, TORCH_SOFTPLUS, NULL, 0, NULL);
    return lower_binary(l, call, TORCH_MUL, alpha, x);
}

static struct lowered lower_srelu(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    const struct parametric_config *c = call->layer->config;
    struct lowered t_left = weight_value(l, call, "t_left", &x), a_left = weight_value(l, call, "a_left", &x);
    struct lowered t_right = weight_value(l, call, "t_right", &x), a_right = weight_value(l, call, "a_right", &x);
    struct lowered width = lower_pointwise(l, call, t_right, TORCH_ABS, NULL, 0, NULL);
    struct lowered z = lower_binary(l, call, TORCH_SUB, x, t_left);
    struct lowered above = relu(l, call, z);
    struct lowered below = lower_binary(l, call, TORCH_MUL, a_left, relu(l, call, negative(l, call, z)));
    struct lowered left;
    if (c->theano) {
        left = lower_binary(l, call, TORCH_MINIMUM, lower_binary(l, call, TORCH_SUB, above, below), width);
    } else {
        left = lower_binary(l, call, TORCH_MINIMUM, above, width);
        left = lower_binary(l, call, TORCH_SUB, left, below);
    }
    struct lowered right = relu(l, call, lower_binary(l, call, TORCH_SUB, z, width));
    left = lower_binary(l, call, TORCH_ADD, left, t_left);
    return lower_binary(l, call, TORCH_ADD, left, lower_binary(l, call, TORCH_MUL, a_right, right));
}

static int parametric_lower(struct lowering *l, const struct keras_call *call)
{
    const struct parametric_config *c = call->layer->config;
    struct lowered x = call->layer->call_count > 1 ? lower_input_keras(l, call, 0) : lower_input(l, call, 0);
    if (x.id >= 0 && x.layout.flat_rank)
        x = lower_input_keras(l, call, 0);
    if (x.id < 0)
        return -1;
    x = c->variant == PARAMETRIC_SOFTPLUS ? lower_softplus(l, call, x) : lower_srelu(l, call, x);
    return lower_output(l, call, 0, x);
}

const struct layer_handler parametric_handler = {
    .config_size = sizeof(struct parametric_config),
    .read = parametric_read,
    .shape = parametric_shape,
    .reference = parametric_reference,
    .lower = parametric_lower,
};
