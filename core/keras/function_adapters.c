/* SPDX-License-Identifier: Apache-2.0 */
#include "keras/function_adapters.h"

#include <math.h>
#include <string.h>
#include <strings.h>

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

const json_t *adapter_pad_axis(struct trace *t, const json_t *x, int axis, int64_t before, int64_t after, const json_t *value)
{
    const json_t *widths[SHAPE_MAX_RANK];
    int rank = trace_rank(t, x);
    if (axis < 0 || axis >= rank)
        return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "An axis is out of range");
    for (int i = 0; i < rank; i++)
        widths[i] = TRACE_LIST(t, trace_integer(t, i == axis ? before : 0), trace_integer(t, i == axis ? after : 0));
    const json_t *config =
        trace_object(t, "pad_width", trace_list(t, widths, (size_t)rank), "mode", trace_text(t, "constant"), NULL);
    return config ? trace_operation(t, "Pad", config, TRACE_LIST(t, x, value)) : NULL;
}

static const json_t *with_axis(struct trace *t, const char *class_name, const json_t *x, const json_t *axis)
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
    return json_is_array(args[0]) ? args[0] : trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "A tensor is taken apart into a list");
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
        x = with_axis(t, "Flip", x, at);
    if (x && exclusive) {
        x = adapter_pad_axis(t, x, axis, 1, 0, trace_number(t, strcmp(class_name, "Cumprod") == 0 ? 1 : 0));
        x = x ? adapter_crop_axis(t, x, axis, 0, -1) : NULL;
    }
    const json_t *config = trace_object(t, "axis", at, "dtype", trace_null(t), NULL);
    x = x && config ? trace_operation(t, class_name, config, TRACE_LIST(t, x)) : NULL;
    return x && reverse ? with_axis(t, "Flip", x, at) : x;
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
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "batch_dot of tensors of rank %d and %d is not supported", rank_x,
                            rank_y);
    x = axes[0] == 1 ? swap_axes(t, x, 1, 2) : x;
    y = axes[1] == 2 ? swap_axes(t, y, 1, 2) : y;
    return x && y ? TRACE_APPLY(t, "Matmul", x, y) : NULL;
}

const json_t *adapt_einsum(struct trace *t, const json_t *const *args)
{
    if (json_array_size(args[1]) == 0)
        return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION,
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
    if (!json_read_double(args[1], &min) || !json_read_double(args[2], &max) || !json_read_int(args[3], &bits) || bits < 2 ||
        bits > 16 || !(min < max))
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "fake_quant is called with a range that is not supported");
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

/* ---- shapes ---- */

const json_t *adapt_shape(struct trace *t, const json_t *const *args)
{
    return trace_shape(t, args[0]);
}

/* As Keras' int_shape: what is not known is None. */
const json_t *adapt_int_shape(struct trace *t, const json_t *const *args)
{
    const json_t *shape = trace_shape(t, args[0]);
    if (!shape)
        return NULL;
    json_t *known = json_array();
    for (size_t i = 0; i < json_array_size(shape); i++) {
        json_t *dim = json_array_get(shape, i);
        (void)(trace_is_dim(dim) ? json_array_append_new(known, json_null()) : json_array_append(known, dim));
    }
    return trace_keep(t, known);
}

const json_t *adapt_rank(struct trace *t, const json_t *const *args)
{
    int rank = trace_rank(t, args[0]);
    return rank >= 0 ? trace_integer(t, rank)
                     : trace_refuse(t, H5PT_SHAPE_UNKNOWN, "The rank of a tensor is needed that another refusal leaves unknown");
}

