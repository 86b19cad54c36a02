/* SPDX-License-Identifier: Apache-2.0 */
/* From method and path to a row of routes.def. */
#ifndef H5PT_HTTP_ROUTER_H
#define H5PT_HTTP_ROUTER_H

#include <microhttpd.h>
#include <stdio.h>

#include "base/error.h"

struct request;

enum route_listener { MAIN = 1, ADMIN = 2 };
enum route_body { NO_BODY, UPLOAD };
enum { ROUTE_MAX_PARAMETERS = 2, ROUTE_PARAMETER_SIZE = 65, ROUTE_ALLOW_SIZE = 64 };

struct route {
    unsigned listeners; /* a set of enum route_listener */
    unsigned scope;     /* one of SCOPE_…, SCOPE_open: no key is needed */
    const char *method, *path, *handler_name;
    enum route_body body;
    unsigned query; /* a set of QUERY_… */
    enum MHD_Result (*handler)(struct request *request);
};

/* The route, and the values of the {…} segments of its path. NOT_FOUND, or METHOD_NOT_ALLOWED with the methods of the
 * path in ret_allow ("GET, HEAD"). */
int router_find(enum route_listener listener, const char *method, const char *path, const struct route **ret,
                char ret_parameters[ROUTE_MAX_PARAMETERS][ROUTE_PARAMETER_SIZE], char ret_allow[ROUTE_ALLOW_SIZE],
                struct h5pt_error *err);

/* One route a line: listeners, method, path, scope, query parameters. */
void router_print(FILE *out);

#endif
