/* SPDX-License-Identifier: Apache-2.0 */
/* Pooling, and Keras' padding="same". */
#include "aten/window.h"

static const char *const max_names[3] = {"max_pool1d.default", "max_pool2d.default", "max_pool3d.default"};
static const char *const average_names[3] = {"avg_pool1d.default", "avg_pool2d.default", "avg_pool3d.default"};
static const char *const adaptive_average_names[3] = {"adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default",
                                                      "adaptive_avg_pool3d.default"};
static const char *const adaptive_max_names[3] = {"adaptive_max_pool1d.default", "adaptive_max_pool2d.default",
                                                  "adaptive_max_pool3d.default"};

static int largest(struct aten_builder *b, const struct torch_node *node, int rank)
{
    const struct aten_window w = aten_window(node, rank, true);
    int x = aten_input(b, node, 0);
    return aten_emit(b, max_names[rank - 1], aten_window_shape(b, &w, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integers("kernel_size", rank, w.kernel),
                               aten_integers("stride", rank, w.stride), aten_integers("padding", rank, w.padding)));
}

static int average(struct aten_builder *b, const struct aten_window *w, int x, bool count_padding)
{
    return aten_emit(b, average_names[w->rank - 1], aten_window_shape(b, w, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integers("kernel_size", w->rank, w->kernel),
                               aten_integers("stride", w->rank, w->stride),
                               aten_integers("padding", w->rank, w->padding), aten_flag("ceil_mode", false),
                               aten_flag("count_include_pad", count_padding)));
}

static int average_node(struct aten_builder *b, const struct torch_node *node, int rank)
{
    const struct aten_window w = aten_window(node, rank, true);
    return average(b, &w, aten_input(b, node, 0), aten_attr_flag(node, "count_include_pad", true));
}

/* The shape with output_size as spatial dims, which go to `size`. */
static struct aten_shape adaptive_shape(struct aten_builder *b, const struct torch_node *node, int rank, int64_t *size)
{
    struct aten_shape shape = aten_shape_of(b, aten_input(b, node, 0));
    aten_attr_ints(node, "output_size", rank, 1, size);
    for (int i = 0; i < rank; i++)
        shape.dims[2 + i] = aten_int(b, size[i]);
    return shape;
}

static int adaptive_average(struct aten_builder *b, const struct torch_node *node, int rank)
{
    int64_t size[3];
    int x = aten_input(b, node, 0);
    struct aten_shape shape = adaptive_shape(b, node, rank, size);
    return aten_emit(b, adaptive_average_names[rank - 1], shape, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integers("output_size", rank, size)));
}

/* The operator gives the places too. */
static int adaptive_largest(struct aten_builder *b, const struct torch_node *node, int rank)
{
    int64_t size[3];
    int x = aten_input(b, node, 0);
    struct aten_shape shape = adaptive_shape(b, node, rank, size);
    const struct aten_meta outputs[] = {{.shape = shape, .dtype = aten_dtype_of(b, x)},
                                        {.shape = shape, .dtype = DTYPE_I64}};
    return aten_emit_many(b, adaptive_max_names[rank - 1], false, 2, outputs,
                          ATEN_ARGS(aten_tensor("self", x), aten_integers("output_size", rank, size)));
}

#define POOLING(id, function, rank)                                                                                    \
    int aten_##id(struct aten_builder *b, const struct torch_node *node)                                               \
    {                                                                                                                  \
        return function(b, node, rank);                                                                                \
    }

POOLING(MAX_POOL1D, largest, 1)
POOLING(MAX_POOL2D, largest, 2)
POOLING(MAX_POOL3D, largest, 3)
POOLING(AVG_POOL1D, average_node, 1)
POOLING(AVG_POOL2D, average_node, 2)
POOLING(AVG_POOL3D, average_node, 3)
POOLING(ADAPTIVE_AVG_POOL1D, adaptive_average, 1)
POOLING(ADAPTIVE_AVG_POOL2D, adaptive_average, 2)
POOLING(ADAPTIVE_AVG_POOL3D, adaptive_average, 3)
POOLING(ADAPTIVE_MAX_POOL1D, adaptive_largest, 1)
POOLING(ADAPTIVE_MAX_POOL2D, adaptive_largest, 2)
POOLING(ADAPTIVE_MAX_POOL3D, adaptive_largest, 3)

int aten_pad_same(struct aten_builder *b, const struct aten_window *w, int x, double value)
{
    const struct aten_int *before[ATEN_MAX_RANK] = {NULL}, *after[ATEN_MAX_RANK] = {NULL};
    for (int i = 0; i < w->rank; i++) {
        const struct aten_int *size = aten_size(b, x, 2 + i), *places = aten_int_ceil_div(b, size, w->stride[i]);
        int64_t extent = w->dilation[i] * (w->kernel[i] - 1) + 1;
        const struct aten_int *needed = aten_int_linear(b, w->stride[i], places, extent - w->stride[i]);
        const struct aten_int *total = aten_int_sub(b, aten_int_max(b, needed, size), size);
        before[2 + i] = aten_int_floor_div(b, total, aten_int(b, 2));
        after[2 + i] = aten_int_sub(b, total, before[2 + i]);
    }
    return aten_pad(b, x, before, after, value);
}

int aten_PAD_SAME(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    const struct aten_window w = aten_window(node, aten_rank(b, x) - 2, false);
    return aten_pad_same(b, &w, x, aten_attr_real(node, "value", 0));
}

/* avg_pool_same of model.py: the mean over the padded input, divided by what of each window lies inside. */
int aten_AVG_POOL_SAME(struct aten_builder *b, const struct torch_node *node)
{
    const struct aten_int *one = aten_int(b, 1);
    int x = aten_input(b, node, 0);
    const struct aten_window w = aten_window(node, aten_rank(b, x) - 2, true);
    int total = average(b, &w, aten_pad_same(b, &w, x, 0), true);
    struct aten_shape plane = aten_shape_of(b, x);
    plane.dims[0] = plane.dims[1] = one;
    int inside = average(b, &w, aten_pad_same(b, &w, aten_full(b, x, plane, 1), 0), true);
    return aten_arithmetic(b, "div.Tensor", total, inside);
}