/* What -1 stands for beside a free size: the rest of a tensor that has one free size itself. */
static bool known_rest(const struct keras_value *tensor, const json_t *shape, int64_t *ret)
{
    int64_t total = 1, others = 1;
    int unknown = 0;
    long long n;
    for (int i = 0; i < tensor->shape.rank; i++) {
        if (tensor->shape.dims[i] == DIM_UNKNOWN)
            unknown++;
        else if (__builtin_mul_overflow(total, tensor->shape.dims[i], &total))
            return false;
    }
    for (size_t i = 0; i < json_array_size(shape); i++)
        if (json_read_int(json_array_get(shape, i), &n) && n >= 0 && __builtin_mul_overflow(others, (int64_t)n, &others))
            return false;
    if (unknown != 1 || others == 0 || total % others != 0)
        return false;
    *ret = total / others;
    return true;
}

const json_t *adapt_reshape(struct trace *t, const json_t *const *args)
{
    const json_t *shape = json_unwrap(args[1]);
    const struct keras_value *tensor = trace_value(t, args[0]);
    long long n, times;
    int free_sizes = 0, rests = 0;
    int64_t rest = -1;
    if (!json_is_array(shape))
        shape = TRACE_LIST(t, shape);
    for (size_t i = 0; i < json_array_size(shape); i++) {
        const json_t *dim = json_array_get(shape, i);
        free_sizes += trace_is_dim(dim) || json_is_null(dim);
        rests += json_read_int(dim, &n) && n < 0;
        if (trace_is_dim(dim) && rests + free_sizes > 1 && (!json_read_int(json_object_get(dim, "times"), &times) || times != 1))
            return trace_refuse(t, H5PT_SHAPE_UNKNOWN, "A reshape depends on a size that only the input tells");
    }
    if (free_sizes > 1 || (free_sizes == 1 && rests == 1 && (!tensor || tensor->bad || !known_rest(tensor, shape, &rest))))
        return trace_refuse(t, H5PT_SHAPE_UNKNOWN, "A reshape depends on several sizes that only the input tells");
    json_t *plain = json_array();
    for (size_t i = 0; i < json_array_size(shape); i++) {
        json_t *dim = json_array_get(shape, i);
        if (trace_is_dim(dim) || json_is_null(dim))
            (void)json_array_append_new(plain, json_integer(-1));
        else if (rest >= 0 && json_read_int(dim, &n) && n < 0)
            (void)json_array_append_new(plain, json_integer(rest));
        else
            (void)json_array_append(plain, dim);
    }
    const json_t *config = trace_object(t, "newshape", trace_keep(t, plain), NULL);
    return config ? trace_operation(t, "Reshape", config, TRACE_LIST(t, args[0])) : NULL;
}

const json_t *adapt_batch_flatten(struct trace *t, const json_t *const *args)
{
    int64_t count = 1;
    for (int i = 1; i < trace_rank(t, args[0]); i++) {
        int64_t size = adapter_size(t, args[0], i);
        if (size < 0 || __builtin_mul_overflow(count, size, &count))
            return NULL;
    }
    const json_t *shape = TRACE_LIST(t, trace_integer(t, -1), trace_integer(t, count));
    return adapt_reshape(t, (const json_t *const[]){args[0], shape});
}

/* Several axes one after the other, from the back. */
const json_t *adapt_squeeze(struct trace *t, const json_t *const *args)
{
    const json_t *x = args[0], *axes = json_is_array(args[1]) ? args[1] : TRACE_LIST(t, args[1]);
    bool wanted[SHAPE_MAX_RANK] = {false};
    int rank = trace_rank(t, x);
    if (json_is_null(args[1]) || json_array_size(axes) == 0)
        return with_axis(t, "Squeeze", x, trace_null(t));
    for (size_t i = 0; i < json_array_size(axes); i++) {
        int axis = trace_axis(t, json_array_get(axes, i), rank);
        if (axis < 0)
            return NULL;
        wanted[axis] = true;
    }
    for (int axis = rank - 1; x && axis >= 0; axis--)
        if (wanted[axis])
            x = with_axis(t, "Squeeze", x, trace_integer(t, axis));
    return x;
}

