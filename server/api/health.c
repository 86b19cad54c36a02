/* SPDX-License-Identifier: Apache-2.0 */
/* GET /livez: the process answers. GET /readyz: a new conversion would be accepted and carried out. */
#include "api/api.h"
#include "http/respond.h"
#include "problem.h"

enum MHD_Result api_livez(struct request *request)
{
    return respond_json(request, MHD_HTTP_OK, json_pack("{s:s}", "status", "alive"));
}

/* [{"name", "ok", "detail", "probed_at"}] */
static json_t *checks_json(const struct health_state states[HEALTH_CHECK_COUNT])
{
    json_t *list = json_array();
    for (int i = 0; i < HEALTH_CHECK_COUNT; i++) {
        char time[TEXT_TIME_SIZE];
        const struct health_state *state = &states[i];
        const bool ok = state->reason.code == H5PT_OK;
        (void)json_array_append_new(
            list, json_pack("{s:s, s:b, s:o, s:o}", "name", health_check_name((enum health_check)i), "ok", ok, "detail",
                            ok ? json_null() : text_json(state->reason.message), "probed_at",
                            state->probed_ms ? json_string(text_time(state->probed_ms, time)) : json_null()));
    }
    return list;
}

/* The first check that fails, as the problem. */
static json_t *not_ready(const struct health_state states[HEALTH_CHECK_COUNT])
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    int i = 0;
    while (i < HEALTH_CHECK_COUNT - 1 && states[i].reason.code == H5PT_OK)
        i++;
    h5pt_fail(&err, H5PT_NOT_READY, health_check_name((enum health_check)i), "%s", states[i].reason.message);
    return problem_new(&err);
}

enum MHD_Result api_readyz(struct request *request)
{
    struct health_state states[HEALTH_CHECK_COUNT];
    const bool ready = health_look(request->service->health, states);
    const struct jobs_counts counts = jobs_count(request->service->jobs);
    json_t *body = ready ? json_pack("{s:s, s:I, s:I}", "status", "ready", "queued", (json_int_t)counts.queued,
                                     "running", (json_int_t)counts.running)
                         : not_ready(states);
    if (body && request->query.verbose)
        (void)json_object_set_new(body, "checks", checks_json(states));
    if (ready)
        return respond_json(request, MHD_HTTP_OK, body);
    enum MHD_Result result = respond_problem_of(request, body);
    json_decref(body);
    return result;
}
