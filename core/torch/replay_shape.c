/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that move values and do not change them. */
#include "torch/replay_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static int give(struct tensor *tensor, struct tensor **ret, struct h5pt_error *err)
{
    if (!tensor)
        return h5pt_fail_memory(err);
    *ret = tensor;
    return 0;
}

int replay_PARAMETER(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    if (call->node->parameter_count != 1)
        return replay_mismatch(call, err, "it is one parameter");
    return give(tensor_copy(call->parameters[0]), ret, err);
}

static int identity(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return give(tensor_copy(call->inputs[0]), ret, err);
}

/* Training only. */
#define IDENTITY(id)                                                                                                   \
    int replay_##id(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)                       \
    {                                                                                                                  \
        return identity(call, ret, err);                                                                               \
    }

IDENTITY(DROPOUT)
IDENTITY(DROPOUT1D)
IDENTITY(DROPOUT2D)
IDENTITY(DROPOUT3D)
IDENTITY(ALPHA_DROPOUT)

int replay_UNFLATTEN_LIKE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct shape *x = &call->inputs[0]->shape, *like = &call->inputs[1]->shape;
    if (x->rank < 1 || like->rank < 2 || x->rank == SHAPE_MAX_RANK || x->dims[0] != like->dims[0] * like->dims[1])
        return replay_mismatch(call, err, "the first dim cannot be split like that");
    struct shape shape = {.rank = x->rank + 1, .dims = {like->dims[0], like->dims[1]}};
    memcpy(shape.dims + 2, x->dims + 1, (size_t)(x->rank - 1) * sizeof *shape.dims);
    return replay_view(call->inputs[0], &shape, ret, err);
}

int replay_PERMUTE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    const struct torch_attr *attr = torch_attr(call->node, "dims");
    int axes[SHAPE_MAX_RANK];
    bool seen[SHAPE_MAX_RANK] = {false};
    if (!attr || attr->kind != TORCH_ATTR_INTS || attr->ints.count != x->shape.rank)
        return replay_mismatch(call, err, "dims must list all %d dims", x->shape.rank);
    for (int i = 0; i < x->shape.rank; i++) {
        if (replay_dim(call, attr->ints.v[i], x->shape.rank, &axes[i], err) != 0)
            return -1;
        if (seen[axes[i]])
            return replay_mismatch(call, err, "dim %d appears twice", axes[i]);
        seen[axes[i]] = true;
    }
    return give(tensor_transpose(x, axes), ret, err);
}

/* The `sizes` attribute with sizes of input 0 put in. */
static int read_sizes(const struct replay_call *call, struct shape *ret, struct h5pt_error *err)
{
    const struct shape *x = &call->inputs[0]->shape;
    const struct torch_attr *attr = torch_attr(call->node, "sizes");
    if (!attr || attr->kind != TORCH_ATTR_SIZES || attr->sizes.count > SHAPE_MAX_RANK)
        return replay_mismatch(call, err, "sizes are missing, or more than %d", SHAPE_MAX_RANK);
    ret->rank = attr->sizes.count;
    for (int i = 0; i < ret->rank; i++) {
        const struct torch_size *size = &attr->sizes.v[i];
        if (size->from_dim >= x->rank)
            return replay_mismatch(call, err, "there is no dim %d", size->from_dim);
        ret->dims[i] = size->from_dim < 0 ? size->value : x->dims[size->from_dim];
        if (ret->dims[i] < -1)
            return replay_mismatch(call, err, "a size cannot be %" PRId64, ret->dims[i]);
    }
    return 0;
}

int replay_RESHAPE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    struct shape shape = {.rank = 0};
    char text[SHAPE_TEXT_SIZE];
    int free_dim = -1;
    int64_t known = 1, count;
    if (read_sizes(call, &shape, err) != 0)
        return -1;
    for (int i = 0; i < shape.rank; i++) {
        if (shape.dims[i] >= 0) {
            if (__builtin_mul_overflow(known, shape.dims[i], &known))
                return replay_mismatch(call, err, "the sizes are too large");
        } else if (free_dim >= 0) {
            return replay_mismatch(call, err, "only one size can be -1");
        } else {
            free_dim = i;
        }
    }
    if (free_dim >= 0 && known > 0)
        shape.dims[free_dim] = x->count / known;
    if (!shape_count(&shape, &count) || count != x->count)
        return replay_mismatch(call, err, "%" PRId64 " elements do not make %s", x->count, shape_text(&shape, text));
    return replay_view(x, &shape, ret, err);
}

