/* SPDX-License-Identifier: Apache-2.0 */
#include "layers/window.h"

#include <math.h>

int64_t window_extent(int64_t size, int64_t dilation)
{
    return (size - 1) * dilation + 1;
}

void window_same(int64_t in, int64_t extent, int64_t stride, int64_t *ret_before, int64_t *ret_after)
{
    int64_t last = in > 0 ? (in - 1) / stride * stride : 0; /* where the last window starts, before padding */
    int64_t total = last + extent > in ? last + extent - in : 0;
    *ret_before = total / 2;
    *ret_after = total - total / 2;
}

struct window_taps window_taps(const struct window_axis *axis, int64_t o)
{
    if (axis->adaptive) {
        int64_t start = o * axis->in / axis->out, end = ((o + 1) * axis->in + axis->out - 1) / axis->out;
        return (struct window_taps){.first = 0, .count = end - start, .start = start};
    }
    int64_t d = axis->dilation, start = o * axis->stride - axis->before;
    struct window_taps taps = {.first = start < 0 ? (-start + d - 1) / d : 0};
    taps.start = start + taps.first * d;
    int64_t inside = taps.start < axis->in ? (axis->in - 1 - taps.start) / d + 1 : 0;
    int64_t left = axis->size > taps.first ? axis->size - taps.first : 0;
    taps.count = inside < left ? inside : left;
    return taps;
}

struct window_transposed window_transposed(int64_t in, int64_t extent, int64_t stride, bool same,
                                           int64_t output_padding)
{
    int64_t full = (in - 1) * stride + extent;
    struct window_transposed t = {0};
    if (output_padding < 0)
        t.out = same ? in * stride : (in - 1) * stride + (extent > stride ? extent : stride);
    else
        t.out = (same ? (in - 1) * stride + extent % 2 : full) + output_padding;
    if (same && full > t.out)
        t.left = (full - t.out) / 2;
    return t;
}

/* Channels are worked on in blocks of this many, so that sums stay in registers over all taps of a window. */
enum { BLOCK = 16 };

/* The window of one output position. */
struct position {
    struct window_taps taps[WINDOW_MAX_RANK];
    const float *x; /* first channel of the batch entry */
    int64_t cells;  /* in the window and inside the input */
};

static inline const float *cell(const struct position *p, const struct window_axis *axes, int64_t channels, int64_t t0,
                                int64_t t1)
{
    int64_t i0 = p->taps[0].start + t0 * axes[0].dilation, i1 = p->taps[1].start + t1 * axes[1].dilation;
    return p->x + ((i0 * axes[1].in + i1) * axes[2].in + p->taps[2].start) * channels;
}

/* y[m] for `width` neighbouring output channels of multiplier 1: y += sum over taps of x * kernel. */
static inline void depthwise_block(const struct window_convolution *c, const struct position *p, int64_t channel,
                                   int64_t width, float *restrict y)
{
    const struct window_axis *axes = c->axes;
    float sum[BLOCK];
    for (int64_t j = 0; j < width; j++)
        sum[j] = y[j];
    for (int64_t t0 = 0; t0 < p->taps[0].count; t0++)
        for (int64_t t1 = 0; t1 < p->taps[1].count; t1++) {
            const float *restrict x = cell(p, axes, c->channels, t0, t1) + channel;
            int64_t tap = ((p->taps[0].first + t0) * axes[1].size + p->taps[1].first + t1) * axes[2].size +
                          p->taps[2].first;
            const float *restrict k = c->kernel + tap * c->filters + channel;
            for (int64_t t2 = 0; t2 < p->taps[2].count; t2++) {
                for (int64_t j = 0; j < width; j++)
                    sum[j] += x[j] * k[j];
                x += axes[2].dilation * c->channels;
                k += c->filters;
            }
        }
    for (int64_t j = 0; j < width; j++)
        y[j] = sum[j];
}

/* All output channels of one position, for any multiplier. */
static void depthwise_multiplied(const struct window_convolution *c, const struct position *p, float *restrict y)
{
    const struct window_axis *axes = c->axes;
    int64_t multiplier = c->filters / c->channels;
    for (int64_t t0 = 0; t0 < p->taps[0].count; t0++)
        for (int64_t t1 = 0; t1 < p->taps[1].count; t1++)
            for (int64_t t2 = 0; t2 < p->taps[2].count; t2++) {
                const float *restrict x = cell(p, axes, c->channels, t0, t1) + t2 * axes[2].dilation * c->channels;
                int64_t tap = ((p->taps[0].first + t0) * axes[1].size + p->taps[1].first + t1) * axes[2].size +
                              p->taps[2].first + t2;
                const float *restrict k = c->kernel + tap * c->filters;
                for (int64_t ch = 0; ch < c->channels; ch++)
                    for (int64_t m = 0; m < multiplier; m++)
                        y[ch * multiplier + m] += x[ch] * k[ch * multiplier + m];
            }
}

