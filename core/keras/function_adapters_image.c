/* SPDX-License-Identifier: Apache-2.0 */
/* Adapters for convolutions, pooling and images. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "keras/function_adapters.h"

/* The two sizes among `1, h, w, 1`, `h, w` or one number for both (`1` when null); one size for tensors of rank 3. */
static const json_t *spatial_pair(struct trace *t, const json_t *value, int rank)
{
    int64_t n[4];
    int spatial = rank - 2, count = json_is_null(value) ? 0 : adapter_integers(value, 4, n);
    if (spatial < 1 || spatial > 2 || count < 0)
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "A window is not supported");
    int64_t *first = n;
    if (count == rank) {
        if (n[0] != 1 || n[rank - 1] != 1)
            return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "A window over batch or channels is not supported");
        first = n + 1;
    } else if (count == 0)
        n[0] = n[1] = 1;
    else if (count == 1)
        n[1] = n[0];
    else if (count != spatial)
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "A window has %d sizes", count);
    return spatial == 1 ? TRACE_LIST(t, trace_integer(t, first[0]))
                        : TRACE_LIST(t, trace_integer(t, first[0]), trace_integer(t, first[1]));
}

static const json_t *padding_name(struct trace *t, const json_t *value)
{
    const char *text = json_string_value(value);
    char name[8] = "";
    for (size_t i = 0; text && text[i] && i + 1 < sizeof name; i++)
        name[i] = (char)tolower((unsigned char)text[i]);
    if (strcmp(name, "same") != 0 && strcmp(name, "valid") != 0)
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "A padding is not supported");
    return trace_text(t, name);
}

const json_t *adapt_pool(struct trace *t, const json_t *const *args)
{
    int rank = trace_rank(t, args[0]);
    const json_t *size = spatial_pair(t, args[1], rank), *strides = spatial_pair(t, args[2], rank);
    const json_t *padding = padding_name(t, args[3]);
    if (!size || !strides || !padding)
        return NULL;
    const json_t *config = trace_object(t, "pool_size", size, "strides", strides, "padding", padding, "data_format",
                                        trace_text(t, "channels_last"), NULL);
    return config ? trace_operation(t, json_string_value(args[4]), config, TRACE_LIST(t, args[0])) : NULL;
}

const json_t *adapt_conv(struct trace *t, const json_t *const *args)
{
    int rank = trace_rank(t, args[0]);
    const json_t *strides = spatial_pair(t, args[2], rank), *dilation = spatial_pair(t, args[4], rank);
    const json_t *padding = padding_name(t, args[3]);
    if (!strides || !dilation || !padding)
        return NULL;
    const json_t *config = trace_object(t, "strides", strides, "padding", padding, "data_format",
                                        trace_text(t, "channels_last"), "dilation_rate", dilation, NULL);
    return config ? trace_operation(t, json_string_value(args[5]), config, TRACE_LIST(t, args[0], args[1])) : NULL;
}

/* Sums over 2·radius + 1 neighbouring channels. */
const json_t *adapt_across(struct trace *t, const json_t *const *args)
{
    long long radius;
    int last = trace_rank(t, args[0]) - 1;
    int64_t channels = adapter_size(t, args[0], last);
    if (channels < 0 || !json_read_int(args[1], &radius) || radius < 0 || radius > 64)
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT,
                            "local_response_normalization has a depth_radius that is not "
                            "supported");
    const json_t *padded = adapter_pad_axis(t, args[0], last, radius, radius, trace_number(t, 0)), *sum = NULL;
    for (long long i = 0; padded && i <= 2 * radius; i++) {
        const json_t *part = adapter_crop_axis(t, padded, last, i, i + channels);
        if (!part)
            return NULL;
        sum = i == 0 ? part : TRACE_APPLY(t, "Add", sum, part);
        if (!sum)
            return NULL;
    }
    return sum;
}

/* ---- cropping and padding ---- */

static int height_axis(const struct trace *t, const json_t *image)
{
    return trace_rank(t, image) - 3;
}

/* The middle part: `keep` of the known size of an axis. */
static const json_t *crop_axis_to(struct trace *t, const json_t *x, int axis, int64_t start, int64_t keep)
{
    int64_t size = adapter_size(t, x, axis);
    if (size < 0)
        return NULL;
    if (start < 0 || keep < 0 || start + keep > size)
        return trace_refuse(t, H5PT_CONFIG_INVALID, "A crop is larger than the image");
    return keep == size ? x : adapter_crop_axis(t, x, axis, start, start + keep);
}