int replay_FLATTEN(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int rank = x->shape.rank, start = 0, end = 0;
    struct shape shape = {.rank = 0};
    if (rank == 0)
        return replay_view(x, &(struct shape){.rank = 1, .dims = {1}}, ret, err);
    if (replay_dim(call, replay_int(call, "start_dim", 0), rank, &start, err) != 0 ||
        replay_dim(call, replay_int(call, "end_dim", -1), rank, &end, err) != 0)
        return -1;
    if (start > end)
        return replay_mismatch(call, err, "start_dim comes after end_dim");
    for (int i = 0; i < rank; i++) {
        if (i > start && i <= end)
            shape.dims[shape.rank - 1] *= x->shape.dims[i];
        else
            shape.dims[shape.rank++] = x->shape.dims[i];
    }
    return replay_view(x, &shape, ret, err);
}

/* One of the sizes may be -1: what is left. */
int replay_UNFLATTEN(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct shape *x = &call->inputs[0]->shape;
    const struct torch_attr *sizes = torch_attr(call->node, "unflattened_size");
    int count = sizes && sizes->kind == TORCH_ATTR_INTS ? sizes->ints.count : 0, dim = 0, open = -1;
    if (count < 1 || x->rank + count - 1 > SHAPE_MAX_RANK)
        return replay_mismatch(call, err, "it takes sizes, %d dims at most", SHAPE_MAX_RANK);
    if (replay_dim(call, replay_int(call, "dim", 0), x->rank, &dim, err) != 0)
        return -1;
    struct shape shape = {.rank = x->rank + count - 1};
    int64_t known = 1;
    for (int i = 0; i < shape.rank; i++)
        shape.dims[i] = i < dim ? x->dims[i] : i < dim + count ? sizes->ints.v[i - dim] : x->dims[i - count + 1];
    for (int i = dim; i < dim + count; i++) {
        if (shape.dims[i] == -1 && open < 0)
            open = i;
        else if (shape.dims[i] < 0 || __builtin_mul_overflow(known, shape.dims[i], &known))
            return replay_mismatch(call, err, "the sizes make no sense");
    }
    if (open >= 0 && known > 0)
        shape.dims[open] = x->dims[dim] / known;
    if ((open >= 0 ? known * (x->dims[dim] / (known ? known : 1)) : known) != x->dims[dim])
        return replay_mismatch(call, err, "the sizes do not make up dim %d", dim);
    return replay_view(call->inputs[0], &shape, ret, err);
}

int replay_UNSQUEEZE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int dim = 0;
    if (x->shape.rank == SHAPE_MAX_RANK)
        return replay_mismatch(call, err, "more than %d dims are not supported", SHAPE_MAX_RANK);
    if (replay_dim(call, replay_int(call, "dim", 0), x->shape.rank + 1, &dim, err) != 0)
        return -1;
    struct shape shape = {.rank = x->shape.rank + 1};
    for (int i = 0; i < shape.rank; i++)
        shape.dims[i] = i == dim ? 1 : x->shape.dims[i < dim ? i : i - 1];
    return replay_view(x, &shape, ret, err);
}

int replay_SQUEEZE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    bool dims[SHAPE_MAX_RANK];
    if (replay_dims(call, "dim", dims, err) != 0)
        return -1;
    struct shape shape = {.rank = 0};
    for (int i = 0; i < x->shape.rank; i++)
        if (!dims[i] || x->shape.dims[i] != 1)
            shape.dims[shape.rank++] = x->shape.dims[i];
    return replay_view(x, &shape, ret, err);
}

int replay_EXPAND(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    struct shape shape = {.rank = 0};
    int64_t x_steps[SHAPE_MAX_RANK], in_steps[SHAPE_MAX_RANK], out_steps[SHAPE_MAX_RANK];
    if (read_sizes(call, &shape, err) != 0)
        return -1;
    int lead = shape.rank - x->shape.rank;
    if (lead < 0)
        return replay_mismatch(call, err, "fewer sizes than dims");
    replay_strides(&x->shape, x_steps);
    for (int i = 0; i < shape.rank; i++) {
        int64_t dim = i < lead ? 1 : x->shape.dims[i - lead];
        if (shape.dims[i] < 0 && i >= lead)
            shape.dims[i] = dim;
        if (shape.dims[i] < 0 || (dim != 1 && dim != shape.dims[i]))
            return replay_mismatch(call, err, "dim %d of %" PRId64 " cannot become %" PRId64, i, dim, shape.dims[i]);
        in_steps[i] = i < lead || dim == 1 ? 0 : x_steps[i - lead];
    }
    struct tensor *y = replay_new(&shape, x->dtype, err);
    if (!y)
        return -1;
    replay_strides(&shape, out_steps);
    replay_copy_box(shape.rank, shape.dims, x->data, in_steps, y->data, out_steps);
    *ret = y;
    return 0;
}

