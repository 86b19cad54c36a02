/* SPDX-License-Identifier: Apache-2.0 */
#include "jobs/jobs.h"

#include <poll.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs/internal.h"
#include "log.h"

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

struct job *jobs_find(struct jobs *jobs, const char *id)
{
    struct job *const *node = tfind(id, &jobs->active, compare_ids);
    return node ? *node : NULL;
}

void jobs_deactivate(struct job *job)
{
    if (!job->active)
        return;
    job->active = false;
    (void)tdelete(job->id, &job->jobs->active, compare_ids);
    jobs_put(job);
}

/* Waiters leave the list before they are woken: then they belong to whoever they wake. */
static void wake(struct job_waiter *waiter)
{
    LIST_REMOVE(waiter, links);
    waiter->wake(waiter->context);
}

static bool to_be_woken(const struct jobs *jobs, const struct job_waiter *waiter)
{
    const struct job *job = waiter->job;
    if (jobs->stopping || (jobs->draining && (job->queued || waiter->follow)))
        return true;
    if (waiter->follow && waiter->seen != job_event(job->record.revision, job->steps))
        return true;
    return job_is_settled(job);
}

void jobs_wake_waiters(struct jobs *jobs)
{
    struct job_waiter *waiter, *next;
    for (waiter = LIST_FIRST(&jobs->waiters); waiter; waiter = next) {
        next = LIST_NEXT(waiter, links);
        if (to_be_woken(jobs, waiter))
            wake(waiter);
    }
}

void jobs_call(struct jobs *jobs, const struct job_record *record)
{
    if (*record->webhook.url && jobs->finished)
        jobs->finished(jobs->finished_context);
}

void jobs_finished(struct job *job)
{
    jobs_count_out(job);
    jobs_wake_waiters(job->jobs);
    jobs_call(job->jobs, &job->record);
    jobs_deactivate(job);
}

void jobs_on_finish(struct jobs *jobs, void (*finished)(void *context), void *context)
{
    jobs_lock(jobs);
    jobs->finished = finished;
    jobs->finished_context = context;
    jobs_unlock(jobs);
}

/* Why there may not be another job of this sender. With the lock held. */
static int check(struct jobs *jobs, const struct jobs_sender *sender, struct h5pt_error *err)
{
    if (jobs->draining)
        return h5pt_fail(err, H5PT_DRAINING, NULL,
                         "The service is about to stop; try again later, or another instance");
    if (jobs->queue_length >= jobs->config->queue_limit)
        return h5pt_fail(err, H5PT_QUEUE_FULL, NULL, "%zu conversions are waiting already; try again later",
                         jobs->queue_length);
    if (sender && sender->limit && jobs_of_owner(jobs, sender->owner) >= sender->limit)
        return h5pt_fail(err, H5PT_QUOTA_EXCEEDED, "jobs",
                         "%s may have %zu conversions at once, waiting or running; try again when one has ended",
                         sender->owner, sender->limit);
    return 0;
}

int jobs_check(struct jobs *jobs, const struct jobs_sender *sender, struct h5pt_error *err)
{
    jobs_lock(jobs);
    int result = check(jobs, sender, err);
    jobs_unlock(jobs);
    return result;
}

int jobs_activate(struct job *job, const struct jobs_sender *sender, struct h5pt_error *err)
{
    struct jobs *jobs = job->jobs;
    jobs_lock(jobs);
    int result = (sender && check(jobs, sender, err)) || jobs_count_in(job, err) ? -1 : 0;
    if (!result && !job->transient) {
        job->active = tsearch(job->id, &jobs->active, compare_ids) != NULL;
        job->holders += job->active;
        result = job->active ? 0 : h5pt_fail_memory(err);
    }
    jobs_unlock(jobs);
    return result;
}

void jobs_enqueue(struct job *job, uint64_t revision)
{
    struct jobs *jobs = job->jobs;
    jobs_lock(jobs);
    job->record.revision = revision;
    job->queued = true;
    job->queued_ms = text_clock_ms();
    job->holders++;
    job->ticket = ++jobs->tickets;
    TAILQ_INSERT_TAIL(&jobs->queue, job, links);
    jobs->queue_length++;
    (void)pthread_cond_signal(&jobs->work);
    if (job->queued_ms + (int64_t)jobs->config->queue_time < jobs->next_look)
        (void)pthread_cond_signal(&jobs->timer);
    jobs_unlock(jobs);
}

void jobs_dequeue(struct job *job)
{
    TAILQ_REMOVE(&job->jobs->queue, job, links);
    job->queued = false;
    job->jobs->queue_length--;
}

/* Stores a record. Where that fails for a reason that may pass, such as a disk that is full, a runner tries again until the job is
 * not wanted any more or the service stops. */
static int store_patiently(struct job *job, struct job_record *next, enum store_durability durability,
                           struct h5pt_error *err)
{
    enum { PAUSE_MS = 500 };
    for (bool told = false;; told = true) {
        *err = (struct h5pt_error)H5PT_ERROR_INIT;
        if (store_update(job->jobs->store, next, durability, err) == 0)
            return 0;
        if (err->code == H5PT_CONFLICT || job->stop < 0)
            return -1;
        if (!told)
            log_failure(LOG_ERROR, "job_not_stored_yet", err, json_pack("{s:s}", "job_id", job->id));
        struct pollfd stop = {.fd = job->stop, .events = POLLIN};
        if (poll(&stop, 1, PAUSE_MS) > 0)
            return -1;
    }
}

