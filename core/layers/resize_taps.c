/* SPDX-License-Identifier: Apache-2.0 */
#include "layers/resize_taps.h"

#include <math.h>

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

/* Where output cell `o` lies, counted in cells of the input from the sample of the first. */
static double position(enum resize_kind kind, int64_t in, int64_t factor, int64_t o)
{
    if (kind == RESIZE_BILINEAR_LEGACY)
        return (double)o / (double)factor;
    if (kind != RESIZE_BICUBIC)
        return ((double)o + 0.5) / (double)factor - 0.5;
    float scale = (float)in / (float)(in * factor), at = ((float)o + 0.5f) * scale - 0.5f, cell = floorf(at);
    return (double)cell + rint((double)(at - cell) * 1024) / 1024;
}

void resize_taps(enum resize_kind kind, int64_t in, int64_t factor, int64_t o, struct resize_taps *ret)
{
    const struct kernel *kernel = &kernels[kind];
    double at = position(kind, in, factor, o), sum = 0;
    int64_t first = (int64_t)ceil(at - kernel->radius), last = (int64_t)floor(at + kernel->radius);
    first = first < 0 ? 0 : first;
    last = last > in - 1 ? in - 1 : last;
    *ret = (struct resize_taps){.first = first, .count = (int)(last - first + 1)};
    for (int i = 0; i < ret->count; i++) {
        ret->weights[i] = kernel->weight(fabs((double)(first + i) - at));
        sum += ret->weights[i];
    }
    for (int i = 0; i < ret->count; i++)
        ret->weights[i] /= sum;
}
