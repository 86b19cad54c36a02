/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the weights in files of numbered variables (.weights.h5, .keras). A group is named by the attributes that lead from the
 * model to the object that owns the variables: layers/dense_1, layers/bidirectional/forward_layer/cell. Layers are counted per
 * class in the order of the model; what the user called them does not matter. The variables of an object are numbered in the
 * order in which it declares them.
 * Source: saving_lib.py of Keras 2.12–2.15 and 3 (_save_state, _save_container_state). */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "keras/build.h"

/* Where the objects inside a layer are that own its weights, by the scope of the slot ("forward" of "forward/kernel"): paths of
 * attributes, of which the first that has variables is taken; "." is the layer itself, % stands for the scope. The first row that
 * fits counts; NULL fits all. `first`: variables of the object that come before and are stored once more elsewhere. */
static const struct place {
    const char *class_name, *slot, *scope, *paths;
    size_t first;
} places[] = {
    {"SpectralNormalization", "vector_u", NULL, ".", 1}, /* behind the kernel of its layer, which is stored twice */
    {"SpectralNormalization", NULL, "", "layer", 0},
    {NULL, NULL, "", ". cell", 0},
    {NULL, NULL, "forward", "forward_layer/cell layer/cell", 0},
    {NULL, NULL, "backward", "backward_layer/cell", 0},
    {NULL, NULL, "attention_output", "output_dense _output_dense", 0},
    {NULL, NULL, NULL, "%_dense _%_dense", 0},
};

/* Classes that configurations name otherwise than Python does. */
static const char *const python_names[][2] = {{"Model", "Functional"},
                                              {"GroupQueryAttention", "GroupedQueryAttention"}};

/* How layers of one class are counted. */
enum counting {
    COUNT_ONCE,
    COUNT_WEIGHTS_TWICE, /* Keras 2.12 and 2.13 count a layer that has weights twice */
};

struct numbered {
    struct builder *b;
    json_t *index;         /* owned: name of a group → its position in the source */
    size_t *used;          /* owned: variables of each group that are bound */
    const char *container; /* the attribute of a model that holds its layers */
    enum counting counting;
    bool report; /* add refusals */
    bool known;  /* no layer was refused before */
    size_t problems;
};

static const struct source_layer *find_group(const struct numbered *n, const char *name, size_t *ret_position)
{
    const json_t *position = json_object_get(n->index, name);
    if (!position)
        return NULL;
    *ret_position = (size_t)json_integer_value(position);
    return source_layer(n->b->source, *ret_position);
}

/* Whether a weight of the entry, or of what is nested in it, is known. */
static bool has_weights(const struct network_layer *entry)
{
    if (!entry->nested)
        return entry->layer->weight_count > 0;
    for (size_t i = 0; i < entry->nested->layer_count; i++)
        if (has_weights(&entry->nested->layers[i]))
            return true;
    return false;
}

/* An underscore goes before each capital that begins a word (`pass` 0) or follows a small letter (1). */
static size_t split_words(const char *text, size_t length, int pass, char *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < length;) {
        bool capital = i + 1 < length && isupper((unsigned char)text[i + 1]);
        bool split = pass == 0 ? capital && i + 2 < length && islower((unsigned char)text[i + 2])
                               : capital && islower((unsigned char)text[i]);
        ret[n++] = text[i++];
        if (!split)
            continue;
        ret[n++] = '_';
        ret[n++] = text[i++];
        while (pass == 0 && i < length && islower((unsigned char)text[i]))
            ret[n++] = text[i++];
    }
    return n;
}

enum { MAX_CLASS_NAME = 200, MAX_STACKED_CELLS = 1000 };

