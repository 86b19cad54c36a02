/* SPDX-License-Identifier: Apache-2.0 */
/* Colours: hue, saturation and value; contrast. The definitions are those of the helpers in write/python_helpers.c. */
#include "aten/formula.h"

enum { CHANNELS = 3 };

static int channels_of(struct aten_builder *b, const struct torch_node *node, int ret[CHANNELS])
{
    int x = aten_input(b, node, 0), dim = aten_dim(b, x, torch_attr_int(node, "dim"));
    for (int i = 0; i < CHANNELS; i++)
        ret[i] = aten_select(b, x, dim, i);
    return dim;
}

int aten_RGB_TO_HSV(struct aten_builder *b, const struct torch_node *node)
{
    int c[CHANNELS], hsv[CHANNELS], dim = channels_of(b, node, c), r = c[0], g = c[1], blue = c[2];
    int value = aten_larger(b, aten_larger(b, r, g), blue);
    int spread = aten_sub(b, value, aten_smaller(b, aten_smaller(b, r, g), blue));
    int coloured = aten_unary(b, "logical_not.default", aten_than(b, "le.Scalar", spread, 0));
    int safe = aten_where_number(b, coloured, spread, 1);
    int from_blue = aten_plus(b, aten_div(b, aten_sub(b, r, g), safe), 4);
    int from_green = aten_plus(b, aten_div(b, aten_sub(b, blue, r), safe), 2);
    int from_red = aten_div(b, aten_sub(b, g, blue), safe);
    int other = aten_where(b, aten_compare(b, "eq.Tensor", g, value), from_green, from_blue);
    int hue = aten_over(b, aten_where(b, aten_compare(b, "eq.Tensor", r, value), from_red, other), 6);
    hue = aten_where(b, aten_than(b, "lt.Scalar", hue, 0), aten_plus(b, hue, 1), hue);
    hsv[0] = aten_where_number(b, coloured, hue, 0);
    hsv[1] = aten_where_number(b, aten_than(b, "gt.Scalar", value, 0), aten_div(b, spread, value), 0);
    hsv[2] = value;
    return aten_stack(b, CHANNELS, hsv, dim);
}

int aten_HSV_TO_RGB(struct aten_builder *b, const struct torch_node *node)
{
    int c[CHANNELS], rgb[CHANNELS], dim = channels_of(b, node, c), saturation = c[1], value = c[2];
    int h = aten_times(b, c[0], 6), rest = aten_from(b, 1, saturation);
    for (int i = 0; i < CHANNELS; i++) {
        static const double centre[CHANNELS] = {3, 2, 4};
        int away = aten_unary(b, "abs.default", aten_minus(b, h, centre[i]));
        int colour = aten_limit(b, i == 0 ? aten_minus(b, away, 1) : aten_from(b, 2, away), 0, 1);
        rgb[i] = aten_mul(b, aten_add(b, rest, aten_mul(b, saturation, colour)), value);
    }
    return aten_stack(b, CHANNELS, rgb, dim);
}

/* x between low and high, as 0 … 255, and back. */
static int to_bytes(struct aten_builder *b, int x, double low, double high)
{
    return aten_times(b, aten_over(b, aten_minus(b, x, low), high - low), 255);
}

static int from_bytes(struct aten_builder *b, int x, double low, double high)
{
    return aten_plus(b, aten_times(b, aten_over(b, x, 255), high - low), low);
}

int aten_AUTO_CONTRAST(struct aten_builder *b, const struct torch_node *node)
{
    int64_t dims[ATEN_MAX_RANK];
    double low = torch_attr_float(node, "low"), high = torch_attr_float(node, "high");
    int x = aten_input(b, node, 0), count = aten_attr_dims(b, node, "dim", x, dims);
    int y = to_bytes(b, x, low, high), least = aten_reduce(b, "amin.default", y, count, dims);
    int range = aten_sub(b, aten_reduce(b, "amax.default", y, count, dims), least);
    int scale = aten_times(b, aten_unary(b, "reciprocal.default", range), 255);
    y = aten_sub(b, aten_mul(b, y, scale), aten_mul(b, least, scale));
    y = from_bytes(b, aten_limit(b, y, 0, 255), low, high);
    return aten_where(b, aten_unary_as(b, "isnan.default", y, DTYPE_BOOL), x, y);
}
