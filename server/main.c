/* SPDX-License-Identifier: Apache-2.0 */
/* h5ptd: starts the parts of the service in order, waits for a signal, and stops them in reverse. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "access.h"
#include "check.h"
#include "config.h"
#include "http/cors.h"
#include "http/http.h"
#include "http/listen.h"
#include "http/router.h"
#include "http/tls.h"
#include "jobs/child.h"
#include "jobs/jobs.h"
#include "log.h"
#include "notify.h"
#include "service.h"
#include "store/files.h"
#include "store/store.h"
#include "webhooks/webhooks.h"

extern char **environ;

struct daemon {
    struct config config;
    char *program; /* of the worker */
    struct jobs_worker worker;
    json_t *description;
    struct access access;
    struct files *files;
    struct store *store;
    struct metrics *metrics;
    struct service service;
    struct http *api, *admin;
};

/* Answers that are on their way when everything else is done get so long. */
enum { LAST_ANSWERS_MS = 5000 };

static int identify_worker(struct daemon *daemon, struct h5pt_error *err)
{
    daemon->worker.program = daemon->program;
    return child_identify(daemon->program, json_object_get(daemon->description, "version"), daemon->worker.core, err);
}

static void warn_of_sandbox(const struct daemon *daemon)
{
    const json_t *sandbox = json_object_get(daemon->description, "sandbox");
    if (!json_integer_value(json_object_get(sandbox, "landlock")) || !json_is_true(json_object_get(sandbox, "seccomp")))
        log_event(LOG_WARNING, "sandbox_incomplete",
                  json_pack("{s:s, s:O}", "setting", daemon->config.sandbox, "sandbox", sandbox));
}

static void warn_of_open_door(const struct daemon *daemon)
{
    if (!keys_count(daemon->access.keys))
        log_event(daemon->access.loopback ? LOG_INFO : LOG_WARNING, "unauthenticated",
                  json_pack("{s:s, s:s}", "listen", daemon->config.listen, "message",
                            "There are no keys: whoever can reach the service may use it and see every conversion"));
}

static int start(struct daemon *daemon, struct h5pt_error *err)
{
    const struct config *config = &daemon->config;
    if (access_open(config, &daemon->access, err))
        return -1;
    struct webhooks *webhooks = daemon->access.webhooks;
    warn_of_open_door(daemon);
    daemon->program = child_find_program(config->worker, err);
    if (!daemon->program || child_describe(daemon->program, config, &daemon->description, err) ||
        identify_worker(daemon, err) || files_open(config->data_dir, config->disk_reserve, &daemon->files, err) ||
        store_open(config->data_dir, &daemon->store, err))
        return -1;
    warn_of_sandbox(daemon);
    daemon->metrics = metrics_new();
    if (!daemon->metrics)
        return h5pt_fail_memory(err);
    struct service *service = &daemon->service;
    *service = (struct service){.config = config,
                                .files = daemon->files,
                                .metrics = daemon->metrics,
                                .keys = daemon->access.keys,
                                .webhooks = webhooks,
                                .description = daemon->description,
                                .started_ms = text_now_ms()};
    if (jobs_start(config, &daemon->worker, daemon->store, daemon->files, daemon->metrics, &service->jobs, err) ||
        webhooks_start(webhooks, daemon->store, daemon->metrics, api_job_document, err) ||
        health_start(config, daemon->program, daemon->files, daemon->store, service->jobs, &service->health, err))
        return -1;
    jobs_on_finish(daemon->service.jobs, webhooks_wake, webhooks);
    webhooks_wake(webhooks); /* for what has finished before */
    if (*config->admin_listen && strcmp(config->admin_listen, "off") != 0 &&
        http_start(service, ADMIN, config->admin_listen, 1, &daemon->admin, err))
        return -1;
    return http_start(service, MAIN, config->listen, (unsigned)config->http_threads, &daemon->api, err);
}

/* In the order in which nobody is left with less than he was promised: waiters are answered before listeners close. */
static void stop(struct daemon *daemon)
{
    struct jobs *jobs = daemon->service.jobs;
    if (jobs)
        jobs_stop(jobs);
    webhooks_stop(daemon->access.webhooks);
    http_wait_idle(daemon->api, LAST_ANSWERS_MS);
    http_stop(daemon->api);
    http_stop(daemon->admin);
    health_stop(daemon->service.health);
    jobs_free(jobs);
    store_close(daemon->store);
    files_close(daemon->files);
    metrics_free(daemon->metrics);
    access_release(&daemon->access);
    json_decref(daemon->description);
    free(daemon->program);
}

