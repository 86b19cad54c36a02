/* SPDX-License-Identifier: Apache-2.0 */
/* Classes that differ in a few slots become one with optional slots: a residual block with or without a projection. Two bodies are
 * aligned slot by slot; where one has a slot that the other has not, what goes into the slot stands for what comes out. */
#include <string.h>

#include "structure/internal.h"

enum {
    MAX_SLOTS = 64,
    MAX_VALUES = 4 * MAX_SLOTS,
    MAX_STEPS = 20000,
    MAX_SKIPPED = 8,
    MAX_CLASSES = 24,
    MORE_ARGUMENTS = 3,
    LEAST_MATCHED = 5
};

/* A slot of the united class: slots of the two, or -1. */
struct pair {
    int of[2];
    int inputs[MAX_SLOTS / 4], input_count;
    int output, output_count, instead;
};

/* Values of the united class are numbered like those of a class. */
struct alignment {
    struct search *s;
    const struct structure_class *sides[2];
    const char **keys[2], **names[2];
    bool by_name; /* slots match only when their names do not differ */
    int steps, skips_left;
    int count, value_count;
    struct pair pairs[2 * MAX_SLOTS];
    int value_of[2][MAX_VALUES];       /* per value of each side: the united one */
    int stands_for[2][2 * MAX_VALUES]; /* per united value: the one that is there in blocks of each side */
    int outputs[SCOPE_MAX_OUTPUTS];
};

/* The latest united value that is `a` in blocks of one side and `b` in blocks of the other (-1: whatever); -1: none. */
static int find_value(const struct alignment *al, int a, int b)
{
    for (int r = al->value_count - 1; r >= 0; r--)
        if ((a < 0 || al->stands_for[0][r] == a) && (b < 0 || al->stands_for[1][r] == b))
            return r;
    return -1;
}

static int side_value(const struct alignment *al, int side, int value)
{
    return al->value_of[side][value];
}

static bool align(struct alignment *al, int i, int j);

/* Adds outputs of a pair; `instead` < 0: both sides have it. */
static void add_outputs(struct alignment *al, struct pair *p, int missing)
{
    for (int k = 0; k < p->output_count; k++) {
        int r = al->value_count++;
        for (int side = 0; side < 2; side++) {
            al->stands_for[side][r] = side == missing ? al->stands_for[side][p->instead] : r;
            if (p->of[side] >= 0)
                al->value_of[side][al->sides[side]->slots[p->of[side]].output + k] = r;
        }
    }
}

static bool try_match(struct alignment *al, int i, int j)
{
    const struct structure_slot *a = &al->sides[0]->slots[i], *b = &al->sides[1]->slots[j];
    if (strcmp(al->keys[0][i], al->keys[1][j]) != 0 || a->input_count != b->input_count ||
        a->output_count != b->output_count)
        return false;
    const char *name_a = al->names[0][i], *name_b = al->names[1][j];
    if (al->by_name && name_a && name_b && strcmp(name_a, name_b) != 0)
        return false;
    struct pair *p = &al->pairs[al->count];
    *p = (struct pair){
        .of = {i, j}, .input_count = a->input_count, .output = al->value_count, .output_count = a->output_count};
    for (int k = 0; k < a->input_count; k++) {
        p->inputs[k] = find_value(al, side_value(al, 0, a->inputs[k]), side_value(al, 1, b->inputs[k]));
        if (p->inputs[k] < 0)
            return false;
    }
    p->instead = a->option < 0 ? -1 : find_value(al, side_value(al, 0, a->instead), -1);
    int values = al->value_count;
    al->count++;
    add_outputs(al, p, -1);
    if (align(al, i + 1, j + 1))
        return true;
    al->count--;
    al->value_count = values;
    return false;
}

/* A slot that only `side` has. */
static bool try_skip(struct alignment *al, int side, int i, int j)
{
    int index = side == 0 ? i : j;
    const struct structure_slot *slot = &al->sides[side]->slots[index];
    bool optional = slot->option >= 0;
    if (slot->output_count != 1 || (!optional && al->skips_left == 0) || al->count + 1 >= 2 * MAX_SLOTS)
        return false;
    int inputs[MAX_SLOTS / 4], values = al->value_count;
    for (int k = 0; k < slot->input_count; k++) {
        int value = side_value(al, side, slot->inputs[k]);
        inputs[k] = find_value(al, side == 0 ? value : -1, side == 1 ? value : -1);
        if (inputs[k] < 0)
            return false;
    }
    int choices = optional ? 1 : slot->input_count;
    for (int t = 0; t < choices; t++) {
        struct pair *p = &al->pairs[al->count];
        *p = (struct pair){.of = {-1, -1}, .input_count = slot->input_count, .output = values, .output_count = 1};
        p->of[side] = index;
        memcpy(p->inputs, inputs, sizeof inputs);
        int kept = optional ? side_value(al, side, slot->instead) : -1;
        p->instead = optional ? find_value(al, side == 0 ? kept : -1, side == 1 ? kept : -1) : inputs[t];
        if (p->instead < 0)
            continue;
        al->count++;
        al->skips_left -= !optional;
        add_outputs(al, p, 1 - side);
        if (align(al, i + (side == 0), j + (side == 1)))
            return true;
        al->skips_left += !optional;
        al->count--;
        al->value_count = values;
    }
    return false;
}

