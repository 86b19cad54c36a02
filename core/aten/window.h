/* SPDX-License-Identifier: Apache-2.0 */
/* A window that slides over the spatial dims of (batch, channels, …). Private to the expansions of convolutions and pooling. */
#ifndef H5PT_ATEN_WINDOW_H
#define H5PT_ATEN_WINDOW_H

#include "aten/aten.h"

struct aten_window {
    int rank; /* spatial dims */
    int64_t kernel[3], stride[3], padding[3], dilation[3];
};

/* From the node's attributes. Without a stride attribute the stride is the kernel when `pooling`, else 1. */
struct aten_window aten_window(const struct torch_node *node, int rank, bool pooling);
/* The shape of x with the number of places of the window as spatial dims. */
struct aten_shape aten_window_shape(struct aten_builder *b, const struct aten_window *window, int x);

/* pad_same of model.py: x padded with `value` so that ceil(size / stride) windows fit, the odd cell at the end. */
int aten_pad_same(struct aten_builder *b, const struct aten_window *window, int x, double value);

#endif
