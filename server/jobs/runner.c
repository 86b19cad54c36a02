/* SPDX-License-Identifier: Apache-2.0 */
/* The threads that run jobs, each one worker at a time. */
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "write/digest.h"
#include "jobs/internal.h"
#include "log.h"

enum { ARTIFACT_NAME_MAX = 64, REPORT_MAX_ARTIFACTS = 32 };

static void note_progress(void *context, const char *stage, double fraction)
{
    struct job *job = context;
    jobs_lock(job->jobs);
    (void)snprintf(job->stage, sizeof job->stage, "%s", stage);
    job->progress = fraction;
    job->steps++;
    jobs_wake_waiters(job->jobs);
    jobs_unlock(job->jobs);
}

/* One run of the worker. `output` is -1 for a dry run. */
static int run_worker(struct job *job, struct fork_server *server, const struct job_record *record, int output,
                      struct child_result *ret, struct h5pt_error *err)
{
    struct files *files = job->jobs->files;
    struct child_request request = {
        .server = server,
        .config = job->jobs->config,
        .output_dir = output,
        .options = &record->options,
        .dry_run = job->transient,
        .stop = job->stop,
        .progress = note_progress,
        .context = job,
    };
    if (job->transient ? files_open_upload(files, &job->draft, request.inputs, err)
                       : files_open_input(files, record->id, request.inputs, err))
        return -1;
    int result = child_run(&request, ret, err);
    if (!result)
        measure_run(job->jobs->metrics, ret);
    for (int i = 0; i < FILES_PART_COUNT; i++)
        if (request.inputs[i] >= 0)
            (void)close(request.inputs[i]);
    return result;
}

static bool is_safe_name(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t length = strlen(name);
    return length && length <= ARTIFACT_NAME_MAX && *name != '.' && strspn(name, allowed) == length;
}

/* Adds {"name", "bytes", "sha256"} of an artifact that is really there. */
static void list_artifact(struct files *files, const char *id, const char *name, const char *sha256, json_t *artifacts)
{
    int fd;
    uint64_t bytes;
    char digest[DIGEST_TEXT_SIZE];
    if (files_open_artifact(files, id, name, &fd, &bytes, NULL))
        return;
    if (!sha256 || !digest_is_valid(sha256))
        sha256 = digest_file(fd, NULL, digest, NULL) == 0 ? digest : NULL;
    if (sha256)
        (void)json_array_append_new(
            artifacts, json_pack("{s:s, s:I, s:s}", "name", name, "bytes", (json_int_t)bytes, "sha256", sha256));
    (void)close(fd);
}

static json_t *list_artifacts(struct files *files, const char *id, const json_t *report)
{
    json_t *artifacts = json_array(), *reported = json_object_get(report, "artifacts");
    for (size_t i = 0; i < json_array_size(reported) && i < REPORT_MAX_ARTIFACTS; i++) {
        const json_t *artifact = json_array_get(reported, i);
        const char *name = json_string_value(json_object_get(artifact, "name"));
        if (name && is_safe_name(name) && strcmp(name, "report.json") != 0)
            list_artifact(files, id, name, json_string_value(json_object_get(artifact, "sha256")), artifacts);
    }
    list_artifact(files, id, "report.json", NULL, artifacts);
    return artifacts;
}

/* Makes the outcome of a worker that has reported, and publishes its artifacts. */
static void settle(struct job *job, struct job_record *next, const struct files_draft *draft, const json_t *last)
{
    struct jobs *jobs = job->jobs;
    const json_t *report = json_object_get(last, "report");
    outcome_of_report(next, last);
    if (job->transient) {
        jobs_lock(jobs);
        job->report = json_incref(json_object_get(last, "report"));
        jobs_unlock(jobs);
        return;
    }
    if (!report)
        return;
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (!files_keep_output(jobs->files, draft, next->id, &err)) {
        next->artifacts = list_artifacts(jobs->files, next->id, report);
        (void)snprintf(next->core, sizeof next->core, "%s", jobs->worker->core);
        return;
    }
    job_record_release(next);
    outcome_of_error(next, &err);
}

