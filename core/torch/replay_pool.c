/* SPDX-License-Identifier: Apache-2.0 */
#include "torch/replay_internal.h"

#include <math.h>

/* NaN wins, as in torch. */
static inline float larger(float a, float b)
{
    return b > a || isnan(b) ? b : a;
}

static void run_max(float *restrict out, const float *restrict in, int64_t count, int64_t stride, int64_t tap,
                    const void *context)
{
    (void)tap;
    (void)context;
    for (int64_t i = 0; i < count; i++)
        out[i] = larger(out[i], in[i * stride]);
}

static void run_sum(float *restrict out, const float *restrict in, int64_t count, int64_t stride, int64_t tap,
                    const void *context)
{
    (void)tap;
    (void)context;
    for (int64_t i = 0; i < count; i++)
        out[i] += in[i * stride];
}

static void run_count(float *restrict out, const float *restrict in, int64_t count, int64_t stride, int64_t tap,
                      const void *context)
{
    (void)in;
    (void)stride;
    (void)tap;
    (void)context;
    for (int64_t i = 0; i < count; i++)
        out[i] += 1.0f;
}

static void fill(float *out, int64_t count, float value)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = value;
}

/* Every output plane from `start` on by `run` over the cells of its window. */
static struct tensor *pool(const struct replay_call *call, const struct replay_window *w, float start, replay_run *run,
                           struct h5pt_error *err)
{
    struct shape shape = replay_window_shape(w, w->channels, w->out);
    struct tensor *y = replay_new(&shape, call->inputs[0]->dtype, err);
    if (!y)
        return NULL;
    fill(y->data, y->count, start);
    for (int64_t i = 0; i < w->batch * w->channels; i++)
        replay_window_run(w, call->inputs[0]->data + i * w->in_size, y->data + i * w->out_size, run, NULL);
    return y;
}

static int max_pool(const struct replay_call *call, int rank, struct tensor **ret, struct h5pt_error *err)
{
    struct replay_window w;
    if (replay_window_init(&w, call, rank, true, err) != 0)
        return -1;
    struct tensor *y = pool(call, &w, -INFINITY, run_max, err);
    if (!y)
        return -1;
    *ret = y;
    return 0;
}

/* Divides sums by the cells of the kernel, or by those inside the input only. */
static int divide(const struct replay_window *w, bool inside_only, struct tensor *y, struct h5pt_error *err)
{
    struct shape plane = shape_of(3, w->out);
    struct tensor *counts = replay_new(&plane, DTYPE_F32, err);
    if (!counts)
        return -1;
    fill(counts->data, counts->count, inside_only ? 0.0f : (float)w->kernel_size);
    if (inside_only)
        replay_window_run(w, y->data, counts->data, run_count, NULL);
    for (int64_t i = 0; i < w->batch * w->channels; i++)
        for (int64_t j = 0; j < w->out_size; j++)
            y->data[i * w->out_size + j] /= counts->data[j];
    tensor_free(counts);
    return 0;
}

static int average(const struct replay_call *call, const struct replay_window *w, bool inside_only, struct tensor **ret,
                   struct h5pt_error *err)
{
    struct tensor *y = pool(call, w, 0.0f, run_sum, err);
    if (!y)
        return -1;
    if (divide(w, inside_only, y, err) != 0) {
        tensor_free(y);
        return -1;
    }
    *ret = y;
    return 0;
}

static int avg_pool(const struct replay_call *call, int rank, struct tensor **ret, struct h5pt_error *err)
{
    struct replay_window w;
    if (replay_window_init(&w, call, rank, true, err) != 0)
        return -1;
    return average(call, &w, !replay_bool(call, "count_include_pad", true), ret, err);
}

int replay_AVG_POOL_SAME(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    struct replay_window w;
    int rank = call->inputs[0]->shape.rank - 2;
    if (rank < 1 || rank > 3)
        return replay_mismatch(call, err, "the input needs 3, 4 or 5 dims");
    if (replay_window_init_same(&w, call, rank, err) != 0)
        return -1;
    return average(call, &w, true, ret, err);
}

