/* SPDX-License-Identifier: Apache-2.0 */
/* Adapters for operations that others make up (compositions.def): of elements, lines and grids. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "keras/function_adapters.h"

/* ---- shared ---- */

static bool is_float(const struct trace *t, const json_t *x)
{
    const struct keras_value *tensor = trace_value(t, x);
    return tensor ? !tensor->bad && dtype_is_float(tensor->dtype) : trace_is_float(json_unwrap(x));
}

/* first, first + step … of `count` numbers: whole, or floats. */
static const json_t *numbers(struct trace *t, int64_t count, int64_t first, int64_t step, bool floats)
{
    if (count < 0 || count > TRACE_MAX_ITEMS)
        return trace_refuse(t, H5PT_LIMIT_EXCEEDED, "A constant of so many numbers is not supported");
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++)
        (void)json_array_append_new(list,
                                    floats ? json_real((double)(first + i * step)) : json_integer(first + i * step));
    return trace_keep(t, list);
}

/* Any, All, Sum, Max … over one axis. */
static const json_t *reduce(struct trace *t, const char *class_name, const json_t *x, int64_t axis, bool keepdims)
{
    const json_t *config = trace_object(t, "axis", trace_integer(t, axis), "keepdims", trace_truth(t, keepdims), NULL);
    return x && config ? trace_operation(t, class_name, config, TRACE_LIST(t, x)) : NULL;
}

static const json_t *expand(struct trace *t, const json_t *x, int64_t axis)
{
    return x ? adapter_with_axis(t, "ExpandDims", x, trace_integer(t, axis)) : NULL;
}

static const json_t *swapped(struct trace *t, const json_t *x)
{
    const json_t *config = trace_object(t, "axis1", trace_integer(t, -2), "axis2", trace_integer(t, -1), NULL);
    return x && config ? trace_operation(t, "Swapaxes", config, TRACE_LIST(t, x)) : NULL;
}

/* ---- elements ---- */

static const json_t *below_infinity(struct trace *t, const json_t *x)
{
    return TRACE_APPLY(t, "Less", TRACE_APPLY(t, "Absolute", x), trace_number(t, (double)INFINITY));
}

/* By these sums alone an infinity is close to all but itself; with args[5], to itself alone. */
const json_t *adapt_close(struct trace *t, const json_t *const *args)
{
    const json_t *a = args[0], *b = args[1];
    if (!is_float(t, a) && !is_float(t, b))
        return TRACE_APPLY(t, "Equal", a, b);
    const json_t *apart = TRACE_APPLY(t, "Absolute", TRACE_APPLY(t, "Subtract", a, b));
    const json_t *slack = TRACE_APPLY(t, "Multiply", args[2], TRACE_APPLY(t, "Absolute", b));
    const json_t *close = TRACE_APPLY(t, "LessEqual", apart, TRACE_APPLY(t, "Add", args[3], slack));
    if (json_is_true(args[5])) {
        const json_t *finite = TRACE_APPLY(t, "LogicalAnd", below_infinity(t, a), below_infinity(t, b));
        close = TRACE_APPLY(t, "LogicalOr", TRACE_APPLY(t, "LogicalAnd", finite, close), TRACE_APPLY(t, "Equal", a, b));
    }
    if (!close || !json_is_true(args[4]))
        return close;
    const json_t *both = TRACE_APPLY(t, "LogicalAnd", TRACE_APPLY(t, "NotEqual", a, a),
                                     TRACE_APPLY(t, "NotEqual", b, b));
    return TRACE_APPLY(t, "LogicalOr", close, both);
}

/* Whole numbers have no NaN. */
const json_t *adapt_without_nan(struct trace *t, const json_t *const *args)
{
    if (!is_float(t, args[0]))
        return args[0];
    return TRACE_APPLY(t, "Where", TRACE_APPLY(t, "Isnan", args[0]), args[1], args[0]);
}

/* ---- lines ---- */

const json_t *adapt_split_axis(struct trace *t, const json_t *const *args)
{
    long long axis;
    if (!json_read_int(args[2], &axis) || trace_rank(t, args[0]) < 0)
        return NULL;
    if (axis == 1 && trace_rank(t, args[0]) == 1) /* hsplit of a vector */
        axis = 0;
    const json_t *config = trace_object(t, "indices_or_sections", args[1], "axis", trace_integer(t, axis), NULL);
    return config ? trace_operation(t, "Split", config, TRACE_LIST(t, args[0])) : NULL;
}

