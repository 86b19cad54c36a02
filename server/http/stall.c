/* SPDX-License-Identifier: Apache-2.0 */
#include "http/stall.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "text.h"

struct stall_watch {
    int64_t timeout_ms;
    void (*stalled)(void *context);
    pthread_t thread;
    pthread_mutex_t lock; /* of all that follows, and of every struct stall */
    pthread_cond_t changed;
    LIST_HEAD(, stall) uploads;
    bool stopping;
};

/* With the lock held: tells those that have stalled. When the next one may, or -1. */
static int64_t look(struct stall_watch *watch)
{
    const int64_t now = text_clock_ms();
    int64_t next_look = -1;
    struct stall *stall, *next;
    for (stall = LIST_FIRST(&watch->uploads); stall; stall = next) {
        next = LIST_NEXT(stall, links);
        const int64_t deadline = stall->moved_ms + watch->timeout_ms;
        if (deadline <= now) {
            LIST_REMOVE(stall, links);
            stall->watched = false;
            stall->stalled = true;
            watch->stalled(stall->context);
        } else if (next_look < 0 || deadline < next_look) {
            next_look = deadline;
        }
    }
    return next_look;
}

static void *run(void *context)
{
    struct stall_watch *watch = context;
    (void)pthread_mutex_lock(&watch->lock);
    while (!watch->stopping) {
        const int64_t next_look = look(watch);
        const struct timespec until = {.tv_sec = next_look / 1000, .tv_nsec = next_look % 1000 * 1000000};
        if (next_look < 0)
            (void)pthread_cond_wait(&watch->changed, &watch->lock);
        else
            (void)pthread_cond_timedwait(&watch->changed, &watch->lock, &until);
    }
    (void)pthread_mutex_unlock(&watch->lock);
    return NULL;
}

int stall_watch_start(int64_t timeout_ms, void (*stalled)(void *context), struct stall_watch **ret,
                      struct h5pt_error *err)
{
    struct stall_watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return h5pt_fail_memory(err);
    watch->timeout_ms = timeout_ms;
    watch->stalled = stalled;
    LIST_INIT(&watch->uploads);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&watch->lock, NULL);
    (void)pthread_cond_init(&watch->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    errno = pthread_create(&watch->thread, NULL, run, watch);
    if (errno) {
        (void)pthread_cond_destroy(&watch->changed);
        (void)pthread_mutex_destroy(&watch->lock);
        free(watch);
        return h5pt_fail_errno(err, H5PT_INTERNAL, "threads", "Starting a thread failed");
    }
    *ret = watch;
    return 0;
}

void stall_watch_stop(struct stall_watch *watch)
{
    if (!watch)
        return;
    (void)pthread_mutex_lock(&watch->lock);
    watch->stopping = true;
    (void)pthread_cond_signal(&watch->changed);
    (void)pthread_mutex_unlock(&watch->lock);
    (void)pthread_join(watch->thread, NULL);
    (void)pthread_cond_destroy(&watch->changed);
    (void)pthread_mutex_destroy(&watch->lock);
    free(watch);
}

void stall_begin(struct stall_watch *watch, struct stall *stall, void *context)
{
    (void)pthread_mutex_lock(&watch->lock);
    stall->context = context;
    stall->watched = true;
    stall->bytes = 0;
    stall->moved_ms = text_clock_ms();
    /* All have the same timeout: the thread has something earlier to wait for, unless this is the only one. */
    if (LIST_EMPTY(&watch->uploads))
        (void)pthread_cond_signal(&watch->changed);
    LIST_INSERT_HEAD(&watch->uploads, stall, links);
    (void)pthread_mutex_unlock(&watch->lock);
}

void stall_move(struct stall_watch *watch, struct stall *stall, uint64_t bytes)
{
    (void)pthread_mutex_lock(&watch->lock);
    stall->bytes += bytes;
    if (stall->bytes >= STALL_MIN_BYTES) {
        stall->bytes = 0;
        stall->moved_ms = text_clock_ms();
    }
    (void)pthread_mutex_unlock(&watch->lock);
}

bool stall_end(struct stall_watch *watch, struct stall *stall)
{
    (void)pthread_mutex_lock(&watch->lock);
    if (stall->watched)
        LIST_REMOVE(stall, links);
    stall->watched = false;
    const bool stalled = stall->stalled;
    (void)pthread_mutex_unlock(&watch->lock);
    return stalled;
}
