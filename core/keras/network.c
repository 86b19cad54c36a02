/* SPDX-License-Identifier: Apache-2.0 */
#include "keras/build.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/words.h"
#include "keras/config.h"
#include "layers/layer.h"

enum { MAX_REF_NESTING = 16 };

bool network_is_ref(const json_t *value, struct network_ref *ret)
{
    if (json_is_object(value)) {
        const char *class_name = json_string_value(json_object_get(value, "class_name"));
        if (!class_name || strcmp(class_name, "__keras_tensor__") != 0)
            return false;
        value = json_object_get(json_object_get(value, "config"), "keras_history");
    }
    size_t n = json_array_size(value);
    const char *layer = json_string_value(json_array_get(value, 0));
    if ((n != 3 && n != 4) || !layer || strcmp(layer, "_CONSTANT_VALUE") == 0 ||
        !json_is_integer(json_array_get(value, 1)) || !json_is_integer(json_array_get(value, 2)))
        return false;
    ret->layer = layer;
    ret->node = json_integer_value(json_array_get(value, 1));
    ret->tensor = json_integer_value(json_array_get(value, 2));
    return true;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int visit_refs(const json_t *value, int (*visit)(void *, const struct network_ref *), void *context, int depth);

/* Keras flattens dicts by sorted key. */
static int visit_object(const json_t *value, int (*visit)(void *, const struct network_ref *), void *context, int depth)
{
    size_t n = json_object_size(value), i = 0;
    const char **keys = malloc((n + 1) * sizeof *keys);
    if (!keys)
        return -1;
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item)
    {
        keys[i++] = key;
    }
    qsort(keys, n, sizeof *keys, compare_keys);
    int result = 0;
    for (i = 0; i < n && !result; i++)
        result = visit_refs(json_object_get(value, keys[i]), visit, context, depth + 1);
    free(keys);
    return result;
}

static int visit_refs(const json_t *value, int (*visit)(void *, const struct network_ref *), void *context, int depth)
{
    struct network_ref ref;
    if (depth > MAX_REF_NESTING)
        return -1;
    if (network_is_ref(value, &ref))
        return visit(context, &ref);
    if (json_is_object(value) && !json_object_get(value, "class_name"))
        return visit_object(value, visit, context, depth);
    if (!json_is_array(value))
        return -1;
    int result = 0;
    for (size_t i = 0; i < json_array_size(value) && !result; i++)
        result = visit_refs(json_array_get(value, i), visit, context, depth + 1);
    return result;
}

int network_visit_refs(const json_t *value, int (*visit)(void *, const struct network_ref *), void *context)
{
    return visit_refs(value, visit, context, 0);
}

struct network_layer *network_find(const struct network *network, const char *name)
{
    const json_t *position = json_object_get(network->index, name);
    return position ? &network->layers[json_integer_value(position)] : NULL;
}

/* A model has a list of layers where its config (or its config's "layers") is. */
static const json_t *layer_list(const json_t *config)
{
    const json_t *list = json_is_array(config) ? config : json_object_get(config, "layers");
    return json_is_array(list) ? list : NULL;
}

static bool is_model(const char *class_name, const json_t *config)
{
    if (!layer_list(config))
        return false;
    return json_is_array(config) || json_object_get(config, "input_layers") ||
           word_index("Sequential Pipeline", class_name) >= 0;
}

static const char *join_path(struct builder *b, const char *scope, const char *name)
{
    return *scope ? arena_printf(b->arena, "%s/%s", scope, name) : name;
}

static struct keras_layer *layer_new(struct builder *b, const struct network *network,
                                     const struct network_layer *entry)
{
    struct keras_layer *layer = ARENA_NEW(b->arena, struct keras_layer);
    const char *path = join_path(b, network->scope, entry->name);
    if (!layer || !path) {
        h5pt_fail_memory(b->err);
        return NULL;
    }
    const json_t *trainable = json_object_get(entry->config, "trainable");
    *layer = (struct keras_layer){
        .class_name = entry->class_name,
        .name = entry->name,
        .path = path,
        .json = entry->config,
        .trainable = !json_is_false(trainable),
        .scope = network->scope,
    };
    for (const struct network *n = network; n; n = n->parent)
        layer->trainable = layer->trainable && n->trainable;
    return layer;
}

