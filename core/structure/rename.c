/* SPDX-License-Identifier: Apache-2.0 */
/* Renames modules and parameters of the graph after the classes, and puts the parameters into the order of the state_dict. */
#include <string.h>

#include "structure/internal.h"

struct renaming {
    struct search *s;
    json_t *suffixes;
    struct torch_parameter *fresh;
    int *new_id; /* per parameter of the graph, or -1 */
    int count;
};

static void rename_node(struct renaming *r, struct torch_node *node, const char *path)
{
    struct torch_graph *g = r->s->graph;
    size_t old = strlen(node->module);
    for (int i = 0; i < node->parameter_count; i++) {
        struct torch_parameter *p = &g->parameters[node->parameters[i]];
        if (r->new_id[node->parameters[i]] >= 0)
            continue;
        char *name = arena_printf(r->s->arena, "%s%s", path, p->name + old);
        if (!name) {
            r->s->broken = true;
            return;
        }
        r->new_id[node->parameters[i]] = r->count;
        r->fresh[r->count] = *p;
        r->fresh[r->count++].name = name;
    }
}

/* A module's state_dict begins with its own parameters, then its own buffers, then its submodules. */
static int place_of(const struct search *s, const struct structure_item *item)
{
    if (item->block || item->node->op != TORCH_PARAMETER)
        return 2;
    return s->graph->parameters[item->node->parameters[0]].is_buffer ? 1 : 0;
}

static const char *join(struct search *s, const char *path, const char *name)
{
    return *path ? arena_printf(s->arena, "%s.%s", path, name) : name;
}

static void rename_block(struct renaming *r, const struct structure_block *block, const char *path)
{
    const struct structure_class *class = block->class;
    for (int place = 0; place < 3; place++)
        for (int i = 0; i < class->slot_count && !r->s->broken; i++) {
            const struct structure_item *item = &block->items[i];
            if ((!item->node && !item->block) || !item_is_module(item) || place_of(r->s, item) != place)
                continue;
            const char *name = join(r->s, path, class->slots[i].name);
            r->s->broken = r->s->broken || !name;
            if (name && item->block)
                rename_block(r, item->block, name);
            else if (name)
                rename_node(r, item->node, name);
        }
}

static void set_module(struct search *s, const struct structure_block *block, const char *path)
{
    for (int i = 0; i < block->class->slot_count && !s->broken; i++) {
        const struct structure_item *item = &block->items[i];
        const char *name = (item->node || item->block) && item_is_module(item)
                               ? join(s, path, block->class->slots[i].name)
                               : path;
        s->broken = s->broken || !name;
        if (item->block)
            set_module(s, item->block, name);
        else if (item->node && item->node->module)
            item->node->module = name;
    }
}

void rename_graph(struct search *s, const struct structure_block *root)
{
    struct torch_graph *g = s->graph;
    struct renaming r = {
        .s = s,
        .fresh = ARENA_ARRAY(s->arena, struct torch_parameter, (size_t)g->parameter_count + 1),
        .new_id = ARENA_ARRAY(s->arena, int, (size_t)g->parameter_count + 1),
    };
    s->broken = s->broken || !r.fresh || !r.new_id;
    for (int i = 0; i < g->parameter_count && !s->broken; i++)
        r.new_id[i] = -1;
    if (!s->broken)
        rename_block(&r, root, "");
    for (int i = 0; i < g->node_count && !s->broken; i++) {
        struct torch_node *node = &g->nodes[i];
        int *ids = ARENA_ARRAY(s->arena, int, (size_t)node->parameter_count + 1);
        s->broken = s->broken || !ids;
        for (int k = 0; ids && k < node->parameter_count; k++)
            ids[k] = r.new_id[node->parameters[k]];
        node->parameters = ids;
    }
    if (s->broken)
        return;
    set_module(s, root, "");
    g->parameters = r.fresh;
    g->parameter_count = r.count;
}
