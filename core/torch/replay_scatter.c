/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers of model.py that put values at places of a tensor. */
#include "torch/replay_internal.h"

#include <math.h>
#include <string.h>

/* The row of x that one index names, or -1. */
static int64_t row_of(const struct shape *x, int depth, const float *index)
{
    int64_t row = 0;
    for (int i = 0; i < depth; i++) {
        if (!(index[i] >= 0 && index[i] < (float)x->dims[i]))
            return -1;
        row = row * x->dims[i] + (int64_t)index[i];
    }
    return row;
}

static bool combine(const char *reduce, float *row, const float *update, int64_t cells)
{
    char way = !reduce ? '=' : strcmp(reduce, "sum") == 0 ? '+' : strcmp(reduce, "prod") == 0 ? '*' : '?';
    bool larger = reduce && strcmp(reduce, "amax") == 0, smaller = reduce && strcmp(reduce, "amin") == 0;
    if (way == '?' && !larger && !smaller)
        return false;
    for (int64_t i = 0; i < cells; i++)
        row[i] = way == '='   ? update[i]
                 : way == '+' ? row[i] + update[i]
                 : way == '*' ? row[i] * update[i]
                 : larger     ? fmaxf(row[i], update[i])
                              : fminf(row[i], update[i]);
    return true;
}

int replay_SCATTER_ND(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0], *indices = call->inputs[1], *updates = call->inputs[2];
    const char *reduce = torch_attr(call->node, "reduce") ? torch_attr_text(call->node, "reduce") : NULL;
    int lead = indices->shape.rank - 1;
    int64_t last = lead >= 0 ? indices->shape.dims[lead] : 0, cells = 1, count;
    if (last < 1 || last > x->shape.rank || dtype_is_float(indices->dtype))
        return replay_mismatch(call, err, "the indices do not name places");
    for (int i = (int)last; i < x->shape.rank; i++)
        cells *= x->shape.dims[i];
    count = indices->count / last;
    if (cells < 1 || updates->count != count * cells)
        return replay_mismatch(call, err, "the updates do not fit the indices");
    struct tensor *y = tensor_copy(x);
    if (!y)
        return h5pt_fail_memory(err);
    for (int64_t i = 0; i < count; i++) {
        int64_t row = row_of(&x->shape, (int)last, indices->data + i * last);
        if (row < 0 || combine(reduce, y->data + row * cells, updates->data + i * cells, cells))
            continue;
        tensor_free(y);
        return replay_mismatch(call, err, "there is no such way to reduce");
    }
    *ret = y;
    return 0;
}

int replay_SLICE_UPDATE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0], *updates = call->inputs[1];
    const struct torch_attr *start = torch_attr(call->node, "start");
    int rank = x->shape.rank;
    int64_t to[SHAPE_MAX_RANK], from[SHAPE_MAX_RANK], offset = 0;
    if (!start || start->kind != TORCH_ATTR_INTS || start->ints.count != rank || updates->shape.rank != rank)
        return replay_mismatch(call, err, "start must name a place");
    replay_strides(&x->shape, to);
    replay_strides(&updates->shape, from);
    for (int i = 0; i < rank; i++) {
        int64_t at = start->ints.v[i];
        if (at < 0 || updates->shape.dims[i] > x->shape.dims[i] || at > x->shape.dims[i] - updates->shape.dims[i])
            return replay_mismatch(call, err, "the updates do not lie inside");
        offset += at * to[i];
    }
    struct tensor *y = tensor_copy(x);
    if (!y)
        return h5pt_fail_memory(err);
    if (updates->count > 0)
        replay_copy_box(rank, updates->shape.dims, updates->data, from, y->data + offset, to);
    *ret = y;
    return 0;
}
