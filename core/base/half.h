/* SPDX-License-Identifier: Apache-2.0 */
/* Floats of 16 bits: float16 (IEEE 754) and bfloat16 (the upper half of a float32). Rounding is to nearest, ties to even; what is
 * too large becomes infinity. */
#ifndef H5PT_BASE_HALF_H
#define H5PT_BASE_HALF_H

#include <stdint.h>

#include "base/tensor.h"

uint16_t half_of(float value);
uint16_t brain_half_of(float value);
float half_value(uint16_t half);
float brain_half_value(uint16_t half);

/* The float that is left of `value` when it is stored as `dtype` (F16 or BF16; any other leaves it alone). */
float half_round(float value, enum dtype dtype);

#endif