/* The constant distances between x, shaped to go along axis `axis` of `rank`. */
static const json_t *distances(struct trace *t, const json_t *x, int axis, int rank)
{
    double a, b;
    size_t n = json_array_size(x = json_unwrap(x));
    json_t *list = json_array();
    if (trace_has_tensor(x) || trace_rank(t, x) != 1 || n < 2) {
        json_decref(list);
        return trace_refuse(t, H5PT_UNSUPPORTED_CONFIG, "Trapezoid is supported for an x that is a constant vector");
    }
    for (size_t i = 1; i < n; i++) {
        (void)json_read_double(json_array_get(x, i - 1), &a);
        (void)json_read_double(json_array_get(x, i), &b);
        json_t *item = json_real((double)((float)b - (float)a));
        for (int k = axis; k + 1 < rank; k++)
            item = json_pack("[o]", item);
        (void)json_array_append_new(list, item);
    }
    return trace_keep(t, list);
}

const json_t *adapt_trapezoid(struct trace *t, const json_t *const *args)
{
    const json_t *y = adapt_float(t, args), *width = args[2];
    int rank = y ? trace_rank(t, y) : -1, axis = trace_axis(t, args[3], rank);
    double dx;
    if (axis < 0)
        return NULL;
    if (json_is_null(args[1])) {
        if (!json_read_double(width, &dx))
            return trace_refuse(t, H5PT_UNSUPPORTED_CONFIG, "Trapezoid is supported for a dx that is one number");
        width = trace_number(t, dx);
    } else if (!(width = distances(t, args[1], axis, rank)))
        return NULL;
    const json_t *later = adapter_crop_axis(t, y, axis, 1, INT32_MAX), *earlier = adapter_crop_axis(t, y, axis, 0, -1);
    const json_t *height = TRACE_APPLY(t, "Multiply", trace_number(t, 0.5), TRACE_APPLY(t, "Add", later, earlier));
    return reduce(t, "Sum", TRACE_APPLY(t, "Multiply", height, width), axis, false);
}

/* x to the powers of whole numbers. */
const json_t *adapt_vander(struct trace *t, const json_t *const *args)
{
    long long n;
    if (trace_rank(t, args[0]) != 1)
        return trace_refuse(t, H5PT_SHAPE_MISMATCH, "Vander takes a vector");
    if (!is_float(t, args[0]))
        return trace_refuse(t, H5PT_UNSUPPORTED_DTYPE, "Vander is supported for floats");
    if (json_is_null(args[1]) && (n = adapter_size(t, args[0], 0)) < 0)
        return NULL;
    if (!json_is_null(args[1]) && (!json_read_int(args[1], &n) || n < 1))
        return trace_refuse(t, H5PT_CONFIG_INVALID, "\"N\" must be a number of columns");
    bool increasing = json_is_true(args[2]);
    const json_t *powers = numbers(t, n, increasing ? 0 : n - 1, increasing ? 1 : -1, true);
    return TRACE_APPLY(t, "Power", expand(t, args[0], -1), powers);
}

/* ---- grids ---- */

/* start as a tensor of the shape of `like`. */
static const json_t *end_point(struct trace *t, const json_t *x, const json_t *like)
{
    const json_t *config = trace_object(t, "dtype", trace_null(t), NULL);
    if (trace_value(t, x))
        return adapt_float(t, &x);
    if (trace_rank(t, x) != 0)
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "Linspace is supported between tensors and numbers");
    return config ? trace_operation(t, "FullLike", config, TRACE_LIST(t, like, x)) : NULL;
}

/* 1, 2 … `count`, standing along axis `axis` of `rank`. */
static const json_t *steps_along(struct trace *t, int64_t count, int axis, int rank)
{
    json_t *list = json_array();
    for (int64_t i = 1; i <= count; i++) {
        json_t *item = json_real((double)i);
        for (int k = axis; k + 1 < rank; k++)
            item = json_pack("[o]", item);
        (void)json_array_append_new(list, item);
    }
    return trace_keep(t, list);
}

