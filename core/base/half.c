/* SPDX-License-Identifier: Apache-2.0 */
#include "base/half.h"

#include <math.h>
#include <string.h>

uint16_t brain_half_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value)
        return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t half_of(float value)
{
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    float size = fabsf(value);
    if (value != value)
        return 0x7e00;
    if (size >= 65520.0f)
        return sign | 0x7c00;
    int exponent = 0;
    (void)frexpf(size, &exponent); /* size < 2^exponent */
    int unit = exponent < -13 || size == 0 ? -24
                                           : exponent - 11; /* power of two of the last bit: 11 bits, or subnormal */
    uint32_t steps = (uint32_t)nearbyintf(ldexpf(size, -unit));
    /* 1024 … 2048 steps; the hidden bit carries into the exponent. */
    return (uint16_t)(sign | (unit == -24 ? steps : ((uint32_t)(unit + 24) << 10) + steps));
}

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float half_value(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, mantissa = half & 0x3ff;
    if (exponent == 31) /* infinity, NaN */
        return from_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) { /* zero, subnormal: mantissa x 2^-24, which is exact */
        float value = (float)mantissa * 0x1p-24F;
        return sign ? -value : value;
    }
    return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

float brain_half_value(uint16_t half)
{
    return from_bits((uint32_t)half << 16);
}

float half_round(float value, enum dtype dtype)
{
    return dtype == DTYPE_F16    ? half_value(half_of(value))
           : dtype == DTYPE_BF16 ? brain_half_value(brain_half_of(value))
                                 : value;
}
