/* SPDX-License-Identifier: Apache-2.0 */
/* Colours of images: RGBToGrayscale, RGBToHSV and HSVToRGB, as TensorFlow computes them. */
#include <math.h>

#include "layers/operation.h"
#include "layers/variants.h"

static void op_color_read(struct config_reader *reader, void *config, int variant)
{
    *(enum color_variant *)config = (enum color_variant)variant;
    (void)config_data_format(reader);
}

static int channel_axis(const struct keras_layer *layer, int rank)
{
    return layer->channels_first ? rank - 3 : rank - 1;
}

static int op_color_shape(struct layer_shape *s)
{
    int rank = s->inputs[0].rank;
    if (s->input_count != 1 || rank < 3 || rank > 4 || s->inputs[0].dims[channel_axis(s->layer, rank)] != 3 ||
        s->input_dtypes[0] != DTYPE_F32)
        return layer_shape_fail(s, "%s is supported for float images of 3 channels", s->layer->class_name);
    s->outputs[0] = s->inputs[0];
    if (*(const enum color_variant *)s->config == COLOR_GRAYSCALE)
        s->outputs[0].dims[channel_axis(s->layer, rank)] = 1;
    return 0;
}

static const float grey[3] = {0.2989f, 0.5870f, 0.1140f};

static void to_hsv(const double c[3], double ret[3])
{
    double v = fmax(c[0], fmax(c[1], c[2])), range = v - fmin(c[0], fmin(c[1], c[2])), hue = 0;
    if (range > 0)
        hue = (c[0] == v   ? (c[1] - c[2]) / range
               : c[1] == v ? (c[2] - c[0]) / range + 2
                           : (c[0] - c[1]) / range + 4) /
              6;
    ret[0] = hue < 0 ? hue + 1 : hue;
    ret[1] = v > 0 ? range / v : 0;
    ret[2] = v;
}

static double limit(double x)
{
    return fmin(fmax(x, 0), 1);
}

static void from_hsv(const double c[3], double ret[3])
{
    double sixth = c[0] * 6, grey_part = (1 - c[1]) * c[2], rest = c[1] * c[2];
    ret[0] = grey_part + rest * limit(fabs(sixth - 3) - 1);
    ret[1] = grey_part + rest * limit(2 - fabs(sixth - 2));
    ret[2] = grey_part + rest * limit(2 - fabs(sixth - 4));
}

static int op_color_reference(const struct layer_run *run)
{
    enum color_variant variant = *(const enum color_variant *)run->config;
    bool to_grey = variant == COLOR_GRAYSCALE;
    const struct tensor *in = run->inputs[0];
    int axis = channel_axis(run->layer, in->shape.rank);
    int64_t inner = 1;
    for (int i = axis + 1; i < in->shape.rank; i++)
        inner *= in->shape.dims[i];
    for (int64_t n = 0; n < in->count / 3; n++) {
        const float *x = in->data + n / inner * 3 * inner + n % inner;
        double c[3] = {(double)x[0], (double)x[inner], (double)x[2 * inner]}, hsv[3];
        if (to_grey) {
            run->outputs[0]->data[n] = (float)(c[0] * (double)grey[0] + c[1] * (double)grey[1] +
                                               c[2] * (double)grey[2]);
            continue;
        }
        if (variant == COLOR_HSV)
            to_hsv(c, hsv);
        else
            from_hsv(c, hsv);
        for (int k = 0; k < 3; k++)
            run->outputs[0]->data[n / inner * 3 * inner + n % inner + k * inner] = (float)hsv[k];
    }
    return 0;
}

static int op_color_lower(struct lowering *l, const struct keras_call *call)
{
    struct lowered x = lower_input_plain(l, call, 0);
    int axis = channel_axis(call->layer, x.layout.rank);
    struct torch_attr attrs[] = {attr_int("dim", layout_axis(&x.layout, axis)), attr_bool("keepdim", true)};
    enum color_variant variant = *(const enum color_variant *)call->layer->config;
    if (variant != COLOR_GRAYSCALE) {
        enum torch_op op = variant == COLOR_HSV ? TORCH_RGB_TO_HSV : TORCH_HSV_TO_RGB;
        return lower_output(l, call, 0, lower_one(l, call, op, x, lower_shape(l, x.id), x.layout, DTYPE_F32, 1, attrs));
    }
    struct shape shape = {.rank = x.layout.rank}, result = lower_shape(l, x.id);
    for (int i = 0; i < shape.rank; i++)
        shape.dims[i] = i == axis ? 3 : 1;
    struct tensor *weights = tensor_new(&shape, DTYPE_F32);
    for (int i = 0; weights && i < 3; i++)
        weights->data[i] = grey[i];
    struct lowered w = lower_buffer(l, call, "weights", weights, &x.layout);
    tensor_free(weights);
    result.dims[layout_axis(&x.layout, axis)] = 1;
    return lower_output(l, call, 0,
                        lower_one(l, call, TORCH_SUM, lower_join(l, call, TORCH_MUL, x, w, DTYPE_F32), result, x.layout,
                                  DTYPE_F32, 2, attrs));
}

const struct layer_handler op_color_handler = {
    .config_size = sizeof(enum color_variant),
    .read = op_color_read,
    .shape = op_color_shape,
    .reference = op_color_reference,
    .lower = op_color_lower,
};
