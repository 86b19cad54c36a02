/* SPDX-License-Identifier: Apache-2.0 */
#include "structure/structure.h"

#include <string.h>

#include "structure/internal.h"

/* Gives every module a number. */
static void number_modules(struct search *s)
{
    const struct torch_graph *g = s->graph;
    json_t *numbers = json_object();
    int count = 0;
    s->broken = s->broken || !numbers;
    for (int i = 0; i < g->node_count && !s->broken; i++) {
        s->module_of[i] = -1;
        if (!g->nodes[i].module)
            continue;
        const json_t *known = json_object_get(numbers, g->nodes[i].module);
        s->module_of[i] = known ? (int)json_integer_value(known) : count;
        if (!known && json_object_set_new_nocheck(numbers, g->nodes[i].module, json_integer(count++)) < 0)
            s->broken = true;
    }
    json_decref(numbers);
}

static int *scratch(struct search *s, int count, int value)
{
    int *array = ARENA_ARRAY(s->arena, int, (size_t)count + 1);
    s->broken = s->broken || !array;
    for (int i = 0; array && i < count; i++)
        array[i] = value;
    return array;
}

static bool uses_value(const struct structure_slot *slot, int value)
{
    for (int i = 0; i < slot->input_count; i++)
        if (slot->inputs[i] == value)
            return true;
    return false;
}

int structure_run_start(const struct structure_class *class, int slot)
{
    while (slot > 0 && class->slots[slot].option >= 0 && class->slots[slot - 1].option == class->slots[slot].option &&
           uses_value(&class->slots[slot], class->slots[slot - 1].output))
        slot--;
    return slot;
}

int structure_find(struct torch_graph *graph, struct structure *ret, struct h5pt_error *err)
{
    struct search s = {.graph = graph, .arena = graph->arena, .err = err};
    int nodes = graph->node_count, values = graph->value_count;
    s.module_of = scratch(&s, nodes, -1);
    s.body_uses = scratch(&s, nodes, 0);
    s.maker = scratch(&s, values, -1);
    s.last_use = scratch(&s, values, -1);
    s.use_count = scratch(&s, values, 0);
    s.local = scratch(&s, values, -1);
    s.labels = ARENA_ARRAY(s.arena, const char *, (size_t)nodes + 1);
    s.names = ARENA_ARRAY(s.arena, struct node_name, (size_t)nodes + 1);
    s.broken = s.broken || !s.labels || !s.names;
    struct body body = {.count = 0};
    if (!s.broken)
        number_modules(&s);
    if (!s.broken)
        find_scopes(&s, &body);
    struct structure_class *root = s.broken ? NULL : class_of_model(&s, &body);
    if (root)
        name_everything(&s, root);
    if (s.broken)
        return h5pt_fail_memory(err);
    if (!structure_holds(&s))
        return s.broken ? h5pt_fail_memory(err)
                        : h5pt_fail(err, H5PT_INTERNAL, "model.py", "A block of the model is not what its class says");
    *ret = (struct structure){s.class_count, s.classes};
    return 0;
}
