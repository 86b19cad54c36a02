/* SPDX-License-Identifier: Apache-2.0 */
#include "layers/resize_taps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

/* The kernels, for a distance of 0 … radius. */

static double triangle(double x)
{
    return 1 - x;
}

/* Keys' cubic convolution with a = -1/2. */
static double keys_cubic(double x)
{
    return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : ((-0.5 * x + 2.5) * x - 4) * x + 2;
}

/* Mitchell's and Netravali's with B = C = 1/3. */
static double mitchell_cubic(double x)
{
    return x < 1 ? (7.0 / 6.0 * x - 2) * x * x + 8.0 / 9.0 : ((-7.0 / 18.0 * x + 2) * x - 10.0 / 3.0) * x + 16.0 / 9.0;
}

static double lanczos(double x, double radius)
{
    return x <= 1e-3 ? 1 : radius * sin(pi * x) * sin(pi * x / radius) / (pi * pi * x * x);
}

static double lanczos3(double x)
{
    return lanczos(x, 3);
}

static double lanczos5(double x)
{
    return lanczos(x, 5);
}

/* With a standard deviation of half a cell. */
static double gaussian(double x)
{
    return exp(-2 * x * x);
}

static const struct kernel {
    double radius;
    double (*weight)(double distance);
} kernels[] = {
    [RESIZE_BILINEAR] = {1, triangle},       [RESIZE_BILINEAR_LEGACY] = {1, triangle},
    [RESIZE_BICUBIC] = {2, keys_cubic},      [RESIZE_LANCZOS3] = {3, lanczos3},
    [RESIZE_LANCZOS5] = {5, lanczos5},       [RESIZE_GAUSSIAN] = {1.5, gaussian},
    [RESIZE_MITCHELL] = {2, mitchell_cubic},
};

/* Input cells per output cell. */
static float cell_step(const struct resize_axis *axis)
{
    return (float)axis->in / (float)axis->out;
}

/* Where output cell `o` lies, counted in cells of the input from the sample of the first. In float32 as TensorFlow does: a
 * kernel may end exactly there. */
static double position(const struct resize_axis *axis, int64_t o)
{
    if (axis->kind == RESIZE_BILINEAR_LEGACY)
        return (double)o * (double)axis->in / (double)axis->out;
    if (axis->kind == RESIZE_BICUBIC && !axis->smooth) {
        float at = ((float)o + 0.5f) * cell_step(axis) - 0.5f, cell = floorf(at);
        return (double)cell + rint((double)(at - cell) * 1024) / 1024;
    }
    float step = (float)(1.0 / (double)((float)axis->out / (float)axis->in));
    return (double)(((float)o + 0.5f) * step) - 0.5;
}

static double kernel_scale(const struct resize_axis *axis)
{
    return axis->smooth && axis->in > axis->out ? (double)axis->in / (double)axis->out : 1;
}

static int64_t most_taps(const struct resize_axis *axis)
{
    double reach = axis->kind == RESIZE_NEAREST ? 0
                   : axis->kind == RESIZE_AREA  ? (double)cell_step(axis) + 1
                                                : 2 * kernels[axis->kind].radius * kernel_scale(axis);
    return reach + 2 < (double)axis->in ? (int64_t)reach + 2 : axis->in;
}

static void add_kernel(const struct resize_axis *axis, int64_t o, struct resize_taps *taps)
{
    const struct kernel *kernel = &kernels[axis->kind];
    double at = position(axis, o), scale = kernel_scale(axis), reach = kernel->radius * scale, sum = 0;
    int64_t first = (int64_t)ceil(at - reach), last = (int64_t)floor(at + reach);
    first = first < 0 ? 0 : first;
    last = last > axis->in - 1 ? axis->in - 1 : last;
    float *weights = taps->weights + o * taps->most;
    taps->first[o] = first;
    taps->count[o] = last - first + 1 < taps->most ? last - first + 1 : taps->most;
    for (int64_t i = 0; i < taps->count[o]; i++) {
        double distance = fabs((double)(first + i) - at) / scale;
        double weight = distance >= kernel->radius ? 0 : kernel->weight(distance);
        weights[i] = (float)weight;
        sum += weight;
    }
    for (int64_t i = 0; i < taps->count[o]; i++)
        weights[i] = (float)((double)weights[i] / sum);
}

static void add_area(const struct resize_axis *axis, int64_t o, struct resize_taps *taps)
{
    double step = (double)axis->in / (double)axis->out, low = (double)o * step, high = (double)(o + 1) * step;
    int64_t first = (int64_t)floor(low);
    taps->first[o] = first;
    taps->count[o] = 0;
    for (int64_t i = first; i < axis->in && (double)i < high && taps->count[o] < taps->most; i++) {
        double from = (double)i < low ? low : (double)i, to = (double)(i + 1) > high ? high : (double)(i + 1);
        taps->weights[o * taps->most + taps->count[o]++] = (float)((to - from) / step);
    }
}

static void add_nearest(const struct resize_axis *axis, int64_t o, struct resize_taps *taps)
{
    int64_t cell = (int64_t)floorf(((float)o + 0.5f) * cell_step(axis));
    taps->first[o] = cell < axis->in ? cell : axis->in - 1;
    taps->count[o] = 1;
    taps->weights[o * taps->most] = 1;
}

bool resize_taps_init(struct resize_taps *taps, const struct resize_axis *axis)
{
    size_t out = (size_t)axis->out;
    taps->most = most_taps(axis);
    taps->first = calloc(out + 1, sizeof *taps->first);
    taps->count = calloc(out + 1, sizeof *taps->count);
    taps->weights = calloc(out * (size_t)taps->most + 1, sizeof *taps->weights);
    if (!taps->first || !taps->count || !taps->weights) {
        resize_taps_release(taps);
        return false;
    }
    for (int64_t o = 0; o < axis->out; o++) {
        if (axis->kind == RESIZE_NEAREST)
            add_nearest(axis, o, taps);
        else if (axis->kind == RESIZE_AREA)
            add_area(axis, o, taps);
        else
            add_kernel(axis, o, taps);
    }
    return true;
}

void resize_taps_release(struct resize_taps *taps)
{
    free(taps->first);
    free(taps->count);
    free(taps->weights);
    *taps = (struct resize_taps){.most = 0};
}

struct resize_taps resize_taps_from(const struct resize_taps *taps, int64_t start)
{
    return (struct resize_taps){.most = taps->most,
                                .first = taps->first + start,
                                .count = taps->count + start,
                                .weights = taps->weights + start * taps->most};
}

/* y[k] += the cells of `row` that output `o` is made of, each times `weight`. */
static void add_row(const struct resize_taps *taps, int64_t o, float weight, const float *row, int64_t channels,
                    float *y)
{
    for (int64_t t = 0; t < taps->count[o]; t++) {
        const float *cell = row + (taps->first[o] + t) * channels;
        float w = weight * taps->weights[o * taps->most + t];
        for (int64_t k = 0; k < channels; k++)
            y[k] += w * cell[k];
    }
}

void resize_image(const struct resize_taps *rows, int64_t height, const struct resize_taps *columns, int64_t width,
                  int64_t in_width, int64_t channels, const float *x, float *y)
{
    for (int64_t i = 0; i < height; i++)
        for (int64_t j = 0; j < width; j++, y += channels) {
            memset(y, 0, (size_t)channels * sizeof *y);
            for (int64_t t = 0; t < rows->count[i]; t++)
                add_row(columns, j, rows->weights[i * rows->most + t], x + (rows->first[i] + t) * in_width * channels,
                        channels, y);
        }
}
