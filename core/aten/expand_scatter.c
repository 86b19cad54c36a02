/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors with some of their elements put anew. */
#include "aten/formula.h"

/* The rows that the indices name, of x with its first dims as one: a vector of places; those outside are `count`, one behind the
 * last row. */
static int places_of(struct aten_builder *b, int x, int indices, int depth, const struct aten_int *count)
{
    struct aten_shape shape = aten_without(b, indices, aten_dim(b, indices, -1));
    int places = -1, inside = -1, zero = aten_full_of(b, indices, (struct aten_shape){.rank = 0}, 0, DTYPE_I64);
    for (int i = 0; i < depth && !b->failed; i++) {
        int size = aten_size_tensor(b, indices, aten_size(b, x, i), DTYPE_I64), index = aten_select(b, indices, -1, i);
        int within = aten_and(b, aten_compare(b, "ge.Tensor", index, zero), aten_compare(b, "lt.Tensor", index, size));
        places = i ? aten_add(b, aten_mul(b, places, size), index) : index;
        inside = i ? aten_and(b, inside, within) : within;
    }
    places = aten_where(b, inside, places, aten_size_tensor(b, indices, count, DTYPE_I64));
    return aten_reshape(b, places, (struct aten_shape){.rank = 1, .dims = {aten_count(b, &shape)}});
}

int aten_SCATTER_ND(struct aten_builder *b, const struct torch_node *node)
{
    const char *reduce = torch_attr_text(node, "reduce");
    int x = aten_input(b, node, 0), indices = aten_input(b, node, 1), updates = aten_input(b, node, 2);
    const struct aten_int *depth = aten_size(b, indices, -1);
    struct aten_shape shape = aten_shape_of(b, x), rest = {.rank = 0}, first = shape;
    if (b->failed || !aten_int_known(depth) || depth->value < 1 || depth->value > shape.rank)
        return aten_refuse(b, "indices of a number of dims that only the input tells");
    first.rank = (int)depth->value;
    for (int i = first.rank; i < shape.rank; i++)
        rest.dims[rest.rank++] = shape.dims[i];
    const struct aten_int *count = aten_count(b, &first), *width = aten_count(b, &rest);
    int places = places_of(b, x, indices, first.rank, count);
    int rows = aten_reshape(b, x, (struct aten_shape){.rank = 2, .dims = {count, width}});
    rows = aten_cat(b, 2, (const int[]){rows, aten_slice(b, rows, 0, NULL, aten_int(b, 1))}, 0);
    updates = aten_reshape(b, updates, (struct aten_shape){.rank = 2, .dims = {aten_size(b, places, 0), width}});
    if (!reduce) {
        rows = aten_emit(b, "index_copy.default", aten_shape_of(b, rows), aten_dtype_of(b, rows),
                         ATEN_ARGS(aten_tensor("self", rows), aten_integer("dim", 0), aten_tensor("index", places),
                                   aten_tensor("source", updates)));
    } else {
        places = aten_expand_to(b, aten_unsqueeze(b, places, 1), aten_shape_of(b, updates));
        rows = aten_emit(b, "scatter_reduce.two", aten_shape_of(b, rows), aten_dtype_of(b, rows),
                         ATEN_ARGS(aten_tensor("self", rows), aten_integer("dim", 0), aten_tensor("index", places),
                                   aten_tensor("src", updates), aten_text("reduce", reduce)));
    }
    return aten_reshape(b, aten_slice(b, rows, 0, NULL, count), shape);
}

/* Dim by dim: the box in the slab that the dims before cut out. */
static int put_box(struct aten_builder *b, const struct torch_node *node, int x, int updates, int dim)
{
    if (b->failed || dim == aten_rank(b, x))
        return updates;
    const struct aten_int *start = aten_int(b, torch_attr_at(node, "start", dim)), *size = aten_size(b, updates, dim);
    const struct aten_int *stop = aten_int_add(b, start, size);
    int inner = put_box(b, node, aten_slice(b, x, dim, start, stop), updates, dim + 1);
    return aten_emit(b, "slice_scatter.default", aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_tensor("src", inner), aten_integer("dim", dim),
                               aten_size_arg("start", start), aten_size_arg("end", stop)));
}

int aten_SLICE_UPDATE(struct aten_builder *b, const struct torch_node *node)
{
    return put_box(b, node, aten_input(b, node, 0), aten_input(b, node, 1), 0);
}
