/* SPDX-License-Identifier: Apache-2.0 */
#include "jobs/child.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "worker/status.h"

/* A report of a model with very many layers; more than this is not a report. */
#define STATUS_LINE_MAX ((size_t)64 << 20)

enum {
#define OPTION(name, size, list) OPTION_##name,
#include "jobs/options.def"
#undef OPTION
    OPTION_MAX
};

enum { ARGUMENT_SIZE = 32, ARGUMENT_MAX = 16 + 2 * OPTION_MAX };
_Static_assert((int)ARGUMENT_MAX <= (int)WORKER_ARGUMENTS_MAX, "the worker takes all arguments that there can be");

struct child {
    const struct child_request *request;
    struct fork_server *server;
    struct child_result *result;
    int status;         /* read end of its pipe, non-blocking; -1 once at its end: then there is no process any more */
    struct strbuf line; /* of the status pipe, not yet complete */
    bool killed, ended;
    struct worker_end end; /* once it has ended */
};

char *child_find_program(const char *configured, struct h5pt_error *err)
{
    if (*configured) {
        if (access(configured, X_OK) == 0)
            return strdup(configured);
        h5pt_fail_errno(err, H5PT_NOT_READY, "worker", "The worker program %s cannot be run", configured);
        return NULL;
    }
    static const char *const places[] = {"h5pt-worker", "../libexec/h5pt/h5pt-worker"};
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(self, '/');
    int directory = slash ? (int)(slash - self) : 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char *path;
        if (asprintf(&path, "%.*s/%s", directory, self, places[i]) < 0)
            break;
        if (access(path, X_OK) == 0)
            return path;
        free(path);
    }
    h5pt_fail(err, H5PT_NOT_READY, "worker",
              "There is no h5pt-worker beside h5ptd or in ../libexec/h5pt; see --worker");
    return NULL;
}

struct arguments {
    char *list[ARGUMENT_MAX];
    char text[3][ARGUMENT_SIZE], flags[OPTION_MAX][ARGUMENT_SIZE];
};

/* The strings stay with the request and *ret. */
static void build_arguments(const struct child_request *request, struct arguments *ret)
{
    const struct config *config = request->config;
    size_t n = 0;
    (void)snprintf(ret->text[0], ARGUMENT_SIZE, "%" PRIu64, config->memory);
    (void)snprintf(ret->text[1], ARGUMENT_SIZE, "%" PRIu64, (config->cpu_time + 999) / 1000);
    (void)snprintf(ret->text[2], ARGUMENT_SIZE, "%" PRIu64, config->max_artifact);
    const struct {
        const char *flag, *value;
    } options[] = {
        {"--sandbox", config->sandbox},
        {"--memory", ret->text[0]},
        {"--cpu-time", ret->text[1]},
        {"--file-size", ret->text[2]},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (!*options[i].value)
            continue;
        ret->list[n++] = (char *)options[i].flag;
        ret->list[n++] = (char *)options[i].value;
    }
    const struct job_option *option;
    for (size_t i = 0; request->options && (option = job_option_at(i)); i++) {
        const char *text = job_option_text(request->options, option);
        if (!*text)
            continue;
        (void)snprintf(ret->flags[i], ARGUMENT_SIZE, "--%s", option->name);
        ret->list[n++] = ret->flags[i];
        ret->list[n++] = (char *)text;
    }
    const struct {
        const char *flag;
        bool set;
    } switches[] = {
        {"--weights-only", request->options && request->options->weights_only},
        {"--architecture", request->inputs[FILES_ARCHITECTURE] >= 0},
        {"--reference", request->inputs[FILES_REFERENCE] >= 0},
        {"--dry-run", request->dry_run},
        {"--describe", request->describe},
    };
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        if (switches[i].set)
            ret->list[n++] = (char *)switches[i].flag;
    ret->list[n] = NULL;
}

static void take_line(struct child *child, json_t *line)
{
    const char *stage = json_string_value(json_object_get(line, "stage"));
    if (stage) {
        if (child->request->progress)
            child->request->progress(child->request->context, stage,
                                     json_number_value(json_object_get(line, "fraction")));
        json_decref(line);
        return;
    }
    json_decref(child->result->last);
    child->result->last = line;
}

