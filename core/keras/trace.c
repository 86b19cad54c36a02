/* SPDX-License-Identifier: Apache-2.0 */
#include "keras/trace.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "base/json.h"
#include "base/words.h"
#include "keras/functions.h"
#include "layers/layer.h"

void trace_begin(struct trace *t, struct builder *b, const struct keras_layer *origin, int call_number)
{
    *t = (struct trace){.b = b, .origin = origin, .call_number = call_number};
}

/* ---- values ---- */

const json_t *trace_keep(struct trace *t, json_t *fresh)
{
    if (!fresh || json_array_append_new(t->b->keep, fresh) < 0) {
        h5pt_fail_memory(&t->why);
        return NULL;
    }
    return fresh;
}

const json_t *trace_refuse(struct trace *t, enum h5pt_code code, const char *format, ...)
{
    struct h5pt_error reason = {.code = code};
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason.message, sizeof reason.message, format, args);
    va_end(args);
    if (!t->why.code)
        t->why = reason;
    return NULL;
}

const json_t *trace_integer(struct trace *t, long long value)
{
    return trace_keep(t, json_integer(value));
}

const json_t *trace_number(struct trace *t, double value)
{
    if (isfinite(value))
        return trace_keep(t, json_real(value));
    return trace_text(t, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
}

const json_t *trace_truth(struct trace *t, bool value)
{
    return trace_keep(t, json_boolean(value));
}

const json_t *trace_null(struct trace *t)
{
    return trace_keep(t, json_null());
}

const json_t *trace_text(struct trace *t, const char *text)
{
    return trace_keep(t, json_string(text));
}

const json_t *trace_list(struct trace *t, const json_t *const *items, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        if (!items[i] || json_array_append(list, (json_t *)items[i]) < 0) {
            json_decref(list);
            if (!t->why.code)
                h5pt_fail_memory(&t->why);
            return NULL;
        }
    return trace_keep(t, list);
}

const json_t *trace_object(struct trace *t, ...)
{
    json_t *object = json_object();
    bool ok = object != NULL;
    va_list args;
    va_start(args, t);
    for (const char *key; (key = va_arg(args, const char *));) {
        const json_t *value = va_arg(args, const json_t *);
        ok = ok && value && json_object_set(object, key, (json_t *)value) == 0;
    }
    va_end(args);
    if (!ok) {
        json_decref(object);
        h5pt_fail_memory(&t->why);
        return NULL;
    }
    return trace_keep(t, object);
}

const json_t *trace_slice(struct trace *t, const json_t *start, const json_t *stop, const json_t *step)
{
    const json_t *config = trace_object(t, "start", start, "stop", stop, "step", step, NULL);
    return config ? trace_object(t, "class_name", trace_text(t, "__slice__"), "config", config, NULL) : NULL;
}

static bool is_class(const json_t *value, const char *name)
{
    const char *text = json_string_value(json_object_get(value, "class_name"));
    return text && strcmp(text, name) == 0;
}

bool trace_is_slice(const json_t *value)
{
    return is_class(value, "__slice__");
}

bool trace_is_ellipsis(const json_t *value)
{
    return is_class(value, "__ellipsis__");
}

bool trace_is_dim(const json_t *value)
{
    return json_object_get(value, "dim") != NULL;
}

bool trace_is_float(const json_t *value)
{
    double number;
    return json_is_real(value) || (json_is_string(value) && json_read_double(value, &number));
}

static bool holds(const json_t *value, const char *key)
{
    if (json_object_get(value, key))
        return true;
    const char *name;
    json_t *item;
    json_object_foreach((json_t *)value, name, item)
    {
        if (holds(item, key))
            return true;
    }
    for (size_t i = 0; i < json_array_size(value); i++)
        if (holds(json_array_get(value, i), key))
            return true;
    return false;
}

bool trace_has_tensor(const json_t *value)
{
    return holds(value, "tensor");
}

bool trace_has_dim(const json_t *value)
{
    return holds(value, "dim");
}

const json_t *trace_tensor(struct trace *t, struct keras_value *value)
{
    if (value->known)
        return value->known;
    for (int i = 0; i < t->tensor_count; i++)
        if (t->tensors[i] == value)
            return trace_keep(t, json_pack("{s:i}", "tensor", i));
    if (t->tensor_count == t->tensor_capacity) {
        int capacity = t->tensor_capacity ? t->tensor_capacity * 2 : 8;
        struct keras_value **tensors = ARENA_ARRAY(t->b->arena, struct keras_value *, (size_t)capacity);
        if (!tensors) {
            h5pt_fail_memory(&t->why);
            return NULL;
        }
        if (t->tensor_count)
            memcpy(tensors, t->tensors, (size_t)t->tensor_count * sizeof *tensors);
        t->tensors = tensors;
        t->tensor_capacity = capacity;
    }
    t->tensors[t->tensor_count] = value;
    return trace_keep(t, json_pack("{s:i}", "tensor", t->tensor_count++));
}

struct keras_value *trace_value(const struct trace *t, const json_t *value)
{
    int index = layer_argument_tensor(value);
    return index >= 0 && index < t->tensor_count ? t->tensors[index] : NULL;
}

/* ---- shapes ---- */

static const json_t *shape_of_constant(struct trace *t, const json_t *value)
{
    const json_t *dims[SHAPE_MAX_RANK];
    size_t rank = 0;
    for (value = json_unwrap(value); json_is_array(value); value = json_array_get(value, 0)) {
        if (rank == SHAPE_MAX_RANK)
            return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "A constant has more than %d dimensions",
                                SHAPE_MAX_RANK);
        if (!(dims[rank++] = trace_integer(t, (long long)json_array_size(value))))
            return NULL;
    }
    return trace_list(t, dims, rank);
}

