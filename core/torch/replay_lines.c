/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of whole lines along a dim: those that give one number (products, positions, quantiles, norms), and those that
 * give another line (sorting, running sums). */
#include "torch/replay_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* The line of `count` numbers becomes `out_count` numbers. Both are contiguous. False: without memory. */
typedef bool line_function(const struct replay_call *call, const float *in, int64_t count, float *out,
                           int64_t out_count);

struct lines {
    line_function *function;
    bool dims[SHAPE_MAX_RANK]; /* that make up the line */
    int64_t out_count;         /* numbers that come of a line */
    int out_dim;               /* -1: a reduction; else the dim (the line's) that has out_count numbers */
    enum dtype dtype;
};

/* x with the dims of the line behind the others. */
static struct tensor *line_last(const struct tensor *x, const bool *dims, int *ret_order)
{
    int n = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < x->shape.rank; i++)
            if (dims[i] == (pass == 1))
                ret_order[n++] = i;
    return tensor_transpose(x, ret_order);
}

static int run_lines(const struct replay_call *call, const struct lines *lines, struct tensor **ret,
                     struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int order[SHAPE_MAX_RANK], back[SHAPE_MAX_RANK];
    int64_t count = 1;
    struct tensor *last = line_last(x, lines->dims, order);
    for (int i = 0; i < x->shape.rank; i++)
        count *= lines->dims[i] ? x->shape.dims[i] : 1;
    struct shape shape = {.rank = 0};
    if (lines->out_dim < 0) {
        shape = replay_reduced_shape(&x->shape, lines->dims, replay_bool(call, "keepdim", false));
    } else if (last) {
        shape = last->shape;
        shape.dims[shape.rank - 1] = lines->out_count;
    }
    struct tensor *y = last ? tensor_new(&shape, lines->dtype) : NULL;
    bool ok = y != NULL;
    for (int64_t i = 0; ok && lines->out_count > 0 && i < y->count / lines->out_count; i++)
        ok = lines->function(call, last->data + i * count, count, y->data + i * lines->out_count, lines->out_count);
    tensor_free(last);
    if (!ok) {
        tensor_free(y);
        return h5pt_fail_memory(err);
    }
    if (lines->out_dim >= 0) {
        for (int i = 0; i < x->shape.rank; i++)
            back[order[i]] = i;
        struct tensor *moved = tensor_transpose(y, back);
        tensor_free(y);
        if (!moved)
            return h5pt_fail_memory(err);
        y = moved;
    }
    *ret = y;
    return 0;
}

static int reduce_lines(const struct replay_call *call, line_function *function, enum dtype dtype, struct tensor **ret,
                        struct h5pt_error *err)
{
    struct lines lines = {.function = function, .out_count = 1, .out_dim = -1, .dtype = dtype};
    if (replay_dims(call, "dim", lines.dims, err) != 0)
        return -1;
    for (int i = 0; i < call->inputs[0]->shape.rank; i++)
        if (lines.dims[i] && call->inputs[0]->shape.dims[i] == 0)
            return replay_mismatch(call, err, "the lines have no elements");
    return run_lines(call, &lines, ret, err);
}

static bool line_product(const struct replay_call *call, const float *in, int64_t count, float *out, int64_t out_count)
{
    double p = 1;
    (void)call;
    (void)out_count;
    for (int64_t i = 0; i < count; i++)
        p *= (double)in[i];
    *out = (float)p;
    return true;
}

static bool line_position(const struct replay_call *call, const float *in, int64_t count, float *out, int64_t out_count)
{
    bool largest = call->node->op == TORCH_ARGMAX;
    int64_t at = 0;
    (void)out_count;
    for (int64_t i = 1; i < count; i++)
        if (!isnan(in[at]) && (isnan(in[i]) || (largest ? in[i] > in[at] : in[i] < in[at])))
            at = i;
    *out = (float)at;
    return true;
}

static bool line_log_sum_exp(const struct replay_call *call, const float *in, int64_t count, float *out,
                             int64_t out_count)
{
    float most = -INFINITY, sum = 0;
    (void)call;
    (void)out_count;
    for (int64_t i = 0; i < count; i++)
        most = in[i] > most || isnan(in[i]) ? in[i] : most;
    float shift = isinf(most) ? 0 : most;
    for (int64_t i = 0; i < count; i++)
        sum += expf(in[i] - shift);
    *out = logf(sum) + shift;
    return true;
}

static bool line_norm(const struct replay_call *call, const float *in, int64_t count, float *out, int64_t out_count)
{
    double order = replay_float(call, "ord", 2), sum = isinf(order) && order < 0 ? (double)INFINITY : 0;
    (void)out_count;
    for (int64_t i = 0; i < count; i++) {
        double size = fabs((double)in[i]);
        if (isinf(order))
            sum = order > 0 ? fmax(sum, size) : fmin(sum, size);
        else
            sum += order == 0 ? (double)(size != 0) : pow(size, order);
    }
    *out = (float)(isinf(order) || order == 0 ? sum : pow(sum, 1 / order));
    return true;
}

struct numbered {
    float value;
    int64_t index;
};

