/* SPDX-License-Identifier: Apache-2.0 */
#include "http/query.h"

#include <stdlib.h>
#include <string.h>

enum { LIST_LIMIT_DEFAULT = 50, LIST_LIMIT_MAX = 500, WAIT_DEFAULT_MS = 60000 };

struct reading {
    const struct service *service;
    unsigned allowed, seen;
    struct query query;
    struct h5pt_error *err;
};

static int read_format(struct reading *reading, const char *value)
{
    reading->query.artifact = artifact_of_format(value);
    if (reading->query.artifact)
        return 0;
    return h5pt_fail(reading->err, H5PT_USAGE, "format", "format is \"%s\", but must be one of: %s", value,
                     artifact_formats());
}

/* Whether the worker knows a value, by a list of its capabilities. */
static bool is_capability(const struct service *service, const char *list, const char *value, size_t length)
{
    const json_t *known = json_object_get(json_object_get(service->description, "capabilities"), list);
    for (size_t i = 0; i < json_array_size(known); i++) {
        const char *name = json_string_value(json_array_get(known, i));
        if (name && strlen(name) == length && memcmp(name, value, length) == 0)
            return true;
    }
    return false;
}

/* One of the values that the worker knows, or, of formats, several with commas between. */
static int read_option(struct reading *reading, const struct job_option *option, const char *value)
{
    bool several = strcmp(option->name, "formats") == 0;
    if (strlen(value) >= option->size)
        return h5pt_fail(reading->err, H5PT_USAGE, option->name, "%s is too long", option->name);
    for (const char *p = value;; p++) {
        size_t n = several ? strcspn(p, ",") : strlen(p);
        if (!is_capability(reading->service, option->list, p, n))
            return h5pt_fail(reading->err, H5PT_USAGE, option->name,
                             "%s has \"%.*s\", which is not one of the %s in /v1/capabilities", option->name, (int)n, p,
                             option->list);
        p += n;
        if (!*p)
            break;
    }
    (void)snprintf(job_option_buffer(&reading->query.options, option), option->size, "%s", value);
    return 0;
}

/* A reader for each option of a conversion. */
enum {
#define OPTION(name, size, list) OPTION_INDEX_##name,
#include "jobs/options.def"
#undef OPTION
};
#define OPTION(name, size, list)                                                                                       \
    static int read_##name(struct reading *reading, const char *value)                                                 \
    {                                                                                                                  \
        return read_option(reading, job_option_at(OPTION_INDEX_##name), value);                                        \
    }
#include "jobs/options.def"
#undef OPTION

static int read_weights_only(struct reading *reading, const char *value)
{
    bool yes = strcmp(value, "true") == 0;
    if (!yes && strcmp(value, "false") != 0)
        return h5pt_fail(reading->err, H5PT_USAGE, "weights_only", "weights_only is \"%s\", but must be true or false",
                         value);
    reading->query.options.weights_only = yes;
    return 0;
}

static int read_wait(struct reading *reading, const char *value)
{
    const uint64_t most = reading->service->config->max_wait;
    uint64_t seconds;
    if (!text_number(value, &seconds))
        return h5pt_fail(reading->err, H5PT_USAGE, "wait", "wait is \"%s\", but must be a number of seconds", value);
    reading->query.wait_given = true;
    reading->query.wait_ms = (int64_t)(seconds > most / 1000 ? most : seconds * 1000);
    return 0;
}

static int read_state(struct reading *reading, const char *value)
{
    for (const char *p = value;; p++) {
        char name[16];
        size_t n = strcspn(p, ",");
        enum job_state state;
        (void)snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), p);
        if (!job_state_from_name(name, &state))
            return h5pt_fail(reading->err, H5PT_USAGE, "state", "state has \"%s\", which is no state of a conversion",
                             name);
        reading->query.states |= 1u << state;
        p += n;
        if (!*p)
            return 0;
    }
}

static int read_limit(struct reading *reading, const char *value)
{
    uint64_t limit;
    if (!text_number(value, &limit) || limit < 1 || limit > LIST_LIMIT_MAX)
        return h5pt_fail(reading->err, H5PT_USAGE, "limit", "limit is \"%s\", but must be a number from 1 to %d", value,
                         LIST_LIMIT_MAX);
    reading->query.limit = (size_t)limit;
    return 0;
}

static int read_cursor(struct reading *reading, const char *value)
{
    if (!text_is_id(value))
        return h5pt_fail(reading->err, H5PT_USAGE, "cursor", "cursor must be the `next` of the page before");
    (void)snprintf(reading->query.cursor, sizeof reading->query.cursor, "%s", value);
    return 0;
}

