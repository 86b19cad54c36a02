/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of nested models become blocks, the innermost first. */
#include <string.h>

#include "structure/internal.h"
#include "torch/names.h"

/* Nodes first … last belong to one call of a nested model. */
struct extent {
    const struct keras_scope *scope;
    int first, last, count;
    bool accepted;
    struct piece piece;            /* of the graph */
    struct structure_block *block; /* once it is made */
    const struct extent *original; /* the first call of the same model */
};

struct extents {
    int count;
    struct extent *items; /* by id of the scope */
};

static const struct keras_scope *scope_of(const struct torch_node *node)
{
    return node->call ? node->call->scope : NULL;
}

static struct body graph_body(const struct search *s, struct structure_item *items)
{
    struct torch_graph *g = s->graph;
    for (int i = 0; i < g->node_count; i++)
        items[i] = (struct structure_item){.node = &g->nodes[i]};
    return (struct body){.count = g->node_count, .items = items};
}

static int measure(struct search *s, struct extents *ret)
{
    const struct torch_graph *g = s->graph;
    int count = 0;
    for (int i = 0; i < g->node_count; i++)
        for (const struct keras_scope *scope = scope_of(&g->nodes[i]); scope; scope = scope->parent)
            count = scope->id >= count ? scope->id + 1 : count;
    *ret = (struct extents){count, ARENA_ARRAY(s->arena, struct extent, (size_t)count + 1)};
    if (!ret->items)
        return -1;
    for (int i = 0; i < g->node_count; i++)
        for (const struct keras_scope *scope = scope_of(&g->nodes[i]); scope; scope = scope->parent) {
            struct extent *e = &ret->items[scope->id];
            if (!e->count)
                *e = (struct extent){.scope = scope, .first = i};
            e->last = i;
            e->count++;
        }
    return 0;
}

/* Two calls of one model must do the same with the same modules. */
static bool same_call(struct search *s, const struct body *all, const struct piece *a, const struct piece *b)
{
    struct strbuf x = STRBUF_INIT, y = STRBUF_INIT;
    piece_signature(s, all, a, true, &x);
    piece_signature(s, all, b, true, &y);
    bool same = x.length == y.length && strcmp(strbuf_text(&x), strbuf_text(&y)) == 0;
    strbuf_release(&x);
    strbuf_release(&y);
    return same;
}

static bool find_piece(struct search *s, const struct body *all, const struct extent *e, struct piece *ret)
{
    return e->last - e->first + 1 == e->count &&
           piece_find(s, all, e->first, e->count, SCOPE_MAX_INPUTS, SCOPE_MAX_OUTPUTS, ret) && ret->has_module;
}

/* Adds `sign` for each use of a module in the call. */
static void tally(const struct search *s, const struct body *all, const struct extent *e, int sign, int *inside)
{
    for (int i = e->first; i <= e->last; i++) {
        int module = s->module_of[all->items[i].node - s->graph->nodes];
        if (module >= 0)
            inside[module] += sign;
    }
}

/* All calls of one nested model, which are at `calls`, are accepted or none. */
static void accept(struct search *s, const struct body *all, struct extents *extents, int count, const int *calls,
                   int *inside)
{
    struct extent *first = &extents->items[calls[0]];
    bool ok = true;
    for (int i = 0; i < count; i++) {
        struct extent *e = &extents->items[calls[i]];
        ok = ok && find_piece(s, all, e, &e->piece) && (i == 0 || same_call(s, all, &first->piece, &e->piece));
        tally(s, all, e, 1, inside);
    }
    for (int i = first->first; ok && i <= first->last; i++) {
        int module = s->module_of[all->items[i].node - s->graph->nodes];
        ok = module < 0 || inside[module] == s->body_uses[module];
    }
    for (int i = 0; i < count; i++) {
        extents->items[calls[i]].accepted = ok;
        extents->items[calls[i]].original = first;
        tally(s, all, &extents->items[calls[i]], -1, inside);
    }
}

/* The calls of each nested model, by its path. */
static json_t *calls_by_path(const struct extents *extents)
{
    json_t *paths = json_object();
    for (int i = 0; paths && i < extents->count; i++) {
        if (!extents->items[i].count)
            continue;
        const char *path = extents->items[i].scope->path;
        json_t *list = json_object_get(paths, path);
        if (!list && json_object_set_new_nocheck(paths, path, list = json_array()) < 0)
            list = NULL;
        if (!list || json_array_append_new(list, json_integer(i)) < 0) {
            json_decref(paths);
            paths = NULL;
        }
    }
    return paths;
}

static void accept_all(struct search *s, const struct body *all, struct extents *extents)
{
    json_t *paths = calls_by_path(extents), *list;
    int *calls = ARENA_ARRAY(s->arena, int, (size_t)extents->count + 1);
    int *inside = ARENA_ARRAY(s->arena, int, (size_t)s->graph->node_count + 1);
    s->broken = s->broken || !paths || !calls || !inside;
    const char *path;
    json_object_foreach(paths, path, list)
    {
        int count = (int)json_array_size(list);
        for (int i = 0; i < count && !s->broken; i++)
            calls[i] = (int)json_integer_value(json_array_get(list, (size_t)i));
        if (!s->broken)
            accept(s, all, extents, count, calls, inside);
    }
    json_decref(paths);
}

