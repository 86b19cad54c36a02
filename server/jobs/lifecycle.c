/* SPDX-License-Identifier: Apache-2.0 */
/* How the jobs module starts, with what an earlier run left, and how it stops. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "jobs/internal.h"
#include "log.h"

static bool is_wanted(void *context, const char *id, bool input)
{
    const struct jobs *jobs = context;
    struct job_record record;
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (store_read(jobs->store, id, &record, &err))
        return err.code != H5PT_NOT_FOUND; /* when in doubt, keep */
    enum job_state state = record.state;
    job_record_release(&record);
    return input ? !job_state_finished(state) : state == JOB_SUCCEEDED || state == JOB_FAILED;
}

/* Puts a job back into the queue; the record is taken. One that was running begins anew, which is an event. */
static int requeue(struct jobs *jobs, struct job_record *record, struct h5pt_error *err)
{
    if (record->state == JOB_RUNNING) {
        record->state = JOB_QUEUED;
        record->started_ms = 0;
        if (store_update(jobs->store, record, STORE_LAZY, err)) {
            job_record_release(record);
            return -1;
        }
    }
    const uint64_t revision = record->revision;
    struct job *job = job_new(jobs, record, false);
    if (!job) {
        job_record_release(record);
        return h5pt_fail_memory(err);
    }
    int result = jobs_activate(job, NULL, err);
    if (!result)
        jobs_enqueue(job, revision);
    job_release(job);
    return result;
}

/* The jobs that an earlier run of the daemon had not finished go into the queue, the oldest first. */
static int recover(struct jobs *jobs, struct h5pt_error *err)
{
    const struct store_query query = {
        .states = 1u << JOB_QUEUED | 1u << JOB_RUNNING, .oldest_first = true, .limit = SIZE_MAX};
    struct job_record *records;
    size_t count, taken = 0;
    files_sweep(jobs->files, is_wanted, jobs);
    if (store_list(jobs->store, &query, &records, &count, err))
        return -1;
    int result = 0;
    for (; taken < count && !result; taken++)
        result = requeue(jobs, &records[taken], err);
    for (size_t i = taken; i < count; i++)
        job_record_release(&records[i]);
    free(records);
    if (count)
        log_event(LOG_INFO, "recovered", json_pack("{s:I}", "jobs", (json_int_t)count));
    return result;
}

static int start_threads(struct jobs *jobs, struct h5pt_error *err)
{
    jobs->runners = calloc(jobs->config->workers, sizeof *jobs->runners);
    if (!jobs->runners)
        return h5pt_fail_memory(err);
    int error = pthread_create(&jobs->housekeeper, NULL, jobs_keep_house, jobs);
    jobs->housekeeper_started = error == 0;
    for (; !error && jobs->runner_count < jobs->config->workers; jobs->runner_count += error == 0)
        error = pthread_create(&jobs->runners[jobs->runner_count], NULL, jobs_run, jobs);
    errno = error;
    return error ? h5pt_fail_errno(err, H5PT_INTERNAL, "threads", "Starting a thread failed") : 0;
}

int jobs_start(const struct config *config, const struct jobs_worker *worker, struct store *store, struct files *files,
               struct metrics *metrics, struct jobs **ret, struct h5pt_error *err)
{
    struct jobs *jobs = calloc(1, sizeof *jobs);
    if (!jobs)
        return h5pt_fail_memory(err);
    jobs->config = config;
    jobs->worker = worker;
    jobs->store = store;
    jobs->files = files;
    jobs->metrics = metrics;
    TAILQ_INIT(&jobs->queue);
    TAILQ_INIT(&jobs->running);
    LIST_INIT(&jobs->waiters);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&jobs->lock, NULL);
    (void)pthread_cond_init(&jobs->work, NULL);
    (void)pthread_cond_init(&jobs->idle, &monotonic);
    (void)pthread_cond_init(&jobs->timer, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    if (recover(jobs, err) || start_threads(jobs, err)) {
        jobs_stop(jobs);
        jobs_free(jobs);
        return -1;
    }
    *ret = jobs;
    return 0;
}

void jobs_drain(struct jobs *jobs)
{
    jobs_lock(jobs);
    jobs->draining = true;
    (void)pthread_cond_broadcast(&jobs->work);
    jobs_wake_waiters(jobs);
    jobs_unlock(jobs);
}

bool jobs_wait_idle(struct jobs *jobs, int64_t ms)
{
    int64_t deadline = text_clock_ms() + ms;
    const struct timespec until = {.tv_sec = deadline / 1000, .tv_nsec = deadline % 1000 * 1000000};
    int error = 0;
    jobs_lock(jobs);
    while (jobs->running_count && !error)
        error = pthread_cond_timedwait(&jobs->idle, &jobs->lock, &until);
    bool idle = jobs->running_count == 0;
    jobs_unlock(jobs);
    return idle;
}

void jobs_stop(struct jobs *jobs)
{
    const uint64_t one = 1;
    jobs_lock(jobs);
    jobs->draining = jobs->stopping = true;
    struct job *job;
    TAILQ_FOREACH(job, &jobs->running, links)
    if (write(job->stop, &one, sizeof one) != sizeof one)
        log_event(LOG_ERROR, "worker_not_stopped", json_pack("{s:s}", "job_id", job->id));
    (void)pthread_cond_broadcast(&jobs->work);
    (void)pthread_cond_broadcast(&jobs->timer);
    jobs_unlock(jobs);
    for (size_t i = 0; i < jobs->runner_count; i++)
        (void)pthread_join(jobs->runners[i], NULL);
    if (jobs->housekeeper_started)
        (void)pthread_join(jobs->housekeeper, NULL);
    jobs->runner_count = 0;
    jobs->housekeeper_started = false;
    jobs_lock(jobs);
    jobs_wake_waiters(jobs);
    jobs_unlock(jobs);
}

void jobs_free(struct jobs *jobs)
{
    if (!jobs)
        return;
    struct job *job;
    while ((job = TAILQ_FIRST(&jobs->queue))) {
        TAILQ_REMOVE(&jobs->queue, job, links);
        jobs_deactivate(job);
        jobs_put(job);
    }
    while (jobs->active) /* what was running when the daemon stopped */
        jobs_deactivate(*(struct job **)jobs->active);
    free(jobs->runners);
    (void)pthread_cond_destroy(&jobs->timer);
    (void)pthread_cond_destroy(&jobs->idle);
    (void)pthread_cond_destroy(&jobs->work);
    (void)pthread_mutex_destroy(&jobs->lock);
    free(jobs);
}
