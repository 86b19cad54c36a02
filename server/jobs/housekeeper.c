/* SPDX-License-Identifier: Apache-2.0 */
/* One thread that looks at clocks: deadlines of those who wait, and the age of finished conversions. */
#include <time.h>

#include "jobs/internal.h"
#include "log.h"

enum { SWEEP_INTERVAL_MS = 60000, SWEEP_PAGE = 256 };

/* With the lock held: wakes those whose deadline has passed. Returns the next one, or `no_later`. */
static int64_t wake_late_waiters(struct jobs *jobs, int64_t no_later)
{
    const int64_t now = text_clock_ms();
    int64_t earliest = no_later;
    struct job_waiter *waiter, *next;
    for (waiter = LIST_FIRST(&jobs->waiters); waiter; waiter = next) {
        next = LIST_NEXT(waiter, links);
        if (waiter->deadline <= now) {
            LIST_REMOVE(waiter, links);
            waiter->wake(waiter->context);
        } else if (waiter->deadline < earliest) {
            earliest = waiter->deadline;
        }
    }
    return earliest;
}

/* With the lock held: the job that came first and has waited for too long, out of the queue; NULL when there is none. Then
 * *until becomes less when the first one will have. What is queued while draining runs after the next start. */
static struct job *take_overdue(struct jobs *jobs, int64_t *until)
{
    struct job *first = TAILQ_FIRST(&jobs->queue);
    if (!first || jobs->draining)
        return NULL;
    const int64_t deadline = first->queued_ms + (int64_t)jobs->config->queue_time;
    if (deadline <= text_clock_ms()) {
        jobs_dequeue(first);
        return first;
    }
    if (deadline < *until)
        *until = deadline;
    return NULL;
}

static void refuse_overdue(struct job *job)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    h5pt_fail(&err, H5PT_QUEUE_TIMEOUT, NULL,
              "The conversion has waited in the queue for longer than the service allows");
    jobs_give_up(job, &err);
}

/* The files of a conversion go first, so that a crash in between leaves nothing behind that is not found again. */
static void expire(struct jobs *jobs, struct job_record *record)
{
    struct job_record next = job_record_copy(record);
    json_decref(next.artifacts);
    next.artifacts = NULL;
    next.state = JOB_EXPIRED;
    files_drop_output(jobs->files, record->id);
    if (store_update(jobs->store, &next, STORE_LAZY, NULL) == 0) /* else the next sweep tries again */
        metrics_add(jobs->metrics, METRIC_jobs_expired_total, NULL, 1);
    job_record_release(&next);
}

static void forget(struct jobs *jobs, struct job_record *record)
{
    (void)store_remove(jobs->store, record->id, NULL);
}

/* Applies `act` to the records in these states that finished before a time. */
static void sweep(struct jobs *jobs, unsigned states, int64_t before, void (*act)(struct jobs *, struct job_record *))
{
    const struct store_query query = {
        .states = states, .finished_before_ms = before, .oldest_first = true, .limit = SWEEP_PAGE};
    struct job_record *records;
    size_t count;
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (store_list(jobs->store, &query, &records, &count, &err)) {
        log_failure(LOG_ERROR, "sweep_failed", &err, NULL);
        return;
    }
    for (size_t i = 0; i < count; i++)
        act(jobs, &records[i]);
    store_free_records(records, count);
}

void *jobs_keep_house(void *context)
{
    struct jobs *jobs = context;
    const int64_t retention = (int64_t)jobs->config->retention;
    const int64_t interval = retention / 2 < SWEEP_INTERVAL_MS ? retention / 2 : SWEEP_INTERVAL_MS;
    int64_t next_sweep = text_clock_ms() + interval;
    jobs_lock(jobs);
    while (!jobs->stopping) {
        int64_t until_ms = wake_late_waiters(jobs, next_sweep);
        struct job *overdue = take_overdue(jobs, &until_ms);
        if (overdue) {
            jobs_unlock(jobs);
            refuse_overdue(overdue);
            jobs_lock(jobs);
            continue;
        }
        if (text_clock_ms() >= next_sweep) {
            jobs_unlock(jobs);
            const int64_t now = text_now_ms();
            sweep(jobs, 1u << JOB_SUCCEEDED | 1u << JOB_FAILED | 1u << JOB_CANCELED, now - retention, expire);
            sweep(jobs, 1u << JOB_EXPIRED, now - 2 * retention, forget);
            next_sweep = text_clock_ms() + interval;
            jobs_lock(jobs);
            continue;
        }
        jobs->next_look = until_ms;
        const struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
        (void)pthread_cond_timedwait(&jobs->timer, &jobs->lock, &until);
    }
    jobs_unlock(jobs);
    return NULL;
}
