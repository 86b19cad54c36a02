/* SPDX-License-Identifier: Apache-2.0 */
#include "http/http.h"

#include <inttypes.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "http/authorize.h"
#include "http/cors.h"
#include "http/listen.h"
#include "http/request.h"
#include "http/respond.h"
#include "http/tls.h"
#include "log.h"

/* So much of a body that is not wanted is read, for the client to hear why; beyond that the connection is closed. */
#define DRAIN_LIMIT ((uint64_t)64 << 20)

enum { CONNECTION_MEMORY = 128 << 10 };

struct http {
    struct service *service;
    enum route_listener listener;
    char address[LISTEN_ADDRESS_SIZE];
    struct MHD_Daemon *daemon;
    struct stall_watch *stalls; /* bodies that arrive */
    struct stall_watch *waits;  /* connections whose next request has not begun */
    atomic_size_t in_progress;  /* requests */
};

/* The client's own id when it is harmless to print, else a new one. */
static void choose_id(struct request *request)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    const char *id = request_field(request, "X-Request-ID");
    size_t length = id ? strlen(id) : 0;
    if (length && length < REQUEST_ID_SIZE && strspn(id, allowed) == length)
        memcpy(request->id, id, length + 1);
    else
        text_new_id(request->id);
}

/* All that can be said from the headers alone. */
static int admit(struct request *request, struct h5pt_error *err)
{
    struct service *service = request->service;
    if (router_find(request->listener, request->method, request->url, &request->route, request->parameters,
                    request->methods, err)) {
        if (*request->methods)
            request_header(request, "Allow", "%s", request->methods);
        return -1;
    }
    if (authorize(request, err))
        return -1;
    if (query_read(request->connection, service, request->route->query, &request->query, err))
        return -1;
    if (request->route->body == NO_BODY)
        return 0;
    const uint64_t limit = service->config->max_upload;
    const struct jobs_sender sender = api_sender(request);
    if (jobs_check(service->jobs, &sender, err) || upload_check(request->connection, limit, err))
        return -1;
    return upload_begin(&request->upload, service->files, request->connection, limit,
                        request->route->query & QUERY_webhook, err);
}

/* Whether the refusal can be said at once: there is no body, or the client has asked before it sends one, or it is too much
 * to wait for. */
