/* SPDX-License-Identifier: Apache-2.0 */
/* Activations as torch nodes. */
#include "layers/activation.h"

#include <math.h>
#include <string.h>

#include "layers/axes.h"
#include "layers/compose.h"

/* Activations that are one node without attributes of their own, or with one that comes from the slope or the threshold. */
static const struct {
    enum { BARE = 1, SLOPE, LAMBDA } form; /* 0: not one of these */
    const char *attr;
} single[ACTIVATION_COUNT] = {
    [ACTIVATION_RELU6] = {BARE, NULL},
    [ACTIVATION_LEAKY_RELU] = {SLOPE, "negative_slope"},
    [ACTIVATION_ELU] = {SLOPE, "alpha"},
    [ACTIVATION_SELU] = {BARE, NULL},
    [ACTIVATION_CELU] = {SLOPE, "alpha"},
    [ACTIVATION_SILU] = {BARE, NULL},
    [ACTIVATION_MISH] = {BARE, NULL},
    [ACTIVATION_SIGMOID] = {BARE, NULL},
    [ACTIVATION_TANH] = {BARE, NULL},
    [ACTIVATION_SOFTPLUS] = {BARE, NULL},
    [ACTIVATION_SOFTSIGN] = {BARE, NULL},
    [ACTIVATION_EXPONENTIAL] = {BARE, NULL},
    [ACTIVATION_LOG_SIGMOID] = {BARE, NULL},
    [ACTIVATION_HARD_SIGMOID] = {BARE, NULL},
    [ACTIVATION_HARD_SILU] = {BARE, NULL},
    [ACTIVATION_HARD_TANH] = {BARE, NULL},
    [ACTIVATION_HARD_SHRINK] = {LAMBDA, "lambd"},
    [ACTIVATION_SOFT_SHRINK] = {LAMBDA, "lambd"},
    [ACTIVATION_TANH_SHRINK] = {BARE, NULL},
};

/* What lowering one activation needs, so that the pieces below stay short. */
struct lower_context {
    struct lowering *l;
    const struct keras_call *call;
    const struct activation *a;
    const char *module;
};

/* One node; a module where the operation has one. */
static struct lowered one(const struct lower_context *c, struct lowered x, enum torch_op op, int attr_count,
                          const struct torch_attr *attrs)
{
    const char *module = torch_op_info(op)->module ? c->module : NULL;
    return lower_pointwise(c->l, c->call, x, op, module, attr_count, attrs);
}

static struct lowered scalar(const struct lower_context *c, enum torch_op op, struct lowered x, double value)
{
    return lower_scalar(c->l, c->call, op, x, value);
}

static struct lowered lower_threshold(const struct lower_context *c, struct lowered x, const char *module)
{
    struct torch_attr attrs[] = {attr_float("threshold", tidy_float(c->a->threshold)),
                                 attr_float("value", c->a->value)};
    return lower_pointwise(c->l, c->call, x, TORCH_THRESHOLD, module, 2, attrs);
}

/* Keras' relu with slope, threshold and maximum: slope (x - threshold) up to the threshold, then x, at most the maximum. */
static struct lowered lower_relu(const struct lower_context *c, struct lowered x)
{
    const struct activation *a = c->a;
    bool limited = isfinite(a->max_value);
    double most = tidy_float(a->max_value);
    if (a->threshold == 0 && a->slope == 0) {
        if (!limited)
            return one(c, x, TORCH_RELU, 0, NULL);
        if (a->max_value == 6)
            return one(c, x, TORCH_RELU6, 0, NULL);
        return lower_clamp(c->l, c->call, x, 0, most);
    }
    struct torch_attr slope = attr_float("negative_slope", tidy_float(a->slope));
    if (a->threshold == 0) {
        if (!limited)
            return one(c, x, TORCH_LEAKY_RELU, 1, &slope);
        struct lowered leaky = lower_pointwise(c->l, c->call, x, TORCH_LEAKY_RELU, NULL, 1, &slope);
        return lower_clamp(c->l, c->call, leaky, -(double)INFINITY, most);
    }
    struct lowered above = lower_threshold(c, x, limited || a->slope != 0 ? NULL : c->module);
    if (limited)
        above = lower_clamp(c->l, c->call, above, -(double)INFINITY, most);
    if (a->slope == 0)
        return above;
    struct lowered below = scalar(c, TORCH_ADD_SCALAR, scalar(c, TORCH_MUL_SCALAR, x, -1), tidy_float(a->threshold));
    below = lower_pointwise(c->l, c->call, below, TORCH_RELU, NULL, 0, NULL);
    below = scalar(c, TORCH_MUL_SCALAR, below, tidy_float(a->slope));
    return lower_binary(c->l, c->call, TORCH_SUB, above, below);
}

