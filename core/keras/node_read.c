/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes as they stand in the file, in the form of Keras 3 or the older one → references and arguments in one form. */
#include <string.h>

#include "keras/node.h"
#include "keras/translate.h"
#include "layers/layer.h"

struct ref_collector {
    struct builder *b;
    struct node *node;
};

static int collect_ref(void *context, const struct network_ref *ref)
{
    struct ref_collector *c = context;
    struct node *node = c->node;
    if (build_step(c->b, 1) < 0)
        return -1;
    if (node->ref_count == node->ref_capacity) {
        int capacity = node->ref_capacity ? node->ref_capacity * 2 : 4;
        struct network_ref *refs = ARENA_ARRAY(c->b->arena, struct network_ref, (size_t)capacity);
        if (!refs)
            return h5pt_fail_memory(c->b->err);
        if (node->ref_count)
            memcpy(refs, node->refs, (size_t)node->ref_count * sizeof *refs);
        node->refs = refs;
        node->ref_capacity = capacity;
    }
    node->refs[node->ref_count++] = *ref;
    return 0;
}

static void refuse_argument(struct builder *b, const struct network_layer *entry, const char *key)
{
    findings_add(b->refusals, H5PT_UNSUPPORTED_CALL_ARGUMENT, network_path(entry), key,
                 "%s is called with the argument \"%.60s\", which is not supported", entry->class_name, key);
}

static bool nothing(const json_t *value)
{
    if (!value || json_is_null(value))
        return true;
    if (!json_is_array(value))
        return false;
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!nothing(json_array_get(value, i)))
            return false;
    return true;
}

enum { MAX_ARGUMENT_NESTING = 32 };

/* A constant that stands where a tensor could: ["_CONSTANT_VALUE", -1, value, keywords]. */
static const json_t *constant_of(const json_t *value)
{
    const char *tag = json_string_value(json_array_get(value, 0));
    return tag && strcmp(tag, "_CONSTANT_VALUE") == 0 ? json_array_get(value, 2) : NULL;
}

static json_t *normal_form(struct ref_collector *c, const json_t *value, int depth);

static json_t *normal_list(struct ref_collector *c, const json_t *value, int depth)
{
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(value); i++)
        if (json_array_append_new(list, normal_form(c, json_array_get(value, i), depth + 1)) < 0)
            h5pt_fail_memory(c->b->err);
    return list;
}

/* The value with every reference collected and replaced by {"tensor": its index}; a new reference. */
static json_t *normal_form(struct ref_collector *c, const json_t *value, int depth)
{
    struct network_ref ref;
    if (depth > MAX_ARGUMENT_NESTING) {
        h5pt_fail(c->b->err, H5PT_LIMIT_EXCEEDED, network_path(c->node->entry),
                  "The arguments of a call are nested too deep");
        return json_null();
    }
    if (network_is_ref(value, &ref)) {
        int index = c->node->ref_count;
        return collect_ref(c, &ref) < 0 ? json_null() : json_pack("{s:i}", "tensor", index);
    }
    if (constant_of(value))
        return normal_form(c, constant_of(value), depth + 1);
    if (json_is_array(value))
        return normal_list(c, value, depth);
    if (!json_is_object(value))
        return json_deep_copy(value);
    json_t *object = json_object();
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item)
    {
        if (json_object_set_new(object, key, normal_form(c, item, depth + 1)) < 0)
            h5pt_fail_memory(c->b->err);
    }
    return object;
}

/* The keyword arguments of the older form: the fourth item of the first reference or constant. */
static const json_t *legacy_keywords(const json_t *node, int depth)
{
    struct network_ref ref;
    if (network_is_ref(node, &ref) || constant_of(node))
        return json_array_get(node, 3);
    if (depth > 8)
        return NULL;
    if (json_is_array(node))
        return legacy_keywords(json_array_get(node, 0), depth + 1);
    void *first = json_object_iter((json_t *)node);
    return first ? legacy_keywords(json_object_iter_value(first), depth + 1) : NULL;
}

