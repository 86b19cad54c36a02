/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that nobody named: a convolution with its normalisation and activation, and runs of segments. A segment is what lies
 * between two places at which a single value passes, such as a residual block. */
#include <limits.h>
#include <string.h>

#include "structure/groups.h"

enum { MAX_ROUNDS = 64, MAX_ITEMS = 3000, MAX_SEGMENTS = 16 /* in one block */, MAX_RUN = 150 /* items */ };

/* ---- convolution, normalisation, activation ---- */

static bool is_norm(enum torch_op op)
{
    return op >= TORCH_BATCH_NORM1D && op <= TORCH_GROUP_NORM;
}

static bool is_weighted(enum torch_op op)
{
    return op == TORCH_LINEAR || (op >= TORCH_CONV1D && op <= TORCH_CONV_TRANSPOSE3D);
}

/* Whether item `i` takes the value of the item before it, which nothing else does. */
static bool follows(const struct search *s, const struct body *body, int i)
{
    if (i < 1 || i >= body->count || !body->items[i].node || !body->items[i - 1].node ||
        body->items[i].node->input_count != 1)
        return false;
    int value = body->items[i - 1].node->output;
    return torch_output_count(body->items[i - 1].node) == 1 && body->items[i].node->inputs[0] == value &&
           s->last_use[value] == i && s->use_count[value] == 1;
}

/* The named blocks that a piece must hold whole, or not at all. */
struct ranges {
    int *first, *last; /* per item */
};

static bool cuts(const struct ranges *ranges, int first, int end)
{
    return ranges->first[first] < first || ranges->last[end - 1] >= end;
}

static void add_units(struct groups *groups, const struct body *body, const struct ranges *ranges)
{
    struct search *s = groups->s;
    for (int i = 0; i < body->count && !s->broken; i++) {
        const struct torch_node *node = body->items[i].node;
        if (!node || !node->module || !is_weighted(node->op))
            continue;
        int first = i > 0 && body->items[i - 1].node && body->items[i - 1].node->op == TORCH_PAD && follows(s, body, i)
                        ? i - 1
                        : i;
        int end = i + 1;
        bool norm = false;
        while (follows(s, body, end) && (is_norm(body->items[end].node->op) || item_is_activation(&body->items[end])))
            norm = is_norm(body->items[end++].node->op) || norm;
        struct piece piece;
        if (norm && end - first >= 3 && !cuts(ranges, first, end) &&
            piece_find(s, body, first, end - first, 1, 1, &piece) && piece_exclusive(s, body, &piece))
            groups_add(groups, body, &piece, NULL);
    }
}

/* Branches: all that happens one after the other between two values that are used several times. */
static void add_branches(struct groups *groups, const struct body *body, const struct ranges *ranges)
{
    enum { SHORTEST = 4, LONGEST = 24 };
    struct search *s = groups->s;
    for (int first = 0, end; first < body->count && !s->broken; first = end) {
        bool weighted = false, norm = false;
        struct piece piece;
        end = first;
        do {
            const struct torch_node *node = body->items[end].node;
            weighted = weighted || (node && node->module && is_weighted(node->op));
            norm = norm || (node && is_norm(node->op));
            end++;
        } while (follows(s, body, end));
        if (weighted && norm && end - first >= SHORTEST && end - first <= LONGEST && !cuts(ranges, first, end) &&
            piece_find(s, body, first, end - first, 1, 1, &piece) && piece_exclusive(s, body, &piece))
            groups_add(groups, body, &piece, NULL);
    }
}

/* ---- segments ---- */

/* Values that pass everything by (a mask, what an encoder made) do not count: those that are used over more than half of the
 * body, when `far` says so, and the body's inputs but the first. */
static bool counts(const struct search *s, const struct body *body, int value, bool far)
{
    int made = s->maker[value], last = s->last_use[value] == INT_MAX ? body->count : s->last_use[value];
    return !far || last - made <= body->count / 2;
}