const json_t *adapt_central_crop(struct trace *t, const json_t *const *args)
{
    double fraction;
    const json_t *x = args[0];
    int axis = height_axis(t, x);
    if (axis < 0 || !json_read_double(args[1], &fraction) || !(fraction > 0 && fraction <= 1))
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT,
                            "central_crop is called with arguments that are not supported");
    for (int i = 0; x && i < 2; i++) {
        int64_t size = adapter_size(t, x, axis + i), start = (int64_t)(((double)size - (double)size * fraction) / 2);
        x = size < 0 ? NULL : crop_axis_to(t, x, axis + i, start, size - 2 * start);
    }
    return x;
}

const json_t *adapt_crop(struct trace *t, const json_t *const *args)
{
    long long n[4];
    const json_t *x = args[0];
    int axis = height_axis(t, x);
    for (int i = 0; i < 4; i++)
        if (axis < 0 || !json_read_int(args[1 + i], &n[i]))
            return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "A crop is called without whole numbers");
    x = crop_axis_to(t, x, axis, n[0], n[2]);
    return x ? crop_axis_to(t, x, axis + 1, n[1], n[3]) : NULL;
}

const json_t *adapt_crop_or_pad(struct trace *t, const json_t *const *args)
{
    const json_t *x = args[0];
    int axis = height_axis(t, x);
    for (int i = 0; x && i < 2; i++) {
        long long target;
        int64_t size = adapter_size(t, x, axis + i);
        if (axis < 0 || size < 0 || !json_read_int(args[1 + i], &target) || target < 1 || target > INT32_MAX)
            return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT,
                                "resize_with_crop_or_pad has a size that is not supported");
        if (size > target)
            x = crop_axis_to(t, x, axis + i, (size - target) / 2, target);
        else if (size < target)
            x = adapter_pad_axis(t, x, axis + i, (target - size) / 2, target - size - (target - size) / 2,
                                 trace_number(t, 0));
    }
    return x;
}

const json_t *adapt_pad_spatial(struct trace *t, const json_t *const *args)
{
    const json_t *one = TRACE_LIST(t, trace_integer(t, 1), trace_integer(t, 1)), *x = args[0];
    for (int i = 0; x && i < 2; i++) {
        int64_t n[2];
        const json_t *pair = json_is_array(args[1]) ? json_array_get(args[1], (size_t)i) : one;
        if (adapter_integers(pair, 2, n) != 2 || n[0] < 0 || n[1] < 0)
            return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT,
                                "spatial_2d_padding is called with a padding that is not "
                                "supported");
        x = adapter_pad_axis(t, x, 1 + i, n[0], n[1], trace_number(t, 0));
    }
    return x;
}

/* (x − mean) / max(standard deviation, 1/√n) for each image. */
const json_t *adapt_standardize(struct trace *t, const json_t *const *args)
{
    double count = 1;
    const json_t *axes = TRACE_LIST(t, trace_integer(t, -3), trace_integer(t, -2), trace_integer(t, -1));
    for (int i = -3; i < 0; i++) {
        int64_t size = adapter_size(t, args[0], i);
        if (size < 1)
            return NULL;
        count *= (double)size;
    }
    const json_t *config = trace_object(t, "axis", axes, "keepdims", trace_truth(t, true), NULL);
    const json_t *mean = config ? trace_operation(t, "Mean", config, TRACE_LIST(t, args[0])) : NULL;
    const json_t *deviation = mean ? trace_operation(t, "Std", config, TRACE_LIST(t, args[0])) : NULL;
    const json_t *scale = deviation ? TRACE_APPLY(t, "Maximum", deviation, trace_number(t, 1 / sqrt(count))) : NULL;
    const json_t *centred = scale ? TRACE_APPLY(t, "Subtract", args[0], mean) : NULL;
    return centred ? TRACE_APPLY(t, "TrueDivide", centred, scale) : NULL;
}

