/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of windows and the kernels of the reference against definitions written out cell by cell, over every small
 * combination of sizes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "layers/window.h"

/* Deterministic values in [-1, 1). */
static float next_value(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state / 2147483648.0f;
}

static float *values(int64_t count, uint32_t seed)
{
    float *v = malloc((size_t)count * sizeof *v);
    assert_non_null(v);
    for (int64_t i = 0; i < count; i++)
        v[i] = next_value(&seed);
    return v;
}

/* Sums here have at most a few hundred terms of magnitude 1, so that float rounding stays far below this. */
static void assert_same(const float *got, const float *want, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabsf(got[i] - want[i]) <= 1e-4f))
            fail_msg("element %lld is %g, not %g", (long long)i, (double)got[i], (double)want[i]);
}

/* What TensorFlow's documentation of "SAME" says: as many outputs as strides begin, at least so much padding that the last
 * window fits, the smaller half of it in front. */
static void same_fits_and_is_tight(void **state)
{
    (void)state;
    for (int64_t k = 1; k <= 7; k++)
        for (int64_t s = 1; s <= 4; s++)
            for (int64_t d = 1; d <= 3; d++)
                for (int64_t n = 1; n <= 20; n++) {
                    int64_t e = window_extent(k, d), out = 0, before, after;
                    while (out * s < n)
                        out++;
                    window_same(n, e, s, &before, &after);
                    int64_t needed = (out - 1) * s + e;
                    assert_true(n + before + after >= needed);
                    assert_true(before + after == 0 || n + before + after == needed);
                    assert_true(after - before == 0 || after - before == 1);
                    assert_int_equal((n + before + after - e) / s + 1, out);
                }
}

static void taps_are_those_inside(void **state)
{
    (void)state;
    for (int64_t k = 1; k <= 5; k++)
        for (int64_t s = 1; s <= 4; s++)
            for (int64_t d = 1; d <= 3; d++)
                for (int64_t n = 1; n <= 6; n++)
                    for (int64_t before = 0; before <= 6; before++)
                        for (int64_t o = 0; o < 4; o++) {
                            struct window_axis axis = {
                                .in = n, .out = 4, .size = k, .stride = s, .dilation = d, .before = before};
                            struct window_taps taps = window_taps(&axis, o);
                            int64_t inside = 0;
                            for (int64_t t = 0; t < k; t++) {
                                int64_t i = o * s + t * d - before;
                                if (i < 0 || i >= n)
                                    continue;
                                assert_int_equal(t, taps.first + inside);
                                assert_int_equal(i, taps.start + inside * d);
                                inside++;
                            }
                            assert_int_equal(inside, taps.count);
                        }
}

static void adaptive_windows_cover_the_input(void **state)
{
    (void)state;
    for (int64_t n = 1; n <= 12; n++)
        for (int64_t out = 1; out <= 12; out++) {
            struct window_axis axis = {.in = n, .out = out, .dilation = 1, .adaptive = true};
            for (int64_t o = 0; o < out; o++) {
                struct window_taps taps = window_taps(&axis, o);
                assert_int_equal(taps.start, (int64_t)floor((double)(o * n) / (double)out));
                assert_int_equal(taps.start + taps.count, (int64_t)ceil((double)((o + 1) * n) / (double)out));
            }
        }
}

/* The definition: a transposed convolution is the gradient of the convolution that goes from `out` cells back to `n`, with
 * that convolution's padding ("same": half of what it needs in front; "valid": none). */
