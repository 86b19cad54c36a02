/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that many expansions are made of. */
#include "aten/builder.h"

#include <string.h>

int aten_unary_as(struct aten_builder *b, const char *op, int x, enum dtype dtype)
{
    return aten_emit(b, op, aten_shape_of(b, x), dtype, ATEN_ARGS(aten_tensor("self", x)));
}

int aten_unary(struct aten_builder *b, const char *op, int x)
{
    return aten_unary_as(b, op, x, aten_dtype_of(b, x));
}

int aten_binary(struct aten_builder *b, const char *op, int x, int y, enum dtype dtype)
{
    struct aten_shape sx = aten_shape_of(b, x), sy = aten_shape_of(b, y);
    return aten_emit(b, op, aten_broadcast(b, &sx, &sy), dtype,
                     ATEN_ARGS(aten_tensor("self", x), aten_tensor("other", y)));
}

static int category(enum dtype dtype)
{
    return dtype_is_float(dtype) ? 2 : dtype == DTYPE_BOOL ? 0 : 1;
}

/* A tensor without dims counts only where the other is of a lesser kind. */
enum dtype aten_promoted(const struct aten_builder *b, int x, int y)
{
    enum dtype dx = aten_dtype_of(b, x), dy = aten_dtype_of(b, y);
    if (category(dx) != category(dy))
        return category(dx) > category(dy) ? dx : dy;
    if ((aten_rank(b, x) == 0) != (aten_rank(b, y) == 0))
        return aten_rank(b, x) == 0 ? dy : dx;
    if (dx != dy && dtype_is_float(dx) && dtype_size(dx) == dtype_size(dy))
        return DTYPE_F32;
    return dtype_size(dx) >= dtype_size(dy) ? dx : dy;
}

int aten_arithmetic(struct aten_builder *b, const char *op, int x, int y)
{
    enum dtype dtype = aten_promoted(b, x, y);
    if (strcmp(op, "div.Tensor") == 0 && !dtype_is_float(dtype))
        dtype = DTYPE_F32;
    return aten_binary(b, op, x, y, dtype);
}

int aten_with_real(struct aten_builder *b, const char *op, int x, double value)
{
    return aten_emit(b, op, aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_real("other", value)));
}

int aten_cast(struct aten_builder *b, int x, enum dtype dtype)
{
    if (b->failed || aten_dtype_of(b, x) == dtype)
        return x;
    return aten_emit(b, "to.dtype", aten_shape_of(b, x), dtype,
                     ATEN_ARGS(aten_tensor("self", x), aten_dtype("dtype", dtype)));
}

int aten_permute(struct aten_builder *b, int x, const int64_t *dims)
{
    struct aten_shape in = aten_shape_of(b, x), out = {.rank = in.rank};
    for (int i = 0; i < in.rank; i++) {
        int dim = aten_dim_of_rank(b, in.rank, dims[i]);
        if (dim < 0)
            return -1;
        out.dims[i] = in.dims[dim];
    }
    return aten_emit(b, "permute.default", out, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integers("dims", in.rank, dims)));
}

int aten_reshape(struct aten_builder *b, int x, struct aten_shape shape)
{
    return aten_emit(b, "reshape.default", shape, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_shape_arg("shape", &shape)));
}

int aten_unsqueeze(struct aten_builder *b, int x, int64_t dim)
{
    int at = aten_dim_of_rank(b, aten_rank(b, x) + 1, dim);
    return aten_emit(b, "unsqueeze.default", aten_with(b, x, at, aten_int(b, 1)), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("dim", at)));
}

int aten_slice(struct aten_builder *b, int x, int64_t dim, const struct aten_int *start, const struct aten_int *stop)
{
    int at = aten_dim(b, x, dim);
    const struct aten_int *size = aten_size(b, x, at);
    start = start ? start : aten_int(b, 0);
    return aten_emit(b, "slice.Tensor", aten_replaced(b, x, at, aten_int_sub(b, stop ? stop : size, start)),
                     aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("dim", at), aten_size_arg("start", start),
                               stop ? aten_size_arg("end", stop) : aten_integer("end", INT64_MAX)));
}

int aten_select(struct aten_builder *b, int x, int64_t dim, int64_t index)
{
    int at = aten_dim(b, x, dim);
    return aten_emit(b, "select.int", aten_without(b, x, at), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("dim", at), aten_integer("index", index)));
}

int aten_cat(struct aten_builder *b, int count, const int *values, int64_t dim)
{
    if (b->failed)
        return -1;
    int at = aten_dim(b, values[0], dim);
    const struct aten_int *size = aten_int(b, 0);
    enum dtype dtype = aten_dtype_of(b, values[0]);
    struct aten_shape out = aten_shape_of(b, values[0]);
    for (int i = 0; i < count && !b->failed; i++) {
        struct aten_shape other = aten_shape_of(b, values[i]);
        size = aten_int_add(b, size, aten_size(b, values[i], at));
        dtype = aten_promoted(b, values[0], values[i]) == aten_dtype_of(b, values[i]) ? aten_dtype_of(b, values[i])
                                                                                      : dtype;
        for (int k = 0; k < out.rank && k < other.rank; k++)
            if (k != at && !aten_int_known(out.dims[k]) && aten_int_known(other.dims[k]))
                out.dims[k] = other.dims[k];
    }
    if (at >= 0)
        out.dims[at] = size;
    return aten_emit(b, "cat.default", out, dtype,
                     ATEN_ARGS(aten_tensors("tensors", count, values), aten_integer("dim", at)));
}

int aten_pad(struct aten_builder *b, int x, const struct aten_int *const *before, const struct aten_int *const *after,
             double value)
{
    struct aten_shape shape = aten_shape_of(b, x);
    const struct aten_int *pad[2 * ATEN_MAX_RANK], *zero = aten_int(b, 0);
    int first = shape.rank;
    for (int i = shape.rank - 1; i >= 0; i--) {
        const struct aten_int *low = before[i] ? before[i] : zero, *high = after[i] ? after[i] : zero;
        pad[2 * (shape.rank - 1 - i)] = low;
        pad[2 * (shape.rank - 1 - i) + 1] = high;
        if (low != zero || high != zero)
            first = i;
        shape.dims[i] = aten_int_add(b, shape.dims[i], aten_int_add(b, low, high));
    }
    if (first == shape.rank)
        return x;
    return aten_emit(
        b, "constant_pad_nd.default", shape, aten_dtype_of(b, x),
        ATEN_ARGS(aten_tensor("self", x), aten_sizes("pad", 2 * (shape.rank - first), pad), aten_real("value", value)));
}

int aten_full(struct aten_builder *b, int like, struct aten_shape shape, double value)
{
    return aten_emit(
        b, "new_full.default", shape, aten_dtype_of(b, like),
        ATEN_ARGS(aten_tensor("self", like), aten_shape_arg("size", &shape), aten_real("fill_value", value)));
}