/* "Conv2DTranspose" → "conv2d_transpose", as Keras' to_snake_case. */
static const char *snake_case(const char *class_name, char ret[4 * MAX_CLASS_NAME + 1])
{
    char word[MAX_CLASS_NAME], split[2 * MAX_CLASS_NAME];
    size_t n = 0;
    for (const char *p = class_name; *p && n < sizeof word; p++)
        if (isalnum((unsigned char)*p) || *p == '_')
            word[n++] = *p;
    n = split_words(word, n, 0, split);
    n = split_words(split, n, 1, ret);
    for (size_t i = 0; i < n; i++)
        ret[i] = (char)tolower((unsigned char)ret[i]);
    ret[n] = '\0';
    return ret;
}

/* The name of an object in its container; `counts` has what was counted so far per class, this one counts `step`. */
static const char *counted_name(const struct numbered *n, const char *container, const char *class_name, int step,
                                json_t *counts)
{
    char name[4 * MAX_CLASS_NAME + 1];
    for (size_t i = 0; i < sizeof python_names / sizeof *python_names; i++)
        if (strcmp(class_name, python_names[i][0]) == 0)
            class_name = python_names[i][1];
    (void)snake_case(class_name, name);
    json_int_t count = json_integer_value(json_object_get(counts, name));
    if (json_object_set_new(counts, name, json_integer(count + step)) < 0)
        return NULL;
    return count ? arena_printf(n->b->arena, "%s/%s_%lld", container, name, (long long)count)
                 : arena_printf(n->b->arena, "%s/%s", container, name);
}

static const char *entry_group(const struct numbered *n, const struct network_layer *entry, const char *container,
                               json_t *counts)
{
    int step = n->counting == COUNT_WEIGHTS_TWICE && has_weights(entry) ? 2 : 1;
    return counted_name(n, container, entry->class_name, step, counts);
}

/* The stacked cells in the configuration of an RNN; of the direction that the scope begins with, for a Bidirectional. */
static const json_t *stacked_cells(const struct keras_layer *layer, const char *scope)
{
    const json_t *rnn = layer->json;
    if (strncmp(scope, "forward/", 8) == 0 || strncmp(scope, "backward/", 9) == 0) {
        const json_t *backward = *scope == 'b' ? json_object_get(rnn, "backward_layer") : NULL;
        const json_t *inner = json_is_object(backward) ? backward : json_object_get(rnn, "layer");
        rnn = json_object_get(inner, "config");
    }
    const json_t *cell = json_object_get(rnn, "cell");
    return json_is_array(cell) ? cell : json_object_get(json_object_get(cell, "config"), "cells");
}

/* The group of one cell: `container` is that of the stack. NULL without memory. */
static const char *cell_group(const struct numbered *n, const json_t *cells, long index, const char *container)
{
    json_t *counts = json_object();
    const char *group = NULL;
    for (long i = 0; i <= index && counts; i++) {
        const char *class_name = json_string_value(json_object_get(json_array_get(cells, (size_t)i), "class_name"));
        group = counted_name(n, container, class_name ? class_name : "", 1, counts);
        if (!group)
            break;
    }
    json_decref(counts);
    return group;
}

static const struct place *find_place(const struct keras_layer *layer, const char *slot, size_t scope)
{
    const struct place *p = places;
    for (;; p++)
        if ((!p->class_name || strcmp(p->class_name, layer->class_name) == 0) &&
            (!p->slot || strcmp(p->slot, slot) == 0) &&
            (!p->scope || (strlen(p->scope) == scope && memcmp(p->scope, slot, scope) == 0)))
            return p;
}

/* One path of a place, below the group of the layer. */
static const char *place_path(const struct numbered *n, const char *group, const char *path, size_t length,
                              const char *slot, size_t scope)
{
    const char *mark = memchr(path, '%', length);
    if (length == 1 && *path == '.')
        return group;
    if (!mark)
        return arena_printf(n->b->arena, "%s/%.*s", group, (int)length, path);
    return arena_printf(n->b->arena, "%s/%.*s%.*s%.*s", group, (int)(mark - path), path, (int)scope, slot,
                        (int)(length - (size_t)(mark - path) - 1), mark + 1);
}

