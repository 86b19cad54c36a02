/* SPDX-License-Identifier: Apache-2.0 */
/* BatchNorm, LayerNorm and RMSNorm as operations; what they scale with are constants or missing. */
#include <math.h>
#include <stdlib.h>

#include "layers/operation.h"
#include "layers/variants.h"

struct op_norm_config {
    enum op_norm_variant variant;
    struct axis_list axes;
    double epsilon;
    bool rms_scaling;
};

static void op_norm_read(struct config_reader *reader, void *config, int variant)
{
    struct op_norm_config *c = config;
    c->variant = (enum op_norm_variant)variant;
    c->axes = axis_list_read(reader, "axis", -1);
    c->epsilon = config_double(reader, "epsilon", c->variant == OP_NORM_BATCH ? 1e-3 : 1e-7);
    if (c->variant == OP_NORM_LAYER)
        c->rms_scaling = config_bool(reader, "rms_scaling", false);
    if (c->variant == OP_NORM_BATCH && c->axes.count != 1)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "axis", "One axis is supported");
}

enum { MEAN, VARIANCE, SHIFT, SCALE, ROLE_COUNT };
static const char *const role_names[ROLE_COUNT] = {"mean", "variance", "shift", "scale"};

/* The constants by role (NONE where there is none), in the order that the operation has them. */
static void roles(const struct op_norm_config *c, const struct operand_source *source, struct operand ret[ROLE_COUNT])
{
    for (int i = 0; i < ROLE_COUNT; i++)
        ret[i] = (struct operand){.kind = OPERAND_NONE};
    if (c->variant == OP_NORM_BATCH) {
        ret[MEAN] = operand_at(source, 1, "mean");
        ret[VARIANCE] = operand_at(source, 2, "variance");
        ret[SHIFT] = operand_at(source, 3, "offset");
        ret[SCALE] = operand_at(source, 4, "scale");
    } else if (c->variant == OP_NORM_LAYER) {
        ret[SCALE] = operand_at(source, 1, "gamma");
        ret[SHIFT] = c->rms_scaling ? ret[SHIFT] : operand_at(source, 2, "beta");
    } else {
        ret[SCALE] = operand_at(source, 1, "scale");
    }
}

static int op_norm_shape(struct layer_shape *s)
{
    const struct op_norm_config *c = s->config;
    struct operand_source source = operands_of_shape(s);
    struct operand o[ROLE_COUNT];
    int axes[SHAPE_MAX_RANK], count = axis_list_resolve(&c->axes, s->inputs[0].rank, axes);
    int64_t cells = 1, have;
    if (s->input_count != 1 || layer_argument_tensor(layer_argument(s->arguments, 0, "x")) != 0)
        return operand_fail(s, "x");
    roles(c, &source, o);
    if (count < 1 || !dtype_is_float(s->input_dtypes[0]))
        return layer_shape_fail(s, "The axes or the type of the input do not fit %s", s->layer->class_name);
    for (int i = 0; i < count; i++)
        cells *= s->inputs[0].dims[axes[i]];
    for (int i = 0; i < ROLE_COUNT; i++) {
        bool needed = c->variant == OP_NORM_BATCH && i <= VARIANCE;
        /* More than one axis of constants must be in the order of the axes. */
        if ((needed && o[i].kind != OPERAND_ARRAY) ||
            (o[i].kind != OPERAND_NONE && (o[i].kind != OPERAND_ARRAY || o[i].shape.rank != count ||
                                           !shape_count(&o[i].shape, &have) || have != cells)))
            return operand_fail(s, role_names[i]);
        for (int k = 0; o[i].kind == OPERAND_ARRAY && k < count; k++)
            if (o[i].shape.dims[k] != s->inputs[0].dims[axes[k]])
                return operand_fail(s, role_names[i]);
    }
    s->outputs[0] = s->inputs[0];
    return 0;
}

/* Mean and variance over `axes`, one pair for each combination of the others. */
static void statistics(const struct tensor *x, const struct shape *kept, double *mean, double *variance,
                       double *squares)
{
    struct walk walk;
    int64_t count = 1;
    for (int i = 0; i < kept->rank; i++)
        count *= kept->dims[i];
    double n = (double)x->count / (double)count;
    walk_begin(&walk, &x->shape, kept);
    for (int64_t i = 0; i < x->count; i++, walk_next(&walk)) {
        mean[walk.offset] += (double)x->data[i] / n;
        squares[walk.offset] += (double)x->data[i] * (double)x->data[i] / n;
    }
    walk_begin(&walk, &x->shape, kept);
    for (int64_t i = 0; i < x->count; i++, walk_next(&walk)) {
        double d = (double)x->data[i] - mean[walk.offset];
        variance[walk.offset] += d * d / n;
    }
}

