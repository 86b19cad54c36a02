/* SPDX-License-Identifier: Apache-2.0 */
/* Adapters that deal with shapes: reshaping, splitting, padding, slicing. */
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "keras/function_adapters.h"

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
                     : trace_refuse(t, H5PT_SHAPE_UNKNOWN,
                                    "The rank of a tensor is needed that another refusal leaves unknown");
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
        if (json_read_int(json_array_get(shape, i), &n) && n >= 0 &&
            __builtin_mul_overflow(others, (int64_t)n, &others))
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
        if (trace_is_dim(dim) && rests + free_sizes > 1 &&
            (!json_read_int(json_object_get(dim, "times"), &times) || times != 1))
            return trace_refuse(t, H5PT_SHAPE_UNKNOWN, "A reshape depends on a size that only the input tells");
    }
    if (free_sizes > 1 ||
        (free_sizes == 1 && rests == 1 && (!tensor || tensor->bad || !known_rest(tensor, shape, &rest))))
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
        return adapter_with_axis(t, "Squeeze", x, trace_null(t));
    for (size_t i = 0; i < json_array_size(axes); i++) {
        int axis = trace_axis(t, json_array_get(axes, i), rank);
        if (axis < 0)
            return NULL;
        wanted[axis] = true;
    }
    for (int axis = rank - 1; x && axis >= 0; axis--)
        if (wanted[axis])
            x = adapter_with_axis(t, "Squeeze", x, trace_integer(t, axis));
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
        return config ? trace_operation(t, "Pad", config, TRACE_LIST(t, args[0], i == 0 ? value : trace_null(t)))
                      : NULL;
    }
    return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "pad is called with a mode that is not supported");
}

/* A tensor of one value: of a known shape (a constant), or of the shape of another tensor. */
const json_t *adapt_fill(struct trace *t, const json_t *const *args)
{
    const json_t *dims = json_is_array(args[0]) ? args[0] : TRACE_LIST(t, args[0]), *filled = args[1];
    long long n;
    if (trace_has_dim(dims)) {
        const json_t *tensor = NULL;
        for (size_t i = 0; i < json_array_size(dims) && !tensor; i++)
            tensor = trace_is_dim(json_array_get(dims, i)) ? trace_dim_tensor(t, json_array_get(dims, i)) : NULL;
        const json_t *shape = tensor ? trace_shape(t, tensor) : NULL;
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
        return trace_slice(t, json_object_get(part, "start"), json_object_get(part, "stop"),
                           json_object_get(part, "step"));
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
        key[i] = trace_slice(t, trace_integer(t, begin[i]),
                             size[i] < 0 ? trace_null(t) : trace_integer(t, begin[i] + size[i]), trace_null(t));
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