/* Reads entry `position` of config.layers. */
static int read_layer(struct builder *b, struct network *network, const json_t *json, size_t position, int depth)
{
    struct network_layer *entry = &network->layers[position];
    const json_t *config = json_object_get(json, "config");
    const char *class_name = json_string_value(json_object_get(json, "class_name"));
    const char *name = json_string_value(json_object_get(json, "name"));
    if (!name)
        name = json_string_value(json_object_get(config, "name"));
    if (!class_name || !(json_is_object(config) || json_is_array(config)))
        return h5pt_fail(b->err, H5PT_CONFIG_MALFORMED, network->name,
                         "Entry %zu of the layers has no class or settings", position);
    if (!name && !(name = arena_printf(b->arena, "layer_%zu", position)))
        return h5pt_fail_memory(b->err);
    *entry = (struct network_layer){.name = name, .class_name = class_name, .config = config, .node_count = 1};
    if (!network->sequential) {
        entry->nodes = json_object_get(json, "inbound_nodes");
        entry->node_count = json_array_size(entry->nodes);
    }
    if (json_object_get(network->index, name))
        findings_add(b->refusals, H5PT_GRAPH_INVALID, name, "name", "Two layers of one model have the name \"%s\"",
                     name);
    if (json_object_set_new(network->index, name, json_integer((json_int_t)position)) < 0)
        return h5pt_fail_memory(b->err);
    if (is_model(config_class_name(json), config)) {
        entry->nested = network_read(b, json, network, depth + 1);
        return entry->nested ? 0 : -1;
    }
    if (strcmp(class_name, "TimeDistributed") == 0) {
        entry->time_distributed = true;
        entry->nested = time_distributed_read(b, json, name, network, depth + 1);
        return entry->nested ? 0 : -1;
    }
    if (!json_is_object(config))
        return h5pt_fail(b->err, H5PT_CONFIG_MALFORMED, name, "The settings of layer \"%s\" are not an object", name);
    entry->layer = layer_new(b, network, entry);
    if (!entry->layer)
        return -1;
    entry->layer->registered = config_registered_name(json);
    return 0;
}

/* The range of node indices that references to each layer use. */
struct reference_range {
    const struct network *network;
    long long *least, *most; /* per layer; LLONG_MAX / -1 when never referenced */
};

static int note_reference(void *context, const struct network_ref *ref)
{
    struct reference_range *range = context;
    const struct network_layer *entry = network_find(range->network, ref->layer);
    if (entry) {
        size_t i = (size_t)(entry - range->network->layers);
        if (ref->node < range->least[i])
            range->least[i] = ref->node;
        if (ref->node > range->most[i])
            range->most[i] = ref->node;
    }
    return 0;
}

/* Finds every tensor reference anywhere below `value`, constants and keyword arguments included. */
static void note_all(struct reference_range *range, const json_t *value, int depth)
{
    struct network_ref ref;
    if (depth > MAX_REF_NESTING)
        return;
    if (network_is_ref(value, &ref)) {
        (void)note_reference(range, &ref);
        if (json_is_array(value))
            note_all(range, json_array_get(value, 3), depth + 1);
        return;
    }
    const char *key;
    json_t *item;
    size_t i;
    json_array_foreach(value, i, item) note_all(range, item, depth + 1);
    json_object_foreach((json_t *)value, key, item) note_all(range, item, depth + 1);
}

/* A nested model owns a node 0 of its own (the call that built it), so references to it usually count from 1. Who counts
 * how depends on the writer; the indices that are used tell where they can: a 0 means from 0, an index that equals the
 * number of nodes means from 1. */
static size_t guess_offset(long long least, long long most, size_t nodes, size_t usual)
{
    if (most < 0)
        return usual;
    if (least == 0)
        return 0;
    if (most >= (long long)nodes)
        return 1;
    return usual;
}

