/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on constants, above all on shapes: what has to be known before the model runs. Whole numbers stay whole, as in
 * Python; a size that only the input tells can be multiplied, compared with nothing, and handed on. */
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "keras/trace.h"

enum fold_op {
    FOLD_ADD,
    FOLD_SUBTRACT,
    FOLD_MULTIPLY,
    FOLD_DIVIDE,
    FOLD_FLOOR_DIVIDE,
    FOLD_MOD,
    FOLD_POWER,
    FOLD_MAXIMUM,
    FOLD_MINIMUM,
    FOLD_EQUAL,
    FOLD_NOT_EQUAL,
    FOLD_LESS,
    FOLD_LESS_EQUAL,
    FOLD_GREATER,
    FOLD_GREATER_EQUAL,
    FOLD_NEGATIVE,
    FOLD_ABSOLUTE,
    FOLD_SQUARE,
    FOLD_SQRT,
    FOLD_EXP,
    FOLD_LOG,
    FOLD_FLOOR,
    FOLD_CEIL,
};

static const struct {
    const char *class_name;
    enum fold_op op;
    int arity;
} folds[] = {
    {"Add", FOLD_ADD, 2},           {"Subtract", FOLD_SUBTRACT, 2},
    {"Multiply", FOLD_MULTIPLY, 2}, {"TrueDivide", FOLD_DIVIDE, 2},
    {"Divide", FOLD_DIVIDE, 2},     {"FloorDivide", FOLD_FLOOR_DIVIDE, 2},
    {"Mod", FOLD_MOD, 2},           {"Power", FOLD_POWER, 2},
    {"Maximum", FOLD_MAXIMUM, 2},   {"Minimum", FOLD_MINIMUM, 2},
    {"Equal", FOLD_EQUAL, 2},       {"NotEqual", FOLD_NOT_EQUAL, 2},
    {"Less", FOLD_LESS, 2},         {"LessEqual", FOLD_LESS_EQUAL, 2},
    {"Greater", FOLD_GREATER, 2},   {"GreaterEqual", FOLD_GREATER_EQUAL, 2},
    {"Negative", FOLD_NEGATIVE, 1}, {"Absolute", FOLD_ABSOLUTE, 1},
    {"Square", FOLD_SQUARE, 1},     {"Sqrt", FOLD_SQRT, 1},
    {"Exp", FOLD_EXP, 1},           {"Log", FOLD_LOG, 1},
    {"Floor", FOLD_FLOOR, 1},       {"Ceil", FOLD_CEIL, 1},
};

/* ---- one number ---- */

static const json_t *fold_dims(struct trace *t, enum fold_op op, const json_t *a, const json_t *b)
{
    const json_t *dim = trace_is_dim(a) ? a : b, *other = dim == a ? b : a;
    long long n, times;
    if (op == FOLD_MULTIPLY && json_is_integer(other) && json_read_int(json_object_get(dim, "times"), &times)) {
        n = json_integer_value(other);
        if (n > 0 && !__builtin_mul_overflow(n, times, &times)) {
            json_t *scaled = json_copy((json_t *)dim);
            if (scaled)
                json_object_set_new(scaled, "times", json_integer(times));
            return trace_keep(t, scaled);
        }
    }
    return trace_refuse(t, H5PT_SHAPE_UNKNOWN, "A size that only the input tells is used in a calculation");
}

static long long floor_quotient(long long x, long long y)
{
    return x / y - (x % y != 0 && (x < 0) != (y < 0));
}

