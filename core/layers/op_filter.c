/* SPDX-License-Identifier: Apache-2.0 */
/* SobelEdges, GaussianBlur and SSIM: windows with constant weights over each channel of images. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers/conv.h"
#include "layers/operation.h"
#include "layers/variants.h"

enum { FILTER_MAX_SIZE = 255 };

struct filter_config {
    enum filter_variant variant;
    int64_t size[2];
    double sigma[2];
    double c1, c2; /* SSIM: what keeps the quotients from zero */
};

static void read_size(struct config_reader *reader, const char *key, int count, int64_t *size)
{
    config_ints(reader, key, count, size, count == 1 ? 11 : 3);
    for (int i = 0; i < count; i++)
        if (size[i] < 1 || size[i] > FILTER_MAX_SIZE) {
            config_refuse(reader, H5PT_CONFIG_INVALID, key, "\"%s\" must be 1 to %d", key, FILTER_MAX_SIZE);
            size[i] = 1;
        }
}

static void op_filter_read(struct config_reader *reader, void *config, int variant)
{
    struct filter_config *c = config;
    c->variant = (enum filter_variant)variant;
    c->sigma[0] = c->sigma[1] = 1;
    (void)config_data_format(reader);
    if (c->variant == FILTER_BLUR) {
        const double *sigma = NULL;
        read_size(reader, "kernel_size", 2, c->size);
        int n = config_doubles(reader, "sigma", &sigma);
        if (n > 2 || n == 0)
            config_refuse(reader, H5PT_CONFIG_INVALID, "sigma", "\"sigma\" must be two numbers");
        for (int i = 0; i < 2 && n > 0; i++)
            c->sigma[i] = sigma[n == 1 ? 0 : i];
    } else if (c->variant == FILTER_SSIM) {
        double max_val = config_double(reader, "max_val", 1);
        read_size(reader, "filter_size", 1, c->size);
        c->size[1] = c->size[0];
        c->sigma[0] = c->sigma[1] = config_double(reader, "filter_sigma", 1.5);
        c->c1 = pow(config_double(reader, "k1", 0.01) * max_val, 2);
        c->c2 = pow(config_double(reader, "k2", 0.03) * max_val, 2);
    } else {
        c->size[0] = c->size[1] = 3;
    }
    if (!(c->sigma[0] > 0 && c->sigma[1] > 0))
        config_refuse(reader, H5PT_CONFIG_INVALID, "sigma", "The widths of a Gaussian must be positive");
}

static double gauss(int64_t size, double sigma, int64_t i)
{
    double sum = 0, middle = (double)(size - 1) / 2;
    for (int64_t k = 0; k < size; k++)
        sum += exp(-0.5 * pow(((double)k - middle) / sigma, 2));
    return exp(-0.5 * pow(((double)i - middle) / sigma, 2)) / sum;
}

/* The weight of a tap, counted in rows; `which` tells the two of SobelEdges. Keras writes down the weights of a blur with the two sizes
 * exchanged, which only shows when they differ. */
static double weight(const struct filter_config *c, int which, int64_t tap)
{
    static const double sobel[2][9] = {{-1, -2, -1, 0, 0, 0, 1, 2, 1}, {-1, 0, 1, -2, 0, 2, -1, 0, 1}};
    if (c->variant == FILTER_SOBEL)
        return sobel[which][tap];
    return gauss(c->size[1], c->sigma[1], tap / c->size[0]) * gauss(c->size[0], c->sigma[0], tap % c->size[0]);
}

/* Height, width and channels among the axes. */
static void image_axes(const struct keras_layer *layer, int ret[3])
{
    bool first = layer->channels_first;
    memcpy(ret, first ? (const int[]){2, 3, 1} : (const int[]){1, 2, 3}, 3 * sizeof *ret);
}

static int op_filter_shape(struct layer_shape *s)
{
    const struct filter_config *c = s->config;
    const struct shape *in = &s->inputs[0];
    int axes[3], count = c->variant == FILTER_SSIM ? 2 : 1;
    for (int i = 0; i < count; i++)
        if (layer_argument_tensor(layer_argument(s->arguments, i, count == 1 ? "images" : i ? "image2" : "image1")) < 0)
            return operand_fail(s, "images");
    image_axes(s->layer, axes);
    for (int i = 0; i < s->input_count; i++)
        if (s->inputs[i].rank != 4 || s->input_dtypes[i] != DTYPE_F32 || s->inputs[i].dims[axes[2]] < 1 ||
            s->inputs[i].dims[axes[2]] != in->dims[axes[2]])
            return layer_shape_fail(s, "%s is supported for a batch of float images with known channels",
                                    s->layer->class_name);
    for (int i = 0; i < 2; i++) {
        int64_t n = in->dims[axes[i]], m = s->inputs[s->input_count - 1].dims[axes[i]];
        if ((n != m && n != DIM_UNKNOWN && m != DIM_UNKNOWN) ||
            (c->variant != FILTER_BLUR && n != DIM_UNKNOWN && n < (c->variant == FILTER_SSIM ? c->size[0] : 2)))
            return layer_shape_fail(s, "The images of %s are too small or not of the same size", s->layer->class_name);
    }
    s->outputs[0] = *in;
    if (c->variant == FILTER_SSIM)
        s->outputs[0].rank = 1;
    if (c->variant == FILTER_SOBEL)
        s->outputs[0].dims[s->outputs[0].rank++] = 2;
    return 0;
}

