/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "base/words.h"
#include "keras/functions.h"
#include "keras/lambda_eval.h"
#include "layers/layer.h"

/* ---- constants and names ---- */

static const json_t *constant(struct lambda *l, const struct py_object *o, int *budget)
{
    struct trace *t = l->t;
    if (--*budget < 0)
        return trace_refuse(t, H5PT_LIMIT_EXCEEDED, "The constants of the function are too many");
    switch (o->kind) {
    case PY_NONE: return trace_null(t);
    case PY_TRUE:
    case PY_FALSE: return trace_truth(t, o->kind == PY_TRUE);
    case PY_ELLIPSIS: return trace_object(t, "class_name", trace_text(t, "__ellipsis__"), NULL);
    case PY_INT: return trace_integer(t, o->integer);
    case PY_FLOAT: return trace_number(t, o->real);
    case PY_TEXT: {
        json_t *text = json_stringn((const char *)o->bytes, o->count);
        return trace_keep(t, text ? text : json_string("?")); /* bytes that are no UTF-8 mean nothing here */
    }
    case PY_TUPLE: {
        json_t *list = json_array();
        for (size_t i = 0; i < o->count && !t->why.code; i++)
            (void)json_array_append(list, (json_t *)constant(l, o->items[i], budget));
        return trace_keep(t, list);
    }
    default:
        return trace_refuse(t, H5PT_UNSUPPORTED_LAYER, "The function holds a constant of a kind that is not supported");
    }
}

const json_t *lambda_constant(struct lambda *l, const struct py_object *object)
{
    int budget = PY_MAX_OBJECTS;
    if (object->kind != PY_CODE)
        return constant(l, object, &budget);
    if (l->function_count == LAMBDA_MAX_FUNCTIONS)
        return trace_refuse(l->t, H5PT_LIMIT_EXCEEDED, "The function holds too many functions");
    l->functions[l->function_count] = object->code;
    return trace_keep(l->t, json_pack("{s:i}", "lambda", l->function_count++));
}

static const json_t *module(struct lambda *l, const char *path)
{
    return trace_object(l->t, "module", trace_text(l->t, path), NULL);
}

static const char *module_path(const json_t *value)
{
    return json_string_value(json_object_get(value, "module"));
}

/* Names under which the modules are commonly imported, and where they lead. */
static const struct {
    const char *names, *path;
} modules[] = {
    {"tf tensorflow", "tf"},   {"K KB backend", "keras.backend"},    {"keras tf_keras", "keras"},
    {"ops kops", "keras.ops"}, {"activations", "keras.activations"}, {"np numpy", "np"},
    {"math", "math"},
};

static const json_t *module_named(struct lambda *l, const char *name)
{
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (word_index(modules[i].names, name) >= 0)
            return module(l, modules[i].path);
    return NULL;
}

const json_t *lambda_global(struct lambda *l, const char *name)
{
    char path[80];
    if (strcmp(name, "None") == 0)
        return trace_null(l->t);
    if (strcmp(name, "True") == 0 || strcmp(name, "False") == 0)
        return trace_truth(l->t, name[0] == 'T');
    const json_t *known = module_named(l, name);
    if (known || l->t->why.code)
        return known;
    if (function_find("py", name)) {
        (void)snprintf(path, sizeof path, "py.%s", name);
        return module(l, path);
    }
    return trace_refuse(l->t, H5PT_UNSUPPORTED_LAYER,
                        "it uses the name \"%.60s\", and the file does not hold what it stands for", name);
}

const json_t *lambda_import(struct lambda *l, const char *path)
{
    char first[64];
    size_t n = strcspn(path, ".");
    if (n < sizeof first) {
        memcpy(first, path, n);
        first[n] = 0;
        const json_t *value = module_named(l, first);
        for (const char *at = path + n; value && *at == '.'; at += n) {
            n = strcspn(++at, ".");
            if (n >= sizeof first)
                break;
            memcpy(first, at, n);
            first[n] = 0;
            value = lambda_attribute(l, value, first);
        }
        if (value)
            return value;
    }
    return trace_refuse(l->t, H5PT_UNSUPPORTED_LAYER, "it imports the module \"%.60s\"", path);
}

/* ---- attributes ---- */

static const json_t *module_attribute(struct lambda *l, const char *path, const char *name)
{
    static const struct {
        const char *path, *is;
    } same[] = {
        {"tf.keras", "keras"}, {"tf.compat", "tf"}, {"tf.v1", "tf"},
        {"tf.v2", "tf"},       {"tf.python", "tf"}, {"keras.src", "keras"},
    };
    const char *longer = arena_printf(l->t->b->arena, "%.200s.%s", path, name);
    if (!longer) {
        h5pt_fail_memory(&l->t->why);
        return NULL;
    }
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (strcmp(same[i].path, longer) == 0)
            return module(l, same[i].is);
    return module(l, longer);
}

