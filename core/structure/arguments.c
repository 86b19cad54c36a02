/* SPDX-License-Identifier: Apache-2.0 */
/* What the blocks of a class differ in becomes arguments of its constructor. Numbers that are equal in every block, such as the
 * channels that one convolution gives and the next takes, are one argument. */
#include <ctype.h>
#include <string.h>

#include "base/words.h"
#include "structure/internal.h"
#include "torch/names.h"

static const char channel_attributes[] = "in_channels out_channels num_features num_channels in_features out_features "
                                         "groups normalized_shape hidden_size input_size "
                                         "embedding_dim num_parameters";

/* ---- what can differ at a slot ---- */

/* Number of things that an item could get from arguments. */
static int feature_count(const struct search *s, const struct structure_item *item)
{
    if (item->block)
        return item->block->class->argument_count;
    if (item->node->op == TORCH_PARAMETER)
        return s->graph->parameters[item->node->parameters[0]].shape.rank;
    return item->node->attr_count;
}

/* One of them; *room is used where there is no attribute in the graph. NULL: the default. */
static const struct torch_attr *feature(const struct search *s, const struct structure_item *item, int index,
                                        struct torch_attr *room)
{
    if (item->block)
        return item->block->arguments[index];
    if (item->node->op != TORCH_PARAMETER)
        return &item->node->attrs[index];
    const struct shape *shape = &s->graph->parameters[item->node->parameters[0]].shape;
    *room = (struct torch_attr){.name = "features", .kind = TORCH_ATTR_INT, .i = shape->dims[index]};
    return room;
}

static bool may_vary(const struct structure_item *item, int index)
{
    return item->block || item->node->op == TORCH_PARAMETER || item_may_vary(item->node, &item->node->attrs[index]);
}

static bool same_value(const struct torch_attr *a, const struct torch_attr *b)
{
    if (!a || !b || a->kind != b->kind)
        return a == b;
    struct strbuf x = STRBUF_INIT, y = STRBUF_INIT;
    struct torch_attr p = *a, q = *b;
    p.name = q.name = "";
    torch_attr_describe(&p, &x);
    torch_attr_describe(&q, &y);
    bool same = strcmp(strbuf_text(&x), strbuf_text(&y)) == 0;
    strbuf_release(&x);
    strbuf_release(&y);
    return same;
}

/* ---- counting, before there is a class ---- */

struct values {
    struct search *s;
    int count;
    struct strbuf *texts; /* one for each thing that can differ, values of all blocks */
    int capacity;
    int at;
};

static void note(struct values *v, const struct torch_attr *attr)
{
    if (v->at == v->capacity) {
        int wanted = v->capacity ? 2 * v->capacity : 64;
        struct strbuf *fresh = ARENA_ARRAY(v->s->arena, struct strbuf, (size_t)wanted);
        if (!fresh) {
            v->s->broken = true;
            return;
        }
        if (v->capacity)
            memcpy(fresh, v->texts, (size_t)v->capacity * sizeof *fresh);
        v->texts = fresh;
        v->capacity = wanted;
    }
    struct torch_attr nameless = *attr;
    nameless.name = "";
    torch_attr_describe(&nameless, &v->texts[v->at++]);
}

static void note_node(void *context, struct torch_node *node)
{
    struct values *v = context;
    const struct structure_item item = {.node = node};
    for (int i = 0; i < feature_count(v->s, &item); i++) {
        struct torch_attr room;
        if (may_vary(&item, i))
            note(v, feature(v->s, &item, i, &room));
    }
}

/* Whether a text is the same piece `count` times. */
static bool repeats(const char *text, int count)
{
    size_t n = strlen(text), piece = n / (size_t)count;
    return n % (size_t)count == 0 && memcmp(text, text + piece, n - piece) == 0;
}

