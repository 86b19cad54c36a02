/* SPDX-License-Identifier: Apache-2.0 */
#include "api/api.h"
#include "http/authorize.h"
#include "http/respond.h"

/* In the same words whether it is another one's or was never there. */
static int no_such(struct h5pt_error *err)
{
    return h5pt_fail(err, H5PT_NOT_FOUND, NULL, "There is no such conversion");
}

int api_look(struct request *request, struct job_view *ret, struct h5pt_error *err)
{
    const char *id = request->parameters[0];
    struct h5pt_error failure = H5PT_ERROR_INIT;
    struct job_view view;
    if (!text_is_id(id))
        return no_such(err);
    if (jobs_look(request->service->jobs, id, &view, &failure)) {
        if (failure.code == H5PT_NOT_FOUND)
            return no_such(err);
        *err = failure;
        return -1;
    }
    if (!authorize_owner(request, view.record.owner)) {
        job_view_release(&view);
        return no_such(err);
    }
    *ret = view;
    return 0;
}

struct jobs_sender api_sender(const struct request *request)
{
    return (struct jobs_sender){.owner = request->caller.name, .limit = request->caller.max_jobs};
}

struct jobs_upload api_upload(struct request *request)
{
    struct jobs_upload upload = upload_hand_over(&request->upload);
    upload.sender = api_sender(request);
    upload.webhook = request->query.webhook;
    return upload;
}

void api_resume(void *connection)
{
    MHD_resume_connection(connection);
}

enum MHD_Result api_wait(struct request *request, int64_t deadline)
{
    request->waiter = (struct job_waiter){.deadline = deadline, .wake = api_resume, .context = request->connection};
    MHD_suspend_connection(request->connection);
    jobs_wait(request->job, &request->waiter);
    return MHD_YES;
}

static json_t *time_or_null(int64_t ms)
{
    char text[TEXT_TIME_SIZE];
    return ms ? json_string(text_time(ms, text)) : json_null();
}

static json_t *text_or_null(const char *text)
{
    return *text ? text_json(text) : json_null();
}

/* The artifacts of the record, each with its address. */
static json_t *artifacts(const struct job_record *record)
{
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(record->artifacts); i++) {
        json_t *artifact = json_copy(json_array_get(record->artifacts, i));
        const char *name = json_string_value(json_object_get(artifact, "name"));
        (void)json_object_set_new(artifact, "href",
                                  json_sprintf("/v1/conversions/%s/artifacts/%s", record->id, name ? name : ""));
        (void)json_array_append_new(list, artifact);
    }
    return list;
}

json_t *api_job_problem(const struct job_record *record)
{
    json_t *problem = json_copy(record->error);
    if (problem && json_array_size(record->artifacts))
        (void)json_object_set_new(problem, "report",
                                  json_sprintf("/v1/conversions/%s/artifacts/report.json", record->id));
    return problem;
}

static json_t *member_or_null(const json_t *object, const char *name)
{
    json_t *member = json_object_get(object, name);
    return member ? json_incref(member) : json_null();
}

static json_t *webhook_or_null(const struct job_webhook *webhook)
{
    if (!*webhook->url)
        return json_null();
    return json_pack("{s:s, s:s, s:i, s:o, s:o, s:o}", "url", webhook->url, "state", webhook_state_name(webhook->state),
                     "attempts", webhook->attempts, "next_at", time_or_null(webhook->next_ms), "status",
                     webhook->status ? json_integer(webhook->status) : json_null(), "problem",
                     text_or_null(webhook->problem));
}

json_t *api_job_json(const struct request *request, const struct job_view *view)
{
    return api_job_document(request->service->config, view);
}

json_t *api_job_document(const struct config *config, const struct job_view *view)
{
    const struct job_record *record = &view->record;
    const bool running = record->state == JOB_RUNNING, finished = job_state_finished(record->state);
    const int64_t kept = (int64_t)config->retention;
    return json_pack(
        "{s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:i, s:o, s:o, s:o, s:{s:o, s:I, s:s}, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
        "id", record->id, "owner", text_or_null(record->owner), "state", job_state_name(record->state), "created_at",
        time_or_null(record->created_ms), "started_at", time_or_null(record->started_ms), "finished_at",
        time_or_null(record->finished_ms), "expires_at", time_or_null(finished ? record->finished_ms + kept : 0),
        "attempts", record->attempts, "queue_place", view->place ? json_integer((json_int_t)view->place) : json_null(),
        "stage", running ? text_or_null(view->stage) : json_null(), "progress",
        running ? json_real(view->progress) : json_null(), "model", "filename", text_or_null(record->filename), "bytes",
        (json_int_t)record->bytes, "sha256", record->sha256, "options", job_options_json(&record->options, true),
        "reused_from", text_or_null(record->reused_from), "verdict", member_or_null(record->result, "verdict"),
        "parity", member_or_null(record->result, "parity"), "error",
        record->error ? api_job_problem(record) : json_null(), "artifacts", artifacts(record), "webhook",
        webhook_or_null(&record->webhook));
}

void api_retry_after(struct request *request, const struct job_view *view)
{
    const enum job_state state = view->record.state;
    if (!job_state_finished(state))
        request_header(request, "Retry-After", "%d",
                       state == JOB_QUEUED ? jobs_retry_after(request->service->jobs, NULL) : JOBS_RETRY_MIN_S);
}

enum MHD_Result api_accepted(struct request *request, const struct job_view *view)
{
    request_header(request, "Location", "/v1/conversions/%s", view->record.id);
    api_retry_after(request, view);
    return respond_json(request, MHD_HTTP_ACCEPTED, api_job_json(request, view));
}
