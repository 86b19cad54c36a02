/* SPDX-License-Identifier: Apache-2.0 */
/* Checked arithmetic for sizes that come from a file. Each returns false on overflow and leaves *ret alone. */
#ifndef H5PT_BASE_SIZE_H
#define H5PT_BASE_SIZE_H

#include <stdbool.h>
#include <stdint.h>

static inline bool size_mul(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *ret = r;
    return true;
}

static inline bool size_add(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *ret = r;
    return true;
}

#endif