/* A node in the older form: one reference, or a list (of one: the argument; of several: an argument that is a list). */
static json_t *legacy_arguments(struct ref_collector *c, const json_t *json)
{
    struct network_ref ref;
    bool alone = json_array_size(json) == 1 && !network_is_ref(json, &ref);
    json_t *first = normal_form(c, alone ? json_array_get(json, 0) : json, 0);
    const json_t *keywords = legacy_keywords(json, 0);
    json_t *kwargs = json_is_object(keywords) ? normal_form(c, keywords, 0) : json_object();
    return json_pack("{s:[o], s:o}", "args", first, "kwargs", kwargs);
}

static json_t *keras3_arguments(struct ref_collector *c, const json_t *json)
{
    json_t *args = normal_form(c, json_object_get(json, "args"), 0);
    const json_t *keywords = json_object_get(json, "kwargs");
    return json_pack("{s:o, s:o}", "args", args, "kwargs",
                     json_is_object(keywords) ? normal_form(c, keywords, 0) : json_object());
}

static bool is_only_tensors(const json_t *value)
{
    if (layer_argument_tensor(value) >= 0)
        return true;
    size_t n = json_array_size(value);
    for (size_t i = 0; i < n; i++)
        if (!is_only_tensors(json_array_get(value, i)))
            return false;
    if (json_is_array(value))
        return true;
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item)
    {
        if (!is_only_tensors(item))
            return false;
    }
    return json_is_object(value);
}

/* The arguments of a layer that has none but its inputs: what changes nothing may stand there too. */
static void check_arguments(struct builder *b, struct node *node, const struct layer_class *class)
{
    const json_t *args = json_object_get(node->arguments, "args"), *kwargs = json_object_get(node->arguments, "kwargs");
    bool any = false;
    for (size_t i = 0; i < json_array_size(args); i++) {
        const json_t *arg = json_array_get(args, i);
        if (is_only_tensors(arg))
            any = true;
        else if (!nothing(arg))
            refuse_argument(b, node->entry, "args");
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)kwargs, key, value)
    {
        bool input = !any && (strcmp(key, "inputs") == 0 || strcmp(key, "x") == 0) && is_only_tensors(value);
        bool takes_mask = node->entry->nested ||
                          (class && (!(class->flags & LAYER_HONOURS_MASK) || (class->flags & LAYER_TAKES_MASK)));
        bool mask = takes_mask && strcmp(key, "mask") == 0;
        bool preprocessing = b->model->version.major >= 3 && (class ? (class->flags & LAYER_PREPROCESSING) != 0
                                                                    : strcmp(node->entry->class_name, "Pipeline") == 0);
        bool training = strcmp(key, "training") == 0 && (json_is_false(value) || preprocessing);
        if (!nothing(value) && !training && !input && !mask)
            refuse_argument(b, node->entry, key);
    }
}

int node_read(struct builder *b, struct node *node)
{
    if (node->arguments)
        return 0;
    const json_t *json = json_array_get(node->entry->nodes, node->index);
    struct ref_collector collector = {b, node};
    bool keras3 = json_is_object(json) && json_object_get(json, "args");
    json_t *arguments = keras3 ? keras3_arguments(&collector, json) : legacy_arguments(&collector, json);
    if (b->err->code || !arguments || json_array_append(b->keep, arguments) < 0) {
        json_decref(arguments);
        return h5pt_fail_memory(b->err);
    }
    json_decref(arguments);
    node->arguments = arguments;
    const struct keras_layer *layer = node->entry->layer;
    if (layer && translate_is(b, layer))
        return 0;
    if (layer && build_prepare(b, node->entry->layer) < 0)
        return -1;
    if (!layer || !layer->class || !(layer->class->flags & LAYER_ARGUMENTS))
        check_arguments(b, node, layer ? layer->class : NULL);
    return 0;
}

/* The references of input_layers or output_layers, in the order in which Keras flattens them. */
int node_read_refs(struct builder *b, const struct network *network, const json_t *json, struct node *ret)
{
    static const char *const what = "input_layers, output_layers";
    struct ref_collector collector = {b, ret};
    if (network_visit_refs(json, collect_ref, &collector) < 0) {
        if (b->err->code)
            return -1;
        return h5pt_fail(b->err, H5PT_CONFIG_MALFORMED, network->name, "The %s of the model cannot be read", what);
    }
    return 0;
}
