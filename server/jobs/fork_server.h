/* SPDX-License-Identifier: Apache-2.0 */
/* A process of h5pt-worker that waits for runs (worker/serve.h). It belongs to one thread, with which it ends, and does one run
 * at a time. */
#ifndef H5PT_JOBS_FORK_SERVER_H
#define H5PT_JOBS_FORK_SERVER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "worker/serve.h"

struct fork_server {
    const char *program; /* borrowed */
    pid_t pid;           /* 0: there is no process */
    int socket;          /* readable: the run has ended, or the process; -1: none */
    int output;          /* what it and its runs write to standard error, non-blocking; -1: none */
    uint64_t runs;       /* that the process was given */
};

void fork_server_init(struct fork_server *server, const char *program);

/* Has the process run something; starts it when there is none, or it has died. `arguments` ends with NULL; a descriptor of -1: none. */
int fork_server_send(struct fork_server *server, char *const arguments[], const int fds[WORKER_PASSED_FDS],
                     struct h5pt_error *err);

/* After fork_server_send, when `socket` is readable: how the run has ended. When the process has, that is how, and what it ran is being killed. */
struct worker_end fork_server_take(struct fork_server *server);

/* Kills the process, and with it what it runs. */
void fork_server_kill(const struct fork_server *server);

/* Ends the process, if there is one. */
void fork_server_stop(struct fork_server *server);

#endif
