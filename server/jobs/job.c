/* SPDX-License-Identifier: Apache-2.0 */
/* One job: its making, its end, and what can be seen of it. */
#include <stdlib.h>
#include <string.h>

#include "jobs/internal.h"

struct job *job_new(struct jobs *jobs, const struct job_record *record, bool transient)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    job->jobs = jobs;
    job->record = *record;
    job->transient = transient;
    job->holders = 1;
    job->stop = -1;
    memcpy(job->id, record->id, sizeof job->id);
    return job;
}

void jobs_put(struct job *job)
{
    if (--job->holders)
        return;
    jobs_count_out(job);
    job_record_release(&job->record);
    json_decref(job->report);
    free(job);
}

uint64_t job_event(uint64_t revision, uint64_t steps)
{
    enum { STEP_BITS = 24 }; /* two weeks at the ten a second that a worker may report; 2^53 is exact for JavaScript */
    const uint64_t most = ((uint64_t)1 << STEP_BITS) - 1;
    return revision << STEP_BITS | (steps < most ? steps : most);
}

bool job_is_settled(const struct job *job)
{
    return job_state_finished(job->record.state) || !(job->active || job->transient);
}

uint64_t job_place(const struct job *job)
{
    /* Jobs that were canceled in between count until the queue has come to where they were. */
    return job->queued ? job->ticket - TAILQ_FIRST(&job->jobs->queue)->ticket + 1 : 0;
}

struct job_view job_view_of(const struct job *job)
{
    struct job_view view = {.record = job_record_copy(&job->record),
                            .settled = job_is_settled(job),
                            .event = job_event(job->record.revision, job->steps),
                            .progress = job->progress};
    memcpy(view.stage, job->stage, sizeof view.stage);
    view.place = job_place(job);
    view.report = json_incref(job->report);
    return view;
}

struct job_view job_look(struct job *job)
{
    jobs_lock(job->jobs);
    struct job_view view = job_view_of(job);
    jobs_unlock(job->jobs);
    return view;
}

void job_view_release(struct job_view *view)
{
    job_record_release(&view->record);
    json_decref(view->report);
    view->report = NULL;
}

void jobs_free_views(struct job_view *views, size_t count)
{
    for (size_t i = 0; i < count; i++)
        job_view_release(&views[i]);
    free(views);
}