static void depthwise_position(const struct window_convolution *c, const struct position *p, float *y)
{
    if (c->filters != c->channels) {
        depthwise_multiplied(c, p, y);
        return;
    }
    int64_t channel = 0;
    for (; channel + BLOCK <= c->channels; channel += BLOCK)
        depthwise_block(c, p, channel, BLOCK, y + channel);
    if (channel < c->channels)
        depthwise_block(c, p, channel, c->channels - channel, y + channel);
}

static inline void max_block(const struct position *p, const struct window_axis *axes, int64_t channels,
                             int64_t channel, int64_t width, float *restrict y)
{
    float best[BLOCK];
    for (int64_t j = 0; j < width; j++)
        best[j] = -INFINITY;
    for (int64_t t0 = 0; t0 < p->taps[0].count; t0++)
        for (int64_t t1 = 0; t1 < p->taps[1].count; t1++) {
            const float *restrict x = cell(p, axes, channels, t0, t1) + channel;
            for (int64_t t2 = 0; t2 < p->taps[2].count; t2++, x += axes[2].dilation * channels)
                for (int64_t j = 0; j < width; j++)
                    best[j] = x[j] > best[j] || isnan(x[j]) ? x[j] : best[j];
        }
    for (int64_t j = 0; j < width; j++)
        y[j] = best[j];
}

/* Sums in double: a global average runs over tens of thousands of cells. */
static inline void mean_block(const struct position *p, const struct window_axis *axes, int64_t channels,
                              int64_t channel, int64_t width, float *restrict y)
{
    double sum[BLOCK];
    for (int64_t j = 0; j < width; j++)
        sum[j] = 0;
    for (int64_t t0 = 0; t0 < p->taps[0].count; t0++)
        for (int64_t t1 = 0; t1 < p->taps[1].count; t1++) {
            const float *restrict x = cell(p, axes, channels, t0, t1) + channel;
            for (int64_t t2 = 0; t2 < p->taps[2].count; t2++, x += axes[2].dilation * channels)
                for (int64_t j = 0; j < width; j++)
                    sum[j] += (double)x[j];
        }
    for (int64_t j = 0; j < width; j++)
        y[j] = (float)(sum[j] / (double)p->cells);
}

static void pool_position(const struct position *p, const struct window_axis *axes, int64_t channels,
                          enum window_pooling pooling, float *y)
{
    int64_t channel = 0;
    for (; channel + BLOCK <= channels; channel += BLOCK) {
        if (pooling == WINDOW_MAX)
            max_block(p, axes, channels, channel, BLOCK, y + channel);
        else
            mean_block(p, axes, channels, channel, BLOCK, y + channel);
    }
    if (channel == channels)
        return;
    if (pooling == WINDOW_MAX)
        max_block(p, axes, channels, channel, channels - channel, y + channel);
    else
        mean_block(p, axes, channels, channel, channels - channel, y + channel);
}

/* Moves through the output positions in row-major order. */
struct walk {
    const struct window_axis *axes;
    int64_t o[WINDOW_MAX_RANK], batch;
};

static int64_t walk_count(const struct window_axis *axes, int64_t batch)
{
    return batch * axes[0].out * axes[1].out * axes[2].out;
}

static struct position walk_position(const struct walk *w, const float *x, int64_t channels)
{
    struct position p;
    p.cells = 1;
    for (int i = 0; i < WINDOW_MAX_RANK; i++) {
        p.taps[i] = window_taps(&w->axes[i], w->o[i]);
        p.cells *= p.taps[i].count;
    }
    p.x = x + w->batch * w->axes[0].in * w->axes[1].in * w->axes[2].in * channels;
    return p;
}

static void walk_next(struct walk *w)
{
    for (int i = WINDOW_MAX_RANK - 1; i >= 0; i--) {
        if (++w->o[i] < w->axes[i].out)
            return;
        w->o[i] = 0;
    }
    w->batch++;
}

void window_convolve_depthwise(const struct window_convolution *c)
{
    struct walk w = {.axes = c->axes};
    int64_t count = walk_count(c->axes, c->batch);
    for (int64_t i = 0; i < count; i++, walk_next(&w)) {
        struct position p = walk_position(&w, c->x, c->channels);
        depthwise_position(c, &p, c->y + i * c->filters);
    }
}

void window_pool(const float *x, int64_t batch, const struct window_axis axes[WINDOW_MAX_RANK], int64_t channels,
                 enum window_pooling pooling, float *y)
{
    struct walk w = {.axes = axes};
    int64_t count = walk_count(axes, batch);
    for (int64_t i = 0; i < count; i++, walk_next(&w)) {
        struct position p = walk_position(&w, x, channels);
        pool_position(&p, axes, channels, pooling, y + i * channels);
    }
}
