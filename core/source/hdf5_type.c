/* SPDX-License-Identifier: Apache-2.0 */
/* Which stored types are accepted. Everything else never reaches HDF5's type conversion. */
#include <string.h>

#include "source/hdf5_file.h"

/* A 2-byte little-endian float: sign, `exponent` bits, `mantissa` bits. */
static hid_t small_float(size_t exponent, size_t mantissa)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (type >= 0 && (H5Tset_fields(type, 15, mantissa, exponent, 0, mantissa) < 0 || H5Tset_size(type, 2) < 0 ||
                      H5Tset_ebias(type, ((size_t)1 << (exponent - 1)) - 1) < 0)) {
        (void)H5Tclose(type);
        return H5I_INVALID_HID;
    }
    return type;
}

/* Whether `type` is `little` (not consumed) in either byte order. */
static bool same_but_order(hid_t type, hid_t little)
{
    if (H5Tequal(type, little) > 0)
        return true;
    hid_t big = H5Tcopy(little);
    bool same = big >= 0 && H5Tset_order(big, H5T_ORDER_BE) >= 0 && H5Tequal(type, big) > 0;
    if (big >= 0)
        (void)H5Tclose(big);
    return same;
}

/* A copy of the little-endian type of `dtype`, or H5I_INVALID_HID for those that are no plain numbers in HDF5. */
static hid_t little_endian(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_F32: return H5Tcopy(H5T_IEEE_F32LE);
    case DTYPE_F64: return H5Tcopy(H5T_IEEE_F64LE);
    case DTYPE_F16: return small_float(5, 10);
    case DTYPE_BF16: return small_float(8, 7);
    case DTYPE_I64: return H5Tcopy(H5T_STD_I64LE);
    case DTYPE_I32: return H5Tcopy(H5T_STD_I32LE);
    case DTYPE_I16: return H5Tcopy(H5T_STD_I16LE);
    case DTYPE_I8: return H5Tcopy(H5T_STD_I8LE);
    case DTYPE_U64: return H5Tcopy(H5T_STD_U64LE);
    case DTYPE_U32: return H5Tcopy(H5T_STD_U32LE);
    case DTYPE_U16: return H5Tcopy(H5T_STD_U16LE);
    case DTYPE_U8: return H5Tcopy(H5T_STD_U8LE);
    case DTYPE_BOOL:
    case DTYPE_COUNT: break;
    }
    return H5I_INVALID_HID;
}

static bool number_dtype(hid_t type, enum dtype *ret, hid_t *ret_memory_type)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        hid_t little = little_endian((enum dtype)i);
        if (little < 0)
            continue;
        if (same_but_order(type, little)) {
            *ret = (enum dtype)i;
            *ret_memory_type = little;
            return true;
        }
        (void)H5Tclose(little);
    }
    return false;
}

static bool has_member(hid_t type, unsigned index, const char *name)
{
    signed char value = -1;
    char *member = H5Tget_member_name(type, index);
    bool same = member && strcmp(member, name) == 0 && H5Tget_member_value(type, index, &value) >= 0 &&
                value == (signed char)index;
    if (member)
        (void)H5free_memory(member);
    return same;
}

/* numpy booleans: a one-byte enumeration FALSE = 0, TRUE = 1. */
static bool is_bool(hid_t type)
{
    return H5Tget_size(type) == 1 && H5Tget_nmembers(type) == 2 && has_member(type, 0, "FALSE") &&
           has_member(type, 1, "TRUE");
}

/* bfloat16 of ml_dtypes: two opaque bytes without a tag. */
static bool is_opaque_bfloat16(hid_t type)
{
    char *tag = H5Tget_tag(type);
    bool same = tag && !*tag && H5Tget_size(type) == 2;
    if (tag)
        (void)H5free_memory(tag);
    return same;
}

bool hdf5_dtype(hid_t type, enum dtype *ret, hid_t *ret_memory_type)
{
    enum dtype dtype;
    switch (H5Tget_class(type)) {
    case H5T_INTEGER:
    case H5T_FLOAT: return number_dtype(type, ret, ret_memory_type);
    case H5T_ENUM:
        if (!is_bool(type))
            return false;
        dtype = DTYPE_BOOL;
        break;
    case H5T_OPAQUE:
        if (!is_opaque_bfloat16(type))
            return false;
        dtype = DTYPE_BF16;
        break;
    default: return false;
    }
    hid_t same = H5Tcopy(type); /* bytes as they are */
    if (same < 0)
        return false;
    *ret = dtype;
    *ret_memory_type = same;
    return true;
}
