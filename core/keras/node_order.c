/* SPDX-License-Identifier: Apache-2.0 */
/* The order in which Keras runs nodes: by depth, the deepest first. It matters only where a layer changes what runs after it. */
#include <string.h>

#include "keras/node.h"
#include "layers/layer.h"

/* Nodes, each behind those that it needs or the other way round. */
struct node_list {
    size_t count, capacity;
    struct node **nodes;
};

static int list_node(struct builder *b, struct node_list *list, struct node *node)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        struct node **nodes = ARENA_ARRAY(b->arena, struct node *, capacity);
        if (!nodes)
            return h5pt_fail_memory(b->err);
        if (list->count)
            memcpy(nodes, list->nodes, list->count * sizeof *nodes);
        list->nodes = nodes;
        list->capacity = capacity;
    }
    list->nodes[list->count++] = node;
    return 0;
}

/* Appends what `target` needs and is not listed yet, and itself, last. */
static int list_needed(struct builder *b, const struct instance *instance, struct node *target, struct node_list *list)
{
    struct node *stack = NULL, *needed = target;
    while (needed || stack) {
        if (needed && !needed->listed && needed->state == NODE_NEW) {
            if (node_read(b, needed) < 0)
                return -1;
            needed->listed = true;
            needed->below = stack;
            stack = needed;
        }
        needed = NULL;
        if (!stack)
            break;
        if (stack->next < stack->ref_count) {
            needed = node_locate(b, instance, &stack->refs[stack->next++], false);
            continue;
        }
        stack->next = 0;
        if (list_node(b, list, stack) < 0)
            return -1;
        stack = stack->below;
    }
    return 0;
}

/* Moves the nodes to `ret` by falling depth, those of equal depth in the order in which they are first met on the way from the
 * outputs. All calls of a layer count as deep as the deepest before them. */
static int sort_by_depth(struct builder *b, const struct instance *instance, const struct node_list *list,
                         struct node_list *ret)
{
    struct node_list met = {0};
    int *layers = ARENA_ARRAY(b->arena, int, instance->network->layer_count + 1), deepest = 0;
    if (!layers)
        return h5pt_fail_memory(b->err);
    for (size_t i = 0; i < list->count; i++)
        list->nodes[i]->listed = false;
    for (size_t i = list->count; i-- > 0;) {
        struct node *node = list->nodes[i];
        int *layer = &layers[node->entry - instance->network->layers];
        if (!node->listed && list_node(b, &met, node) < 0)
            return -1;
        node->listed = true;
        node->depth = *layer = node->depth > *layer ? node->depth : *layer;
        deepest = node->depth > deepest ? node->depth : deepest;
        for (int k = 0; k < node->ref_count; k++) {
            struct node *needed = node_locate(b, instance, &node->refs[k], false);
            if (!needed || needed->state != NODE_NEW)
                continue;
            if (!needed->listed && list_node(b, &met, needed) < 0)
                return -1;
            needed->listed = true;
            needed->depth = needed->depth > node->depth ? needed->depth : node->depth + 1;
        }
    }
    /* by counting: `first` of each depth */
    size_t *first = ARENA_ARRAY(b->arena, size_t, (size_t)deepest + 2);
    ret->nodes = ARENA_ARRAY(b->arena, struct node *, met.count + 1);
    if (!first || !ret->nodes)
        return h5pt_fail_memory(b->err);
    for (size_t i = 0; i < met.count; i++)
        first[deepest - met.nodes[i]->depth + 1]++;
    for (int depth = 0; depth < deepest; depth++)
        first[depth + 1] += first[depth];
    for (size_t i = 0; i < met.count; i++)
        ret->nodes[first[deepest - met.nodes[i]->depth]++] = met.nodes[i];
    ret->count = met.count;
    return 0;
}

/* A layer that changes what runs after it. */
bool node_order_matters(const struct network *network)
{
    bool matters = false;
    for (size_t i = 0; !matters && i < network->layer_count; i++)
        matters = network->layers[i].nested ? node_order_matters(network->layers[i].nested)
                                            : strcmp(network->layers[i].class_name, "MultiHeadAttention") == 0;
    return matters;
}

/* Runs what the outputs need as Keras 3 does. */
int node_run_in_order(struct builder *b, const struct instance *instance, const struct node *out)
{
    struct node_list needed = {0}, sorted = {0};
    for (int i = 0; i < out->ref_count; i++) {
        struct node *node = node_locate(b, instance, &out->refs[i], true);
        if (node && list_needed(b, instance, node, &needed) < 0)
            return -1;
    }
    if (sort_by_depth(b, instance, &needed, &sorted) < 0)
        return -1;
    for (size_t i = 0; i < sorted.count; i++)
        if (node_run(b, instance, sorted.nodes[i]) < 0)
            return -1;
    return 0;
}
