/* SPDX-License-Identifier: Apache-2.0 */
#include "http/respond.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "problem.h"

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

enum MHD_Result respond_file(struct request *request, int fd, uint64_t bytes)
{
    struct MHD_Response *response = MHD_create_response_from_fd64(bytes, fd);
    if (!response)
        (void)close(fd);
    return queue(request, MHD_HTTP_OK, response);
}

enum MHD_Result respond_stream(struct request *request, uint64_t bytes, MHD_ContentReaderCallback read, void *context,
                               MHD_ContentReaderFreeCallback free_context)
{
    enum { BLOCK = 256 * 1024 };
    struct MHD_Response *response = MHD_create_response_from_callback(bytes, BLOCK, read, context, free_context);
    if (!response)
        free_context(context);
    return queue(request, MHD_HTTP_OK, response);
}

enum MHD_Result respond_problem_of(struct request *request, const json_t *problem)
{
    json_t *body = json_copy((json_t *)problem); /* shallow: the members are shared, and not changed */
    const char *code = json_string_value(json_object_get(problem, "code"));
    (void)snprintf(request->code, sizeof request->code, "%s", code ? code : "");
    const json_int_t status = json_integer_value(json_object_get(body, "status"));
    if (body) {
        (void)json_object_set_new(body, "instance", text_json(request->url));
        (void)json_object_set_new(body, "request_id", json_string(request->id));
    }
    if (status == MHD_HTTP_TOO_MANY_REQUESTS || status == MHD_HTTP_SERVICE_UNAVAILABLE)
        request_header(request, "Retry-After", "%u", request->retry_after ? request->retry_after : RESPOND_RETRY_AFTER);
    unsigned valid = status >= 400 && status < 600 ? (unsigned)status : MHD_HTTP_INTERNAL_SERVER_ERROR;
    enum MHD_Result result = queue_json(request, valid, "application/problem+json", body);
    json_decref(body);
    return result;
}

enum MHD_Result respond_problem(struct request *request, const struct h5pt_error *err)
{
    json_t *problem = problem_new(err);
    if (err->code == H5PT_QUOTA_EXCEEDED && !request->retry_after)
        request->retry_after = jobs_retry_after(request->service->jobs, request->caller.name);
    enum MHD_Result result = respond_problem_of(request, problem);
    json_decref(problem);
    return result;
}
