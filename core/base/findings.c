/* SPDX-License-Identifier: Apache-2.0 */
#include "base/findings.h"

#include <stdio.h>
#include <string.h>

static bool reserve(struct findings *list)
{
    if (list->count < list->capacity)
        return true;
    size_t capacity = list->capacity ? list->capacity * 2 : 16;
    struct finding *items = ARENA_ARRAY(list->arena, struct finding, capacity);
    if (!items)
        return false;
    if (list->count)
        memcpy(items, list->items, list->count * sizeof *items);
    list->items = items;
    list->capacity = capacity;
    return true;
}

static bool seen(const struct findings *list, const struct finding *f)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct finding *g = &list->items[i];
        if (g->code == f->code && strcmp(g->layer, f->layer) == 0 && strcmp(g->key, f->key) == 0 &&
            strcmp(g->message, f->message) == 0)
            return true;
    }
    return false;
}

void findings_addv(struct findings *list, enum h5pt_code code, const char *layer, const char *key, const char *format,
                   va_list args)
{
    char message[1024];
    (void)vsnprintf(message, sizeof message, format, args);
    struct finding f = {
        .code = code,
        .layer = arena_strdup(list->arena, layer ? layer : ""),
        .key = arena_strdup(list->arena, key ? key : ""),
        .message = arena_strdup(list->arena, message),
    };
    if (!f.layer || !f.key || !f.message || !reserve(list)) {
        list->broken = true;
        return;
    }
    if (list->count < FINDINGS_MAX && !seen(list, &f))
        list->items[list->count++] = f;
}

void findings_add(struct findings *list, enum h5pt_code code, const char *layer, const char *key, const char *format,
                  ...)
{
    va_list args;
    va_start(args, format);
    findings_addv(list, code, layer, key, format, args);
    va_end(args);
}

void findings_add_error(struct findings *list, const char *layer, struct h5pt_error *err)
{
    findings_add(list, err->code, layer, err->where, "%s", err->message);
    *err = (struct h5pt_error)H5PT_ERROR_INIT;
}
