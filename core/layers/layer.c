/* SPDX-License-Identifier: Apache-2.0 */
#include "layers/layer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/words.h"
#include "layers/activation.h"
#include "layers/variants.h"

/* Each reading of a table takes the rows that it needs; the others are nothing to it. */
#define FAMILY(id, title)
#define LIMIT(classes, text)
#define LAYER(name, aliases, versions, torch, flags, handler, variant)                                                 \
    extern const struct layer_handler handler##_handler;
#include "layers/layers.def"
#undef LAYER
#define OPERATION(name, torch, flags, handler, variant) extern const struct layer_handler handler##_handler;
#define FUNCTION_OF(name, torch, scalar, flags, handler, variant) OPERATION(name, NULL, flags, handler, variant)
#include "layers/operations.def"
#undef OPERATION
#undef FUNCTION_OF

/* The flags of a row, without their prefix. */
enum {
    SPATIAL = LAYER_SPATIAL,
    POINTWISE = LAYER_POINTWISE,
    KEEPS_MASK = LAYER_KEEPS_MASK,
    HONOURS_MASK = LAYER_HONOURS_MASK,
    ANY_DTYPE = LAYER_ANY_DTYPE,
    MERGE = LAYER_MERGE,
    TAKES_MASK = LAYER_TAKES_MASK,
    ARGUMENTS = LAYER_ARGUMENTS,
    NO_AUTOCAST = LAYER_NO_AUTOCAST,
    PREPROCESSING = LAYER_PREPROCESSING,
    OWN_DTYPE = LAYER_OWN_DTYPE,
};

#undef LIMIT
#define LIMIT(classes, text) {classes, text},
#define LAYER(name, aliases, versions, torch, flags, handler, variant)
static const struct layer_limit layer_limits[] = {
#include "layers/layers.def"
    {NULL, NULL}};
#undef LAYER
#define OPERATION(name, torch, flags, handler, variant)
#define FUNCTION_OF(name, torch, scalar, flags, handler, variant)
static const struct layer_limit operation_limits[] = {
#include "layers/operations.def"
    {NULL, NULL}};
#undef OPERATION
#undef FUNCTION_OF
#undef LIMIT

#define LIMIT(classes, text)
#define NO_FUNCTIONS                                                                                                   \
    {                                                                                                                  \
        TORCH_NONE, TORCH_NONE                                                                                         \
    }
#define LAYER(name, aliases, versions, torch, flags, handler, variant)                                                 \
    {#name, aliases, versions, torch, NO_FUNCTIONS, flags, variant, &handler##_handler, layer_limits},
static const struct layer_class classes[] = {
#include "layers/layers.def"
};
#undef LAYER

enum { OPERATION_FLAGS = MERGE | ARGUMENTS | ANY_DTYPE };

#define ROW(name, torch, functions, flags, handler, variant)                                                           \
    {#name, "", "3", torch, functions, OPERATION_FLAGS | (flags), variant, &handler##_handler, operation_limits},
#define PAIR(torch, scalar)                                                                                            \
    {                                                                                                                  \
        TORCH_##torch, TORCH_##scalar                                                                                  \
    }
#define OPERATION(name, torch, flags, handler, variant) ROW(name, torch, NO_FUNCTIONS, flags, handler, variant)
#define FUNCTION_OF(name, torch, scalar, flags, handler, variant)                                                      \
    ROW(name, NULL, PAIR(torch, scalar), flags, handler, variant)
static const struct layer_class operations[] = {
#include "layers/operations.def"
};
#undef OPERATION
#undef FUNCTION_OF
#undef FAMILY

/* FAMILY_x is the index of the first class of the family: the enumerator after it starts there again. */
#define LAYER(name, aliases, versions, torch, flags, handler, variant) LAYER_INDEX_##name,
#define FAMILY(id, title) FAMILY_##id, BEFORE_FAMILY_##id = FAMILY_##id - 1,
enum {
#include "layers/layers.def"
};
#undef FAMILY
#undef LAYER

#define FAMILY(id, title) {FAMILY_##id, title},
#define LAYER(name, aliases, versions, torch, flags, handler, variant)
static const struct {
    size_t first;
    const char *title;
} families[] = {
#include "layers/layers.def"
};
#undef LAYER
#undef FAMILY
#undef LIMIT

const struct layer_class *layer_operation_find(const char *name)
{
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if (strcmp(operations[i].name, name) == 0)
            return &operations[i];
    return NULL;
}

const struct layer_class *layer_operation_at(size_t index)
{
    return index < sizeof operations / sizeof *operations ? &operations[index] : NULL;
}

const json_t *layer_argument(const json_t *arguments, int position, const char *name)
{
    const json_t *value = NULL;
    if (position >= 0)
        value = json_array_get(json_object_get(arguments, "args"), (size_t)position);
    if (!value && name)
        value = json_object_get(json_object_get(arguments, "kwargs"), name);
    return json_is_null(value) ? NULL : value;
}

int layer_argument_tensor(const json_t *argument)
{
    const json_t *index = json_object_get(argument, "tensor");
    return json_is_integer(index) ? (int)json_integer_value(index) : -1;
}

int layer_tensor_count(int input_count, const int *mask_of)
{
    int count = input_count;
    for (int i = 0; mask_of && i < input_count; i++)
        if (mask_of[i] >= 0 && mask_of[i] < count)
            count = mask_of[i];
    return count;
}

int layer_check_arguments(struct layer_shape *s, int positions, const char *names)
{
    const json_t *args = json_object_get(s->arguments, "args"), *kwargs = json_object_get(s->arguments, "kwargs");
    for (size_t i = (size_t)positions; i < json_array_size(args); i++)
        if (!json_is_null(json_array_get(args, i)))
            return h5pt_fail(s->err, H5PT_UNSUPPORTED_CALL_ARGUMENT, "args", "%s is called with more than %d arguments",
                             s->layer->class_name, positions);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)kwargs, key, value)
    {
        bool training = strcmp(key, "training") == 0 && json_is_false(value);
        if (!json_is_null(value) && !training && word_index(names, key) < 0)
            return h5pt_fail(s->err, H5PT_UNSUPPORTED_CALL_ARGUMENT, key,
                             "%s is called with the argument \"%.60s\", which is not supported", s->layer->class_name,
                             key);
    }
    return 0;
}