static bool finish(struct alignment *al)
{
    for (int k = 0; k < al->sides[0]->output_count; k++) {
        al->outputs[k] = find_value(al, side_value(al, 0, al->sides[0]->outputs[k]),
                                    side_value(al, 1, al->sides[1]->outputs[k]));
        if (al->outputs[k] < 0)
            return false;
    }
    return true;
}

static bool align(struct alignment *al, int i, int j)
{
    bool more_a = i < al->sides[0]->slot_count, more_b = j < al->sides[1]->slot_count;
    if (++al->steps > MAX_STEPS)
        return false;
    if (!more_a && !more_b)
        return finish(al);
    return (more_a && more_b && try_match(al, i, j)) || (more_a && try_skip(al, 0, i, j)) ||
           (more_b && try_skip(al, 1, i, j));
}

/* ---- the united class ---- */

static const char **slot_keys(struct search *s, const struct structure_class *class)
{
    const char **keys = ARENA_ARRAY(s->arena, const char *, (size_t) class->slot_count + 1);
    for (int i = 0; keys && i < class->slot_count; i++) {
        struct strbuf text = STRBUF_INIT;
        item_key(s, &class->slots[i].item, false, &text);
        keys[i] = strbuf_ok(&text) ? arena_strdup(s->arena, strbuf_text(&text)) : NULL;
        strbuf_release(&text);
        s->broken = s->broken || !keys[i];
    }
    s->broken = s->broken || !keys;
    return keys;
}

static const char **slot_names(struct search *s, const struct structure_class *class)
{
    const char **names = ARENA_ARRAY(s->arena, const char *, (size_t) class->slot_count + 1);
    for (int i = 0; names && i < class->slot_count; i++)
        names[i] = slot_agreed_name(s, class, i);
    s->broken = s->broken || !names;
    return names;
}

static void relay(struct search *s, const struct alignment *al, int side, struct structure_block *block,
                  struct structure_class *class)
{
    struct structure_item *items = ARENA_ARRAY(s->arena, struct structure_item, (size_t)al->count + 1);
    s->broken = s->broken || !items;
    for (int i = 0; items && i < al->count; i++)
        if (al->pairs[i].of[side] >= 0)
            items[i] = block->items[al->pairs[i].of[side]];
    block->items = items;
    block->class = class;
}

static bool has(const struct structure_block *block, int slot)
{
    return block->items[slot].node || block->items[slot].block;
}

static bool same_presence(const struct structure_class *class, int a, int b)
{
    for (int i = 0; i < class->block_count; i++)
        if (has(class->blocks[i], a) != has(class->blocks[i], b))
            return false;
    return true;
}

/* Slots that the same blocks have are one option. */
static void find_options(struct structure_class *class)
{
    class->option_count = 0;
    for (int i = 0; i < class->slot_count; i++) {
        struct structure_slot *slot = &class->slots[i];
        bool always = true;
        slot->option = -1;
        for (int b = 0; b < class->block_count; b++)
            always = always && has(class->blocks[b], i);
        for (int k = 0; k < i && !always && slot->option < 0; k++)
            if (class->slots[k].option >= 0 && same_presence(class, i, k))
                slot->option = class->slots[k].option;
        if (!always && slot->option < 0)
            slot->option = class->option_count++;
    }
}

/* Each run of optional slots must hand on one value, that of its last slot. */
static bool runs_are_simple(const struct structure_class *class)
{
    int runs = 0;
    for (int i = 0; i < class->slot_count; i++) {
        int end = i + 1;
        if (class->slots[i].option < 0)
            continue;
        while (end < class->slot_count && structure_run_start(class, end) == i)
            end++;
        runs++;
        for (int v = class->slots[i].output; v < class->slots[end - 1].output; v++) {
            for (int k = end; k < class->slot_count; k++)
                for (int n = 0; n < class->slots[k].input_count; n++)
                    if (class->slots[k].inputs[n] == v || (class->slots[k].option >= 0 && class->slots[k].instead == v))
                        return false;
            for (int k = 0; k < class->output_count; k++)
                if (class->outputs[k] == v)
                    return false;
        }
        i = end - 1;
    }
    return runs <= CLASS_MAX_OPTIONS + 1;
}

