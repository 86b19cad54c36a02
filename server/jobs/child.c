/* SPDX-License-Identifier: Apache-2.0 */
#include "jobs/child.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
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

struct child {
    const struct child_request *request;
    struct child_result *result;
    pid_t pid;
    int process;        /* pidfd */
    int status, output; /* read ends of its pipes, non-blocking; -1 once at their end */
    struct strbuf line; /* of the status pipe, not yet complete */
    bool killed;
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

/* The strings stay with the request and *ret. posix_spawn takes them as not const, and does not change them. */
static void build_arguments(const struct child_request *request, struct arguments *ret)
{
    const struct config *config = request->config;
    size_t n = 0;
    ret->list[n++] = (char *)request->program;
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

/* Descriptors for the child are first moved out of the way of the numbers that it will see. */
static int move_up(int fd)
{
    enum { ABOVE = 10 };
    return fcntl(fd, F_DUPFD_CLOEXEC, ABOVE);
}

static int spawn_with(const struct child_request *request, const int sources[WORKER_FD_COUNT], pid_t *ret_pid)
{
    struct arguments arguments;
    build_arguments(request, &arguments);
    /* One thread of BLAS for each conversion, from the moment that the library is loaded; nothing else. */
    char *environment[] = {(char *)"OPENBLAS_NUM_THREADS=1", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int error = posix_spawn_file_actions_init(&actions);
    if (error)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (error) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    for (int target = 0; target < WORKER_FD_COUNT && !error; target++)
        if (sources[target] >= 0)
            error = posix_spawn_file_actions_adddup2(&actions, sources[target], target);
    if (!error)
        error = posix_spawn_file_actions_addclosefrom_np(&actions, WORKER_FD_COUNT);
    if (!error)
        error = posix_spawnattr_setflags(&attributes,
                                         POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    if (!error)
        error = posix_spawnattr_setsigmask(&attributes, &none);
    if (!error)
        error = posix_spawnattr_setsigdefault(&attributes, &all);
    if (!error)
        error = posix_spawn(ret_pid, request->program, &actions, &attributes, arguments.list, environment);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Starts the worker with `status` and `output` as the write ends of its pipes. */
static int spawn(const struct child_request *request, int status, int output, pid_t *ret_pid, struct h5pt_error *err)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    const int wanted[WORKER_FD_COUNT] = {
        null,
        null,
        output,
        [WORKER_INPUT_FD] = request->inputs[FILES_MODEL],
        [WORKER_OUTPUT_FD] = request->output_dir,
        [WORKER_STATUS_FD] = status,
        [WORKER_ARCHITECTURE_FD] = request->inputs[FILES_ARCHITECTURE],
        [WORKER_REFERENCE_FD] = request->inputs[FILES_REFERENCE],
    };
    int sources[WORKER_FD_COUNT];
    bool moved = null >= 0;
    for (int i = 0; i < WORKER_FD_COUNT; i++) {
        sources[i] = wanted[i] < 0 ? -1 : move_up(wanted[i]);
        moved = moved && (wanted[i] < 0 || sources[i] >= 0);
    }
    int error = moved ? spawn_with(request, sources, ret_pid) : errno;
    for (int i = 0; i < WORKER_FD_COUNT; i++)
        if (sources[i] >= 0)
            (void)close(sources[i]);
    if (null >= 0)
        (void)close(null);
    errno = error;
    return error ? h5pt_fail_errno(err, H5PT_INTERNAL, "worker", "Starting the worker failed") : 0;
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
    (void)pidfd_send_signal(child->process, SIGKILL, NULL, 0);
}

/* Reads what there is; closes a pipe that is at its end. */
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
        strbuf_add_bytes(&child->line, chunk, (size_t)n);
        if (!strbuf_ok(&child->line) || child->line.length > STATUS_LINE_MAX) {
            end(child, CHILD_CRASHED);
            (void)close(child->status);
            child->status = -1;
            return;
        }
        take_lines(child, (size_t)n);
    }
}

static void read_output(struct child *child)
{
    char chunk[1024];
    ssize_t n;
    while (child->output >= 0 && (n = read(child->output, chunk, sizeof chunk)) != -1) {
        if (n == 0) {
            (void)close(child->output);
            child->output = -1;
            return;
        }
        size_t have = strlen(child->result->output), room = sizeof child->result->output - 1 - have;
        size_t take = (size_t)n < room ? (size_t)n : room;
        memcpy(child->result->output + have, chunk, take);
        child->result->output[have + take] = '\0';
    }
}

/* Serves the pipes until the process has ended. */
static void watch(struct child *child)
{
    const struct child_request *request = child->request;
    const int64_t limit = request->limit_ms ? request->limit_ms : (int64_t)request->config->wall_time;
    const int64_t deadline = text_clock_ms() + limit;
    for (;;) {
        struct pollfd polls[] = {
            {.fd = child->process, .events = POLLIN},
            {.fd = child->status, .events = POLLIN},
            {.fd = child->output, .events = POLLIN},
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
        if (ready > 0 && polls[0].revents)
            return;
    }
}

static void judge(struct child *child, int ended)
{
    struct child_result *result = child->result;
    if (WIFEXITED(ended))
        result->status = WEXITSTATUS(ended);
    else
        result->signal = WTERMSIG(ended);
    if (child->killed)
        return;
    if (result->signal == SIGXCPU)
        result->end = CHILD_TIMEOUT;
    else if (result->signal || result->status || !result->last)
        result->end = CHILD_CRASHED;
    else
        result->end = CHILD_REPORTED;
}

static int make_pipe(int ret[2], struct h5pt_error *err)
{
    if (pipe2(ret, O_CLOEXEC))
        return h5pt_fail_errno(err, H5PT_INTERNAL, "worker", "Making a pipe failed");
    (void)fcntl(ret[0], F_SETFL, O_NONBLOCK);
    return 0;
}

static int start(struct child *child, struct h5pt_error *err)
{
    int status[2], output[2];
    if (make_pipe(status, err))
        return -1;
    if (make_pipe(output, err)) {
        (void)close(status[0]);
        (void)close(status[1]);
        return -1;
    }
    child->status = status[0];
    child->output = output[0];
    int result = spawn(child->request, status[1], output[1], &child->pid, err);
    (void)close(status[1]);
    (void)close(output[1]);
    if (result)
        return -1;
    child->process = pidfd_open(child->pid, 0);
    if (child->process >= 0)
        return 0;
    h5pt_fail_errno(err, H5PT_INTERNAL, "worker", "Watching the worker failed");
    (void)kill(child->pid, SIGKILL);
    (void)waitpid(child->pid, NULL, 0);
    return -1;
}

int child_run(const struct child_request *request, struct child_result *ret, struct h5pt_error *err)
{
    struct child_result result = {.end = CHILD_CRASHED};
    struct child child = {
        .request = request, .result = &result, .process = -1, .status = -1, .output = -1, .line = STRBUF_INIT};
    const int64_t begun = text_clock_us();
    int started = start(&child, err);
    if (!started) {
        int ended = 0;
        struct rusage usage = {0};
        watch(&child);
        while (wait4(child.pid, &ended, 0, &usage) < 0 && errno == EINTR)
            ;
        judge(&child, ended);
        result.run_us = text_clock_us() - begun;
        result.peak_bytes = (int64_t)usage.ru_maxrss * 1024;
        if (result.end != CHILD_REPORTED) {
            json_decref(result.last);
            result.last = NULL;
        }
        *ret = result;
    }
    const int fds[] = {child.status, child.output, child.process};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    strbuf_release(&child.line);
    return started;
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
