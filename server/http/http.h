/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP listeners, over libmicrohttpd. */
#ifndef H5PT_HTTP_HTTP_H
#define H5PT_HTTP_HTTP_H

#include <stdint.h>

#include "base/error.h"
#include "http/router.h"
#include "service.h"

struct http;

/* Listens on "address:port" and serves the routes of a listener with so many threads. `service` is borrowed. */
int http_start(struct service *service, enum route_listener listener, const char *address, unsigned threads,
               struct http **ret, struct h5pt_error *err);

/* The address in use, with the port that the system chose for port 0. */
const char *http_address(const struct http *http);

/* Waits until no request is in progress, for at most so long. */
void http_wait_idle(struct http *http, int64_t ms);
/* Closes the listener and its connections. No request may be waiting for a job. NULL-safe. */
void http_stop(struct http *http);

#endif
