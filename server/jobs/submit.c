/* SPDX-License-Identifier: Apache-2.0 */
/* How a job comes into being: as a new one, with the result of an earlier one, or not at all, because the same request was
 * made before. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/internal.h"
#include "log.h"
#include "write/digest.h"

enum { MAX_ARTIFACTS = 64 };

/* The digest of all that decides about the result. */
static int digest_content(const struct jobs_upload *upload, const struct job_options *options,
                          char ret[JOB_SHA256_SIZE], struct h5pt_error *err)
{
    json_t *json = job_options_json(options, false);
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    struct digest *digest = digest_new();
    int result = 0;
    if (!text || !digest) {
        result = h5pt_fail_memory(err);
    } else {
        digest_add(digest, upload->parts, strlen(upload->parts) + 1);
        digest_add(digest, text, strlen(text) + 1);
        digest_finish(digest, ret);
    }
    digest_free(digest);
    free(text);
    json_decref(json);
    return result;
}

static struct job_record new_record(const struct jobs_upload *upload, const struct job_options *options)
{
    struct job_record record = {
        .state = JOB_QUEUED, .created_ms = text_now_ms(), .options = *options, .bytes = upload->bytes};
    text_new_id(record.id);
    (void)snprintf(record.sha256, sizeof record.sha256, "%s", upload->sha256);
    (void)snprintf(record.filename, sizeof record.filename, "%s", upload->filename);
    (void)snprintf(record.owner, sizeof record.owner, "%s", upload->sender.owner);
    (void)snprintf(record.webhook.url, sizeof record.webhook.url, "%s", upload->webhook);
    return record;
}

/* The job that this key has made before; *ret stays as it is when there is none. */
static int find_replayed(struct jobs *jobs, const struct job_record *record, struct job **ret, struct h5pt_error *err)
{
    struct job_record earlier;
    struct h5pt_error failure = H5PT_ERROR_INIT;
    if (!*record->idempotency_key)
        return 0;
    int result = store_find_key(jobs->store, record->owner, record->idempotency_key, &earlier, &failure);
    if (!result) {
        if (strcmp(earlier.content, record->content) != 0 || strcmp(earlier.webhook.url, record->webhook.url) != 0)
            result = h5pt_fail(&failure, H5PT_IDEMPOTENCY_MISMATCH, "Idempotency-Key",
                               "This key came first with another upload or other options, for conversion %s; use a "
                               "new key for each new request",
                               earlier.id);
        else
            result = jobs_hold(jobs, earlier.id, ret, &failure);
        job_record_release(&earlier);
    }
    if (!result || failure.code == H5PT_NOT_FOUND) /* also: removed just now */
        return 0;
    if (err)
        *err = failure;
    return -1;
}

/* The outputs of `earlier` become those of `record` too. False when they are not all there any more. */
static bool share_outputs(struct files *files, const struct job_record *earlier, const char *id)
{
    const char *names[MAX_ARTIFACTS];
    const size_t count = json_array_size(earlier->artifacts);
    if (!count || count > MAX_ARTIFACTS)
        return false;
    for (size_t i = 0; i < count; i++) {
        names[i] = json_string_value(json_object_get(json_array_get(earlier->artifacts, i), "name"));
        if (!names[i])
            return false;
    }
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (files_share_output(files, earlier->id, names, count, id, &err) == 0)
        return true;
    if (err.code != H5PT_NOT_FOUND)
        log_failure(LOG_WARNING, "result_not_reused", &err, json_pack("{s:s}", "job_id", earlier->id));
    return false;
}

/* The record of a conversion that has the result of `earlier`. */
static struct job_record with_result_of(const struct job_record *record, const struct job_record *earlier)
{
    struct job_record next = *record;
    next.state = JOB_SUCCEEDED;
    job_record_finish(&next);
    next.started_ms = next.finished_ms;
    memcpy(next.core, earlier->core, sizeof next.core);
    memcpy(next.reused_from, *earlier->reused_from ? earlier->reused_from : earlier->id, sizeof next.reused_from);
    next.result = json_incref(earlier->result);
    next.artifacts = json_incref(earlier->artifacts);
    return next;
}

