/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of other origins that may call the API (CORS): those of the setting cors_origins, a list with commas, or "*". Cookies and the
 * like play no part: a page has to send its key itself. */
#ifndef H5PT_HTTP_CORS_H
#define H5PT_HTTP_CORS_H

#include "http/request.h"

/* USAGE when an entry of the list is no origin, such as https://example.org or http://localhost:3000. */
int cors_check(const char *origins, struct h5pt_error *err);

/* Adds the headers that let the page of the request read the answer, whatever it will be. */
void cors_add(struct request *request);

/* Whether the request asks what is possible at a path that there is, for a page; and the answer. */
bool cors_is_preflight(const struct request *request);
enum MHD_Result cors_respond_preflight(struct request *request);

#endif
