/* SPDX-License-Identifier: Apache-2.0 */
#include "layers/layer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/words.h"
#include "layers/activation.h"
#include "layers/variants.h"

#define LAYER(name, aliases, versions, flags, handler, variant) extern const struct layer_handler handler##_handler;
#include "layers/layers.def"
#undef LAYER
#define OPERATION(name, flags, handler, variant) extern const struct layer_handler handler##_handler;
#include "layers/operations.def"
#undef OPERATION

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

static const struct layer_class classes[] = {
#define LAYER(name, aliases, versions, flags, handler, variant)                                                        \
    {#name, aliases, versions, flags, variant, &handler##_handler},
#include "layers/layers.def"
#undef LAYER
};

static const struct layer_class operations[] = {
#define OPERATION(name, flags, handler, variant)                                                                       \
    {#name, "", "3", MERGE | ARGUMENTS | ANY_DTYPE | (flags), variant, &handler##_handler},
#include "layers/operations.def"
#undef OPERATION
};

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