int layer_mask_argument(const json_t *arguments, const int *mask_of)
{
    int given = layer_argument_tensor(layer_argument(arguments, 1, "mask"));
    return given >= 0 ? given : layer_mask(mask_of, 0);
}

int layer_argument_flag(struct layer_shape *s, const char *name, bool *ret)
{
    const json_t *value = layer_argument(s->arguments, -1, name);
    if (value && !json_is_boolean(value))
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_CALL_ARGUMENT, name,
                         "%s is called with a \"%.60s\" that is not true or false", s->layer->class_name, name);
    *ret = json_is_true(value);
    return 0;
}

const struct layer_class *layer_class_at(size_t index)
{
    return index < sizeof classes / sizeof *classes ? &classes[index] : NULL;
}

const char *layer_family_at(size_t index)
{
    const char *title = "";
    for (size_t i = 0; i < sizeof families / sizeof *families && families[i].first <= index; i++)
        title = families[i].title;
    return title;
}

const char *layer_limit_at(const struct layer_class *class, size_t index)
{
    for (const struct layer_limit *limit = class->limits; limit->classes; limit++)
        if (word_index(limit->classes, class->name) >= 0 && index-- == 0)
            return limit->text;
    return NULL;
}

const struct layer_class *layer_class_find(const char *name)
{
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strcmp(classes[i].name, name) == 0 || word_index(classes[i].aliases, name) >= 0)
            return &classes[i];
    return NULL;
}

void layer_weight(struct layer_shape *s, const char *slot, int rank, const int64_t *dims)
{
    if (s->weight_count == LAYER_MAX_WEIGHTS) {
        h5pt_fail(s->err, H5PT_INTERNAL, s->layer->path, "The layer declares too many weights");
        return;
    }
    s->weights[s->weight_count].slot = slot;
    s->weights[s->weight_count++].shape = shape_of(rank, dims);
}

int layer_shape_fail(struct layer_shape *s, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return h5pt_fail(s->err, H5PT_SHAPE_MISMATCH, NULL, "%s", text);
}

int layer_known_dim(struct layer_shape *s, int axis, int64_t *ret)
{
    const struct shape *in = &s->inputs[0];
    if (axis < 0 || axis >= in->rank)
        return layer_shape_fail(s, "The input has %d dimensions, axis %d is needed", in->rank, axis);
    if (in->dims[axis] < 0)
        return h5pt_fail(s->err, H5PT_SHAPE_UNKNOWN, NULL, "The size of axis %d of the input is not known", axis);
    *ret = in->dims[axis];
    return 0;
}