/* start, stop, num, endpoint, retstep, dtype, axis: as tf.linspace, whose ends are exact. */
const json_t *adapt_linspace(struct trace *t, const json_t *const *args)
{
    long long num;
    bool endpoint = json_is_true(args[3]);
    const char *dtype = json_string_value(args[5]);
    if (!json_read_int(args[2], &num) || num < 1 || num > TRACE_MAX_ITEMS || json_is_true(args[4]) || !dtype ||
        strcmp(dtype, "float32") != 0)
        return trace_refuse(t, H5PT_UNSUPPORTED_CONFIG,
                            "A range of numbers between tensors is supported in float32, without retstep");
    for (int i = 0; i < 2; i++)
        if (trace_value(t, args[1 - i]) && trace_value(t, args[i]) && trace_rank(t, args[0]) != trace_rank(t, args[1]))
            return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "Linspace between tensors of different ranks");
    const json_t *apart = TRACE_APPLY(t, "Subtract", args[1], args[0]);
    apart = apart ? adapt_float(t, &apart) : NULL;
    const json_t *start = apart ? end_point(t, args[0], apart) : NULL,
                 *stop = start ? end_point(t, args[1], apart) : NULL;
    int axis = stop ? trace_axis(t, args[6], trace_rank(t, apart) + 1) : -1, rank = trace_rank(t, apart) + 1;
    if (axis < 0)
        return NULL;
    if (num == 1)
        return expand(t, start, axis);
    const json_t *step = TRACE_APPLY(t, "Divide", apart, trace_number(t, (double)(endpoint ? num - 1 : num)));
    if (!endpoint)
        stop = TRACE_APPLY(t, "Subtract", stop, step);
    const json_t *parts[3] = {expand(t, start, axis)};
    size_t n = 1;
    if (num > 2)
        parts[n++] = TRACE_APPLY(
            t, "Add", parts[0], TRACE_APPLY(t, "Multiply", expand(t, step, axis), steps_along(t, num - 2, axis, rank)));
    parts[n++] = expand(t, stop, axis);
    for (size_t i = 0; i < n; i++)
        if (!parts[i])
            return NULL;
    return adapter_with_axis(t, "Concatenate", trace_list(t, parts, n), trace_integer(t, axis));
}