static void mark_live(const struct search *s, const struct body *body, int value, bool far, int *change)
{
    int made = s->maker[value], last = s->last_use[value] == INT_MAX ? body->count : s->last_use[value];
    if (!counts(s, body, value, far))
        return;
    change[made + 1]++;                                                /* alive before item made + 1 … */
    change[last + 1 > body->count + 1 ? body->count + 1 : last + 1]--; /* … to item last */
}

/* starts[i]: item at which segment i begins; starts[count] is the end. Returns the count. */
static int find_segments(struct search *s, const struct body *body, bool far, int *starts)
{
    int *change = ARENA_ARRAY(s->arena, int, (size_t)body->count + 3), count = 0, live = 0;
    if (!change) {
        s->broken = true;
        return 0;
    }
    for (int i = 0; i < body->count; i++) {
        const struct structure_item *item = &body->items[i];
        for (int k = 0; k < item_input_count(item); k++) {
            int value = item_inputs(item)[k];
            if (s->maker[value] < 0 && s->local[value] < 0) { /* an input of the body, once */
                mark_live(s, body, value, far, change);
                s->local[value] = 0;
            }
        }
        for (int k = 0; k < item_output_count(item); k++)
            if (s->last_use[item_output(item, k)] >= 0)
                mark_live(s, body, item_output(item, k), far, change);
    }
    for (int i = 0; i < body->count; i++)
        for (int k = 0; k < item_input_count(&body->items[i]); k++)
            s->local[item_inputs(&body->items[i])[k]] = -1;
    for (int i = 0; i < body->count; i++) {
        live += change[i];
        /* An activation stays with what it is applied to. */
        bool sticks = i > 0 && item_is_activation(&body->items[i]) && follows(s, body, i);
        if ((live == 1 && !sticks) || i == 0)
            starts[count++] = i;
    }
    starts[count] = body->count;
    return count;
}

static bool is_repetition(const int *ids, int length)
{
    for (int period = 1; period <= length / 2; period++) {
        bool same = length % period == 0;
        for (int i = period; same && i < length; i++)
            same = ids[i] == ids[i - period];
        if (same)
            return true;
    }
    return false;
}

/* A number for each segment, the same for segments that are alike. */
static void number_segments(struct search *s, const struct body *body, const int *starts, int count, int *ids)
{
    json_t *known = json_object();
    for (int i = 0; i < count && known && !s->broken; i++) {
        struct piece piece;
        struct strbuf text = STRBUF_INIT;
        ids[i] = -1 - i;
        if (starts[i + 1] - starts[i] <= MAX_RUN &&
            piece_find(s, body, starts[i], starts[i + 1] - starts[i], BLOCK_MAX_INPUTS, 1, &piece)) {
            piece_signature(s, body, &piece, false, &text);
            const json_t *number = json_object_get(known, strbuf_text(&text));
            ids[i] = number ? (int)json_integer_value(number) : i;
            if (!number && json_object_set_new_nocheck(known, strbuf_text(&text), json_integer(i)) < 0)
                s->broken = true;
        }
        strbuf_release(&text);
    }
    s->broken = s->broken || !known;
    json_decref(known);
}

static bool appears_again(const int *ids, int count, int at, int length)
{
    for (int i = 0; i + length <= count; i++)
        if ((i + length <= at || i >= at + length) && memcmp(ids + i, ids + at, (size_t)length * sizeof *ids) == 0)
            return true;
    return false;
}

static void add_runs(struct groups *groups, const struct body *body, const struct ranges *ranges, const int *starts,
                     const int *ids, int count)
{
    struct search *s = groups->s;
    for (int length = 1; length <= MAX_SEGMENTS; length++)
        for (int i = 0; i + length <= count && !s->broken; i++) {
            int items = starts[i + length] - starts[i];
            struct piece piece;
            if (items < 3 || items > MAX_RUN || cuts(ranges, starts[i], starts[i + length]) ||
                is_repetition(ids + i, length) || !appears_again(ids, count, i, length) ||
                !piece_find(s, body, starts[i], items, BLOCK_MAX_INPUTS, 1, &piece) || !piece.has_module ||
                !piece_exclusive(s, body, &piece))
                continue;
            groups_add(groups, body, &piece, NULL);
        }
}