static void transposed_is_the_gradient(void **state)
{
    (void)state;
    for (int64_t k = 1; k <= 7; k++)
        for (int64_t s = 1; s <= 4; s++)
            for (int64_t d = 1; d <= 3; d++)
                for (int64_t n = 1; n <= 9; n++)
                    for (int same = 0; same <= 1; same++)
                        for (int64_t p = -1; p < s; p++) {
                            int64_t e = window_extent(k, d);
                            struct window_transposed t = window_transposed(n, e, s, same, p);
                            if (t.out < 1)
                                continue;
                            int64_t back = same ? (t.out + s - 1) / s : t.out < e ? 0 : (t.out - e) / s + 1;
                            bool exists = !(same && p >= 0 && e % 2 + p == 0);
                            if (exists && back != n)
                                fail_msg("k%d s%d d%d n%d same%d p%d: %d cells come back", (int)k, (int)s, (int)d,
                                         (int)n, same, (int)p, (int)back);
                            int64_t needed = (n - 1) * s + e - t.out, front = same && needed > 0 ? needed / 2 : 0;
                            float x[9], kernel[7], want[64] = {0}, got[64] = {0};
                            uint32_t seed = 7;
                            for (int64_t i = 0; i < n; i++)
                                x[i] = next_value(&seed);
                            for (int64_t i = 0; i < k; i++)
                                kernel[i] = next_value(&seed);
                            assert_true(t.out <= 64);
                            for (int64_t i = 0; i < n; i++)
                                for (int64_t tap = 0; tap < k; tap++) {
                                    int64_t o = i * s + tap * d - front;
                                    if (o >= 0 && o < t.out)
                                        want[o] += x[i] * kernel[tap];
                                }
                            struct window_axis one = {.in = 1, .out = 1, .size = 1, .stride = 1, .dilation = 1};
                            struct window_convolution c = {
                                .batch = 1,
                                .axes =
                                    {one,
                                     one,
                                     {.in = n, .out = t.out, .size = k, .stride = s, .dilation = d, .before = t.left}},
                                .channels = 1,
                                .groups = 1,
                                .filters = 1,
                                .x = x,
                                .kernel = kernel,
                                .y = got,
                            };
                            assert_int_equal(window_convolve_transposed(&c, NULL), 0);
                            assert_same(got, want, t.out);
                        }
}

/* A convolution as the sum that it is. kernel: (taps…, channels / groups, filters). */
static void convolve_plainly(const struct window_convolution *c, float *y)
{
    const struct window_axis *a = c->axes;
    int64_t in_group = c->channels / c->groups, out_group = c->filters / c->groups, at = 0;
    for (int64_t b = 0; b < c->batch; b++)
        for (int64_t o0 = 0; o0 < a[0].out; o0++)
            for (int64_t o1 = 0; o1 < a[1].out; o1++)
                for (int64_t o2 = 0; o2 < a[2].out; o2++)
                    for (int64_t f = 0; f < c->filters; f++, at++)
                        for (int64_t t0 = 0; t0 < a[0].size; t0++)
                            for (int64_t t1 = 0; t1 < a[1].size; t1++)
                                for (int64_t t2 = 0; t2 < a[2].size; t2++) {
                                    int64_t i0 = o0 * a[0].stride + t0 * a[0].dilation - a[0].before;
                                    int64_t i1 = o1 * a[1].stride + t1 * a[1].dilation - a[1].before;
                                    int64_t i2 = o2 * a[2].stride + t2 * a[2].dilation - a[2].before;
                                    if (i0 < 0 || i0 >= a[0].in || i1 < 0 || i1 >= a[1].in || i2 < 0 || i2 >= a[2].in)
                                        continue;
                                    const float *x = c->x +
                                                     (((b * a[0].in + i0) * a[1].in + i1) * a[2].in + i2) * c->channels;
                                    int64_t tap = (t0 * a[1].size + t1) * a[2].size + t2;
                                    for (int64_t ch = 0; ch < in_group; ch++)
                                        y[at] += x[f / out_group * in_group + ch] *
                                                 c->kernel[(tap * in_group + ch) * c->filters + f];
                                }
}

static struct window_axis random_axis(uint32_t *seed)
{
    struct window_axis axis = {.in = 1 + (*seed >> 8) % 7};
    next_value(seed);
    axis.size = 1 + (*seed >> 8) % 3;
    next_value(seed);
    axis.stride = 1 + (*seed >> 8) % 3;
    next_value(seed);
    axis.dilation = 1 + (*seed >> 8) % 2;
    next_value(seed);
    axis.before = (*seed >> 8) % 3;
    next_value(seed);
    axis.out = (axis.in - 1) / axis.stride + 1;
    return axis;
}

static void convolutions_agree_with_the_sum(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 400; round++) {
        static const int64_t group_choices[] = {1, 1, 2, 3}, channel_choices[] = {1, 2, 5, 17, 35};
        struct window_convolution c = {.batch = 2};
        for (int i = 0; i < WINDOW_MAX_RANK; i++)
            c.axes[i] = random_axis(&seed);
        bool depthwise = round % 2 == 1;
        c.groups = depthwise ? channel_choices[(seed >> 8) % 5] : group_choices[(seed >> 8) % 4];
        next_value(&seed);
        c.channels = depthwise ? c.groups : c.groups * (1 + (seed >> 8) % 3);
        next_value(&seed);
        c.filters = c.groups * (1 + (seed >> 8) % 3);
        next_value(&seed);
        int64_t taps = c.axes[0].size * c.axes[1].size * c.axes[2].size;
        int64_t out = c.batch * c.axes[0].out * c.axes[1].out * c.axes[2].out * c.filters;
        float *x = values(c.batch * c.axes[0].in * c.axes[1].in * c.axes[2].in * c.channels, seed);
        float *kernel = values(taps * (c.channels / c.groups) * c.filters, seed + 1);
        float *got = calloc((size_t)out, sizeof *got), *want = calloc((size_t)out, sizeof *want);
        assert_true(got && want);
        c.x = x;
        c.kernel = kernel;
        c.y = got;
        if (depthwise)
            window_convolve_depthwise(&c);
        else
            assert_int_equal(window_convolve(&c, NULL), 0);
        convolve_plainly(&c, want);
        assert_same(got, want, out);
        free(x);
        free(kernel);
        free(got);
        free(want);
    }
}

