/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the tensor of every weight. The group of a layer holds its weights; the group of a nested model holds those of all
 * its layers in one list. Names decide first: the last component is the weight ("kernel"), the ones before name the layer.
 * Names can lie (a layer that was renamed keeps the names of its variables): when they do not fit as a whole, the order
 * decides, which Keras keeps as trainable weights first, then the others; then every shape must fit, and every last
 * component that can be read must agree. */
#include <stdlib.h>
#include <string.h>

#include "keras/bind.h"

/* True when `name` ("block/dense_1/kernel:0_2") has the component `wanted` before its last one. */
static bool has_component(const char *name, const char *wanted)
{
    size_t n = strlen(wanted);
    for (const char *p = name, *slash; (slash = strchr(p, '/')); p = slash + 1)
        if ((size_t)(slash - p) == n && memcmp(p, wanted, n) == 0)
            return true;
    return false;
}

/* True when a component before the last begins with `prefix`. */
static bool has_component_from(const char *name, const char *prefix, size_t length)
{
    for (const char *p = name, *slash; (slash = strchr(p, '/')); p = slash + 1)
        if (strncmp(p, prefix, length) == 0)
            return true;
    return false;
}

/* "kernel", "kernel:0", "kernel:0_1" and "kernel_1" all name the slot "kernel". A slot "forward/kernel" also wants a component
 * that begins with "forward". */
static bool slot_is(const char *name, const char *slot)
{
    const char *last = strrchr(name, '/'), *scope_end = strrchr(slot, '/');
    last = last ? last + 1 : name;
    const char *plain = scope_end ? scope_end + 1 : slot;
    size_t n = strlen(plain), length = strcspn(last, ":");
    if (length < n || memcmp(last, plain, n) != 0)
        return false;
    if (scope_end && !has_component_from(name, slot, (size_t)(scope_end - slot)))
        return false;
    if (length == n)
        return true;
    return last[n] == '_' && length > n + 1 && strspn(last + n + 1, "0123456789") == length - n - 1;
}

/* True when the name can be that of the slot: it is, or it is that of no slot of the layer at all. */
static bool slot_agrees(const char *name, const struct wanted *w)
{
    if (slot_is(name, w->weight->slot))
        return true;
    for (int i = 0; i < w->layer->weight_count; i++)
        if (slot_is(name, w->layer->weights[i].slot))
            return false;
    return true;
}

/* A size that the configuration does not tell may be any. */
static bool fits(const struct source_tensor *tensor, const struct wanted *w)
{
    struct shape shape = w->weight->shape;
    for (int i = 0; i < shape.rank && i < tensor->shape.rank; i++)
        if (shape.dims[i] == DIM_UNKNOWN)
            shape.dims[i] = tensor->shape.dims[i];
    return shape_equal(&tensor->shape, &shape);
}

static void bind_weight(const struct wanted *w, const struct source_tensor *tensor)
{
    w->weight->tensor = tensor;
    w->weight->shape = tensor->shape;
}

/* The tensor whose name says layer and slot, when there is exactly one. `alone`: the group belongs to this layer only. */
static const struct source_tensor *find_by_name(const struct group *g, const struct wanted *w, bool alone)
{
    const struct source_tensor *found = NULL;
    for (size_t i = 0; i < g->source->tensor_count; i++) {
        const struct source_tensor *t = &g->source->tensors[i];
        if (!slot_is(t->name, w->weight->slot) || !(alone || has_component(t->name, w->layer->name)))
            continue;
        if (found)
            return NULL;
        found = t;
    }
    return found;
}

/* All by name, with fitting shapes, or none. */
static bool bind_by_name(struct group *g, bool alone)
{
    for (size_t i = 0; i < g->wanted_count; i++) {
        const struct source_tensor *t = find_by_name(g, &g->wanted[i], alone);
        if (!t || !fits(t, &g->wanted[i]))
            return false;
        bind_weight(&g->wanted[i], t);
    }
    return true;
}

static bool moves_statistics(const struct keras_weight *weight)
{
    return strncmp(weight->slot, "moving_", 7) == 0 || strcmp(weight->slot, "mean") == 0 ||
           strcmp(weight->slot, "variance") == 0 || strcmp(weight->slot, "count") == 0 ||
           strcmp(weight->slot, "vector_u") == 0;
}

static bool weight_trainable(const struct wanted *w)
{
    return w->layer->trainable && !moves_statistics(w->weight);
}

/* All by order: first the trainable ones (`split`), then the rest; or simply layer by layer. */
static bool bind_by_order(struct group *g, bool split)
{
    size_t position = 0;
    if (g->source->tensor_count != g->wanted_count)
        return false;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < g->wanted_count; i++) {
            struct wanted *w = &g->wanted[i];
            bool first = !split || weight_trainable(w);
            if (first != (pass == 0))
                continue;
            const struct source_tensor *t = &g->source->tensors[position++];
            if (!fits(t, w) || !slot_agrees(t->name, w))
                return false;
            bind_weight(w, t);
        }
    }
    return true;
}

