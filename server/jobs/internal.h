/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of jobs/ share: job.c (one job), jobs.c (tree, queue, waiters), submit.c (new jobs), owners.c (how many jobs whom),
 * lifecycle.c (start and stop), runner.c and housekeeper.c (threads), outcome.c (what a worker's end means), measure.c. */
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
    bool counted;      /* among the jobs of its owner */
    int64_t queued_ms; /* text_clock_ms() when it entered the queue */
    uint64_t ticket;   /* one more than that of the job before, in the order in which they came into the queue */
    bool abandoned;    /* canceled, or an inspection that nobody waits for */
    int stop;          /* eventfd of the runner while it runs, or -1 */
    struct job_record record;
    char stage[32];
    double progress;
    uint64_t steps; /* of progress since the record has changed */
    json_t *report;
};

TAILQ_HEAD(job_queue, job);

struct jobs {
    const struct config *config;
    const struct jobs_worker *worker;
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
    void (*finished)(void *context); /* or NULL */
    void *finished_context;
    int64_t next_look;  /* when the housekeeper wakes up by itself */
    double mean_run_ms; /* of the last runs, the newer the more; 0: none yet */
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

/* A job that its maker holds. The record is taken over. NULL without memory. */
struct job *job_new(struct jobs *jobs, const struct job_record *record, bool transient);

/* A new job is counted and, unless it is transient, comes into the tree, and is seen; then, when its record is stored with this
 * revision, into the queue. `sender`: when nothing stands in the way of another one of his; NULL: in any case. Both take the
 * lock. */
int jobs_activate(struct job *job, const struct jobs_sender *sender, struct h5pt_error *err);
void jobs_enqueue(struct job *job, uint64_t revision);

/* With the lock held: */
void jobs_put(struct job *job);        /* gives up one hold */
void jobs_deactivate(struct job *job); /* out of the tree */
void jobs_finished(struct job *job);   /* its record says so: it leaves the tree, everybody is told */
void jobs_call(struct jobs *jobs, const struct job_record *record); /* whoever calls webhooks, if the record has one */
void jobs_wake_waiters(struct jobs *jobs);                          /* whoever has nothing to wait for any more */
void jobs_dequeue(struct job *job);                                 /* the hold of the queue becomes the caller's */
struct job *jobs_find(struct jobs *jobs, const char *id); /* in the tree; NULL: it has finished, or there is none */
size_t jobs_of_owner(struct jobs *jobs, const char *owner);
int jobs_count_in(struct job *job, struct h5pt_error *err); /* among the jobs of its owner */
void jobs_count_out(struct job *job);                       /* once; nothing when it is not counted */
struct job_view job_view_of(const struct job *job);
bool job_is_settled(const struct job *job); /* also when it is not in the tree: it stays as it is */

/* The event of a record at this revision, so many steps of progress after it was stored. */
uint64_t job_event(uint64_t revision, uint64_t steps);
uint64_t job_place(const struct job *job); /* as struct job_view has it */

/* Makes `next` (taken) the record of the job, in the store and here; a finished job wakes its waiters and leaves the table.
 * CONFLICT when the job was canceled meanwhile. Without the lock. */
int jobs_publish(struct job *job, struct job_record *next, enum store_durability durability, struct h5pt_error *err);

/* The end of a job that was taken out of the queue and will not run; its hold is given up. Without the lock. */
void jobs_give_up(struct job *job, const struct h5pt_error *why);

void *jobs_run(void *jobs);        /* thread: takes jobs from the queue */
void *jobs_keep_house(void *jobs); /* thread: deadlines of waiters, expiry */

/* Counts a run of the worker, and a job that has finished. */
void measure_run(struct metrics *metrics, const struct child_result *result);
void measure_end(struct metrics *metrics, const struct job_record *record, const struct child_result *result);

/* The record of a job whose worker has reported or has been given up; `err` says why in the latter case. */
void outcome_of_report(struct job_record *record, const json_t *last);
void outcome_of_error(struct job_record *record, const struct h5pt_error *err);

#endif