static void log_end(const struct job_record *record, const struct child_result *result)
{
    const int64_t started = record->started_ms ? record->started_ms : record->finished_ms;
    log_event(record->state == JOB_FAILED ? LOG_WARNING : LOG_INFO, "job",
              json_pack("{s:s, s:s, s:i, s:I, s:I, s:s*, s:s*, s:i, s:o*}", "job_id", record->id, "state",
                        job_state_name(record->state), "attempts", record->attempts, "queue_ms",
                        (json_int_t)(started - record->created_ms), "run_ms",
                        (json_int_t)(record->finished_ms - started), "verdict",
                        json_string_value(json_object_get(record->result, "verdict")), "code",
                        json_string_value(json_object_get(record->error, "code")), "signal", result->signal,
                        "worker_stderr", *result->output ? text_json(result->output) : NULL));
}

/* What to do after a worker has ended; the record says it. True when the job is to run once more, at once. */
static bool take_result(struct job *job, struct job_record *next, const struct files_draft *draft,
                        const struct child_result *result)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (result->end == CHILD_STOPPED) {
        next->state = JOB_QUEUED;
        next->started_ms = 0;
        return false;
    }
    next->attempts++;
    switch (result->end) {
    case CHILD_REPORTED: settle(job, next, draft, result->last); return false;
    case CHILD_TIMEOUT:
        h5pt_fail(&err, H5PT_WORKER_TIMEOUT, NULL, "The conversion took longer than the service allows");
        break;
    default:
        if (next->attempts < JOB_MAX_ATTEMPTS)
            return true;
        h5pt_fail(&err, H5PT_WORKER_CRASHED, NULL,
                  "The conversion of this file has crashed %d times (signal %d); the file may be damaged",
                  next->attempts, result->signal);
    }
    outcome_of_error(next, &err);
    return false;
}

/* A copy of the record to work on; false when nobody wants the job any more. */
static bool copy_record(struct job *job, struct job_record *ret)
{
    jobs_lock(job->jobs);
    bool wanted = !job->abandoned;
    if (wanted)
        *ret = job_record_copy(&job->record);
    jobs_unlock(job->jobs);
    return wanted;
}

/* Runs a job once. False when it is to run again at once. */
static bool run_once(struct job *job, struct fork_server *server, struct h5pt_error *err)
{
    struct jobs *jobs = job->jobs;
    struct job_record next;
    if (!copy_record(job, &next))
        return true;
    struct files_draft draft;
    struct child_result result = {.end = CHILD_CRASHED};
    int output = -1;
    bool again = false;
    if (!job->transient && files_new_output(jobs->files, &draft, &output, err))
        outcome_of_error(&next, err);
    else if (run_worker(job, server, &next, output, &result, err))
        outcome_of_error(&next, err);
    else
        again = take_result(job, &next, &draft, &result);
    if (job_state_finished(next.state)) {
        next.run_us = result.run_us;
        job_record_finish(&next);
        log_end(&next, &result);
        if (!job->transient)
            measure_end(jobs->metrics, &next, &result);
    }
    if (output >= 0) {
        (void)close(output);
        files_drop_draft(jobs->files, &draft); /* nothing, when it was kept */
    }
    json_decref(result.last);
    if (again)
        log_event(LOG_WARNING, "worker_crashed",
                  json_pack("{s:s, s:i, s:i, s:i, s:o}", "job_id", next.id, "attempts", next.attempts, "signal",
                            result.signal, "status", result.status, "worker_stderr", text_json(result.output)));
    *err = (struct h5pt_error)H5PT_ERROR_INIT;
    bool published = jobs_publish(job, &next, again ? STORE_LAZY : STORE_DURABLE, err) == 0;
    return !published || !again;
}