/* ---- reference ---- */

/* One channel of one image: where its cells stand. */
struct plane {
    int64_t base, height, width, row, column;
};

static int64_t inside(const struct filter_config *c, int64_t i, int64_t n)
{
    if (c->variant == FILTER_SOBEL)
        return i < 0 ? -i : i < n ? i : 2 * (n - 1) - i;
    return i >= 0 && i < n ? i : -1;
}

/* The weighted sum of a (times b, when that is there) around a cell of the plane; `top` and `left` is the first tap. */
static double window_sum(const struct filter_config *c, const struct plane *p, int which, const float *a,
                         const float *b, int64_t top, int64_t left)
{
    double sum = 0;
    for (int64_t tap = 0; tap < c->size[0] * c->size[1]; tap++) {
        int64_t y = inside(c, top + tap / c->size[1], p->height), x = inside(c, left + tap % c->size[1], p->width);
        if (y < 0 || x < 0)
            continue;
        int64_t at = p->base + y * p->row + x * p->column;
        sum += weight(c, which, tap) * (double)a[at] * (b ? (double)b[at] : 1);
    }
    return sum;
}

static double ssim_of(const struct filter_config *c, const struct plane *p, const float *a, const float *b)
{
    double sum = 0;
    int64_t rows = p->height - c->size[0] + 1, columns = p->width - c->size[1] + 1;
    for (int64_t i = 0; i < rows * columns; i++) {
        int64_t y = i / columns, x = i % columns;
        double mean_a = window_sum(c, p, 0, a, NULL, y, x), mean_b = window_sum(c, p, 0, b, NULL, y, x);
        double aa = window_sum(c, p, 0, a, a, y, x) - mean_a * mean_a;
        double bb = window_sum(c, p, 0, b, b, y, x) - mean_b * mean_b;
        double ab = window_sum(c, p, 0, a, b, y, x) - mean_a * mean_b;
        sum += (2 * mean_a * mean_b + c->c1) * (2 * ab + c->c2) /
               ((mean_a * mean_a + mean_b * mean_b + c->c1) * (aa + bb + c->c2));
    }
    return sum / (double)(rows * columns);
}

static int op_filter_reference(const struct layer_run *run)
{
    const struct filter_config *c = run->config;
    const struct shape *in = &run->inputs[0]->shape;
    int axes[3];
    image_axes(run->layer, axes);
    int64_t height = in->dims[axes[0]], width = in->dims[axes[1]], channels = in->dims[axes[2]], cells = height * width;
    bool first = run->layer->channels_first;
    float *y = run->outputs[0]->data;
    const float *a = run->inputs[0]->data, *b = run->inputs[run->input_count - 1]->data;
    int kinds = c->variant == FILTER_SOBEL ? 2 : 1;
    for (int64_t n = 0; n < in->dims[0] * channels; n++) {
        struct plane p = {.base = first ? n * cells : n / channels * cells * channels + n % channels,
                          .height = height,
                          .width = width,
                          .row = first ? width : width * channels,
                          .column = first ? 1 : channels};
        if (c->variant == FILTER_SSIM) {
            double before = n % channels == 0 ? 0 : (double)y[n / channels];
            y[n / channels] = (float)(before + ssim_of(c, &p, a, b) / (double)channels);
            continue;
        }
        for (int64_t i = 0; i < cells * kinds; i++) {
            int64_t row = i / kinds / width, column = i / kinds % width;
            y[(p.base + row * p.row + column * p.column) * kinds + i % kinds] = (float)window_sum(
                c, &p, (int)(i % kinds), a, NULL, row - (c->size[0] - 1) / 2, column - (c->size[1] - 1) / 2);
        }
    }
    return 0;
}

/* ---- lowering ---- */

/* nn.Conv2d over each channel of x (batch, channels, height, width). */
static struct lowered lower_filter(struct lowering *l, const struct keras_call *call, const struct filter_config *c,
                                   struct lowered x)
{
    int64_t channels = lower_shape(l, x.id).dims[1], taps = c->size[0] * c->size[1];
    int kinds = c->variant == FILTER_SOBEL ? 2 : 1;
    struct shape shape = shape_of(4, (const int64_t[]){channels * kinds, 1, c->size[0], c->size[1]});
    struct spatial_window window = {.rank = 2,
                                    .size = {c->size[0], c->size[1]},
                                    .stride = {1, 1},
                                    .dilation = {1, 1},
                                    .padding = c->variant == FILTER_BLUR ? SPATIAL_SAME : SPATIAL_VALID};
    struct tensor *kernel = tensor_new(&shape, DTYPE_F32);
    struct conv_module module = {.constant = kernel,
                                 .arranged = true,
                                 .in_channels = channels,
                                 .out_channels = channels * kinds,
                                 .groups = channels};
    if (!kernel) {
        h5pt_fail_memory(lower_error(l));
        return (struct lowered){.id = -1, .layout = x.layout};
    }
    for (int64_t i = 0; i < kernel->count; i++)
        kernel->data[i] = (float)weight(c, (int)(i / taps % kinds), i % taps);
    x = conv_lower(l, call, x, &window, &module);
    tensor_free(kernel);
    return x;
}

