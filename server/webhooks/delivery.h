/* SPDX-License-Identifier: Apache-2.0 */
/* One call of a webhook, with libcurl. */
#ifndef H5PT_WEBHOOKS_DELIVERY_H
#define H5PT_WEBHOOKS_DELIVERY_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "config.h"
#include "jobs/record.h"
#include "webhooks/signature.h"

struct delivery {
    LIST_ENTRY(delivery) links; /* of the owner's */
    const struct config *config;
    char id[TEXT_ID_SIZE]; /* of the job */
    CURL *curl;
    struct curl_slist *headers;
    char *body;      /* owned */
    size_t received; /* bytes of the answer */
    bool too_long;   /* it was cut off */
    bool refused;    /* an address was not public */
};

/* A call that is ready for a curl multi handle; its private pointer is the delivery. `body` (taken) is what json_dumps gives. NULL
 * without memory. */
struct delivery *delivery_new(const struct config *config, const struct signature_secrets *secrets,
                              const struct job_record *record, char *body);
void delivery_free(struct delivery *delivery); /* NULL-safe; not while a multi handle has it */

/* What the end of the call means: counts it, and says whether and when there is to be another one. */
void delivery_judge(const struct delivery *delivery, CURLcode code, int64_t now_ms, struct job_webhook *webhook);

#endif
