/* SPDX-License-Identifier: Apache-2.0 */
/* The walls around one conversion: limits on resources, no new privileges, Landlock (files) and seccomp (system calls).
 * All of it works without privileges and inside containers. What a wall forbids fails with an error: the conversion is
 * ended by the limits and by the daemon's clock, never by a surprise of a newer C library. */
#ifndef H5PT_WORKER_SANDBOX_H
#define H5PT_WORKER_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum sandbox_mode { SANDBOX_REQUIRE, SANDBOX_PREFER, SANDBOX_OFF };

struct sandbox_limits {
    uint64_t memory;      /* bytes of address space */
    uint64_t cpu_seconds; /* of all threads */
    uint64_t file_size;   /* bytes of one written file */
};

/* What is in force. */
struct sandbox_state {
    bool no_new_privileges;
    int landlock; /* the kernel's ABI, 0: none */
    bool seccomp;
};

/* Before anything is allocated: the limits, no core dumps, first in line when memory runs out. */
int sandbox_limit(const struct sandbox_limits *limits, struct h5pt_error *err);

/* From here on only `input` (a file, read) and `output_dir` (files in it, or -1) can be opened, and no process, thread or
 * socket can be made. With SANDBOX_REQUIRE a wall that the kernel does not offer is NOT_READY. */
int sandbox_enter(enum sandbox_mode mode, int input, int output_dir, struct sandbox_state *ret, struct h5pt_error *err);

#endif