/* Takes the complete lines out of the buffer, of which the last `added` bytes are new. */
static void take_lines(struct child *child, size_t added)
{
    struct strbuf *buffer = &child->line;
    size_t from = 0;
    for (size_t i = buffer->length - added; i < buffer->length; i++) {
        if (buffer->text[i] != '\n')
            continue;
        json_t *line = json_loadb(buffer->text + from, i - from, 0, NULL);
        if (line)
            take_line(child, line);
        from = i + 1;
    }
    memmove(buffer->text, buffer->text + from, buffer->length - from);
    buffer->length -= from;
}

static void end(struct child *child, enum child_end why)
{
    if (child->killed)
        return;
    child->killed = true;
    child->result->end = why;
    fork_server_kill(child->server);
}

/* Reads what there is; closes the pipe when it is at its end. */
static void read_status(struct child *child)
{
    char chunk[65536];
    ssize_t n;
    while (child->status >= 0 && (n = read(child->status, chunk, sizeof chunk)) != -1) {
        if (n == 0) {
            (void)close(child->status);
            child->status = -1;
            return;
        }
        if (child->killed)
            continue;
        strbuf_add_bytes(&child->line, chunk, (size_t)n);
        if (!strbuf_ok(&child->line) || child->line.length > STATUS_LINE_MAX)
            end(child, CHILD_CRASHED);
        else
            take_lines(child, (size_t)n);
    }
}

static void read_output(struct child *child)
{
    char chunk[1024];
    ssize_t n;
    while ((n = read(child->server->output, chunk, sizeof chunk)) > 0) {
        size_t have = strlen(child->result->output), room = sizeof child->result->output - 1 - have;
        size_t take = (size_t)n < room ? (size_t)n : room;
        memcpy(child->result->output + have, chunk, take);
        child->result->output[have + take] = '\0';
    }
}

/* Serves the pipes until the process has ended and nobody writes any more. */
static void watch(struct child *child)
{
    const struct child_request *request = child->request;
    const int64_t limit = request->limit_ms ? request->limit_ms : (int64_t)request->config->wall_time;
    const int64_t deadline = text_clock_ms() + limit;
    while (!child->ended || child->status >= 0) {
        struct pollfd polls[] = {
            {.fd = child->ended ? -1 : child->server->socket, .events = POLLIN},
            {.fd = child->status, .events = POLLIN},
            {.fd = child->ended ? -1 : child->server->output, .events = POLLIN},
            {.fd = child->killed ? -1 : child->request->stop, .events = POLLIN},
        };
        int64_t left = deadline - text_clock_ms();
        int timeout = child->killed ? -1 : left < 0 ? 0 : left > 3600000 ? 3600000 : (int)left;
        int ready = poll(polls, sizeof polls / sizeof *polls, timeout);
        if (ready == 0 && text_clock_ms() >= deadline)
            end(child, CHILD_TIMEOUT);
        if (ready > 0 && polls[3].revents)
            end(child, CHILD_STOPPED);
        read_status(child);
        read_output(child);
        if (ready > 0 && polls[0].revents) {
            child->end = fork_server_take(child->server);
            child->ended = true;
        }
    }
    read_output(child);
}

static void judge(struct child *child)
{
    struct child_result *result = child->result;
    if (WIFEXITED(child->end.status))
        result->status = WEXITSTATUS(child->end.status);
    else
        result->signal = WTERMSIG(child->end.status);
    result->peak_bytes = child->end.peak_bytes;
    if (child->killed)
        return;
    if (result->signal == SIGXCPU)
        result->end = CHILD_TIMEOUT;
    else if (result->signal || result->status || !result->last)
        result->end = CHILD_CRASHED;
    else
        result->end = CHILD_REPORTED;
}