static struct lowered lower_sobel(struct lowering *l, const struct keras_call *call, const struct filter_config *c,
                                  struct lowered x)
{
    struct shape shape = lower_shape(l, x.id), split;
    struct torch_attr parts[] = {attr_int("dim", 1),
                                 attr_list(l, "unflattened_size", 2, (int64_t[]){shape.dims[1], 2})};
    for (int dim = 2; dim < 4; dim++) {
        struct lowered pieces[] = {lower_range(l, call, x, dim, 1, 2, 1), x, lower_range(l, call, x, dim, -2, -1, 1)};
        x = lower_cat(l, call, 3, pieces, dim);
    }
    x = lower_filter(l, call, c, x);
    split = shape_of(5, (const int64_t[]){shape.dims[0], shape.dims[1], 2, shape.dims[2], shape.dims[3]});
    x = lower_one(l, call, TORCH_UNFLATTEN, x, split, layout_keras(5), DTYPE_F32, 2, parts);
    return lower_transpose(l, call, x,
                           call->layer->channels_first ? (const int[]){0, 1, 3, 4, 2} : (const int[]){0, 3, 4, 1, 2});
}

static struct lowered times(struct lowering *l, const struct keras_call *call, struct lowered a, struct lowered b)
{
    return lower_join(l, call, TORCH_MUL, a, b, DTYPE_F32);
}

static struct lowered plus(struct lowering *l, const struct keras_call *call, struct lowered x, double number)
{
    return lower_number(l, call, TORCH_ADD_SCALAR, x, number, false, DTYPE_F32);
}

/* One convolution gives the means of both images, of their squares and of their product. */
static struct lowered lower_ssim(struct lowering *l, const struct keras_call *call, const struct filter_config *c,
                                 struct lowered a, struct lowered b)
{
    int64_t channels = lower_shape(l, a.id).dims[1];
    struct lowered all[] = {a, b, times(l, call, a, a), times(l, call, b, b), times(l, call, a, b)}, m[5];
    struct lowered x = lower_filter(l, call, c, lower_cat(l, call, 5, all, 1));
    for (int i = 0; i < 5; i++)
        m[i] = lower_range(l, call, x, 1, i * channels, (i + 1) * channels, 1);
    struct lowered aa = times(l, call, m[0], m[0]), bb = times(l, call, m[1], m[1]), ab = times(l, call, m[0], m[1]);
    struct lowered spread = lower_join(l, call, TORCH_ADD, lower_join(l, call, TORCH_SUB, m[2], aa, DTYPE_F32),
                                       lower_join(l, call, TORCH_SUB, m[3], bb, DTYPE_F32), DTYPE_F32);
    struct lowered common = lower_join(l, call, TORCH_SUB, m[4], ab, DTYPE_F32);
    struct lowered above = times(
        l, call, plus(l, call, lower_number(l, call, TORCH_MUL_SCALAR, ab, 2, false, DTYPE_F32), c->c1),
        plus(l, call, lower_number(l, call, TORCH_MUL_SCALAR, common, 2, false, DTYPE_F32), c->c2));
    struct lowered below = times(l, call, plus(l, call, lower_join(l, call, TORCH_ADD, aa, bb, DTYPE_F32), c->c1),
                                 plus(l, call, spread, c->c2));
    struct torch_attr dims = attr_list(l, "dim", 3, (int64_t[]){1, 2, 3});
    return lower_one(l, call, TORCH_MEAN, lower_join(l, call, TORCH_DIV, above, below, DTYPE_F32),
                     call->outputs[0]->shape, layout_keras(1), DTYPE_F32, 1, &dims);
}

static int op_filter_lower(struct lowering *l, const struct keras_call *call)
{
    const struct filter_config *c = call->layer->config;
    struct layout images = layout_spatial(call->layer, 4);
    struct lowered x = lower_input_as(l, call, 0, &images);
    if (c->variant == FILTER_SOBEL)
        x = lower_sobel(l, call, c, x);
    else if (c->variant == FILTER_BLUR)
        x = lower_filter(l, call, c, x);
    else
        x = lower_ssim(l, call, c, x, lower_input_as(l, call, call->input_count - 1, &images));
    return lower_output(l, call, 0, x);
}

const struct layer_handler op_filter_handler = {
    .config_size = sizeof(struct filter_config),
    .read = op_filter_read,
    .shape = op_filter_shape,
    .reference = op_filter_reference,
    .lower = op_filter_lower,
};
