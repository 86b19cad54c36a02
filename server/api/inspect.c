/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/inspect: what is in the file, and would it convert; nothing is kept. */
#include "api/api.h"
#include "http/respond.h"

static enum MHD_Result respond_report(struct request *request)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct job_view view = job_look(request->job);
    enum MHD_Result result;
    if (view.report) {
        result = respond_json(request, MHD_HTTP_OK, json_incref(view.report));
    } else if (view.record.error) {
        result = respond_problem_of(request, view.record.error);
    } else {
        h5pt_fail(&err, H5PT_DRAINING, NULL, "The service is about to stop; try again later, or another instance");
        result = respond_problem(request, &err);
    }
    job_view_release(&view);
    return result;
}

enum MHD_Result api_inspect(struct request *request)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (request->job)
        return respond_report(request);
    struct jobs_upload upload = api_upload(request);
    if (jobs_submit_inspection(request->service->jobs, &upload, &request->query.options, &request->job, &err))
        return respond_problem(request, &err);
    return api_wait(request, INT64_MAX); /* the worker's own time is limited */
}
