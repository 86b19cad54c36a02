/* SPDX-License-Identifier: Apache-2.0 */
#include "http/respond.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/fields.h"
#include "problem.h"

#define PROBLEM_TYPE "application/problem+json"

void request_header(struct request *request, const char *name, const char *format, ...)
{
    char *value;
    va_list args;
    if (request->header_count == REQUEST_MAX_HEADERS)
        return;
    va_start(args, format);
    int n = vasprintf(&value, format, args);
    va_end(args);
    if (n < 0)
        return;
    request->headers[request->header_count].name = name;
    request->headers[request->header_count++].value = value;
}

const char *request_field(const struct request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

bool request_reads(const struct request *request)
{
    return strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
}

static bool has_header(const struct request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (strcasecmp(request->headers[i].name, name) == 0)
            return true;
    return false;
}

/* Queues `response` (taken) with the headers of the request. */
static enum MHD_Result queue(struct request *request, unsigned status, struct MHD_Response *response)
{
    if (!response)
        return MHD_NO;
    request->status = status;
    (void)MHD_add_response_header(response, "X-Request-ID", request->id);
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (!has_header(request, MHD_HTTP_HEADER_CACHE_CONTROL))
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    for (size_t i = 0; i < request->header_count; i++)
        (void)MHD_add_response_header(response, request->headers[i].name, request->headers[i].value);
    enum MHD_Result result = MHD_queue_response(request->connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* `text` is taken; NULL stands for a lack of memory. */
static enum MHD_Result queue_text(struct request *request, unsigned status, const char *media_type, char *text,
                                  size_t length)
{
    static const char no_memory[] = "{\"status\": 500, \"code\": \"OUT_OF_MEMORY\"}\n";
    if (!text)
        return queue(request, MHD_HTTP_INTERNAL_SERVER_ERROR,
                     MHD_create_response_from_buffer(sizeof no_memory - 1, (void *)no_memory, MHD_RESPMEM_PERSISTENT));
    request_header(request, "Content-Type", "%s", media_type);
    return queue(request, status, MHD_create_response_from_buffer(length, text, MHD_RESPMEM_MUST_FREE));
}

static enum MHD_Result queue_json(struct request *request, unsigned status, const char *media_type, const json_t *body)
{
    char *text = body ? json_dumps(body, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    size_t length = text ? strlen(text) : 0;
    if (text)
        text[length++] = '\n'; /* in place of the NUL */
    return queue_text(request, status, media_type, text, length);
}

enum MHD_Result respond_json(struct request *request, unsigned status, json_t *body)
{
    enum MHD_Result result = queue_json(request, status, "application/json", body);
    json_decref(body);
    return result;
}

enum MHD_Result respond_made_text(struct request *request, const char *media_type, char *text, size_t length)
{
    return queue_text(request, MHD_HTTP_OK, media_type, text, length);
}

enum MHD_Result respond_empty(struct request *request, unsigned status)
{
    return queue(request, status, MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
}

enum MHD_Result respond_text(struct request *request, const char *media_type, const char *text, size_t length)
{
    request_header(request, "Content-Type", "%s", media_type);
    return queue(request, MHD_HTTP_OK, MHD_create_response_from_buffer(length, (void *)text, MHD_RESPMEM_PERSISTENT));
}

enum MHD_Result respond_file(struct request *request, unsigned status, int fd, uint64_t first, uint64_t bytes)
{
    struct MHD_Response *response = MHD_create_response_from_fd_at_offset64(bytes, fd, first);
    if (!response)
        (void)close(fd);
    return queue(request, status, response);
}

enum MHD_Result respond_stream(struct request *request, uint64_t bytes, size_t block, MHD_ContentReaderCallback read,
                               void *context, MHD_ContentReaderFreeCallback free_context)
{
    struct MHD_Response *response = MHD_create_response_from_callback(bytes, block, read, context, free_context);
    if (!response)
        free_context(context);
    /* libmicrohttpd ends the chunks of a body that it leaves out, which the client takes for the next answer; without chunks
     * there are none to end. */
    else if (bytes == MHD_SIZE_UNKNOWN && strcmp(request->method, "HEAD") == 0)
        (void)MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    return queue(request, MHD_HTTP_OK, response);
}

/* Whether a list of entity tags in the request has this one. */
static bool names_tag(const struct request *request, const char *field, const char *tag, bool strong)
{
    char *list = NULL;
    (void)field_read(request->connection, field, &list, NULL);
    bool named = field_has_tag(list, tag, strong);
    free(list);
    return named;
}

bool respond_condition(struct request *request, const char *tag, enum MHD_Result *ret)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (request_reads(request) && request_field(request, "If-Match") && !names_tag(request, "If-Match", tag, true)) {
        h5pt_fail(&err, H5PT_PRECONDITION_FAILED, "If-Match", "This is %s now", tag);
        *ret = respond_problem(request, &err);
        return true;
    }
    request_header(request, "ETag", "%s", tag);
    if (!request_reads(request))
        return false;
    /* It may be kept, and asked for again. */
    request_header(request, "Cache-Control", "private, no-cache");
    if (!names_tag(request, "If-None-Match", tag, false))
        return false;
    *ret = respond_empty(request, MHD_HTTP_NOT_MODIFIED);
    return true;
}

/* The members that the problem gets from the request. NULL without memory. */
static json_t *problem_here(const struct request *request, const json_t *problem)
{
    json_t *body = json_copy((json_t *)problem); /* shallow: the members are shared, and not changed */
    if (body) {
        (void)json_object_set_new(body, "instance", text_json(request->url));
        (void)json_object_set_new(body, "request_id", json_string(request->id));
    }
    return body;
}

char *respond_problem_text(const struct request *request, const struct h5pt_error *err)
{
    json_t *problem = problem_new(err), *body = problem_here(request, problem);
    char *json = body ? json_dumps(body, JSON_INDENT(2)) : NULL, *text = NULL;
    if (json && asprintf(&text,
                         "HTTP/1.1 %d %s\r\nContent-Type: " PROBLEM_TYPE "\r\nContent-Length: %zu\r\n"
                         "X-Request-ID: %s\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n%s\n",
                         h5pt_code_http(err->code), MHD_get_reason_phrase_for((unsigned)h5pt_code_http(err->code)),
                         strlen(json) + 1, request->id, json) < 0)
        text = NULL;
    free(json);
    json_decref(body);
    json_decref(problem);
    return text;
}

/* Seconds after which the same request may go better. */
static int retry_after(const struct request *request, const char *code)
{
    if (request->retry_after)
        return (int)request->retry_after;
    if (code && strcmp(code, h5pt_code_name(H5PT_QUEUE_FULL)) == 0)
        return jobs_retry_after(request->service->jobs, NULL);
    if (code && strcmp(code, h5pt_code_name(H5PT_QUOTA_EXCEEDED)) == 0)
        return jobs_retry_after(request->service->jobs, request->caller.name);
    return RESPOND_RETRY_AFTER;
}

/* A problem is no version of the resource: what was said of that is taken back. */
static void take_back(struct request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (strcasecmp(request->headers[i].name, name) == 0) {
            free(request->headers[i].value);
            request->headers[i] = request->headers[--request->header_count];
            return;
        }
}

enum MHD_Result respond_problem_of(struct request *request, const json_t *problem)
{
    take_back(request, MHD_HTTP_HEADER_ETAG);
    take_back(request, MHD_HTTP_HEADER_CACHE_CONTROL);
    json_t *body = problem_here(request, problem);
    const char *code = json_string_value(json_object_get(problem, "code"));
    (void)snprintf(request->code, sizeof request->code, "%s", code ? code : "");
    const json_int_t status = json_integer_value(json_object_get(body, "status"));
    if ((status == MHD_HTTP_TOO_MANY_REQUESTS || status == MHD_HTTP_SERVICE_UNAVAILABLE) &&
        !has_header(request, "Retry-After"))
        request_header(request, "Retry-After", "%d", retry_after(request, code));
    unsigned valid = status >= 400 && status < 600 ? (unsigned)status : MHD_HTTP_INTERNAL_SERVER_ERROR;
    enum MHD_Result result = queue_json(request, valid, PROBLEM_TYPE, body);
    json_decref(body);
    return result;
}

enum MHD_Result respond_problem(struct request *request, const struct h5pt_error *err)
{
    json_t *problem = problem_new(err);
    enum MHD_Result result = respond_problem_of(request, problem);
    json_decref(problem);
    return result;
}
