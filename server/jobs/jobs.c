/* SPDX-License-Identifier: Apache-2.0 */
#include "jobs/jobs.h"

#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "jobs/internal.h"
#include "log.h"

static void lock(struct jobs *jobs)
{
    (void)pthread_mutex_lock(&jobs->lock);
}

static void unlock(struct jobs *jobs)
{
    (void)pthread_mutex_unlock(&jobs->lock);
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The active job of this id, with the lock held. */
static struct job *find(struct jobs *jobs, const char *id)
{
    struct job *const *node = tfind(id, &jobs->active, compare_ids);
    return node ? *node : NULL;
}

static void deactivate(struct job *job)
{
    if (!job->active)
        return;
    job->active = false;
    (void)tdelete(job->id, &job->jobs->active, compare_ids);
    jobs_put(job);
}

void jobs_put(struct job *job)
{
    if (--job->holders)
        return;
    job_record_release(&job->record);
    json_decref(job->report);
    free(job);
}

/* Waiters leave the list before they are woken: then they belong to whoever they wake. */
static void wake(struct job_waiter *waiter)
{
    LIST_REMOVE(waiter, links);
    waiter->wake(waiter->context);
}

static bool to_be_woken(const struct jobs *jobs, const struct job *job)
{
    return job_state_finished(job->record.state) || jobs->stopping || (jobs->draining && job->queued);
}

/* Wakes whoever has nothing to wait for any more. */
static void wake_waiters(struct jobs *jobs)
{
    struct job_waiter *waiter, *next;
    for (waiter = LIST_FIRST(&jobs->waiters); waiter; waiter = next) {
        next = LIST_NEXT(waiter, links);
        if (to_be_woken(jobs, waiter->job))
            wake(waiter);
    }
}

/* Puts a new job into the queue and, unless it is transient, into the tree. The caller gets a hold if it wants one. */
static int enqueue(struct job *job, bool hold, struct h5pt_error *err)
{
    struct jobs *jobs = job->jobs;
    lock(jobs);
    if (!job->transient && !tsearch(job->id, &jobs->active, compare_ids)) {
        unlock(jobs);
        return h5pt_fail_memory(err);
    }
    job->active = !job->transient;
    job->queued = true;
    job->holders = 1 + (job->active ? 1 : 0) + (hold ? 1 : 0);
    TAILQ_INSERT_TAIL(&jobs->queue, job, links);
    jobs->queue_length++;
    (void)pthread_cond_signal(&jobs->work);
    unlock(jobs);
    return 0;
}

static struct job *new_job(struct jobs *jobs, const struct job_record *record, bool transient)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    job->jobs = jobs;
    job->record = *record;
    job->transient = transient;
    job->stop = -1;
    memcpy(job->id, record->id, sizeof job->id);
    return job;
}

int jobs_publish(struct job *job, struct job_record *next, enum store_durability durability, struct h5pt_error *err)
{
    struct jobs *jobs = job->jobs;
    struct h5pt_error failure = H5PT_ERROR_INIT;
    int result = job->transient ? 0 : store_update(jobs->store, next, durability, &failure);
    if (result && failure.code != H5PT_CONFLICT) {
        /* Whoever waits is told; the stored record lets the job run again after the next start. */
        job_record_release(next);
        outcome_of_error(next, &failure);
    }
    lock(jobs);
    if (job->abandoned || failure.code == H5PT_CONFLICT) {
        job_record_release(next);
    } else {
        job_record_release(&job->record);
        job->record = *next;
        if (job_state_finished(job->record.state)) {
            wake_waiters(jobs);
            deactivate(job);
        }
    }
    unlock(jobs);
    if (result && err)
        *err = failure;
    return result;
}

struct jobs_counts jobs_count(struct jobs *jobs)
{
    lock(jobs);
    struct jobs_counts counts = {
        .queued = jobs->queue_length, .running = jobs->running_count, .draining = jobs->draining};
    unlock(jobs);
    return counts;
}

int jobs_check(struct jobs *jobs, struct h5pt_error *err)
{
    struct jobs_counts counts = jobs_count(jobs);
    if (counts.draining)
        return h5pt_fail(err, H5PT_DRAINING, NULL,
                         "The service is about to stop; try again later, or another instance");
    if (counts.queued >= jobs->config->queue_limit)
        return h5pt_fail(err, H5PT_QUEUE_FULL, NULL, "%zu conversions are waiting already; try again later",
                         counts.queued);
    return 0;
}

static struct job_record new_record(const struct jobs_upload *upload, const struct job_options *options)
{
    struct job_record record = {
        .state = JOB_QUEUED, .created_ms = text_now_ms(), .options = *options, .bytes = upload->bytes};
    text_new_id(record.id);
    (void)snprintf(record.sha256, sizeof record.sha256, "%s", upload->sha256);
    (void)snprintf(record.filename, sizeof record.filename, "%s", upload->filename);
    return record;
}

