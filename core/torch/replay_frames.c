/* SPDX-License-Identifier: Apache-2.0 */
/* Windows over one dim, and images made of the windows that F.unfold gives. */
#include "torch/replay_internal.h"

#include <string.h>

int replay_UNFOLD_DIM(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int64_t size = replay_int(call, "size", 0), step = replay_int(call, "step", 0), inner = 1;
    int dim = 0, rank = x->shape.rank;
    if (rank == SHAPE_MAX_RANK || replay_dim(call, replay_int(call, "dimension", 0), rank, &dim, err) != 0)
        return rank == SHAPE_MAX_RANK ? replay_mismatch(call, err, "there are too many dims") : -1;
    int64_t n = x->shape.dims[dim];
    if (size < 1 || step < 1 || size > n)
        return replay_mismatch(call, err, "no window of %lld fits", (long long)size);
    struct shape shape = x->shape;
    shape.dims[dim] = (n - size) / step + 1;
    shape.dims[shape.rank++] = size;
    for (int i = dim + 1; i < rank; i++)
        inner *= x->shape.dims[i];
    struct tensor *y = replay_new(&shape, x->dtype, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < y->count; i++) {
        int64_t tap = i % size, behind = i / size % inner, row = i / size / inner, count = shape.dims[dim];
        y->data[i] = x->data[(row / count * n + row % count * step + tap) * inner + behind];
    }
    *ret = y;
    return 0;
}

int replay_FOLD(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int64_t out[2], size[2], dilation[2], padding[2], stride[2], count[2];
    if (replay_ints(call, "output_size", 2, 1, 1, out, err) != 0 ||
        replay_ints(call, "kernel_size", 2, 1, 1, size, err) != 0 ||
        replay_ints(call, "dilation", 2, 1, 1, dilation, err) != 0 ||
        replay_ints(call, "padding", 2, 0, 0, padding, err) != 0 ||
        replay_ints(call, "stride", 2, 1, 1, stride, err) != 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        int64_t room = out[i] + 2 * padding[i] - dilation[i] * (size[i] - 1) - 1;
        count[i] = room < 0 ? 0 : room / stride[i] + 1;
    }
    int64_t taps = size[0] * size[1], windows = count[0] * count[1];
    if (x->shape.rank != 3 || x->shape.dims[1] % taps != 0 || x->shape.dims[2] != windows || windows < 1)
        return replay_mismatch(call, err, "these are not the windows of such an image");
    struct shape shape = {.rank = 4, .dims = {x->shape.dims[0], x->shape.dims[1] / taps, out[0], out[1]}};
    struct tensor *y = replay_new(&shape, x->dtype, err);
    if (!y)
        return -1;
    memset(y->data, 0, (size_t)y->count * sizeof *y->data);
    for (int64_t i = 0; i < x->count; i++) {
        int64_t window = i % windows, tap = i / windows % taps, plane = i / windows / taps;
        int64_t row = window / count[1] * stride[0] + tap / size[1] * dilation[0] - padding[0];
        int64_t column = window % count[1] * stride[1] + tap % size[1] * dilation[1] - padding[1];
        if (row >= 0 && row < out[0] && column >= 0 && column < out[1])
            y->data[(plane * out[0] + row) * out[1] + column] += x->data[i];
    }
    *ret = y;
    return 0;
}
