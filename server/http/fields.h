/* SPDX-License-Identifier: Apache-2.0 */
/* Header fields of requests that say more than one thing: lists, preferences, entity tags and ranges. */
#ifndef H5PT_HTTP_FIELDS_H
#define H5PT_HTTP_FIELDS_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* All lines of a field as one, with commas between. *ret is the caller's; NULL when the request does not have the field. */
int field_read(struct MHD_Connection *connection, const char *name, char **ret, struct h5pt_error *err);

/* The next element of a list, and its length without the spaces around it; NULL at the end. *at begins as the list. */
const char *field_next(const char **at, size_t *ret_length);

/* Whether one of the elements of a list is this word, whatever its case. `list` may be NULL. */
bool field_has(const char *list, const char *word);

/* Prefer (RFC 7240). What is not understood is passed over. */
struct field_preferences {
    bool respond_async;
    int64_t wait_s; /* -1: nothing said */
};
struct field_preferences field_preferences_read(const char *field); /* NULL: nothing said */

/* Whether a list of entity tags has this one ("\"…\"" or "W/\"…\""), or is "*". A strong comparison never takes a weak tag. */
bool field_has_tag(const char *list, const char *tag, bool strong);

enum field_range {
    FIELD_RANGE_NONE, /* to be ignored: another unit, several ranges, or not understood */
    FIELD_RANGE_PART,
    FIELD_RANGE_OUTSIDE /* of a representation of this size */
};
/* Range (RFC 9110, 14.1.2) of `size` bytes: the first one of the part, and how many it has. */
enum field_range field_range_read(const char *field, uint64_t size, uint64_t *ret_first, uint64_t *ret_count);

#endif
