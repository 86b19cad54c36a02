/* SPDX-License-Identifier: Apache-2.0 */
/* Enlarging an axis by a whole factor: which cells of the input an output cell is made of, and with what weights. Images are
 * enlarged along one axis after the other. Cells have their samples in the middle (except LEGACY); cells beyond the border
 * do not count, and the weights of the others are brought back to a sum of 1. */
#ifndef H5PT_LAYERS_RESIZE_TAPS_H
#define H5PT_LAYERS_RESIZE_TAPS_H

#include <stdint.h>

enum resize_kind {
    RESIZE_BILINEAR,
    RESIZE_BILINEAR_LEGACY, /* samples at the corners of cells: output o lies at o / factor */
    RESIZE_BICUBIC,         /* of TensorFlow, which rounds positions to 1/1024 of a cell */
    RESIZE_LANCZOS3,
    RESIZE_LANCZOS5,
    RESIZE_GAUSSIAN,
    RESIZE_MITCHELL,
};

enum { RESIZE_MAX_TAPS = 11 };

struct resize_taps {
    int64_t first; /* cell of the input */
    int count;     /* 1 … RESIZE_MAX_TAPS cells from there */
    double weights[RESIZE_MAX_TAPS];
};

/* The taps of output cell `o`, 0 … in * factor - 1. */
void resize_taps(enum resize_kind kind, int64_t in, int64_t factor, int64_t o, struct resize_taps *ret);

#endif
