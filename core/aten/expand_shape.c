/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that move values and do not change them. */
#include "aten/aten.h"

int aten_PARAMETER(struct aten_builder *b, const struct torch_node *node)
{
    return aten_parameter(b, node, 0);
}

int aten_PERMUTE(struct aten_builder *b, const struct torch_node *node)
{
    const struct torch_attr *dims = torch_attr(node, "dims");
    int x = aten_input(b, node, 0);
    if (!dims || dims->kind != TORCH_ATTR_INTS || dims->ints.count != aten_rank(b, x))
        return aten_refuse(b, "a permutation that does not fit its input");
    return aten_permute(b, x, dims->ints.v);
}

/* x's shape with the sizes of the attribute; *ret_open is the place of the one that is -1, or -1. */
static struct aten_shape read_sizes(struct aten_builder *b, const struct torch_node *node, int x, int *ret_open)
{
    const struct torch_attr *attr = torch_attr(node, "sizes");
    struct aten_shape shape = {.rank = attr && attr->kind == TORCH_ATTR_SIZES ? attr->sizes.count : 0};
    *ret_open = -1;
    for (int i = 0; i < shape.rank && !b->failed; i++) {
        const struct torch_size *size = &attr->sizes.v[i];
        shape.dims[i] = size->from_dim >= 0 ? aten_size(b, x, size->from_dim) : aten_int(b, size->value);
        if (size->from_dim < 0 && size->value == -1)
            *ret_open = i;
    }
    return shape;
}

/* The elements of `from`, over those of `to` without its dim `open`: equal sizes on both sides go out first. */
static const struct aten_int *what_is_left(struct aten_builder *b, const struct aten_shape *from,
                                           const struct aten_shape *to, int open)
{
    struct aten_shape above = *from, below = {.rank = 0};
    for (int i = 0; i < to->rank; i++) {
        int k = 0;
        if (i == open)
            continue;
        while (k < above.rank && above.dims[k] != to->dims[i])
            k++;
        if (k < above.rank)
            above.dims[k] = above.dims[--above.rank];
        else
            below.dims[below.rank++] = to->dims[i];
    }
    const struct aten_int *divisor = aten_count(b, &below);
    return aten_int_is(divisor, 0) ? divisor : aten_int_floor_div(b, aten_count(b, &above), divisor);
}

int aten_RESHAPE(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), open;
    struct aten_shape sizes = read_sizes(b, node, x, &open), in = aten_shape_of(b, x), out = sizes;
    if (open >= 0)
        out.dims[open] = what_is_left(b, &in, &sizes, open);
    return aten_emit(b, "reshape.default", out, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_shape_arg("shape", &sizes)));
}

int aten_EXPAND(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), open;
    struct aten_shape sizes = read_sizes(b, node, x, &open), out = sizes;
    for (int i = 0; i < out.rank && !b->failed; i++)
        if (aten_int_is(out.dims[i], -1))
            out.dims[i] = aten_size(b, x, i - out.rank);
    return aten_emit(b, "expand.default", out, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_shape_arg("size", &sizes)));
}

int aten_FLATTEN(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    if (!b->failed && aten_rank(b, x) == 0)
        return aten_reshape(b, x, (struct aten_shape){.rank = 1, .dims = {aten_int(b, 1)}});
    int start = aten_dim(b, x, torch_attr_int(node, "start_dim")),
        end = aten_dim(b, x, aten_attr_int(node, "end_dim", -1));
    struct aten_shape in = aten_shape_of(b, x), out = {.rank = 0};
    for (int i = 0; i < in.rank && !b->failed; i++) {
        if (i > start && i <= end)
            out.dims[out.rank - 1] = aten_int_mul(b, out.dims[out.rank - 1], in.dims[i]);
        else
            out.dims[out.rank++] = in.dims[i];
    }
    return aten_emit(b, "flatten.using_ints", out, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("start_dim", start), aten_integer("end_dim", end)));
}

/* One dim in several, of which one may be -1. */
int aten_UNFLATTEN(struct aten_builder *b, const struct torch_node *node)
{
    const struct torch_attr *sizes = torch_attr(node, "unflattened_size");
    int x = aten_input(b, node, 0), dim = aten_dim(b, x, torch_attr_int(node, "dim")), open = -1;
    int count = sizes && sizes->kind == TORCH_ATTR_INTS ? sizes->ints.count : 0;
    if (count < 1 || b->failed || aten_rank(b, x) + count - 1 > ATEN_MAX_RANK)
        return aten_refuse(b, "a dim that is split into %d", count);
    struct aten_shape in = aten_shape_of(b, x), parts = aten_fixed(b, count, sizes->ints.v),
                      out = aten_without(b, x, dim);
    const struct aten_shape whole = {.rank = 1, .dims = {in.dims[dim]}};
    for (int i = 0; i < count; i++)
        if (sizes->ints.v[i] == -1)
            open = i;
    if (open >= 0)
        parts.dims[open] = what_is_left(b, &whole, &parts, open);
    for (int i = 0; i < in.rank - 1 - dim; i++)
        out.dims[in.rank - 2 - i + count] = out.dims[in.rank - 2 - i];
    for (int i = 0; i < count; i++)
        out.dims[dim + i] = parts.dims[i];
    out.rank += count;
    return aten_emit(
        b, "unflatten.int", out, aten_dtype_of(b, x),
        ATEN_ARGS(aten_tensor("self", x), aten_integer("dim", dim), aten_integers("sizes", count, sizes->ints.v)));
}

