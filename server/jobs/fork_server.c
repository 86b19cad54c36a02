/* SPDX-License-Identifier: Apache-2.0 */
#include "jobs/fork_server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <unistd.h>

void fork_server_init(struct fork_server *server, const char *program)
{
    *server = (struct fork_server){.program = program, .socket = -1, .output = -1};
}

/* What the process sees: nothing but these. */
static int add_actions(posix_spawn_file_actions_t *actions, int socket, int output)
{
    int error = 0;
    for (int fd = STDIN_FILENO; fd <= STDOUT_FILENO && !error; fd++)
        error = posix_spawn_file_actions_addopen(actions, fd, "/dev/null", O_RDWR, 0);
    if (!error)
        error = posix_spawn_file_actions_adddup2(actions, output, STDERR_FILENO);
    if (!error)
        error = posix_spawn_file_actions_adddup2(actions, socket, WORKER_SOCKET_FD);
    for (int fd = STDERR_FILENO + 1; fd < WORKER_SOCKET_FD && !error; fd++)
        error = posix_spawn_file_actions_addclose(actions, fd);
    return error ? error : posix_spawn_file_actions_addclosefrom_np(actions, WORKER_SOCKET_FD + 1);
}

static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int error = posix_spawnattr_setflags(attributes,
                                         POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    if (!error)
        error = posix_spawnattr_setsigmask(attributes, &none);
    return error ? error : posix_spawnattr_setsigdefault(attributes, &all);
}

/* Starts the program with these ends of a socket and a pipe, which are above all the numbers that it sees. */
static int spawn(const char *program, int socket, int output, pid_t *ret)
{
    /* One thread of BLAS, from the moment that the library is loaded; all symbols found before the first run; no file that
     * tells the time zone. Nothing of the daemon's own environment. */
    char *environment[] = {(char *)"OPENBLAS_NUM_THREADS=1", (char *)"LD_BIND_NOW=1", (char *)"TZ=UTC0", NULL};
    char *arguments[] = {(char *)program, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (!error) {
        error = add_actions(&actions, socket, output);
        if (!error)
            error = set_attributes(&attributes);
        if (!error)
            error = posix_spawn(ret, program, &actions, &attributes, arguments, environment);
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return error;
}

static void close_pair(const int pair[2])
{
    for (int i = 0; i < 2; i++)
        if (pair[i] >= 0)
            (void)close(pair[i]);
}

/* Descriptors for the process are moved out of the way of the numbers that it will see. */
static int move_up(int *fd)
{
    const int moved = fcntl(*fd, F_DUPFD_CLOEXEC, WORKER_SOCKET_FD + 1);
    if (moved < 0)
        return -1;
    (void)close(*fd);
    *fd = moved;
    return 0;
}

static int start(struct fork_server *server, struct h5pt_error *err)
{
    int sockets[2] = {-1, -1}, output[2] = {-1, -1}, error = 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) || pipe2(output, O_CLOEXEC) ||
        fcntl(output[0], F_SETFL, O_NONBLOCK) || move_up(&sockets[1]) || move_up(&output[1]))
        error = errno;
    else
        error = spawn(server->program, sockets[1], output[1], &server->pid);
    if (error) {
        close_pair(sockets);
        close_pair(output);
        errno = error;
        return h5pt_fail_errno(err, H5PT_INTERNAL, "worker", "Starting the worker failed");
    }
    (void)close(sockets[1]);
    (void)close(output[1]);
    server->socket = sockets[0];
    server->output = output[0];
    server->runs = 0;
    return 0;
}

/* The arguments, each with its NUL; their length, or 0 when there is no room for them. */
static size_t join(char *const arguments[], char ret[WORKER_REQUEST_SIZE])
{
    size_t length = 0;
    for (size_t i = 0; arguments[i]; i++) {
        const size_t size = strlen(arguments[i]) + 1;
        if (size > WORKER_REQUEST_SIZE - length)
            return 0;
        memcpy(ret + length, arguments[i], size);
        length += size;
    }
    return length;
}

static int send_run(const struct fork_server *server, const char *text, size_t length, const int fds[WORKER_PASSED_FDS])
{
    union worker_control control = {0};
    struct iovec part = {.iov_base = (char *)text, .iov_len = length};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * WORKER_PASSED_FDS);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * WORKER_PASSED_FDS);
    return sendmsg(server->socket, &message, MSG_NOSIGNAL) == (ssize_t)length ? 0 : -1;
}

static int send_or_start(struct fork_server *server, const char *text, size_t length, const int fds[WORKER_PASSED_FDS],
                         struct h5pt_error *err)
{
    if (server->pid && send_run(server, text, length, fds) == 0)
        return 0;
    fork_server_stop(server); /* it has died while it waited */
    if (start(server, err))
        return -1;
    /* When the new one has died already, the caller is to learn how. */
    if (send_run(server, text, length, fds) == 0 || errno == EPIPE)
        return 0;
    h5pt_fail_errno(err, H5PT_INTERNAL, "worker", "Asking the worker failed");
    fork_server_stop(server);
    return -1;
}

int fork_server_send(struct fork_server *server, char *const arguments[], const int fds[WORKER_PASSED_FDS],
                     struct h5pt_error *err)
{
    char text[WORKER_REQUEST_SIZE];
    int all[WORKER_PASSED_FDS];
    const size_t length = join(arguments, text);
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return h5pt_fail_errno(err, H5PT_INTERNAL, "worker", "Opening /dev/null failed");
    for (int i = 0; i < WORKER_PASSED_FDS; i++)
        all[i] = fds[i] >= 0 ? fds[i] : null;
    const int result = length ? send_or_start(server, text, length, all, err)
                              : h5pt_fail(err, H5PT_INTERNAL, "worker", "The arguments of the worker are too long");
    (void)close(null);
    if (!result)
        server->runs++;
    return result;
}

struct worker_end fork_server_take(struct fork_server *server)
{
    struct worker_end end;
    ssize_t length;
    do
        length = recv(server->socket, &end, sizeof end, 0);
    while (length < 0 && errno == EINTR);
    if (length == sizeof end)
        return end;
    fork_server_kill(server); /* it ends, or has at least let go of the socket */
    end = worker_end_wait(server->pid);
    server->pid = 0;
    return end;
}

void fork_server_kill(const struct fork_server *server)
{
    if (server->pid)
        (void)kill(server->pid, SIGKILL);
}

void fork_server_stop(struct fork_server *server)
{
    if (server->pid) {
        fork_server_kill(server);
        (void)worker_end_wait(server->pid);
    }
    const int fds[] = {server->socket, server->output};
    close_pair(fds);
    fork_server_init(server, server->program);
}
