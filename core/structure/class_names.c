/* SPDX-License-Identifier: Apache-2.0 */
/* Names of classes, after what the blocks do, and of blocks that have none. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "structure/internal.h"
#include "torch/names.h"

/* ---- instances ---- */

static void first_module(void *context, struct torch_node *node)
{
    const char **found = context;
    *found = *found ? *found : node->module;
}

static const char *first_module_of(const struct structure_block *block)
{
    const char *found = NULL;
    for (int i = 0; i < block->class->slot_count; i++) {
        const struct structure_item *item = &block->items[i];
        if (item->node || item->block)
            item_each_node(item, first_module, &found);
    }
    return found;
}

/* Blocks that begin with the same module are calls of the same one. */
void find_instances(struct search *s, struct structure_class *class)
{
    json_t *known = json_object();
    for (int i = 0; known && i < class->block_count; i++) {
        const char *module = first_module_of(class->blocks[i]);
        if (!module)
            continue;
        const json_t *first = json_object_get(known, module);
        if (first)
            class->blocks[i]->instance = class->blocks[json_integer_value(first)];
        else if (json_object_set_new_nocheck(known, module, json_integer(i)) < 0)
            s->broken = true;
    }
    s->broken = s->broken || !known;
    json_decref(known);
}

/* ---- names of classes ---- */

struct content {
    int convs, depthwise, linears, norms, adds, cats, attentions, recurrent, others, products;
};

static bool is_depthwise(const struct torch_node *node)
{
    int64_t groups = torch_attr_int(node, "groups");
    return groups > 1 && groups == torch_attr_int(node, "in_channels");
}

static void count_node(void *context, struct torch_node *node)
{
    struct content *c = context;
    switch (node->op) {
    case TORCH_CONV1D:
    case TORCH_CONV2D:
    case TORCH_CONV3D: is_depthwise(node) ? c->depthwise++ : c->convs++; break;
    case TORCH_CONV_TRANSPOSE1D:
    case TORCH_CONV_TRANSPOSE2D:
    case TORCH_CONV_TRANSPOSE3D: c->convs++; break;
    case TORCH_LINEAR: c->linears++; break;
    case TORCH_SCALED_DOT_PRODUCT_ATTENTION: c->attentions++; break;
    case TORCH_LSTM:
    case TORCH_GRU:
    case TORCH_RNN:
    case TORCH_LSTM_LOOP:
    case TORCH_GRU_LOOP:
    case TORCH_RNN_LOOP:
    case TORCH_CONV_LSTM_LOOP: c->recurrent++; break;
    case TORCH_ADD: c->adds++; break;
    case TORCH_MUL: c->products++; break;
    case TORCH_CAT: c->cats++; break;
    default: break;
    }
}

/* "ConvBNReLU": the modules in order, for a short chain. */
static const char *chain_name(struct search *s, const struct structure_class *class)
{
    enum { MAX_PARTS = 4 };
    struct strbuf name = STRBUF_INIT;
    for (int i = 0; i < class->slot_count; i++) {
        const struct torch_node *node = class->slots[i].item.node;
        if (i >= MAX_PARTS || !node || class->slots[i].input_count != 1 ||
            (i && class->slots[i].inputs[0] != class->slots[i - 1].output)) {
            strbuf_release(&name);
            return NULL;
        }
        const struct torch_op_info *info = torch_op_info(node->op);
        const char *part = node->op >= TORCH_RELU && node->op <= TORCH_GLU && info->module    ? info->module + 3
                           : node->op >= TORCH_BATCH_NORM1D && node->op <= TORCH_BATCH_NORM3D ? "BN"
                           : node->op == TORCH_LAYER_NORM || node->op == TORCH_GROUP_NORM     ? "Norm"
                           : node->op >= TORCH_CONV1D && node->op <= TORCH_CONV3D
                               ? is_depthwise(node) ? "DepthwiseConv" : "Conv"
                           : node->op == TORCH_LINEAR           ? "Linear"
                           : node->op == TORCH_PAD              ? ""
                           : strstr(info->id, "CONV_TRANSPOSE") ? "ConvTranspose"
                           : strstr(info->id, "DROPOUT")        ? "Dropout"
                           : strstr(info->id, "POOL")           ? "Pool"
                                                                : NULL;
        if (!part) {
            strbuf_release(&name);
            return NULL;
        }
        strbuf_add(&name, part);
    }
    const char *text = strbuf_ok(&name) && name.length ? arena_strdup(s->arena, strbuf_text(&name)) : NULL;
    strbuf_release(&name);
    return text;
}