/* The first dim in two, as the first two of another. */
int aten_UNFLATTEN_LIKE(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), like = aten_input(b, node, 1);
    struct aten_shape out = aten_with(b, x, 0, aten_size(b, like, 0));
    if (!b->failed)
        out.dims[1] = aten_size(b, like, 1);
    return aten_reshape(b, x, out);
}

int aten_UNSQUEEZE(struct aten_builder *b, const struct torch_node *node)
{
    return aten_unsqueeze(b, aten_input(b, node, 0), torch_attr_int(node, "dim"));
}

/* One dim after the other, from the last. */
int aten_SQUEEZE(struct aten_builder *b, const struct torch_node *node)
{
    int64_t dims[ATEN_MAX_RANK];
    int x = aten_input(b, node, 0), count = aten_attr_dims(b, node, "dim", x, dims);
    for (int i = count - 1; i >= 0; i--) {
        const struct aten_int *size = aten_size(b, x, dims[i]);
        if (!b->failed && !aten_int_known(size))
            return aten_refuse(b, "a dim that goes when the run finds its size to be 1");
        if (aten_int_is(size, 1))
            x = aten_emit(b, "squeeze.dim", aten_without(b, x, (int)dims[i]), aten_dtype_of(b, x),
                          ATEN_ARGS(aten_tensor("self", x), aten_integer("dim", dims[i])));
    }
    return x;
}

int aten_PAD(struct aten_builder *b, const struct torch_node *node)
{
    const struct torch_attr *pad = torch_attr(node, "pad");
    const struct aten_int *before[ATEN_MAX_RANK] = {NULL}, *after[ATEN_MAX_RANK] = {NULL};
    int x = aten_input(b, node, 0), rank = aten_rank(b, x);
    int count = pad && pad->kind == TORCH_ATTR_INTS ? pad->ints.count : 0;
    for (int i = 0; i < count && i / 2 < rank; i++)
        (i % 2 == 0 ? before : after)[rank - 1 - i / 2] = aten_int(b, pad->ints.v[i]);
    return aten_pad(b, x, before, after, aten_attr_real(node, "value", 0));
}

int aten_CAT(struct aten_builder *b, const struct torch_node *node)
{
    int *values = ARENA_ARRAY(b->graph->arena, int, (size_t)node->input_count);
    if (!values)
        return aten_refuse(b, "more inputs than there is memory for");
    for (int i = 0; i < node->input_count; i++)
        values[i] = aten_input(b, node, i);
    return aten_cat(b, node->input_count, values, torch_attr_int(node, "dim"));
}

/* Where Python's x[bound:] begins: negative ones count from the end, and nothing lies outside. */
static const struct aten_int *bound(struct aten_builder *b, const struct aten_int *size, int64_t bound)
{
    return bound < 0 ? aten_int_max(b, aten_int_linear(b, 1, size, bound), aten_int(b, 0))
                     : aten_int_min(b, aten_int(b, bound), size);
}

int aten_SLICE(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), rank = aten_rank(b, x);
    for (int i = 0; i < rank && !b->failed; i++) {
        int64_t start = torch_attr_at(node, "start", i), stop = torch_attr_at(node, "stop", i);
        int64_t step = torch_attr(node, "step") ? torch_attr_at(node, "step", i) : 1;
        if (start == 0 && stop == 0 && step == 1)
            continue;
        const struct aten_int *size = aten_size(b, x, i), *from = bound(b, size, start);
        const struct aten_int *cells = aten_int_sub(b, stop == 0 ? size : bound(b, size, stop), from);
        cells = aten_int_ceil_div(b, aten_int_max(b, cells, aten_int(b, 0)), step);
        x = aten_emit(b, "slice.Tensor", aten_replaced(b, x, i, cells), aten_dtype_of(b, x),
                      ATEN_ARGS(aten_tensor("self", x), aten_integer("dim", i), aten_integer("start", start),
                                aten_integer("end", stop == 0 ? INT64_MAX : stop), aten_integer("step", step)));
    }
    return x;
}

int aten_SELECT(struct aten_builder *b, const struct torch_node *node)
{
    return aten_select(b, aten_input(b, node, 0), torch_attr_int(node, "dim"), torch_attr_int(node, "index"));
}
