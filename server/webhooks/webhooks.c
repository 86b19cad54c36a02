/* SPDX-License-Identifier: Apache-2.0 */
#include "webhooks/webhooks.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "webhooks/delivery.h"
#include "webhooks/signature.h"
#include "webhooks/target.h"

enum { AT_ONCE = 32, LOOK_AT_LEAST_EVERY_MS = 60000, HOLD_MS = 10000 };

struct webhooks {
    const struct config *config;
    pthread_mutex_t lock; /* of the secrets */
    struct signature_secrets secrets;
    CURLM *multi;
    pthread_t thread;
    bool started;
    atomic_bool stopping, woken;
    /* Of the thread: */
    struct store *store;
    struct metrics *metrics;
    json_t *(*document)(const struct config *config, const struct job_view *view);
    LIST_HEAD(, delivery) deliveries; /* in progress */
    size_t count;
    int64_t look_ms; /* when the store is to be looked at again (text_now_ms) */
    int64_t hold_ms; /* not before; for a store that fails, so that nobody is called without end */
};

static bool enabled(const struct config *config)
{
    return *config->webhook_secret_file;
}

int webhooks_open(const struct config *config, struct webhooks **ret, struct h5pt_error *err)
{
    struct webhooks *webhooks = calloc(1, sizeof *webhooks);
    if (!webhooks)
        return h5pt_fail_memory(err);
    webhooks->config = config;
    (void)pthread_mutex_init(&webhooks->lock, NULL);
    LIST_INIT(&webhooks->deliveries);
    int result = 0;
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        result = h5pt_fail(err, H5PT_INTERNAL, "webhooks", "Starting libcurl failed");
    else if (*config->webhook_ca_file && access(config->webhook_ca_file, R_OK))
        result = h5pt_fail_errno(err, H5PT_USAGE, config->webhook_ca_file, "The file %s cannot be read",
                                 config->webhook_ca_file);
    else if (enabled(config))
        result = signature_read_secrets(config->webhook_secret_file, &webhooks->secrets, err);
    if (result) {
        webhooks_free(webhooks);
        return -1;
    }
    *ret = webhooks;
    return 0;
}

void webhooks_free(struct webhooks *webhooks)
{
    if (!webhooks)
        return;
    curl_multi_cleanup(webhooks->multi);
    curl_global_cleanup();
    (void)pthread_mutex_destroy(&webhooks->lock);
    free(webhooks);
}

int webhooks_reload(struct webhooks *webhooks, struct h5pt_error *err)
{
    struct signature_secrets secrets;
    if (!enabled(webhooks->config))
        return 0;
    if (signature_read_secrets(webhooks->config->webhook_secret_file, &secrets, err))
        return -1;
    (void)pthread_mutex_lock(&webhooks->lock);
    webhooks->secrets = secrets;
    (void)pthread_mutex_unlock(&webhooks->lock);
    return 0;
}

int webhooks_check(const struct webhooks *webhooks, const char *url, struct h5pt_error *err)
{
    if (!enabled(webhooks->config))
        return h5pt_fail(err, H5PT_WEBHOOK_REFUSED, "webhook",
                         "This service calls no webhooks: it has no secret to sign with (--webhook-secret-file)");
    return target_check(webhooks->config, url, err);
}

void webhooks_wake(void *context)
{
    struct webhooks *webhooks = context;
    atomic_store(&webhooks->woken, true);
    if (webhooks->multi)
        (void)curl_multi_wakeup(webhooks->multi);
}

static void store_failed(struct webhooks *webhooks, const struct h5pt_error *err)
{
    log_failure(LOG_ERROR, "webhooks_held", err, NULL);
    webhooks->hold_ms = text_now_ms() + HOLD_MS;
}

static struct delivery *find(struct webhooks *webhooks, const char *id)
{
    struct delivery *delivery;
    LIST_FOREACH(delivery, &webhooks->deliveries, links)
    if (strcmp(delivery->id, id) == 0)
        return delivery;
    return NULL;
}

static void end(struct webhooks *webhooks, struct delivery *delivery)
{
    (void)curl_multi_remove_handle(webhooks->multi, delivery->curl);
    LIST_REMOVE(delivery, links);
    webhooks->count--;
    delivery_free(delivery);
}

