/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of two elements: the rows of op_binary.def, and those that are several torch operations. Either operand may be a
 * constant. */
#include <math.h>

#include "layers/operation.h"
#include "layers/variants.h"

enum operand_type { PROMOTE, FLOAT, COMPARE, LOGIC, WHOLE };

#define BINARY(name, torch, scalar, type, value) [BINARY_##name] = {TORCH_##torch, TORCH_##scalar, type},
static const struct {
    enum torch_op op, scalar;
    enum operand_type type;
} rows[] = {
#include "layers/op_binary.def"
    [BINARY_FLOOR_DIVIDE] = {TORCH_FLOOR_DIVIDE, TORCH_FLOOR_DIVIDE_SCALAR, PROMOTE},
    [BINARY_DIVIDE_NO_NAN] = {TORCH_DIV, TORCH_DIV_SCALAR, FLOAT},
};
#undef BINARY

/* The sign is that of y. */
static double floor_mod(double x, double y)
{
    double r = fmod(x, y);
    return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}

/* The largest whole number that divides both; of 0 and 0: 0. */
static double common_divisor(double x, double y)
{
    x = fabs(x);
    y = fabs(y);
    while (y > 0) {
        double rest = fmod(x, y);
        x = y;
        y = rest;
    }
    return x;
}

static double apply(enum binary_variant variant, double x, double y)
{
    switch (variant) {
#define BINARY(name, torch, scalar, type, value)                                                                       \
    case BINARY_##name:                                                                                                \
        return value;
#include "layers/op_binary.def"
#undef BINARY
    case BINARY_FLOOR_DIVIDE: return floor((double)((float)x / (float)y));
    case BINARY_DIVIDE_NO_NAN: return y == 0 ? 0 : x / y;
    case BINARY_COUNT: break;
    }
    return 0;
}

static void op_binary_read(struct config_reader *reader, void *config, int variant)
{
    (void)reader;
    *(enum binary_variant *)config = (enum binary_variant)variant;
}

/* Operands have other names in some operations. */
static void operands(const struct operand_source *source, struct operand ret[2])
{
    ret[0] = operand_at(source, 0, "x1");
    ret[1] = operand_at(source, 1, "x2");
    if (ret[0].kind == OPERAND_NONE)
        ret[0] = operand_at(source, -1, "x");
    if (ret[1].kind == OPERAND_NONE)
        ret[1] = operand_at(source, -1, "y");
}

/* The type in which both meet. */
static enum dtype common_dtype(enum binary_variant variant, const struct operand o[2])
{
    enum dtype dtype = operand_promote(&o[0], &o[1]);
    return rows[variant].type == FLOAT ? dtype_floating(dtype) : rows[variant].type == LOGIC ? DTYPE_BOOL : dtype;
}

static int op_binary_shape(struct layer_shape *s)
{
    enum binary_variant variant = *(const enum binary_variant *)s->config;
    struct operand_source source = operands_of_shape(s);
    struct operand o[2];
    operands(&source, o);
    for (int i = 0; i < 2; i++)
        if (o[i].kind == OPERAND_NONE)
            return operand_fail(s, i ? "x2" : "x1");
    enum operand_type type = rows[variant].type;
    enum dtype dtype = common_dtype(variant, o);
    bool order = type == COMPARE && variant != BINARY_Equal && variant != BINARY_NotEqual;
    if ((dtype == DTYPE_BOOL && (type == PROMOTE || type == WHOLE || order)) ||
        (type == WHOLE && dtype_is_float(dtype)))
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype", "%s of %s is not supported", s->layer->class_name,
                         dtype_name(dtype));
    if (!shape_broadcast(&o[0].shape, &o[1].shape, &s->outputs[0]))
        return layer_shape_fail(s, "The operands of %s do not fit together", s->layer->class_name);
    s->output_dtypes[0] = type == COMPARE ? DTYPE_BOOL : dtype;
    return 0;
}

static int op_binary_reference(const struct layer_run *run)
{
    enum binary_variant variant = *(const enum binary_variant *)run->config;
    struct operand_source source = operands_of_run(run);
    struct operand o[2];
    struct operand_tensor t[2] = {{NULL, NULL}, {NULL, NULL}};
    struct tensor *out = run->outputs[0];
    operands(&source, o);
    int status = operand_tensor(run, &o[0], &t[0]) < 0 || operand_tensor(run, &o[1], &t[1]) < 0 ? -1 : 0;
    if (status == 0) {
        struct walk a, b;
        walk_begin(&a, &out->shape, &t[0].tensor->shape);
        walk_begin(&b, &out->shape, &t[1].tensor->shape);
        for (int64_t i = 0; i < out->count; i++, walk_next(&a), walk_next(&b))
            out->data[i] = (float)apply(variant, (double)t[0].tensor->data[a.offset],
                                        (double)t[1].tensor->data[b.offset]);
    }
    operand_tensor_release(&t[0]);
    operand_tensor_release(&t[1]);
    return status;
}

