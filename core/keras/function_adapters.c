/* SPDX-License-Identifier: Apache-2.0 */
#include "keras/function_adapters.h"

#include <math.h>
#include <string.h>

#include "base/json.h"

static const struct function_adapter adapters[] = {
#define ADAPTER(name, count) {#name, count, adapt_##name},
#include "keras/function_adapters.def"
#undef ADAPTER
};

const struct function_adapter *function_adapter_find(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof adapters / sizeof *adapters; i++)
        if (strlen(adapters[i].name) == length && memcmp(adapters[i].name, name, length) == 0)
            return &adapters[i];
    return NULL;
}

/* ---- shared ---- */

int adapter_integers(const json_t *value, int capacity, int64_t *ret)
{
    long long n;
    value = json_unwrap(value);
    if (json_read_int(value, &n)) {
        ret[0] = n;
        return 1;
    }
    size_t count = json_array_size(value);
    if (!json_is_array(value) || count > (size_t)capacity)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!json_read_int(json_array_get(value, i), &n))
            return -1;
        ret[i] = n;
    }
    return (int)count;
}

int64_t adapter_size(struct trace *t, const json_t *x, int axis)
{
    const struct keras_value *tensor = trace_value(t, x);
    int rank = trace_rank(t, x);
    if (tensor && rank >= 0) {
        int at = axis < 0 ? axis + rank : axis;
        if (at >= 0 && at < rank && tensor->shape.dims[at] != DIM_UNKNOWN)
            return tensor->shape.dims[at];
    }
    (void)trace_refuse(t, H5PT_SHAPE_UNKNOWN, "A size is needed that only the input tells");
    return -1;
}

static const json_t *whole(struct trace *t)
{
    return trace_slice(t, trace_null(t), trace_null(t), trace_null(t));
}

const json_t *adapter_crop_axis(struct trace *t, const json_t *x, int axis, int64_t start, int64_t stop)
{
    const json_t *key[SHAPE_MAX_RANK];
    if (axis < 0 || axis >= SHAPE_MAX_RANK)
        return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "An axis is out of range");
    for (int i = 0; i < axis; i++)
        key[i] = whole(t);
    key[axis] = trace_slice(t, trace_integer(t, start), trace_integer(t, stop), trace_null(t));
    return TRACE_APPLY(t, "GetItem", x, trace_list(t, key, (size_t)axis + 1));
}

const json_t *adapter_pad_axis(struct trace *t, const json_t *x, int axis, int64_t before, int64_t after,
                               const json_t *value)
{
    const json_t *widths[SHAPE_MAX_RANK];
    int rank = trace_rank(t, x);
    if (axis < 0 || axis >= rank)
        return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "An axis is out of range");
    for (int i = 0; i < rank; i++)
        widths[i] = TRACE_LIST(t, trace_integer(t, i == axis ? before : 0), trace_integer(t, i == axis ? after : 0));
    const json_t *config = trace_object(t, "pad_width", trace_list(t, widths, (size_t)rank), "mode",
                                        trace_text(t, "constant"), NULL);
    return config ? trace_operation(t, "Pad", config, TRACE_LIST(t, x, value)) : NULL;
}

const json_t *adapter_with_axis(struct trace *t, const char *class_name, const json_t *x, const json_t *axis)
{
    const json_t *config = trace_object(t, "axis", axis, NULL);
    return config ? trace_operation(t, class_name, config, TRACE_LIST(t, x)) : NULL;
}

static const json_t *swap_axes(struct trace *t, const json_t *x, int first, int second)
{
    const json_t *config = trace_object(t, "axis1", trace_integer(t, first), "axis2", trace_integer(t, second), NULL);
    return config ? trace_operation(t, "Swapaxes", config, TRACE_LIST(t, x)) : NULL;
}

/* ---- element types and constants ---- */

static const char *dtype_text(const json_t *dtype)
{
    const char *text = json_string_value(dtype);
    if (text && strcmp(text, "float") == 0)
        return "float32";
    return text && strcmp(text, "int") == 0 ? "int32" : text;
}

const json_t *adapt_cast(struct trace *t, const json_t *const *args)
{
    enum dtype dtype;
    const char *name = dtype_text(args[1]);
    const struct keras_value *tensor = trace_value(t, args[0]);
    if (!name || !dtype_from_name(name, &dtype))
        return trace_refuse(t, H5PT_UNSUPPORTED_DTYPE, "A cast to this type is not supported");
    if (tensor && !tensor->bad && tensor->dtype == dtype)
        return args[0];
    const json_t *config = trace_object(t, "dtype", trace_text(t, name), NULL);
    return config ? trace_operation(t, "Cast", config, TRACE_LIST(t, args[0])) : NULL;
}

const json_t *adapt_float(struct trace *t, const json_t *const *args)
{
    const struct keras_value *tensor = trace_value(t, args[0]);
    if (!tensor || tensor->bad || dtype_is_float(tensor->dtype))
        return args[0];
    return adapt_cast(t, (const json_t *const[]){args[0], trace_text(t, "float32")});
}

