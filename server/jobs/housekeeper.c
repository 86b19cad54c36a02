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
static bool expire(struct jobs *jobs, struct job_record *record)
{
    struct job_record next = job_record_copy(record);
    json_decref(next.artifacts);
    next.artifacts = NULL;
    next.state = JOB_EXPIRED;
    files_drop_output(jobs->files, record->id);
    const bool expired = store_update(jobs->store, &next, STORE_LAZY, NULL) == 0;
    if (expired)
        metrics_add(jobs->metrics, METRIC_jobs_expired_total, NULL, 1);
    job_record_release(&next);
    return expired;
}

static bool forget(struct jobs *jobs, struct job_record *record)
{
    return store_remove(jobs->store, record->id, NULL) == 0;
}

/* Applies `act` to some of the records in these states that finished before a time. True when there may be more; what `act` fails
 * for stays for the next sweep. */
static bool sweep_page(struct jobs *jobs, unsigned states, int64_t before,
                       bool (*act)(struct jobs *, struct job_record *))
{
    const struct store_query query = {.states = states, .finished_before_ms = before, .limit = SWEEP_PAGE};
    struct job_record *records;
    size_t count, done = 0;
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (store_list(jobs->store, &query, &records, &count, &err)) {
        log_failure(LOG_ERROR, "sweep_failed", &err, NULL);
        return false;
    }
    for (size_t i = 0; i < count; i++)
        done += act(jobs, &records[i]);
    store_free_records(records, count);
    return done == SWEEP_PAGE;
}

/* With the lock held, which is given up meanwhile: one page of everything whose time has come. True when there may be more. */
static bool sweep(struct jobs *jobs)
{
    const int64_t now = text_now_ms(), retention = (int64_t)jobs->config->retention;
    jobs_unlock(jobs);
    bool more = sweep_page(jobs, 1u << JOB_SUCCEEDED | 1u << JOB_FAILED | 1u << JOB_CANCELED, now - retention, expire);
    more |= sweep_page(jobs, 1u << JOB_EXPIRED, now - 2 * retention, forget);
    jobs_lock(jobs);
    return more;
}

void *jobs_keep_house(void *context)
{
    struct jobs *jobs = context;
    const int64_t retention = (int64_t)jobs->config->retention;
    const int64_t interval = retention / 2 < SWEEP_INTERVAL_MS ? retention / 2 : SWEEP_INTERVAL_MS;
    int64_t next_sweep = text_clock_ms(); /* the service may have been down for long */
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
            if (!sweep(jobs))
                next_sweep = text_clock_ms() + interval;
            continue;
        }
        jobs->next_look = until_ms;
        const struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
        (void)pthread_cond_timedwait(&jobs->timer, &jobs->lock, &until);
    }
    jobs_unlock(jobs);
    return NULL;
}