/* False when the result is no whole number of 64 bits. */
static bool fold_integers(enum fold_op op, long long x, long long y, long long *ret)
{
    switch (op) {
    case FOLD_ADD: return !__builtin_add_overflow(x, y, ret);
    case FOLD_SUBTRACT: return !__builtin_sub_overflow(x, y, ret);
    case FOLD_MULTIPLY: return !__builtin_mul_overflow(x, y, ret);
    case FOLD_FLOOR_DIVIDE:
    case FOLD_MOD:
        if (y == 0 || y == -1)
            return false;
        *ret = op == FOLD_MOD ? x - floor_quotient(x, y) * y : floor_quotient(x, y);
        return true;
    case FOLD_POWER:
        if (y < 0 || y > 64)
            return false;
        for (*ret = 1; y > 0; y--)
            if (__builtin_mul_overflow(*ret, x, ret))
                return false;
        return true;
    case FOLD_MAXIMUM: *ret = x > y ? x : y; return true;
    case FOLD_MINIMUM: *ret = x < y ? x : y; return true;
    case FOLD_NEGATIVE: return !__builtin_sub_overflow(0LL, x, ret);
    case FOLD_ABSOLUTE: return x >= 0 ? (*ret = x, true) : !__builtin_sub_overflow(0LL, x, ret);
    case FOLD_SQUARE: return !__builtin_mul_overflow(x, x, ret);
    default: return false;
    }
}

static bool fold_reals(enum fold_op op, double x, double y, double *ret)
{
    switch (op) {
    case FOLD_ADD: *ret = x + y; return true;
    case FOLD_SUBTRACT: *ret = x - y; return true;
    case FOLD_MULTIPLY: *ret = x * y; return true;
    case FOLD_DIVIDE: *ret = x / y; return y != 0;
    case FOLD_FLOOR_DIVIDE: *ret = floor(x / y); return y != 0;
    case FOLD_MOD: *ret = x - floor(x / y) * y; return y != 0;
    case FOLD_POWER: *ret = pow(x, y); return true;
    case FOLD_MAXIMUM: *ret = fmax(x, y); return true;
    case FOLD_MINIMUM: *ret = fmin(x, y); return true;
    case FOLD_NEGATIVE: *ret = -x; return true;
    case FOLD_ABSOLUTE: *ret = fabs(x); return true;
    case FOLD_SQUARE: *ret = x * x; return true;
    case FOLD_SQRT: *ret = sqrt(x); return true;
    case FOLD_EXP: *ret = exp(x); return true;
    case FOLD_LOG: *ret = log(x); return true;
    case FOLD_FLOOR: *ret = floor(x); return true;
    case FOLD_CEIL: *ret = ceil(x); return true;
    default: return false;
    }
}

static bool fold_comparison(enum fold_op op, double x, double y, bool *ret)
{
    switch (op) {
    case FOLD_EQUAL: *ret = x == y; return true;
    case FOLD_NOT_EQUAL: *ret = x != y; return true;
    case FOLD_LESS: *ret = x < y; return true;
    case FOLD_LESS_EQUAL: *ret = x <= y; return true;
    case FOLD_GREATER: *ret = x > y; return true;
    case FOLD_GREATER_EQUAL: *ret = x >= y; return true;
    default: return false;
    }
}

static bool read_number(const json_t *value, double *ret)
{
    if (json_is_boolean(value)) {
        *ret = json_is_true(value) ? 1 : 0;
        return true;
    }
    return json_read_double(value, ret);
}

static const json_t *fold_number(struct trace *t, enum fold_op op, const json_t *a, const json_t *b)
{
    double x = 0, y = 0, real;
    long long whole;
    bool truth;
    if (trace_is_dim(a) || trace_is_dim(b))
        return fold_dims(t, op, a, b);
    if (json_is_string(a) && json_is_string(b) && (op == FOLD_EQUAL || op == FOLD_NOT_EQUAL))
        return trace_truth(t, (json_equal((json_t *)a, (json_t *)b) != 0) == (op == FOLD_EQUAL));
    if (!read_number(a, &x) || (b && !read_number(b, &y)))
        return NULL;
    if (b && fold_comparison(op, x, y, &truth))
        return trace_truth(t, truth);
    if (!trace_is_float(a) && (!b || !trace_is_float(b)) && fabs(x) < 9e15 && fabs(y) < 9e15) {
        if (fold_integers(op, (long long)x, (long long)y, &whole))
            return trace_integer(t, whole);
        if (op == FOLD_FLOOR_DIVIDE && y == -1)
            return trace_integer(t, -(long long)x);
        if (op == FOLD_MOD && y == -1)
            return trace_integer(t, 0);
    }
    return fold_reals(op, x, y, &real) ? trace_number(t, real) : NULL;
}