/* 0 up to -1, a parabola up to 1, then x. */
static struct lowered lower_sparse_plus(const struct lower_context *c, struct lowered x)
{
    struct lowered bend = lower_clamp(c->l, c->call, x, -1, 1);
    bend = lower_pointwise(c->l, c->call, scalar(c, TORCH_ADD_SCALAR, bend, 1), TORCH_SQUARE, NULL, 0, NULL);
    bend = scalar(c, TORCH_DIV_SCALAR, bend, 4);
    struct lowered line = scalar(c, TORCH_ADD_SCALAR, x, -1);
    line = lower_pointwise(c->l, c->call, line, TORCH_RELU, NULL, 0, NULL);
    return lower_binary(c->l, c->call, TORCH_ADD, bend, line);
}

static struct lowered lower_squareplus(const struct lower_context *c, struct lowered x)
{
    struct lowered root = lower_pointwise(c->l, c->call, x, TORCH_SQUARE, NULL, 0, NULL);
    root = lower_pointwise(c->l, c->call, scalar(c, TORCH_ADD_SCALAR, root, 4), TORCH_SQRT, NULL, 0, NULL);
    return scalar(c, TORCH_DIV_SCALAR, lower_binary(c->l, c->call, TORCH_ADD, x, root), 2);
}

/* Softmax over several axes at once. */
static struct lowered lower_softmax_axes(const struct lower_context *c, struct lowered x, int count, const int *axes)
{
    struct lowered most = lower_reduce(c->l, c->call, TORCH_AMAX, x, count, axes);
    struct lowered e = lower_binary(c->l, c->call, TORCH_SUB, x, most);
    e = lower_pointwise(c->l, c->call, e, TORCH_EXP, NULL, 0, NULL);
    return lower_binary(c->l, c->call, TORCH_DIV, e, lower_reduce(c->l, c->call, TORCH_SUM, e, count, axes));
}

static struct lowered lower_glu(const struct lower_context *c, struct lowered x, int dim)
{
    struct torch_attr attr = attr_int("dim", dim);
    struct shape shape = lower_shape(c->l, x.id);
    if (shape.dims[dim] > 0)
        shape.dims[dim] /= 2;
    x.id = lower_node(c->l, c->call,
                      &(struct node_spec){.op = TORCH_GLU,
                                          .module = c->module,
                                          .input_count = 1,
                                          .inputs = &x.id,
                                          .attr_count = 1,
                                          .attrs = &attr,
                                          .shape = shape,
                                          .dtype = DTYPE_F32});
    return x;
}

static struct lowered lower_along_axes(const struct lower_context *c, struct lowered x)
{
    struct axis_list list = {.count = c->a->axis_count};
    memcpy(list.axes, c->a->axes, sizeof list.axes);
    int axes[SHAPE_MAX_RANK], count = axis_list_resolve(&list, x.layout.rank, axes);
    if (x.id < 0 || count < 1) {
        x.id = -1;
        return x;
    }
    if (count > 1)
        return lower_softmax_axes(c, x, count, axes);
    /* flat features are one axis; only GLU minds their order, and its layers ask for Keras' */
    int dim = x.layout.flat_rank ? axes[0] : layout_axis(&x.layout, axes[0]);
    struct torch_attr attr = attr_int("dim", dim);
    switch (c->a->kind) {
    case ACTIVATION_SOFTMAX: return one(c, x, TORCH_SOFTMAX, 1, &attr);
    case ACTIVATION_LOG_SOFTMAX: return one(c, x, TORCH_LOG_SOFTMAX, 1, &attr);
    case ACTIVATION_SPARSEMAX: return one(c, x, TORCH_SPARSEMAX, 1, &attr);
    default: return lower_glu(c, x, dim);
    }
}

struct lowered activation_lower(struct lowering *l, const struct keras_call *call, const struct activation *activation,
                                struct lowered x, const char *module)
{
    const struct lower_context context = {l, call, activation, module}, *c = &context;
    struct torch_attr attr;
    if (activation_has_axes(activation))
        return lower_along_axes(c, x);
    enum torch_op op = activation_at(activation->kind)->torch;
    switch (single[activation->kind].form) {
    case BARE: return one(c, x, op, 0, NULL);
    case SLOPE:
    case LAMBDA:
        attr = attr_float(
            single[activation->kind].attr,
            tidy_float(single[activation->kind].form == SLOPE ? activation->slope : activation->threshold));
        return one(c, x, op, 1, &attr);
    }
    switch (activation->kind) {
    case ACTIVATION_RELU: return lower_relu(c, x);
    case ACTIVATION_THRESHOLD: return lower_threshold(c, x, module);
    case ACTIVATION_GELU: attr = attr_text("approximate", "none"); return one(c, x, TORCH_GELU, 1, &attr);
    case ACTIVATION_HARD_SIGMOID_LEGACY:
        x = scalar(c, TORCH_ADD_SCALAR, scalar(c, TORCH_MUL_SCALAR, x, 0.2), 0.5);
        return lower_clamp(l, call, x, 0, 1);
    case ACTIVATION_SPARSE_SIGMOID:
        x = scalar(c, TORCH_MUL_SCALAR, scalar(c, TORCH_ADD_SCALAR, x, 1), 0.5);
        return lower_clamp(l, call, x, 0, 1);
    case ACTIVATION_SPARSE_PLUS: return lower_sparse_plus(c, x);
    case ACTIVATION_SQUAREPLUS: return lower_squareplus(c, x);
    default: return x;
    }
}