/* Each input, flattened, along an axis of its own; the zeros of the others stretch it. */
const json_t *adapt_meshgrid(struct trace *t, const json_t *const *args)
{
    size_t n = json_array_size(args[0]);
    const char *indexing = json_string_value(args[1]);
    const json_t *lines[SHAPE_MAX_RANK], *zeros[SHAPE_MAX_RANK], *none = trace_object(t, "dtype", trace_null(t), NULL);
    if (n < 1 || n > SHAPE_MAX_RANK || !indexing || (strcmp(indexing, "xy") != 0 && strcmp(indexing, "ij") != 0))
        return trace_refuse(t, H5PT_UNSUPPORTED_CONFIG, "Meshgrid is supported for 1 to %d tensors", SHAPE_MAX_RANK);
    bool swap = strcmp(indexing, "xy") == 0 && n > 1;
    for (size_t i = 0; none && i < n; i++) {
        const json_t *dims[SHAPE_MAX_RANK];
        for (size_t k = 0; k < n; k++)
            dims[k] = trace_integer(t, k == (swap && i < 2 ? 1 - i : i) ? -1 : 1);
        const json_t *config = trace_object(t, "newshape", trace_list(t, dims, n), NULL);
        if (!config || !(lines[i] = trace_operation(t, "Reshape", config, TRACE_LIST(t, json_array_get(args[0], i)))) ||
            !(zeros[i] = trace_operation(t, "ZerosLike", none, TRACE_LIST(t, lines[i]))))
            return NULL;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            if (k != i && !(lines[i] = TRACE_APPLY(t, "Add", lines[i], zeros[k])))
                return NULL;
    return trace_list(t, lines, n);
}

/* ---- products and counts ---- */

/* The vectors that x2 is multiplied with: (cells of the result, cells of x2) places in x1. */
static const json_t *windows(struct trace *t, int64_t count, int64_t size)
{
    if (count < 1 || count > TRACE_MAX_ITEMS / size)
        return trace_refuse(t, H5PT_SHAPE_MISMATCH,
                            "Correlate takes a second vector that is not longer than the first");
    json_t *rows = json_array();
    for (int64_t i = 0; i < count; i++)
        (void)json_array_append(rows, (json_t *)numbers(t, size, i, 1, false));
    return trace_keep(t, rows);
}

const json_t *adapt_correlate(struct trace *t, const json_t *const *args)
{
    const json_t *x = args[0], *y = args[1];
    const char *mode = json_string_value(args[2]);
    if (trace_rank(t, x) != 1 || trace_rank(t, y) != 1 || !trace_value(t, x) || !mode)
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "Correlate is supported for a vector that is a tensor");
    int64_t n = adapter_size(t, x, 0);
    int64_t m = trace_value(t, y) ? adapter_size(t, y, 0) : (int64_t)json_array_size(json_unwrap(y));
    if (n < 1 || m < 1)
        return NULL;
    if (strcmp(mode, "valid") != 0) {
        /* "same": the middle of "full" */
        bool same = strcmp(mode, "same") == 0;
        int64_t full = n + m - 1, length = same ? (n > m ? n : m) : full, start = (full - length) / 2;
        int64_t before = m - 1 - start, after = length + m - 1 - before - n;
        x = adapter_pad_axis(t, x, 0, before > 0 ? before : 0, after > 0 ? after : 0, trace_number(t, 0));
        if (x && (before < 0 || after < 0))
            x = adapter_crop_axis(t, x, 0, before < 0 ? -before : 0, (before < 0 ? -before : 0) + length + m - 1);
        n = length + m - 1;
    }
    const json_t *places = x ? windows(t, n - m + 1, m) : NULL;
    const json_t *config = trace_object(t, "axis", trace_integer(t, 0), NULL);
    const json_t *lines = places && config ? trace_operation(t, "Take", config, TRACE_LIST(t, x, places)) : NULL;
    return TRACE_APPLY(t, "Matmul", lines, y);
}

const json_t *adapt_corrcoef(struct trace *t, const json_t *const *args)
{
    const json_t *x = args[0];
    if (trace_rank(t, x) != 2)
        return trace_refuse(t, H5PT_SHAPE_MISMATCH, "Corrcoef is supported for a matrix");
    int64_t n = adapter_size(t, x, 1);
    if (n < 2)
        return trace_refuse(t, H5PT_SHAPE_MISMATCH, "Corrcoef takes rows of 2 numbers at least");
    const json_t *rest = TRACE_APPLY(t, "Subtract", x, reduce(t, "Mean", x, -1, true)),
                 *less = trace_number(t, (double)(n - 1));
    const json_t *covariance = TRACE_APPLY(t, "Divide", TRACE_APPLY(t, "Matmul", rest, swapped(t, rest)), less);
    const json_t *spread = reduce(t, "Sum", TRACE_APPLY(t, "Square", rest), -1, true);
    spread = TRACE_APPLY(t, "Sqrt", TRACE_APPLY(t, "Divide", spread, less));
    const json_t *both = TRACE_APPLY(t, "Multiply", spread, swapped(t, spread));
    const json_t *config = trace_object(t, "x_min", trace_number(t, -1), "x_max", trace_number(t, 1), NULL);
    const json_t *all = TRACE_APPLY(t, "Divide", covariance, both);
    return all && config ? trace_operation(t, "Clip", config, TRACE_LIST(t, all)) : NULL;
}

/* As TensorFlow: ties count for the target; no number, or a target that is no class, is never among the k. */
const json_t *adapt_in_top_k(struct trace *t, const json_t *const *args)
{
    const json_t *scores = args[1];
    int64_t classes = adapter_size(t, scores, -1);
    long long k;
    if (classes < 1 || trace_rank(t, scores) != 2 || !json_read_int(args[2], &k))
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "InTopK is supported for scores (batch, classes)");
    const json_t *hot = TRACE_APPLY(t, "Equal", expand(t, args[0], -1), numbers(t, classes, 0, 1, false));
    const json_t *own = reduce(t, "Sum", TRACE_APPLY(t, "Where", hot, scores, trace_number(t, 0)), -1, true);
    const json_t *better = reduce(t, "CountNonzero", TRACE_APPLY(t, "Greater", scores, own), -1, false);
    const json_t *valid = TRACE_APPLY(t, "LogicalAnd", reduce(t, "Any", hot, -1, false),
                                      reduce(t, "All", TRACE_APPLY(t, "Isfinite", scores), -1, false));
    return TRACE_APPLY(t, "LogicalAnd", valid, TRACE_APPLY(t, "Less", better, trace_integer(t, k)));
}

