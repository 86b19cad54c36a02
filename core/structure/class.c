/* SPDX-License-Identifier: Apache-2.0 */
/* Classes and their blocks. */
#include <string.h>

#include "structure/internal.h"

static const int *copy(struct search *s, const int *values, int count)
{
    int *fresh = ARENA_ARRAY(s->arena, int, (size_t)count + 1);
    if (!fresh)
        s->broken = true;
    else if (count)
        memcpy(fresh, values, (size_t)count * sizeof *values);
    return fresh;
}

/* ---- the body of a class ---- */

/* What a class is made of: items of a body, and the values of the graph that go in and come out. */
struct matter {
    int count, input_count, output_count;
    const struct structure_item *items;
    const int *inputs, *outputs;
};

static struct matter matter_of(const struct body *body, const struct piece *piece)
{
    return (struct matter){piece->count,  piece->input_count, piece->output_count, body->items + piece->first,
                           piece->inputs, piece->outputs};
}

/* Numbers the values as piece_signature does, and makes the slots of a class. */
static void fill_class(struct search *s, const struct matter *m, struct structure_class *class)
{
    int values = m->input_count, n = 0;
    for (int i = 0; i < m->count; i++)
        values += item_output_count(&m->items[i]);
    int *global = ARENA_ARRAY(s->arena, int, (size_t)values + 1);
    int *outputs = ARENA_ARRAY(s->arena, int, (size_t)m->output_count + 1);
    class->slots = ARENA_ARRAY(s->arena, struct structure_slot, (size_t)m->count + 1);
    s->broken = s->broken || !global || !outputs || !class->slots;
    for (int i = 0; i < m->input_count && !s->broken; i++) {
        global[n] = m->inputs[i];
        s->local[m->inputs[i]] = n++;
    }
    for (int i = 0; i < m->count && !s->broken; i++) {
        const struct structure_item *item = &m->items[i];
        int count = item_input_count(item), *inputs = ARENA_ARRAY(s->arena, int, (size_t)count + 1);
        for (int k = 0; inputs && k < count; k++)
            inputs[k] = s->local[item_inputs(item)[k]];
        class->slots[i] = (struct structure_slot){
            .item = *item,
            .input_count = count,
            .inputs = inputs,
            .output = n,
            .output_count = item_output_count(item),
            .option = -1,
        };
        s->broken = s->broken || !inputs;
        for (int k = 0; k < item_output_count(item); k++) {
            global[n] = item_output(item, k);
            s->local[item_output(item, k)] = n++;
        }
    }
    for (int i = 0; i < m->output_count && !s->broken; i++)
        outputs[i] = s->local[m->outputs[i]];
    class->input_count = m->input_count;
    class->value_count = values;
    class->slot_count = m->count;
    class->output_count = m->output_count;
    class->outputs = outputs;
    class->values = global;
}

/* Whether the items of a piece are what the slots of a class are, and joined alike. */
static bool fits(struct search *s, const struct structure_class *class, const struct body *body,
                 const struct piece *piece)
{
    if (class->slot_count != piece->count || class->input_count != piece->input_count ||
        class->output_count != piece->output_count || class->option_count)
        return false;
    struct strbuf a = STRBUF_INIT, b = STRBUF_INIT;
    struct body first = {.items = class->blocks[0]->items};
    struct piece whole = {
        .count = class->slot_count, .input_count = class->input_count, .output_count = class->output_count};
    memcpy(whole.inputs, class->blocks[0]->inputs, (size_t) class->input_count * sizeof(int));
    memcpy(whole.outputs, class->blocks[0]->outputs, (size_t) class->output_count * sizeof(int));
    piece_signature(s, &first, &whole, false, &a);
    piece_signature(s, body, piece, false, &b);
    bool same = a.length == b.length && strcmp(strbuf_text(&a), strbuf_text(&b)) == 0;
    strbuf_release(&a);
    strbuf_release(&b);
    return same;
}

/* Whether the constructor would still have few arguments. */
static bool few_arguments(struct search *s, const struct structure_class *class, const struct body *body,
                          const struct piece *piece)
{
    const struct structure_item *const items[] = {class->blocks[0]->items, body->items + piece->first};
    return arguments_needed(s, class->slot_count, 2, items) <= CLASS_MAX_ARGUMENTS;
}