int jobs_publish(struct job *job, struct job_record *next, enum store_durability durability, struct h5pt_error *err)
{
    struct jobs *jobs = job->jobs;
    struct h5pt_error failure = H5PT_ERROR_INIT;
    int result = job->transient ? 0 : store_patiently(job, next, durability, &failure);
    if (result && failure.code != H5PT_CONFLICT) {
        /* Whoever waits is told; the stored record lets the job run again after the next start. */
        job_record_release(next);
        outcome_of_error(next, &failure);
    }
    jobs_lock(jobs);
    if (job->abandoned || failure.code == H5PT_CONFLICT) {
        job_record_release(next);
    } else {
        job_record_release(&job->record);
        job->record = *next;
        job->steps = 0;
        if (job_state_finished(job->record.state))
            jobs_finished(job);
        else
            jobs_wake_waiters(jobs);
    }
    jobs_unlock(jobs);
    if (result && err)
        *err = failure;
    return result;
}

struct jobs_counts jobs_count(struct jobs *jobs)
{
    jobs_lock(jobs);
    const struct job *first = TAILQ_FIRST(&jobs->queue);
    struct jobs_counts counts = {.queued = jobs->queue_length,
                                 .running = jobs->running_count,
                                 .oldest_ms = first ? text_now_ms() - first->record.created_ms : 0,
                                 .draining = jobs->draining};
    jobs_unlock(jobs);
    return counts;
}

int jobs_retry_after(struct jobs *jobs, const char *owner)
{
    enum { FIRST_GUESS_MS = 1000 };
    const struct job *job;
    jobs_lock(jobs);
    const double mean = jobs->mean_run_ms > 0 ? jobs->mean_run_ms : FIRST_GUESS_MS;
    double runs = (double)jobs->queue_length / (double)jobs->config->workers;
    if (owner) {
        /* A job of his that runs is through after one more run at most, one that waits when those in front of it are. */
        runs++;
        TAILQ_FOREACH(job, &jobs->running, links)
        if (strcmp(job->record.owner, owner) == 0)
            runs = 1;
    }
    jobs_unlock(jobs);
    const double seconds = runs * mean / 1000;
    if (seconds > JOBS_RETRY_MAX_S)
        return JOBS_RETRY_MAX_S;
    const int whole = (int)seconds + (seconds > (int)seconds);
    return whole < JOBS_RETRY_MIN_S ? JOBS_RETRY_MIN_S : whole;
}

/* With the lock held: takes the job out of the queue, or ends its worker. True when it was in the queue. */
static bool abandon(struct job *job)
{
    const uint64_t one = 1;
    job->abandoned = true;
    jobs_count_out(job);
    if (job->queued) {
        jobs_dequeue(job);
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
    jobs_lock(jobs);
    bool drop = job->transient && abandon(job);
    jobs_put(job);
    jobs_unlock(jobs);
    if (drop)
        files_drop_draft(jobs->files, &draft);
}

int jobs_look(struct jobs *jobs, const char *id, struct job_view *ret, struct h5pt_error *err)
{
    jobs_lock(jobs);
    const struct job *job = jobs_find(jobs, id);
    if (job)
        *ret = job_view_of(job);
    jobs_unlock(jobs);
    if (job)
        return 0;
    struct job_view view = {0};
    if (store_read(jobs->store, id, &view.record, err))
        return -1;
    view.settled = true;
    view.event = job_event(view.record.revision, 0);
    *ret = view;
    return 0;
}

int jobs_hold(struct jobs *jobs, const char *id, struct job **ret, struct h5pt_error *err)
{
    jobs_lock(jobs);
    struct job *job = jobs_find(jobs, id);
    if (job)
        job->holders++;
    jobs_unlock(jobs);
    struct job_record record;
    if (!job) {
        if (store_read(jobs->store, id, &record, err))
            return -1;
        job = job_new(jobs, &record, false);
        if (!job) {
            job_record_release(&record);
            return h5pt_fail_memory(err);
        }
    }
    *ret = job;
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
    jobs_lock(jobs);
    for (size_t i = 0; i < count; i++) {
        const struct job *job = jobs_find(jobs, records[i].id);
        views[i].record = records[i];
        views[i].event = job_event(records[i].revision, job ? job->steps : 0);
        if (job && job->record.state == records[i].state) {
            memcpy(views[i].stage, job->stage, sizeof views[i].stage);
            views[i].progress = job->progress;
            views[i].place = job_place(job);
        }
    }
    jobs_unlock(jobs);
    free(records);
    *ret = views;
    *ret_count = count;
    return 0;
}

/* Cancels an active job of which the caller has a hold. */
static int cancel(struct job *job, struct job_record *next, struct h5pt_error *err)
{
    struct jobs *jobs = job->jobs;
    next->state = JOB_CANCELED;
    job_record_finish(next);
    if (store_update(jobs->store, next, STORE_DURABLE, err)) {
        job_record_release(next);
        return -1;
    }
    jobs_lock(jobs);
    job_record_release(&job->record);
    job->record = *next;
    job->steps = 0;
    bool was_queued = abandon(job);
    metrics_add(jobs->metrics, METRIC_jobs_finished_total, METRIC_LABELS(job_state_name(JOB_CANCELED), ""), 1);
    jobs_finished(job);
    jobs_unlock(jobs);
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
        jobs_lock(jobs);
        struct job *job = jobs_find(jobs, id);
        if (job) {
            job->holders++;
            next = job_record_copy(&job->record);
        }
        jobs_unlock(jobs);
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
    jobs_lock(jobs);
    LIST_INSERT_HEAD(&jobs->waiters, waiter, links);
    if (to_be_woken(jobs, waiter))
        wake(waiter);
    else if (waiter->deadline < jobs->next_look)
        (void)pthread_cond_signal(&jobs->timer);
    jobs_unlock(jobs);
}
