/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP request, from its headers to the end of its response. */
#ifndef H5PT_HTTP_REQUEST_H
#define H5PT_HTTP_REQUEST_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "auth/keys.h"
#include "http/query.h"
#include "http/router.h"
#include "http/stall.h"
#include "http/upload.h"
#include "jobs/jobs.h"
#include "service.h"

enum { REQUEST_ID_SIZE = 65, REQUEST_MAX_HEADERS = 24 };

struct request {
    struct service *service;
    struct MHD_Connection *connection;
    enum route_listener listener;
    char id[REQUEST_ID_SIZE];                                    /* from X-Request-ID, or a new one */
    const char *method, *url;                                    /* of the connection; valid as long as the request */
    const struct route *route;                                   /* NULL: none matches */
    char methods[ROUTE_ALLOW_SIZE];                              /* of the path, when this is none of them; or "" */
    struct caller caller;                                        /* nobody, of an open route */
    char parameters[ROUTE_MAX_PARAMETERS][ROUTE_PARAMETER_SIZE]; /* {id}, {name} of the route's path */
    struct query query;
    struct upload upload;
    struct stall stall;        /* while the body arrives */
    struct h5pt_error problem; /* found before the body was read to its end; the answer */
    unsigned retry_after;      /* seconds, for a problem that passes; 0: nothing better is known */
    bool body_ended;           /* the upload is complete */
    uint64_t drained;          /* bytes of the body that were thrown away */
    struct job *job;           /* of the handler, released at the end; NULL: none yet */
    struct job_waiter waiter;
    struct {
        const char *name;           /* a literal */
        char *value;                /* owned */
    } headers[REQUEST_MAX_HEADERS]; /* of the response to come */
    size_t header_count;
    /* For the log: */
    int64_t started_us; /* text_clock_us */
    unsigned status;
    char code[48]; /* of a problem, or "" */
};

#endif