static int start(struct child *child, struct h5pt_error *err)
{
    const struct child_request *request = child->request;
    struct arguments arguments;
    int status[2];
    if (pipe2(status, O_CLOEXEC))
        return h5pt_fail_errno(err, H5PT_INTERNAL, "worker", "Making a pipe failed");
    (void)fcntl(status[0], F_SETFL, O_NONBLOCK);
    const int fds[WORKER_FD_COUNT] = {
        [WORKER_INPUT_FD] = request->inputs[FILES_MODEL],
        [WORKER_OUTPUT_FD] = request->output_dir,
        [WORKER_STATUS_FD] = status[1],
        [WORKER_ARCHITECTURE_FD] = request->inputs[FILES_ARCHITECTURE],
        [WORKER_REFERENCE_FD] = request->inputs[FILES_REFERENCE],
    };
    build_arguments(request, &arguments);
    child->status = status[0];
    int result = fork_server_send(child->server, arguments.list, fds + WORKER_INPUT_FD, err);
    (void)close(status[1]);
    return result;
}

/* The next run is of this process too, unless it has had its share, or something has gone wrong: whoever makes a run crash has
 * learnt nothing about the next. */
static void tidy_up(const struct child *child, bool started)
{
    if (!started || child->result->end != CHILD_REPORTED || child->server->runs >= child->request->config->worker_runs)
        fork_server_stop(child->server);
}

static int run_in(struct fork_server *server, const struct child_request *request, struct child_result *ret,
                  struct h5pt_error *err)
{
    struct child_result result = {.end = CHILD_CRASHED};
    struct child child = {.request = request, .server = server, .result = &result, .status = -1, .line = STRBUF_INIT};
    const int64_t begun = text_clock_us();
    int status = start(&child, err);
    if (!status) {
        watch(&child);
        if (child.end.error) {
            errno = child.end.error;
            status = h5pt_fail_errno(err, H5PT_INTERNAL, "worker", "Starting the worker failed");
        }
        judge(&child);
        result.run_us = text_clock_us() - begun;
    }
    tidy_up(&child, status == 0);
    if (status || result.end != CHILD_REPORTED) {
        json_decref(result.last);
        result.last = NULL;
    }
    if (!status)
        *ret = result;
    if (child.status >= 0)
        (void)close(child.status);
    strbuf_release(&child.line);
    return status;
}

int child_run(const struct child_request *request, struct child_result *ret, struct h5pt_error *err)
{
    if (request->server)
        return run_in(request->server, request, ret, err);
    struct fork_server own;
    fork_server_init(&own, request->program);
    int status = run_in(&own, request, ret, err);
    fork_server_stop(&own);
    return status;
}

int child_describe(const char *program, const struct config *config, json_t **ret, struct h5pt_error *err)
{
    struct child_result result;
    enum { DESCRIBE_LIMIT_MS = 60000 }; /* whatever a conversion may take */
    const struct child_request request = {.program = program,
                                          .config = config,
                                          .inputs = {-1, -1, -1},
                                          .output_dir = -1,
                                          .describe = true,
                                          .limit_ms = DESCRIBE_LIMIT_MS,
                                          .stop = -1};
    if (child_run(&request, &result, err))
        return -1;
    if (json_object_get(result.last, "version")) {
        *ret = result.last;
        return 0;
    }
    const char *message = json_string_value(json_object_get(json_object_get(result.last, "error"), "message"));
    h5pt_fail(err, H5PT_NOT_READY, "worker", "%s does not run (signal %d, status %d): %s", program, result.signal,
              result.status, message ? message : result.output);
    json_decref(result.last);
    return -1;
}

int child_identify(const char *program, const json_t *version, char ret[DIGEST_TEXT_SIZE], struct h5pt_error *err)
{
    char bytes[DIGEST_TEXT_SIZE];
    char *libraries = json_dumps(version, JSON_COMPACT | JSON_SORT_KEYS);
    struct digest *digest = digest_new();
    int fd = open(program, O_RDONLY | O_CLOEXEC), result = -1;
    if (!libraries || !digest) {
        (void)h5pt_fail_memory(err);
    } else if (fd < 0) {
        h5pt_fail_errno(err, H5PT_NOT_READY, "worker", "%s cannot be read", program);
    } else if (digest_file(fd, NULL, bytes, err) == 0) {
        digest_add(digest, bytes, sizeof bytes);
        digest_add(digest, libraries, strlen(libraries));
        digest_finish(digest, ret);
        result = 0;
    }
    if (fd >= 0)
        (void)close(fd);
    digest_free(digest);
    free(libraries);
    return result;
}
