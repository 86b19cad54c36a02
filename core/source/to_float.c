/* SPDX-License-Identifier: Apache-2.0 */
#include "source/to_float.h"

#include <endian.h>
#include <string.h>

#include "base/half.h"

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint16_t load16(const unsigned char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return le16toh(v);
}

static uint32_t load32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static uint64_t load64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

static float from_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return (float)value;
}

/* One loop a dtype, so that the compiler sees the conversion inside. */
#define EACH(size, expression)                                                                                         \
    for (uint64_t i = 0; i < count; i++, p += (size))                                                                  \
        to[i] = (expression);                                                                                          \
    break

void to_float(enum dtype dtype, const void *from, uint64_t count, float *to)
{
    const unsigned char *p = from;
    switch (dtype) {
    case DTYPE_F32: EACH(4, from_bits(load32(p)));
    case DTYPE_F64: EACH(8, from_double(load64(p)));
    case DTYPE_F16: EACH(2, half_value(load16(p)));
    case DTYPE_BF16: EACH(2, brain_half_value(load16(p)));
    case DTYPE_I64: EACH(8, (float)(int64_t)load64(p));
    case DTYPE_I32: EACH(4, (float)(int32_t)load32(p));
    case DTYPE_I16: EACH(2, (float)(int16_t)load16(p));
    case DTYPE_I8: EACH(1, (float)(int8_t)*p);
    case DTYPE_U64: EACH(8, (float)load64(p));
    case DTYPE_U32: EACH(4, (float)load32(p));
    case DTYPE_U16: EACH(2, (float)load16(p));
    case DTYPE_U8:
    case DTYPE_BOOL: EACH(1, (float)*p);
    case DTYPE_COUNT: break;
    }
}
