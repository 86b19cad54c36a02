/* SPDX-License-Identifier: Apache-2.0 */
#include "health/health.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "health/canary.h"
#include "log.h"
#include "text.h"

/* So many failures in a row count; one may be an accident, unless it is the first probe. */
enum { FAILURES = 2 };
/* A probe that takes for longer hangs. */
enum { PROBE_LIMIT_MS = 60000 };

struct probe {
    struct h5pt_error reason; /* of the last failure */
    int failures;             /* in a row */
    int64_t probed_ms;
};

struct health {
    const struct config *config;
    const char *worker;
    struct files *files;
    struct store *store;
    struct jobs *jobs;
    atomic_bool leaving;
    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t wake;
    bool stopping;
    struct probe probes[HEALTH_CHECK_COUNT];
    int64_t begun_at; /* text_clock_ms of the round of probes in progress, or 0 */
    int stop;         /* eventfd: ends the canary */
    pthread_t thread;
};

const char *health_check_name(enum health_check check)
{
    static const char *const names[] = {
#define CHECK(id, name, help) [HEALTH_##id] = name,
#include "health/checks.def"
#undef CHECK
    };
    return names[check];
}

static int probe_store(struct health *health, struct h5pt_error *err)
{
    const struct store_query query = {.limit = 1};
    struct job_record *records;
    size_t count;
    if (store_list(health->store, &query, &records, &count, err))
        return -1;
    store_free_records(records, count);
    return 0;
}

static void note(struct health *health, enum health_check check, const struct h5pt_error *err)
{
    struct probe *probe = &health->probes[check];
    (void)pthread_mutex_lock(&health->lock);
    const bool stopping = health->stopping;
    if (err->code == H5PT_OK) {
        probe->failures = 0;
    } else if (!stopping) {
        probe->failures++;
        probe->reason = *err;
    }
    probe->probed_ms = text_now_ms();
    (void)pthread_mutex_unlock(&health->lock);
    if (err->code != H5PT_OK && !stopping)
        log_failure(LOG_WARNING, "probe_failed", err, json_pack("{s:s}", "check", health_check_name(check)));
}

static void run_probes(struct health *health)
{
    struct h5pt_error spool = H5PT_ERROR_INIT, store = H5PT_ERROR_INIT, worker = H5PT_ERROR_INIT;
    (void)canary_probe_spool(health->files, &spool);
    note(health, HEALTH_SPOOL, &spool);
    (void)probe_store(health, &store);
    note(health, HEALTH_STORE, &store);
    (void)canary_convert(health->config, health->worker, health->files, health->stop, PROBE_LIMIT_MS, &worker);
    note(health, HEALTH_WORKER, &worker);
}

static void *probe_all(void *context)
{
    struct health *health = context;
    (void)pthread_mutex_lock(&health->lock);
    while (!health->stopping) {
        health->begun_at = text_clock_ms();
        (void)pthread_mutex_unlock(&health->lock);
        run_probes(health);
        (void)pthread_mutex_lock(&health->lock);
        health->begun_at = 0;
        const int64_t next = text_clock_ms() + (int64_t)health->config->probe_interval;
        const struct timespec until = {.tv_sec = next / 1000, .tv_nsec = next % 1000 * 1000000};
        while (!health->stopping && text_clock_ms() < next)
            (void)pthread_cond_timedwait(&health->wake, &health->lock, &until);
    }
    (void)pthread_mutex_unlock(&health->lock);
    return NULL;
}

int health_start(const struct config *config, const char *worker, struct files *files, struct store *store,
                 struct jobs *jobs, struct health **ret, struct h5pt_error *err)
{
    struct health *health = calloc(1, sizeof *health);
    if (!health)
        return h5pt_fail_memory(err);
    health->config = config;
    health->worker = worker;
    health->files = files;
    health->store = store;
    health->jobs = jobs;
    for (int i = 0; i < HEALTH_CHECK_COUNT; i++)
        health->probes[i].failures = FAILURES - 1;
    health->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&health->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)pthread_mutex_init(&health->lock, NULL);
    if (health->stop < 0 || (config->probe_interval && pthread_create(&health->thread, NULL, probe_all, health) != 0)) {
        if (health->stop >= 0)
            (void)close(health->stop);
        free(health);
        return h5pt_fail(err, H5PT_INTERNAL, "threads", "Starting the thread that probes the service failed");
    }
    *ret = health;
    return 0;
}

void health_stop(struct health *health)
{
    const uint64_t one = 1;
    if (!health)
        return;
    (void)pthread_mutex_lock(&health->lock);
    health->stopping = true;
    if (write(health->stop, &one, sizeof one) != sizeof one)
        log_event(LOG_ERROR, "canary_not_stopped", NULL);
    (void)pthread_cond_broadcast(&health->wake);
    (void)pthread_mutex_unlock(&health->lock);
    if (health->config->probe_interval)
        (void)pthread_join(health->thread, NULL);
    (void)close(health->stop);
    free(health);
}

void health_leave(struct health *health)
{
    atomic_store(&health->leaving, true);
}

static void look_now(struct health *health, struct health_state ret[HEALTH_CHECK_COUNT])
{
    struct h5pt_error *accepting = &ret[HEALTH_ACCEPTING].reason, busy = H5PT_ERROR_INIT;
    const int obstacle = jobs_check(health->jobs, NULL, &busy);
    if (obstacle && busy.code == H5PT_QUEUE_FULL)
        ret[HEALTH_QUEUE].reason = busy;
    else if (obstacle)
        *accepting = busy;
    if (accepting->code == H5PT_OK && atomic_load(&health->leaving))
        h5pt_fail(accepting, H5PT_DRAINING, NULL, "The service is about to stop; send new work to another instance");
    (void)files_check_space(health->files, 0, &ret[HEALTH_DISK].reason);
}

bool health_look(struct health *health, struct health_state ret[HEALTH_CHECK_COUNT])
{
    bool ready = true;
    for (int i = 0; i < HEALTH_CHECK_COUNT; i++)
        ret[i] = (struct health_state){.reason = H5PT_ERROR_INIT};
    look_now(health, ret);
    (void)pthread_mutex_lock(&health->lock);
    const bool hangs = health->begun_at && text_clock_ms() - health->begun_at > 2 * PROBE_LIMIT_MS;
    for (int i = HEALTH_SPOOL; i <= HEALTH_WORKER; i++) {
        const struct probe *probe = &health->probes[i];
        ret[i].probed_ms = probe->probed_ms;
        if (probe->failures >= FAILURES)
            ret[i].reason = probe->reason;
        else if (hangs)
            h5pt_fail(&ret[i].reason, H5PT_NOT_READY, health_check_name((enum health_check)i),
                      "The probe does not come to its end");
    }
    (void)pthread_mutex_unlock(&health->lock);
    for (int i = 0; i < HEALTH_CHECK_COUNT; i++)
        ready = ready && ret[i].reason.code == H5PT_OK;
    return ready;
}
