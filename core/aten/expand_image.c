/* SPDX-License-Identifier: Apache-2.0 */
/* Images of (batch, channels, …): other sizes, blocks, windows. */
#include "aten/aten.h"

#include <string.h>

#include "aten/window.h"

/* ---- sizes ---- */

/* To the spatial sizes of `shape`; `scales` NULL: by these sizes, else by factors. */
static int resample(struct aten_builder *b, int x, const char *mode, struct aten_shape shape, const double *scales)
{
    static const char *const nearest[] = {"upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_nearest3d.vec"};
    static const char *const exact[] = {"_upsample_nearest_exact1d.vec", "_upsample_nearest_exact2d.vec",
                                        "_upsample_nearest_exact3d.vec"};
    int rank = shape.rank - 2;
    bool bilinear = strcmp(mode, "bilinear") == 0;
    if (rank < 1 || rank > 3 || (bilinear && rank != 2))
        return aten_refuse(b, "an interpolation of so many dims");
    const char *op = bilinear                             ? "upsample_bilinear2d.vec"
                     : strcmp(mode, "nearest-exact") == 0 ? exact[rank - 1]
                                                          : nearest[rank - 1];
    struct aten_arg size = scales ? aten_none("output_size") : aten_sizes("output_size", rank, shape.dims + 2);
    struct aten_arg factors = scales ? aten_reals("scale_factors", rank, scales) : aten_none("scale_factors");
    if (bilinear)
        return aten_emit(b, op, shape, aten_dtype_of(b, x),
                         ATEN_ARGS(aten_tensor("input", x), size, aten_flag("align_corners", false), factors));
    return aten_emit(b, op, shape, aten_dtype_of(b, x), ATEN_ARGS(aten_tensor("input", x), size, factors));
}

static const char *mode_of(const struct torch_node *node)
{
    const char *mode = torch_attr_text(node, "mode");
    return mode ? mode : "nearest";
}

int aten_INTERPOLATE(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), rank = aten_rank(b, x) - 2;
    struct aten_shape shape = aten_shape_of(b, x);
    bool sized = torch_attr(node, "size") != NULL;
    int64_t asked[3] = {1, 1, 1};
    double scales[3];
    if (rank < 1 || rank > 3)
        return aten_refuse(b, "an interpolation of so many dims");
    aten_attr_ints(node, sized ? "size" : "scale_factor", rank, 1, asked);
    for (int i = 0; i < rank && !b->failed; i++) {
        scales[i] = (double)asked[i];
        shape.dims[2 + i] = sized ? aten_int(b, asked[i]) : aten_int_linear(b, asked[i], shape.dims[2 + i], 0);
    }
    return resample(b, x, mode_of(node), shape, sized ? NULL : scales);
}

int aten_INTERPOLATE_LIKE(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), like = aten_input(b, node, 1);
    struct aten_shape shape = aten_shape_of(b, x);
    for (int i = 0; i < 2 && !b->failed; i++)
        shape.dims[2 + i] = aten_int_linear(b, torch_attr_at(node, "times", i), aten_size(b, like, 2 + i), 0);
    return resample(b, x, mode_of(node), shape, NULL);
}

/* ---- blocks ---- */

int aten_PIXEL_SHUFFLE(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    int64_t r = torch_attr_int(node, "upscale_factor");
    struct aten_shape shape = aten_shape_of(b, x);
    for (int i = 2; i < shape.rank; i++)
        shape.dims[i] = aten_int_linear(b, r, shape.dims[i], 0);
    shape.dims[1] = aten_int_floor_div(b, aten_size(b, x, 1), aten_int(b, r * r));
    return aten_emit(b, "pixel_shuffle.default", shape, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("upscale_factor", r)));
}

int aten_PIXEL_UNSHUFFLE(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    int64_t r = torch_attr_int(node, "downscale_factor");
    struct aten_shape shape = aten_shape_of(b, x);
    for (int i = 2; i < shape.rank; i++)
        shape.dims[i] = aten_int_floor_div(b, shape.dims[i], aten_int(b, r));
    shape.dims[1] = aten_int_linear(b, r * r, aten_size(b, x, 1), 0);
    return aten_emit(b, "pixel_unshuffle.default", shape, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("downscale_factor", r)));
}

/* ---- windows ---- */

/* (batch, channels x cells of the kernel, places) */
int aten_UNFOLD(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    const struct aten_window w = aten_window(node, 2, false);
    struct aten_shape places = aten_window_shape(b, &w, x);
    struct aten_shape shape = {.rank = 3};
    shape.dims[0] = aten_size(b, x, 0);
    shape.dims[1] = aten_int_linear(b, w.kernel[0] * w.kernel[1], aten_size(b, x, 1), 0);
    shape.dims[2] = aten_int_mul(b, places.dims[2], places.dims[3]);
    return aten_emit(b, "im2col.default", shape, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integers("kernel_size", 2, w.kernel),
                               aten_integers("dilation", 2, w.dilation), aten_integers("padding", 2, w.padding),
                               aten_integers("stride", 2, w.stride)));
}

/* (batch, channels x cells of the kernel, places) to the image that they were cut from, where they overlap added up */
int aten_FOLD(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    const struct aten_window w = aten_window(node, 2, false);
    int64_t size[2];
    aten_attr_ints(node, "output_size", 2, 1, size);
    struct aten_shape shape = {.rank = 4, .dims = {aten_size(b, x, 0)}};
    shape.dims[1] = aten_int_floor_div(b, aten_size(b, x, 1), aten_int(b, w.kernel[0] * w.kernel[1]));
    for (int i = 0; i < 2; i++)
        shape.dims[2 + i] = aten_int(b, size[i]);
    return aten_emit(b, "col2im.default", shape, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integers("output_size", 2, size),
                               aten_integers("kernel_size", 2, w.kernel), aten_integers("dilation", 2, w.dilation),
                               aten_integers("padding", 2, w.padding), aten_integers("stride", 2, w.stride)));
}
