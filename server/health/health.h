/* SPDX-License-Identifier: Apache-2.0 */
/* Whether the service can do its work. What takes time is probed by a thread of its own, so that asking costs nothing and a
 * probe that hangs is noticed: a probe has failed when it did so twice in a row, or has not come to its end for long. Safe
 * from any thread. */
#ifndef H5PT_HEALTH_HEALTH_H
#define H5PT_HEALTH_HEALTH_H

#include <stdbool.h>

#include "base/error.h"
#include "config.h"
#include "jobs/jobs.h"
#include "store/files.h"
#include "store/store.h"

enum health_check {
#define CHECK(id, name, help) HEALTH_##id,
#include "health/checks.def"
#undef CHECK
    HEALTH_CHECK_COUNT
};

const char *health_check_name(enum health_check check); /* "queue" */

struct health;

/* Begins to probe. Everything is borrowed. */
int health_start(const struct config *config, const char *worker, struct files *files, struct store *store,
                 struct jobs *jobs, struct health **ret, struct h5pt_error *err);
void health_stop(struct health *health); /* NULL-safe */

/* From now on the service says that it is not ready, while it still accepts: those who balance load look elsewhere first. */
void health_leave(struct health *health);

/* Why a check fails: H5PT_OK in `reason.code` when it holds. */
struct health_state {
    struct h5pt_error reason;
    int64_t probed_ms; /* when it was last probed, since 1970; 0: it is looked at now */
};
/* True when all hold. */
bool health_look(struct health *health, struct health_state ret[HEALTH_CHECK_COUNT]);

#endif
