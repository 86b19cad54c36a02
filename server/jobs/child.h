/* SPDX-License-Identifier: Apache-2.0 */
/* One run of h5pt-worker: in a process with nothing but its descriptors, watched, and ended when it takes too long. */
#ifndef H5PT_JOBS_CHILD_H
#define H5PT_JOBS_CHILD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config.h"
#include "jobs/fork_server.h"
#include "jobs/record.h"
#include "store/files.h"
#include "write/digest.h"

struct child_request {
    const char *program;                      /* started for this run, when there is no server */
    struct fork_server *server;               /* of the calling thread; NULL: none */
    const struct config *config;              /* limits and sandbox */
    int inputs[FILES_PART_COUNT], output_dir; /* borrowed; -1: none */
    const struct job_options *options;
    bool dry_run, describe;
    int64_t limit_ms; /* wall-clock; 0: as configured */
    int stop;         /* an eventfd; readable: end the worker now */
    /* Called for each {"stage", "fraction"} of the worker. May be NULL. */
    void (*progress)(void *context, const char *stage, double fraction);
    void *context;
};

enum child_end {
    CHILD_REPORTED, /* `last` is what it said last: a verdict, an error or a description */
    CHILD_CRASHED,  /* it ended without saying so */
    CHILD_TIMEOUT,  /* wall-clock or CPU time is used up */
    CHILD_STOPPED,  /* as asked for by `stop` */
};

struct child_result {
    enum child_end end;
    json_t *last;       /* owned by the caller; NULL unless CHILD_REPORTED */
    int signal, status; /* how the process ended: by this signal (0: none), with this exit status */
    int64_t run_us;     /* from its start to its end */
    int64_t peak_bytes; /* of memory */
    char output[1024];  /* the beginning of what it wrote to standard error */
};

/* Runs the worker to its end. -1 when it could not be started. */
int child_run(const struct child_request *request, struct child_result *ret, struct h5pt_error *err);

/* Runs the worker once, to learn what it and this kernel can do: {"version", "capabilities", "sandbox"}, owned by the
 * caller. */
int child_describe(const char *program, const struct config *config, json_t **ret, struct h5pt_error *err);

/* A digest that tells this worker from any other: of its program, and of the libraries that it runs with (`version` of its
 * description). */
int child_identify(const char *program, const json_t *version, char ret[DIGEST_TEXT_SIZE], struct h5pt_error *err);

/* The path of h5pt-worker: as configured, else beside this program, else in ../libexec/h5pt. Owned by the caller; NULL
 * with NOT_READY when there is none. */
char *child_find_program(const char *configured, struct h5pt_error *err);

#endif