static bool refuse_at_once(const struct request *request)
{
    const char *length = request_field(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    if (request_field(request, MHD_HTTP_HEADER_EXPECT))
        return true;
    return length && strtoull(length, NULL, 10) > DRAIN_LIMIT;
}

static struct request *request_new(struct http *http, struct MHD_Connection *connection, const char *url,
                                   const char *method)
{
    struct request *request = calloc(1, sizeof *request);
    if (!request)
        return NULL;
    request->service = http->service;
    request->connection = connection;
    request->listener = http->listener;
    request->url = url;
    request->method = method;
    upload_init(&request->upload);
    request->started_us = text_clock_us();
    choose_id(request);
    cors_add(request);
    return request;
}

static void request_free(struct request *request)
{
    job_release(request->job);
    upload_release(&request->upload);
    for (size_t i = 0; i < request->header_count; i++)
        free(request->headers[i].value);
    free(request);
}

/* A part of the body, which goes to the upload or, when there is a problem already, nowhere. */
static enum MHD_Result take_body(struct request *request, const char *bytes, size_t count)
{
    if (request->problem.code == H5PT_OK && request->route->body == UPLOAD) {
        if (upload_feed(&request->upload, bytes, count, &request->problem))
            upload_release(&request->upload); /* the client may take long to send the rest, and to read the answer */
        return MHD_YES;
    }
    request->drained += count;
    return request->drained > DRAIN_LIMIT ? MHD_NO : MHD_YES;
}

static int finish_upload(struct request *request, struct h5pt_error *err)
{
    const struct upload *upload = &request->upload;
    if (upload_finish(&request->upload, err))
        return -1;
    return *upload->webhook ? query_set_webhook(&request->query, request->service, upload->webhook, err) : 0;
}

static enum MHD_Result refuse(struct request *request)
{
    upload_release(&request->upload);
    if (cors_is_preflight(request))
        return cors_respond_preflight(request);
    return respond_problem(request, &request->problem);
}

static bool has_body(const struct request *request)
{
    const char *length = request_field(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return request_field(request, MHD_HTTP_HEADER_TRANSFER_ENCODING) || (length && strcmp(length, "0") != 0);
}

/* The upload has stalled. libmicrohttpd takes no answer before it has the whole body, and is not writing either; so the answer
 * goes past it, and then the connection ends. Through TLS that cannot be done. */
static void answer_stalled(void *context)
{
    struct request *request = context;
    struct h5pt_error err = H5PT_ERROR_INIT;
    const union MHD_ConnectionInfo *socket = MHD_get_connection_info(request->connection,
                                                                     MHD_CONNECTION_INFO_CONNECTION_FD);
    h5pt_fail(&err, H5PT_UPLOAD_STALLED, NULL, "Less than %d bytes of the body have arrived in %" PRIu64 " ms",
              STALL_MIN_BYTES, request->service->config->upload_idle_timeout);
    request->status = (unsigned)h5pt_code_http(err.code);
    (void)snprintf(request->code, sizeof request->code, "%s", h5pt_code_name(err.code));
    if (!socket)
        return;
    char *text = MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION)
                     ? NULL
                     : respond_problem_text(request, &err);
    if (text)
        (void)!send(socket->connect_fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(socket->connect_fd, SHUT_RDWR);
    free(text);
}

static enum MHD_Result answer(struct request *request)
{
    if (request->problem.code == H5PT_OK && request->route->body == UPLOAD && !request->body_ended) {
        request->body_ended = true;
        (void)finish_upload(request, &request->problem);
    }
    if (request->problem.code != H5PT_OK)
        return refuse(request);
    return request->route->handler(request);
}

static struct stall *wait_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* From now on the headers of the next request must come within the idle timeout. That of libmicrohttpd begins anew with each
 * byte, so that a client could keep a connection with a byte now and then. */
static void await_request(struct http *http, struct MHD_Connection *connection)
{
    struct stall *wait = wait_of(connection);
    if (wait && !wait->watched)
        stall_begin(http->waits, wait, connection);
}

static void leave_alone(struct http *http, struct MHD_Connection *connection)
{
    struct stall *wait = wait_of(connection);
    if (wait)
        (void)stall_end(http->waits, wait);
}

static void end_waiting(void *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info)
        (void)shutdown(info->connect_fd, SHUT_RDWR);
}

/* Called with the headers, with each part of the body, at its end, and again after a request that waited was resumed. */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *upload_data, size_t *upload_data_size, void **state)
{
    struct http *http = context;
    struct request *request = *state;
    (void)version;
    if (!request) {
        request = *state = request_new(http, connection, url, method);
        if (!request)
            return MHD_NO;
        (void)atomic_fetch_add(&http->in_progress, 1);
        leave_alone(http, connection);
        if (http->listener == MAIN)
            metrics_add(http->service->metrics, METRIC_http_requests_in_flight, NULL, 1);
        if (admit(request, &request->problem) && refuse_at_once(request))
            return refuse(request);
        if (has_body(request))
            stall_begin(http->stalls, &request->stall, request);
        return MHD_YES;
    }
    if (!*upload_data_size)
        return stall_end(http->stalls, &request->stall) ? MHD_NO : answer(request);
    size_t count = *upload_data_size;
    *upload_data_size = 0;
    stall_move(http->stalls, &request->stall, count);
    return take_body(request, upload_data, count);
}

static void log_request(const struct request *request, enum MHD_RequestTerminationCode code)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(request->connection,
                                                                   MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    char client[LISTEN_ADDRESS_SIZE] = "";
    if (info)
        listen_print_address(info->client_addr, client);
    struct job_view view = {0};
    if (request->job)
        view = job_look(request->job);
    log_event(LOG_INFO, "request",
              json_pack("{s:s, s:o, s:o, s:s*, s:i, s:b, s:I, s:I, s:s, s:s*, s:s*, s:s*}", "request_id", request->id,
                        "method", text_json(request->method), "path", text_json(request->url), "route",
                        request->route ? request->route->path : NULL, "status", (int)request->status, "aborted",
                        code != MHD_REQUEST_TERMINATED_COMPLETED_OK, "ms",
                        (json_int_t)((text_clock_us() - request->started_us) / 1000), "upload_bytes",
                        (json_int_t)request->upload.bytes, "client", client, "key",
                        *request->caller.name ? request->caller.name : NULL, "job_id",
                        request->job ? view.record.id : NULL, "code", *request->code ? request->code : NULL));
    if (request->job)
        job_view_release(&view);
}

/* Methods and routes are closed sets: what a client made up does not become a label. */
static const char *method_label(const char *method)
{
    static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i], method) == 0)
            return known[i];
    return "other";
}

static void measure_request(const struct request *request, bool aborted)
{
    struct metrics *metrics = request->service->metrics;
    const char *route = request->route ? request->route->path : "none";
    char status[8];
    (void)snprintf(status, sizeof status, "%u", request->status);
    if (request->status)
        metrics_add(metrics, METRIC_http_requests_total, METRIC_LABELS(route, method_label(request->method), status),
                    1);
    if (aborted)
        metrics_add(metrics, METRIC_http_requests_aborted_total, METRIC_LABELS(route), 1);
    if (*request->code)
        metrics_add(metrics, METRIC_problems_total, METRIC_LABELS(request->code), 1);
    if (request->upload.bytes)
        metrics_add(metrics, METRIC_http_upload_bytes_total, NULL, (double)request->upload.bytes);
    metrics_observe(metrics, METRIC_http_request_duration_seconds, METRIC_LABELS(route),
                    (double)(text_clock_us() - request->started_us) / 1e6);
    if (request->listener == MAIN)
        metrics_add(metrics, METRIC_http_requests_in_flight, NULL, -1);
}