/* Large enough that the rows do not fit into one tile. */
static void tiles_do_not_show(void **state)
{
    (void)state;
    struct window_axis one = {.in = 1, .out = 1, .size = 1, .stride = 1, .dilation = 1};
    struct window_axis line = {.in = 3000, .out = 3000, .size = 9, .stride = 1, .dilation = 1, .before = 4};
    struct window_convolution c = {.batch = 1, .axes = {one, one, line}, .channels = 90, .groups = 1, .filters = 2};
    float *x = values(3000 * 90, 1), *kernel = values(9 * 90 * 2, 2);
    float *got = calloc(6000, sizeof *got), *want = calloc(6000, sizeof *want);
    assert_true(got && want);
    c.x = x;
    c.kernel = kernel;
    c.y = got;
    assert_int_equal(window_convolve(&c, NULL), 0);
    convolve_plainly(&c, want);
    assert_same(got, want, 6000);
    free(x);
    free(kernel);
    free(got);
    free(want);
}

static void pools_look_at_cells_inside(void **state)
{
    (void)state;
    uint32_t seed = 5;
    for (int round = 0; round < 200; round++) {
        enum { CHANNELS = 19 };
        struct window_axis a[WINDOW_MAX_RANK];
        for (int i = 0; i < WINDOW_MAX_RANK; i++) {
            a[i] = random_axis(&seed);
            a[i].dilation = 1;
            a[i].before = a[i].before < a[i].size ? a[i].before : 0;
            a[i].out = a[i].in > a[i].before ? (a[i].in - 1) / a[i].stride + 1 : 1;
        }
        int64_t out = a[0].out * a[1].out * a[2].out * CHANNELS;
        float *x = values(a[0].in * a[1].in * a[2].in * CHANNELS, seed);
        float *max = calloc((size_t)out, sizeof *max), *mean = calloc((size_t)out, sizeof *mean);
        assert_true(max && mean);
        window_pool(x, 1, a, CHANNELS, WINDOW_MAX, max);
        window_pool(x, 1, a, CHANNELS, WINDOW_MEAN, mean);
        for (int64_t at = 0; at < out; at++) {
            int64_t channel = at % CHANNELS, o2 = at / CHANNELS % a[2].out, o1 = at / CHANNELS / a[2].out % a[1].out;
            int64_t o0 = at / CHANNELS / a[2].out / a[1].out, cells = 0;
            float best = -INFINITY, sum = 0;
            for (int64_t t = 0; t < a[0].size * a[1].size * a[2].size; t++) {
                int64_t i0 = o0 * a[0].stride + t / (a[1].size * a[2].size) - a[0].before;
                int64_t i1 = o1 * a[1].stride + t / a[2].size % a[1].size - a[1].before;
                int64_t i2 = o2 * a[2].stride + t % a[2].size - a[2].before;
                if (i0 < 0 || i0 >= a[0].in || i1 < 0 || i1 >= a[1].in || i2 < 0 || i2 >= a[2].in)
                    continue;
                float v = x[((i0 * a[1].in + i1) * a[2].in + i2) * CHANNELS + channel];
                best = v > best ? v : best;
                sum += v;
                cells++;
            }
            if (cells == 0)
                continue;
            float average = sum / (float)cells;
            assert_same(&max[at], &best, 1);
            assert_same(&mean[at], &average, 1);
        }
        free(x);
        free(max);
        free(mean);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_fits_and_is_tight),           cmocka_unit_test(taps_are_those_inside),
        cmocka_unit_test(adaptive_windows_cover_the_input), cmocka_unit_test(transposed_is_the_gradient),
        cmocka_unit_test(convolutions_agree_with_the_sum),  cmocka_unit_test(tiles_do_not_show),
        cmocka_unit_test(pools_look_at_cells_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
