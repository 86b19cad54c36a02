/* SPDX-License-Identifier: Apache-2.0 */
/* Shapes of values, and attributes of nodes. */
#include "aten/builder.h"

#include <string.h>

struct aten_shape aten_shape_of(const struct aten_builder *b, int value)
{
    return b->failed || value < 0 ? (struct aten_shape){.rank = 0} : b->graph->values[value].meta.shape;
}

int aten_rank(const struct aten_builder *b, int value)
{
    return b->failed || value < 0 ? 0 : b->graph->values[value].meta.shape.rank;
}

enum dtype aten_dtype_of(const struct aten_builder *b, int value)
{
    return b->failed || value < 0 ? DTYPE_F32 : b->graph->values[value].meta.dtype;
}

int aten_dim_of_rank(struct aten_builder *b, int rank, int64_t dim)
{
    if (b->failed)
        return -1;
    if (dim < -rank || dim >= rank)
        return aten_fail(b, H5PT_INTERNAL, "There is no dim %lld among %d", (long long)dim, rank);
    return (int)(dim < 0 ? dim + rank : dim);
}

int aten_dim(struct aten_builder *b, int value, int64_t dim)
{
    return aten_dim_of_rank(b, aten_rank(b, value), dim);
}

const struct aten_int *aten_size(struct aten_builder *b, int value, int64_t dim)
{
    int at = aten_dim(b, value, dim);
    return at < 0 ? NULL : b->graph->values[value].meta.shape.dims[at];
}

struct aten_shape aten_fixed(struct aten_builder *b, int rank, const int64_t *dims)
{
    struct aten_shape shape = {.rank = rank};
    for (int i = 0; i < rank; i++)
        shape.dims[i] = aten_int(b, dims[i]);
    return shape;
}

struct aten_shape aten_without(struct aten_builder *b, int value, int dim)
{
    struct aten_shape shape = aten_shape_of(b, value);
    if (b->failed || dim < 0 || dim >= shape.rank)
        return shape;
    shape.rank--;
    memmove(shape.dims + dim, shape.dims + dim + 1, (size_t)(shape.rank - dim) * sizeof *shape.dims);
    return shape;
}

struct aten_shape aten_with(struct aten_builder *b, int value, int dim, const struct aten_int *size)
{
    struct aten_shape shape = aten_shape_of(b, value);
    if (b->failed || dim < 0 || dim > shape.rank)
        return shape;
    if (shape.rank == ATEN_MAX_RANK) {
        (void)aten_fail(b, H5PT_INTERNAL, "A tensor has more than %d dims", ATEN_MAX_RANK);
        return shape;
    }
    memmove(shape.dims + dim + 1, shape.dims + dim, (size_t)(shape.rank - dim) * sizeof *shape.dims);
    shape.dims[dim] = size;
    shape.rank++;
    return shape;
}

struct aten_shape aten_replaced(struct aten_builder *b, int value, int dim, const struct aten_int *size)
{
    struct aten_shape shape = aten_shape_of(b, value);
    if (!b->failed && dim >= 0 && dim < shape.rank)
        shape.dims[dim] = size;
    return shape;
}

/* Two sizes that meet in a broadcast: one of them is 1, or they are equal, which is trusted where only the run tells. */
static const struct aten_int *meet(struct aten_builder *b, const struct aten_int *x, const struct aten_int *y)
{
    if (x == y || aten_int_is(y, 1))
        return x;
    if (aten_int_is(x, 1))
        return y;
    if (aten_int_known(x) && aten_int_known(y))
        (void)aten_fail(b, H5PT_INTERNAL, "Sizes %lld and %lld do not broadcast", (long long)x->value,
                        (long long)y->value);
    return aten_int_known(y) ? y : x;
}

struct aten_shape aten_broadcast(struct aten_builder *b, const struct aten_shape *x, const struct aten_shape *y)
{
    struct aten_shape out = x->rank >= y->rank ? *x : *y;
    const struct aten_shape *other = x->rank >= y->rank ? y : x;
    for (int i = 0; i < other->rank; i++) {
        const struct aten_int **dim = &out.dims[out.rank - other->rank + i];
        *dim = meet(b, *dim, other->dims[i]);
    }
    return out;
}

const struct aten_int *aten_count(struct aten_builder *b, const struct aten_shape *shape)
{
    const struct aten_int *count = aten_int(b, 1);
    for (int i = 0; i < shape->rank; i++)
        count = aten_int_mul(b, count, shape->dims[i]);
    return count;
}

/* ---- attributes ---- */

int64_t aten_attr_int(const struct torch_node *node, const char *name, int64_t fallback)
{
    return torch_attr(node, name) ? torch_attr_int(node, name) : fallback;
}

double aten_attr_real(const struct torch_node *node, const char *name, double fallback)
{
    return torch_attr(node, name) ? torch_attr_float(node, name) : fallback;
}

bool aten_attr_flag(const struct torch_node *node, const char *name, bool fallback)
{
    return torch_attr(node, name) ? torch_attr_int(node, name) != 0 : fallback;
}

void aten_attr_ints(const struct torch_node *node, const char *name, int count, int64_t fallback, int64_t *ret)
{
    const struct torch_attr *attr = torch_attr(node, name);
    for (int i = 0; i < count; i++)
        ret[i] = attr ? torch_attr_at(node, name, i) : fallback;
}

int aten_attr_dims(struct aten_builder *b, const struct torch_node *node, const char *name, int value,
                   int64_t ret[ATEN_MAX_RANK])
{
    const struct torch_attr *attr = torch_attr(node, name);
    int rank = aten_rank(b, value), found = 0;
    bool wanted[ATEN_MAX_RANK] = {false};
    int count = !attr ? 0 : attr->kind == TORCH_ATTR_INTS ? attr->ints.count : 1;
    for (int i = 0; i < count; i++) {
        int dim = aten_dim_of_rank(b, rank, torch_attr_at(node, name, i));
        if (dim >= 0)
            wanted[dim] = true;
    }
    for (int i = 0; i < rank; i++)
        if (wanted[i] || count == 0)
            ret[found++] = i;
    return found;
}
