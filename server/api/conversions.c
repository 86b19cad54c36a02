/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/conversions: jobs. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "http/authorize.h"
#include "http/respond.h"

/* 201 when the conversion has finished already, else 202. */
static enum MHD_Result respond_created(struct request *request)
{
    struct job_view view = job_look(request->job);
    enum MHD_Result result;
    if (job_state_finished(view.record.state)) {
        request_header(request, "Location", "/v1/conversions/%s", view.record.id);
        result = respond_json(request, MHD_HTTP_CREATED, api_job_json(request, &view));
    } else {
        result = api_accepted(request, &view);
    }
    job_view_release(&view);
    return result;
}

enum MHD_Result api_create_conversion(struct request *request)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (request->job)
        return respond_created(request);
    if (api_submit(request, &err))
        return respond_problem(request, &err);
    const int64_t wait = api_wanted_wait(request, 0);
    return wait ? api_wait(request, text_clock_ms() + wait) : respond_created(request);
}

/* Link: the next page of the same list. */
static void link_next(struct request *request, const char *cursor)
{
    char states[128] = "";
    for (int i = 0; i < JOB_STATE_COUNT; i++) {
        size_t used = strlen(states);
        if (request->query.states & 1u << i)
            (void)snprintf(states + used, sizeof states - used, "%s%s",
                           used ? "," : "&state=", job_state_name((enum job_state)i));
    }
    request_header(request, "Link", "</v1/conversions?limit=%zu%s&cursor=%s>; rel=\"next\"", request->query.limit,
                   states, cursor);
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
    if (count > limit)
        link_next(request, views[limit - 1].record.id);
    jobs_free_views(views, count);
    return respond_json(request, MHD_HTTP_OK, json_pack("{s:o, s:o}", "conversions", list, "next", next));
}

/* Lets a client that wants to wait do so, for a conversion that has not finished. */
static bool wait_for_end(struct request *request, const struct job_view *view)
{
    if (job_state_finished(view->record.state))
        return false;
    const int64_t wait = api_wanted_wait(request, 0);
    if (!wait || jobs_hold(request->service->jobs, view->record.id, &request->job, NULL))
        return false;
    (void)api_wait(request, text_clock_ms() + wait);
    return true;
}

enum MHD_Result api_get_conversion(struct request *request)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct job_view view;
    enum MHD_Result result = MHD_YES;
    char tag[64];
    const bool waited = request->job != NULL;
    if (waited)
        view = job_look(request->job);
    else if (api_look(request, &view, &err))
        return respond_problem(request, &err);
    if (waited || !wait_for_end(request, &view)) {
        /* Weak: a later h5ptd may show the same state in another way. The place in the queue changes without an event. */
        (void)snprintf(tag, sizeof tag, "W/\"%" PRIu64 ".%" PRIu64 "\"", view.event, view.place);
        api_retry_after(request, &view);
        if (!respond_condition(request, tag, &result))
            result = respond_json(request, MHD_HTTP_OK, api_job_json(request, &view));
    }
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