int jobs_submit(struct jobs *jobs, const struct jobs_upload *upload, const struct job_options *options,
                struct job **ret, struct h5pt_error *err)
{
    struct job_record record = new_record(upload, options);
    struct job *job = jobs_check(jobs, err) ? NULL : new_job(jobs, &record, false);
    if (!job) {
        files_drop_draft(jobs->files, upload->draft);
        return h5pt_fail_memory(err);
    }
    if (files_keep_upload(jobs->files, upload->draft, upload->fd, job->id, err)) {
        free(job);
        return -1;
    }
    if (store_create(jobs->store, &job->record, err) || enqueue(job, true, err)) {
        (void)store_remove(jobs->store, job->id, NULL);
        files_drop_input(jobs->files, job->id);
        free(job);
        return -1;
    }
    *ret = job;
    return 0;
}

int jobs_submit_inspection(struct jobs *jobs, const struct jobs_upload *upload, const struct job_options *options,
                           struct job **ret, struct h5pt_error *err)
{
    struct job_record record = new_record(upload, options);
    struct job *job = jobs_check(jobs, err) ? NULL : new_job(jobs, &record, true);
    if (!job) {
        files_drop_draft(jobs->files, upload->draft);
        return h5pt_fail_memory(err);
    }
    job->draft = *upload->draft;
    if (enqueue(job, true, err)) {
        files_drop_draft(jobs->files, upload->draft);
        free(job);
        return -1;
    }
    *ret = job;
    return 0;
}

/* With the lock held: takes the job out of the queue, or ends its worker. True when it was in the queue. */
static bool abandon(struct job *job)
{
    const uint64_t one = 1;
    job->abandoned = true;
    if (job->queued) {
        TAILQ_REMOVE(&job->jobs->queue, job, links);
        job->queued = false;
        job->jobs->queue_length--;
        jobs_put(job);
        return true;
    }
    if (job->stop >= 0 && write(job->stop, &one, sizeof one) != sizeof one)
        log_event(LOG_ERROR, "worker_not_stopped", json_pack("{s:s}", "job_id", job->id));
    return false;
}

void job_release(struct job *job)
{
    if (!job)
        return;
    struct jobs *jobs = job->jobs;
    struct files_draft draft = job->draft;
    lock(jobs);
    bool drop = job->transient && abandon(job);
    jobs_put(job);
    unlock(jobs);
    if (drop)
        files_drop_draft(jobs->files, &draft);
}

/* With the lock held. */
static struct job_view view_of(const struct job *job)
{
    struct job_view view = {.record = job_record_copy(&job->record), .progress = job->progress};
    memcpy(view.stage, job->stage, sizeof view.stage);
    view.report = json_incref(job->report);
    return view;
}

struct job_view job_look(struct job *job)
{
    lock(job->jobs);
    struct job_view view = view_of(job);
    unlock(job->jobs);
    return view;
}

void job_view_release(struct job_view *view)
{
    job_record_release(&view->record);
    json_decref(view->report);
    view->report = NULL;
}

int jobs_look(struct jobs *jobs, const char *id, struct job_view *ret, struct h5pt_error *err)
{
    lock(jobs);
    const struct job *job = find(jobs, id);
    if (job)
        *ret = view_of(job);
    unlock(jobs);
    if (job)
        return 0;
    struct job_view view = {0};
    if (store_read(jobs->store, id, &view.record, err))
        return -1;
    *ret = view;
    return 0;
}

int jobs_list(struct jobs *jobs, const struct store_query *query, struct job_view **ret, size_t *ret_count,
              struct h5pt_error *err)
{
    struct job_record *records;
    size_t count;
    if (store_list(jobs->store, query, &records, &count, err))
        return -1;
    struct job_view *views = calloc(count ? count : 1, sizeof *views);
    if (!views) {
        store_free_records(records, count);
        return h5pt_fail_memory(err);
    }
    lock(jobs);
    for (size_t i = 0; i < count; i++) {
        const struct job *job = find(jobs, records[i].id);
        views[i].record = records[i];
        if (job && job->record.state == records[i].state) {
            memcpy(views[i].stage, job->stage, sizeof views[i].stage);
            views[i].progress = job->progress;
        }
    }
    unlock(jobs);
    free(records);
    *ret = views;
    *ret_count = count;
    return 0;
}

void jobs_free_views(struct job_view *views, size_t count)
{
    for (size_t i = 0; i < count; i++)
        job_view_release(&views[i]);
    free(views);
}

/* Cancels an active job of which the caller has a hold. */
static int cancel(struct job *job, struct job_record *next, struct h5pt_error *err)
{
    struct jobs *jobs = job->jobs;
    next->state = JOB_CANCELED;
    next->finished_ms = text_now_ms();
    if (store_update(jobs->store, next, STORE_DURABLE, err)) {
        job_record_release(next);
        return -1;
    }
    lock(jobs);
    job_record_release(&job->record);
    job->record = *next;
    bool was_queued = abandon(job);
    wake_waiters(jobs);
    deactivate(job);
    unlock(jobs);
    if (was_queued)
        files_drop_input(jobs->files, job->id);
    return 0;
}

