/* SPDX-License-Identifier: Apache-2.0 */
/* Small pieces of torch that several operations are made of. */
#include "layers/compose.h"
#include "layers/lowering.h"
#include "layers/operation.h"

struct lowered lower_input_plain(struct lowering *l, const struct keras_call *call, int index)
{
    struct lowered x = lower_input(l, call, index);
    return x.layout.flat_rank ? lower_input_keras(l, call, index) : x;
}

/* How many of start, start + step … lie in front of `stop`; DIM_UNKNOWN for an unknown size. */
static int64_t range_size(int64_t size, int64_t start, int64_t stop, int64_t step)
{
    if (size < 0)
        return DIM_UNKNOWN;
    start = start < -size ? 0 : start < 0 ? start + size : start > size ? size : start;
    stop = stop < -size ? 0 : stop <= 0 ? stop + size : stop > size ? size : stop;
    return stop > start ? (stop - start + step - 1) / step : 0;
}

struct lowered lower_range(struct lowering *l, const struct keras_call *call, struct lowered x, int dim, int64_t start,
                           int64_t stop, int64_t step)
{
    struct shape shape = lower_shape(l, x.id);
    int64_t starts[SHAPE_MAX_RANK] = {0}, stops[SHAPE_MAX_RANK] = {0}, steps[SHAPE_MAX_RANK];
    if (start == 0 && step == 1 && (stop == 0 || stop == shape.dims[dim]))
        return x;
    for (int i = 0; i < shape.rank; i++)
        steps[i] = 1;
    starts[dim] = start;
    stops[dim] = stop == shape.dims[dim] ? 0 : stop;
    steps[dim] = step;
    struct torch_attr attrs[] = {attr_list(l, "start", shape.rank, starts), attr_list(l, "stop", shape.rank, stops),
                                 attr_list(l, "step", shape.rank, steps)};
    shape.dims[dim] = range_size(shape.dims[dim], start, stop, step);
    return lower_one(l, call, TORCH_SLICE, x, shape, x.layout, lower_dtype(l, x.id), step == 1 ? 2 : 3, attrs);
}

struct lowered lower_flip(struct lowering *l, const struct keras_call *call, struct lowered x, int count,
                          const int64_t *dims)
{
    struct torch_attr attr = attr_list(l, "dims", count, dims);
    return lower_one(l, call, TORCH_FLIP, x, lower_shape(l, x.id), x.layout, lower_dtype(l, x.id), 1, &attr);
}

struct lowered lower_select(struct lowering *l, const struct keras_call *call, struct lowered x, int dim, int64_t index)
{
    struct shape shape = lower_shape(l, x.id);
    struct torch_attr attrs[] = {attr_int("dim", dim), attr_int("index", index)};
    for (int i = dim; i + 1 < shape.rank; i++)
        shape.dims[i] = shape.dims[i + 1];
    shape.rank--;
    return lower_one(l, call, TORCH_SELECT, x, shape, layout_keras(shape.rank), lower_dtype(l, x.id), 2, attrs);
}

struct lowered lower_transpose(struct lowering *l, const struct keras_call *call, struct lowered x, const int *axes)
{
    int64_t dims[SHAPE_MAX_RANK];
    struct shape in = lower_shape(l, x.id);
    for (int i = 0; i < in.rank; i++)
        dims[i] = axes[i];
    if (axes_identity(in.rank, axes))
        return x;
    struct torch_attr attr = attr_list(l, "dims", in.rank, dims);
    return lower_one(l, call, TORCH_PERMUTE, x, shape_permute(&in, axes), layout_keras(in.rank), lower_dtype(l, x.id),
                     1, &attr);
}

struct lowered lower_solve(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                           struct lowered y, bool upper)
{
    struct shape a = lower_shape(l, x.id), b = lower_shape(l, y.id), shape;
    bool vector = b.rank == a.rank - 1;
    if (vector) {
        y = lower_unsqueeze(l, call, y, b.rank);
        b = lower_shape(l, y.id);
    }
    y = lower_convert(l, call, y, DTYPE_F32);
    struct shape left = a, right = b;
    left.dims[a.rank - 1] = right.dims[b.rank - 2] = 1;
    if (!shape_broadcast(&left, &right, &shape))
        h5pt_fail(l->err, H5PT_INTERNAL, call->layer->path, "The matrices do not fit");
    struct torch_attr attr = attr_bool("upper", upper);
    int id = lower_function2(l, call, op, x.id, y.id, op == TORCH_SOLVE_TRIANGULAR, &attr, shape, DTYPE_F32);
    struct lowered z = {id, layout_keras(shape.rank)};
    return vector ? lower_select(l, call, z, shape.rank - 1, 0) : z;
}