/* The job has left the queue for good: its upload is not needed any more, and what it made only if it is wanted. */
static void clean_up(struct job *job)
{
    struct files *files = job->jobs->files;
    if (job->transient) {
        files_drop_draft(files, &job->draft);
        return;
    }
    struct job_record stored;
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (store_read(job->jobs->store, job->id, &stored, &err)) {
        if (err.code != H5PT_NOT_FOUND)
            return; /* it stays for the sweep at the next start */
        files_drop_input(files, job->id);
        files_drop_output(files, job->id);
        return;
    }
    if (job_state_finished(stored.state))
        files_drop_input(files, stored.id);
    if (stored.state == JOB_CANCELED)
        files_drop_output(files, stored.id);
    job_record_release(&stored);
}

static void run_job(struct job *job, struct fork_server *server)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct job_record next;
    if (copy_record(job, &next)) {
        next.state = JOB_RUNNING;
        next.started_ms = text_now_ms();
        if (!jobs_publish(job, &next, STORE_LAZY, &err))
            while (!run_once(job, server, &err))
                ;
    }
    if (err.code != H5PT_OK && err.code != H5PT_CONFLICT)
        log_failure(LOG_ERROR, "job_not_stored", &err, json_pack("{s:s}", "job_id", job->id));
    clean_up(job);
}

void jobs_give_up(struct job *job, const struct h5pt_error *why)
{
    const struct child_result none = {.end = CHILD_STOPPED};
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct job_record next;
    if (copy_record(job, &next)) {
        outcome_of_error(&next, why);
        job_record_finish(&next);
        log_end(&next, &none);
        if (!job->transient)
            measure_end(job->jobs->metrics, &next, &none);
        if (jobs_publish(job, &next, STORE_DURABLE, &err) && err.code != H5PT_CONFLICT)
            log_failure(LOG_ERROR, "job_not_stored", &err, json_pack("{s:s}", "job_id", job->id));
    }
    clean_up(job);
    struct jobs *jobs = job->jobs;
    jobs_lock(jobs);
    jobs_put(job);
    jobs_unlock(jobs);
}

/* The next job, in the hands of this runner; NULL when draining. */
static struct job *take_job(struct jobs *jobs, int stop)
{
    jobs_lock(jobs);
    while (!jobs->draining && TAILQ_EMPTY(&jobs->queue))
        (void)pthread_cond_wait(&jobs->work, &jobs->lock);
    struct job *job = jobs->draining ? NULL : TAILQ_FIRST(&jobs->queue);
    if (job) {
        jobs_dequeue(job);
        TAILQ_INSERT_TAIL(&jobs->running, job, links);
        job->stop = stop;
        jobs->running_count++;
    }
    jobs_unlock(jobs);
    return job;
}

static void put_back(struct job *job, int64_t run_ms)
{
    enum { MEAN_OVER = 16 }; /* runs */
    struct jobs *jobs = job->jobs;
    uint64_t count;
    jobs_lock(jobs);
    jobs->mean_run_ms += ((double)run_ms - jobs->mean_run_ms) / (jobs->mean_run_ms > 0 ? MEAN_OVER : 1);
    TAILQ_REMOVE(&jobs->running, job, links);
    while (read(job->stop, &count, sizeof count) > 0)
        ;
    job->stop = -1;
    jobs_put(job);
    if (--jobs->running_count == 0)
        (void)pthread_cond_broadcast(&jobs->idle);
    jobs_unlock(jobs);
}

void *jobs_run(void *context)
{
    struct jobs *jobs = context;
    int stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop < 0) {
        log_event(LOG_ERROR, "runner_not_started", NULL);
        return NULL;
    }
    struct fork_server server;
    fork_server_init(&server, jobs->worker->program);
    for (struct job *job; (job = take_job(jobs, stop));) {
        const int64_t started = text_clock_ms();
        run_job(job, &server);
        put_back(job, text_clock_ms() - started);
    }
    fork_server_stop(&server);
    (void)close(stop);
    return NULL;
}
