/* SPDX-License-Identifier: Apache-2.0 */
/* Every block must be what its class says: the same wiring of the graph, the same numbers. */
#include <string.h>

#include "structure/internal.h"

/* The values of the graph that the values of a class are in one block; false where the block is wired in another way. */
static bool block_fits(const struct structure_block *block, int *global)
{
    const struct structure_class *class = block->class;
    if (block->input_count != class->input_count || block->output_count != class->output_count)
        return false;
    for (int i = 0; i < class->input_count; i++)
        global[i] = block->inputs[i];
    for (int i = 0; i < class->slot_count; i++) {
        const struct structure_slot *slot = &class->slots[i];
        const struct structure_item *item = &block->items[i];
        if (!item->node && !item->block) {
            if (slot->option < 0 || slot->output_count != 1)
                return false;
            global[slot->output] = global[slot->instead];
            continue;
        }
        if (item_input_count(item) != slot->input_count || item_output_count(item) != slot->output_count ||
            !item->node != !slot->item.node || (item->block && item->block->class != slot->item.block->class) ||
            (item->node && item->node->op != slot->item.node->op))
            return false;
        for (int k = 0; k < slot->input_count; k++)
            if (item_inputs(item)[k] != global[slot->inputs[k]])
                return false;
        for (int k = 0; k < slot->output_count; k++)
            global[slot->output + k] = item_output(item, k);
    }
    for (int i = 0; i < class->output_count; i++)
        if (global[class->outputs[i]] != block->outputs[i])
            return false;
    return true;
}

bool structure_holds(struct search *s)
{
    for (int i = 0; i < s->class_count && !s->broken; i++) {
        const struct structure_class *class = s->classes[i];
        int *global = ARENA_ARRAY(s->arena, int, (size_t) class->value_count + 1);
        s->broken = s->broken || !global;
        for (int b = 0; b < class->block_count && !s->broken; b++)
            if (class->blocks[b]->class != class || !block_fits(class->blocks[b], global) ||
                !block_arguments_hold(s, class->blocks[b]))
                return false;
    }
    return true;
}