const json_t *lambda_attribute(struct lambda *l, const json_t *value, const char *name)
{
    struct trace *t = l->t;
    const struct keras_value *tensor = trace_value(t, value);
    const char *path = module_path(value);
    if (path)
        return module_attribute(l, path, name);
    if (tensor && word_index("shape _keras_shape", name) >= 0)
        return function_call(t, function_find("K", "int_shape"), TRACE_LIST(t, value), NULL);
    if (tensor && strcmp(name, "dtype") == 0)
        return trace_text(t, dtype_name(tensor->dtype));
    if (tensor && strcmp(name, "ndim") == 0)
        return function_call(t, function_find("K", "ndim"), TRACE_LIST(t, value), NULL);
    if (json_is_array(value) && word_index("ndims rank", name) >= 0)
        return trace_integer(t, (long long)json_array_size(value));
    if (word_index("get_shape as_list", name) >= 0 && (tensor || json_is_array(value)))
        return trace_object(t, "of", value, "method", trace_text(t, name), NULL);
    if (json_is_object(value) && json_object_get(value, "dim") && strcmp(name, "value") == 0)
        return trace_null(t);
    if (json_is_integer(value) && strcmp(name, "value") == 0) /* Dimension.value of TensorFlow 1 */
        return value;
    return trace_refuse(t, H5PT_UNSUPPORTED_LAYER, "it uses the attribute \"%.60s\" of a value", name);
}

/* ---- plain values ---- */

static const json_t *unwrap_vectors(struct lambda *l, const json_t *value)
{
    const json_t *vector = json_object_get(value, "vector");
    if (vector)
        return vector;
    if (module_path(value))
        return lambda_plain(l, value);
    if (!json_is_array(value))
        return value;
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(value) && !l->t->why.code; i++)
        (void)json_array_append(list, (json_t *)unwrap_vectors(l, json_array_get(value, i)));
    return trace_keep(l->t, list);
}

const json_t *lambda_plain(struct lambda *l, const json_t *value)
{
    struct trace *t = l->t;
    enum dtype dtype;
    const char *path = module_path(value), *last = path ? strrchr(path, '.') : NULL;
    if (!path)
        return unwrap_vectors(l, value);
    if (last && strcmp(last, ".pi") == 0)
        return trace_number(t, 3.14159265358979323846);
    if (last && strcmp(last, ".e") == 0)
        return trace_number(t, 2.71828182845904523536);
    if (last && strcmp(last, ".inf") == 0)
        return trace_number(t, INFINITY);
    if (last && strcmp(last, ".newaxis") == 0)
        return trace_null(t);
    if (last && dtype_from_name(last + 1, &dtype))
        return trace_text(t, last + 1);
    return trace_refuse(t, H5PT_UNSUPPORTED_LAYER, "it uses \"%.80s\" as a value", path);
}

static bool is_vector(const json_t *value)
{
    return json_object_get(value, "vector") != NULL;
}

/* ---- calls ---- */

static const struct {
    const char *prefix, *module;
} call_modules[] = {
    {"keras.backend.", "K"}, {"keras.ops.", "ops"}, {"keras.activations.", "activations"}, {"tf.", "tf"}, {"np.", "np"},
    {"math.", "math"},       {"py.", "py"},
};

static const json_t *call_function(struct lambda *l, const char *path, const json_t *args, const json_t *kwargs)
{
    struct trace *t = l->t;
    for (size_t i = 0; i < sizeof call_modules / sizeof *call_modules; i++) {
        size_t n = strlen(call_modules[i].prefix);
        const struct function *f = strncmp(path, call_modules[i].prefix, n) == 0
                                       ? function_find(call_modules[i].module, path + n)
                                       : NULL;
        if (!f)
            continue;
        json_t *plain = json_object(), *item;
        const char *key;
        json_object_foreach((json_t *)kwargs, key, item)
        {
            (void)json_object_set(plain, key, (json_t *)lambda_plain(l, item));
        }
        const json_t *keywords = trace_keep(t, plain), *positional = unwrap_vectors(l, args);
        const json_t *result = t->why.code ? NULL : function_call(t, f, positional, keywords);
        bool tensors = i != 4 && i != 6 && word_index(f->names, "int_shape") < 0;
        return result && tensors && json_is_array(result) && !trace_has_tensor(result)
                   ? trace_object(t, "vector", result, NULL)
                   : result;
    }
    return trace_refuse(t, H5PT_UNSUPPORTED_LAYER, "it calls %.80s, which is not supported", path);
}

const json_t *lambda_call(struct lambda *l, const json_t *callable, const json_t *args, const json_t *kwargs)
{
    struct trace *t = l->t;
    const char *path = module_path(callable), *method = json_string_value(json_object_get(callable, "method"));
    const json_t *index = json_object_get(callable, "lambda"), *of = json_object_get(callable, "of");
    if (path)
        return call_function(l, path, args, kwargs);
    if (index)
        return lambda_call_code(l, l->functions[json_integer_value(index)], args, kwargs,
                                json_object_get(callable, "defaults"), json_object_get(callable, "closure"));
    if (method && json_array_size(args) == 0 && json_object_size(kwargs) == 0) {
        if (strcmp(method, "as_list") == 0)
            return of;
        return function_call(t, function_find("K", "int_shape"), TRACE_LIST(t, of), NULL);
    }
    return trace_refuse(t, H5PT_UNSUPPORTED_LAYER, "it calls something that is no known function");
}

