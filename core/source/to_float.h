/* SPDX-License-Identifier: Apache-2.0 */
/* Elements as they come from a file, turned into floats. */
#ifndef H5PT_SOURCE_TO_FLOAT_H
#define H5PT_SOURCE_TO_FLOAT_H

#include <stdint.h>

#include "base/tensor.h"

/* `count` little-endian elements of `dtype` to floats, rounded to nearest. `from` may lie at the end of `to` (its last byte at
 * the last byte of `to`) when an element is not larger than a float: elements are read before they are overwritten. */
void to_float(enum dtype dtype, const void *from, uint64_t count, float *to);

#endif