/* Whether a person can say what an option does: it adds, pads, or has modules. */
static bool options_mean_something(const struct structure_class *class)
{
    for (int option = 0; option < class->option_count; option++) {
        bool means = false;
        for (int i = 0; i < class->slot_count; i++) {
            const struct structure_item *item = &class->slots[i].item;
            means = means ||
                    (class->slots[i].option == option &&
                     (item->block || item->node->module || item->node->op == TORCH_ADD || item->node->op == TORCH_PAD));
        }
        if (!means)
            return false;
    }
    return true;
}

/* One or the other of two slots that do the same in different ways is no option. */
static bool has_alternatives(const struct structure_class *class)
{
    for (int i = 1; i < class->slot_count; i++) {
        const struct structure_slot *a = &class->slots[i - 1], *b = &class->slots[i];
        if (a->option >= 0 && b->option >= 0 && a->option != b->option && a->item.node && b->item.node &&
            a->item.node->op == b->item.node->op)
            return true;
    }
    return false;
}

static void fill_united(struct search *s, const struct alignment *al, struct structure_class *ret)
{
    const struct structure_class *a = al->sides[0], *b = al->sides[1];
    int blocks = a->block_count + b->block_count;
    int *outputs = ARENA_ARRAY(s->arena, int, (size_t)a->output_count + 1);
    int *values = ARENA_ARRAY(s->arena, int, (size_t)al->value_count + 1);
    *ret = (struct structure_class){
        .input_count = a->input_count,
        .value_count = al->value_count,
        .slot_count = al->count,
        .output_count = a->output_count,
        .outputs = outputs,
        .values = values,
        .slots = ARENA_ARRAY(s->arena, struct structure_slot, (size_t)al->count + 1),
        .blocks = ARENA_ARRAY(s->arena, struct structure_block *, 2 * (size_t)blocks + 1),
    };
    if (!outputs || !values || !ret->slots || !ret->blocks) {
        s->broken = true;
        return;
    }
    memcpy(outputs, al->outputs, (size_t)a->output_count * sizeof *outputs);
    for (int side = 1; side >= 0; side--)
        for (int v = 0; v < al->sides[side]->value_count; v++)
            values[al->value_of[side][v]] = al->sides[side]->values[v];
    for (int i = 0; i < al->count && !s->broken; i++) {
        const struct pair *p = &al->pairs[i];
        const struct structure_slot *from = p->of[0] >= 0 ? &a->slots[p->of[0]] : &b->slots[p->of[1]];
        int *inputs = ARENA_ARRAY(s->arena, int, (size_t)p->input_count + 1);
        s->broken = s->broken || !inputs;
        if (inputs && p->input_count)
            memcpy(inputs, p->inputs, (size_t)p->input_count * sizeof *inputs);
        ret->slots[i] = (struct structure_slot){
            .item = from->item,
            .input_count = p->input_count,
            .inputs = inputs,
            .output = p->output,
            .output_count = p->output_count,
            .instead = p->instead,
        };
    }
    for (int i = 0; i < a->block_count; i++)
        ret->blocks[ret->block_count++] = a->blocks[i];
    for (int i = 0; i < b->block_count; i++)
        ret->blocks[ret->block_count++] = b->blocks[i];
}

/* Chooses the arguments of the classes that a class uses, as far as that has not been done. */
static void prepare(struct search *s, const struct structure_class *class)
{
    for (int i = 0; i < class->slot_count && !s->broken; i++) {
        struct structure_block *block = class->slots[i].item.block;
        if (!block || block->class->slots[0].arguments)
            continue;
        prepare(s, block->class);
        choose_arguments(s, block->class);
    }
}

/* How many arguments the constructor would have if the class stayed as it is. */
static int argument_count(struct search *s, const struct structure_class *class)
{
    prepare(s, class);
    struct structure_class probe = *class;
    probe.option_count = 0; /* they have no names yet */
    if (!s->broken)
        choose_arguments(s, &probe);
    return probe.argument_count;
}

/* Whether a person could read the class; `most`: arguments that it may have. */
static bool acceptable(struct search *s, struct structure_class *united, int most)
{
    find_options(united);
    if (united->option_count > CLASS_MAX_OPTIONS || !runs_are_simple(united) || !options_mean_something(united) ||
        has_alternatives(united))
        return false;
    int count = argument_count(s, united);
    return !s->broken && count <= most && count <= CLASS_MAX_ARGUMENTS;
}