/* The elements before and behind a dim: a tensor is outer x dims[dim] x inner. */
static void around(const struct shape *shape, int dim, int64_t *outer, int64_t *inner)
{
    *outer = *inner = 1;
    for (int i = 0; i < shape->rank; i++)
        *(i < dim ? outer : inner) *= i == dim ? 1 : shape->dims[i];
}

int replay_REPEAT_INTERLEAVE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int64_t repeats, outer, inner;
    int dim = 0;
    if (replay_ints(call, "repeats", 1, 0, 1, &repeats, err) != 0 ||
        replay_dim(call, replay_int(call, "dim", 0), x->shape.rank, &dim, err) != 0)
        return -1;
    struct shape shape = x->shape;
    if (__builtin_mul_overflow(shape.dims[dim], repeats, &shape.dims[dim]))
        return replay_mismatch(call, err, "the sizes are too large");
    struct tensor *y = replay_new(&shape, x->dtype, err);
    if (!y)
        return -1;
    around(&x->shape, dim, &outer, &inner);
    int64_t dims[3] = {outer * x->shape.dims[dim], repeats, inner};
    replay_copy_box(3, dims, x->data, (int64_t[]){inner, 0, 1}, y->data, (int64_t[]){repeats * inner, inner, 1});
    *ret = y;
    return 0;
}

/* A tensor with before[i] more cells in front of dim i and after[i] behind it; negative ones cut. */
static int pad(const struct replay_call *call, const int64_t *before, const int64_t *after, float value,
               struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    struct shape shape = x->shape, box = x->shape;
    int64_t in_steps[SHAPE_MAX_RANK], out_steps[SHAPE_MAX_RANK], in_at = 0, out_at = 0;
    for (int i = 0; i < shape.rank; i++) {
        shape.dims[i] += before[i] + after[i];
        box.dims[i] += (before[i] < 0 ? before[i] : 0) + (after[i] < 0 ? after[i] : 0);
        if (shape.dims[i] < 0 || box.dims[i] < 0)
            return replay_mismatch(call, err, "nothing is left of dim %d", i);
    }
    struct tensor *y = replay_new(&shape, x->dtype, err);
    if (!y)
        return -1;
    replay_strides(&x->shape, in_steps);
    replay_strides(&shape, out_steps);
    bool covered = true;
    for (int i = 0; i < shape.rank; i++) {
        in_at += before[i] < 0 ? -before[i] * in_steps[i] : 0;
        out_at += before[i] > 0 ? before[i] * out_steps[i] : 0;
        covered = covered && box.dims[i] == shape.dims[i];
    }
    for (int64_t i = 0; !covered && i < y->count; i++)
        y->data[i] = value;
    int64_t cells;
    if (shape_count(&box, &cells) && cells > 0)
        replay_copy_box(shape.rank, box.dims, x->data + in_at, in_steps, y->data + out_at, out_steps);
    *ret = y;
    return 0;
}

int replay_PAD(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct torch_attr *attr = torch_attr(call->node, "pad");
    int rank = call->inputs[0]->shape.rank;
    int64_t before[SHAPE_MAX_RANK] = {0}, after[SHAPE_MAX_RANK] = {0};
    if (!attr || attr->kind != TORCH_ATTR_INTS || attr->ints.count % 2 != 0 || attr->ints.count / 2 > rank)
        return replay_mismatch(call, err, "pad must hold two values for at most %d dims", rank);
    for (int i = 0; i < attr->ints.count; i++) {
        int64_t cells = attr->ints.v[i];
        if (cells < -INT32_MAX || cells > INT32_MAX)
            return replay_mismatch(call, err, "pad cannot be %" PRId64, cells);
        (i % 2 == 0 ? before : after)[rank - 1 - i / 2] = cells;
    }
    return pad(call, before, after, (float)replay_float(call, "value", 0), ret, err);
}

int replay_PAD_SAME(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct shape *x = &call->inputs[0]->shape;
    int64_t kernel[SHAPE_MAX_RANK], stride[SHAPE_MAX_RANK], dilation[SHAPE_MAX_RANK];
    int64_t before[SHAPE_MAX_RANK] = {0}, after[SHAPE_MAX_RANK] = {0};
    if (x->rank < 3)
        return replay_mismatch(call, err, "there are no spatial dims");
    if (replay_ints(call, "kernel_size", x->rank - 2, 1, 1, kernel, err) != 0 ||
        replay_ints(call, "stride", x->rank - 2, 1, 1, stride, err) != 0 ||
        replay_ints(call, "dilation", x->rank - 2, 1, 1, dilation, err) != 0)
        return -1;
    for (int i = 0; i < x->rank - 2; i++)
        replay_pad_same(x->dims[2 + i], kernel[i], stride[i], dilation[i], &before[2 + i], &after[2 + i]);
    return pad(call, before, after, (float)replay_float(call, "value", 0), ret, err);
}

