/* SPDX-License-Identifier: Apache-2.0 */
/* Candidates for classes: pieces of a body that are alike, from which those are taken that save most lines. Private to
 * structure/. */
#ifndef H5PT_STRUCTURE_GROUPS_H
#define H5PT_STRUCTURE_GROUPS_H

#include "structure/internal.h"

struct candidate {
    struct piece piece;
    const char *label; /* borrowed, or NULL */
};

/* Pieces with one signature, in the order of the body. */
struct group {
    int count, capacity;
    struct candidate *items;
};

struct groups {
    struct search *s;
    json_t *by_signature; /* owned: → index */
    int count, capacity;
    struct group *items;
};

void groups_init(struct search *s, struct groups *ret);
void groups_release(struct groups *groups);
/* Adds a piece; label is copied. */
void groups_add(struct groups *groups, const struct body *body, const struct piece *piece, const char *label);
/* Puts blocks in the place of the pieces of the best groups, at most so many, that are worth it. Returns how many classes there are of
 * them. */
int groups_replace(struct groups *groups, struct body *body, int most);

#endif
