/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that the author of the model named: "conv2_block1_1_conv", "conv2_block1_1_bn" … begin alike. A layer that became several
 * nodes counts as such a block too. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "structure/groups.h"
#include "torch/names.h"

enum { MAX_PARTS = 8, LONGEST_PREFIX = 120 };

bool layer_has_default_name(const struct keras_layer *layer)
{
    const char *name = layer->name, *class = layer->class_name;
    if (strncmp(name, "tf.", 3) == 0 || strncmp(name, "lambda", 6) == 0)
        return true;
    while (*name && *class) {
        if (!isalnum((unsigned char)*name)) {
            name++;
        } else if (!isalnum((unsigned char)*class)) {
            class ++;
        } else if (tolower((unsigned char)*name) == tolower((unsigned char)*class)) {
            name++;
            class ++;
        } else {
            return false;
        }
    }
    return !*class && (!*name || (*name == '_' && strspn(name + 1, "0123456789") == strlen(name + 1)));
}

static bool is_default_name(const struct torch_node *node)
{
    return !node->call || node->call->layer->operation || layer_has_default_name(node->call->layer);
}

static void see_default(void *context, struct torch_node *node)
{
    bool *all = context;
    *all = *all && is_default_name(node);
}

/* Whether its author named nothing in it. */
static bool default_item(const struct structure_item *item)
{
    bool all = true;
    item_each_node(item, see_default, &all);
    return all;
}

/* The items that begin with one prefix. */
struct range {
    int first, last, count;
};

/* Counts an item among those that begin with the first `length` bytes of its name. */
static void see_prefix(struct search *s, json_t *ranges, const char *text, size_t length, int item)
{
    char prefix[LONGEST_PREFIX + 1];
    if (length > LONGEST_PREFIX)
        return;
    memcpy(prefix, text, length);
    prefix[length] = '\0';
    json_t *known = json_object_get(ranges, prefix);
    if (known) {
        (void)json_integer_set(json_array_get(known, 1), item);
        (void)json_integer_set(json_array_get(known, 2), json_integer_value(json_array_get(known, 2)) + 1);
    } else if (json_object_set_new_nocheck(ranges, prefix, json_pack("[i, i, i]", item, item, 1)) < 0) {
        s->broken = true;
    }
}

/* All beginnings of the name of an item, at underscores. */
static void see_prefixes(struct search *s, json_t *ranges, const struct structure_item *item, int index)
{
    const char *label = s->labels[index];
    if (!label || item->block || !item->node->call)
        return;
    size_t whole = s->names[item->node - s->graph->nodes].layer_length;
    if (is_default_name(item->node)) {
        if (whole)
            see_prefix(s, ranges, label, whole, index);
        return;
    }
    int parts = 0;
    for (size_t i = 1; label[i] && parts < MAX_PARTS; i++)
        if (label[i] == '_') {
            see_prefix(s, ranges, label, i, index);
            parts++;
        }
    if (whole == strlen(label))
        see_prefix(s, ranges, label, whole, index);
}

static bool begins_with(const char *label, const char *prefix)
{
    size_t n = strlen(prefix);
    return label && strncmp(label, prefix, n) == 0 && (label[n] == '_' || !label[n]);
}

/* What stands in a block without having its name was named by Keras. */
static bool nothing_foreign(const struct search *s, const struct body *body, const struct range *r, const char *prefix)
{
    for (int i = r->first; i <= r->last; i++)
        if (!begins_with(s->labels[i], prefix) && !default_item(&body->items[i]))
            return false;
    return true;
}

/* An addition or activation of Keras' naming that only continues what the block makes. */
static bool continues(struct search *s, const struct body *body, const struct piece *p)
{
    int next = p->first + p->count;
    if (next >= body->count || p->output_count != 1 || !body->items[next].node || !default_item(&body->items[next]) ||
        body->items[next].node->parameter_count)
        return false;
    const struct torch_node *node = body->items[next].node;
    bool uses = false;
    if (node->op != TORCH_ADD && !item_is_activation(&body->items[next]))
        return false;
    for (int k = 0; k < node->input_count; k++) {
        bool output = node->inputs[k] == p->outputs[0], input = false;
        for (int i = 0; i < p->input_count; i++)
            input = input || node->inputs[k] == p->inputs[i];
        if (!output && !input)
            return false;
        uses = uses || output;
    }
    return uses && s->last_use[p->outputs[0]] == next;
}

static bool find_range(struct search *s, const struct body *body, const struct range *r, const char *prefix,
                       struct piece *ret)
{
    int count = r->last - r->first + 1;
    if (r->count < 3 || count > BLOCK_MAX_ITEMS || !nothing_foreign(s, body, r, prefix) ||
        !piece_find(s, body, r->first, count, BLOCK_MAX_INPUTS, SCOPE_MAX_OUTPUTS, ret))
        return false;
    while (continues(s, body, ret) && ret->count < BLOCK_MAX_ITEMS)
        if (!piece_find(s, body, r->first, ret->count + 1, BLOCK_MAX_INPUTS, SCOPE_MAX_OUTPUTS, ret))
            return false;
    return ret->has_module && ret->output_count == 1 && piece_exclusive(s, body, ret);
}

/* ---- what must stay together ---- */

