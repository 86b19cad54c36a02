/* SPDX-License-Identifier: Apache-2.0 */
/* Calls those who want to hear that a conversion has finished: a POST of its document, signed, once more after a while when they do
 * not answer with success. The store has the truth: what is to be called stands in the records, so that a restart forgets nothing;
 * whoever is called may be called twice, with the same Webhook-Id. One thread of its own. */
#ifndef H5PT_WEBHOOKS_WEBHOOKS_H
#define H5PT_WEBHOOKS_WEBHOOKS_H

#include <jansson.h>

#include "base/error.h"
#include "config.h"
#include "jobs/jobs.h"
#include "metrics/metrics.h"
#include "store/store.h"

struct webhooks;

/* Reads the secret. Without one in the settings no webhook is taken or called. `config` is borrowed. USAGE. */
int webhooks_open(const struct config *config, struct webhooks **ret, struct h5pt_error *err);
/* Starts the thread; `document` makes what is sent. `store` and `metrics` are borrowed. */
int webhooks_start(struct webhooks *webhooks, struct store *store, struct metrics *metrics,
                   json_t *(*document)(const struct config *config, const struct job_view *view),
                   struct h5pt_error *err);
/* Ends calls in progress, which will be made again after the next start. NULL-safe. */
void webhooks_stop(struct webhooks *webhooks);
void webhooks_free(struct webhooks *webhooks); /* NULL-safe */

/* Reads the secret again; on failure the old one stays. */
int webhooks_reload(struct webhooks *webhooks, struct h5pt_error *err);

/* Whether such a webhook would be called: WEBHOOK_REFUSED. Any thread. */
int webhooks_check(const struct webhooks *webhooks, const char *url, struct h5pt_error *err);

/* There is something new to be called. Any thread; the argument is a struct webhooks. */
void webhooks_wake(void *webhooks);

#endif
