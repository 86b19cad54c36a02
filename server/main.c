/* SPDX-License-Identifier: Apache-2.0 */
/* h5ptd: starts the parts of the service in order, waits for a signal, and stops them in reverse. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "auth/keys.h"
#include "config.h"
#include "http/cors.h"
#include "http/http.h"
#include "http/listen.h"
#include "http/router.h"
#include "http/tls.h"
#include "jobs/child.h"
#include "jobs/jobs.h"
#include "log.h"
#include "service.h"
#include "store/files.h"
#include "store/store.h"
#include "webhooks/webhooks.h"

extern char **environ;

struct daemon {
    struct config config;
    char *worker;
    json_t *description;
    struct keys *keys;
    struct webhooks *webhooks;
    struct files *files;
    struct store *store;
    struct service service;
    struct http *api, *admin;
};

/* Answers that are on their way when everything else is done get so long. */
enum { LAST_ANSWERS_MS = 5000 };

/* Runs the worker once, to learn what it and this kernel can do. */
static int ask_worker(struct daemon *daemon, struct h5pt_error *err)
{
    struct child_result result;
    const struct child_request request = {.program = daemon->worker,
                                          .config = &daemon->config,
                                          .inputs = {-1, -1, -1},
                                          .output_dir = -1,
                                          .describe = true,
                                          .stop = -1};
    if (child_run(&request, &result, err))
        return -1;
    daemon->description = result.last;
    const json_t *error = json_object_get(result.last, "error");
    if (json_object_get(result.last, "version"))
        return 0;
    const char *message = json_string_value(json_object_get(error, "message"));
    return h5pt_fail(err, H5PT_NOT_READY, "worker", "%s does not run (signal %d, status %d): %s", daemon->worker,
                     result.signal, result.status, message ? message : result.output);
}

static void warn_of_sandbox(const struct daemon *daemon)
{
    const json_t *sandbox = json_object_get(daemon->description, "sandbox");
    if (!json_integer_value(json_object_get(sandbox, "landlock")) || !json_is_true(json_object_get(sandbox, "seccomp")))
        log_event(LOG_WARNING, "sandbox_incomplete",
                  json_pack("{s:s, s:O}", "setting", daemon->config.sandbox, "sandbox", sandbox));
}

/* Nobody is to find out only later that he has opened his service to the network. */
static int check_open(struct daemon *daemon, struct h5pt_error *err)
{
    const struct config *config = &daemon->config;
    bool loopback;
    if (keys_count(daemon->keys))
        return 0;
    if (listen_is_loopback(config->listen, &loopback, err))
        return -1;
    if (!loopback && !config_yes(config->allow_unauthenticated))
        return h5pt_fail(
            err, H5PT_USAGE, "--listen",
            "Others can reach %s, and there are no keys. Name a file of them with --keys-file (h5ptd --new-key NAME "
            "makes one), or let everybody in with --allow-unauthenticated yes",
            config->listen);
    log_event(loopback ? LOG_INFO : LOG_WARNING, "unauthenticated",
              json_pack("{s:s, s:s}", "listen", config->listen, "message",
                        "There are no keys: whoever can reach the service may use it and see every conversion"));
    return 0;
}

/* On SIGHUP. What cannot be read stays as it was. */
static void reload(struct daemon *daemon)
{
    struct h5pt_error keys = H5PT_ERROR_INIT, tls = H5PT_ERROR_INIT, webhooks = H5PT_ERROR_INIT;
    if (keys_reload(daemon->keys, &keys))
        log_failure(LOG_ERROR, "not_reloaded", &keys, NULL);
    if (tls_load(&daemon->config, &tls))
        log_failure(LOG_ERROR, "not_reloaded", &tls, NULL);
    if (webhooks_reload(daemon->webhooks, &webhooks))
        log_failure(LOG_ERROR, "not_reloaded", &webhooks, NULL);
    log_event(LOG_INFO, "reloaded", json_pack("{s:I}", "keys", (json_int_t)keys_count(daemon->keys)));
}