/* "cell_2/kernel", "forward/cell_0/bias": a weight of one of several stacked cells. */
static bool is_stacked(const char *slot, size_t scope, long *ret_index)
{
    const char *last = slot + scope;
    while (last > slot && last[-1] != '/')
        last--;
    char *end;
    if (strncmp(last, "cell_", 5) != 0 || !isdigit((unsigned char)last[5]))
        return false;
    *ret_index = strtol(last + 5, &end, 10);
    return end == slot + scope && *ret_index < MAX_STACKED_CELLS;
}

static int find_stacked_owner(const struct numbered *n, const struct keras_layer *layer, const char *group,
                              const char *slot, long index, const struct source_layer **ret, size_t *ret_position)
{
    const char *direction = strncmp(slot, "forward/", 8) == 0    ? "/forward_layer"
                            : strncmp(slot, "backward/", 9) == 0 ? "/backward_layer"
                                                                 : "";
    const char *container = arena_printf(n->b->arena, "%s%s/cell/cells", group, direction);
    const char *name = container ? cell_group(n, stacked_cells(layer, slot), index, container) : NULL;
    if (!name)
        return h5pt_fail_memory(n->b->err);
    *ret = find_group(n, name, ret_position);
    return 0;
}

/* The group of the object that owns a weight; *ret is NULL when there is none. -1 without memory. */
static int find_owner(const struct numbered *n, const struct keras_layer *layer, const char *group, const char *slot,
                      const struct source_layer **ret, size_t *ret_position, size_t *ret_first)
{
    const char *slash = strrchr(slot, '/');
    size_t scope = slash ? (size_t)(slash - slot) : 0, length;
    long cell;
    if (is_stacked(slot, scope, &cell)) {
        *ret_first = 0;
        return find_stacked_owner(n, layer, group, slot, cell, ret, ret_position);
    }
    const struct place *place = find_place(layer, slot, scope);
    const char *paths = place->paths, *path;
    *ret = NULL;
    *ret_first = place->first;
    while ((path = word_next(&paths, &length))) {
        const char *name = place_path(n, group, path, length, slot, scope);
        if (!name)
            return h5pt_fail_memory(n->b->err);
        const struct source_layer *found = find_group(n, name, ret_position);
        if (found && found->tensor_count) {
            *ret = found;
            return 0;
        }
    }
    return 0;
}

static void problem(struct numbered *n, enum h5pt_code code, const char *where, const char *key, const char *message)
{
    n->problems++;
    if (n->report)
        findings_add(n->b->refusals, code, where, key, "%s", message);
}

static int bind_weight(struct numbered *n, struct keras_layer *layer, struct keras_weight *weight, const char *group)
{
    const struct source_layer *owner = NULL;
    size_t position = 0, first = 0;
    char text[512], need[SHAPE_TEXT_SIZE], have[SHAPE_TEXT_SIZE];
    if (find_owner(n, layer, group, weight->slot, &owner, &position, &first) < 0)
        return -1;
    if (owner && n->used[position] < first)
        n->used[position] = first;
    if (!owner || n->used[position] >= owner->tensor_count) {
        (void)snprintf(text, sizeof text, "The weight \"%.60s\" of shape %s has no variable in \"%.200s\"",
                       weight->slot, shape_text(&weight->shape, need), owner ? owner->name : group);
        problem(n, H5PT_WEIGHTS_MISSING, layer->path, weight->slot, text);
        return 0;
    }
    const struct source_tensor *tensor = &owner->tensors[n->used[position]++];
    if (!shape_equal(&tensor->shape, &weight->shape)) {
        (void)snprintf(text, sizeof text, "The weight \"%.60s\" needs the shape %s, but %.200s has %s", weight->slot,
                       shape_text(&weight->shape, need), tensor->object, shape_text(&tensor->shape, have));
        problem(n, H5PT_WEIGHTS_SHAPE, layer->path, weight->slot, text);
        return 0;
    }
    weight->tensor = tensor;
    layer->source = owner;
    return 0;
}

static int bind_network(struct numbered *n, struct network *network, const char *container);

