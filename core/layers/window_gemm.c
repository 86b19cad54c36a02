/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions as matrix products: the windows of some output positions are laid out as rows (or, transposed, the products
 * of some input positions are scattered), a bounded number at a time, and BLAS does the arithmetic. */
#include <cblas.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "layers/window.h"

/* Floats in the buffer of rows: 8 MiB, which stays in the cache of a server processor. A row that is longer than this gets
 * a buffer of its own size; it is never longer than the kernel. */
#define TILE_FLOATS ((int64_t)2 << 20)

/* Sizes of one convolution as matrix product. */
struct tiling {
    int64_t rows;   /* positions in all */
    int64_t width;  /* floats of a row */
    int64_t height; /* rows in the buffer */
    float *buffer;  /* owned */
};

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* `stride` is the longest row of the other matrices; BLAS counts in int. */
static int tiling_init(struct tiling *t, int64_t rows, int64_t width, int64_t stride, struct h5pt_error *err)
{
    *t = (struct tiling){.rows = rows, .width = width, .height = TILE_FLOATS / width};
    if (larger(width, stride) > INT_MAX)
        return h5pt_fail(err, H5PT_LIMIT_EXCEEDED, NULL, "The kernel is too large for a matrix product");
    if (t->height < 1)
        t->height = 1;
    if (t->height > rows)
        t->height = rows;
    t->buffer = malloc((size_t)(t->height * width + 1) * sizeof(float));
    return t->buffer ? 0 : h5pt_fail_memory(err);
}

static int64_t taps_of(const struct window_axis axes[WINDOW_MAX_RANK])
{
    return axes[0].size * axes[1].size * axes[2].size;
}

/* Position `index` of a row-major (batch, n0, n1, n2) grid. */
static int64_t split_position(int64_t index, int64_t n0, int64_t n1, int64_t n2, int64_t ret[WINDOW_MAX_RANK])
{
    ret[2] = index % n2;
    index /= n2;
    ret[1] = index % n1;
    index /= n1;
    ret[0] = index % n0;
    return index / n0;
}

/* The window of output position `index`, channels of `group` only, as (taps…, channels / groups); zeros outside. */
static void gather_row(const struct window_convolution *c, int64_t index, int64_t group, int64_t width, float *row)
{
    const struct window_axis *a = c->axes;
    int64_t o[WINDOW_MAX_RANK], per_group = c->channels / c->groups;
    int64_t batch = split_position(index, a[0].out, a[1].out, a[2].out, o);
    struct window_taps t0 = window_taps(&a[0], o[0]), t1 = window_taps(&a[1], o[1]), t2 = window_taps(&a[2], o[2]);
    if (t0.count * t1.count * t2.count < taps_of(a))
        memset(row, 0, (size_t)width * sizeof *row);
    bool adjacent = a[2].dilation == 1 && c->groups == 1;
    for (int64_t i0 = 0; i0 < t0.count; i0++)
        for (int64_t i1 = 0; i1 < t1.count; i1++) {
            int64_t n0 = t0.start + i0 * a[0].dilation, n1 = t1.start + i1 * a[1].dilation;
            const float *from = c->x + (((batch * a[0].in + n0) * a[1].in + n1) * a[2].in + t2.start) * c->channels +
                                group * per_group;
            float *to = row + (((t0.first + i0) * a[1].size + t1.first + i1) * a[2].size + t2.first) * per_group;
            if (adjacent) {
                if (t2.count)
                    memcpy(to, from, (size_t)(t2.count * per_group) * sizeof *to);
                continue;
            }
            for (int64_t i2 = 0; i2 < t2.count; i2++)
                memcpy(to + i2 * per_group, from + i2 * a[2].dilation * c->channels, (size_t)per_group * sizeof *to);
        }
}

/* Every window is one cell of the input, in order: x itself is the matrix. */
static bool is_pointwise(const struct window_convolution *c)
{
    for (int i = 0; i < WINDOW_MAX_RANK; i++)
        if (c->axes[i].size != 1 || c->axes[i].stride != 1 || c->axes[i].before != 0 || c->axes[i].in != c->axes[i].out)
            return false;
    return true;
}

int window_convolve(const struct window_convolution *c, struct h5pt_error *err)
{
    int64_t per_group = c->channels / c->groups, filters = c->filters / c->groups;
    struct tiling t;
    bool pointwise = is_pointwise(c);
    int64_t rows = c->batch * c->axes[0].out * c->axes[1].out * c->axes[2].out;
    if (tiling_init(&t, rows, taps_of(c->axes) * per_group, larger(c->channels, c->filters), err) < 0)
        return -1;
    for (int64_t row = 0; row < t.rows; row += t.height) {
        int64_t height = t.rows - row < t.height ? t.rows - row : t.height;
        for (int64_t g = 0; g < c->groups; g++) {
            const float *a = pointwise ? c->x + row * c->channels + g * per_group : t.buffer;
            for (int64_t i = 0; i < height && !pointwise; i++)
                gather_row(c, row + i, g, t.width, t.buffer + i * t.width);
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)height, (int)filters, (int)t.width, 1.0f, a,
                        (int)(pointwise ? c->channels : t.width), c->kernel + g * filters, (int)c->filters, 1.0f,
                        c->y + row * c->filters + g * filters, (int)c->filters);
        }
    }
    free(t.buffer);
    return 0;
}

/* Adds the products of input position `index`, (taps…, filters), to the output cells that they belong to. */
static void scatter_row(const struct window_convolution *c, int64_t index, const float *row)
{
    const struct window_axis *a = c->axes;
    int64_t n[WINDOW_MAX_RANK];
    int64_t batch = split_position(index, a[0].in, a[1].in, a[2].in, n);
    for (int64_t t0 = 0; t0 < a[0].size; t0++)
        for (int64_t t1 = 0; t1 < a[1].size; t1++)
            for (int64_t t2 = 0; t2 < a[2].size; t2++, row += c->filters) {
                int64_t o0 = n[0] * a[0].stride + t0 * a[0].dilation - a[0].before;
                int64_t o1 = n[1] * a[1].stride + t1 * a[1].dilation - a[1].before;
                int64_t o2 = n[2] * a[2].stride + t2 * a[2].dilation - a[2].before;
                if (o0 < 0 || o0 >= a[0].out || o1 < 0 || o1 >= a[1].out || o2 < 0 || o2 >= a[2].out)
                    continue;
                float *restrict y = c->y + (((batch * a[0].out + o0) * a[1].out + o1) * a[2].out + o2) * c->filters;
                for (int64_t f = 0; f < c->filters; f++)
                    y[f] += row[f];
            }
}

int window_convolve_transposed(const struct window_convolution *c, struct h5pt_error *err)
{
    struct tiling t;
    int64_t rows = c->batch * c->axes[0].in * c->axes[1].in * c->axes[2].in;
    if (tiling_init(&t, rows, taps_of(c->axes) * c->filters, c->channels, err) < 0)
        return -1;
    for (int64_t row = 0; row < t.rows; row += t.height) {
        int64_t height = t.rows - row < t.height ? t.rows - row : t.height;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)height, (int)t.width, (int)c->channels, 1.0f,
                    c->x + row * c->channels, (int)c->channels, c->kernel, (int)c->channels, 0.0f, t.buffer,
                    (int)t.width);
        for (int64_t i = 0; i < height; i++)
            scatter_row(c, row + i, t.buffer + i * t.width);
    }
    free(t.buffer);
    return 0;
}
