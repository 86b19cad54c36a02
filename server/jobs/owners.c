/* SPDX-License-Identifier: Apache-2.0 */
/* How many jobs of each owner wait and run. */
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/internal.h"

struct owner {
    char name[JOB_OWNER_SIZE]; /* first: the key in the tree */
    size_t jobs;               /* at least 1 */
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static struct owner *find(struct jobs *jobs, const char *name)
{
    struct owner *const *node = tfind(name, &jobs->owners, compare_names);
    return node ? *node : NULL;
}

size_t jobs_of_owner(struct jobs *jobs, const char *name)
{
    const struct owner *owner = find(jobs, name);
    return owner ? owner->jobs : 0;
}

int jobs_count_in(struct job *job, struct h5pt_error *err)
{
    struct jobs *jobs = job->jobs;
    struct owner *owner = find(jobs, job->record.owner);
    if (!owner) {
        owner = calloc(1, sizeof *owner);
        if (!owner)
            return h5pt_fail_memory(err);
        memcpy(owner->name, job->record.owner, sizeof owner->name);
        if (!tsearch(owner, &jobs->owners, compare_names)) {
            free(owner);
            return h5pt_fail_memory(err);
        }
    }
    owner->jobs++;
    job->counted = true;
    return 0;
}

void jobs_count_out(struct job *job)
{
    if (!job->counted)
        return;
    job->counted = false;
    struct owner *owner = find(job->jobs, job->record.owner);
    if (--owner->jobs)
        return;
    (void)tdelete(owner->name, &job->jobs->owners, compare_names);
    free(owner);
}
