/* SPDX-License-Identifier: Apache-2.0 */
/* Windows that slide over a feature map: the arithmetic of sizes and padding, and the kernels of the reference executor.
 *
 * The kernels work on channels-last data (batch, in[0], in[1], in[2], channels), row-major: what has fewer than three spatial
 * dimensions gets leading ones of size 1. They share nothing with torch/replay_*.c, which is what makes the comparison of
 * the two executors worth something. */
#ifndef H5PT_LAYERS_WINDOW_H
#define H5PT_LAYERS_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { WINDOW_MAX_RANK = 3 };

/* Limits under which no size computed here overflows: of a window's size, stride or dilation, and of an input. */
#define WINDOW_MAX_SETTING ((int64_t)1 << 24)
#define WINDOW_MAX_INPUT ((int64_t)1 << 32)

/* One spatial dimension. Tap t of output position o reads input position o * stride + t * dilation - before. */
struct window_axis {
    int64_t in, out;
    int64_t size, stride, dilation;
    int64_t before; /* padding in front of the input */
    bool adaptive;  /* position o covers floor(o * in / out) … ceil((o + 1) * in / out) instead; dilation is 1 */
};

/* (size - 1) * dilation + 1: the cells from the first tap to the last. */
int64_t window_extent(int64_t size, int64_t dilation);
/* The padding of "same": ceil(in / stride) windows fit, the odd cell goes to the end. */
void window_same(int64_t in, int64_t extent, int64_t stride, int64_t *ret_before, int64_t *ret_after);

/* The taps of position `o` that lie inside the input: `count` of them from tap `first`, which reads input position `start`. */
struct window_taps {
    int64_t first, count, start;
};
struct window_taps window_taps(const struct window_axis *axis, int64_t o);

/* A transposed convolution along one axis: the full sum has length (in - 1) * stride + extent; Keras cuts `left` cells off its
 * front and gives `out`. What is missing at the end then are zeros. `output_padding` < 0: not given. */
struct window_transposed {
    int64_t out, left;
};
struct window_transposed window_transposed(int64_t in, int64_t extent, int64_t stride, bool same,
                                           int64_t output_padding);

/* y += convolution. kernel: (taps…, channels / groups, filters). LIMIT_EXCEEDED, OUT_OF_MEMORY. */
struct window_convolution {
    int64_t batch;
    struct window_axis axes[WINDOW_MAX_RANK];
    int64_t channels, groups, filters;
    const float *x, *kernel;
    float *y;
};
int window_convolve(const struct window_convolution *c, struct h5pt_error *err);
/* The same with kernel (taps…, channels, multiplier) and output channel c * multiplier + m; filters = channels * multiplier,
 * groups = channels. */
void window_convolve_depthwise(const struct window_convolution *c);
/* y += transposed convolution. axes: `in` of x, `out` of y, `before` the cells that are cut off in front.
 * kernel: (taps…, filters, channels). */
int window_convolve_transposed(const struct window_convolution *c, struct h5pt_error *err);

/* The maximum or the mean of the cells that lie inside the input; y is overwritten. */
enum window_pooling { WINDOW_MAX, WINDOW_MEAN };
void window_pool(const float *x, int64_t batch, const struct window_axis axes[WINDOW_MAX_RANK], int64_t channels,
                 enum window_pooling pooling, float *y);

#endif
