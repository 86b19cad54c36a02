/* SPDX-License-Identifier: Apache-2.0 */
/* Problem details (RFC 9457) of an error: {"type", "title", "status", "detail", "code", "where"}. */
#ifndef H5PT_SERVER_PROBLEM_H
#define H5PT_SERVER_PROBLEM_H

#include <jansson.h>

#include "base/error.h"

/* Owned by the caller; NULL without memory. `where` is left out when the error names no place. */
json_t *problem_new(const struct h5pt_error *err);

#endif
