/* SPDX-License-Identifier: Apache-2.0 */
/* What the headers of a request say about the job that it makes, and for how long its answer may take. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "http/fields.h"
#include "http/respond.h"

/* Idempotency-Key: any printable text; the quotes of a structured field are not part of it. */
static int read_key(const struct request *request, char ret[JOB_KEY_SIZE], struct h5pt_error *err)
{
    static const char name[] = "Idempotency-Key";
    const char *key = request_field(request, name);
    size_t length = key ? strlen(key) : 0;
    ret[0] = '\0';
    if (!key)
        return 0;
    if (length >= 2 && *key == '"' && key[length - 1] == '"') {
        key++;
        length -= 2;
    }
    bool printable = length != 0;
    for (size_t i = 0; i < length; i++)
        printable = printable && key[i] >= 0x20 && key[i] < 0x7f;
    if (!printable || length >= JOB_KEY_SIZE)
        return h5pt_fail(err, H5PT_USAGE, name, "%s must have 1 to %d printable ASCII characters", name,
                         JOB_KEY_SIZE - 1);
    memcpy(ret, key, length);
    ret[length] = '\0';
    return 0;
}

int api_submit(struct request *request, struct h5pt_error *err)
{
    char key[JOB_KEY_SIZE], *cache = NULL;
    if (read_key(request, key, err) || field_read(request->connection, "Cache-Control", &cache, err))
        return -1;
    const struct jobs_order order = {
        .options = &request->query.options, .idempotency_key = key, .fresh = field_has(cache, "no-cache")};
    free(cache);
    const struct jobs_upload upload = api_upload(request);
    enum jobs_origin origin;
    if (jobs_submit(request->service->jobs, &upload, &order, &request->job, &origin, err))
        return -1;
    if (origin == JOBS_REPLAYED)
        request_header(request, "Idempotent-Replayed", "true");
    return 0;
}

int64_t api_wanted_wait(struct request *request, int64_t preset)
{
    char *field = NULL;
    if (request->query.wait_given)
        return request->query.wait_ms;
    (void)field_read(request->connection, "Prefer", &field, NULL);
    const struct field_preferences prefer = field_preferences_read(field);
    free(field);
    const int64_t most_s = (int64_t)request->service->config->max_wait / 1000;
    const int64_t wait_s = prefer.wait_s < most_s ? prefer.wait_s : most_s;
    if (prefer.wait_s >= 0)
        request_header(request, "Preference-Applied", "%swait=%" PRId64, prefer.respond_async ? "respond-async, " : "",
                       wait_s);
    else if (prefer.respond_async)
        request_header(request, "Preference-Applied", "respond-async");
    if (prefer.wait_s >= 0)
        return wait_s * 1000;
    return prefer.respond_async ? 0 : preset;
}