/* ---- lists, with broadcasting ---- */

static const json_t *fold_element_wise(struct trace *t, enum fold_op op, const json_t *a, const json_t *b)
{
    a = json_unwrap(a);
    b = json_unwrap(b);
    bool many_a = json_is_array(a), many_b = b && json_is_array(b);
    if (!many_a && !many_b)
        return fold_number(t, op, a, b);
    if (many_a && many_b) {
        int rank_a = trace_rank(t, a), rank_b = trace_rank(t, b);
        many_a = rank_a >= rank_b;
        many_b = rank_b >= rank_a;
    }
    size_t n = many_a ? json_array_size(a) : 1, m = many_b ? json_array_size(b) : 1, length = n > m ? n : m;
    if ((n != length && n != 1) || (m != length && m != 1))
        return NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < length; i++) {
        const json_t *x = many_a ? json_array_get(a, n == 1 ? 0 : i) : a,
                     *y = many_b ? json_array_get(b, m == 1 ? 0 : i) : b;
        const json_t *item = fold_element_wise(t, op, x, y);
        if (!item) {
            json_decref(list);
            return NULL;
        }
        (void)json_array_append(list, (json_t *)item);
    }
    return trace_keep(t, list);
}

static const json_t *fold_reduce(struct trace *t, enum fold_op op, const json_t *list)
{
    const json_t *sum = json_array_get(list, 0);
    for (size_t i = 1; sum && i < json_array_size(list); i++)
        sum = fold_number(t, op, sum, json_array_get(list, i));
    return sum;
}

static bool axis_is_first(const json_t *config)
{
    const json_t *axis = json_object_get(config, "axis");
    if (json_is_array(axis) && json_array_size(axis) == 1)
        axis = json_array_get(axis, 0);
    return json_is_integer(axis) && json_integer_value(axis) == 0;
}

/* Reductions of a plain list to one number. */
static const json_t *fold_reduction(struct trace *t, const char *class_name, const json_t *config, const json_t *x)
{
    static const struct {
        const char *class_name;
        enum fold_op op;
    } known[] = {{"Sum", FOLD_ADD}, {"Prod", FOLD_MULTIPLY}, {"Max", FOLD_MAXIMUM}, {"Min", FOLD_MINIMUM}};
    const json_t *axis = json_object_get(config, "axis");
    bool whole = !axis || json_is_null(axis) || axis_is_first(config);
    if (trace_rank(t, x) != 1 || !whole || json_is_true(json_object_get(config, "keepdims")))
        return NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].class_name, class_name) == 0)
            return fold_reduce(t, known[i].op, json_unwrap(x));
    return NULL;
}

static const json_t *fold_concatenate(struct trace *t, const json_t *lists)
{
    json_t *all = json_array();
    for (size_t i = 0; i < json_array_size(lists); i++) {
        const json_t *part = json_unwrap(json_array_get(lists, i));
        if (!json_is_array(part)) {
            json_decref(all);
            return NULL;
        }
        for (size_t k = 0; k < json_array_size(part); k++)
            (void)json_array_append(all, json_array_get(part, k));
    }
    return trace_keep(t, all);
}