static void refuse_weight(struct builder *b, const struct group *g, const struct wanted *w, bool alone)
{
    const struct source_tensor *t = find_by_name(g, w, alone);
    char need[SHAPE_TEXT_SIZE], have[SHAPE_TEXT_SIZE];
    if (t && !fits(t, w))
        findings_add(b->refusals, H5PT_WEIGHTS_SHAPE, w->layer->path, w->weight->slot,
                     "The weight \"%s\" needs the shape %s, but %s has %s", w->weight->slot,
                     shape_text(&w->weight->shape, need), t->object, shape_text(&t->shape, have));
    else if (!t)
        findings_add(b->refusals, H5PT_WEIGHTS_MISSING, w->layer->path, w->weight->slot,
                     "The weight \"%s\" of shape %s is not among the %zu in the group \"%.80s\"", w->weight->slot,
                     shape_text(&w->weight->shape, need), g->source->tensor_count, g->source->name);
}

static int bind_group(struct builder *b, struct group *g, bool alone)
{
    bool complete = !alone || g->source->tensor_count == g->wanted_count;
    /* Weights that do not say their version are of Keras 1, unless they stand beside a newer architecture and have its names. */
    if (b->weights_version.major < 2 && (b->model->version.major < 2 || !complete || !bind_by_name(g, alone)))
        return keras1_bind(b, g);
    if (complete && (bind_by_name(g, alone) || bind_by_order(g, true) || bind_by_order(g, false)))
        return bind_theano(b, g);
    size_t before = b->refusals->count;
    for (size_t i = 0; i < g->wanted_count; i++)
        refuse_weight(b, g, &g->wanted[i], alone);
    if (b->refusals->count == before)
        findings_add(
            b->refusals, H5PT_WEIGHTS_MISSING, g->source->name, "weight_names",
            "The group \"%.80s\" has %zu weights, %zu are needed, and names and shapes do not tell which is which",
            g->source->name, g->source->tensor_count, g->wanted_count);
    return 0;
}

static int add_wanted(struct builder *b, struct group *g, struct keras_layer *layer)
{
    for (int i = 0; i < layer->weight_count; i++) {
        if (g->wanted_count == g->wanted_capacity) {
            size_t capacity = g->wanted_capacity ? g->wanted_capacity * 2 : 64;
            struct wanted *wanted = realloc(g->wanted, capacity * sizeof *wanted);
            if (!wanted)
                return h5pt_fail_memory(b->err);
            g->wanted = wanted;
            g->wanted_capacity = capacity;
        }
        g->wanted[g->wanted_count++] = (struct wanted){layer, &layer->weights[i]};
        layer->source = g->source;
    }
    return 0;
}

/* The weights of an entry and everything nested in it; *ret_known is cleared when some layer's weights are not known. */
static int collect(struct builder *b, struct group *g, struct network_layer *entry, bool *ret_known)
{
    if (!entry->nested) {
        if (!entry->layer->built && strcmp(entry->class_name, "InputLayer") != 0)
            *ret_known = false;
        return add_wanted(b, g, entry->layer);
    }
    for (size_t i = 0; i < entry->nested->layer_count; i++)
        if (collect(b, g, &entry->nested->layers[i], ret_known) < 0)
            return -1;
    return 0;
}

static const struct source_layer *find_source(const struct builder *b, const char *name)
{
    for (size_t i = 0; i < source_layer_count(b->source); i++)
        if (strcmp(source_layer(b->source, i)->name, name) == 0)
            return source_layer(b->source, i);
    return NULL;
}

static int bind_entry(struct builder *b, struct network_layer *entry)
{
    static const struct source_layer empty = {.name = "", .tensor_count = 0};
    struct group g = {.source = find_source(b, entry->name)};
    bool known = true;
    if (!g.source)
        g.source = &empty;
    int status = collect(b, &g, entry, &known);
    if (status == 0 && g.wanted_count) {
        if (g.source == &empty)
            findings_add(b->refusals, H5PT_WEIGHTS_MISSING, entry->name, "layer_names",
                         "The file has no weights for \"%.80s\"", entry->name);
        else
            status = bind_group(b, &g, !entry->nested);
    } else if (status == 0 && known && g.source->tensor_count) {
        findings_add(b->refusals, H5PT_WEIGHTS_UNUSED, entry->name, "weight_names",
                     "The file has %zu weights for \"%.80s\", which needs none", g.source->tensor_count, entry->name);
    }
    free(g.wanted);
    return status;
}

int bind_weights(struct builder *b, struct network *root)
{
    if (source_is_numbered(b->source))
        return bind_numbered(b, root);
    for (size_t i = 0; i < root->layer_count; i++)
        if (bind_entry(b, &root->layers[i]) < 0)
            return -1;
    return 0;
}
