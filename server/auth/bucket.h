/* SPDX-License-Identifier: Apache-2.0 */
/* A token bucket: so many requests a minute, which may come at once. */
#ifndef H5PT_AUTH_BUCKET_H
#define H5PT_AUTH_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket {
    double used;   /* tokens that are not back yet, 0…limit */
    int64_t at_ms; /* when that was so (text_clock_ms) */
};

/* Takes a token of `limit` per minute. False when there is none. */
bool bucket_take(struct bucket *bucket, uint64_t limit, int64_t now_ms);
uint64_t bucket_left(const struct bucket *bucket, uint64_t limit);
/* Whole seconds from the last bucket_take until `tokens` of them are there. */
unsigned bucket_wait(const struct bucket *bucket, uint64_t limit, uint64_t tokens);

#endif
