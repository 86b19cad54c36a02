/* SPDX-License-Identifier: Apache-2.0 */
#include "structure/groups.h"

#include <stdlib.h>
#include <string.h>

void groups_init(struct search *s, struct groups *ret)
{
    *ret = (struct groups){.s = s, .by_signature = json_object()};
    s->broken = s->broken || !ret->by_signature;
}

void groups_release(struct groups *groups)
{
    json_decref(groups->by_signature);
}

static void *grown(struct search *s, void *items, int count, int *capacity, size_t size)
{
    if (count < *capacity)
        return items;
    int wanted = *capacity ? 2 * *capacity : 4;
    void *fresh = arena_alloc(s->arena, (size_t)wanted, size);
    if (!fresh) {
        s->broken = true;
        return NULL;
    }
    if (count)
        memcpy(fresh, items, (size_t)count * size);
    *capacity = wanted;
    return fresh;
}

static struct group *group_for(struct groups *g, const char *signature)
{
    const json_t *known = json_object_get(g->by_signature, signature);
    if (known)
        return &g->items[json_integer_value(known)];
    struct group *items = grown(g->s, g->items, g->count, &g->capacity, sizeof *g->items);
    if (!items || json_object_set_new_nocheck(g->by_signature, signature, json_integer(g->count)) < 0) {
        g->s->broken = true;
        return NULL;
    }
    g->items = items;
    g->items[g->count] = (struct group){.count = 0};
    return &g->items[g->count++];
}

void groups_add(struct groups *g, const struct body *body, const struct piece *piece, const char *label)
{
    struct strbuf signature = STRBUF_INIT;
    piece_signature(g->s, body, piece, false, &signature);
    struct group *group = g->s->broken ? NULL : group_for(g, strbuf_text(&signature));
    strbuf_release(&signature);
    struct candidate *items = group ? grown(g->s, group->items, group->count, &group->capacity, sizeof *group->items)
                                    : NULL;
    char *copy = label ? arena_strdup(g->s->arena, label) : NULL;
    if (!items || (label && !copy)) {
        g->s->broken = true;
        return;
    }
    group->items = items;
    group->items[group->count++] = (struct candidate){*piece, copy};
}

static int by_place(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->piece.first != y->piece.first)
        return (x->piece.first > y->piece.first) - (x->piece.first < y->piece.first);
    if (x->piece.count != y->piece.count)
        return (x->piece.count > y->piece.count) - (x->piece.count < y->piece.count);
    /* The same items: the longer name says more. */
    size_t m = x->label ? strlen(x->label) : 0, n = y->label ? strlen(y->label) : 0;
    return (m < n) - (m > n);
}

/* Drops the candidates of which an item is taken, or that overlap one before. */
static void keep_free(struct group *group, const bool *taken)
{
    int n = 0, end = 0;
    for (int i = 0; i < group->count; i++) {
        const struct piece *p = &group->items[i].piece;
        bool free = p->first >= end;
        for (int k = p->first; free && k < p->first + p->count; k++)
            free = !taken[k];
        if (!free)
            continue;
        end = p->first + p->count;
        group->items[n++] = group->items[i];
    }
    group->count = n;
}

static bool few_arguments(struct search *s, const struct body *body, const struct group *group)
{
    const struct structure_item **items = ARENA_ARRAY(s->arena, const struct structure_item *,
                                                      (size_t)group->count + 1);
    if (!items) {
        s->broken = true;
        return false;
    }
    for (int i = 0; i < group->count; i++)
        items[i] = &body->items[group->items[i].piece.first];
    return arguments_needed(s, group->items[0].piece.count, group->count, items) <= CLASS_MAX_ARGUMENTS;
}

/* The group that saves most, or NULL when none saves enough. */
static struct group *best_group(struct groups *g, const struct body *body, const bool *taken)
{
    struct group *best = NULL;
    int most = WORTH_LINES - 1;
    for (int i = 0; i < g->count; i++) {
        struct group *group = &g->items[i];
        keep_free(group, taken);
        int saved = group->count > 1 ? lines_saved(group->count, group->items[0].piece.count) : 0;
        if (saved <= most)
            continue;
        if (few_arguments(g->s, body, group)) {
            most = saved;
            best = group;
        } else {
            group->count = 0;
        }
    }
    return best;
}

/* Takes the best groups, `most` of them or until none is worth it; the pieces go to `chosen`. */
static int choose(struct groups *g, const struct body *body, int most, struct candidate *chosen, bool *taken,
                  int *ret_classes)
{
    int count = 0;
    struct group *group;
    *ret_classes = 0;
    while (*ret_classes < most && !g->s->broken && (group = best_group(g, body, taken))) {
        for (int i = 0; i < group->count; i++) {
            const struct piece *p = &group->items[i].piece;
            for (int k = p->first; k < p->first + p->count; k++)
                taken[k] = true;
            chosen[count++] = group->items[i];
        }
        group->count = 0;
        ++*ret_classes;
    }
    qsort(chosen, (size_t)count, sizeof *chosen, by_place);
    return count;
}

int groups_replace(struct groups *g, struct body *body, int most)
{
    struct search *s = g->s;
    struct candidate *chosen = ARENA_ARRAY(s->arena, struct candidate, (size_t)body->count + 1);
    bool *taken = ARENA_ARRAY(s->arena, bool, (size_t)body->count + 1);
    struct piece **pieces = ARENA_ARRAY(s->arena, struct piece *, (size_t)body->count + 1);
    const char **labels = ARENA_ARRAY(s->arena, const char *, (size_t)body->count + 1);
    if (s->broken || !chosen || !taken || !pieces || !labels) {
        s->broken = true;
        return 0;
    }
    for (int i = 0; i < g->count; i++)
        if (g->items[i].count)
            qsort(g->items[i].items, (size_t)g->items[i].count, sizeof *chosen, by_place);
    int classes, count = choose(g, body, most, chosen, taken, &classes);
    for (int i = 0; i < count; i++) {
        pieces[i] = &chosen[i].piece;
        labels[i] = chosen[i].label;
    }
    if (count && !s->broken)
        body_replace(s, body, count, pieces, labels);
    return classes;
}