static int start(struct daemon *daemon, struct h5pt_error *err)
{
    const struct config *config = &daemon->config;
    if (cors_check(config->cors_origins, err) || tls_load(config, err) || keys_open(config, &daemon->keys, err) ||
        check_open(daemon, err) || webhooks_open(config, &daemon->webhooks, err))
        return -1;
    daemon->worker = child_find_program(config->worker, err);
    if (!daemon->worker || ask_worker(daemon, err) || files_open(config->data_dir, &daemon->files, err) ||
        store_open(config->data_dir, &daemon->store, err))
        return -1;
    warn_of_sandbox(daemon);
    daemon->service = (struct service){.config = config,
                                       .files = daemon->files,
                                       .keys = daemon->keys,
                                       .webhooks = daemon->webhooks,
                                       .description = daemon->description};
    if (jobs_start(config, daemon->worker, daemon->store, daemon->files, &daemon->service.jobs, err) ||
        webhooks_start(daemon->webhooks, daemon->store, api_job_document, err))
        return -1;
    jobs_on_finish(daemon->service.jobs, webhooks_wake, daemon->webhooks);
    webhooks_wake(daemon->webhooks); /* for what has finished before */
    if (*config->admin_listen && strcmp(config->admin_listen, "off") != 0 &&
        http_start(&daemon->service, ADMIN, config->admin_listen, 1, &daemon->admin, err))
        return -1;
    return http_start(&daemon->service, MAIN, config->listen, (unsigned)config->http_threads, &daemon->api, err);
}

/* In the order in which nobody is left with less than he was promised: waiters are answered before listeners close. */
static void stop(struct daemon *daemon)
{
    struct jobs *jobs = daemon->service.jobs;
    if (jobs)
        jobs_stop(jobs);
    webhooks_stop(daemon->webhooks);
    http_wait_idle(daemon->api, LAST_ANSWERS_MS);
    http_stop(daemon->api);
    http_stop(daemon->admin);
    tls_release();
    jobs_free(jobs);
    webhooks_free(daemon->webhooks);
    store_close(daemon->store);
    files_close(daemon->files);
    keys_free(daemon->keys);
    json_decref(daemon->description);
    free(daemon->worker);
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

/* Lets running conversions finish, for as long as is configured or until a second signal. */
static void drain(struct daemon *daemon, const sigset_t *signals)
{
    const struct timespec now = {0};
    const int64_t deadline = text_clock_ms() + (int64_t)daemon->config.drain_time;
    log_event(LOG_INFO, "draining", NULL);
    jobs_drain(daemon->service.jobs);
    enum { LOOK_EVERY_MS = 100 };
    while (text_clock_ms() < deadline && !jobs_wait_idle(daemon->service.jobs, LOOK_EVERY_MS)) {
        const int signal_number = sigtimedwait(signals, NULL, &now);
        if (signal_number > 0 && signal_number != SIGHUP)
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
        int signal_number;
        log_event(LOG_INFO, "started",
                  json_pack("{s:s, s:s, s:b, s:s*, s:s, s:I, s:O*}", "version", H5PT_VERSION, "listen",
                            http_address(daemon->api), "tls", tls_wanted(&daemon->config), "admin_listen",
                            daemon->admin ? http_address(daemon->admin) : NULL, "data_dir", daemon->config.data_dir,
                            "workers", (json_int_t)daemon->config.workers, "sandbox",
                            json_object_get(daemon->description, "sandbox")));
        while (sigwait(&signals, &signal_number) == 0 && signal_number == SIGHUP)
            reload(daemon);
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
    case CONFIG_PRINT_ROUTES: router_print(stdout); break;
    case CONFIG_NEW_KEY: status = new_key(operand); break;
    }
    config_release(&daemon.config);
    return status;
}
