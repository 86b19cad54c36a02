/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/bucket.h"

static const double MINUTE_MS = 60000;

bool bucket_take(struct bucket *bucket, uint64_t limit, int64_t now_ms)
{
    const double back = (double)(now_ms - bucket->at_ms) * (double)limit / MINUTE_MS;
    bucket->used = bucket->used > back ? bucket->used - back : 0;
    bucket->at_ms = now_ms;
    if (bucket->used + 1 > (double)limit)
        return false;
    bucket->used += 1;
    return true;
}

uint64_t bucket_left(const struct bucket *bucket, uint64_t limit)
{
    const double left = (double)limit - bucket->used;
    return left > 0 ? (uint64_t)left : 0; /* the limit may have become smaller */
}

unsigned bucket_wait(const struct bucket *bucket, uint64_t limit, uint64_t tokens)
{
    const double missing = bucket->used + (double)tokens - (double)limit;
    if (missing <= 0)
        return 0;
    const double seconds = missing * MINUTE_MS / 1000 / (double)limit;
    return (unsigned)seconds + 1;
}