static int begin(struct webhooks *webhooks, const struct job_record *record, struct h5pt_error *err)
{
    const struct job_view view = {.record = *record};
    json_t *document = webhooks->document(webhooks->config, &view);
    char *body = document ? json_dumps(document, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(document);
    if (!body)
        return h5pt_fail_memory(err);
    (void)pthread_mutex_lock(&webhooks->lock);
    struct delivery *delivery = delivery_new(webhooks->config, &webhooks->secrets, record, body);
    (void)pthread_mutex_unlock(&webhooks->lock);
    if (!delivery)
        return h5pt_fail_memory(err);
    if (curl_multi_add_handle(webhooks->multi, delivery->curl)) {
        delivery_free(delivery);
        return h5pt_fail_memory(err);
    }
    LIST_INSERT_HEAD(&webhooks->deliveries, delivery, links);
    webhooks->count++;
    return 0;
}

/* Begins what is due, as far as there is room, and finds out when to look again. */
static int look(struct webhooks *webhooks, int64_t now, struct h5pt_error *err)
{
    /* Those in progress are still due for the store. */
    const struct store_query due = {.webhook_due_ms = now, .limit = AT_ONCE};
    struct job_record *records;
    size_t count;
    if (store_list(webhooks->store, &due, &records, &count, err))
        return -1;
    int result = 0;
    for (size_t i = 0; i < count && !result && webhooks->count < AT_ONCE; i++)
        if (!find(webhooks, records[i].id))
            result = begin(webhooks, &records[i], err);
    store_free_records(records, count);
    return result ? result : store_next_webhook(webhooks->store, now, &webhooks->look_ms, err);
}

static void look_if_it_is_time(struct webhooks *webhooks)
{
    const int64_t now = text_now_ms();
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (now < webhooks->hold_ms || webhooks->count == AT_ONCE)
        return;
    if (!atomic_exchange(&webhooks->woken, false) && now < webhooks->look_ms)
        return;
    if (look(webhooks, now, &err))
        store_failed(webhooks, &err);
}

/* Puts the end of a call into the record, unless that is gone. */
static int settle(struct webhooks *webhooks, const struct delivery *delivery, CURLcode code, struct h5pt_error *err)
{
    for (;;) {
        struct job_record record;
        struct h5pt_error failure = H5PT_ERROR_INIT;
        if (store_read(webhooks->store, delivery->id, &record, &failure)) {
            if (failure.code == H5PT_NOT_FOUND)
                return 0;
            *err = failure;
            return -1;
        }
        delivery_judge(delivery, code, text_now_ms(), &record.webhook);
        const struct job_webhook webhook = record.webhook;
        int result = store_update(webhooks->store, &record, STORE_LAZY, &failure);
        job_record_release(&record);
        if (!result) {
            metrics_add(webhooks->metrics, METRIC_webhook_calls_total, METRIC_LABELS(webhook_state_name(webhook.state)),
                        1);
            log_event(webhook.state == WEBHOOK_DELIVERED ? LOG_INFO : LOG_WARNING, "webhook",
                      json_pack("{s:s, s:s, s:i, s:i, s:s}", "job_id", delivery->id, "state",
                                webhook_state_name(webhook.state), "attempts", webhook.attempts, "status",
                                webhook.status, "problem", webhook.problem));
            return 0;
        }
        if (failure.code != H5PT_CONFLICT) {
            *err = failure;
            return -1;
        }
    }
}

/* True when a call has ended. */
static bool settle_ended(struct webhooks *webhooks)
{
    bool ended = false;
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(webhooks->multi, &left));) {
        struct h5pt_error err = H5PT_ERROR_INIT;
        struct delivery *delivery = NULL;
        const CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)(void *)&delivery);
        if (settle(webhooks, delivery, code, &err))
            store_failed(webhooks, &err);
        end(webhooks, delivery);
        ended = true;
    }
    if (ended)
        webhooks->look_ms = 0;
    return ended;
}

static int sleep_ms(const struct webhooks *webhooks)
{
    const int64_t now = text_now_ms();
    int64_t until = webhooks->count == AT_ONCE ? INT64_MAX : webhooks->look_ms;
    if (until < webhooks->hold_ms)
        until = webhooks->hold_ms;
    const int64_t left = until - now;
    return left < 0 ? 0 : left > LOOK_AT_LEAST_EVERY_MS ? LOOK_AT_LEAST_EVERY_MS : (int)left;
}

static void *run(void *context)
{
    struct webhooks *webhooks = context;
    while (!atomic_load(&webhooks->stopping)) {
        int running;
        look_if_it_is_time(webhooks);
        (void)curl_multi_perform(webhooks->multi, &running);
        if (!settle_ended(webhooks))
            (void)curl_multi_poll(webhooks->multi, NULL, 0, sleep_ms(webhooks), NULL);
    }
    for (struct delivery *delivery; (delivery = LIST_FIRST(&webhooks->deliveries));)
        end(webhooks, delivery);
    return NULL;
}

int webhooks_start(struct webhooks *webhooks, struct store *store, struct metrics *metrics,
                   json_t *(*document)(const struct config *config, const struct job_view *view),
                   struct h5pt_error *err)
{
    if (!enabled(webhooks->config))
        return 0;
    webhooks->store = store;
    webhooks->metrics = metrics;
    webhooks->document = document;
    webhooks->multi = curl_multi_init();
    if (!webhooks->multi)
        return h5pt_fail_memory(err);
    errno = pthread_create(&webhooks->thread, NULL, run, webhooks);
    webhooks->started = errno == 0;
    return webhooks->started ? 0 : h5pt_fail_errno(err, H5PT_INTERNAL, "threads", "Starting a thread failed");
}

void webhooks_stop(struct webhooks *webhooks)
{
    if (!webhooks || !webhooks->started)
        return;
    atomic_store(&webhooks->stopping, true);
    (void)curl_multi_wakeup(webhooks->multi);
    (void)pthread_join(webhooks->thread, NULL);
    webhooks->started = false;
}
