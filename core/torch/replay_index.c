/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that pick and repeat cells of a tensor. */
#include "torch/replay_internal.h"

#include <inttypes.h>

/* Calls `source` for every cell of `shape`: it gives the cell of x, or -1 for 0. */
typedef int64_t source_function(const struct replay_call *call, const int64_t *index, const int64_t *steps,
                                const void *context);

static int pick(const struct replay_call *call, const struct shape *shape, source_function *source, const void *context,
                struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    struct tensor *y = replay_new(shape, x->dtype, err);
    int64_t index[SHAPE_MAX_RANK] = {0}, steps[SHAPE_MAX_RANK];
    if (!y)
        return -1;
    replay_strides(&x->shape, steps);
    for (int64_t i = 0; i < y->count; i++) {
        int64_t at = source(call, index, steps, context);
        y->data[i] = at < 0 ? 0.0f : x->data[at];
        for (int d = shape->rank - 1; d >= 0 && ++index[d] == shape->dims[d]; d--)
            index[d] = 0;
    }
    *ret = y;
    return 0;
}

static int64_t rolled(const struct replay_call *call, const int64_t *index, const int64_t *steps, const void *context)
{
    const int64_t *shifts = context;
    const struct shape *x = &call->inputs[0]->shape;
    int64_t at = 0;
    for (int i = 0; i < x->rank; i++) {
        int64_t n = x->dims[i], from = (index[i] - shifts[i]) % n;
        at += (from < 0 ? from + n : from) * steps[i];
    }
    return at;
}

int replay_ROLL(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct shape *x = &call->inputs[0]->shape;
    const struct torch_attr *dims = torch_attr(call->node, "dims");
    int64_t shifts[SHAPE_MAX_RANK] = {0};
    int count = dims && dims->kind == TORCH_ATTR_INTS ? dims->ints.count : 1;
    for (int i = 0; i < count; i++) {
        int dim = 0;
        if (replay_dim(call, torch_attr_at(call->node, "dims", i), x->rank, &dim, err) != 0)
            return -1;
        shifts[dim] += torch_attr_at(call->node, "shifts", i);
    }
    return pick(call, x, rolled, shifts, ret, err);
}

static int64_t tiled(const struct replay_call *call, const int64_t *index, const int64_t *steps, const void *context)
{
    const struct shape *x = &call->inputs[0]->shape;
    int lead = *(const int *)context;
    int64_t at = 0;
    for (int i = 0; i < x->rank; i++)
        at += index[lead + i] % x->dims[i] * steps[i];
    return at;
}

int replay_TILE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct shape *x = &call->inputs[0]->shape;
    const struct torch_attr *dims = torch_attr(call->node, "dims");
    int count = dims && dims->kind == TORCH_ATTR_INTS ? dims->ints.count : 0;
    struct shape shape = {.rank = count > x->rank ? count : x->rank};
    if (shape.rank > SHAPE_MAX_RANK)
        return replay_mismatch(call, err, "more than %d dims are not supported", SHAPE_MAX_RANK);
    int lead = shape.rank - x->rank;
    for (int i = 0; i < shape.rank; i++) {
        int64_t times = i < shape.rank - count ? 1 : dims->ints.v[i - (shape.rank - count)];
        if (times < 0 || __builtin_mul_overflow(i < lead ? 1 : x->dims[i - lead], times, &shape.dims[i]))
            return replay_mismatch(call, err, "it cannot be repeated %" PRId64 " times", times);
    }
    return pick(call, &shape, tiled, &lead, ret, err);
}

struct triangle {
    int64_t diagonal;
    bool upper;
};

static int64_t triangle_cell(const struct replay_call *call, const int64_t *index, const int64_t *steps,
                             const void *context)
{
    const struct triangle *t = context;
    int rank = call->inputs[0]->shape.rank;
    int64_t above = index[rank - 1] - index[rank - 2], at = 0;
    if (t->upper ? above < t->diagonal : above > t->diagonal)
        return -1;
    for (int i = 0; i < rank; i++)
        at += index[i] * steps[i];
    return at;
}