/* ---- matrices ---- */

/* The triangle's inverse times itself. */
const json_t *adapt_cholesky_inverse(struct trace *t, const json_t *const *args)
{
    bool upper = json_is_true(args[1]);
    int64_t n = adapter_size(t, args[0], -1);
    if (n < 1 || n > TRACE_MAX_ITEMS / n)
        return NULL;
    json_t *rows = json_array();
    for (int64_t i = 0; i < n; i++) {
        json_t *row = json_array();
        for (int64_t k = 0; k < n; k++)
            (void)json_array_append_new(row, json_real(i == k));
        (void)json_array_append_new(rows, row);
    }
    for (int k = trace_rank(t, args[0]); k > 2; k--)
        rows = json_pack("[o]", rows);
    const json_t *config = trace_object(t, "lower", trace_truth(t, !upper), NULL);
    const json_t *identity = trace_keep(t, rows);
    const json_t *inverse = config ? trace_operation(t, "SolveTriangular", config, TRACE_LIST(t, args[0], identity))
                                   : NULL;
    return upper ? TRACE_APPLY(t, "Matmul", inverse, swapped(t, inverse))
                 : TRACE_APPLY(t, "Matmul", swapped(t, inverse), inverse);
}

/* How far single precision tells singular values of such a matrix from zero. */
static bool tolerance(struct trace *t, const json_t *x, double *ret)
{
    int64_t rows = adapter_size(t, x, -2), columns = rows < 0 ? -1 : adapter_size(t, x, -1);
    *ret = (double)FLT_EPSILON * (double)(rows > columns ? rows : columns);
    return rows > 0 && columns > 0;
}

const json_t *adapt_matrix_rank(struct trace *t, const json_t *const *args)
{
    double number;
    const json_t *config = trace_object(t, "full_matrices", trace_truth(t, true), "compute_uv", trace_truth(t, false),
                                        NULL);
    const json_t *values = config ? trace_operation(t, "SVD", config, TRACE_LIST(t, args[0])) : NULL, *least;
    if (!values)
        return NULL;
    if (json_is_null(args[1])) {
        if (!tolerance(t, args[0], &number))
            return NULL;
        least = TRACE_APPLY(t, "Multiply", reduce(t, "Max", values, -1, true), trace_number(t, number));
    } else if (json_read_double(args[1], &number))
        least = trace_number(t, number);
    else
        return trace_refuse(t, H5PT_UNSUPPORTED_CONFIG, "\"tol\" is supported as a number");
    return reduce(t, "CountNonzero", TRACE_APPLY(t, "Greater", values, least), -1, false);
}

const json_t *adapt_lstsq(struct trace *t, const json_t *const *args)
{
    double cutoff;
    int rank = trace_rank(t, args[1]);
    if (trace_rank(t, args[0]) != 2 || (rank != 1 && rank != 2))
        return trace_refuse(t, H5PT_SHAPE_MISMATCH, "Lstsq takes a matrix, and a vector or a matrix");
    if (!tolerance(t, args[0], &cutoff))
        return NULL;
    if (!json_is_null(args[2])) {
        if (!json_read_double(args[2], &cutoff))
            return trace_refuse(t, H5PT_UNSUPPORTED_CONFIG, "\"rcond\" is supported as a number");
        cutoff = cutoff < 0 ? (double)FLT_EPSILON : cutoff;
    }
    const json_t *config = trace_object(t, "rcond", trace_number(t, cutoff), NULL);
    const json_t *inverse = config ? trace_operation(t, "Pinv", config, TRACE_LIST(t, args[0])) : NULL;
    return TRACE_APPLY(t, "Matmul", inverse, args[1]);
}