const json_t *adapt_patches(struct trace *t, const json_t *const *args)
{
    int rank = trace_rank(t, args[0]);
    const json_t *size = spatial_pair(t, args[1], rank), *strides = spatial_pair(t, args[2], rank);
    const json_t *rates = spatial_pair(t, args[3], rank), *padding = padding_name(t, args[4]);
    if (!size || !strides || !rates || !padding)
        return NULL;
    const json_t *config = trace_object(t, "size", size, "strides", strides, "dilation_rate", rates, "padding", padding,
                                        "data_format", trace_text(t, "channels_last"), NULL);
    return config ? trace_operation(t, "ExtractPatches", config, TRACE_LIST(t, args[0])) : NULL;
}

/* ---- resizing ---- */

/* Resize, or ResizeLike when there is another tensor: `size_key` is the setting that `size` goes to. */
static const json_t *half_pixel(struct trace *t, const char *class_name, const char *size_key, const json_t *size,
                                const char *method, const json_t *args)
{
    const json_t *no = trace_truth(t, false);
    const json_t *config = trace_object(t, size_key, size, "interpolation", trace_text(t, method), "antialias", no,
                                        "crop_to_aspect_ratio", no, "pad_to_aspect_ratio", no, "fill_mode",
                                        trace_text(t, "constant"), "fill_value", trace_number(t, 0), "data_format",
                                        trace_text(t, "channels_last"), NULL);
    return config ? trace_operation(t, class_name, config, args) : NULL;
}

static const json_t *refuse_size(struct trace *t)
{
    return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "A resize is called with a size that is not supported");
}

/* To the height and width of an image (whole times these), which only the input tells. */
static const json_t *resize_like(struct trace *t, const json_t *x, const json_t *size, const char *method)
{
    const json_t *like = NULL, *times[2];
    for (size_t i = 0; i < 2; i++) {
        const json_t *dim = json_array_get(size, i);
        long long axis;
        const json_t *tensor = trace_is_dim(dim) ? trace_dim_tensor(t, dim) : NULL;
        bool fits = tensor && json_read_int(json_object_get(dim, "dim"), &axis) && axis == (long long)i + 1 &&
                    trace_rank(t, tensor) == 4 && (!like || json_equal(like, tensor));
        if (!fits)
            return refuse_size(t);
        like = tensor;
        times[i] = json_object_get(dim, "times");
    }
    return half_pixel(t, "ResizeLike", "times", trace_list(t, times, 2), method, TRACE_LIST(t, x, like));
}

/* tf.image.resize of TensorFlow 2. In 1.x the same name samples differently. */
const json_t *adapt_resize(struct trace *t, const json_t *const *args)
{
    int64_t size[2];
    const struct keras_version *v = &t->b->model->version;
    const char *method = json_string_value(args[2]);
    static const char *const methods[] = {"bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"};
    if (v->major < 3 && !(v->tf && (v->major > 2 || v->minor >= 3)))
        return trace_refuse(
            t, H5PT_UNSUPPORTED_OPERATION,
            "image.resize samples differently in TensorFlow 1 and 2, and the file does not tell which it was");
    size_t known = 0;
    while (method && known < sizeof methods / sizeof *methods && strcmp(methods[known], method) != 0)
        known++;
    if (!method || known == sizeof methods / sizeof *methods || json_is_true(args[3]))
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "image.resize with this method is not supported");
    const json_t *asked = json_unwrap(args[1]);
    if (json_array_size(asked) == 2 && trace_has_dim(asked))
        return resize_like(t, args[0], asked, method);
    if (adapter_integers(asked, 2, size) != 2 || size[0] < 1 || size[1] < 1)
        return refuse_size(t);
    const json_t *numbers = TRACE_LIST(t, trace_integer(t, size[0]), trace_integer(t, size[1]));
    return half_pixel(t, "Resize", "size", numbers, method, TRACE_LIST(t, args[0]));
}

struct sampling {
    bool align_corners, half_pixel, nearest;
};

static double source_position(struct sampling s, int64_t in, int64_t out, int64_t i)
{
    if (s.align_corners && out > 1)
        return (double)i * (double)((float)(in - 1) / (float)(out - 1));
    double scale = (double)((float)in / (float)out);
    return s.half_pixel ? ((double)i + 0.5) * scale - (s.nearest ? 0 : 0.5) : (double)i * scale;
}

