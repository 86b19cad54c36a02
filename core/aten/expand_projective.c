/* SPDX-License-Identifier: Apache-2.0 */
/* Images read at transformed places, as TensorFlow does it: projective_transform of model.py. */
#include "aten/formula.h"

#include <math.h>
#include <string.h>

struct warp {
    int x;                    /* (batch, channels, height, width) */
    int transform;            /* (batch or 1, 8) */
    int row, column;          /* 0 … height - 1 as a column, 0 … width - 1 */
    int scale, defined;       /* what both coordinates are divided by; whether that is not 0 */
    int size[2];              /* height and width, as tensors */
    struct aten_shape places; /* (batch, height, width) */
    const char *mode;         /* fill_mode */
    double fill;
};

/* t[i] column + t[i + 1] row, (batch or 1, height, width) */
static int turned(struct aten_builder *b, const struct warp *w, int i)
{
    int t[2];
    for (int k = 0; k < 2; k++)
        t[k] = aten_unsqueeze(b, aten_unsqueeze(b, aten_select(b, w->transform, 1, i + k), 1), 1);
    return aten_add(b, aten_mul(b, t[0], w->column), aten_mul(b, t[1], w->row));
}

/* p + by trunc(±p / divisor) */
static int moved(struct aten_builder *b, int p, double sign, int by, int divisor, double more)
{
    int over = aten_div(b, sign < 0 ? aten_unary(b, "neg.default", p) : p, divisor);
    int times = aten_plus(b, aten_unary(b, "trunc.default", over), more);
    int step = aten_mul(b, times, by);
    return sign < 0 ? aten_add(b, p, step) : aten_sub(b, p, step);
}

/* p where it lies inside, else one of the others. */
static int by_side(struct aten_builder *b, int p, int low, int high, int last)
{
    int inside = aten_where(b, aten_compare(b, "gt.Tensor", p, last), high, p);
    return aten_where(b, aten_than(b, "lt.Scalar", p, 0), low, inside);
}

static int wrapped(struct aten_builder *b, int p, int size, int last)
{
    int divisor = aten_limit(b, last, 1, INFINITY);
    return by_side(b, p, moved(b, p, -1, size, divisor, 1), moved(b, p, 1, size, divisor, 0), last);
}

static int reflected(struct aten_builder *b, int p, int size, int last)
{
    int twice = aten_times(b, size, 2);
    int low = moved(b, p, -1, twice, twice, 0), high = moved(b, p, 1, twice, twice, 0);
    int before = aten_compare(b, "lt.Tensor", low, aten_unary(b, "neg.default", size));
    low = aten_where(b, before, aten_add(b, low, twice), aten_from(b, -1, low));
    int behind = aten_compare(b, "ge.Tensor", high, size);
    high = aten_where(b, behind, aten_minus(b, aten_sub(b, twice, high), 1), high);
    return by_side(b, p, low, high, last);
}

/* One coordinate of the place that each cell is read from. */
static int places(struct aten_builder *b, const struct warp *w, int i, int size)
{
    int offset = aten_unsqueeze(b, aten_unsqueeze(b, aten_select(b, w->transform, 1, i + 2), 1), 1);
    int last = aten_minus(b, size, 1), p = aten_div(b, aten_add(b, turned(b, w, i), offset), w->scale);
    p = aten_where_number(b, w->defined, p, 0);
    if (strcmp(w->mode, "wrap") == 0)
        p = wrapped(b, p, size, last);
    else if (strcmp(w->mode, "reflect") == 0)
        p = reflected(b, p, size, last);
    if (strcmp(w->mode, "constant") != 0)
        p = aten_smaller(b, aten_limit(b, p, 0, INFINITY), last);
    return aten_expand_to(b, p, w->places);
}