const json_t *adapt_split(struct trace *t, const json_t *const *args)
{
    int axis = trace_axis(t, args[2], trace_rank(t, args[0]));
    const json_t *sections = json_unwrap(args[1]);
    if (axis < 0)
        return NULL;
    if (json_is_array(sections)) {
        int64_t sizes[64], sum = 0, at = 0;
        int n = adapter_integers(sections, 64, sizes), open = -1;
        for (int i = 0; i < n; i++) {
            open = sizes[i] < 0 ? i : open;
            sum += sizes[i] < 0 ? 0 : sizes[i];
        }
        int64_t size = open >= 0 ? adapter_size(t, args[0], axis) : 0;
        if (n < 1 || size < 0)
            return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "split is called with sizes that are not supported");
        if (open >= 0)
            sizes[open] = size - sum;
        json_t *edges = json_array();
        for (int i = 0; i + 1 < n; i++)
            (void)json_array_append_new(edges, json_integer(at += sizes[i]));
        sections = trace_keep(t, edges);
    }
    const json_t *config = trace_object(t, "indices_or_sections", sections, "axis", trace_integer(t, axis), NULL);
    return config ? trace_operation(t, "Split", config, TRACE_LIST(t, args[0])) : NULL;
}

const json_t *adapt_concat_last(struct trace *t, const json_t *const *args)
{
    size_t n = json_array_size(args[0]);
    const json_t *values[64];
    if (n < 2 || n > 64)
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "ConcatV2 has %zu inputs", n);
    for (size_t i = 0; i + 1 < n; i++)
        values[i] = json_array_get(args[0], i);
    const json_t *config = trace_object(t, "axis", json_array_get(args[0], n - 1), NULL);
    return config ? trace_operation(t, "Concatenate", config, TRACE_LIST(t, trace_list(t, values, n - 1))) : NULL;
}

const json_t *adapt_pad(struct trace *t, const json_t *const *args)
{
    const char *mode = json_string_value(args[2]);
    static const char *const modes[] = {"constant", "reflect", "symmetric"};
    const json_t *widths = json_unwrap(args[1]), *value = args[3];
    for (size_t i = 0; mode && i < sizeof modes / sizeof *modes; i++) {
        if (strcasecmp(mode, modes[i]) != 0)
            continue;
        const json_t *config = trace_object(t, "pad_width", widths, "mode", trace_text(t, modes[i]), NULL);
        return config ? trace_operation(t, "Pad", config, TRACE_LIST(t, args[0], i == 0 ? value : trace_null(t))) : NULL;
    }
    return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "pad is called with a mode that is not supported");
}

/* The tensor with this number, or NULL. */
static struct keras_value *value_with_id(const struct keras_model *model, long long id)
{
    for (int i = 0; i < model->call_count; i++)
        for (int k = 0; k < model->calls[i]->output_count; k++)
            if (model->calls[i]->outputs[k]->id == id)
                return model->calls[i]->outputs[k];
    return NULL;
}

/* A tensor of one value: of a known shape (a constant), or of the shape of another tensor. */
const json_t *adapt_fill(struct trace *t, const json_t *const *args)
{
    const json_t *dims = json_is_array(args[0]) ? args[0] : TRACE_LIST(t, args[0]), *filled = args[1];
    long long n, id = -1;
    if (trace_has_dim(dims)) {
        for (size_t i = 0; i < json_array_size(dims); i++)
            if (trace_is_dim(json_array_get(dims, i)))
                (void)json_read_int(json_object_get(json_array_get(dims, i), "of"), &id);
        struct keras_value *like = value_with_id(t->b->model, id);
        const json_t *tensor = like ? trace_tensor(t, like) : NULL, *shape = tensor ? trace_shape(t, tensor) : NULL;
        if (!shape || !json_equal((json_t *)shape, (json_t *)dims))
            return trace_refuse(t, H5PT_SHAPE_UNKNOWN, "A constant is made whose size only the input tells");
        const json_t *config = trace_object(t, "dtype", trace_null(t), NULL);
        return config ? trace_operation(t, "FullLike", config, TRACE_LIST(t, tensor, args[1])) : NULL;
    }
    int64_t total = 1;
    for (size_t i = json_array_size(dims); i-- > 0;) {
        if (!json_read_int(json_array_get(dims, i), &n) || n < 0 || __builtin_mul_overflow(total, (int64_t)n, &total) ||
            total > TRACE_MAX_ITEMS)
            return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "A constant is made whose size is not supported");
        json_t *list = json_array();
        for (long long k = 0; k < n; k++)
            (void)json_array_append(list, (json_t *)filled);
        filled = trace_keep(t, list);
    }
    return filled;
}

