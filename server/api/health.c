/* SPDX-License-Identifier: Apache-2.0 */
/* GET /livez: the process answers. GET /readyz: a new conversion would be accepted. */
#include "api/api.h"
#include "http/respond.h"

/* Less than this, and an upload or its result may not fit. */
#define DISK_RESERVE ((uint64_t)256 << 20)

enum MHD_Result api_livez(struct request *request)
{
    return respond_json(request, MHD_HTTP_OK, json_pack("{s:s}", "status", "alive"));
}

enum MHD_Result api_readyz(struct request *request)
{
    struct h5pt_error err = H5PT_ERROR_INIT, reason = H5PT_ERROR_INIT;
    if (jobs_check(request->service->jobs, NULL, &reason))
        h5pt_fail(&err, H5PT_NOT_READY, h5pt_code_name(reason.code), "%s", reason.message);
    else if (files_free_bytes(request->service->files) < DISK_RESERVE)
        h5pt_fail(&err, H5PT_NOT_READY, h5pt_code_name(H5PT_DISK_FULL),
                  "The disk of the data directory is almost full");
    if (err.code != H5PT_OK)
        return respond_problem(request, &err);
    const struct jobs_counts counts = jobs_count(request->service->jobs);
    return respond_json(request, MHD_HTTP_OK,
                        json_pack("{s:s, s:I, s:I}", "status", "ready", "queued", (json_int_t)counts.queued, "running",
                                  (json_int_t)counts.running));
}