/* The pixel that each output takes. */
static const json_t *nearest_axis(struct trace *t, const json_t *x, int axis, int64_t out, struct sampling s)
{
    int64_t in = adapter_size(t, x, axis);
    json_t *indices = json_array();
    for (int64_t i = 0; i < out && in > 0; i++) {
        double at = source_position(s, in, out, i);
        int64_t from = (int64_t)(s.align_corners ? round(at) : floor(at));
        (void)json_array_append_new(indices, json_integer(from < in ? from : in - 1));
    }
    const json_t *list = trace_keep(t, indices), *config = trace_object(t, "axis", trace_integer(t, axis), NULL);
    return in > 0 && list && config ? trace_operation(t, "Take", config, TRACE_LIST(t, x, list)) : NULL;
}

/* Two neighbours and the weight of the second: x[low] + (x[high] − x[low]) · weight. */
static const json_t *bilinear_axis(struct trace *t, const json_t *x, int axis, int64_t out, struct sampling s)
{
    int64_t in = adapter_size(t, x, axis);
    json_t *low = json_array(), *high = json_array(), *weights = json_array();
    for (int64_t i = 0; i < out && in > 0; i++) {
        double at = source_position(s, in, out, i);
        int64_t first = at > 0 ? (int64_t)floor(at) : 0, second = first + 1 < in ? first + 1 : in - 1;
        first = first < in ? first : in - 1;
        double weight = at - floor(at);
        json_t *cell = axis == 1 ? json_pack("[[f]]", weight) : json_pack("[f]", weight);
        (void)json_array_append_new(low, json_integer(first));
        (void)json_array_append_new(high, json_integer(second));
        (void)json_array_append_new(weights, cell);
    }
    const json_t *below = trace_keep(t, low), *above = trace_keep(t, high), *weight = trace_keep(t, weights);
    const json_t *config = trace_object(t, "axis", trace_integer(t, axis), NULL);
    if (in < 1 || !below || !above || !weight || !config)
        return NULL;
    const json_t *a = trace_operation(t, "Take", config, TRACE_LIST(t, x, below));
    const json_t *b = a ? trace_operation(t, "Take", config, TRACE_LIST(t, x, above)) : NULL;
    const json_t *step = b ? TRACE_APPLY(t, "Subtract", b, a) : NULL;
    const json_t *part = step ? TRACE_APPLY(t, "Multiply", step, weight) : NULL;
    return part ? TRACE_APPLY(t, "Add", a, part) : NULL;
}

/* The resize of TensorFlow 1, with its three ways to place the pixels. */
const json_t *adapt_resize_legacy(struct trace *t, const json_t *const *args)
{
    int64_t size[2];
    const char *method = json_string_value(args[4]);
    struct sampling s = {json_is_true(args[2]), json_is_true(args[3]), method && strcmp(method, "nearest") == 0};
    const json_t *x = args[0];
    if (adapter_integers(args[1], 2, size) != 2 || size[0] < 1 || size[1] < 1 || size[0] > TRACE_MAX_ITEMS ||
        size[1] > TRACE_MAX_ITEMS || trace_rank(t, x) != 4)
        return refuse_size(t);
    if (s.half_pixel && !s.align_corners && !s.nearest)
        return half_pixel(t, "Resize", "size", args[1], "bilinear", TRACE_LIST(t, x));
    for (int axis = 1; x && axis < 3; axis++)
        x = s.nearest ? nearest_axis(t, x, axis, size[axis - 1], s) : bilinear_axis(t, x, axis, size[axis - 1], s);
    return x;
}

/* K.resize_images: whole factors. */
const json_t *adapt_enlarge(struct trace *t, const json_t *const *args)
{
    long long factor[2];
    const char *method = json_string_value(args[3]);
    const json_t *x = args[0];
    if (!json_read_int(args[1], &factor[0]) || !json_read_int(args[2], &factor[1]) || trace_rank(t, x) != 4 ||
        !method || strcmp(method, "nearest") != 0)
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT,
                            "resize_images is supported with whole factors and nearest");
    for (int i = 0; x && i < 2; i++) {
        const json_t *config = trace_object(t, "repeats", trace_integer(t, factor[i]), "axis", trace_integer(t, 1 + i),
                                            NULL);
        x = config ? trace_operation(t, "Repeat", config, TRACE_LIST(t, x)) : NULL;
    }
    return x;
}
