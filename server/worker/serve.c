/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/serve.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void close_passed(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        (void)close(fds[i]);
}

/* The descriptors of a message; their number. */
static size_t take_fds(struct msghdr *message, int ret[WORKER_PASSED_FDS])
{
    const struct cmsghdr *control = CMSG_FIRSTHDR(message);
    if (!control || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
        return 0;
    const size_t bytes = control->cmsg_len - CMSG_LEN(0);
    memcpy(ret, CMSG_DATA(control), bytes);
    return bytes / sizeof *ret;
}

/* The kernel gives the lowest free numbers, which are those that the run is to see. */
static bool are_in_place(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fds[i] != WORKER_INPUT_FD + (int)i)
            return false;
    return count == WORKER_PASSED_FDS;
}

static bool split(const char *program, size_t length, struct worker_run *run)
{
    run->argc = 0;
    run->argv[run->argc++] = (char *)program;
    for (char *at = run->text; at < run->text + length; at += strlen(at) + 1) {
        if (run->argc == WORKER_ARGUMENTS_MAX)
            return false;
        run->argv[run->argc++] = at;
    }
    run->argv[run->argc] = NULL;
    return length && run->text[length - 1] == '\0';
}

/* Waits for a request. 0 with its descriptors in their places; else the errno of what is wrong, or -1: there is no one any more. */
static int receive(const char *program, struct worker_run *run)
{
    union worker_control control;
    struct iovec text = {.iov_base = run->text, .iov_len = sizeof run->text};
    struct msghdr message = {
        .msg_iov = &text, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t length;
    do
        length = recvmsg(WORKER_SOCKET_FD, &message, 0);
    while (length < 0 && errno == EINTR);
    if (length <= 0)
        return -1;
    int fds[WORKER_PASSED_FDS];
    const size_t count = take_fds(&message, fds);
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || !are_in_place(fds, count) ||
        !split(program, (size_t)length, run)) {
        close_passed(fds, count);
        return EBADMSG;
    }
    return 0;
}

static void close_run(void)
{
    for (int fd = WORKER_INPUT_FD; fd < WORKER_FD_COUNT; fd++)
        (void)close(fd);
}

/* In the process of a run: it goes with the server, and cannot speak for it. */
static void part_from(pid_t server)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != server)
        _exit(1);
    (void)close(WORKER_SOCKET_FD);
}

bool worker_serve(const char *program, struct worker_run *ret)
{
    const pid_t server = getpid();
    for (int error; (error = receive(program, ret)) >= 0;) {
        struct worker_end end = {.error = error};
        if (!error) {
            const pid_t process = fork();
            if (process == 0) {
                part_from(server);
                return true;
            }
            end.error = process < 0 ? errno : 0;
            close_run();
            if (process > 0)
                end = worker_end_wait(process);
        }
        if (send(WORKER_SOCKET_FD, &end, sizeof end, 0) != sizeof end)
            break;
    }
    return false;
}