static int remove_finished(struct jobs *jobs, const char *id, struct h5pt_error *err)
{
    struct job_record record;
    if (store_read(jobs->store, id, &record, err))
        return -1;
    job_record_release(&record);
    if (store_remove(jobs->store, id, err))
        return -1;
    files_drop_input(jobs->files, id);
    files_drop_output(jobs->files, id);
    return 0;
}

int jobs_remove(struct jobs *jobs, const char *id, struct h5pt_error *err)
{
    for (;;) {
        struct job_record next;
        lock(jobs);
        struct job *job = find(jobs, id);
        if (job) {
            job->holders++;
            next = job_record_copy(&job->record);
        }
        unlock(jobs);
        if (!job)
            return remove_finished(jobs, id, err);
        struct h5pt_error failure = H5PT_ERROR_INIT;
        int result = cancel(job, &next, &failure);
        job_release(job);
        if (!result)
            return 0;
        if (failure.code != H5PT_CONFLICT) {
            if (err && err->code == H5PT_OK)
                *err = failure;
            return -1;
        }
        /* It has just started or finished: look again. */
    }
}

void jobs_wait(struct job *job, struct job_waiter *waiter)
{
    struct jobs *jobs = job->jobs;
    waiter->job = job;
    lock(jobs);
    LIST_INSERT_HEAD(&jobs->waiters, waiter, links);
    if (to_be_woken(jobs, job))
        wake(waiter);
    else
        (void)pthread_cond_signal(&jobs->timer);
    unlock(jobs);
}

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
    for (; taken < count && !result; taken++) {
        records[taken].state = JOB_QUEUED;
        records[taken].started_ms = 0;
        struct job *job = new_job(jobs, &records[taken], false);
        if (!job || enqueue(job, false, err)) {
            free(job);
            result = h5pt_fail_memory(err);
            break;
        }
    }
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

int jobs_start(const struct config *config, const char *worker, struct store *store, struct files *files,
               struct jobs **ret, struct h5pt_error *err)
{
    struct jobs *jobs = calloc(1, sizeof *jobs);
    if (!jobs)
        return h5pt_fail_memory(err);
    jobs->config = config;
    jobs->worker = worker;
    jobs->store = store;
    jobs->files = files;
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
    lock(jobs);
    jobs->draining = true;
    (void)pthread_cond_broadcast(&jobs->work);
    wake_waiters(jobs);
    unlock(jobs);
}

bool jobs_wait_idle(struct jobs *jobs, int64_t ms)
{
    int64_t deadline = text_clock_ms() + ms;
    const struct timespec until = {.tv_sec = deadline / 1000, .tv_nsec = deadline % 1000 * 1000000};
    int error = 0;
    lock(jobs);
    while (jobs->running_count && !error)
        error = pthread_cond_timedwait(&jobs->idle, &jobs->lock, &until);
    bool idle = jobs->running_count == 0;
    unlock(jobs);
    return idle;
}

void jobs_stop(struct jobs *jobs)
{
    const uint64_t one = 1;
    lock(jobs);
    jobs->draining = jobs->stopping = true;
    struct job *job;
    TAILQ_FOREACH(job, &jobs->running, links)
    if (write(job->stop, &one, sizeof one) != sizeof one)
        log_event(LOG_ERROR, "worker_not_stopped", json_pack("{s:s}", "job_id", job->id));
    (void)pthread_cond_broadcast(&jobs->work);
    (void)pthread_cond_broadcast(&jobs->timer);
    unlock(jobs);
    for (size_t i = 0; i < jobs->runner_count; i++)
        (void)pthread_join(jobs->runners[i], NULL);
    if (jobs->housekeeper_started)
        (void)pthread_join(jobs->housekeeper, NULL);
    jobs->runner_count = 0;
    jobs->housekeeper_started = false;
    lock(jobs);
    wake_waiters(jobs);
    unlock(jobs);
}

void jobs_free(struct jobs *jobs)
{
    if (!jobs)
        return;
    struct job *job;
    while ((job = TAILQ_FIRST(&jobs->queue))) {
        TAILQ_REMOVE(&jobs->queue, job, links);
        deactivate(job);
        jobs_put(job);
    }
    while (jobs->active) /* what was running when the daemon stopped */
        deactivate(*(struct job **)jobs->active);
    free(jobs->runners);
    (void)pthread_cond_destroy(&jobs->timer);
    (void)pthread_cond_destroy(&jobs->idle);
    (void)pthread_cond_destroy(&jobs->work);
    (void)pthread_mutex_destroy(&jobs->lock);
    free(jobs);
}
