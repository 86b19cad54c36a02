/* SPDX-License-Identifier: Apache-2.0 */
/* The query parameters of a request, read and checked before its body is. */
#ifndef H5PT_HTTP_QUERY_H
#define H5PT_HTTP_QUERY_H

#include <microhttpd.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "api/artifacts.h"
#include "base/error.h"
#include "jobs/record.h"
#include "service.h"

enum query_parameter {
#define QUERY(name) QUERY_INDEX_##name,
#include "http/query.def"
#undef QUERY
    QUERY_COUNT
};

/* Sets of them. */
enum {
#define QUERY(name) QUERY_##name = 1 << QUERY_INDEX_##name,
#include "http/query.def"
#undef QUERY
};

/* The options of a conversion. */
enum {
    QUERY_CONVERSION = QUERY_weights_only
#define OPTION(name, size, list) | QUERY_##name
#include "jobs/options.def"
#undef OPTION
};

struct query {
    const struct artifact_kind *artifact; /* format; else by the Accept header */
    struct job_options options;           /* those of jobs/options.def, weights_only */
    int64_t wait_ms;                      /* wait */
    bool wait_given;                      /* else wait_ms is its default */
    unsigned states;                      /* state: a set of 1u << JOB_…; 0: all */
    size_t limit;                         /* limit */
    char cursor[TEXT_ID_SIZE];            /* cursor, or "" */
    bool verbose;                         /* verbose */
    char webhook[JOB_WEBHOOK_SIZE];       /* webhook, or "" */
};

/* Reads the parameters that `allowed` names; others, and values that make no sense, are USAGE errors, NOT_ACCEPTABLE when no
 * artifact has a media type that the client takes. */
int query_read(struct MHD_Connection *connection, const struct service *service, unsigned allowed, struct query *ret,
               struct h5pt_error *err);

/* Sets the parameter webhook, which a form may have as a field. */
int query_set_webhook(struct query *query, const struct service *service, const char *url, struct h5pt_error *err);

/* The names in a set, each with a leading space. */
void query_print_names(unsigned set, FILE *out);

#endif