const json_t *trace_dim_tensor(struct trace *t, const json_t *dim)
{
    const struct keras_model *model = t->b->model;
    long long id;
    if (!json_read_int(json_object_get(dim, "of"), &id))
        return NULL;
    for (int i = 0; i < model->call_count; i++)
        for (int k = 0; k < model->calls[i]->output_count; k++)
            if (model->calls[i]->outputs[k]->id == id)
                return trace_tensor(t, model->calls[i]->outputs[k]);
    return NULL;
}

const json_t *trace_shape(struct trace *t, const json_t *value)
{
    const struct keras_value *tensor = trace_value(t, value);
    if (!tensor)
        return shape_of_constant(t, value);
    if (tensor->bad)
        return trace_refuse(t, H5PT_SHAPE_UNKNOWN,
                            "The shape of a tensor is needed that another refusal leaves unknown");
    const json_t *dims[SHAPE_MAX_RANK];
    for (int i = 0; i < tensor->shape.rank; i++) {
        int64_t dim = tensor->shape.dims[i];
        dims[i] = dim != DIM_UNKNOWN
                      ? trace_integer(t, dim)
                      : trace_keep(t, json_pack("{s:i, s:i, s:i}", "dim", i, "of", tensor->id, "times", 1));
        if (!dims[i])
            return NULL;
    }
    return trace_list(t, dims, (size_t)tensor->shape.rank);
}

int trace_rank(const struct trace *t, const json_t *value)
{
    const struct keras_value *tensor = trace_value(t, value);
    if (tensor)
        return tensor->bad ? -1 : tensor->shape.rank;
    int rank = 0;
    for (value = json_unwrap(value); json_is_array(value) && rank < SHAPE_MAX_RANK; value = json_array_get(value, 0))
        rank++;
    return rank;
}

int trace_axis(struct trace *t, const json_t *axis, int rank)
{
    long long n;
    if (json_is_array(axis) && json_array_size(axis) == 1)
        axis = json_array_get(axis, 0);
    if (rank >= 0 && json_read_int(axis, &n) && n >= -rank && n < rank)
        return (int)(n < 0 ? n + rank : n);
    (void)trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "An axis is not one of the tensor's %d", rank);
    return -1;
}

/* ---- operations ---- */

/* "GetItem" → "get_item", "RGBToHSV" → "rgb_to_hsv": the name that Keras gives to the layer. */
static void snake_case(const char *class_name, char *to, size_t size)
{
    size_t n = 0;
    for (const char *p = class_name; *p && n + 2 < size; p++) {
        bool upper = isupper((unsigned char)*p) != 0;
        bool starts = p != class_name && upper && (!isupper((unsigned char)p[-1]) || islower((unsigned char)p[1]));
        if (starts)
            to[n++] = '_';
        to[n++] = (char)tolower((unsigned char)*p);
    }
    to[n] = 0;
}

static bool path_taken(const struct trace *t, const char *path)
{
    for (int i = 0; i < t->operation_count; i++)
        if (strcmp(t->operations[i]->path, path) == 0)
            return true;
    return false;
}

