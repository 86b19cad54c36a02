/* SPDX-License-Identifier: Apache-2.0 */
#include "aten/formula.h"

#include <math.h>

int aten_add(struct aten_builder *b, int x, int y)
{
    return aten_arithmetic(b, "add.Tensor", x, y);
}

int aten_sub(struct aten_builder *b, int x, int y)
{
    return aten_arithmetic(b, "sub.Tensor", x, y);
}

int aten_mul(struct aten_builder *b, int x, int y)
{
    return aten_arithmetic(b, "mul.Tensor", x, y);
}

int aten_div(struct aten_builder *b, int x, int y)
{
    return aten_arithmetic(b, "div.Tensor", x, y);
}

int aten_plus(struct aten_builder *b, int x, double y)
{
    return aten_with_real(b, "add.Scalar", x, y);
}

int aten_minus(struct aten_builder *b, int x, double y)
{
    return aten_with_real(b, "sub.Scalar", x, y);
}

int aten_times(struct aten_builder *b, int x, double y)
{
    return aten_with_real(b, "mul.Scalar", x, y);
}

int aten_over(struct aten_builder *b, int x, double y)
{
    return aten_with_real(b, "div.Scalar", x, y);
}

int aten_from(struct aten_builder *b, double y, int x)
{
    return aten_with_real(b, "rsub.Scalar", x, y);
}

int aten_than(struct aten_builder *b, const char *op, int x, double y)
{
    return aten_emit(b, op, aten_shape_of(b, x), DTYPE_BOOL, ATEN_ARGS(aten_tensor("self", x), aten_real("other", y)));
}

int aten_compare(struct aten_builder *b, const char *op, int x, int y)
{
    return aten_binary(b, op, x, y, DTYPE_BOOL);
}

int aten_and(struct aten_builder *b, int x, int y)
{
    return aten_binary(b, "logical_and.default", x, y, DTYPE_BOOL);
}

int aten_limit(struct aten_builder *b, int x, double min, double max)
{
    return aten_emit(b, "clamp.default", aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), isinf(min) ? aten_none("min") : aten_real("min", min),
                               isinf(max) ? aten_none("max") : aten_real("max", max)));
}

int aten_smaller(struct aten_builder *b, int x, int y)
{
    return aten_binary(b, "minimum.default", x, y, aten_promoted(b, x, y));
}

int aten_larger(struct aten_builder *b, int x, int y)
{
    return aten_binary(b, "maximum.default", x, y, aten_promoted(b, x, y));
}

int aten_where(struct aten_builder *b, int condition, int x, int y)
{
    struct aten_shape c = aten_shape_of(b, condition), sx = aten_shape_of(b, x), sy = aten_shape_of(b, y);
    struct aten_shape both = aten_broadcast(b, &sx, &sy);
    return aten_emit(b, "where.self", aten_broadcast(b, &c, &both), aten_promoted(b, x, y),
                     ATEN_ARGS(aten_tensor("condition", condition), aten_tensor("self", x), aten_tensor("other", y)));
}

int aten_where_number(struct aten_builder *b, int condition, int x, double y)
{
    struct aten_shape c = aten_shape_of(b, condition), sx = aten_shape_of(b, x);
    return aten_emit(b, "where.ScalarOther", aten_broadcast(b, &c, &sx), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("condition", condition), aten_tensor("self", x), aten_real("other", y)));
}

int aten_blend(struct aten_builder *b, int x, int y, int part)
{
    return aten_add(b, aten_mul(b, x, aten_from(b, 1, part)), aten_mul(b, y, part));
}

int aten_reduce(struct aten_builder *b, const char *op, int x, int count, const int64_t *dims)
{
    struct aten_shape shape = aten_shape_of(b, x);
    for (int i = 0; i < count && !b->failed; i++)
        shape.dims[aten_dim(b, x, dims[i])] = aten_int(b, 1);
    return aten_emit(b, op, shape, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integers("dim", count, dims), aten_flag("keepdim", true)));
}

int aten_running_sum(struct aten_builder *b, int x, int64_t dim)
{
    return aten_emit(b, "cumsum.default", aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("dim", dim)));
}

int aten_arange(struct aten_builder *b, int like, const struct aten_int *count, enum dtype dtype)
{
    return aten_emit(b, "arange.default", (struct aten_shape){.rank = 1, .dims = {count}}, dtype,
                     ATEN_ARGS(aten_size_arg("end", count), aten_keyword(aten_dtype("dtype", dtype)),
                               aten_keyword(aten_device("device", like))));
}

int aten_size_tensor(struct aten_builder *b, int like, const struct aten_int *size, enum dtype dtype)
{
    const struct aten_shape none = {.rank = 0};
    return aten_emit(b, "new_full.default", none, dtype,
                     ATEN_ARGS(aten_tensor("self", like), aten_shape_arg("size", &none),
                               aten_size_arg("fill_value", size), aten_keyword(aten_dtype("dtype", dtype))));
}

int aten_full_of(struct aten_builder *b, int like, struct aten_shape shape, double value, enum dtype dtype)
{
    return aten_emit(b, "new_full.default", shape, dtype,
                     ATEN_ARGS(aten_tensor("self", like), aten_shape_arg("size", &shape),
                               aten_real("fill_value", value), aten_keyword(aten_dtype("dtype", dtype))));
}

int aten_stack(struct aten_builder *b, int count, const int *values, int64_t dim)
{
    if (b->failed)
        return -1;
    int at = aten_dim_of_rank(b, aten_rank(b, values[0]) + 1, dim);
    return aten_emit(b, "stack.default", aten_with(b, values[0], at, aten_int(b, count)), aten_dtype_of(b, values[0]),
                     ATEN_ARGS(aten_tensors("tensors", count, values), aten_integer("dim", at)));
}

int aten_expand_to(struct aten_builder *b, int x, struct aten_shape shape)
{
    return aten_emit(b, "expand.default", shape, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_shape_arg("size", &shape)));
}

int aten_gather(struct aten_builder *b, int x, int64_t dim, int index)
{
    return aten_emit(b, "gather.default", aten_shape_of(b, index), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("dim", dim), aten_tensor("index", index)));
}

int aten_pick(struct aten_builder *b, int x, int64_t dim, int indices)
{
    int at = aten_dim(b, x, dim);
    return aten_emit(b, "index_select.default", aten_replaced(b, x, at, aten_size(b, indices, 0)), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("dim", at), aten_tensor("index", indices)));
}

int aten_matmul(struct aten_builder *b, int x, int y)
{
    struct aten_shape sx = aten_shape_of(b, x), sy = aten_shape_of(b, y);
    bool rows = sx.rank > 1, columns = sy.rank > 1; /* a vector has none */
    const struct aten_int *row_count = rows ? aten_size(b, x, -2) : NULL;
    const struct aten_int *column_count = columns ? aten_size(b, y, -1) : NULL;
    sx.rank -= rows ? 2 : sx.rank;
    sy.rank -= columns ? 2 : sy.rank;
    struct aten_shape out = aten_broadcast(b, &sx, &sy);
    if (rows)
        out.dims[out.rank++] = row_count;
    if (columns)
        out.dims[out.rank++] = column_count;
    return aten_emit(b, "matmul.default", out, aten_promoted(b, x, y),
                     ATEN_ARGS(aten_tensor("self", x), aten_tensor("other", y)));
}