/* The outermost accepted call that the node is in, below `scope`. */
static struct extent *below(const struct extents *extents, const struct torch_node *node,
                            const struct keras_scope *scope)
{
    struct extent *found = NULL;
    for (const struct keras_scope *at = scope_of(node); at && at != scope; at = at->parent)
        if (extents->items[at->id].accepted)
            found = &extents->items[at->id];
    return found;
}

static struct structure_block *make_block(struct search *s, const struct extents *extents, const struct body *all,
                                          struct extent *e, const struct keras_scope *outer);

/* The body of nodes first … last, all in ret->scope. */
static void make_body(struct search *s, const struct extents *extents, const struct body *all, int first, int last,
                      struct body *ret)
{
    ret->items = ARENA_ARRAY(s->arena, struct structure_item, (size_t)(last - first) + 2);
    s->broken = s->broken || !ret->items;
    for (int i = first; i <= last && !s->broken; i++) {
        struct extent *e = below(extents, all->items[i].node, ret->scope);
        if (e) {
            ret->items[ret->count++].block = make_block(s, extents, all, e, ret->scope);
            i = e->last;
        } else {
            ret->items[ret->count++] = all->items[i];
        }
    }
    if (s->broken)
        return;
    body_enter(s, ret);
    if (!s->broken)
        find_named_blocks(s, ret);
    if (!s->broken)
        find_repeated_blocks(s, ret);
    body_leave(s, ret);
}

static int *shifted(struct search *s, const int *values, int count, const struct torch_graph *g, int nodes)
{
    int *fresh = ARENA_ARRAY(s->arena, int, (size_t)count + 1);
    s->broken = s->broken || !fresh;
    for (int i = 0; fresh && i < count; i++) {
        int maker = g->values[values[i]].node;
        fresh[i] = g->nodes[maker + nodes].output + values[i] - g->nodes[maker].output;
    }
    return fresh;
}

/* A block inside the first call of a model, in another call, whose nodes come `nodes` later. `outer` tells what the inputs from
 * outside of the model are. */
static struct structure_block *copy_block(struct search *s, const struct structure_block *block, int nodes,
                                          const struct extent *from, const struct extent *to)
{
    struct structure_item *items = ARENA_ARRAY(s->arena, struct structure_item, (size_t)block->class->slot_count + 1);
    int *inputs = ARENA_ARRAY(s->arena, int, (size_t)block->input_count + 1);
    if (!items || !inputs) {
        s->broken = true;
        return NULL;
    }
    for (int i = 0; i < block->class->slot_count && !s->broken; i++) {
        if (block->items[i].node)
            items[i].node = block->items[i].node + nodes;
        else if (block->items[i].block)
            items[i].block = copy_block(s, block->items[i].block, nodes, from, to);
    }
    for (int i = 0; i < block->input_count; i++) {
        int outside = -1;
        for (int k = 0; k < from->piece.input_count; k++)
            outside = from->piece.inputs[k] == block->inputs[i] ? to->piece.inputs[k] : outside;
        const int *inside = outside < 0 ? shifted(s, &block->inputs[i], 1, s->graph, nodes) : NULL;
        if (outside < 0 && !inside)
            return NULL;
        inputs[i] = outside < 0 ? *inside : outside;
    }
    struct structure_block copy = *block;
    copy.items = items;
    copy.inputs = inputs;
    copy.outputs = shifted(s, block->outputs, block->output_count, s->graph, nodes);
    return s->broken ? NULL : block_again(s, block->class, &copy);
}

static struct structure_block *make_block(struct search *s, const struct extents *extents, const struct body *all,
                                          struct extent *e, const struct keras_scope *outer)
{
    if (e->original->block)
        return copy_block(s, e->original->block, e->piece.first - e->original->piece.first, e->original, e);
    struct body inner = {.scope = e->scope, .output_count = e->piece.output_count, .outputs = e->piece.outputs};
    make_body(s, extents, all, e->first, e->last, &inner);
    struct piece whole = e->piece;
    whole.first = 0;
    whole.count = inner.count;
    struct structure_block *block = s->broken ? NULL : block_make(s, &inner, &whole, e->scope);
    const char *name = torch_identifier(s->arena, e->scope->path);
    if (block && name)
        block->label = body_relative_name(s, name, outer);
    e->block = block;
    s->broken = s->broken || !block || !name;
    return block;
}

void find_scopes(struct search *s, struct body *ret)
{
    const struct torch_graph *g = s->graph;
    struct structure_item *items = ARENA_ARRAY(s->arena, struct structure_item, (size_t)g->node_count + 1);
    int *outputs = ARENA_ARRAY(s->arena, int, (size_t)g->output_count + 1);
    struct extents extents;
    if (!items || !outputs || measure(s, &extents) < 0) {
        s->broken = true;
        return;
    }
    for (int i = 0; i < g->output_count; i++)
        outputs[i] = g->outputs[i].value;
    struct body all = graph_body(s, items);
    if (g->node_count > STRUCTURE_MAX_NODES) {
        *ret = (struct body){.count = all.count, .items = items, .output_count = g->output_count, .outputs = outputs};
        return;
    }
    all.output_count = g->output_count;
    all.outputs = outputs;
    body_enter(s, &all);
    if (!s->broken)
        accept_all(s, &all, &extents);
    body_leave(s, &all);
    *ret = (struct body){.output_count = g->output_count, .outputs = outputs};
    if (!s->broken)
        make_body(s, &extents, &all, 0, g->node_count - 1, ret);
}