static int triangle(const struct replay_call *call, bool upper, struct tensor **ret, struct h5pt_error *err)
{
    struct triangle t = {replay_int(call, "diagonal", 0), upper};
    if (call->inputs[0]->shape.rank < 2)
        return replay_mismatch(call, err, "it is no matrix");
    return pick(call, &call->inputs[0]->shape, triangle_cell, &t, ret, err);
}

int replay_TRIL(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return triangle(call, false, ret, err);
}

int replay_TRIU(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return triangle(call, true, ret, err);
}

struct diagonal {
    int dim1, dim2;
    int64_t offset;
};

static int64_t diagonal_cell(const struct replay_call *call, const int64_t *index, const int64_t *steps,
                             const void *context)
{
    const struct diagonal *d = context;
    int rank = call->inputs[0]->shape.rank, k = 0;
    int64_t at = 0, along = index[rank - 2];
    for (int i = 0; i < rank; i++)
        if (i != d->dim1 && i != d->dim2)
            at += index[k++] * steps[i];
    return at + (along + (d->offset < 0 ? -d->offset : 0)) * steps[d->dim1] +
           (along + (d->offset > 0 ? d->offset : 0)) * steps[d->dim2];
}

int replay_DIAGONAL(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct shape *x = &call->inputs[0]->shape;
    struct diagonal d = {.offset = replay_int(call, "offset", 0)};
    struct shape shape = {.rank = 0};
    if (replay_dim(call, replay_int(call, "dim1", 0), x->rank, &d.dim1, err) != 0 ||
        replay_dim(call, replay_int(call, "dim2", 1), x->rank, &d.dim2, err) != 0)
        return -1;
    if (d.dim1 == d.dim2)
        return replay_mismatch(call, err, "the dims are the same");
    for (int i = 0; i < x->rank; i++)
        if (i != d.dim1 && i != d.dim2)
            shape.dims[shape.rank++] = x->dims[i];
    int64_t rows = x->dims[d.dim1] + (d.offset < 0 ? d.offset : 0),
            columns = x->dims[d.dim2] - (d.offset > 0 ? d.offset : 0);
    int64_t length = rows < columns ? rows : columns;
    shape.dims[shape.rank++] = length > 0 ? length : 0;
    return pick(call, &shape, diagonal_cell, &d, ret, err);
}

/* The last dim becomes a diagonal of the last two; the rest is zero. */
int replay_DIAG_EMBED(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int64_t offset = replay_int(call, "offset", 0);
    struct shape shape = x->shape;
    if (shape.rank < 1 || shape.rank == SHAPE_MAX_RANK || offset < -INT32_MAX || offset > INT32_MAX)
        return replay_mismatch(call, err, "there is no dim for the diagonal");
    int64_t n = shape.dims[shape.rank - 1], size = n + (offset < 0 ? -offset : offset);
    shape.dims[shape.rank - 1] = size;
    shape.dims[shape.rank++] = size;
    struct tensor *y = replay_new(&shape, x->dtype, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < y->count; i++)
        y->data[i] = 0;
    for (int64_t i = 0; n > 0 && i < x->count; i++) {
        int64_t row = i % n + (offset < 0 ? -offset : 0), column = i % n + (offset > 0 ? offset : 0);
        y->data[i / n * size * size + row * size + column] = x->data[i];
    }
    *ret = y;
    return 0;
}

int replay_STACK(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    struct shape shape = call->inputs[0]->shape;
    enum dtype dtype = call->inputs[0]->dtype;
    int dim = 0;
    int64_t outer = 1, inner = 1;
    if (shape.rank == SHAPE_MAX_RANK || replay_dim(call, replay_int(call, "dim", 0), shape.rank + 1, &dim, err) != 0)
        return replay_mismatch(call, err, "the dim is not one of the result's");
    for (int i = 1; i < call->node->input_count; i++) {
        if (!shape_equal(&call->inputs[i]->shape, &call->inputs[0]->shape))
            return replay_mismatch(call, err, "the inputs differ in shape");
        dtype = replay_promote(dtype, call->inputs[i]->dtype);
    }
    for (int i = 0; i < shape.rank; i++)
        *(i < dim ? &outer : &inner) *= shape.dims[i];
    for (int i = shape.rank++; i > dim; i--)
        shape.dims[i] = shape.dims[i - 1];
    shape.dims[dim] = call->node->input_count;
    struct tensor *y = replay_new(&shape, dtype, err);
    if (!y)
        return -1;
    for (int i = 0; i < call->node->input_count; i++)
        replay_copy_box(2, (int64_t[]){outer, inner}, call->inputs[i]->data, (int64_t[]){inner, 1}, y->data + i * inner,
                        (int64_t[]){inner * call->node->input_count, 1});
    *ret = y;
    return 0;
}