static void add_segments(struct groups *groups, const struct body *body, const struct ranges *ranges)
{
    struct search *s = groups->s;
    int *starts = ARENA_ARRAY(s->arena, int, (size_t)body->count + 2);
    int *ids = ARENA_ARRAY(s->arena, int, (size_t)body->count + 1);
    if (!starts || !ids) {
        s->broken = true;
        return;
    }
    int count = find_segments(s, body, false, starts), longest = 0;
    for (int i = 0; i < count; i++)
        longest = starts[i + 1] - starts[i] > longest ? starts[i + 1] - starts[i] : longest;
    if (longest > body->count / 2)
        count = find_segments(s, body, true, starts);
    number_segments(s, body, starts, count, ids);
    if (!s->broken)
        add_runs(groups, body, ranges, starts, ids, count);
}

/* Segments that stand alone may be a variant of a class that repeats. Returns whether one was. */
static bool adopt_segment(struct search *s, struct body *body, const struct ranges *ranges)
{
    enum { MAX_CLASSES = 24, LEAST = 5 };
    if (body->count > MAX_ITEMS)
        return false;
    struct structure_class *classes[MAX_CLASSES];
    int *starts = ARENA_ARRAY(s->arena, int, (size_t)body->count + 2);
    if (!starts) {
        s->broken = true;
        return false;
    }
    int class_count = classes_in(body, classes, MAX_CLASSES), count = find_segments(s, body, false, starts);
    for (int i = 0; i < count && class_count && !s->broken; i++) {
        int items = starts[i + 1] - starts[i];
        struct piece piece;
        if (items < LEAST || items > MAX_RUN || cuts(ranges, starts[i], starts[i + 1]) ||
            !piece_find(s, body, starts[i], items, BLOCK_MAX_INPUTS, 1, &piece) || !piece.has_module ||
            !piece_exclusive(s, body, &piece))
            continue;
        struct structure_block *block = block_alone(s, body, &piece);
        for (int k = 0; block && k < class_count && !s->broken; k++)
            if (class_absorb(s, classes[k], block->class)) {
                body_put(s, body, &piece, block);
                return true;
            }
    }
    return false;
}

/* One class more. */
static bool find_class(struct search *s, struct body *body, const struct ranges *ranges)
{
    struct groups groups;
    groups_init(s, &groups);
    if (!s->broken)
        add_units(&groups, body, ranges);
    if (!s->broken)
        add_branches(&groups, body, ranges);
    if (!s->broken && body->count <= MAX_ITEMS)
        add_segments(&groups, body, ranges);
    int classes = s->broken ? 0 : groups_replace(&groups, body, 1);
    groups_release(&groups);
    return classes > 0;
}

void find_repeated_blocks(struct search *s, struct body *body)
{
    struct ranges ranges = {ARENA_ARRAY(s->arena, int, (size_t)body->count + 1),
                            ARENA_ARRAY(s->arena, int, (size_t)body->count + 1)};
    s->broken = s->broken || !ranges.first || !ranges.last;
    for (int round = 0; round < MAX_ROUNDS && !s->broken; round++) {
        mark_named_ranges(s, body, ranges.first, ranges.last);
        if (s->broken || !find_class(s, body, &ranges))
            break;
        unite_variants(s, body);
        if (!s->broken)
            mark_named_ranges(s, body, ranges.first, ranges.last);
        for (int i = 0; i < MAX_ROUNDS && !s->broken && adopt_segment(s, body, &ranges); i++)
            mark_named_ranges(s, body, ranges.first, ranges.last);
    }
}
