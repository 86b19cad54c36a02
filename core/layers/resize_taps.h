/* SPDX-License-Identifier: Apache-2.0 */
/* Resampling an axis: which cells of the input an output cell is made of, and with what weights. Images are resampled along
 * one axis after the other. Cells have their samples in the middle (except LEGACY); cells beyond the border do not count, and
 * the weights of the others are brought back to a sum of 1. */
#ifndef H5PT_LAYERS_RESIZE_TAPS_H
#define H5PT_LAYERS_RESIZE_TAPS_H

#include <stdbool.h>
#include <stdint.h>

enum resize_kind {
    RESIZE_NEAREST,
    RESIZE_BILINEAR,
    RESIZE_BILINEAR_LEGACY, /* samples at the corners of cells: output o lies at o * in / out */
    RESIZE_BICUBIC,         /* of TensorFlow, which rounds positions to 1/1024 of a cell unless it smoothes */
    RESIZE_LANCZOS3,
    RESIZE_LANCZOS5,
    RESIZE_AREA, /* the mean of what an output cell covers */
    RESIZE_GAUSSIAN,
    RESIZE_MITCHELL,
};

/* An axis of `in` cells that becomes one of `out`. `smooth` (antialias): kernels are widened when it is made smaller; NEAREST
 * and AREA do not look at it. */
struct resize_axis {
    enum resize_kind kind;
    int64_t in, out;
    bool smooth;
};

/* The cells of all outputs: output o is made of count[o] cells from first[o], with the weights from weights[o * most]. */
struct resize_taps {
    int64_t most;
    int64_t *first, *count; /* owned */
    float *weights;         /* owned */
};

/* False without memory. */
bool resize_taps_init(struct resize_taps *taps, const struct resize_axis *axis);
void resize_taps_release(struct resize_taps *taps);
/* Those of the outputs from `start` on; borrowed. */
struct resize_taps resize_taps_from(const struct resize_taps *taps, int64_t start);

/* y (height, width, channels) of x (…, in_width, channels). */
void resize_image(const struct resize_taps *rows, int64_t height, const struct resize_taps *columns, int64_t width,
                  int64_t in_width, int64_t channels, const float *x, float *y);

#endif