static int normalise(const struct layer_run *run, const struct op_norm_config *c, int count, const int *axes,
                     const struct operand_tensor t[ROLE_COUNT])
{
    const struct tensor *x = run->inputs[0];
    struct shape kept = shape_without(&x->shape, count, axes), only = shape_only(&x->shape, count, axes);
    double *s = calloc(3 * (size_t)x->count + 3, sizeof *s);
    if (!s)
        return h5pt_fail_memory(run->err);
    double *mean = s, *variance = s + x->count, *squares = s + 2 * x->count;
    if (c->variant != OP_NORM_BATCH)
        statistics(x, &kept, mean, variance, squares);
    struct walk a, b;
    walk_begin(&a, &x->shape, &kept);
    walk_begin(&b, &x->shape, &only);
    for (int64_t i = 0; i < x->count; i++, walk_next(&a), walk_next(&b)) {
        double v = (double)x->data[i];
        if (c->variant == OP_NORM_BATCH)
            v = (v - (double)t[MEAN].tensor->data[b.offset]) /
                sqrt((double)t[VARIANCE].tensor->data[b.offset] + c->epsilon);
        else if (c->variant == OP_NORM_RMS)
            v /= sqrt(squares[a.offset] + c->epsilon);
        else
            v = (c->rms_scaling ? v : v - mean[a.offset]) / sqrt(variance[a.offset] + c->epsilon);
        v *= t[SCALE].tensor ? (double)t[SCALE].tensor->data[b.offset] : 1;
        run->outputs[0]->data[i] = (float)(v + (t[SHIFT].tensor ? (double)t[SHIFT].tensor->data[b.offset] : 0));
    }
    free(s);
    return 0;
}

static int op_norm_reference(const struct layer_run *run)
{
    const struct op_norm_config *c = run->config;
    struct operand_source source = operands_of_run(run);
    struct operand o[ROLE_COUNT];
    struct operand_tensor t[ROLE_COUNT] = {{NULL, NULL}};
    int axes[SHAPE_MAX_RANK], count = axis_list_resolve(&c->axes, run->inputs[0]->shape.rank, axes), status = 0;
    roles(c, &source, o);
    for (int i = 0; i < ROLE_COUNT && status == 0; i++)
        if (o[i].kind == OPERAND_ARRAY)
            status = operand_tensor(run, &o[i], &t[i]);
    if (status == 0)
        status = normalise(run, c, count, axes, t);
    for (int i = 0; i < ROLE_COUNT; i++)
        operand_tensor_release(&t[i]);
    return status;
}

/* A constant along the axes, to meet x. */
static struct lowered along(struct lowering *l, const struct keras_call *call, const struct operand *o,
                            const char *name, const struct shape *only, const struct layout *layout)
{
    struct tensor *t = operand_constant(o);
    if (t)
        t->shape = *only;
    struct lowered x = lower_buffer(l, call, name, t, layout);
    tensor_free(t);
    return x;
}

static int op_norm_lower(struct lowering *l, const struct keras_call *call)
{
    const struct op_norm_config *c = call->layer->config;
    struct operand_source source = operands_of_call(call);
    struct operand o[ROLE_COUNT];
    int axes[SHAPE_MAX_RANK], count = axis_list_resolve(&c->axes, call->inputs[0]->shape.rank, axes);
    struct shape only = shape_only(&call->inputs[0]->shape, count, axes);
    struct lowered x = lower_input_plain(l, call, 0), y = x, scale;
    struct layout layout = x.layout;
    roles(c, &source, o);
    if (c->variant == OP_NORM_BATCH) {
        y = lower_join(l, call, TORCH_SUB, x, along(l, call, &o[MEAN], "mean", &only, &layout), DTYPE_F32);
        scale = along(l, call, &o[VARIANCE], "variance", &only, &layout);
    } else if (c->variant == OP_NORM_RMS) {
        scale = lower_reduce(l, call, TORCH_MEAN, lower_map(l, call, TORCH_SQUARE, x, DTYPE_F32), count, axes);
    } else {
        scale = lower_reduce(l, call, TORCH_VAR, x, count, axes);
        if (!c->rms_scaling)
            y = lower_join(l, call, TORCH_SUB, x, lower_reduce(l, call, TORCH_MEAN, x, count, axes), DTYPE_F32);
    }
    scale = lower_map(l, call, TORCH_RSQRT,
                      lower_number(l, call, TORCH_ADD_SCALAR, scale, c->epsilon, false, DTYPE_F32), DTYPE_F32);
    y = lower_join(l, call, TORCH_MUL, y, scale, DTYPE_F32);
    if (o[SCALE].kind == OPERAND_ARRAY)
        y = lower_join(l, call, TORCH_MUL, y, along(l, call, &o[SCALE], "scale", &only, &layout), DTYPE_F32);
    if (o[SHIFT].kind == OPERAND_ARRAY)
        y = lower_join(l, call, TORCH_ADD, y, along(l, call, &o[SHIFT], "shift", &only, &layout), DTYPE_F32);
    return lower_output(l, call, 0, y);
}

const struct layer_handler op_norm_handler = {
    .config_size = sizeof(struct op_norm_config),
    .read = op_norm_read,
    .shape = op_norm_shape,
    .reference = op_norm_reference,
    .lower = op_norm_lower,
};