/* Signals are taken by this thread only, from sigtimedwait. */
static void block_signals(sigset_t *ret)
{
    (void)sigemptyset(ret);
    (void)sigaddset(ret, SIGTERM);
    (void)sigaddset(ret, SIGINT);
    (void)sigaddset(ret, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, ret, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

/* Waits for a signal to stop, for so long at most; meanwhile SIGHUP is obeyed and the manager hears that the daemon is alive.
 * True when one came. */
static bool wait_for_signal(struct daemon *daemon, const sigset_t *signals, int64_t ms)
{
    const int64_t watchdog = notify_watchdog_ms(), deadline = ms == INT64_MAX ? ms : text_clock_ms() + ms;
    for (int64_t left; (left = deadline - text_clock_ms()) > 0;) {
        enum { LOOK_EVERY_MS = 60000 };
        int64_t pause = watchdog && watchdog < LOOK_EVERY_MS ? watchdog : LOOK_EVERY_MS;
        pause = left < pause ? left : pause;
        const struct timespec timeout = {.tv_sec = pause / 1000, .tv_nsec = pause % 1000 * 1000000};
        const int signal_number = sigtimedwait(signals, NULL, &timeout);
        if (signal_number == SIGHUP)
            access_reload(&daemon->access, &daemon->config);
        else if (signal_number > 0)
            return true;
        (void)jobs_count(daemon->service.jobs); /* a daemon that is stuck gets no further than this */
        notify_send("WATCHDOG=1");
    }
    return false;
}

/* Load balancers look elsewhere, then running conversions finish; each for as long as is configured or until another signal. */
static void drain(struct daemon *daemon, const sigset_t *signals)
{
    const struct config *config = &daemon->config;
    notify_send("STOPPING=1");
    log_event(LOG_INFO, "leaving", NULL);
    health_leave(daemon->service.health);
    if (wait_for_signal(daemon, signals, (int64_t)config->drain_delay))
        return;
    log_event(LOG_INFO, "draining", NULL);
    jobs_drain(daemon->service.jobs);
    const int64_t deadline = text_clock_ms() + (int64_t)config->drain_time;
    enum { LOOK_EVERY_MS = 100 };
    while (text_clock_ms() < deadline && !jobs_wait_idle(daemon->service.jobs, LOOK_EVERY_MS)) {
        if (wait_for_signal(daemon, signals, 1))
            break;
    }
}

static int serve(struct daemon *daemon)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    sigset_t signals;
    block_signals(&signals);
    int failed = start(daemon, &err);
    if (failed) {
        log_failure(LOG_ERROR, "not_started", &err, NULL);
    } else {
        log_event(LOG_INFO, "started",
                  json_pack("{s:s, s:s, s:b, s:s*, s:s, s:I, s:O*}", "version", H5PT_VERSION, "listen",
                            http_address(daemon->api), "tls", tls_wanted(&daemon->config), "admin_listen",
                            daemon->admin ? http_address(daemon->admin) : NULL, "data_dir", daemon->config.data_dir,
                            "workers", (json_int_t)daemon->config.workers, "sandbox",
                            json_object_get(daemon->description, "sandbox")));
        notify_send("READY=1");
        (void)wait_for_signal(daemon, &signals, INT64_MAX);
        drain(daemon, &signals);
    }
    stop(daemon);
    if (!failed)
        log_event(LOG_INFO, "stopped", NULL);
    return failed ? h5pt_code_exit(err.code) : 0;
}

static int new_key(const char *line)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (keys_create(line, stdout, &err)) {
        (void)fprintf(stderr, "h5ptd: %s\n", err.message);
        return h5pt_code_exit(err.code);
    }
    (void)fprintf(
        stderr, "The first line is the key, for its user; it is kept nowhere. The second one is for the keys file.\n");
    return 0;
}

int main(int argc, char **argv)
{
    struct daemon daemon = {0};
    struct h5pt_error err = H5PT_ERROR_INIT;
    enum config_action action;
    const char *operand;
    (void)umask(077);
    if (config_load(argc, argv, environ, &daemon.config, &action, &operand, &err)) {
        (void)fprintf(stderr, "h5ptd: %s\n", err.message);
        return h5pt_code_exit(err.code);
    }
    int status = 0;
    switch (action) {
    case CONFIG_RUN: status = serve(&daemon); break;
    case CONFIG_HELP: config_print_help(stdout); break;
    case CONFIG_VERSION: (void)printf("h5ptd %s\n", H5PT_VERSION); break;
    case CONFIG_PRINT_CONFIG: config_print(&daemon.config, stdout); break;
    case CONFIG_CHECK: status = check_run(&daemon.config, stdout); break;
    case CONFIG_PRINT_ROUTES: router_print(stdout); break;
    case CONFIG_NEW_KEY: status = new_key(operand); break;
    }
    config_release(&daemon.config);
    return status;
}
