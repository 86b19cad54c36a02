/* SPDX-License-Identifier: Apache-2.0 */
/* Sequential models of Keras 1 that begin with a Merge of other models → graphs. */
#include <string.h>

#include "keras/keras1.h"

enum { MAX_NESTING = 32 };

/* The graph that is being made. */
struct graph {
    struct builder *b;
    json_t *layers, *inputs; /* owned */
    bool broken;             /* the models cannot be a graph; a refusal tells why */
};

static const char *text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static const char *name_of(const json_t *entry)
{
    const char *name = text(entry, "name");
    return name ? name : text(json_object_get(entry, "config"), "name");
}

static void append(struct graph *g, json_t *list, json_t *value)
{
    if (json_array_append_new(list, value) < 0)
        h5pt_fail_memory(g->b->err);
}

static json_t *reference(const char *name)
{
    return json_pack("[s, i, i]", name, 0, 0);
}

static void give_up(struct graph *g, const char *layer, const char *why)
{
    if (!g->broken)
        findings_add(g->b->refusals, H5PT_GRAPH_INVALID, layer, "layers",
                     "The models that are merged cannot be read: %s", why);
    g->broken = true;
}

/* An entry with one node, called on `inputs` (owned). Returns a reference to its output. */
static json_t *add_layer(struct graph *g, const json_t *entry, json_t *inputs)
{
    const char *name = name_of(entry);
    json_t *layer = json_copy((json_t *)entry);
    if (!name) {
        give_up(g, "", "a layer has no name");
        name = "";
    }
    (void)json_object_set_new(layer, "name", json_string(name));
    (void)json_object_set_new(layer, "inbound_nodes", json_pack("[o]", inputs));
    append(g, g->layers, layer);
    return reference(name);
}

/* The layer that knows the input: the first one, or the first one of the model that stands first. */
static const json_t *first_layer(const json_t *entry, int depth)
{
    const json_t *layers = keras1_layers(json_object_get(entry, "config"));
    return layers && depth < MAX_NESTING ? first_layer(json_array_get(layers, 0), depth + 1) : entry;
}

static json_t *add_input(struct graph *g, const json_t *first)
{
    const json_t *known = first_layer(first, 0), *config = json_object_get(known, "config");
    const char *class_name = text(known, "class_name"), *name = name_of(known), *dtype = text(config, "input_dtype");
    json_t *shape = json_object_get(config, "batch_input_shape");
    if (!class_name || !name || !shape || json_object_get(json_object_get(first, "config"), "input_layers")) {
        give_up(g, name ? name : "", "the first layer of one does not tell its input");
        return json_null();
    }
    bool input = known == first && strcmp(class_name, "InputLayer") == 0;
    const char *key = g->b->model->version.major < 2 ? "input_dtype" : "dtype";
    if (!dtype)
        dtype = text(config, "dtype");
    const char *input_name = input ? name : arena_printf(g->b->arena, "%s_input", name);
    if (!input_name) {
        h5pt_fail_memory(g->b->err);
        return json_null();
    }
    append(g, g->layers,
           json_pack("{s:s, s:s, s:{s:s, s:O, s:s}, s:[]}", "class_name", "InputLayer", "name", input_name, "config",
                     "name", input_name, "batch_input_shape", shape, key, dtype ? dtype : "float32", "inbound_nodes"));
    append(g, g->inputs, reference(input_name));
    return reference(input_name);
}

static void add_model(struct graph *g, const json_t *entry, json_t *outputs, int depth);

/* The layers of a Sequential in a row; references to what comes out go to `outputs`. */
static void add_sequential(struct graph *g, const json_t *layers, json_t *outputs, int depth)
{
    const json_t *first = json_array_get(layers, 0),
                 *models = json_object_get(json_object_get(first, "config"), "layers");
    const char *class_name = text(first, "class_name");
    json_t *value;
    size_t start = 1;
    if (class_name && strcmp(class_name, "Merge") == 0 && json_is_array(models)) {
        json_t *merged = json_array(), *model;
        size_t i;
        json_array_foreach(models, i, model) add_model(g, model, merged, depth + 1);
        value = add_layer(g, first, merged);
    } else {
        value = add_input(g, first);
        start = class_name && strcmp(class_name, "InputLayer") == 0 ? 1 : 0;
    }
    for (size_t i = start; i < json_array_size(layers); i++)
        value = add_layer(g, json_array_get(layers, i), json_pack("[o]", value));
    append(g, outputs, value);
}

/* The layers of a graph as they are. */
static void add_graph(struct graph *g, const json_t *config, json_t *outputs)
{
    json_t *item;
    size_t i;
    json_array_foreach(json_object_get(config, "layers"), i, item) append(g, g->layers, json_incref(item));
    json_array_foreach(json_object_get(config, "input_layers"), i, item) append(g, g->inputs, json_incref(item));
    json_array_foreach(json_object_get(config, "output_layers"), i, item) append(g, outputs, json_incref(item));
}

static void add_model(struct graph *g, const json_t *entry, json_t *outputs, int depth)
{
    const json_t *config = json_object_get(entry, "config"), *layers = keras1_layers(config);
    if (depth > MAX_NESTING || !layers || json_array_size(layers) == 0)
        give_up(g, name_of(entry) ? name_of(entry) : "", "one has no layers");
    else if (json_object_get(config, "input_layers"))
        add_graph(g, config, outputs);
    else
        add_sequential(g, layers, outputs, depth);
}

json_t *keras1_merged_sequential(struct builder *b, const json_t *entry)
{
    const json_t *config = json_object_get(entry, "config"), *layers = keras1_layers(config);
    const json_t *first = json_array_get(layers, 0);
    const char *class_name = text(entry, "class_name"), *first_class = text(first, "class_name"),
               *name = name_of(entry);
    if (!class_name || strcmp(class_name, "Sequential") != 0 || !first_class || strcmp(first_class, "Merge") != 0 ||
        !json_is_array(json_object_get(json_object_get(first, "config"), "layers")))
        return NULL;
    struct graph g = {.b = b, .layers = json_array(), .inputs = json_array()};
    json_t *outputs = json_array(), *made = NULL;
    add_sequential(&g, layers, outputs, 0);
    if (!g.broken) {
        made = json_copy((json_t *)entry);
        (void)json_object_set_new(made, "class_name", json_string("Model"));
        (void)json_object_set_new(made, "config",
                                  json_pack("{s:s, s:O, s:O, s:O}", "name", name ? name : "sequential", "layers",
                                            g.layers, "input_layers", g.inputs, "output_layers", outputs));
    }
    json_decref(g.layers);
    json_decref(g.inputs);
    json_decref(outputs);
    return made;
}
