/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on each element: those of elementwise.def, and the few that take more. */
#include <string.h>

#include "aten/aten.h"

enum result { SAME, FLOATING, TRUTH };

static enum dtype result_of(enum result result, enum dtype dtype)
{
    return result == TRUTH ? DTYPE_BOOL : result == FLOATING && !dtype_is_float(dtype) ? DTYPE_F32 : dtype;
}

/* What the schema calls the second argument. */
static const char *second_name(const char *op)
{
    return strncmp(op, "pow.", 4) == 0 ? "exponent" : strncmp(op, "heaviside.", 10) == 0 ? "values" : "other";
}

static int unary(struct aten_builder *b, const struct torch_node *node, const char *op, enum result result)
{
    int x = aten_input(b, node, 0);
    return aten_unary_as(b, op, x, result_of(result, aten_dtype_of(b, x)));
}

static int binary(struct aten_builder *b, const struct torch_node *node, const char *op, enum result result)
{
    int x = aten_input(b, node, 0), y = aten_input(b, node, 1);
    struct aten_shape sx = aten_shape_of(b, x), sy = aten_shape_of(b, y);
    return aten_emit(b, op, aten_broadcast(b, &sx, &sy), result_of(result, aten_promoted(b, x, y)),
                     ATEN_ARGS(aten_tensor("self", x), aten_tensor(second_name(op), y)));
}

/* The type of arithmetic between a tensor and a Python number, which widens only the kind. */
static enum dtype with_number(enum dtype dtype, const struct torch_attr *number)
{
    if (number && number->kind == TORCH_ATTR_FLOAT)
        return dtype_is_float(dtype) ? dtype : DTYPE_F32;
    return dtype == DTYPE_BOOL ? DTYPE_I64 : dtype;
}

static int scalar(struct aten_builder *b, const struct torch_node *node, const char *op, const char *reflected_op,
                  enum result result)
{
    const struct torch_attr *value = torch_attr(node, "value");
    bool reflected = aten_attr_flag(node, "reflected", false);
    const char *name = reflected ? reflected_op : op;
    int x = aten_input(b, node, 0);
    enum dtype dtype = result_of(result, with_number(aten_dtype_of(b, x), value));
    bool number_first = strcmp(name, "pow.Scalar") == 0 || strcmp(name, "remainder.Scalar_Tensor") == 0;
    if (number_first)
        return aten_emit(b, name, aten_shape_of(b, x), dtype,
                         ATEN_ARGS(aten_scalar("self", value), aten_tensor(second_name(name), x)));
    return aten_emit(b, name, aten_shape_of(b, x), dtype,
                     ATEN_ARGS(aten_tensor("self", x), aten_scalar(second_name(name), value)));
}

#define UNARY(id, op, result)                                                                                          \
    int aten_##id(struct aten_builder *b, const struct torch_node *node)                                               \
    {                                                                                                                  \
        return unary(b, node, op, result);                                                                             \
    }
#define BINARY(id, op, result)                                                                                         \
    int aten_##id(struct aten_builder *b, const struct torch_node *node)                                               \
    {                                                                                                                  \
        return binary(b, node, op, result);                                                                            \
    }
#define SCALAR(id, op, reflected, result)                                                                              \
    int aten_##id(struct aten_builder *b, const struct torch_node *node)                                               \
    {                                                                                                                  \
        return scalar(b, node, op, reflected, result);                                                                 \
    }
#include "aten/elementwise.def"
#undef UNARY
#undef BINARY
#undef SCALAR

/* value / x: as Python does it, the reciprocal times the number. */
int aten_DIV_SCALAR(struct aten_builder *b, const struct torch_node *node)
{
    if (!aten_attr_flag(node, "reflected", false))
        return scalar(b, node, "div.Scalar", "", FLOATING);
    int inverse = aten_unary_as(b, "reciprocal.default", aten_input(b, node, 0),
                                result_of(FLOATING, aten_dtype_of(b, aten_input(b, node, 0))));
    return aten_with_real(b, "mul.Scalar", inverse, torch_attr_float(node, "value"));
}

/* value // x: the number as a tensor. */
int aten_FLOOR_DIVIDE_SCALAR(struct aten_builder *b, const struct torch_node *node)
{
    const struct torch_attr *value = torch_attr(node, "value");
    int x = aten_input(b, node, 0);
    enum dtype dtype = with_number(aten_dtype_of(b, x), value);
    if (!aten_attr_flag(node, "reflected", false))
        return scalar(b, node, "floor_divide.Scalar", "", SAME);
    int number = aten_emit(
        b, "full_like.default", aten_shape_of(b, x), dtype,
        ATEN_ARGS(aten_tensor("self", x), aten_scalar("fill_value", value), aten_keyword(aten_dtype("dtype", dtype))));
    return aten_binary(b, "floor_divide.default", number, x, dtype);
}

int aten_CLAMP(struct aten_builder *b, const struct torch_node *node)
{
    const struct torch_attr *min = torch_attr(node, "min"), *max = torch_attr(node, "max");
    int x = aten_input(b, node, 0);
    enum dtype dtype = with_number(with_number(aten_dtype_of(b, x), min), max);
    return aten_emit(b, "clamp.default", aten_shape_of(b, x), dtype,
                     ATEN_ARGS(aten_tensor("self", x), aten_scalar("min", min), aten_scalar("max", max)));
}

int aten_ROUND(struct aten_builder *b, const struct torch_node *node)
{
    int64_t decimals = aten_attr_int(node, "decimals", 0);
    int x = aten_input(b, node, 0);
    if (decimals == 0)
        return aten_unary(b, "round.default", x);
    return aten_emit(b, "round.decimals", aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_keyword(aten_integer("decimals", decimals))));
}

/* A float argument that may be None. */
static struct aten_arg optional_real(const struct torch_node *node, const char *name)
{
    return torch_attr(node, name) ? aten_real(name, torch_attr_float(node, name)) : aten_none(name);
}

int aten_NAN_TO_NUM(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    return aten_emit(b, "nan_to_num.default", aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_real("nan", aten_attr_real(node, "nan", 0)),
                               optional_real(node, "posinf"), optional_real(node, "neginf")));
}

int aten_CAST(struct aten_builder *b, const struct torch_node *node)
{
    enum dtype dtype;
    const char *name = torch_attr_text(node, "dtype");
    if (!name || !dtype_from_name(name, &dtype))
        return aten_refuse(b, "a cast to %s", name ? name : "no type");
    return aten_cast(b, aten_input(b, node, 0), dtype);
}
