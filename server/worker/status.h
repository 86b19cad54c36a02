/* SPDX-License-Identifier: Apache-2.0 */
/* What the worker tells the daemon: JSON objects, one a line, on the status pipe.
 *
 *   {"stage": "write", "fraction": 0.5}         now and then
 *   {"verdict": "converted", "report": {…}}     last, or
 *   {"error": {"code", "where", "message"}}     last
 */
#ifndef H5PT_WORKER_STATUS_H
#define H5PT_WORKER_STATUS_H

#include <jansson.h>

#include "base/error.h"
#include "convert.h"

/* The descriptors that the worker is started with; --architecture and --reference tell that the last ones are there. */
enum {
    WORKER_INPUT_FD = 3,
    WORKER_OUTPUT_FD,
    WORKER_STATUS_FD,
    WORKER_ARCHITECTURE_FD,
    WORKER_REFERENCE_FD,
    WORKER_FD_COUNT
};

/* Writes `line` (taken). Ends the process when nobody listens any more. */
void status_send(json_t *line);

void status_send_error(const struct h5pt_error *err);

/* The progress callback of convert_request: a line for each new stage, and not more than ten a second within one. The
 * context is a struct status_progress that starts zeroed. */
struct status_progress {
    bool started;
    enum convert_stage stage;
    double at; /* seconds, of the last line */
};
void status_send_progress(void *progress, enum convert_stage stage, double fraction);

#endif