const json_t *adapt_constant(struct trace *t, const json_t *const *args)
{
    if (trace_has_tensor(args[0]))
        return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "A function of Python or numpy is applied to a tensor");
    return args[0];
}

const json_t *adapt_scalar(struct trace *t, const json_t *const *args)
{
    return adapt_constant(t, args) ? adapt_cast(t, args) : NULL;
}

const json_t *adapt_length(struct trace *t, const json_t *const *args)
{
    if (json_is_array(args[0]))
        return trace_integer(t, (long long)json_array_size(args[0]));
    int64_t size = adapter_size(t, args[0], 0);
    return size >= 0 ? trace_integer(t, size) : NULL;
}

const json_t *adapt_items(struct trace *t, const json_t *const *args)
{
    if (json_is_null(args[0]))
        return trace_list(t, NULL, 0);
    return json_is_array(args[0]) ? args[0]
                                  : trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "A tensor is taken apart into a list");
}

const json_t *adapt_python_slice(struct trace *t, const json_t *const *args)
{
    bool alone = json_is_null(args[1]) && json_is_null(args[2]);
    return alone ? trace_slice(t, args[1], args[0], args[2]) : trace_slice(t, args[0], args[1], args[2]);
}

/* ---- sums and products ---- */

const json_t *adapt_add_n(struct trace *t, const json_t *const *args)
{
    const json_t *list = json_is_array(args[0]) ? args[0] : TRACE_LIST(t, args[0]), *sum = json_array_get(list, 0);
    for (size_t i = 1; sum && i < json_array_size(list); i++)
        sum = TRACE_APPLY(t, "Add", sum, json_array_get(list, i));
    return sum;
}

/* Cumulated sums or products: exclusive ones shift by one step, reverse ones run from the end. */
const json_t *adapt_cumulate(struct trace *t, const json_t *const *args)
{
    const char *class_name = json_string_value(args[4]);
    bool exclusive = json_is_true(args[2]), reverse = json_is_true(args[3]);
    int axis = trace_axis(t, args[1], trace_rank(t, args[0]));
    const json_t *x = args[0], *at = axis < 0 ? NULL : trace_integer(t, axis);
    if (!at || !class_name)
        return NULL;
    if (reverse)
        x = adapter_with_axis(t, "Flip", x, at);
    if (x && exclusive) {
        x = adapter_pad_axis(t, x, axis, 1, 0, trace_number(t, strcmp(class_name, "Cumprod") == 0 ? 1 : 0));
        x = x ? adapter_crop_axis(t, x, axis, 0, -1) : NULL;
    }
    const json_t *config = trace_object(t, "axis", at, "dtype", trace_null(t), NULL);
    x = x && config ? trace_operation(t, class_name, config, TRACE_LIST(t, x)) : NULL;
    return x && reverse ? adapter_with_axis(t, "Flip", x, at) : x;
}

/* The last two axes of a tensor or of a constant matrix, exchanged. */
static const json_t *transposed(struct trace *t, const json_t *x)
{
    const json_t *matrix = json_unwrap(x);
    if (trace_has_tensor(x))
        return swap_axes(t, x, -2, -1);
    if (trace_rank(t, x) != 2)
        return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "A constant that is no matrix is transposed");
    json_t *rows = json_array();
    for (size_t k = 0; k < json_array_size(json_array_get(matrix, 0)); k++) {
        json_t *row = json_array();
        for (size_t i = 0; i < json_array_size(matrix); i++)
            (void)json_array_append(row, json_array_get(json_array_get(matrix, i), k));
        (void)json_array_append_new(rows, row);
    }
    return trace_keep(t, rows);
}

const json_t *adapt_matmul(struct trace *t, const json_t *const *args)
{
    const json_t *a = json_is_true(args[2]) ? transposed(t, args[0]) : args[0];
    const json_t *b = json_is_true(args[3]) ? transposed(t, args[1]) : args[1];
    return a && b ? TRACE_APPLY(t, "Matmul", a, b) : NULL;
}

const json_t *adapt_batch_dot(struct trace *t, const json_t *const *args)
{
    int64_t axes[2];
    const json_t *x = args[0], *y = args[1];
    int rank_x = trace_rank(t, x), rank_y = trace_rank(t, y), given = adapter_integers(args[2], 2, axes);
    if (json_is_null(args[2])) {
        axes[0] = rank_x - 1;
        axes[1] = rank_y == 2 ? 1 : rank_y - 2;
    } else if (given == 1)
        axes[1] = axes[0];
    else if (given != 2)
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "batch_dot is called with axes that are not supported");
    axes[0] += axes[0] < 0 ? rank_x : 0;
    axes[1] += axes[1] < 0 ? rank_y : 0;
    if (rank_x == 2 && rank_y == 2 && axes[0] == 1 && axes[1] == 1) {
        const json_t *product = TRACE_APPLY(t, "Multiply", x, y);
        const json_t *config = trace_object(t, "axis", trace_integer(t, 1), "keepdims", trace_truth(t, true), NULL);
        return product && config ? trace_operation(t, "Sum", config, TRACE_LIST(t, product)) : NULL;
    }
    if (rank_x != 3 || rank_y != 3 || axes[0] < 1 || axes[0] > 2 || axes[1] < 1 || axes[1] > 2)
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT,
                            "batch_dot of tensors of rank %d and %d is not supported", rank_x, rank_y);
    x = axes[0] == 1 ? swap_axes(t, x, 1, 2) : x;
    y = axes[1] == 2 ? swap_axes(t, y, 1, 2) : y;
    return x && y ? TRACE_APPLY(t, "Matmul", x, y) : NULL;
}

