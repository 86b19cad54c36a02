/* SPDX-License-Identifier: Apache-2.0 */
/* The worker is loaded once and then waits; each conversion runs in a fork of it, which reads no more than one file. Loading
 * the libraries takes longer than a small conversion.
 *
 * On the socket (SOCK_SEQPACKET) comes one request at a time: the arguments of a run, each with its NUL, and with them its
 * descriptors from WORKER_INPUT_FD on, all of them; /dev/null stands for those that there are not. The answer is a struct
 * worker_end, when the process of the run has ended. When the daemon's end of the socket is closed, or the thread of the
 * daemon that has started the worker ends, the worker does, and what it runs. */
#ifndef H5PT_WORKER_SERVE_H
#define H5PT_WORKER_SERVE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "worker/status.h"

enum {
    WORKER_SOCKET_FD = WORKER_FD_COUNT,
    WORKER_PASSED_FDS = WORKER_FD_COUNT - WORKER_INPUT_FD,
    WORKER_REQUEST_SIZE = 4096,
    WORKER_ARGUMENTS_MAX = 64,
};

/* What goes with a request: its descriptors. */
union worker_control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * WORKER_PASSED_FDS)];
};

struct worker_end {
    int error;  /* errno: the run could not be started; 0: it was */
    int status; /* as wait() has it */
    int64_t peak_bytes;
};

/* Waits for the end of a child. */
static inline struct worker_end worker_end_wait(pid_t child)
{
    struct worker_end end = {0};
    struct rusage usage = {0};
    while (wait4(child, &end.status, 0, &usage) < 0 && errno == EINTR)
        ;
    end.peak_bytes = (int64_t)usage.ru_maxrss * 1024;
    return end;
}

/* What a run is to do. */
struct worker_run {
    char text[WORKER_REQUEST_SIZE];
    int argc;
    char *argv[WORKER_ARGUMENTS_MAX + 1]; /* in `text`, from argv[1] on; argv[argc] is NULL */
};

/* Answers requests until there are none any more: false. In the process of a run: true, with what it is to do and its descriptors in their
 * places. */
bool worker_serve(const char *program, struct worker_run *ret);

#endif
