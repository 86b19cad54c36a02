/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/conversions: jobs. */
#include "api/api.h"
#include "http/authorize.h"
#include "http/respond.h"

enum MHD_Result api_create_conversion(struct request *request)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct jobs_upload upload = api_upload(request);
    if (jobs_submit(request->service->jobs, &upload, &request->query.options, &request->job, &err))
        return respond_problem(request, &err);
    struct job_view view = job_look(request->job);
    enum MHD_Result result = api_accepted(request, &view);
    job_view_release(&view);
    return result;
}

enum MHD_Result api_list_conversions(struct request *request)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct job_view *views;
    size_t count, limit = request->query.limit;
    /* One more than the page tells whether there is a next one. */
    const struct store_query query = {.states = request->query.states,
                                      .owner = authorize_view(request),
                                      .before = *request->query.cursor ? request->query.cursor : NULL,
                                      .limit = limit + 1};
    if (jobs_list(request->service->jobs, &query, &views, &count, &err))
        return respond_problem(request, &err);
    json_t *list = json_array();
    for (size_t i = 0; i < count && i < limit; i++)
        (void)json_array_append_new(list, api_job_json(request, &views[i]));
    json_t *next = count > limit ? json_string(views[limit - 1].record.id) : json_null();
    jobs_free_views(views, count);
    return respond_json(request, MHD_HTTP_OK, json_pack("{s:o, s:o}", "conversions", list, "next", next));
}

enum MHD_Result api_get_conversion(struct request *request)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct job_view view;
    if (api_look(request, &view, &err))
        return respond_problem(request, &err);
    if (!job_state_finished(view.record.state))
        request_header(request, "Retry-After", "1");
    enum MHD_Result result = respond_json(request, MHD_HTTP_OK, api_job_json(request, &view));
    job_view_release(&view);
    return result;
}

enum MHD_Result api_delete_conversion(struct request *request)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct job_view view;
    if (api_look(request, &view, &err))
        return respond_problem(request, &err);
    job_view_release(&view);
    if (jobs_remove(request->service->jobs, request->parameters[0], &err))
        return respond_problem(request, &err);
    return respond_empty(request, MHD_HTTP_NO_CONTENT);
}