int arguments_needed(struct search *s, int slot_count, int count, const struct structure_item *const *items)
{
    struct values v = {.s = s};
    json_t *different = json_object();
    for (int i = 0; i < count && !s->broken; i++) {
        v.at = 0;
        for (int k = 0; k < slot_count; k++)
            item_each_node(&items[i][k], note_node, &v);
    }
    for (int i = 0; i < v.at; i++)
        if (!repeats(strbuf_text(&v.texts[i]), count))
            (void)json_object_set_new(different, strbuf_text(&v.texts[i]), json_true());
    int needed = (int)json_object_size(different);
    for (int i = 0; i < v.capacity; i++)
        strbuf_release(&v.texts[i]);
    json_decref(different);
    return needed;
}

/* ---- choosing ---- */

/* An argument under way: its value in each block, NULL where nothing in the block uses it. */
struct column {
    bool is_channels, kept;
    const struct torch_attr **values;
};

struct chooser {
    struct search *s;
    struct structure_class *class;
    int count, capacity; /* of the columns, and of the arguments of the class */
    struct column *columns;
};

static bool is_channels(const struct structure_item *item, int index)
{
    if (item->block)
        return item->block->class->arguments[index].is_channels;
    return item->node->op == TORCH_PARAMETER || word_index(channel_attributes, item->node->attrs[index].name) >= 0;
}

/* How many channels a convolution at a slot would take that a block does not have: those of the block's input, if it is what the slot
 * reads. */
static const struct torch_attr *would_take(const struct chooser *c, const struct structure_slot *slot, int index,
                                           const struct structure_block *block, struct torch_attr *room)
{
    const struct torch_node *node = slot->item.node;
    if (!node || !node->module || node->op == TORCH_PARAMETER || strcmp(node->attrs[index].name, "in_channels") != 0 ||
        slot->inputs[0] >= c->class->input_count)
        return NULL;
    const struct shape *shape = &c->s->graph->values[block->inputs[slot->inputs[0]]].shape;
    if (shape->rank < 2 || shape->dims[1] < 0)
        return NULL;
    *room = (struct torch_attr){.name = "in_channels", .kind = TORCH_ATTR_INT, .i = shape->dims[1]};
    return room;
}

/* The values of one thing at a slot in every block that has the slot; false when they are the same in all. */
static bool read_column(struct chooser *c, int slot, int index, struct column *ret)
{
    const struct structure_class *class = c->class;
    const struct torch_attr **values = ARENA_ARRAY(c->s->arena, const struct torch_attr *,
                                                   (size_t) class->block_count + 1);
    struct torch_attr *rooms = ARENA_ARRAY(c->s->arena, struct torch_attr, (size_t) class->block_count + 1);
    if (!values || !rooms) {
        c->s->broken = true;
        return false;
    }
    const struct structure_item *first = &class->slots[slot].item;
    *ret = (struct column){
        .is_channels = is_channels(first, index), .kept = first->node && !first->node->module, .values = values};
    bool differs = false, any = false;
    const struct torch_attr *one = NULL;
    for (int b = 0; b < class->block_count; b++) {
        const struct structure_item *item = &class->blocks[b]->items[slot];
        if (!item->node && !item->block) {
            values[b] = would_take(c, &class->slots[slot], index, class->blocks[b], &rooms[b]);
            continue;
        }
        values[b] = feature(c->s, item, index, &rooms[b]);
        if (item->block && !values[b])
            values[b] = item->block->class->arguments[index].standard;
        differs = differs || (any && !same_value(one, values[b]));
        one = values[b];
        any = true;
    }
    return differs;
}

static bool compatible(const struct column *a, const struct column *b, int blocks)
{
    bool shared = false;
    for (int i = 0; i < blocks; i++) {
        if (a->values[i] && b->values[i] && !same_value(a->values[i], b->values[i]))
            return false;
        shared = shared || (a->values[i] && b->values[i]);
    }
    return shared;
}

