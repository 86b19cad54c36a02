/* SPDX-License-Identifier: Apache-2.0 */
/* What goes on between the items of a body, and putting blocks in the place of some of them. */
#include <limits.h>
#include <string.h>

#include "structure/internal.h"
#include "torch/names.h"

/* ---- modules ---- */

static void count_module(void *context, struct torch_node *node)
{
    struct search *s = context;
    int module = s->module_of[node - s->graph->nodes];
    if (module >= 0)
        s->body_uses[module]++;
}

static void clear_module(void *context, struct torch_node *node)
{
    struct search *s = context;
    int module = s->module_of[node - s->graph->nodes];
    if (module >= 0)
        s->body_uses[module] = 0;
}

static void uncount_module(void *context, struct torch_node *node)
{
    struct search *s = context;
    int module = s->module_of[node - s->graph->nodes];
    if (module >= 0)
        s->body_uses[module]--;
}

struct leftover {
    const struct search *s;
    bool any;
};

static void look_for_rest(void *context, struct torch_node *node)
{
    struct leftover *l = context;
    int module = l->s->module_of[node - l->s->graph->nodes];
    l->any = l->any || (module >= 0 && l->s->body_uses[module] != 0);
}

bool piece_exclusive(struct search *s, const struct body *body, const struct piece *piece)
{
    struct leftover l = {.s = s};
    for (int i = 0; i < piece->count; i++)
        item_each_node(&body->items[piece->first + i], uncount_module, s);
    for (int i = 0; i < piece->count; i++)
        item_each_node(&body->items[piece->first + i], look_for_rest, &l);
    for (int i = 0; i < piece->count; i++)
        item_each_node(&body->items[piece->first + i], count_module, s);
    return !l.any;
}

/* ---- names ---- */

const char *body_relative_name(struct search *s, const char *name, const struct keras_scope *scope)
{
    const char *prefix = scope ? torch_identifier(s->arena, scope->path) : NULL;
    s->broken = s->broken || (scope && !prefix);
    size_t n = prefix ? strlen(prefix) : 0;
    return name && n && strncmp(name, prefix, n) == 0 && name[n] == '_' && name[n + 1] ? name + n + 1 : name;
}

static void name_node(struct search *s, const struct torch_node *node, const struct keras_scope *scope,
                      struct node_name *ret)
{
    const char *name = node->module ? node->module : s->graph->values[node->output].hint;
    const char *layer = node->call ? torch_identifier(s->arena, node->call->layer->name) : NULL;
    size_t n = layer ? strlen(layer) : 0;
    *ret = (struct node_name){.scope = scope, .known = true, .label = body_relative_name(s, name, scope)};
    if (ret->label && n && strncmp(ret->label, layer, n) == 0)
        ret->layer_length = n;
    s->broken = s->broken || (node->call && !layer);
}

/* "conv2_block1_1_conv" */
static const char *label_of(struct search *s, const struct structure_item *item, const struct keras_scope *scope)
{
    if (item->block)
        return item->block->label;
    struct node_name *name = &s->names[item->node - s->graph->nodes];
    if (!name->known || name->scope != scope)
        name_node(s, item->node, scope, name);
    return name->label;
}

/* ---- entering and leaving ---- */

void body_enter(struct search *s, const struct body *body)
{
    for (int i = 0; i < body->count && !s->broken; i++) {
        const struct structure_item *item = &body->items[i];
        s->labels[i] = label_of(s, item, body->scope);
        for (int k = 0; k < item_input_count(item); k++) {
            s->last_use[item_inputs(item)[k]] = i;
            s->use_count[item_inputs(item)[k]]++;
        }
        for (int k = 0; k < item_output_count(item); k++)
            s->maker[item_output(item, k)] = i;
        item_each_node(item, count_module, s);
    }
    for (int i = 0; i < body->output_count; i++)
        s->last_use[body->outputs[i]] = INT_MAX;
}