static int bind_entry(struct numbered *n, struct network_layer *entry, const char *group)
{
    if (entry->nested &&
        strcmp(entry->class_name, "TimeDistributed") == 0) { /* the layer inside, as if it were a model */
        const char *layer = arena_printf(n->b->arena, "%s/layer", group);
        return layer ? bind_entry(n, &entry->nested->layers[0], layer) : h5pt_fail_memory(n->b->err);
    }
    if (entry->nested) {
        const char *container = arena_printf(n->b->arena, "%s/%s", group, n->container);
        return container ? bind_network(n, entry->nested, container) : h5pt_fail_memory(n->b->err);
    }
    struct keras_layer *layer = entry->layer;
    if (!layer->built && strcmp(entry->class_name, "InputLayer") != 0)
        n->known = false;
    for (int i = 0; i < layer->weight_count; i++)
        if (bind_weight(n, layer, &layer->weights[i], group) < 0)
            return -1;
    return 0;
}

static int bind_network(struct numbered *n, struct network *network, const char *container)
{
    json_t *counts = json_object();
    int status = counts ? 0 : h5pt_fail_memory(n->b->err);
    for (size_t i = 0; i < network->layer_count && status == 0; i++) {
        const char *group = entry_group(n, &network->layers[i], container, counts);
        status = group ? bind_entry(n, &network->layers[i], group) : h5pt_fail_memory(n->b->err);
    }
    json_decref(counts);
    return status;
}

/* Seeds of random numbers are of no use at inference. */
static bool may_be_left(const struct source_layer *group)
{
    return strstr(group->name, "seed_generator") != NULL || strstr(group->name, "random_generator") != NULL;
}

static void check_unused(struct numbered *n)
{
    char text[512];
    for (size_t i = 0; i < source_layer_count(n->b->source) && n->known; i++) {
        const struct source_layer *group = source_layer(n->b->source, i);
        if (n->used[i] >= group->tensor_count || may_be_left(group))
            continue;
        (void)snprintf(text, sizeof text, "The file has %zu variables for \"%.200s\", of which %zu are used",
                       group->tensor_count, group->name, n->used[i]);
        problem(n, H5PT_WEIGHTS_UNUSED, group->name, "vars", text);
    }
}

static int attempt(struct numbered *n, struct network *root, enum counting counting, bool report)
{
    memset(n->used, 0, (source_layer_count(n->b->source) + 1) * sizeof *n->used);
    n->counting = counting;
    n->report = report;
    n->known = true;
    n->problems = 0;
    if (bind_network(n, root, n->container) < 0)
        return -1;
    if (n->problems == 0)
        check_unused(n);
    return 0;
}

static int make_index(struct numbered *n)
{
    static const char old[] = "_layer_checkpoint_dependencies";
    for (size_t i = 0; i < source_layer_count(n->b->source); i++) {
        const char *name = source_layer(n->b->source, i)->name;
        if (json_object_set_new(n->index, name, json_integer((json_int_t)i)) < 0)
            return h5pt_fail_memory(n->b->err);
        if (strncmp(name, old, sizeof old - 1) == 0)
            n->container = old;
    }
    return 0;
}

/* Files with the old name of the container come from Keras 2.12 to 2.14, which count in two ways; the one that fits as a whole
 * is meant. */
int bind_numbered(struct builder *b, struct network *root)
{
    static const char layers[] = "layers";
    struct numbered n = {
        .b = b,
        .index = json_object(),
        .used = calloc(source_layer_count(b->source) + 1, sizeof *n.used),
        .container = layers,
    };
    int status = n.index && n.used ? make_index(&n) : h5pt_fail_memory(b->err);
    if (status == 0)
        status = attempt(&n, root, COUNT_ONCE, false);
    if (status == 0 && n.problems && n.container != layers)
        status = attempt(&n, root, COUNT_WEIGHTS_TWICE, false);
    if (status == 0 && n.problems)
        status = attempt(&n, root, COUNT_ONCE, true);
    json_decref(n.index);
    free(n.used);
    return status;
}
