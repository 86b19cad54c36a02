/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/capabilities, /version: what this build, and the worker that it runs, can do. */
#include "api/api.h"
#include "http/respond.h"

enum MHD_Result api_capabilities(struct request *request)
{
    const struct config *config = request->service->config;
    json_t *body = json_copy(json_object_get(request->service->description, "capabilities"));
    if (body) {
        (void)json_object_update_missing(body, json_object_get(request->service->description, "version"));
        (void)json_object_set_new(body, "limits",
                                  json_pack("{s:I, s:I, s:I, s:I, s:I}", "upload_bytes", (json_int_t)config->max_upload,
                                            "wait_seconds", (json_int_t)(config->max_wait / 1000), "wall_seconds",
                                            (json_int_t)(config->wall_time / 1000), "memory_bytes",
                                            (json_int_t)config->memory, "retention_seconds",
                                            (json_int_t)(config->retention / 1000)));
    }
    return respond_json(request, MHD_HTTP_OK, body);
}

enum MHD_Result api_version(struct request *request)
{
    json_t *body = json_copy(json_object_get(request->service->description, "version"));
    if (body)
        (void)json_object_set(body, "sandbox", json_object_get(request->service->description, "sandbox"));
    return respond_json(request, MHD_HTTP_OK, body);
}