static bool find_alignment(struct alignment *al, struct search *s, const struct structure_class *a,
                           const struct structure_class *b)
{
    if (a->input_count != b->input_count || a->output_count != b->output_count || a->scope || b->scope ||
        b->option_count || a->slot_count > MAX_SLOTS || b->slot_count > MAX_SLOTS || a->value_count > MAX_VALUES ||
        b->value_count > MAX_VALUES)
        return false;
    for (int side = 0; side < 2; side++) {
        const struct structure_class *class = side ? b : a;
        for (int i = 0; i < class->slot_count; i++)
            if (class->slots[i].input_count > MAX_SLOTS / 4)
                return false;
        al->sides[side] = class;
        al->keys[side] = slot_keys(s, class);
        al->names[side] = slot_names(s, class);
    }
    int most = 0;
    for (int i = 0; i < a->slot_count; i++)
        most += a->slots[i].option < 0;
    most = most > b->slot_count ? most : b->slot_count;
    for (int attempt = 0; attempt < 2 * (MAX_SKIPPED + 1) && !s->broken; attempt++) {
        int skips = attempt % (MAX_SKIPPED + 1);
        al->by_name = attempt <= MAX_SKIPPED;
        al->s = s;
        al->steps = al->count = 0;
        al->value_count = a->input_count;
        al->skips_left = skips;
        for (int v = 0; v < a->input_count; v++)
            al->value_of[0][v] = al->value_of[1][v] = al->stands_for[0][v] = al->stands_for[1][v] = v;
        if (!align(al, 0, 0))
            continue;
        int matched = 0;
        for (int i = 0; i < al->count; i++)
            matched += al->pairs[i].of[0] >= 0 && al->pairs[i].of[1] >= 0;
        return matched >= LEAST_MATCHED && 10 * matched >= 6 * most;
    }
    return false;
}

/* Whether blocks of `inner` are part of `outer`, at any depth. */
static bool uses_class(const struct structure_class *outer, const struct structure_class *inner)
{
    for (int i = 0; i < outer->slot_count; i++) {
        const struct structure_block *block = outer->slots[i].item.block;
        if (block && (block->class == inner || uses_class(block->class, inner)))
            return true;
    }
    return false;
}

bool class_absorb(struct search *s, struct structure_class *a, struct structure_class *b)
{
    struct alignment *al = ARENA_NEW(s->arena, struct alignment);
    struct structure_class united;
    if (!al) {
        s->broken = true;
        return false;
    }
    if (uses_class(a, b) || uses_class(b, a) || !find_alignment(al, s, a, b))
        return false;
    int before_a = argument_count(s, a), before_b = argument_count(s, b);
    int most = (before_a > before_b ? before_a : before_b) + MORE_ARGUMENTS;
    fill_united(s, al, &united);
    if (s->broken)
        return false;
    struct structure_item **before = ARENA_ARRAY(s->arena, struct structure_item *, (size_t)united.block_count + 1);
    if (!before) {
        s->broken = true;
        return false;
    }
    for (int i = 0; i < united.block_count; i++) {
        before[i] = united.blocks[i]->items;
        relay(s, al, i >= a->block_count, united.blocks[i], a);
    }
    if (!s->broken && acceptable(s, &united, most)) {
        *a = united;
        return true;
    }
    for (int i = 0; i < united.block_count; i++) {
        united.blocks[i]->items = before[i];
        united.blocks[i]->class = i < a->block_count ? a : b;
    }
    return false;
}

/* ---- which classes ---- */

static int blocks_in(const struct body *body, const struct structure_class *class)
{
    int count = 0;
    for (int i = 0; i < body->count; i++)
        count += body->items[i].block && body->items[i].block->class == class;
    return count;
}

int classes_in(const struct body *body, struct structure_class **ret, int most)
{
    int count = 0;
    for (int i = 0; i < body->count && count < most; i++) {
        struct structure_class *class = body->items[i].block ? body->items[i].block->class : NULL;
        bool known = !class || class->scope;
        for (int k = 0; k < count && !known; k++)
            known = ret[k] == class;
        /* A class that is used elsewhere too may be part of another one that does not know of options. */
        if (!known && blocks_in(body, class) == class->block_count)
            ret[count++] = class;
    }
    return count;
}

static void forget_class(struct search *s, const struct structure_class *class)
{
    int n = 0;
    for (int i = 0; i < s->class_count; i++)
        if (s->classes[i] != class)
            s->classes[n++] = s->classes[i];
    s->class_count = n;
}

void unite_variants(struct search *s, const struct body *body)
{
    struct structure_class *classes[MAX_CLASSES];
    int count = classes_in(body, classes, MAX_CLASSES);
    for (int i = 0; i < count && !s->broken; i++)
        for (int k = 0; k < count && !s->broken; k++) {
            if (k == i || !classes[k] || !classes[i] || classes[k]->slot_count > classes[i]->slot_count)
                continue;
            if (class_absorb(s, classes[i], classes[k])) {
                forget_class(s, classes[k]);
                classes[k] = NULL;
            }
        }
}