const json_t *adapt_einsum(struct trace *t, const json_t *const *args)
{
    if (json_array_size(args[1]) == 0)
        return trace_refuse(
            t, H5PT_UNSUPPORTED_OPERATION,
            "tf.keras stored the equation of tf.einsum but lost its tensors: the file does not tell what is "
            "multiplied");
    const json_t *config = trace_object(t, "subscripts", args[0], NULL);
    return config ? trace_operation(t, "Einsum", config, args[1]) : NULL;
}

/* TensorFlow keeps num_lower diagonals below and num_upper above the main one; negative: all. */
const json_t *adapt_band_part(struct trace *t, const json_t *const *args)
{
    long long lower, upper;
    const json_t *x = args[0];
    if (!json_read_int(args[1], &lower) || !json_read_int(args[2], &upper))
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "band_part is called without whole numbers");
    if (upper >= 0) {
        const json_t *config = trace_object(t, "k", trace_integer(t, upper), NULL);
        x = config ? trace_operation(t, "Tril", config, TRACE_LIST(t, x)) : NULL;
    }
    if (x && lower >= 0) {
        const json_t *config = trace_object(t, "k", trace_integer(t, -lower), NULL);
        x = config ? trace_operation(t, "Triu", config, TRACE_LIST(t, x)) : NULL;
    }
    return x;
}

/* K.relu: threshold and slope below it, capped. */
const json_t *adapt_relu(struct trace *t, const json_t *const *args)
{
    double slope, cap = 0, threshold;
    bool capped = !json_is_null(args[2]);
    const json_t *x = args[0];
    if (!json_read_double(args[1], &slope) || !json_read_double(args[3], &threshold) ||
        (capped && !json_read_double(args[2], &cap)) || (threshold != 0 && slope != 0))
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "relu is called with arguments that are not supported");
    if (threshold != 0) {
        const json_t *above = TRACE_APPLY(t, "Greater", x, args[3]);
        above = above ? adapt_cast(t, (const json_t *const[]){above, trace_text(t, "float32")}) : NULL;
        x = above ? TRACE_APPLY(t, "Multiply", x, above) : NULL;
    } else if (slope != 0) {
        const json_t *config = trace_object(t, "negative_slope", args[1], NULL);
        x = config ? trace_operation(t, "LeakyRelu", config, TRACE_LIST(t, x)) : NULL;
    } else if (capped && cap == 6)
        return TRACE_APPLY(t, "Relu6", x);
    else
        x = TRACE_APPLY(t, "Relu", x);
    return x && capped ? TRACE_APPLY(t, "Minimum", x, args[2]) : x;
}

/* The simulated quantisation of TensorFlow: the range is nudged so that zero is one of its steps. */
const json_t *adapt_fake_quant(struct trace *t, const json_t *const *args)
{
    double min, max;
    long long bits;
    if (!json_read_double(args[1], &min) || !json_read_double(args[2], &max) || !json_read_int(args[3], &bits) ||
        bits < 2 || bits > 16 || !(min < max))
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT,
                            "fake_quant is called with a range that is not supported");
    float first = json_is_true(args[4]) ? 1.0f : 0.0f, last = (float)((1 << bits) - 1);
    float low = (float)min, high = (float)max, scale = (high - low) / (last - first), from_min = first - low / scale;
    float zero = from_min < first ? first : from_min > last ? last : roundf(from_min);
    float nudged_min = (first - zero) * scale, nudged_max = (last - zero) * scale;
    const json_t *x = TRACE_APPLY(t, "Maximum", args[0], trace_number(t, (double)nudged_min));
    x = x ? TRACE_APPLY(t, "Minimum", x, trace_number(t, (double)nudged_max)) : NULL;
    x = x ? TRACE_APPLY(t, "Subtract", x, trace_number(t, (double)nudged_min)) : NULL;
    x = x ? TRACE_APPLY(t, "Multiply", x, trace_number(t, (double)(1.0f / scale))) : NULL;
    x = x ? TRACE_APPLY(t, "Add", x, trace_number(t, 0.5)) : NULL;
    x = x ? TRACE_APPLY(t, "Floor", x) : NULL;
    x = x ? TRACE_APPLY(t, "Multiply", x, trace_number(t, (double)scale)) : NULL;
    return x ? TRACE_APPLY(t, "Add", x, trace_number(t, (double)nudged_min)) : NULL;
}