/* ---- operators ---- */

static const json_t *add_lists(struct lambda *l, const json_t *x, const json_t *y)
{
    json_t *list = json_array();
    if (json_array_size(x) + json_array_size(y) > TRACE_MAX_ITEMS) {
        json_decref(list);
        return trace_refuse(l->t, H5PT_LIMIT_EXCEEDED, "it makes a list that is too long");
    }
    (void)json_array_extend(list, (json_t *)x);
    (void)json_array_extend(list, (json_t *)y);
    return trace_keep(l->t, list);
}

/* [1] * 3 */
static const json_t *repeat_list(struct lambda *l, const json_t *list, const json_t *count)
{
    json_int_t n = json_is_integer(count) ? json_integer_value(count) : -1;
    if (n < 0 || n > 64 || json_array_size(list) > 64)
        return trace_refuse(l->t, H5PT_UNSUPPORTED_LAYER, "it multiplies a list");
    json_t *all = json_array();
    for (json_int_t i = 0; i < n; i++)
        (void)json_array_extend(all, (json_t *)list);
    return trace_keep(l->t, all);
}

const json_t *lambda_operate(struct lambda *l, const char *class_name, const json_t *x, const json_t *y)
{
    struct trace *t = l->t;
    bool vector = is_vector(x) || (y && is_vector(y));
    bool list_x = json_is_array(x), list_y = json_is_array(y);
    x = lambda_plain(l, x);
    y = y ? lambda_plain(l, y) : NULL;
    if (t->why.code)
        return NULL;
    bool tensor = trace_has_tensor(x) || (y && trace_has_tensor(y));
    if (!vector && list_x && list_y && strcmp(class_name, "Add") == 0)
        return add_lists(l, x, y);
    if (!vector && (list_x || list_y) && !tensor && strcmp(class_name, "Multiply") == 0)
        return list_x ? repeat_list(l, x, y) : repeat_list(l, y, x);
    if (!vector && ((list_x && !trace_value(t, y)) || (list_y && !trace_value(t, x))))
        return trace_refuse(t, H5PT_UNSUPPORTED_LAYER, "it calculates with lists");
    if ((list_x && trace_has_tensor(x)) || (list_y && trace_has_tensor(y)))
        return trace_refuse(t, H5PT_UNSUPPORTED_LAYER, "it calculates with a list of tensors");
    if (!tensor && y && (json_is_null(x) || json_is_null(y)) && word_index("Equal NotEqual", class_name) >= 0)
        return trace_truth(t, (json_is_null(x) && json_is_null(y)) == (strcmp(class_name, "Equal") == 0));
    const json_t *result = y ? trace_operation(t, class_name, NULL, TRACE_LIST(t, x, y))
                             : trace_operation(t, class_name, NULL, TRACE_LIST(t, x));
    return result && vector && json_is_array(result) ? trace_object(t, "vector", result, NULL) : result;
}

const json_t *lambda_getitem(struct lambda *l, const json_t *value, const json_t *key)
{
    struct trace *t = l->t;
    const json_t *vector = json_object_get(value, "vector");
    key = lambda_plain(l, key);
    if (!key)
        return NULL;
    if (json_is_object(value) && json_is_string(key) && !trace_value(t, value)) {
        const json_t *item = json_object_get(value, json_string_value(key));
        return item ? item : trace_refuse(t, H5PT_UNSUPPORTED_LAYER, "it looks up a key that is not there");
    }
    if (vector || json_is_array(value)) {
        const json_t *part = json_is_array(key) && json_array_size(key) != 1
                                 ? NULL
                                 : fold_getitem(t, vector ? vector : value, key);
        if (part && vector && json_is_array(part))
            return trace_object(t, "vector", part, NULL);
        return part ? part
                    : trace_refuse(t, H5PT_UNSUPPORTED_LAYER, "it indexes a list in a way that is not supported");
    }
    if (!trace_value(t, value))
        return trace_refuse(t, H5PT_UNSUPPORTED_LAYER, "it indexes something that is no tensor and no list");
    return function_call(t, function_find("tf", "__operators__.getitem"), TRACE_LIST(t, value, key), NULL);
}

int lambda_truth(struct lambda *l, const json_t *value)
{
    value = lambda_plain(l, value);
    if (value && !trace_has_tensor(value) && !trace_has_dim(value)) {
        if (json_is_boolean(value) || json_is_null(value))
            return json_is_true(value);
        if (json_is_number(value))
            return json_number_value(value) != 0;
        if (json_is_array(value))
            return json_array_size(value) != 0;
        if (json_is_string(value))
            return json_string_length(value) != 0;
    }
    (void)trace_refuse(l->t, H5PT_UNSUPPORTED_LAYER, "it branches on what only the input tells");
    return -1;
}