static const json_t *fold_cast(struct trace *t, const json_t *config, const json_t *x)
{
    const char *dtype = json_string_value(json_object_get(config, "dtype"));
    double number;
    if (!dtype)
        return NULL;
    x = json_unwrap(x);
    if (json_is_array(x)) {
        json_t *list = json_array();
        for (size_t i = 0; i < json_array_size(x); i++) {
            const json_t *item = fold_cast(t, config, json_array_get(x, i));
            if (!item) {
                json_decref(list);
                return NULL;
            }
            (void)json_array_append(list, (json_t *)item);
        }
        return trace_keep(t, list);
    }
    if (trace_is_dim(x))
        return strncmp(dtype, "int", 3) == 0 ? x : NULL;
    if (!read_number(x, &number))
        return NULL;
    if (strstr(dtype, "float"))
        return trace_number(t, number);
    if (strcmp(dtype, "bool") == 0)
        return trace_truth(t, number != 0);
    return fabs(number) < 9e15 ? trace_integer(t, (long long)number) : NULL;
}

/* ---- x[key] ---- */

static bool slice_bound(const json_t *slice, const char *key, long long *ret)
{
    const json_t *value = json_object_get(json_object_get(slice, "config"), key);
    return value && !json_is_null(value) && json_read_int(value, ret);
}

static const json_t *fold_slice(struct trace *t, const json_t *list, const json_t *slice)
{
    long long n = (long long)json_array_size(list), step = 1, start, stop;
    if (trace_has_dim(slice) || trace_has_tensor(slice))
        return NULL;
    if (slice_bound(slice, "step", &step) && (step == 0 || step < -n - 1 || step > n + 1))
        return NULL;
    if (!slice_bound(slice, "start", &start))
        start = step > 0 ? 0 : n - 1;
    else
        start = start < -n ? (step > 0 ? 0 : -1) : start < 0 ? start + n : start > n ? n : start;
    if (!slice_bound(slice, "stop", &stop))
        stop = step > 0 ? n : -1;
    else
        stop = stop < -n ? (step > 0 ? 0 : -1) : stop < 0 ? stop + n : stop > n ? n : stop;
    if (step < 0 && start >= n)
        start = n - 1;
    json_t *part = json_array();
    for (long long i = start; step > 0 ? i < stop : i > stop; i += step)
        (void)json_array_append(part, json_array_get(list, (size_t)i));
    return trace_keep(t, part);
}

const json_t *fold_getitem(struct trace *t, const json_t *list, const json_t *key)
{
    long long index, n = (long long)json_array_size(list);
    if (!json_is_array(list))
        return NULL;
    if (json_is_array(key) && json_array_size(key) == 1)
        key = json_array_get(key, 0);
    if (trace_is_slice(key))
        return fold_slice(t, list, key);
    if (json_is_integer(key) && json_read_int(key, &index) && index >= -n && index < n)
        return json_array_get(list, (size_t)(index < 0 ? index + n : index));
    return NULL;
}

/* ---- by name ---- */

const json_t *fold_operation(struct trace *t, const char *class_name, const json_t *config, const json_t *args)
{
    const json_t *x = json_array_get(args, 0), *y = json_array_get(args, 1);
    for (size_t i = 0; i < sizeof folds / sizeof *folds; i++)
        if (strcmp(folds[i].class_name, class_name) == 0)
            return (folds[i].arity == 2) == (y != NULL) ? fold_element_wise(t, folds[i].op, x, y) : NULL;
    if (strcmp(class_name, "Copy") == 0 || strcmp(class_name, "StopGradient") == 0)
        return x;
    if (strcmp(class_name, "Cast") == 0)
        return fold_cast(t, config, x);
    if (strcmp(class_name, "GetItem") == 0)
        return fold_getitem(t, json_unwrap(x), y);
    if (strcmp(class_name, "Stack") == 0)
        return axis_is_first(config) ? json_unwrap(x) : NULL;
    if (strcmp(class_name, "Concatenate") == 0)
        return axis_is_first(config) || trace_rank(t, x) == 2 ? fold_concatenate(t, x) : NULL;
    if (strcmp(class_name, "ExpandDims") == 0)
        return json_is_array(x) ? NULL : TRACE_LIST(t, x);
    return fold_reduction(t, class_name, config, x);
}