/* "lambda/multiply", "lambda/multiply_1"; "lambda/2/multiply" for the second call of a shared layer. */
static const char *operation_path(const struct trace *t, const char *class_name)
{
    char name[64];
    snake_case(class_name, name, sizeof name);
    const char *stem = t->call_number > 1 ? arena_printf(t->b->arena, "%s/%d/%s", t->origin->path, t->call_number, name)
                                          : arena_printf(t->b->arena, "%s/%s", t->origin->path, name);
    const char *path = stem;
    for (int i = 1; path && path_taken(t, path); i++)
        path = arena_printf(t->b->arena, "%s_%d", stem, i);
    return path;
}

static struct keras_layer *operation_layer(struct trace *t, const char *class_name, const json_t *config)
{
    struct keras_layer *layer = ARENA_NEW(t->b->arena, struct keras_layer);
    const char *path = operation_path(t, class_name), *name = arena_strdup(t->b->arena, class_name);
    if (!t->operations)
        t->operations = ARENA_ARRAY(t->b->arena, struct keras_layer *, TRACE_MAX_OPERATIONS);
    if (!layer || !path || !name || !t->operations) {
        h5pt_fail_memory(&t->why);
        return NULL;
    }
    *layer = (struct keras_layer){
        .class_name = name, .name = path, .path = path, .json = config, .scope = "", .operation = true};
    t->operations[t->operation_count++] = layer;
    return layer;
}

/* The value with its tensors counted anew: those of the trace become inputs of the call. A new reference. */
static json_t *call_form(const struct trace *t, const json_t *value, struct keras_value **inputs, int *count)
{
    struct keras_value *tensor = trace_value(t, value);
    if (tensor) {
        inputs[*count] = tensor;
        return json_pack("{s:i}", "tensor", (*count)++);
    }
    if (!json_is_array(value))
        return json_incref((json_t *)value);
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(value); i++)
        (void)json_array_append_new(list, call_form(t, json_array_get(value, i), inputs, count));
    return list;
}

static int count_tensors(const json_t *value)
{
    int n = layer_argument_tensor(value) >= 0;
    for (size_t i = 0; i < json_array_size(value); i++)
        n += count_tensors(json_array_get(value, i));
    return n;
}

static const json_t *results(struct trace *t, const struct keras_call *call)
{
    static const char several[] = "Split ArraySplit Unstack Moments TopK Slogdet Eigh";
    if (call->output_count == 1 && word_index(several, call->layer->class_name) < 0)
        return trace_tensor(t, call->outputs[0]);
    json_t *list = json_array();
    for (int i = 0; i < call->output_count; i++)
        (void)json_array_append(list, (json_t *)trace_tensor(t, call->outputs[i]));
    return trace_keep(t, list);
}

const json_t *trace_operation(struct trace *t, const char *class_name, const json_t *config, const json_t *args)
{
    if (!config)
        config = trace_object(t, NULL);
    if (t->why.code || !args)
        return NULL;
    const struct function *composed = trace_has_tensor(args) ? function_find("composed", class_name) : NULL;
    if (composed)
        return function_call_operation(t, composed, config, trace_object(t, "args", args, NULL));
    if (!trace_has_tensor(args)) {
        const json_t *constant = fold_operation(t, class_name, config, args);
        return constant
                   ? constant
                   : trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "%s of constants is not computed here", class_name);
    }
    if (trace_has_dim(args) || trace_has_dim(config) || trace_has_tensor(config))
        return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "%s depends on a size that only the input tells",
                            class_name);
    if (t->operation_count == TRACE_MAX_OPERATIONS)
        return trace_refuse(t, H5PT_LIMIT_EXCEEDED, "The layer has more than %d operations", TRACE_MAX_OPERATIONS);
    struct keras_layer *layer = operation_layer(t, class_name, config);
    int count = 0;
    struct keras_value **inputs = ARENA_ARRAY(t->b->arena, struct keras_value *, (size_t)count_tensors(args) + 1);
    if (!layer || !inputs) {
        h5pt_fail_memory(&t->why);
        return NULL;
    }
    const json_t *arguments = trace_keep(
        t, json_pack("{s:o, s:{}}", "args", call_form(t, args, inputs, &count), "kwargs"));
    struct keras_call *call = arguments ? build_call(t->b, layer, inputs, count, arguments) : NULL;
    if (!call) {
        h5pt_fail_memory(&t->why);
        return NULL;
    }
    return results(t, call);
}