/* A number as operand `at`, the tensor x as the other. */
static struct lowered with_number(struct lowering *l, const struct keras_call *call, enum binary_variant variant,
                                  struct lowered x, double number, int at)
{
    return lower_number(l, call, rows[variant].scalar, x, number, at == 0, call->outputs[0]->dtype);
}

static struct lowered lower_pair(struct lowering *l, const struct keras_call *call, enum binary_variant variant,
                                 const struct operand o[2], struct lowered ret[2])
{
    enum dtype common = common_dtype(variant, o);
    struct layout layout = lower_common_layout(l, call, 2, o, call->outputs[0]->shape.rank);
    bool by_number = rows[variant].scalar != TORCH_NONE && rows[variant].scalar != TORCH_CLAMP;
    for (int i = 0; i < 2; i++)
        if (o[i].kind == OPERAND_TENSOR || o[1 - i].kind != OPERAND_TENSOR || !by_number)
            ret[i] = lower_operand_as(l, call, &o[i], i ? "x2" : "x1", &layout, common);
        else
            ret[i].id = -1;
    for (int i = 0; i < 2; i++)
        if (ret[i].id < 0 && ret[1 - i].id >= 0 && o[i].kind == OPERAND_NUMBER)
            return with_number(l, call, variant, ret[1 - i], o[i].number, i);
        else if (ret[i].id < 0)
            ret[i] = lower_operand_as(l, call, &o[i], i ? "x2" : "x1", &layout, common);
    return lower_join(l, call, rows[variant].op, ret[0], ret[1], call->outputs[0]->dtype);
}

/* max(x, number) and min(x, number) are clamps. */
static bool is_clamp(enum binary_variant variant, const struct operand o[2], enum dtype common)
{
    return rows[variant].scalar == TORCH_CLAMP && dtype_is_float(common) &&
           (o[0].kind == OPERAND_NUMBER) != (o[1].kind == OPERAND_NUMBER) &&
           (o[0].kind == OPERAND_TENSOR || o[1].kind == OPERAND_TENSOR);
}

static int op_binary_lower(struct lowering *l, const struct keras_call *call)
{
    enum binary_variant variant = *(const enum binary_variant *)call->layer->config;
    struct operand_source source = operands_of_call(call);
    struct operand o[2];
    struct lowered x[2] = {{.id = -1}, {.id = -1}}, y;
    operands(&source, o);
    enum dtype common = common_dtype(variant, o);
    /* TensorFlow divides floats and rounds down; torch's // is Python's, which differs where the quotient is rounded. */
    bool floored = variant == BINARY_FLOOR_DIVIDE && dtype_is_float(common);
    if (floored)
        variant = BINARY_TrueDivide;
    if (is_clamp(variant, o, common)) {
        int at = o[0].kind == OPERAND_NUMBER ? 0 : 1;
        double limit = tidy_float(o[at].number), inf = (double)INFINITY;
        struct lowered in = lower_convert(l, call, lower_input(l, call, o[1 - at].input), common);
        y = lower_clamp(l, call, in, variant == BINARY_Maximum ? limit : -inf, variant == BINARY_Maximum ? inf : limit);
    } else {
        y = lower_pair(l, call, variant, o, x);
    }
    if (variant == BINARY_DIVIDE_NO_NAN) {
        struct tensor *zero = tensor_new(&(struct shape){.rank = 0}, DTYPE_F32);
        if (zero)
            zero->data[0] = 0;
        struct layout scalar = layout_keras(0);
        struct lowered none = lower_buffer(l, call, "zero", zero, &scalar);
        tensor_free(zero);
        if (x[1].id < 0)
            x[1] = lower_operand(l, call, &o[1], "divisor");
        y = lower_where(l, call, lower_number(l, call, TORCH_EQUAL_SCALAR, x[1], 0, false, DTYPE_BOOL), none, y,
                        call->outputs[0]->dtype);
    }
    return lower_output(l, call, 0, floored ? lower_map(l, call, TORCH_FLOOR, y, common) : y);
}

const struct layer_handler op_binary_handler = {
    .config_size = sizeof(enum binary_variant),
    .read = op_binary_read,
    .shape = op_binary_shape,
    .reference = op_binary_reference,
    .lower = op_binary_lower,
};
