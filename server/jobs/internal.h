/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of jobs/ share: job.c (one job), jobs.c (tree, queue, waiters), owners.c (how many jobs whom), lifecycle.c
 * (start and stop), runner.c and housekeeper.c (threads), outcome.c (what a worker's end means). */
#ifndef H5PT_JOBS_INTERNAL_H
#define H5PT_JOBS_INTERNAL_H

#include <pthread.h>
#include <sys/queue.h>

#include "jobs/child.h"
#include "jobs/jobs.h"

/* Runs of the worker that a job is given. */
enum { JOB_MAX_ATTEMPTS = 3 };

struct job {
    char id[TEXT_ID_SIZE]; /* first: the key in the tree of active jobs */
    struct jobs *jobs;
    bool transient;           /* an inspection: neither in the store nor in the tree */
    struct files_draft draft; /* of an inspection: its upload */
    /* Under the lock: */
    TAILQ_ENTRY(job) links; /* in `queue` or `running` */
    int holders;            /* the tree, the queue or a runner, and each that was handed out */
    bool queued, active;
    bool counted;    /* among the jobs of its owner */
    uint64_t ticket; /* one more than that of the job before, in the order in which they came into the queue */
    bool abandoned;  /* canceled, or an inspection that nobody waits for */
    int stop;        /* eventfd of the runner while it runs, or -1 */
    struct job_record record;
    char stage[32];
    double progress;
    json_t *report;
};

TAILQ_HEAD(job_queue, job);

struct jobs {
    const struct config *config;
    const char *worker;
    struct store *store;
    struct files *files;
    struct metrics *metrics;
    pthread_mutex_t lock; /* of all that follows, and of every job */
    pthread_cond_t work;  /* the queue is not empty, or draining */
    pthread_cond_t idle;  /* running_count has become 0 */
    pthread_cond_t timer; /* a waiter was added, or stopping */
    struct job_queue queue, running;
    size_t queue_length, running_count;
    uint64_t tickets; /* that were given */
    void *active;     /* tsearch tree of the jobs that have not finished, by id */
    LIST_HEAD(, job_waiter) waiters;
    void *owners;                    /* tsearch tree of the owners of jobs that wait or run, by name */
    int64_t run_ms;                  /* how long a job runs, of late */
    void (*finished)(void *context); /* or NULL */
    void *finished_context;
    bool draining, stopping;
    pthread_t housekeeper, *runners;
    size_t runner_count;
    bool housekeeper_started;
};

static inline void jobs_lock(struct jobs *jobs)
{
    (void)pthread_mutex_lock(&jobs->lock);
}

static inline void jobs_unlock(struct jobs *jobs)
{
    (void)pthread_mutex_unlock(&jobs->lock);
}

/* A job that nobody holds yet; free() undoes it. The record is taken over. NULL without memory. */
struct job *job_new(struct jobs *jobs, const struct job_record *record, bool transient);

/* Puts a new job into the queue and, unless it is transient, into the tree; the caller gets a hold if it wants one. Takes the
 * lock. */
int jobs_enqueue(struct job *job, bool hold, struct h5pt_error *err);

/* With the lock held: */
void jobs_put(struct job *job);            /* gives up one hold */
void jobs_deactivate(struct job *job);     /* out of the tree */
void jobs_finished(struct job *job);       /* its record says so: it leaves the tree, everybody is told */
void jobs_wake_waiters(struct jobs *jobs); /* whoever has nothing to wait for any more */
size_t jobs_of_owner(struct jobs *jobs, const char *owner);
int jobs_count_in(struct job *job, struct h5pt_error *err); /* among the jobs of its owner */
void jobs_count_out(struct job *job);                       /* once; nothing when it is not counted */
struct job_view job_view_of(const struct job *job);
uint64_t job_place(const struct job *job); /* as struct job_view has it */

/* Makes `next` (taken) the record of the job, in the store and here; a finished job wakes its waiters and leaves the table.
 * CONFLICT when the job was canceled meanwhile. Without the lock. */
int jobs_publish(struct job *job, struct job_record *next, enum store_durability durability, struct h5pt_error *err);

void *jobs_run(void *jobs);        /* thread: takes jobs from the queue */
void *jobs_keep_house(void *jobs); /* thread: deadlines of waiters, expiry */

/* Counts a run of the worker, and a job that has finished. */
void measure_run(struct metrics *metrics, const struct child_result *result);
void measure_end(struct metrics *metrics, const struct job_record *record, const struct child_result *result);

/* The record of a job whose worker has reported or has been given up; `err` says why in the latter case. */
void outcome_of_report(struct job_record *record, const json_t *last);
void outcome_of_error(struct job_record *record, const struct h5pt_error *err);

#endif