/* The cells start, start + step … before stop, as Python reads them. */
struct range {
    int64_t start, step, count;
};

static struct range range_of(int64_t size, int64_t start, int64_t stop, int64_t step)
{
    start = start < -size ? 0 : start < 0 ? start + size : start > size ? size : start;
    stop = stop < -size ? 0 : stop <= 0 ? stop + size : stop > size ? size : stop;
    return (struct range){start, step, stop > start ? (stop - start + step - 1) / step : 0};
}

int replay_SLICE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    struct shape shape = x->shape;
    int64_t in_steps[SHAPE_MAX_RANK], out_steps[SHAPE_MAX_RANK], at = 0;
    static const char *const names[2] = {"start", "stop"};
    for (int i = 0; i < 2; i++) {
        const struct torch_attr *attr = torch_attr(call->node, names[i]);
        if (!attr || attr->kind != TORCH_ATTR_INTS || attr->ints.count != shape.rank)
            return replay_mismatch(call, err, "%s must hold %d values", names[i], shape.rank);
    }
    replay_strides(&x->shape, in_steps);
    for (int i = 0; i < shape.rank; i++) {
        int64_t step = torch_attr(call->node, "step") ? torch_attr_at(call->node, "step", i) : 1;
        if (step < 1)
            return replay_mismatch(call, err, "a step must be positive");
        struct range range = range_of(x->shape.dims[i], torch_attr_at(call->node, "start", i),
                                      torch_attr_at(call->node, "stop", i), step);
        shape.dims[i] = range.count;
        at += range.start * in_steps[i];
        in_steps[i] *= step;
    }
    struct tensor *y = replay_new(&shape, x->dtype, err);
    if (!y)
        return -1;
    replay_strides(&shape, out_steps);
    if (y->count > 0)
        replay_copy_box(shape.rank, shape.dims, x->data + at, in_steps, y->data, out_steps);
    *ret = y;
    return 0;
}

int replay_CAT(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    struct shape shape = call->inputs[0]->shape;
    enum dtype dtype = call->inputs[0]->dtype;
    int dim = 0;
    int64_t outer, inner, at = 0;
    if (replay_dim(call, replay_int(call, "dim", 0), shape.rank, &dim, err) != 0)
        return -1;
    for (int i = 1; i < call->node->input_count; i++) {
        struct shape other = call->inputs[i]->shape;
        int64_t size = other.rank > dim ? other.dims[dim] : 0;
        other.dims[dim] = shape.dims[dim];
        if (!shape_equal(&other, &shape))
            return replay_mismatch(call, err, "the inputs differ in more than dim %d", dim);
        shape.dims[dim] += size;
        dtype = replay_promote(dtype, call->inputs[i]->dtype);
    }
    struct tensor *y = replay_new(&shape, dtype, err);
    if (!y)
        return -1;
    around(&shape, dim, &outer, &inner);
    for (int i = 0; i < call->node->input_count; i++) {
        int64_t run = call->inputs[i]->shape.dims[dim] * inner;
        replay_copy_box(2, (int64_t[]){outer, run}, call->inputs[i]->data, (int64_t[]){run, 1}, y->data + at,
                        (int64_t[]){shape.dims[dim] * inner, 1});
        at += run;
    }
    *ret = y;
    return 0;
}

int replay_CAST(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    const char *name = torch_attr_text(call->node, "dtype");
    enum dtype dtype;
    if (!name || !dtype_from_name(name, &dtype) ||
        (!dtype_is_float(dtype) && dtype != DTYPE_BOOL && dtype_size(dtype) < 4))
        return h5pt_fail(err, H5PT_UNSUPPORTED_DTYPE, call->node->module, "A cast to %s cannot be checked",
                         name ? name : "no type");
    struct tensor *y = replay_new(&x->shape, dtype, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < x->count; i++)
        y->data[i] = dtype_is_float(dtype) ? x->data[i]
                     : dtype == DTYPE_BOOL ? (x->data[i] != 0 ? 1.0f : 0.0f)
                                           : truncf(x->data[i]);
    *ret = y;
    return 0;
}
