/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that pick, repeat and choose elements. */
#include "aten/formula.h"

int aten_STACK(struct aten_builder *b, const struct torch_node *node)
{
    int values[64], count = node->input_count < 64 ? node->input_count : 64;
    for (int i = 0; i < count; i++)
        values[i] = aten_input(b, node, i);
    if (node->input_count > count)
        return aten_refuse(b, "a stack of more than %d tensors", count);
    return aten_stack(b, count, values, aten_attr_int(node, "dim", 0));
}

int aten_FLIP(struct aten_builder *b, const struct torch_node *node)
{
    int64_t dims[ATEN_MAX_RANK];
    int x = aten_input(b, node, 0), count = aten_attr_dims(b, node, "dims", x, dims);
    return aten_emit(b, "flip.default", aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integers("dims", count, dims)));
}

int aten_ROLL(struct aten_builder *b, const struct torch_node *node)
{
    const struct torch_attr *dims = torch_attr(node, "dims");
    int64_t shifts[ATEN_MAX_RANK], places[ATEN_MAX_RANK];
    int x = aten_input(b, node, 0), count = dims && dims->kind == TORCH_ATTR_INTS ? dims->ints.count : 1;
    if (!dims || count > ATEN_MAX_RANK)
        return aten_refuse(b, "a roll of the whole tensor as one line");
    aten_attr_ints(node, "shifts", count, 0, shifts);
    aten_attr_ints(node, "dims", count, 0, places);
    return aten_emit(b, "roll.default", aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integers("shifts", count, shifts),
                               aten_integers("dims", count, places)));
}

int aten_TILE(struct aten_builder *b, const struct torch_node *node)
{
    const struct torch_attr *dims = torch_attr(node, "dims");
    int x = aten_input(b, node, 0), rank = aten_rank(b, x),
        count = dims && dims->kind == TORCH_ATTR_INTS ? dims->ints.count : 0;
    struct aten_shape in = aten_shape_of(b, x), out = {.rank = rank > count ? rank : count};
    for (int i = 0; i < out.rank; i++) {
        int from = i - (out.rank - rank), by = i - (out.rank - count);
        const struct aten_int *size = from >= 0 ? in.dims[from] : aten_int(b, 1);
        out.dims[i] = by >= 0 ? aten_int_mul(b, size, aten_int(b, dims->ints.v[by])) : size;
    }
    if (count == 0)
        return aten_refuse(b, "a tile without repetitions");
    return aten_emit(b, "tile.default", out, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integers("dims", count, dims->ints.v)));
}

int aten_REPEAT_INTERLEAVE(struct aten_builder *b, const struct torch_node *node)
{
    int64_t repeats = torch_attr_int(node, "repeats");
    int x = aten_input(b, node, 0), dim = aten_dim(b, x, torch_attr_int(node, "dim"));
    const struct aten_int *size = aten_int_mul(b, aten_size(b, x, dim), aten_int(b, repeats));
    return aten_emit(b, "repeat_interleave.self_int", aten_replaced(b, x, dim, size), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("repeats", repeats), aten_integer("dim", dim)));
}

static int triangle(struct aten_builder *b, const struct torch_node *node, const char *op)
{
    int x = aten_input(b, node, 0);
    return aten_emit(b, op, aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("diagonal", aten_attr_int(node, "diagonal", 0))));
}

int aten_TRIL(struct aten_builder *b, const struct torch_node *node)
{
    return triangle(b, node, "tril.default");
}

int aten_TRIU(struct aten_builder *b, const struct torch_node *node)
{
    return triangle(b, node, "triu.default");
}

int aten_DIAGONAL(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    int64_t offset = aten_attr_int(node, "offset", 0);
    int rows = aten_dim(b, x, aten_attr_int(node, "dim1", 0)), columns = aten_dim(b, x, aten_attr_int(node, "dim2", 1));
    const struct aten_int *height = aten_int_linear(b, 1, aten_size(b, x, rows), offset < 0 ? offset : 0);
    const struct aten_int *width = aten_int_linear(b, 1, aten_size(b, x, columns), offset > 0 ? -offset : 0);
    struct aten_shape in = aten_shape_of(b, x), out = {.rank = 0};
    for (int i = 0; i < in.rank; i++)
        if (i != rows && i != columns)
            out.dims[out.rank++] = in.dims[i];
    out.dims[out.rank++] = aten_int_max(b, aten_int_min(b, height, width), aten_int(b, 0));
    return aten_emit(b, "diagonal.default", out, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("offset", offset), aten_integer("dim1", rows),
                               aten_integer("dim2", columns)));
}