static bool more_columns(struct chooser *c)
{
    size_t wanted = c->capacity ? 2 * (size_t)c->capacity : 16;
    struct column *columns = ARENA_ARRAY(c->s->arena, struct column, wanted);
    struct structure_argument *arguments = ARENA_ARRAY(c->s->arena, struct structure_argument, wanted);
    if (!columns || !arguments) {
        c->s->broken = true;
        return false;
    }
    if (c->count) {
        memcpy(columns, c->columns, (size_t)c->count * sizeof *columns);
        memcpy(arguments, c->class->arguments, (size_t)c->count * sizeof *arguments);
    }
    c->columns = columns;
    c->class->arguments = arguments;
    c->capacity = (int)wanted;
    return true;
}

static int place_column(struct chooser *c, const struct column *column, const char *name)
{
    int blocks = c->class->block_count;
    for (int i = 0; i < c->count; i++) {
        struct column *known = &c->columns[i];
        const struct structure_argument *argument = &c->class->arguments[i];
        if (known->is_channels != column->is_channels || !compatible(known, column, blocks) ||
            (!column->is_channels && strcmp(argument->name, name) != 0))
            continue;
        for (int b = 0; b < blocks; b++)
            known->values[b] = known->values[b] ? known->values[b] : column->values[b];
        known->kept = known->kept || column->kept;
        return i;
    }
    if (c->count == c->capacity && !more_columns(c))
        return -1;
    c->class->arguments[c->count] = (struct structure_argument){.name = name};
    c->columns[c->count] = *column;
    return c->count++;
}

static const char *feature_name(const struct structure_item *item, int index)
{
    if (item->block)
        return item->block->class->arguments[index].name;
    return item->node->op == TORCH_PARAMETER ? "features" : item->node->attrs[index].name;
}

static void choose_for_slot(struct chooser *c, int index)
{
    struct structure_slot *slot = &c->class->slots[index];
    int count = feature_count(c->s, &slot->item);
    int *arguments = ARENA_ARRAY(c->s->arena, int, (size_t)count + 1);
    slot->arguments = arguments;
    c->s->broken = c->s->broken || !arguments;
    for (int i = 0; i < count && !c->s->broken; i++) {
        struct column column;
        arguments[i] = -1;
        if (may_vary(&slot->item, i) && read_column(c, index, i, &column))
            arguments[i] = place_column(c, &column, feature_name(&slot->item, i));
    }
}

/* ---- names and defaults ---- */

/* Names of attributes that are clear enough behind the ones of modules. */
static const char *argument_name(const char *attribute)
{
    static const struct {
        const char *attribute, *name;
    } names[] = {{"p", "dropout"}, {"pad", "pad"}, {"negative_slope", "slope"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].attribute, attribute) == 0)
            return names[i].name;
    return attribute;
}

static bool taken(const struct chooser *c, const char *name, int except)
{
    for (int i = 0; i < c->class->option_count; i++)
        if (strcmp(c->class->options[i], name) == 0)
            return true;
    for (int i = 0; i < c->count; i++)
        if (i != except && c->class->arguments[i].name && strcmp(c->class->arguments[i].name, name) == 0)
            return true;
    return false;
}

/* "se_reduce_channels", after the slot that first gives so many channels, when its author named it. */
static const char *slot_channels(struct chooser *c, int argument)
{
    const struct structure_class *class = c->class;
    for (int i = 0; i < class->slot_count; i++) {
        const struct torch_node *node = class->slots[i].item.node;
        for (int k = 0; node && node->module && node->op != TORCH_PARAMETER && k < node->attr_count; k++) {
            if (class->slots[i].arguments[k] != argument ||
                word_index("out_channels out_features", node->attrs[k].name) < 0)
                continue;
            const char *name = slot_agreed_name(c->s, class, i);
            if (name && isalpha((unsigned char)*name) && strlen(name) < 20)
                return arena_printf(c->s->arena, "%s_%s", torch_identifier(c->s->arena, name),
                                    strncmp(node->attrs[k].name, "out_c", 5) == 0 ? "channels" : "features");
            return NULL;
        }
    }
    return NULL;
}

