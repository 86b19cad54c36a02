/* SPDX-License-Identifier: Apache-2.0 */
/* What Keras does not train is not trained in torch: parameters without gradient, normalisation that keeps its statistics. */
#include <string.h>

#include "keras/model.h"
#include "write/python_format.h"
#include "write/python_internal.h"

/* A weight of the model, in contrast to constants and statistics. */
static bool is_weight(const struct torch_parameter *p)
{
    return p->source && !p->is_buffer;
}

/* Parts whose weights are all frozen, the largest ones; a part that has none counts as neither. */
struct parts {
    const struct torch_graph *graph;
    struct arena *arena;
    int count, frozen; /* weights seen below */
    json_t *paths;     /* "self.encoder" */
};

static void tally(struct parts *t, const struct torch_node *node)
{
    for (int i = 0; i < node->parameter_count; i++) {
        const struct torch_parameter *p = &t->graph->parameters[node->parameters[i]];
        t->count += is_weight(p);
        t->frozen += is_weight(p) && !p->trainable;
    }
}

static void tally_block(struct parts *t, const struct structure_block *block)
{
    for (int i = 0; i < block->class->slot_count; i++) {
        if (block->items[i].node)
            tally(t, block->items[i].node);
        else if (block->items[i].block)
            tally_block(t, block->items[i].block);
    }
}

static void add_path(struct parts *t, const char *path)
{
    for (size_t i = 0; i < json_array_size(t->paths); i++)
        if (strcmp(json_string_value(json_array_get(t->paths, i)), path) == 0)
            return;
    (void)json_array_append_new(t->paths, json_string(path));
}

static void collect(struct parts *t, const struct structure_block *block, const char *path)
{
    for (int i = 0; i < block->class->slot_count; i++) {
        const struct structure_item *item = &block->items[i];
        char *name = arena_printf(t->arena, "%s.%s", path, block->class->slots[i].name);
        t->count = t->frozen = 0;
        if (!name)
            return;
        if (item->node)
            tally(t, item->node);
        else if (item->block)
            tally_block(t, item->block);
        if (t->frozen && t->frozen == t->count)
            add_path(t, name);
        else if (t->frozen && item->block)
            collect(t, item->block, name);
    }
}

/* for part in (self.a, self.b): */
static void add_loop(struct strbuf *out, const char *variable, const json_t *paths)
{
    struct strbuf line = STRBUF_INIT;
    strbuf_addf(&line, "for %s in (", variable);
    for (size_t i = 0; i < json_array_size(paths); i++)
        strbuf_addf(&line, "%s%s", i ? ", " : "", json_string_value(json_array_get(paths, i)));
    strbuf_add(&line, json_array_size(paths) == 1 ? ",):" : "):");
    python_add_line(out, 2, strbuf_text(&line));
    out->broken = out->broken || line.broken;
    strbuf_release(&line);
}

void python_add_frozen(struct strbuf *out, const struct torch_graph *graph, const struct structure_class *root)
{
    struct parts t = {.graph = graph, .arena = graph->arena, .paths = json_array()};
    tally_block(&t, root->blocks[0]);
    bool all = t.frozen && t.frozen == t.count, any = t.frozen > 0;
    if (any && !all)
        collect(&t, root->blocks[0], "self");
    if (any)
        strbuf_add(out, "        # Not trained in Keras.\n");
    if (all)
        strbuf_add(out, "        self.requires_grad_(False)\n");
    else if (json_array_size(t.paths) == 1)
        strbuf_addf(out, "        %s.requires_grad_(False)\n", json_string_value(json_array_get(t.paths, 0)));
    else if (any) {
        add_loop(out, "part", t.paths);
        strbuf_add(out, "            part.requires_grad_(False)\n");
    }
    out->broken = out->broken || !t.paths;
    json_decref(t.paths);
}

/* ---- normalisation ---- */

static bool is_batch_norm(const struct torch_node *node)
{
    return node->op == TORCH_BATCH_NORM1D || node->op == TORCH_BATCH_NORM2D || node->op == TORCH_BATCH_NORM3D;
}

static bool frozen_norm(const struct torch_node *node)
{
    return is_batch_norm(node) && node->call && !node->call->layer->trainable;
}

static void collect_norms(struct parts *t, const struct structure_block *block, const char *path)
{
    for (int i = 0; i < block->class->slot_count; i++) {
        const struct structure_item *item = &block->items[i];
        char *name = arena_printf(t->arena, "%s.%s", path, block->class->slots[i].name);
        if (!name)
            return;
        if (item->node && is_batch_norm(item->node)) {
            t->count++;
            if (frozen_norm(item->node)) {
                t->frozen++;
                add_path(t, name);
            }
        } else if (item->block) {
            collect_norms(t, item->block, name);
        }
    }
}

/* The class, or the classes, that the normalisation of the graph is of. */
static const char *norm_types(const struct torch_graph *graph)
{
    bool one = python_uses(graph, TORCH_BATCH_NORM1D), two = python_uses(graph, TORCH_BATCH_NORM2D);
    bool three = python_uses(graph, TORCH_BATCH_NORM3D);
    if (one + two + three > 1)
        return "(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)";
    return one ? "nn.BatchNorm1d" : two ? "nn.BatchNorm2d" : "nn.BatchNorm3d";
}

void python_add_train(struct strbuf *out, const struct torch_graph *graph, const struct structure_class *root,
                      bool freezes)
{
    struct parts t = {.graph = graph, .arena = graph->arena, .paths = json_array()};
    if (freezes)
        collect_norms(&t, root->blocks[0], "self");
    if (t.frozen) {
        strbuf_addf(out,
                    "\n    def train(self, mode: bool = True) -> %s:\n"
                    "        \"\"\"Frozen batch normalization stays in inference mode, as in Keras.\"\"\"\n"
                    "        super().train(mode)\n",
                    root->name);
        if (t.frozen == t.count) {
            strbuf_addf(out,
                        "        for part in self.modules():\n"
                        "            if isinstance(part, %s):\n"
                        "                part.eval()\n",
                        norm_types(graph));
        } else {
            add_loop(out, "norm", t.paths);
            strbuf_add(out, "            norm.eval()\n");
        }
        strbuf_add(out, "        return self\n");
    }
    out->broken = out->broken || !t.paths;
    json_decref(t.paths);
}