/* The last dim on a diagonal of two. */
int aten_DIAG_EMBED(struct aten_builder *b, const struct torch_node *node)
{
    int64_t offset = aten_attr_int(node, "offset", 0);
    int x = aten_input(b, node, 0);
    const struct aten_int *size = aten_int_linear(b, 1, aten_size(b, x, -1), offset < 0 ? -offset : offset);
    struct aten_shape shape = aten_with(b, x, aten_rank(b, x), size);
    if (!b->failed)
        shape.dims[shape.rank - 2] = size;
    return aten_emit(b, "diag_embed.default", shape, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("offset", offset)));
}

/* x[:, :, indices] */
int aten_INDEX_SELECT(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), indices = aten_input(b, node, 1), dim = aten_dim(b, x, torch_attr_int(node, "dim"));
    struct aten_shape in = aten_shape_of(b, x), places = aten_shape_of(b, indices), out = {.rank = 0};
    int list[ATEN_MAX_RANK];
    if (in.rank + places.rank > ATEN_MAX_RANK)
        return aten_refuse(b, "a tensor of more than %d dims", ATEN_MAX_RANK);
    for (int i = 0; i < in.rank; i++) {
        for (int k = 0; i == dim && k < places.rank; k++)
            out.dims[out.rank++] = places.dims[k];
        if (i != dim)
            out.dims[out.rank++] = in.dims[i];
    }
    for (int i = 0; i <= dim; i++)
        list[i] = i < dim ? ATEN_NO_TENSOR : indices;
    return aten_emit(b, "index.Tensor", out, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_tensors("indices", dim + 1, list)));
}

int aten_TAKE_ALONG_DIM(struct aten_builder *b, const struct torch_node *node)
{
    const struct torch_attr *attr = torch_attr(node, "dim");
    int x = aten_input(b, node, 0), indices = aten_input(b, node, 1);
    if (!attr)
        return aten_refuse(b, "take_along_dim over all dims");
    int dim = aten_dim(b, x, attr->i);
    struct aten_shape picked = aten_replaced(b, x, dim, aten_size(b, indices, dim)), places = aten_shape_of(b, indices);
    return aten_emit(b, "take_along_dim.default", aten_broadcast(b, &picked, &places), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_tensor("indices", indices), aten_integer("dim", dim)));
}

int aten_TAKE(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), indices = aten_input(b, node, 1);
    return aten_emit(b, "take.default", aten_shape_of(b, indices), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_tensor("index", indices)));
}

int aten_WHERE(struct aten_builder *b, const struct torch_node *node)
{
    return aten_where(b, aten_input(b, node, 0), aten_input(b, node, 1), aten_input(b, node, 2));
}

/* Of x and a number, or of two numbers. */
int aten_WHERE_NUMBER(struct aten_builder *b, const struct torch_node *node)
{
    int condition = aten_input(b, node, 0);
    const struct torch_attr *otherwise = torch_attr(node, "otherwise"), *value = torch_attr(node, "value");
    struct aten_shape shape = aten_shape_of(b, condition);
    if (node->input_count == 1 && value)
        return aten_emit(b, "where.Scalar", shape, DTYPE_F32,
                         ATEN_ARGS(aten_tensor("condition", condition), aten_scalar("self", value),
                                   aten_scalar("other", otherwise)));
    int x = aten_input(b, node, 1);
    struct aten_shape sx = aten_shape_of(b, x);
    return aten_emit(
        b, "where.ScalarOther", aten_broadcast(b, &shape, &sx), aten_dtype_of(b, x),
        ATEN_ARGS(aten_tensor("condition", condition), aten_tensor("self", x), aten_scalar("other", otherwise)));
}

int aten_FULL_LIKE(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    enum dtype dtype = aten_dtype_of(b, x);
    const char *name = torch_attr_text(node, "dtype");
    if (name)
        (void)dtype_from_name(name, &dtype);
    return aten_emit(b, "full_like.default", aten_shape_of(b, x), dtype,
                     ATEN_ARGS(aten_tensor("self", x), aten_scalar("fill_value", torch_attr(node, "fill_value")),
                               aten_keyword(aten_dtype("dtype", dtype))));
}
