/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads, and headers, that do not go on. libmicrohttpd closes a silent connection without a word, and never one in which a byte
 * comes now and then; here a thread of its own sees both, and lets a request say why. Safe from any thread. */
#ifndef H5PT_HTTP_STALL_H
#define H5PT_HTTP_STALL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/error.h"

/* An upload in which less than this moves within the timeout has stalled, so that a byte a second does not hold it open. */
enum { STALL_MIN_BYTES = 1024 };

/* An upload that is watched; starts zeroed. */
struct stall {
    LIST_ENTRY(stall) links;
    bool watched, stalled;
    uint64_t bytes;   /* since moved_ms */
    int64_t moved_ms; /* text_clock_ms() */
    void *context;    /* of the callback */
};

struct stall_watch;

/* Calls `stalled` once for an upload that has, from the thread; meanwhile stall_end waits. */
int stall_watch_start(int64_t timeout_ms, void (*stalled)(void *context), struct stall_watch **ret,
                      struct h5pt_error *err);
void stall_watch_stop(struct stall_watch *watch); /* NULL-safe; nothing may be watched any more */

void stall_begin(struct stall_watch *watch, struct stall *stall, void *context);
void stall_move(struct stall_watch *watch, struct stall *stall, uint64_t bytes);
/* Ends the watching. True when the upload has stalled: the connection must not be written to. */
bool stall_end(struct stall_watch *watch, struct stall *stall);

#endif
