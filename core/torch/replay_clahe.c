/* SPDX-License-Identifier: Apache-2.0 */
/* The helper `clahe` of model.py, step by step: pixels, histograms, clipped sums, looking up. */
#include <math.h>
#include <stdlib.h>

#include "torch/replay_internal.h"

struct clahe {
    int64_t planes, size[2], grid[2], tile[2], whole[2]; /* whole = grid * tile */
    float low, high, clip_limit;
};

static int64_t mirrored(int64_t at, int64_t size)
{
    return at < size ? at : 2 * size - 1 - at;
}

/* (planes, whole height, whole width) of 0…255. */
static void pixels(const struct clahe *c, const float *x, unsigned char *ret)
{
    for (int64_t p = 0; p < c->planes; p++, x += c->size[0] * c->size[1])
        for (int64_t i = 0; i < c->whole[0]; i++)
            for (int64_t j = 0; j < c->whole[1]; j++) {
                float v = x[mirrored(i, c->size[0]) * c->size[1] + mirrored(j, c->size[1])];
                v = fminf(fmaxf((v - c->low) / (c->high - c->low) * 255, 0), 255);
                *ret++ = (unsigned char)v;
            }
}

/* (planes, grid, grid, 256) */
static void histograms(const struct clahe *c, const unsigned char *pixel, float *counts)
{
    for (int64_t p = 0; p < c->planes; p++)
        for (int64_t i = 0; i < c->whole[0]; i++)
            for (int64_t j = 0; j < c->whole[1]; j++) {
                int64_t tile = (p * c->grid[0] + i / c->tile[0]) * c->grid[1] + j / c->tile[1];
                counts[tile * 256 + *pixel++] += 1;
            }
}

static void accumulate(const struct clahe *c, float *counts)
{
    float cells = (float)(c->tile[0] * c->tile[1]), limit = c->clip_limit * cells / 256;
    for (int64_t t = 0; t < c->planes * c->grid[0] * c->grid[1]; t++, counts += 256) {
        float excess = 0;
        double sum = 0;
        for (int k = 0; k < 256 && c->clip_limit > 0; k++) {
            float kept = fminf(counts[k], limit);
            excess += counts[k] - kept;
            counts[k] = kept;
        }
        for (int k = 0; k < 256; k++)
            counts[k] = (float)(sum += (double)(counts[k] + excess / 256));
        float least = counts[0], rest = cells - least;
        for (int k = 0; k < 256; k++)
            counts[k] = fminf(fmaxf((counts[k] - least) * 255 / (rest == 0 ? 1 : rest), 0), 255);
    }
}

/* The tiles around a place, in a grid that has its border twice. */
static float around(int64_t at, int64_t tile, int64_t grid, int64_t ret[2])
{
    float place = ((float)at - (float)tile / 2) / (float)tile + 1, first = floorf(place);
    for (int k = 0; k < 2; k++) {
        int64_t index = (int64_t)first + k - 1;
        ret[k] = index < 0 ? 0 : index >= grid ? grid - 1 : index;
    }
    return place - first;
}

static void look_up(const struct clahe *c, const unsigned char *pixel, const float *tables, float *y)
{
    for (int64_t p = 0; p < c->planes; p++)
        for (int64_t i = 0; i < c->size[0]; i++)
            for (int64_t j = 0; j < c->size[1]; j++) {
                int64_t rows[2], columns[2];
                float down = around(i, c->tile[0], c->grid[0], rows),
                      right = around(j, c->tile[1], c->grid[1], columns), part[2];
                int64_t level = pixel[(p * c->whole[0] + i) * c->whole[1] + j];
                for (int k = 0; k < 2; k++) {
                    int64_t row = (p * c->grid[0] + rows[k]) * c->grid[1];
                    float a = tables[(row + columns[0]) * 256 + level], b = tables[(row + columns[1]) * 256 + level];
                    part[k] = a * (1 - right) + b * right;
                }
                *y++ = (part[0] * (1 - down) + part[1] * down) / 255 * (c->high - c->low) + c->low;
            }
}

int replay_CLAHE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    struct clahe c = {.low = (float)replay_float(call, "low", 0),
                      .high = (float)replay_float(call, "high", 255),
                      .clip_limit = (float)replay_float(call, "clip_limit", 4)};
    if (x->shape.rank != 4 || replay_ints(call, "grid", 2, 1, 8, c.grid, err) != 0)
        return replay_mismatch(call, err, "it takes images and a grid");
    c.planes = x->shape.dims[0] * x->shape.dims[1];
    for (int i = 0; i < 2; i++) {
        c.size[i] = x->shape.dims[2 + i];
        c.tile[i] = (c.size[i] + c.grid[i] - 1) / c.grid[i];
        c.whole[i] = c.tile[i] * c.grid[i];
        if (c.size[i] < 1 || c.whole[i] > 2 * c.size[i])
            return replay_mismatch(call, err, "the image is too small for the grid");
    }
    struct tensor *y = replay_new(&x->shape, DTYPE_F32, err);
    unsigned char *pixel = malloc((size_t)(c.planes * c.whole[0] * c.whole[1]) + 1);
    float *tables = calloc((size_t)(c.planes * c.grid[0] * c.grid[1]) + 1, 256 * sizeof *tables);
    int status = y && pixel && tables ? 0 : h5pt_fail_memory(err);
    if (status == 0) {
        pixels(&c, x->data, pixel);
        histograms(&c, pixel, tables);
        accumulate(&c, tables);
        look_up(&c, pixel, tables, y->data);
        *ret = y;
    } else {
        tensor_free(y);
    }
    free(pixel);
    free(tables);
    return status;
}