/* The image at whole places, the fill value outside. */
static int cells(struct aten_builder *b, const struct warp *w, int y, int x)
{
    int inside = aten_and(b, aten_than(b, "ge.Scalar", y, 0), aten_compare(b, "lt.Tensor", y, w->size[0]));
    inside = aten_and(b, inside, aten_than(b, "ge.Scalar", x, 0));
    inside = aten_and(b, inside, aten_compare(b, "lt.Tensor", x, w->size[1]));
    int line = aten_cast(b, aten_where_number(b, inside, y, 0), DTYPE_I64);
    int place = aten_cast(b, aten_where_number(b, inside, x, 0), DTYPE_I64);
    int index = aten_add(b, aten_mul(b, line, aten_cast(b, w->size[1], DTYPE_I64)), place);
    struct aten_shape flat = aten_without(b, w->x, 3);
    if (b->failed)
        return -1;
    flat.dims[2] = aten_int_mul(b, aten_size(b, w->x, 2), aten_size(b, w->x, 3));
    index = aten_reshape(b, index,
                         (struct aten_shape){.rank = 3, .dims = {flat.dims[0], aten_int(b, 1), flat.dims[2]}});
    int found = aten_gather(b, aten_reshape(b, w->x, flat), 2, aten_expand_to(b, index, flat));
    found = aten_reshape(b, found, aten_shape_of(b, w->x));
    return aten_where_number(b, aten_unsqueeze(b, inside, 1), found, w->fill);
}

/* Halves away from zero. */
static int rounded(struct aten_builder *b, int p)
{
    int up = aten_unary(b, "floor.default", aten_plus(b, aten_unary(b, "abs.default", p), 0.5));
    return aten_mul(b, aten_unary(b, "sign.default", p), up);
}

static int between_cells(struct aten_builder *b, const struct warp *w, int y, int x)
{
    int top = aten_unary(b, "floor.default", y), left = aten_unary(b, "floor.default", x);
    int bottom = aten_plus(b, top, 1), right = aten_plus(b, left, 1);
    int down = aten_unsqueeze(b, aten_sub(b, y, top), 1), across = aten_unsqueeze(b, aten_sub(b, x, left), 1);
    int above = aten_blend(b, cells(b, w, top, left), cells(b, w, top, right), across);
    int below = aten_blend(b, cells(b, w, bottom, left), cells(b, w, bottom, right), across);
    return aten_blend(b, above, below, down);
}

int aten_PROJECTIVE_TRANSFORM(struct aten_builder *b, const struct torch_node *node)
{
    const char *interpolation = torch_attr_text(node, "interpolation"), *mode = torch_attr_text(node, "fill_mode");
    struct warp w = {.x = aten_input(b, node, 0),
                     .transform = aten_input(b, node, 1),
                     .mode = mode ? mode : "constant",
                     .fill = aten_attr_real(node, "fill_value", 0)};
    const struct aten_int *height = aten_size(b, w.x, 2), *width = aten_size(b, w.x, 3);
    enum dtype dtype = aten_dtype_of(b, w.x);
    w.places = (struct aten_shape){.rank = 3, .dims = {aten_size(b, w.x, 0), height, width}};
    w.size[0] = aten_size_tensor(b, w.x, height, dtype);
    w.size[1] = aten_size_tensor(b, w.x, width, dtype);
    w.row = aten_unsqueeze(b, aten_arange(b, w.x, height, dtype), 1);
    w.column = aten_arange(b, w.x, width, dtype);
    w.scale = aten_plus(b, turned(b, &w, 6), 1);
    w.defined = aten_than(b, "ne.Scalar", w.scale, 0);
    int y = places(b, &w, 3, w.size[0]), x = places(b, &w, 0, w.size[1]);
    bool nearest = interpolation && strcmp(interpolation, "nearest") == 0;
    int result = nearest ? cells(b, &w, rounded(b, y), rounded(b, x)) : between_cells(b, &w, y, x);
    int seen = aten_unsqueeze(b, aten_expand_to(b, w.defined, w.places), 1);
    return aten_where_number(b, seen, result, w.fill);
}
