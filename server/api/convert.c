/* SPDX-License-Identifier: Apache-2.0 */
/* POST, PUT /v1/convert: a conversion whose artifact is the answer, when it is ready in time. */
#include <inttypes.h>

#include "api/api.h"
#include "http/respond.h"

/* The verdict, for clients that look at nothing else. */
static void add_verdict(struct request *request, const struct job_record *record)
{
    const char *verdict = json_string_value(json_object_get(record->result, "verdict"));
    const json_t *parity = json_object_get(record->result, "parity");
    const json_t *ok = json_object_get(parity, "ok"), *max_abs = json_object_get(parity, "max_abs");
    request_header(request, "H5PT-Conversion", "%s", record->id);
    if (record->run_us)
        request_header(request, "Server-Timing", "queue;dur=%" PRId64 ", worker;dur=%.3f",
                       record->started_ms - record->created_ms, (double)record->run_us / 1e3);
    if (*record->reused_from)
        request_header(request, "H5PT-Reused-From", "%s", record->reused_from);
    if (verdict)
        request_header(request, "H5PT-Verdict", "%s", verdict);
    if (json_is_boolean(ok))
        request_header(request, "H5PT-Parity-Ok", "%s", json_is_true(ok) ? "true" : "false");
    if (json_is_number(max_abs))
        request_header(request, "H5PT-Parity-Max-Abs", "%.9g", json_number_value(max_abs));
    if (json_array_size(record->artifacts))
        request_header(request, "Link", "</v1/conversions/%s/artifacts/report.json>; rel=\"describedby\"", record->id);
}

static enum MHD_Result respond_failed(struct request *request, const struct job_record *record)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (!record->error) {
        artifact_check_state(record, &err);
        return respond_problem(request, &err);
    }
    json_t *problem = api_job_problem(record);
    enum MHD_Result result = respond_problem_of(request, problem);
    json_decref(problem);
    return result;
}

static enum MHD_Result respond_result(struct request *request)
{
    struct job_view view = job_look(request->job);
    enum MHD_Result result;
    if (!job_state_finished(view.record.state)) {
        result = api_accepted(request, &view);
    } else {
        add_verdict(request, &view.record);
        if (view.record.state == JOB_SUCCEEDED)
            result = artifact_respond(request, &view.record, request->query.artifact->name);
        else
            result = respond_failed(request, &view.record);
    }
    job_view_release(&view);
    return result;
}

enum MHD_Result api_convert(struct request *request)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (request->job)
        return respond_result(request);
    if (api_submit(request, &err))
        return respond_problem(request, &err);
    const int64_t wait = api_wanted_wait(request, request->query.wait_ms);
    return wait ? api_wait(request, text_clock_ms() + wait) : respond_result(request);
}
