/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the builder share. Expansions see aten.h only. */
#ifndef H5PT_ATEN_BUILDER_H
#define H5PT_ATEN_BUILDER_H

#include <stddef.h>

#include "aten/aten.h"

/* Ends the building with this error, at the node under way. Returns -1. */
int aten_fail(struct aten_builder *b, enum h5pt_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int aten_fail_memory(struct aten_builder *b);

/* Doubles an arena array when it holds `count` elements and has no room for one more; -1 after a failure. */
int aten_grow(struct aten_builder *b, void *array_address, size_t size, int count, int *capacity);

/* Adds a value; -1 after a failure. */
int aten_add_value(struct aten_builder *b, const struct aten_meta *meta, enum aten_origin origin, int index);

#endif