/* The Keras class, when all of a block is one layer of it: "MultiHeadAttention". */
static const char *layer_name(struct search *s, const struct structure_class *class)
{
    const struct keras_layer *layer = NULL;
    for (int i = 0; i < class->slot_count; i++) {
        const struct torch_node *node = class->slots[i].item.node;
        if (!node || !node->call || (layer && node->call->layer != layer))
            return NULL;
        layer = node->call->layer;
    }
    return layer ? name_camel_case(s, layer->class_name) : NULL;
}

/* Whether an output adds an input of the block, or what a few nodes make of it, to what the block computes. */
static bool is_residual(const struct structure_class *class, const struct content *c)
{
    if (!c->adds)
        return false;
    for (int i = class->slot_count - 1; i >= 0; i--)
        if (class->slots[i].item.node && class->slots[i].item.node->op == TORCH_ADD)
            return true;
    return false;
}

/* "InstanceNormalization" of blocks that are called instance_normalization_1, instance_normalization_2 …; NULL when they have nothing in
 * common. */
static const char *stem_name(struct search *s, const struct structure_class *class)
{
    const char *stem = NULL;
    for (int i = 0; i < class->block_count; i++) {
        const char *label = class->blocks[i]->label;
        size_t n = label ? strlen(label) : 0;
        while (n && (isdigit((unsigned char)label[n - 1]) || label[n - 1] == '_'))
            n--;
        if (!n || (stem && (strlen(stem) != n || strncmp(stem, label, n) != 0)))
            return NULL;
        stem = stem ? stem : arena_printf(s->arena, "%.*s", (int)n, label);
        if (!stem)
            return NULL;
    }
    const char *name = stem ? name_camel_case(s, stem) : NULL;
    return name && isalpha((unsigned char)*name) ? name : NULL;
}

static const char *block_name(struct search *s, const struct structure_class *class)
{
    struct content c = {.convs = 0};
    for (int i = 0; i < class->slot_count; i++)
        item_each_node(&class->slots[i].item, count_node, &c);
    const char *name = layer_name(s, class);
    if (!name)
        name = chain_name(s, class);
    if (name)
        return name;
    bool residual = is_residual(class, &c);
    if (c.attentions)
        return residual && c.linears > 4 * c.attentions ? "TransformerBlock" : "AttentionBlock";
    if (c.depthwise == 1 && c.convs == (c.products ? 4 : 2))
        return c.products ? "MBConv" : "InvertedResidual";
    if (c.depthwise && c.convs)
        return residual ? "SeparableResidual" : "SeparableConv";
    if (residual && c.convs)
        return "ResidualBlock";
    if (c.cats && c.convs > 3)
        return "InceptionBlock";
    if (c.cats && c.convs)
        return "DenseBlock";
    if (c.products && c.convs)
        return "GatedBlock";
    if (c.convs || c.depthwise)
        return "ConvBlock";
    if (c.recurrent)
        return "RecurrentBlock";
    if (c.linears)
        return residual ? "FeedForward" : "LinearBlock";
    const char *named = stem_name(s, class);
    return named ? named : "Block";
}

/* "model_1", "sequential" and the like say nothing. */
static bool counted_name(const char *name)
{
    static const char *const stems[] = {"model", "sequential", "functional", "Model", "Sequential", "Functional"};
    for (size_t i = 0; i < sizeof stems / sizeof *stems; i++) {
        size_t n = strlen(stems[i]);
        if (strncmp(name, stems[i], n) == 0 && strspn(name + n, "_0123456789") == strlen(name + n))
            return true;
    }
    return false;
}

static const char *scope_name(struct search *s, const struct keras_scope *scope)
{
    const char *last = strrchr(scope->path, '/');
    last = last ? last + 1 : scope->path;
    const char *name = counted_name(last) ? "Submodel" : name_camel_case(s, torch_identifier(s->arena, last));
    return name && isalpha((unsigned char)*name) && strlen(name) < 60 ? name : "Submodel";
}

void name_class(struct search *s, json_t *names, struct structure_class *class)
{
    const char *wanted = class->scope ? scope_name(s, class->scope) : block_name(s, class);
    for (int i = 1; wanted && !s->broken && !class->name; i++) {
        const char *name = i == 1 ? wanted : arena_printf(s->arena, "%s%d", wanted, i);
        const char *key = name ? name_lower_case(s, name) : NULL;
        if (!key ||
            (!json_object_get(names, key) && json_object_set_new_nocheck(names, class->name = key, json_true()) < 0))
            s->broken = true;
        if (class->name)
            class->name = name;
    }
    s->broken = s->broken || !wanted;
}

