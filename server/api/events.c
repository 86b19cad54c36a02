/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/conversions/{id}/events: what happens to a conversion, as server-sent events. Nothing is queued: whenever the client can
 * take more, it gets the state of that moment if it is news, and else its connection sleeps. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "base/strbuf.h"
#include "http/respond.h"

struct event_stream {
    struct request *request; /* which outlives the reading of its response */
    struct job *job;         /* held */
    struct job_waiter waiter;
    bool begun, ended;
    uint64_t seen;     /* event that the client has; 0: none */
    uint64_t revision; /* of the record that the client has seen; 0: none */
    int64_t heartbeat; /* when the next one is due, text_clock_ms() */
    struct strbuf text;
    size_t sent; /* of text */
};

static void add_event(struct event_stream *stream, uint64_t id, const char *name, json_t *data)
{
    char *text = data ? json_dumps(data, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    if (text)
        strbuf_addf(&stream->text, "id: %" PRIu64 "\nevent: %s\ndata: %s\n\n", id, name, text);
    stream->text.broken = stream->text.broken || !text;
    free(text);
    json_decref(data);
}

/* The job, or no more than its progress to a client that knows the rest. */
static void add_news(struct event_stream *stream, const struct job_view *view)
{
    if (view->record.revision != stream->revision)
        add_event(stream, view->event, "state", api_job_json(stream->request, view));
    else
        add_event(stream, view->event, "progress",
                  json_pack("{s:s, s:f}", "stage", view->stage, "progress", view->progress));
    stream->seen = view->event;
    stream->revision = view->record.revision;
}

/* Puts what there is to say at this moment into the text, which is empty. */
static void compose(struct event_stream *stream)
{
    const struct config *config = stream->request->service->config;
    const int64_t now = text_clock_ms();
    struct job_view view = job_look(stream->job);
    if (!stream->begun)
        strbuf_add(&stream->text, "retry: 2000\n\n");
    stream->begun = true;
    if (view.event != stream->seen)
        add_news(stream, &view);
    stream->ended = view.settled || jobs_count(stream->request->service->jobs).draining;
    if (!stream->ended && !stream->text.length && now >= stream->heartbeat)
        strbuf_add(&stream->text, ":\n\n");
    if (stream->text.length)
        stream->heartbeat = now + (int64_t)config->heartbeat;
    job_view_release(&view);
}

static ssize_t read_events(void *context, uint64_t position, char *buffer, size_t capacity)
{
    struct event_stream *stream = context;
    (void)position;
    if (stream->sent == stream->text.length) {
        if (stream->ended)
            return MHD_CONTENT_READER_END_OF_STREAM;
        strbuf_release(&stream->text);
        stream->text = (struct strbuf)STRBUF_INIT;
        stream->sent = 0;
        compose(stream);
        if (!strbuf_ok(&stream->text))
            return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    const size_t left = stream->text.length - stream->sent, count = left < capacity ? left : capacity;
    if (count) {
        memcpy(buffer, stream->text.text + stream->sent, count);
        stream->sent += count;
        return (ssize_t)count;
    }
    if (stream->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    stream->waiter = (struct job_waiter){.deadline = stream->heartbeat,
                                         .follow = true,
                                         .seen = stream->seen,
                                         .wake = api_resume,
                                         .context = stream->request->connection};
    MHD_suspend_connection(stream->request->connection);
    jobs_wait(stream->job, &stream->waiter);
    return 0;
}

static void free_stream(void *context)
{
    struct event_stream *stream = context;
    job_release(stream->job);
    strbuf_release(&stream->text);
    free(stream);
}

/* The number in Last-Event-ID, or 0. */
static uint64_t last_event(const struct request *request)
{
    const char *text = request_field(request, "Last-Event-ID");
    char *end;
    const uint64_t number = text ? strtoull(text, &end, 10) : 0;
    return text && end != text && !*end ? number : 0;
}

static enum MHD_Result start_stream(struct request *request, struct job *job, uint64_t seen)
{
    enum { BLOCK = 4096 };
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct event_stream *stream = calloc(1, sizeof *stream);
    if (!stream) {
        job_release(job);
        h5pt_fail_memory(&err);
        return respond_problem(request, &err);
    }
    *stream = (struct event_stream){.request = request, .job = job, .seen = seen, .text = STRBUF_INIT};
    request_header(request, "Content-Type", "text/event-stream");
    request_header(request, "X-Accel-Buffering", "no"); /* or nginx keeps events for itself */
    return respond_stream(request, MHD_SIZE_UNKNOWN, BLOCK, read_events, stream, free_stream);
}

enum MHD_Result api_conversion_events(struct request *request)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct job_view view;
    struct job *job;
    const uint64_t seen = last_event(request);
    if (api_look(request, &view, &err))
        return respond_problem(request, &err);
    const bool over = job_state_finished(view.record.state) && view.event == seen;
    job_view_release(&view);
    if (over)
        return respond_empty(request, MHD_HTTP_NO_CONTENT);
    if (jobs_hold(request->service->jobs, request->parameters[0], &job, &err))
        return respond_problem(request, &err);
    return start_stream(request, job, seen);
}