/* Which cells of a dim of `in` the output `at` of `out` takes together. */
static void adaptive_range(int64_t in, int64_t out, int64_t at, int64_t *lo, int64_t *hi)
{
    *lo = at * in / out;
    *hi = ((at + 1) * in + out - 1) / out;
}

struct adaptive {
    int64_t in[3], out[3];
    bool max;
};

static float adaptive_cell(const struct adaptive *a, const float *plane, int64_t z, int64_t y, int64_t x)
{
    int64_t z0, z1, y0, y1, x0, x1;
    adaptive_range(a->in[0], a->out[0], z, &z0, &z1);
    adaptive_range(a->in[1], a->out[1], y, &y0, &y1);
    adaptive_range(a->in[2], a->out[2], x, &x0, &x1);
    float most = -INFINITY;
    double sum = 0;
    for (int64_t iz = z0; iz < z1; iz++)
        for (int64_t iy = y0; iy < y1; iy++) {
            const float *row = plane + (iz * a->in[1] + iy) * a->in[2];
            for (int64_t ix = x0; ix < x1; ix++) {
                most = larger(most, row[ix]);
                sum += (double)row[ix];
            }
        }
    return a->max ? most : (float)(sum / (double)((z1 - z0) * (y1 - y0) * (x1 - x0)));
}

static int adaptive_pool(const struct replay_call *call, int rank, bool max, struct tensor **ret,
                         struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    struct adaptive a = {.in = {1, 1, 1}, .out = {1, 1, 1}, .max = max};
    if (x->shape.rank != rank + 2)
        return replay_mismatch(call, err, "the input needs %d dims", rank + 2);
    if (replay_ints(call, "output_size", rank, 0, 1, a.out + 3 - rank, err) != 0)
        return -1;
    struct shape shape = x->shape;
    for (int i = 0; i < rank; i++) {
        a.in[3 - rank + i] = x->shape.dims[2 + i];
        shape.dims[2 + i] = a.out[3 - rank + i];
        if (x->shape.dims[2 + i] == 0 || x->shape.dims[2 + i] > INT32_MAX)
            return replay_mismatch(call, err, "the input has no cells, or too many");
    }
    struct tensor *y = replay_new(&shape, x->dtype, err);
    if (!y)
        return -1;
    float *out = y->data;
    for (const float *plane = x->data; out < y->data + y->count; plane += a.in[0] * a.in[1] * a.in[2])
        for (int64_t z = 0; z < a.out[0]; z++)
            for (int64_t i = 0; i < a.out[1] * a.out[2]; i++)
                *out++ = adaptive_cell(&a, plane, z, i / a.out[2], i % a.out[2]);
    *ret = y;
    return 0;
}

#define POOL(id, function, ...)                                                                                        \
    int replay_##id(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)                       \
    {                                                                                                                  \
        return function(call, __VA_ARGS__, ret, err);                                                                  \
    }

POOL(MAX_POOL1D, max_pool, 1)
POOL(MAX_POOL2D, max_pool, 2)
POOL(MAX_POOL3D, max_pool, 3)
POOL(AVG_POOL1D, avg_pool, 1)
POOL(AVG_POOL2D, avg_pool, 2)
POOL(AVG_POOL3D, avg_pool, 3)
POOL(ADAPTIVE_AVG_POOL1D, adaptive_pool, 1, false)
POOL(ADAPTIVE_AVG_POOL2D, adaptive_pool, 2, false)
POOL(ADAPTIVE_AVG_POOL3D, adaptive_pool, 3, false)
POOL(ADAPTIVE_MAX_POOL1D, adaptive_pool, 1, true)
POOL(ADAPTIVE_MAX_POOL2D, adaptive_pool, 2, true)
POOL(ADAPTIVE_MAX_POOL3D, adaptive_pool, 3, true)
