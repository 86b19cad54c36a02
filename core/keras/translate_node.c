/* SPDX-License-Identifier: Apache-2.0 */
/* TensorFlowOpLayer: a node of TensorFlow's graph, as JSON or serialised, with constants for some of its inputs. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "keras/functions.h"
#include "keras/translate.h"

/* "DT_FLOAT" → "float32" */
static const char *type_name(const char *type)
{
    static const struct {
        const char *tensorflow, *name;
    } types[] = {
        {"DT_FLOAT", "float32"}, {"DT_DOUBLE", "float64"}, {"DT_HALF", "float16"}, {"DT_BFLOAT16", "bfloat16"},
        {"DT_INT64", "int64"},   {"DT_INT32", "int32"},    {"DT_INT16", "int16"},  {"DT_INT8", "int8"},
        {"DT_UINT8", "uint8"},   {"DT_BOOL", "bool"},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].tensorflow, type) == 0)
            return types[i].name;
    return type;
}

/* A whole number of protobuf's JSON, which writes 64 bits as text. */
static const json_t *whole_number(struct trace *t, const json_t *value)
{
    const char *text = json_string_value(value);
    char *end;
    if (!text)
        return value;
    long long n = strtoll(text, &end, 10);
    return *text && !*end ? trace_integer(t, n)
                          : trace_refuse(t, H5PT_CONFIG_MALFORMED, "An attribute is no whole number");
}

static const json_t *bytes(struct trace *t, const json_t *value)
{
    size_t length;
    const char *text = json_string_value(value);
    unsigned char *decoded = text ? base64_decode(text, json_string_length(value), &length) : NULL;
    if (!decoded)
        return trace_refuse(t, H5PT_CONFIG_MALFORMED, "An attribute is no base64");
    json_t *fresh = json_stringn((const char *)decoded, length);
    free(decoded);
    return fresh ? trace_keep(t, fresh) : trace_refuse(t, H5PT_CONFIG_MALFORMED, "An attribute is no text");
}

static const json_t *attribute(struct trace *t, const json_t *attr)
{
    const json_t *value, *list = json_object_get(attr, "list");
    if ((value = json_object_get(attr, "b")) || (value = json_object_get(attr, "f")) ||
        (value = json_object_get(attr, "text")))
        return value;
    if ((value = json_object_get(attr, "i")))
        return whole_number(t, value);
    if ((value = json_object_get(attr, "s")))
        return bytes(t, value);
    if ((value = json_object_get(attr, "type")) && json_is_string(value))
        return trace_text(t, type_name(json_string_value(value)));
    json_t *items = json_array();
    const json_t *numbers = json_object_get(list, "i");
    for (size_t i = 0; i < json_array_size(numbers); i++)
        (void)json_array_append(items, (json_t *)whole_number(t, json_array_get(numbers, i)));
    return trace_keep(t, items);
}

/* All attributes but those that only name types of inputs. An absent "i", "b" or "f" means zero. */
static const json_t *attributes(struct trace *t, const json_t *node)
{
    json_t *kwargs = json_object(), *attr;
    const char *key;
    json_object_foreach(json_object_get(node, "attr"), key, attr)
    {
        if (strcmp(key, "T") == 0 || key[0] == '_')
            continue;
        (void)json_object_set(kwargs, key, (json_t *)attribute(t, attr));
    }
    return trace_keep(t, kwargs);
}

/* The inputs of the node: constants where the layer has them, the tensors in the other places. */
static const json_t *node_inputs(struct trace *t, const json_t *node, const json_t *tensors)
{
    const json_t *constants = json_object_get(t->origin->json, "constants"), *names = json_object_get(node, "input");
    size_t given = json_array_size(tensors), next = 0, count = 0;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        count += name && name[0] != '^';
    }
    if (count != given + json_object_size(constants))
        return trace_refuse(t, H5PT_GRAPH_INVALID,
                            "The node has %zu inputs, but %zu tensors and %zu constants are there", count, given,
                            json_object_size(constants));
    json_t *args = json_array();
    for (size_t i = 0; i < count; i++) {
        char key[24];
        (void)snprintf(key, sizeof key, "%zu", i);
        json_t *constant = json_object_get(constants, key);
        json_t *tensor = json_array_get(tensors, next);
        next += constant == NULL;
        if (json_array_append(args, constant ? constant : tensor) < 0) {
            json_decref(args);
            return trace_refuse(t, H5PT_GRAPH_INVALID, "The inputs of the node do not fit its constants");
        }
    }
    return trace_keep(t, args);
}

const json_t *translate_tf_node(struct trace *t, const json_t *tensors)
{
    const json_t *node = json_object_get(t->origin->json, "node_def");
    if (json_is_string(node)) {
        json_t *parsed = node_def_parse(json_string_value(node), json_string_length(node));
        if (!parsed)
            return trace_refuse(t, H5PT_CONFIG_MALFORMED, "The node_def of the layer is damaged");
        node = trace_keep(t, parsed);
    }
    const char *op = json_string_value(json_object_get(node, "op"));
    const struct function *f = op ? function_find("raw", op) : NULL;
    if (!f)
        return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "The TensorFlow operation %.80s is not supported",
                            op ? op : "?");
    const json_t *args = node_inputs(t, node, tensors), *kwargs = args ? attributes(t, node) : NULL;
    return kwargs && !t->why.code ? function_call(t, f, args, kwargs) : NULL;
}