/* An index that may count from the end; false when it is out of range. */
static bool resolve_index(float value, int64_t size, int64_t *ret)
{
    int64_t i = (int64_t)value;
    *ret = i < 0 ? i + size : i;
    return *ret >= 0 && *ret < size;
}

int replay_INDEX_SELECT(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0], *indices = call->inputs[1];
    int dim = 0;
    int64_t outer = 1, inner = 1;
    if (replay_dim(call, replay_int(call, "dim", 0), x->shape.rank, &dim, err) != 0)
        return -1;
    struct shape shape = {.rank = x->shape.rank - 1 + indices->shape.rank};
    if (shape.rank > SHAPE_MAX_RANK || dtype_is_float(indices->dtype) || indices->dtype == DTYPE_BOOL)
        return replay_mismatch(call, err, "the indices are not of a form that is supported");
    for (int i = 0, k = 0; i < x->shape.rank; i++) {
        for (int j = 0; i == dim && j < indices->shape.rank; j++)
            shape.dims[k++] = indices->shape.dims[j];
        if (i != dim)
            shape.dims[k++] = x->shape.dims[i];
        *(i < dim ? &outer : &inner) *= i == dim ? 1 : x->shape.dims[i];
    }
    struct tensor *y = replay_new(&shape, x->dtype, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < indices->count; i++) {
        int64_t at;
        if (!resolve_index(indices->data[i], x->shape.dims[dim], &at)) {
            tensor_free(y);
            return replay_mismatch(call, err, "an index is out of range");
        }
        replay_copy_box(2, (int64_t[]){outer, inner}, x->data + at * inner, (int64_t[]){inner * x->shape.dims[dim], 1},
                        y->data + i * inner, (int64_t[]){inner * indices->count, 1});
    }
    *ret = y;
    return 0;
}

int replay_TAKE_ALONG_DIM(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0], *indices = call->inputs[1];
    int rank = x->shape.rank, dim = 0;
    struct shape shape = indices->shape;
    int64_t x_steps[SHAPE_MAX_RANK], i_steps[SHAPE_MAX_RANK], index[SHAPE_MAX_RANK] = {0};
    if (indices->shape.rank != rank || replay_dim(call, replay_int(call, "dim", 0), rank, &dim, err) != 0)
        return replay_mismatch(call, err, "the indices have another number of dims");
    for (int i = 0; i < rank; i++) {
        if (i != dim && shape.dims[i] == 1)
            shape.dims[i] = x->shape.dims[i];
        if (i != dim && x->shape.dims[i] != 1 && x->shape.dims[i] != shape.dims[i])
            return replay_mismatch(call, err, "the shapes do not broadcast");
    }
    struct tensor *y = replay_new(&shape, x->dtype, err);
    if (!y)
        return -1;
    replay_strides(&x->shape, x_steps);
    replay_strides(&indices->shape, i_steps);
    for (int64_t n = 0; n < y->count; n++) {
        int64_t at = 0, which = 0, chosen;
        for (int i = 0; i < rank; i++) {
            which += indices->shape.dims[i] == 1 ? 0 : index[i] * i_steps[i];
            at += i == dim || x->shape.dims[i] == 1 ? 0 : index[i] * x_steps[i];
        }
        if (!resolve_index(indices->data[which], x->shape.dims[dim], &chosen)) {
            tensor_free(y);
            return replay_mismatch(call, err, "an index is out of range");
        }
        y->data[n] = x->data[at + chosen * x_steps[dim]];
        for (int i = rank - 1; i >= 0 && ++index[i] == shape.dims[i]; i--)
            index[i] = 0;
    }
    *ret = y;
    return 0;
}
