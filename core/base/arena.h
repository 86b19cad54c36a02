/* SPDX-License-Identifier: Apache-2.0 */
/* A bump allocator: what is made in an arena lives until the arena is freed. Both graphs of a conversion live in one. */
#ifndef H5PT_BASE_ARENA_H
#define H5PT_BASE_ARENA_H

#include <stddef.h>

struct arena;

/* An empty arena, or NULL without memory. Owned by the caller. */
struct arena *arena_new(void);
void arena_free(struct arena *arena);

/* `count` zeroed objects of `size` bytes, aligned for any type; NULL on overflow or without memory. */
void *arena_alloc(struct arena *arena, size_t count, size_t size);

/* Copies of strings; NULL without memory. */
char *arena_strdup(struct arena *arena, const char *text);
char *arena_printf(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define ARENA_NEW(arena, type) ((type *)arena_alloc((arena), 1, sizeof(type)))
#define ARENA_ARRAY(arena, type, count) ((type *)arena_alloc((arena), (count), sizeof(type)))

#endif
