/* SPDX-License-Identifier: Apache-2.0 */
/* Refusals and warnings: lists that grow while a model is read, so that a person gets every reason at once. */
#ifndef H5PT_BASE_FINDINGS_H
#define H5PT_BASE_FINDINGS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"

struct finding {
    enum h5pt_code code;
    const char *layer; /* path of the layer, or "" */
    const char *key;   /* configuration key, weight or argument, or "" */
    const char *message;
};

struct findings {
    struct arena *arena; /* borrowed; holds the texts and the list */
    struct finding *items;
    size_t count, capacity;
    bool broken; /* memory ran out: the list is not complete */
};

/* A finding that is in the list already is not added again; the list takes at most FINDINGS_MAX. */
enum { FINDINGS_MAX = 1000 };

void findings_add(struct findings *list, enum h5pt_code code, const char *layer, const char *key, const char *format,
                  ...) __attribute__((format(printf, 5, 6)));
void findings_addv(struct findings *list, enum h5pt_code code, const char *layer, const char *key, const char *format,
                   va_list args) __attribute__((format(printf, 5, 0)));
/* Adds what `err` says (its `where` becomes the key) and clears it. */
void findings_add_error(struct findings *list, const char *layer, struct h5pt_error *err);

#endif