static int read_verbose(struct reading *reading, const char *value)
{
    reading->query.verbose = strcmp(value, "false") != 0;
    if (*value && reading->query.verbose && strcmp(value, "true") != 0)
        return h5pt_fail(reading->err, H5PT_USAGE, "verbose", "verbose is \"%s\", but must be true or false", value);
    return 0;
}

int query_set_webhook(struct query *query, const struct service *service, const char *url, struct h5pt_error *err)
{
    if (*query->webhook)
        return h5pt_fail(err, H5PT_USAGE, "webhook", "The webhook is given twice");
    if (webhooks_check(service->webhooks, url, err))
        return -1;
    (void)snprintf(query->webhook, sizeof query->webhook, "%s", url);
    return 0;
}

static int read_webhook(struct reading *reading, const char *value)
{
    return query_set_webhook(&reading->query, reading->service, value, reading->err);
}

static const struct {
    const char *name;
    int (*read)(struct reading *reading, const char *value);
} parameters[QUERY_COUNT] = {
#define QUERY(name) {#name, read_##name},
#include "http/query.def"
#undef QUERY
};

static enum MHD_Result read_parameter(void *context, enum MHD_ValueKind kind, const char *name, size_t name_length,
                                      const char *value, size_t value_length)
{
    struct reading *reading = context;
    (void)kind;
    if (strlen(name) != name_length || (value && strlen(value) != value_length)) {
        h5pt_fail(reading->err, H5PT_USAGE, name, "The query parameter \"%s\" holds a zero byte", name);
        return MHD_YES;
    }
    for (unsigned i = 0; i < QUERY_COUNT; i++) {
        if (strcmp(parameters[i].name, name) != 0 || !(reading->allowed & 1u << i))
            continue;
        if (reading->seen & 1u << i)
            h5pt_fail(reading->err, H5PT_USAGE, name, "The query parameter \"%s\" is given twice", name);
        else
            (void)parameters[i].read(reading, value ? value : "");
        reading->seen |= 1u << i;
        return MHD_YES;
    }
    h5pt_fail(reading->err, H5PT_USAGE, name, "The query parameter \"%s\" is not known here", name);
    return MHD_YES;
}

/* Weights without a model are one artifact. */
static int check_weights_only(struct query *query, struct h5pt_error *err)
{
    if (!query->options.weights_only)
        return 0;
    if (*query->options.formats && strcmp(query->options.formats, "pt") != 0)
        return h5pt_fail(err, H5PT_USAGE, "formats",
                         "With weights_only there is nothing but model.pt: formats is \"%s\"", query->options.formats);
    (void)snprintf(query->options.formats, sizeof query->options.formats, "pt");
    return 0;
}

/* The artifact of a synchronous conversion: as asked for, among those that will be made. */
static int choose_artifact(struct MHD_Connection *connection, struct query *query, struct h5pt_error *err)
{
    if (!query->artifact) {
        const char *accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Accept");
        query->artifact = artifact_accepted(accept ? accept : "*/*");
        if (!query->artifact)
            return h5pt_fail(err, H5PT_NOT_ACCEPTABLE, "Accept", "\"%s\" is none of the media types of a conversion",
                             accept);
    }
    if (!*query->options.formats && !query->artifact->by_default)
        (void)snprintf(query->options.formats, sizeof query->options.formats, "%s", query->artifact->format);
    if (!artifact_is_made(query->artifact, query->options.formats))
        return h5pt_fail(err, H5PT_USAGE, "format", "The answer should be %s, but formats is \"%s\"",
                         query->artifact->name, query->options.formats);
    return 0;
}

int query_read(struct MHD_Connection *connection, const struct service *service, unsigned allowed, struct query *ret,
               struct h5pt_error *err)
{
    struct h5pt_error failure = H5PT_ERROR_INIT;
    const uint64_t most = service->config->max_wait;
    struct reading reading = {
        .service = service,
        .allowed = allowed,
        .query = {.wait_ms = most < WAIT_DEFAULT_MS ? (int64_t)most : WAIT_DEFAULT_MS, .limit = LIST_LIMIT_DEFAULT},
        .err = &failure,
    };
    (void)MHD_get_connection_values_n(connection, MHD_GET_ARGUMENT_KIND, read_parameter, &reading);
    if (failure.code == H5PT_OK)
        (void)check_weights_only(&reading.query, &failure);
    if (failure.code == H5PT_OK && allowed & QUERY_format)
        (void)choose_artifact(connection, &reading.query, &failure);
    if (failure.code != H5PT_OK) {
        *err = failure;
        return -1;
    }
    *ret = reading.query;
    return 0;
}

void query_print_names(unsigned set, FILE *out)
{
    for (unsigned i = 0; i < QUERY_COUNT; i++)
        if (set & 1u << i)
            (void)fprintf(out, " %s", parameters[i].name);
}
