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

#include "config.h"
#include "http/http.h"
#include "http/router.h"
#include "jobs/child.h"
#include "jobs/jobs.h"
#include "log.h"
#include "service.h"
#include "store/files.h"
#include "store/store.h"
#include "write/digest.h"

extern char **environ;

struct daemon {
    struct config config;
    char *program; /* of the worker */
    struct jobs_worker worker;
    json_t *description;
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
    const struct child_request request = {.program = daemon->program,
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
    return h5pt_fail(err, H5PT_NOT_READY, "worker", "%s does not run (signal %d, status %d): %s", daemon->program,
                     result.signal, result.status, message ? message : result.output);
}

/* What tells this worker from any other: its program, and the libraries that it runs with. */
static int identify_worker(struct daemon *daemon, struct h5pt_error *err)
{
    char program[DIGEST_TEXT_SIZE];
    char *version = json_dumps(json_object_get(daemon->description, "version"), JSON_COMPACT | JSON_SORT_KEYS);
    struct digest *digest = digest_new();
    int fd = open(daemon->program, O_RDONLY | O_CLOEXEC), result;
    if (!version || !digest)
        result = h5pt_fail_memory(err);
    else if (fd < 0)
        result = h5pt_fail_errno(err, H5PT_NOT_READY, "worker", "%s cannot be read", daemon->program);
    else
        result = digest_file(fd, NULL, program, err);
    if (!result && version && digest) {
        digest_add(digest, program, sizeof program);
        digest_add(digest, version, strlen(version));
        digest_finish(digest, daemon->worker.core);
        daemon->worker.program = daemon->program;
    }
    if (fd >= 0)
        (void)close(fd);
    digest_free(digest);
    free(version);
    return result;
}

static void warn_of_sandbox(const struct daemon *daemon)
{
    const json_t *sandbox = json_object_get(daemon->description, "sandbox");
    if (!json_integer_value(json_object_get(sandbox, "landlock")) || !json_is_true(json_object_get(sandbox, "seccomp")))
        log_event(LOG_WARNING, "sandbox_incomplete",
                  json_pack("{s:s, s:O}", "setting", daemon->config.sandbox, "sandbox", sandbox));
}

static int start(struct daemon *daemon, struct h5pt_error *err)
{
    const struct config *config = &daemon->config;
    daemon->program = child_find_program(config->worker, err);
    if (!daemon->program || ask_worker(daemon, err) || identify_worker(daemon, err) ||
        files_open(config->data_dir, &daemon->files, err) || store_open(config->data_dir, &daemon->store, err))
        return -1;
    warn_of_sandbox(daemon);
    daemon->service = (struct service){.config = config, .files = daemon->files, .description = daemon->description};
    if (jobs_start(config, &daemon->worker, daemon->store, daemon->files, &daemon->service.jobs, err))
        return -1;
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
    http_wait_idle(daemon->api, LAST_ANSWERS_MS);
    http_stop(daemon->api);
    http_stop(daemon->admin);
    jobs_free(jobs);
    store_close(daemon->store);
    files_close(daemon->files);
    json_decref(daemon->description);
    free(daemon->program);
}

/* Signals are taken by this thread only, from sigtimedwait. */
static void block_signals(sigset_t *ret)
{
    (void)sigemptyset(ret);
    (void)sigaddset(ret, SIGTERM);
    (void)sigaddset(ret, SIGINT);
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
    while (text_clock_ms() < deadline && !jobs_wait_idle(daemon->service.jobs, LOOK_EVERY_MS))
        if (sigtimedwait(signals, NULL, &now) > 0)
            break;
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
                  json_pack("{s:s, s:s, s:s*, s:s, s:I, s:O*}", "version", H5PT_VERSION, "listen",
                            http_address(daemon->api), "admin_listen",
                            daemon->admin ? http_address(daemon->admin) : NULL, "data_dir", daemon->config.data_dir,
                            "workers", (json_int_t)daemon->config.workers, "sandbox",
                            json_object_get(daemon->description, "sandbox")));
        (void)sigwait(&signals, &signal_number);
        drain(daemon, &signals);
    }
    stop(daemon);
    if (!failed)
        log_event(LOG_INFO, "stopped", NULL);
    return failed ? h5pt_code_exit(err.code) : 0;
}

int main(int argc, char **argv)
{
    struct daemon daemon = {0};
    struct h5pt_error err = H5PT_ERROR_INIT;
    enum config_action action;
    (void)umask(077);
    if (config_load(argc, argv, environ, &daemon.config, &action, &err)) {
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
    }
    config_release(&daemon.config);
    return status;
}
