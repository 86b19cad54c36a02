/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the JSON that Keras writes, over jansson. Python writes NaN, Infinity and -Infinity as bare words, which JSON has
 * not: json_parse turns them into the strings "NaN", "Infinity", "-Infinity", and json_read_double takes those back. */
#ifndef H5PT_BASE_JSON_H
#define H5PT_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* The parsed text (`length` bytes, UTF-8), owned by the caller (json_decref); NULL with CONFIG_MALFORMED. */
json_t *json_parse(const char *text, size_t length, const char *where, struct h5pt_error *err);

/* A number from an integer, a real, or one of the strings above; also unwraps {"type": "ndarray", "value": v} and
 * {"class_name": "__numpy__" | "__tensor__", "config": {"value": v}}. False when it is none of these. */
bool json_read_double(const json_t *value, double *ret);

/* As json_read_double, for a whole number; 3.0 counts as one. */
bool json_read_int(const json_t *value, long long *ret);

/* `value` without the wrappers named above (borrowed). */
const json_t *json_unwrap(const json_t *value);

#endif