static void give_name(struct chooser *c, int argument, const char *wanted)
{
    const char *name = wanted;
    c->class->arguments[argument].name = NULL;
    for (int n = 2; name && taken(c, name, argument); n++)
        name = arena_printf(c->s->arena, "%s_%d", wanted, n);
    c->s->broken = c->s->broken || !name;
    c->class->arguments[argument].name = name;
}

/* The argument that the first (or last) slot that has one gives to such an attribute. */
static int argument_of(const struct structure_class *class, const char *attributes, bool last)
{
    int found = -1;
    for (int i = 0; i < class->slot_count; i++) {
        const struct structure_item *item = &class->slots[i].item;
        for (int k = 0;
             item->node && item->node->module && item->node->op != TORCH_PARAMETER && k < item->node->attr_count; k++)
            if (word_index(attributes, item->node->attrs[k].name) >= 0 && (found < 0 || last))
                found = class->slots[i].arguments[k] >= 0 ? class->slots[i].arguments[k] : found;
        for (int k = 0; item->block && k < item->block->class->argument_count; k++)
            if (word_index(attributes, item->block->class->arguments[k].name) >= 0 && (found < 0 || last))
                found = class->slots[i].arguments[k] >= 0 ? class->slots[i].arguments[k] : found;
    }
    return found;
}

static void name_arguments(struct chooser *c)
{
    struct structure_class *class = c->class;
    bool *named = ARENA_ARRAY(c->s->arena, bool, (size_t)c->count + 1);
    if (!named) {
        c->s->broken = true;
        return;
    }
    const char **old = ARENA_ARRAY(c->s->arena, const char *, (size_t)c->count + 1);
    for (int i = 0; i < c->count && old; i++) {
        old[i] = class->arguments[i].name;
        class->arguments[i].name = NULL;
    }
    c->s->broken = c->s->broken || !old;
    bool linear = argument_of(class, "in_channels out_channels", false) < 0;
    int in = argument_of(class, "in_channels in_features num_features normalized_shape", false);
    int out = argument_of(class, "out_channels out_features", true);
    if (in >= 0 && c->columns[in].is_channels) {
        named[in] = true;
        give_name(c, in, in == out ? (linear ? "features" : "channels") : linear ? "in_features" : "in_channels");
    }
    if (out >= 0 && out != in && c->columns[out].is_channels) {
        named[out] = true;
        give_name(c, out, linear ? "out_features" : "out_channels");
    }
    const char *hidden = linear ? "hidden_features" : "hidden_channels";
    for (int i = 0; i < c->count && !c->s->broken; i++) {
        const char *name = c->columns[i].is_channels ? hidden : argument_name(old[i]);
        const char *special = c->columns[i].is_channels && taken(c, hidden, i) ? slot_channels(c, i) : NULL;
        if (!named[i])
            give_name(c, i, special ? special : name);
    }
}

/* torch's own default for an attribute that is a number, or -1. */
static int usual_value(const char *attribute)
{
    return word_index("stride dilation groups", attribute) >= 0   ? 1
           : word_index("padding output_padding", attribute) >= 0 ? 0
                                                                  : -1;
}

/* The default is the usual value, or what most blocks have, of what is no number of channels; and what is not used in some blocks needs
 * one. */
static void choose_default(struct chooser *c, int index)
{
    const struct column *column = &c->columns[index];
    int blocks = c->class->block_count, most = 0, usual = usual_value(c->class->arguments[index].name);
    bool gaps = false, has_usual = false;
    const struct torch_attr *best = NULL;
    for (int i = 0; i < blocks; i++) {
        const struct torch_attr *value = column->values[i];
        int same = 0;
        gaps = gaps || !value;
        for (int k = 0; k < blocks && value; k++)
            same += column->values[k] && same_value(value, column->values[k]);
        bool is_usual = value && usual >= 0 && value->kind == TORCH_ATTR_INT && value->i == usual;
        if (is_usual || (same > most && !has_usual)) {
            most = same;
            best = value;
            has_usual = has_usual || is_usual;
        }
    }
    if (gaps || has_usual || (!column->is_channels && 2 * most > blocks))
        c->class->arguments[index].standard = best;
}