/* ---- labels of blocks without one ---- */

static bool weighted(const struct torch_node *node)
{
    return node->module && node->parameter_count > 0 &&
           (node->op < TORCH_BATCH_NORM1D || node->op > TORCH_GROUP_NORM) && node->op != TORCH_PARAMETER;
}

/* The last layer of a block, when its author named it. */
static const char *result_name(struct search *s, const struct structure_block *block)
{
    int last = block->class->slot_count - 1;
    const struct torch_node *node = last < 0 ? NULL : block->items[last].node;
    if (!node || !node->call || node->call->layer->operation || layer_has_default_name(node->call->layer))
        return NULL;
    return body_relative_name(s, s->graph->values[node->output].hint, node->call->scope);
}

/* What the names of all layers of a block that their author named begin with, or NULL. */
static const char *shared_beginning(struct search *s, const struct structure_block *block)
{
    char *common = NULL;
    for (int i = 0; i < block->class->slot_count; i++) {
        const struct structure_item *item = &block->items[i];
        const struct torch_node *node = item->node;
        if ((!node && !item->block) || (node && (!node->call || layer_has_default_name(node->call->layer))))
            continue;
        const char *name = item_label(s, item);
        if (!name || (!common && !(common = arena_strdup(s->arena, name))))
            return NULL;
        cut_to_shared_words(common, name);
    }
    return common && *common ? common : NULL;
}

/* A block of one convolution (or the like) is called as that is, another as its last layer, if that has a name of its own. */
static const char *label_of(struct search *s, const struct structure_block *block)
{
    const struct structure_class *class = block->class;
    int main = -1, count = 0;
    for (int i = 0; i < class->slot_count; i++) {
        const struct structure_item *item = &class->slots[i].item;
        bool candidate = item->block || weighted(item->node);
        count += candidate;
        main = candidate ? i : main;
    }
    const struct torch_node *node = count == 1 ? block->items[main].node : NULL;
    if (node && node->call)
        return body_relative_name(s, node->module, node->call->scope);
    const char *shared = shared_beginning(s, block);
    return shared ? shared : result_name(s, block);
}

static void first_node(void *context, struct torch_node *node)
{
    struct torch_node **found = context;
    *found = *found ? *found : node;
}

struct unnamed {
    struct structure_block *block;
    const struct torch_node *first;
};

static int by_place(const void *a, const void *b)
{
    const struct unnamed *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

/* The others are numbered in the order in which they run: "residual_block1". */
void label_blocks(struct search *s)
{
    int count = 0, n = 0;
    for (int i = 0; i < s->class_count; i++)
        count += s->classes[i]->block_count;
    struct unnamed *blocks = ARENA_ARRAY(s->arena, struct unnamed, (size_t)count + 1);
    json_t *counts = json_object();
    s->broken = s->broken || !blocks || !counts;
    for (int i = 0; i < s->class_count && !s->broken; i++)
        for (int b = 0; b < s->classes[i]->block_count; b++) {
            struct structure_block *block = s->classes[i]->blocks[b];
            struct torch_node *first = NULL;
            for (int k = 0; k < s->classes[i]->slot_count; k++)
                if (block->items[k].node || block->items[k].block)
                    item_each_node(&block->items[k], first_node, &first);
            if (!block->label)
                blocks[n++] = (struct unnamed){block, first};
        }
    if (blocks)
        qsort(blocks, (size_t)n, sizeof *blocks, by_place);
    for (int i = 0; i < n && !s->broken; i++) {
        struct structure_block *block = blocks[i].block;
        block->label = block->instance != block ? block->instance->label : label_of(s, block);
        if (block->label)
            continue;
        const char *stem = name_snake_case(s, block->class->name);
        size_t length = stem ? strlen(stem) : 0;
        while (length && isdigit((unsigned char)stem[length - 1]))
            length--;
        char *key = stem ? arena_printf(s->arena, "%.*s", (int)length, stem) : NULL;
        json_int_t number = key ? json_integer_value(json_object_get(counts, key)) + 1 : 0;
        block->label = key ? arena_printf(s->arena, "%s%d", key, (int)number) : NULL;
        s->broken = s->broken || !block->label || json_object_set_new_nocheck(counts, key, json_integer(number)) < 0;
    }
    json_decref(counts);
}
