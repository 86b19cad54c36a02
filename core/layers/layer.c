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
