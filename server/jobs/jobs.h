/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions: a queue, the threads that take from it, and those who wait for a result.
 *
 * A conversion that was accepted is on the disk: after a crash it is in the queue again. The store has the truth; a job is
 * the handle of one that is queued, running, or still being looked at. Safe from any thread. */
#ifndef H5PT_JOBS_JOBS_H
#define H5PT_JOBS_JOBS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/error.h"
#include "config.h"
#include "jobs/record.h"
#include "metrics/metrics.h"
#include "store/files.h"
#include "store/store.h"

struct job;
struct jobs;

/* The program that converts. */
struct jobs_worker {
    const char *program;        /* its path */
    char core[JOB_SHA256_SIZE]; /* tells it from every other version of it: only its own results are taken for its results */
};

/* Removes files that no record knows, puts what an earlier run of the daemon left back into the queue, and starts the
 * threads. Everything is borrowed. */
int jobs_start(const struct config *config, const struct jobs_worker *worker, struct store *store, struct files *files,
               struct metrics *metrics, struct jobs **ret, struct h5pt_error *err);

/* From now on `finished` is called, from any thread, when a job with a webhook has finished. It must not call back into this module. */
void jobs_on_finish(struct jobs *jobs, void (*finished)(void *context), void *context);

/* From now on no job is taken or started; whoever waits for one that is still queued is woken. */
void jobs_drain(struct jobs *jobs);
/* Waits until no worker runs, for at most so long. True when none does. */
bool jobs_wait_idle(struct jobs *jobs, int64_t ms);
/* Ends the workers that still run (their jobs run again after the next start), wakes everybody, and joins the threads. */
void jobs_stop(struct jobs *jobs);
void jobs_free(struct jobs *jobs); /* NULL-safe; nobody may hold a job any more */

/* Who sends a job. */
struct jobs_sender {
    const char *owner; /* the name of a key, or "" */
    size_t limit;      /* of his jobs that wait or run; 0: any number */
};

/* What stands in the way of another job: DRAINING, QUEUE_FULL, QUOTA_EXCEEDED, or 0. `sender` NULL: anybody. */
int jobs_check(struct jobs *jobs, const struct jobs_sender *sender, struct h5pt_error *err);

/* An upload that is complete. */
struct jobs_upload {
    const struct files_draft *draft;
    uint64_t bytes; /* of the model */
    const char *sha256, *filename;
    const char *parts; /* SHA-256 of all parts, with their names */
    struct jobs_sender sender;
    const char *webhook; /* to be called when the job has finished, or "" */
};

/* What is asked for. */
struct jobs_order {
    const struct job_options *options;
    const char *idempotency_key; /* of the client, or "" */
    bool fresh;                  /* an earlier result will not do */
};

enum jobs_origin {
    JOBS_NEW,
    JOBS_REUSED, /* a new conversion that has the result of an earlier one of the same content and owner, by the same core */
    JOBS_REPLAYED /* the conversion that was made when the idempotency key came first */
};

/* Accepts a conversion, durably. The draft becomes the job's, also on failure. *ret is to be released. IDEMPOTENCY_MISMATCH when
 * the key came first with another content. */
int jobs_submit(struct jobs *jobs, const struct jobs_upload *upload, const struct jobs_order *order, struct job **ret,
                enum jobs_origin *ret_origin, struct h5pt_error *err);
/* Accepts a dry run, of which nothing is stored: it ends when its last holder releases it. */
int jobs_submit_inspection(struct jobs *jobs, const struct jobs_upload *upload, const struct job_options *options,
                           struct job **ret, struct h5pt_error *err);
/* The conversion of this id; NOT_FOUND. *ret is to be released. */
int jobs_hold(struct jobs *jobs, const char *id, struct job **ret, struct h5pt_error *err);
void job_release(struct job *job); /* NULL-safe */

/* What is known of a job at the moment. */
struct job_view {
    struct job_record record;
    bool settled;    /* it will not change any more, except that it expires or is removed */
    uint64_t event;  /* grows with each change of what is seen here, over restarts too */
    char stage[32];  /* of a running job; "" before the first */
    double progress; /* of that stage, 0…1 */
    uint64_t place;  /* of a queued job: it is among the next so many; 0: it is not in the queue */
    json_t *report;  /* of a finished inspection, or NULL */
};
struct job_view job_look(struct job *job);
void job_view_release(struct job_view *view);

/* The same by id; NOT_FOUND. */
int jobs_look(struct jobs *jobs, const char *id, struct job_view *ret, struct h5pt_error *err);
/* A page of them, newest first. *ret is an array of *ret_count, to be freed with jobs_free_views. */
int jobs_list(struct jobs *jobs, const struct store_query *query, struct job_view **ret, size_t *ret_count,
              struct h5pt_error *err);
void jobs_free_views(struct job_view *views, size_t count);

/* Cancels a job that has not finished, removes one that has. NOT_FOUND. */
int jobs_remove(struct jobs *jobs, const char *id, struct h5pt_error *err);

/* Somebody who waits: `wake` is called once, from any thread, when the job has finished, the deadline (text_clock_ms) has
 * passed or the daemon drains; perhaps before jobs_wait returns. It must not call back into this module. One who follows is
 * woken by each change too, and as soon as the daemon drains even if the job runs. */
struct job_waiter {
    LIST_ENTRY(job_waiter) links;
    struct job *job;
    int64_t deadline;
    bool follow;
    uint64_t seen; /* of one who follows: the event that is no news */
    void (*wake)(void *context);
    void *context;
};
void jobs_wait(struct job *job, struct job_waiter *waiter);

struct jobs_counts {
    size_t queued, running;
    int64_t oldest_ms; /* how long the first in the queue has been waiting */
    bool draining;
};
struct jobs_counts jobs_count(struct jobs *jobs);

/* Seconds until a conversion that enters the queue now may be done, by its length and the time that the last ones took; with an
 * `owner`: until one of his may have ended. */
enum { JOBS_RETRY_MIN_S = 1, JOBS_RETRY_MAX_S = 300 };
int jobs_retry_after(struct jobs *jobs, const char *owner);

#endif
