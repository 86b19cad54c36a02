/* SPDX-License-Identifier: Apache-2.0 */
/* What the handlers of requests work with. */
#ifndef H5PT_SERVER_SERVICE_H
#define H5PT_SERVER_SERVICE_H

#include <jansson.h>

#include "auth/keys.h"
#include "config.h"
#include "health/health.h"
#include "jobs/jobs.h"
#include "metrics/metrics.h"
#include "store/files.h"
#include "webhooks/webhooks.h"

struct service {
    const struct config *config;
    struct files *files;
    struct jobs *jobs;
    struct metrics *metrics;
    struct health *health;
    int64_t started_ms; /* since 1970 */
    struct keys *keys;
    struct webhooks *webhooks;
    const json_t *description; /* {"version", "capabilities", "sandbox"} of the worker */
};

#endif