void body_leave(struct search *s, const struct body *body)
{
    for (int i = 0; i < body->count; i++) {
        const struct structure_item *item = &body->items[i];
        for (int k = 0; k < item_input_count(item); k++) {
            s->last_use[item_inputs(item)[k]] = -1;
            s->use_count[item_inputs(item)[k]] = 0;
        }
        for (int k = 0; k < item_output_count(item); k++) {
            s->maker[item_output(item, k)] = -1;
            s->last_use[item_output(item, k)] = -1;
        }
        item_each_node(item, clear_module, s);
    }
    for (int i = 0; i < body->output_count; i++)
        s->last_use[body->outputs[i]] = -1;
}

/* ---- pieces ---- */

static void see_module(void *context, struct torch_node *node)
{
    bool *seen = context;
    *seen = *seen || node->module;
}

static bool holds(const int *values, int count, int value)
{
    for (int i = 0; i < count; i++)
        if (values[i] == value)
            return true;
    return false;
}

bool piece_find(struct search *s, const struct body *body, int first, int count, int max_inputs, int max_outputs,
                struct piece *ret)
{
    struct piece p = {.first = first, .count = count};
    int end = first + count;
    for (int i = first; i < end; i++) {
        const struct structure_item *item = &body->items[i];
        item_each_node(item, see_module, &p.has_module);
        for (int k = 0; k < item_input_count(item); k++) {
            int value = item_inputs(item)[k];
            if ((s->maker[value] >= first && s->maker[value] < end) || holds(p.inputs, p.input_count, value))
                continue;
            if (p.input_count == max_inputs)
                return false;
            p.inputs[p.input_count++] = value;
        }
        for (int k = 0; k < item_output_count(item); k++) {
            int value = item_output(item, k);
            if (s->last_use[value] < end)
                continue;
            if (p.output_count == max_outputs)
                return false;
            p.outputs[p.output_count++] = value;
        }
    }
    *ret = p;
    return p.output_count > 0;
}

void piece_signature(struct search *s, const struct body *body, const struct piece *piece, bool exact,
                     struct strbuf *out)
{
    int n = 0;
    for (int i = 0; i < piece->input_count; i++)
        s->local[piece->inputs[i]] = n++;
    for (int i = 0; i < piece->count; i++) {
        const struct structure_item *item = &body->items[piece->first + i];
        item_key(s, item, exact, out);
        strbuf_add(out, " (");
        for (int k = 0; k < item_input_count(item); k++)
            strbuf_addf(out, "%d,", s->local[item_inputs(item)[k]]);
        strbuf_add(out, ")\n");
        for (int k = 0; k < item_output_count(item); k++)
            s->local[item_output(item, k)] = n++;
    }
    strbuf_add(out, "->");
    for (int i = 0; i < piece->output_count; i++)
        strbuf_addf(out, " %d", s->local[piece->outputs[i]]);
    s->broken = s->broken || out->broken;
}

int lines_saved(int uses, int items)
{
    /* One line in __init__ and one in forward for each item, and a head of half a dozen for the class. */
    return uses * (2 * items - 2) - (2 * items + 6);
}

void body_replace(struct search *s, struct body *body, int count, struct piece *const *pieces,
                  const char *const *labels)
{
    struct structure_item *items = ARENA_ARRAY(s->arena, struct structure_item, (size_t)body->count + 1);
    if (!items) {
        s->broken = true;
        return;
    }
    int n = 0, next = 0;
    for (int i = 0; i < body->count && !s->broken; i++) {
        if (next == count || i < pieces[next]->first) {
            items[n++] = body->items[i];
            continue;
        }
        struct structure_block *block = block_make(s, body, pieces[next], NULL);
        if (!block)
            return;
        block->label = labels ? labels[next] : NULL;
        items[n++].block = block;
        i += pieces[next++]->count - 1;
    }
    body_leave(s, body);
    body->items = items;
    body->count = n;
    body_enter(s, body);
}

void body_put(struct search *s, struct body *body, const struct piece *piece, struct structure_block *block)
{
    int end = piece->first + piece->count;
    body_leave(s, body);
    body->items[piece->first] = (struct structure_item){.block = block};
    memmove(body->items + piece->first + 1, body->items + end, (size_t)(body->count - end) * sizeof *body->items);
    body->count -= piece->count - 1;
    body_enter(s, body);
}
