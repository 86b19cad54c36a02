/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions. */
#include "aten/aten.h"
#include "aten/window.h"

struct aten_window aten_window(const struct torch_node *node, int rank, bool pooling)
{
    struct aten_window w = {.rank = rank};
    aten_attr_ints(node, "kernel_size", rank, 1, w.kernel);
    aten_attr_ints(node, "stride", rank, 1, w.stride);
    if (pooling && !torch_attr(node, "stride"))
        aten_attr_ints(node, "kernel_size", rank, 1, w.stride);
    aten_attr_ints(node, "padding", rank, 0, w.padding);
    aten_attr_ints(node, "dilation", rank, 1, w.dilation);
    return w;
}

struct aten_shape aten_window_shape(struct aten_builder *b, const struct aten_window *w, int x)
{
    struct aten_shape shape = aten_shape_of(b, x);
    for (int i = 0; i < w->rank && !b->failed; i++) {
        int64_t extent = w->dilation[i] * (w->kernel[i] - 1) + 1;
        const struct aten_int *room = aten_int_linear(b, 1, aten_size(b, x, 2 + i), 2 * w->padding[i] - extent);
        shape.dims[2 + i] = aten_int_linear(b, 1, aten_int_floor_div(b, room, aten_int(b, w->stride[i])), 1);
    }
    return shape;
}

static bool has_bias(const struct torch_node *node)
{
    return aten_attr_flag(node, "bias", true);
}

static int convolution(struct aten_builder *b, const struct torch_node *node, const char *op, int rank)
{
    const struct aten_window w = aten_window(node, rank, false);
    int x = aten_input(b, node, 0), weight = aten_parameter(b, node, 0);
    struct aten_shape shape = aten_window_shape(b, &w, x);
    shape.dims[1] = aten_size(b, weight, 0);
    return aten_emit(b, op, shape, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("input", x), aten_tensor("weight", weight),
                               aten_tensor("bias", has_bias(node) ? aten_parameter(b, node, 1) : ATEN_NO_TENSOR),
                               aten_integers("stride", rank, w.stride), aten_integers("padding", rank, w.padding),
                               aten_integers("dilation", rank, w.dilation),
                               aten_integer("groups", aten_attr_int(node, "groups", 1))));
}

static int transposed(struct aten_builder *b, const struct torch_node *node, const char *op, int rank)
{
    const struct aten_window w = aten_window(node, rank, false);
    int64_t more[3];
    int x = aten_input(b, node, 0), weight = aten_parameter(b, node, 0);
    struct aten_shape shape = aten_shape_of(b, x);
    aten_attr_ints(node, "output_padding", rank, 0, more);
    shape.dims[1] = aten_size(b, weight, 1);
    for (int i = 0; i < rank && !b->failed; i++)
        shape.dims[2 + i] = aten_int_linear(b, w.stride[i], aten_size(b, x, 2 + i),
                                            w.dilation[i] * (w.kernel[i] - 1) + 1 - w.stride[i] - 2 * w.padding[i] +
                                                more[i]);
    return aten_emit(b, op, shape, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("input", x), aten_tensor("weight", weight),
                               aten_tensor("bias", has_bias(node) ? aten_parameter(b, node, 1) : ATEN_NO_TENSOR),
                               aten_integers("stride", rank, w.stride), aten_integers("padding", rank, w.padding),
                               aten_integers("output_padding", rank, more), aten_integer("groups", 1),
                               aten_integers("dilation", rank, w.dilation)));
}

#define CONVOLUTION(id, function, op, rank)                                                                            \
    int aten_##id(struct aten_builder *b, const struct torch_node *node)                                               \
    {                                                                                                                  \
        return function(b, node, op, rank);                                                                            \
    }

CONVOLUTION(CONV1D, convolution, "conv1d.default", 1)
CONVOLUTION(CONV2D, convolution, "conv2d.default", 2)
CONVOLUTION(CONV3D, convolution, "conv3d.default", 3)
CONVOLUTION(CONV_TRANSPOSE1D, transposed, "conv_transpose1d.default", 1)
CONVOLUTION(CONV_TRANSPOSE2D, transposed, "conv_transpose2d.input", 2)
CONVOLUTION(CONV_TRANSPOSE3D, transposed, "conv_transpose3d.input", 3)