/* ---- x[key] ---- */

/* One part of a key in the form of Keras 3: tf.keras writes slices as plain objects. */
static const json_t *key_part(struct trace *t, const json_t *part)
{
    if (json_is_object(part) && !json_object_get(part, "class_name") && json_object_get(part, "start"))
        return trace_slice(t, json_object_get(part, "start"), json_object_get(part, "stop"), json_object_get(part, "step"));
    if (trace_is_ellipsis(part))
        return trace_object(t, "class_name", trace_text(t, "__ellipsis__"), "config", trace_object(t, NULL), NULL);
    return part;
}

const json_t *adapt_getitem(struct trace *t, const json_t *const *args)
{
    const json_t *key = args[1];
    if (json_is_array(key)) {
        json_t *parts = json_array();
        for (size_t i = 0; i < json_array_size(key); i++)
            (void)json_array_append(parts, (json_t *)key_part(t, json_array_get(key, i)));
        key = trace_keep(t, parts);
    } else
        key = key_part(t, key);
    if (!key || trace_has_tensor(key) || trace_has_dim(key))
        return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "A tensor is indexed by what only the input tells");
    return TRACE_APPLY(t, "GetItem", args[0], key);
}

const json_t *adapt_slice(struct trace *t, const json_t *const *args)
{
    int64_t begin[SHAPE_MAX_RANK], size[SHAPE_MAX_RANK];
    const json_t *key[SHAPE_MAX_RANK];
    int n = adapter_integers(args[1], SHAPE_MAX_RANK, begin);
    if (n < 1 || adapter_integers(args[2], SHAPE_MAX_RANK, size) != n)
        return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "A slice depends on what only the input tells");
    for (int i = 0; i < n; i++)
        key[i] = trace_slice(t, trace_integer(t, begin[i]), size[i] < 0 ? trace_null(t) : trace_integer(t, begin[i] + size[i]),
                             trace_null(t));
    return adapt_getitem(t, (const json_t *const[]){args[0], trace_list(t, key, (size_t)n)});
}

/* begin, end and strides with TensorFlow's masks, bit i for entry i. */
const json_t *adapt_strided_slice(struct trace *t, const json_t *const *args)
{
    int64_t begin[16], end[16], strides[16];
    const json_t *key[16];
    long long mask[5];
    int n = adapter_integers(json_array_get(args[1], 0), 16, begin);
    bool plain = json_is_null(json_array_get(args[1], 2));
    bool ok = n >= 1 && adapter_integers(json_array_get(args[1], 1), 16, end) == n &&
              (plain || adapter_integers(json_array_get(args[1], 2), 16, strides) == n);
    for (int i = 0; i < 5; i++)
        ok = ok && json_read_int(args[2 + i], &mask[i]);
    if (!ok)
        return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "A slice depends on what only the input tells");
    for (int i = 0; i < n; i++) {
        long long bit = 1LL << i;
        if (mask[2] & bit)
            key[i] = trace_object(t, "class_name", trace_text(t, "__ellipsis__"), NULL);
        else if (mask[3] & bit)
            key[i] = trace_null(t);
        else if (mask[4] & bit)
            key[i] = trace_integer(t, begin[i]);
        else
            key[i] = trace_slice(t, mask[0] & bit ? trace_null(t) : trace_integer(t, begin[i]),
                                 mask[1] & bit ? trace_null(t) : trace_integer(t, end[i]),
                                 plain ? trace_null(t) : trace_integer(t, strides[i]));
    }
    return adapt_getitem(t, (const json_t *const[]){args[0], trace_list(t, key, (size_t)n)});
}
