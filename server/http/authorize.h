/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a request may be made: the key that comes with it, and the scope of its route. */
#ifndef H5PT_HTTP_AUTHORIZE_H
#define H5PT_HTTP_AUTHORIZE_H

#include <stdbool.h>

#include "http/request.h"

/* Fills request->caller, and adds the headers that tell of keys and of what is left of their requests. UNAUTHORIZED, FORBIDDEN,
 * QUOTA_EXCEEDED. */
int authorize(struct request *request, struct h5pt_error *err);

/* Whether the caller may know of a conversion of this owner. */
bool authorize_owner(const struct request *request, const char *owner);

/* The owner whose conversions the caller may see; NULL: everybody's. */
const char *authorize_view(const struct request *request);

#endif