/* NaN is larger than any number. Equal ones stay in order. */
static int ascending(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    if (isnan(x->value) || isnan(y->value))
        return isnan(x->value) && isnan(y->value) ? (x->index > y->index) - (x->index < y->index)
               : isnan(x->value)                  ? 1
                                                  : -1;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static int descending(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    int order = ascending(a, b);
    bool same = x->value == y->value || (isnan(x->value) && isnan(y->value));
    return same ? order : -order;
}

static struct numbered *sorted(const float *in, int64_t count, bool down)
{
    struct numbered *line = malloc(((size_t)count + 1) * sizeof *line);
    for (int64_t i = 0; line && i < count; i++)
        line[i] = (struct numbered){in[i], i};
    if (line)
        qsort(line, (size_t)count, sizeof *line, down ? descending : ascending);
    return line;
}

/* Between two neighbours, which are one and the same at a whole place: there infinities give NaN. NaNs stand last; nanquantile
 * leaves them out. */
static bool line_quantile(const struct replay_call *call, const float *in, int64_t count, float *out, int64_t out_count)
{
    struct numbered *line = sorted(in, count, false);
    (void)out_count;
    if (!line)
        return false;
    while (call->node->op == TORCH_NANQUANTILE && count > 1 && isnan(line[count - 1].value))
        count--;
    float at = (float)replay_float(call, "q", 0) * (float)(count - 1), low = floorf(at);
    int64_t i = (int64_t)low, next = (int64_t)ceilf(at);
    *out = isnan(line[count - 1].value) ? NAN : line[i].value + (line[next].value - line[i].value) * (at - low);
    free(line);
    return true;
}

static bool line_sort(const struct replay_call *call, const float *in, int64_t count, float *out, int64_t out_count)
{
    enum torch_op op = call->node->op;
    bool top = op == TORCH_TOPK_VALUES || op == TORCH_TOPK_INDICES,
         index = op == TORCH_ARGSORT || op == TORCH_TOPK_INDICES;
    struct numbered *line = sorted(in, count, top || replay_bool(call, "descending", false));
    for (int64_t i = 0; line && i < out_count; i++)
        out[i] = index ? (float)line[i].index : line[i].value;
    free(line);
    return line != NULL;
}

static bool line_running(const struct replay_call *call, const float *in, int64_t count, float *out, int64_t out_count)
{
    bool sum = call->node->op == TORCH_CUMSUM;
    double total = sum ? 0 : 1;
    (void)out_count;
    for (int64_t i = 0; i < count; i++) {
        total = sum ? total + (double)in[i] : total * (double)in[i];
        out[i] = (float)total;
    }
    return true;
}

static enum dtype float_of(const struct replay_call *call)
{
    enum dtype dtype = call->inputs[0]->dtype;
    return dtype_is_float(dtype) ? dtype : DTYPE_F32;
}

static enum dtype sum_of(const struct replay_call *call)
{
    enum dtype dtype = call->inputs[0]->dtype;
    return dtype_is_float(dtype) ? dtype : DTYPE_I64;
}

#define REDUCE(id, function, dtype)                                                                                    \
    int replay_##id(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)                       \
    {                                                                                                                  \
        return reduce_lines(call, function, dtype, ret, err);                                                          \
    }

REDUCE(PROD, line_product, sum_of(call))
REDUCE(ARGMAX, line_position, DTYPE_I64)
REDUCE(ARGMIN, line_position, DTYPE_I64)
REDUCE(LOGSUMEXP, line_log_sum_exp, float_of(call))
REDUCE(VECTOR_NORM, line_norm, float_of(call))
REDUCE(QUANTILE, line_quantile, call->inputs[0]->dtype)
REDUCE(NANQUANTILE, line_quantile, call->inputs[0]->dtype)

/* `count` < 0: as long as the input's. */
static int map_lines(const struct replay_call *call, line_function *function, int64_t count, enum dtype dtype,
                     struct tensor **ret, struct h5pt_error *err)
{
    const struct shape *x = &call->inputs[0]->shape;
    struct lines lines = {.function = function, .dtype = dtype};
    if (replay_dim(call, replay_int(call, "dim", -1), x->rank, &lines.out_dim, err) != 0)
        return -1;
    lines.dims[lines.out_dim] = true;
    lines.out_count = count < 0 ? x->dims[lines.out_dim] : count;
    if (lines.out_count > x->dims[lines.out_dim])
        return replay_mismatch(call, err, "there are not %" PRId64 " elements", count);
    return run_lines(call, &lines, ret, err);
}

#define MAP_LINES(id, function, count, dtype)                                                                          \
    int replay_##id(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)                       \
    {                                                                                                                  \
        return map_lines(call, function, count, dtype, ret, err);                                                      \
    }

MAP_LINES(SORT, line_sort, -1, call->inputs[0]->dtype)
MAP_LINES(ARGSORT, line_sort, -1, DTYPE_I64)
MAP_LINES(TOPK_VALUES, line_sort, replay_int(call, "k", 0), call->inputs[0]->dtype)
MAP_LINES(TOPK_INDICES, line_sort, replay_int(call, "k", 0), DTYPE_I64)
MAP_LINES(CUMSUM, line_running, -1, sum_of(call))
MAP_LINES(CUMPROD, line_running, -1, sum_of(call))