/* A job that has succeeded at once; *ret stays as it is when there is no result to take over. */
static int reuse(struct jobs *jobs, const struct job_record *record, struct job **ret, struct h5pt_error *err)
{
    struct job_record earlier;
    if (store_find_result(jobs->store, record->owner, record->content, jobs->worker->core, &earlier, NULL))
        return 0;
    if (!share_outputs(jobs->files, &earlier, record->id)) {
        job_record_release(&earlier);
        return 0;
    }
    struct job_record next = with_result_of(record, &earlier);
    job_record_release(&earlier);
    int result = store_create(jobs->store, &next, err);
    struct job *job = result ? NULL : job_new(jobs, &next, false);
    if (!result && !job) {
        (void)store_remove(jobs->store, next.id, NULL);
        result = h5pt_fail_memory(err);
    }
    if (result) {
        files_drop_output(jobs->files, next.id);
        job_record_release(&next);
        return -1;
    }
    metrics_add(jobs->metrics, METRIC_jobs_reused_total, NULL, 1);
    jobs_lock(jobs);
    jobs_call(jobs, &job->record);
    jobs_unlock(jobs);
    log_event(LOG_INFO, "job_reused", json_pack("{s:s, s:s}", "job_id", job->id, "reused_from", next.reused_from));
    *ret = job;
    return 0;
}

/* A job that runs. The draft becomes its input. */
static int queue_new(struct jobs *jobs, const struct jobs_upload *upload, const struct job_record *record,
                     struct job **ret, struct h5pt_error *err)
{
    struct job_record stored = *record;
    if (files_keep_upload(jobs->files, upload->draft, record->id, err))
        return -1;
    struct job *job = job_new(jobs, record, false);
    if (!job)
        (void)h5pt_fail_memory(err);
    /* Seen before it is stored, so that whoever finds the record finds the job. */
    else if (!jobs_activate(job, &upload->sender, err) && !store_create(jobs->store, &stored, err)) {
        metrics_add(jobs->metrics, METRIC_jobs_accepted_total, NULL, 1);
        jobs_enqueue(job, stored.revision);
        *ret = job;
        return 0;
    }
    files_drop_input(jobs->files, record->id);
    if (job) {
        jobs_lock(jobs);
        jobs_deactivate(job);
        jobs_unlock(jobs);
    }
    job_release(job);
    return -1;
}

/* One try; CONFLICT when the same key came in at the same time, and the next try will find its job. */
static int try_submit(struct jobs *jobs, const struct jobs_upload *upload, const struct job_record *record, bool fresh,
                      struct job **ret, enum jobs_origin *ret_origin, struct h5pt_error *err)
{
    *ret_origin = JOBS_REPLAYED;
    if (find_replayed(jobs, record, ret, err))
        return -1;
    if (*ret)
        return 0;
    *ret_origin = JOBS_REUSED;
    if (!fresh && strcmp(jobs->config->reuse, "on") == 0 && reuse(jobs, record, ret, err))
        return -1;
    if (*ret)
        return 0;
    *ret_origin = JOBS_NEW;
    return jobs_check(jobs, &upload->sender, err) ? -1 : queue_new(jobs, upload, record, ret, err);
}

int jobs_submit(struct jobs *jobs, const struct jobs_upload *upload, const struct jobs_order *order, struct job **ret,
                enum jobs_origin *ret_origin, struct h5pt_error *err)
{
    struct job_record record = new_record(upload, order->options);
    struct h5pt_error failure = H5PT_ERROR_INIT;
    struct job *job = NULL;
    (void)snprintf(record.idempotency_key, sizeof record.idempotency_key, "%s", order->idempotency_key);
    int result = digest_content(upload, order->options, record.content, &failure);
    if (!result)
        result = try_submit(jobs, upload, &record, order->fresh, &job, ret_origin, &failure);
    if (result && failure.code == H5PT_CONFLICT) {
        *ret_origin = JOBS_REPLAYED;
        failure = (struct h5pt_error)H5PT_ERROR_INIT;
        result = find_replayed(jobs, &record, &job, &failure);
        if (!result && !job)
            result = h5pt_fail(
                &failure, H5PT_IDEMPOTENCY_CONFLICT, "Idempotency-Key",
                "A conversion with this key was made and removed while this upload arrived; send it again");
    }
    if (result || *ret_origin != JOBS_NEW)
        files_drop_draft(jobs->files, upload->draft);
    if (!result)
        *ret = job;
    else if (err)
        *err = failure;
    return result;
}

int jobs_submit_inspection(struct jobs *jobs, const struct jobs_upload *upload, const struct job_options *options,
                           struct job **ret, struct h5pt_error *err)
{
    struct job_record record = new_record(upload, options);
    struct job *job = job_new(jobs, &record, true);
    if (!job || jobs_activate(job, &upload->sender, err)) {
        if (!job)
            (void)h5pt_fail_memory(err);
        job_release(job);
        files_drop_draft(jobs->files, upload->draft);
        return -1;
    }
    job->draft = *upload->draft;
    jobs_enqueue(job, 0);
    *ret = job;
    return 0;
}