/* Keras 3.2 wrote node index 0 for every reference; with a layer called more than once the graph is lost. */
static void refuse_lost_indices(struct builder *b, const struct network_layer *entry)
{
    findings_add(b->refusals, H5PT_GRAPH_INVALID, entry->name, "inbound_nodes",
                 "Keras 3.2 does not store which call of a shared layer is meant; save the model with 3.3 or later");
}

static int find_offsets(struct builder *b, struct network *network)
{
    size_t n = network->layer_count;
    struct reference_range inner = {network, ARENA_ARRAY(b->arena, long long, n + 1),
                                    ARENA_ARRAY(b->arena, long long, n + 1)};
    struct reference_range outer = {network, ARENA_ARRAY(b->arena, long long, n + 1),
                                    ARENA_ARRAY(b->arena, long long, n + 1)};
    if (!inner.least || !inner.most || !outer.least || !outer.most)
        return h5pt_fail_memory(b->err);
    for (size_t i = 0; i < n; i++) {
        inner.least[i] = outer.least[i] = INT64_MAX;
        inner.most[i] = outer.most[i] = -1;
    }
    for (size_t i = 0; i < n; i++)
        note_all(&inner, network->layers[i].nodes, 0);
    note_all(&outer, network->outputs, 0);
    bool keras3 = b->model->version.major >= 3;
    for (size_t i = 0; i < n; i++) {
        struct network_layer *entry = &network->layers[i];
        /* An architecture does not say which Keras 3 it is from; then a call that nobody refers to tells. */
        if (keras3 && entry->node_count > 1 &&
            (b->model->version.minor == 2 ||
             (b->model->version.minor == 0 && inner.most[i] <= 0 && outer.most[i] <= 0)))
            refuse_lost_indices(b, entry);
        if (!entry->nested || entry->time_distributed)
            continue;
        if (!keras3) { /* one way of counting in the whole file */
            long long least = inner.least[i] < outer.least[i] ? inner.least[i] : outer.least[i];
            long long most = inner.most[i] > outer.most[i] ? inner.most[i] : outer.most[i];
            entry->node_offset = entry->output_node_offset = guess_offset(least, most, entry->node_count, 1);
            continue;
        }
        entry->node_offset = guess_offset(inner.least[i], inner.most[i], entry->node_count, 0);
        entry->output_node_offset = guess_offset(outer.least[i], outer.most[i], entry->node_count,
                                                 entry->nested->sequential ? 0 : 1);
    }
    return 0;
}

struct network *network_read(struct builder *b, const json_t *entry, const struct network *parent, int depth)
{
    const json_t *config = json_object_get(entry, "config");
    const char *class_name = json_string_value(json_object_get(entry, "class_name"));
    const json_t *list = layer_list(config);
    if (depth > KERAS_MAX_NESTING) {
        h5pt_fail(b->err, H5PT_LIMIT_EXCEEDED, NULL, "Models are nested more than %d deep", KERAS_MAX_NESTING);
        return NULL;
    }
    struct network *network = ARENA_NEW(b->arena, struct network);
    const char *name = json_string_value(json_object_get(entry, "name"));
    if (!name)
        name = json_string_value(json_object_get(config, "name"));
    if (!name)
        name = "model";
    if (!network || !(network->index = json_object()) || json_array_append_new(b->keep, network->index) < 0) {
        h5pt_fail_memory(b->err);
        return NULL;
    }
    network->class_name = class_name;
    network->name = name;
    network->parent = parent;
    network->scope = parent ? join_path(b, parent->scope, name) : "";
    network->trainable = !json_is_false(json_object_get(config, "trainable"));
    network->inputs = json_object_get(config, "input_layers");
    network->outputs = json_object_get(config, "output_layers");
    network->sequential = !network->inputs;
    network->build_shape = json_object_get(config, "build_input_shape");
    network->layer_count = json_array_size(list);
    network->layers = ARENA_ARRAY(b->arena, struct network_layer, network->layer_count + 1);
    if (!network->scope || !network->layers) {
        h5pt_fail_memory(b->err);
        return NULL;
    }
    for (size_t i = 0; i < network->layer_count; i++)
        if (read_layer(b, network, json_array_get(list, i), i, depth) < 0)
            return NULL;
    if (!network->sequential && find_offsets(b, network) < 0)
        return NULL;
    return network;
}