/* Those without a default come first. */
static void order_arguments(struct chooser *c)
{
    struct structure_class *class = c->class;
    int n = 0, in = -1, out = -1;
    int *map = ARENA_ARRAY(c->s->arena, int, (size_t)c->count + 1);
    struct structure_argument *sorted = ARENA_ARRAY(c->s->arena, struct structure_argument, (size_t)c->count + 1);
    struct column *columns = ARENA_ARRAY(c->s->arena, struct column, (size_t)c->count + 1);
    if (!map || !sorted || !columns) {
        c->s->broken = true;
        return;
    }
    for (int i = 0; i < c->count; i++) {
        const char *name = class->arguments[i].name;
        in = strcmp(name, "in_channels") == 0 || strcmp(name, "in_features") == 0 ? i : in;
        out = strcmp(name, "out_channels") == 0 || strcmp(name, "out_features") == 0 ? i : out;
    }
    for (int pass = 0; pass < 5; pass++)
        for (int i = 0; i < c->count; i++) {
            bool channels = c->columns[i].is_channels, standard = class->arguments[i].standard != NULL;
            int place = standard ? 4 : i == in ? 0 : channels && i != out ? 1 : i == out ? 2 : 3;
            if (place != pass)
                continue;
            map[i] = n;
            sorted[n] = class->arguments[i];
            columns[n++] = c->columns[i];
        }
    class->arguments = sorted;
    c->columns = columns;
    for (int i = 0; i < class->slot_count; i++) {
        int *arguments = (int *)class->slots[i].arguments;
        for (int k = 0; k < feature_count(c->s, &class->slots[i].item); k++)
            arguments[k] = arguments[k] < 0 ? -1 : map[arguments[k]];
    }
}

void choose_arguments(struct search *s, struct structure_class *class)
{
    struct chooser *c = ARENA_NEW(s->arena, struct chooser);
    if (!c) {
        s->broken = true;
        return;
    }
    c->s = s;
    c->class = class;
    for (int i = 0; i < class->slot_count && !s->broken; i++)
        choose_for_slot(c, i);
    if (s->broken)
        return;
    for (int i = 0; i < c->count; i++) {
        class->arguments[i].is_channels = c->columns[i].is_channels;
        class->arguments[i].kept = c->columns[i].kept;
        choose_default(c, i); /* knows the attribute by its name */
    }
    name_arguments(c);
    if (s->broken)
        return;
    order_arguments(c);
    if (s->broken)
        return;
    class->argument_count = c->count;
    for (int b = 0; b < class->block_count && !s->broken; b++) {
        const struct torch_attr **values = ARENA_ARRAY(s->arena, const struct torch_attr *, (size_t)c->count + 1);
        s->broken = s->broken || !values;
        for (int i = 0; i < c->count && values; i++) {
            bool standard = class->arguments[i].standard &&
                            same_value(c->columns[i].values[b], class->arguments[i].standard);
            values[i] = standard ? NULL : c->columns[i].values[b];
        }
        class->blocks[b]->arguments = values;
    }
}

bool block_arguments_hold(const struct search *s, const struct structure_block *block)
{
    const struct structure_class *class = block->class;
    for (int i = 0; i < class->slot_count; i++) {
        const struct structure_slot *slot = &class->slots[i];
        const struct structure_item *item = &block->items[i];
        for (int k = 0; (item->node || item->block) && k < feature_count(s, item); k++) {
            struct torch_attr room, first_room;
            const struct torch_attr *has = feature(s, item, k, &room), *given = feature(s, &slot->item, k, &first_room);
            int argument = slot->arguments[k];
            if (!has && item->block)
                has = item->block->class->arguments[k].standard;
            if (!given && slot->item.block)
                given = slot->item.block->class->arguments[k].standard;
            if (argument >= 0)
                given = block->arguments[argument] ? block->arguments[argument] : class->arguments[argument].standard;
            if (may_vary(item, k) && !same_value(has, given))
                return false;
        }
    }
    return true;
}