static void finish(void *context, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode code)
{
    struct http *http = context;
    struct request *request = *state;
    if (!request)
        return;
    await_request(http, connection);
    (void)stall_end(http->stalls, &request->stall);
    log_request(request, code);
    measure_request(request, code != MHD_REQUEST_TERMINATED_COMPLETED_OK);
    request_free(request);
    *state = NULL;
    (void)atomic_fetch_sub(&http->in_progress, 1);
}

/* A connection begins or ends; its state is the struct stall in which it waits for the headers of a request. */
static void note_connection(void *context, struct MHD_Connection *connection, void **state,
                            enum MHD_ConnectionNotificationCode code)
{
    struct http *http = context;
    const bool begins = code == MHD_CONNECTION_NOTIFY_STARTED;
    if (http->listener == MAIN)
        metrics_add(http->service->metrics, METRIC_http_connections, NULL, begins ? 1 : -1);
    if (begins) {
        *state = calloc(1, sizeof(struct stall));
        await_request(http, connection);
    } else {
        leave_alone(http, connection);
        free(*state);
        *state = NULL;
    }
}

static void log_library(void *context, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

static void log_library(void *context, const char *format, va_list args)
{
    char message[512];
    (void)context;
    (void)vsnprintf(message, sizeof message, format, args);
    message[strcspn(message, "\r\n")] = '\0';
    log_event(LOG_WARNING, "http", json_pack("{s:o}", "message", text_json(message)));
}

int http_start(struct service *service, enum route_listener listener, const char *address, unsigned threads,
               struct http **ret, struct h5pt_error *err)
{
    struct http *http = calloc(1, sizeof *http);
    if (!http)
        return h5pt_fail_memory(err);
    http->service = service;
    http->listener = listener;
    const struct config *config = service->config;
    int fd = -1;
    if (stall_watch_start((int64_t)config->upload_idle_timeout, answer_stalled, &http->stalls, err) ||
        stall_watch_start((int64_t)config->idle_timeout, end_waiting, &http->waits, err) ||
        (fd = listen_on(address, http->address, err)) < 0) {
        stall_watch_stop(http->waits);
        stall_watch_stop(http->stalls);
        free(http);
        return -1;
    }
    const bool tls = listener == MAIN && tls_wanted(config);
    /* Not epoll: libmicrohttpd uses it edge-triggered, and never sees the end of a connection whose last bytes came with it. */
    const unsigned flags = MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
                           (tls ? MHD_USE_TLS : 0);
    /* libmicrohttpd takes the function as an object. */
    const union {
        gnutls_certificate_retrieve_function2 *function;
        void *pointer;
    } retrieve = {.function = tls_retrieve};
    const struct MHD_OptionItem certificate[] = {
        {tls ? MHD_OPTION_HTTPS_CERT_CALLBACK : MHD_OPTION_END, 0, retrieve.pointer},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)TLS_PRIORITIES},
        {MHD_OPTION_END, 0, NULL},
    };
    const struct MHD_OptionItem pool[] = {
        {threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, (intptr_t)threads, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    http->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, handle, http, MHD_OPTION_EXTERNAL_LOGGER, log_library, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_NOTIFY_COMPLETED, finish, http, MHD_OPTION_NOTIFY_CONNECTION, note_connection, http,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)config->max_connections, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(config->idle_timeout / 1000), MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_ARRAY, pool, MHD_OPTION_ARRAY, certificate, MHD_OPTION_END);
    if (!http->daemon) {
        (void)close(fd);
        stall_watch_stop(http->waits);
        stall_watch_stop(http->stalls);
        free(http);
        return h5pt_fail(err, H5PT_INTERNAL, address, "Starting the HTTP server on %s failed", address);
    }
    *ret = http;
    return 0;
}

const char *http_address(const struct http *http)
{
    return http->address;
}

void http_wait_idle(struct http *http, int64_t ms)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    const int64_t deadline = text_clock_ms() + ms;
    while (http && atomic_load(&http->in_progress) && text_clock_ms() < deadline)
        (void)nanosleep(&pause, NULL);
}

void http_stop(struct http *http)
{
    if (!http)
        return;
    MHD_stop_daemon(http->daemon);
    stall_watch_stop(http->waits);
    stall_watch_stop(http->stalls);
    free(http);
}