void mark_named_ranges(struct search *s, const struct body *body, int *ret_first, int *ret_last)
{
    json_t *ranges = json_object(), *entry;
    for (int i = 0; ranges && i < body->count && !s->broken; i++) {
        const char *label = s->labels[i];
        size_t n = label ? strcspn(label, "_") : 0;
        ret_first[i] = ret_last[i] = i;
        /* "conv_7" is counted, not part of a block "conv". */
        if (label && label[n] && !default_item(&body->items[i]) &&
            strspn(label + n + 1, "0123456789") != strlen(label + n + 1))
            see_prefix(s, ranges, label, n, i);
    }
    const char *prefix;
    json_object_foreach(ranges, prefix, entry)
    {
        struct range r = {(int)json_integer_value(json_array_get(entry, 0)),
                          (int)json_integer_value(json_array_get(entry, 1)),
                          (int)json_integer_value(json_array_get(entry, 2))};
        if (r.count < 2 || 2 * r.count < r.last - r.first + 1 || !nothing_foreign(s, body, &r, prefix))
            continue;
        for (int i = r.first; i <= r.last; i++) {
            ret_first[i] = r.first;
            ret_last[i] = r.last;
        }
    }
    s->broken = s->broken || !ranges;
    json_decref(ranges);
}

/* Calls `visit` for each block that has a name. */
static void each_range(struct search *s, const struct body *body,
                       void (*visit)(void *context, const struct piece *piece, const char *prefix), void *context)
{
    json_t *ranges = json_object(), *entry;
    for (int i = 0; ranges && i < body->count && !s->broken; i++)
        see_prefixes(s, ranges, &body->items[i], i);
    const char *prefix;
    json_object_foreach(ranges, prefix, entry)
    {
        struct range r = {(int)json_integer_value(json_array_get(entry, 0)),
                          (int)json_integer_value(json_array_get(entry, 1)),
                          (int)json_integer_value(json_array_get(entry, 2))};
        struct piece piece;
        if (!s->broken && find_range(s, body, &r, prefix, &piece))
            visit(context, &piece, prefix);
    }
    s->broken = s->broken || !ranges;
    json_decref(ranges);
}

struct collecting {
    struct groups groups;
    const struct body *body;
};

static void add_candidate(void *context, const struct piece *piece, const char *prefix)
{
    struct collecting *c = context;
    groups_add(&c->groups, c->body, piece, prefix);
}

/* ---- blocks that stand alone ---- */

struct single {
    struct piece piece;
    char *label;
};

struct singles {
    struct search *s;
    int count, capacity;
    struct single *items;
};

static void add_single(void *context, const struct piece *piece, const char *prefix)
{
    enum { LEAST = 4 };
    struct singles *w = context;
    if (piece->count < LEAST || w->count == w->capacity)
        return;
    char *label = arena_strdup(w->s->arena, prefix);
    w->items[w->count++] = (struct single){*piece, label};
    w->s->broken = w->s->broken || !label;
}

/* The larger one first; of the same items the longer name, which says more. */
static int by_size(const void *a, const void *b)
{
    const struct single *x = a, *y = b;
    if (x->piece.count != y->piece.count)
        return (x->piece.count < y->piece.count) - (x->piece.count > y->piece.count);
    if (x->piece.first != y->piece.first)
        return (x->piece.first > y->piece.first) - (x->piece.first < y->piece.first);
    return (strlen(x->label) < strlen(y->label)) - (strlen(x->label) > strlen(y->label));
}

/* Tries the blocks that stand alone, the largest first; the first one that fits a class is made one of it. */
static bool adopt_single(struct search *s, struct body *body, struct singles *w)
{
    enum { MAX_CLASSES = 24, MAX_TRIES = 64 };
    struct structure_class *classes[MAX_CLASSES];
    int count = classes_in(body, classes, MAX_CLASSES);
    w->count = 0;
    if (count)
        each_range(s, body, add_single, w);
    if (s->broken || !w->count)
        return false;
    qsort(w->items, (size_t)w->count, sizeof *w->items, by_size);
    for (int k = 0; k < w->count && k < MAX_TRIES && !s->broken; k++) {
        struct structure_block *block = block_alone(s, body, &w->items[k].piece);
        if (block)
            block->label = w->items[k].label;
        for (int i = 0; block && i < count && !s->broken; i++)
            if (class_absorb(s, classes[i], block->class)) {
                body_put(s, body, &w->items[k].piece, block);
                return true;
            }
    }
    return false;
}

/* Blocks of which there is one only may be a variant of a class that repeats. */
static void adopt_singles(struct search *s, struct body *body)
{
    enum { MAX_ADOPTED = 32, MAX_SINGLES = 2000 };
    struct singles w = {.s = s, .capacity = MAX_SINGLES, .items = ARENA_ARRAY(s->arena, struct single, MAX_SINGLES)};
    s->broken = s->broken || !w.items;
    for (int i = 0; i < MAX_ADOPTED && !s->broken && adopt_single(s, body, &w); i++)
        continue;
}

void find_named_blocks(struct search *s, struct body *body)
{
    enum { MAX_ROUNDS = 32, MANY_ITEMS = 5000, FEW_ROUNDS = 8 };
    for (int round = 0; round < (body->count > MANY_ITEMS ? FEW_ROUNDS : MAX_ROUNDS) && !s->broken; round++) {
        struct collecting c = {.body = body};
        groups_init(s, &c.groups);
        if (!s->broken)
            each_range(s, body, add_candidate, &c);
        int classes = s->broken ? 0 : groups_replace(&c.groups, body, 1);
        groups_release(&c.groups);
        if (!classes)
            break;
        /* Variants of a block come before smaller blocks that both are made of. */
        unite_variants(s, body);
        if (!s->broken && body->count <= MANY_ITEMS)
            adopt_singles(s, body);
    }
}