static struct structure_class *class_new(struct search *s, const struct matter *m, const struct keras_scope *scope)
{
    struct structure_class *class = ARENA_NEW(s->arena, struct structure_class);
    if (!class) {
        s->broken = true;
        return NULL;
    }
    class->scope = scope;
    fill_class(s, m, class);
    return class;
}

static struct structure_class *class_listed(struct search *s, struct structure_class *class)
{
    if (class && s->class_count == s->class_capacity) {
        int wanted = s->class_capacity ? 2 * s->class_capacity : 16;
        struct structure_class **fresh = ARENA_ARRAY(s->arena, struct structure_class *, (size_t)wanted);
        if (!fresh) {
            s->broken = true;
            return NULL;
        }
        for (int i = 0; i < s->class_count; i++)
            fresh[i] = s->classes[i];
        s->classes = fresh;
        s->class_capacity = wanted;
    }
    if (class)
        s->classes[s->class_count++] = class;
    return class;
}

static struct structure_class *class_for(struct search *s, const struct body *body, const struct piece *piece,
                                         const struct keras_scope *scope)
{
    for (int i = s->class_count - 1; i >= 0; i--)
        if (!s->classes[i]->scope == !scope && fits(s, s->classes[i], body, piece) &&
            few_arguments(s, s->classes[i], body, piece))
            return s->classes[i];
    struct matter m = matter_of(body, piece);
    return class_listed(s, class_new(s, &m, scope));
}

static void add_block(struct search *s, struct structure_class *class, struct structure_block *block)
{
    int n = class->block_count;
    if ((n & (n - 1)) == 0) { /* a power of two: full */
        struct structure_block **fresh = ARENA_ARRAY(s->arena, struct structure_block *, n ? 2 * (size_t)n : 1);
        if (!fresh) {
            s->broken = true;
            return;
        }
        for (int i = 0; i < n; i++)
            fresh[i] = class->blocks[i];
        class->blocks = fresh;
    }
    class->blocks[class->block_count++] = block;
}

static struct structure_block *block_of(struct search *s, struct structure_class *class, const struct matter *m)
{
    struct structure_block *block = ARENA_NEW(s->arena, struct structure_block);
    struct structure_item *items = ARENA_ARRAY(s->arena, struct structure_item, (size_t)m->count + 1);
    if (!block || !items || !class) {
        s->broken = true;
        return NULL;
    }
    if (m->count)
        memcpy(items, m->items, (size_t)m->count * sizeof *items);
    *block = (struct structure_block){
        .class = class,
        .instance = block,
        .input_count = m->input_count,
        .output_count = m->output_count,
        .inputs = copy(s, m->inputs, m->input_count),
        .outputs = copy(s, m->outputs, m->output_count),
        .items = items,
    };
    add_block(s, class, block);
    return s->broken ? NULL : block;
}

struct structure_block *block_make(struct search *s, const struct body *body, const struct piece *piece,
                                   const struct keras_scope *scope)
{
    struct matter m = matter_of(body, piece);
    return block_of(s, class_for(s, body, piece, scope), &m);
}

struct structure_block *block_again(struct search *s, struct structure_class *class, const struct structure_block *like)
{
    struct structure_block *block = ARENA_NEW(s->arena, struct structure_block);
    if (!block) {
        s->broken = true;
        return NULL;
    }
    *block = *like;
    block->instance = block;
    add_block(s, class, block);
    return s->broken ? NULL : block;
}

struct structure_block *block_alone(struct search *s, const struct body *body, const struct piece *piece)
{
    struct matter m = matter_of(body, piece);
    struct structure_class *class = class_new(s, &m, NULL);
    return class ? block_of(s, class, &m) : NULL;
}

struct structure_class *class_of_model(struct search *s, const struct body *body)
{
    const struct torch_graph *g = s->graph;
    int *inputs = ARENA_ARRAY(s->arena, int, (size_t)g->input_count + 1);
    if (!inputs) {
        s->broken = true;
        return NULL;
    }
    for (int i = 0; i < g->input_count; i++)
        inputs[i] = g->inputs[i].value;
    struct matter m = {body->count, g->input_count, body->output_count, body->items, inputs, body->outputs};
    struct structure_class *class = class_listed(s, class_new(s, &m, NULL));
    struct structure_block *block = class ? block_of(s, class, &m) : NULL;
    if (!block)
        return NULL;
    class->name = g->name;
    block->label = "";
    return class;
}
