/* SPDX-License-Identifier: Apache-2.0 */
#include "base/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    size_t size;
    const char *name;
    const char *storage;
} dtypes[DTYPE_COUNT] = {
#define DTYPE(id, bytes, name, storage) [DTYPE_##id] = {bytes, name, storage},
#include "base/dtypes.def"
#undef DTYPE
};

size_t dtype_size(enum dtype dtype)
{
    return dtypes[dtype].size;
}

const char *dtype_name(enum dtype dtype)
{
    return dtypes[dtype].name;
}

const char *dtype_short_name(enum dtype dtype)
{
    static const char *const names[] = {
#define DTYPE(id, bytes, name, storage) #id,
#include "base/dtypes.def"
#undef DTYPE
    };
    return names[dtype];
}

const char *dtype_torch_storage(enum dtype dtype)
{
    return dtypes[dtype].storage;
}

bool dtype_from_name(const char *name, enum dtype *ret)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            *ret = (enum dtype)i;
            return true;
        }
    }
    return false;
}

bool dtype_is_float(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F64 || dtype == DTYPE_F16 || dtype == DTYPE_BF16;
}

bool shape_equal(const struct shape *a, const struct shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i])
            return false;
    return true;
}

bool shape_known(const struct shape *shape)
{
    for (int i = 0; i < shape->rank; i++)
        if (shape->dims[i] < 0)
            return false;
    return true;
}

bool shape_count(const struct shape *shape, int64_t *ret)
{
    int64_t count = 1;
    for (int i = 0; i < shape->rank; i++)
        if (shape->dims[i] < 0 || __builtin_mul_overflow(count, shape->dims[i], &count))
            return false;
    *ret = count;
    return true;
}

struct shape shape_of(int rank, const int64_t *dims)
{
    struct shape s = {.rank = rank};
    for (int i = 0; i < rank; i++)
        s.dims[i] = dims[i];
    return s;
}

struct shape shape_permute(const struct shape *shape, const int *axes)
{
    struct shape s = {.rank = shape->rank};
    for (int i = 0; i < shape->rank; i++)
        s.dims[i] = shape->dims[axes[i]];
    return s;
}

bool axes_identity(int rank, const int *axes)
{
    for (int i = 0; i < rank; i++)
        if (axes[i] != i)
            return false;
    return true;
}

const char *shape_text(const struct shape *shape, char text[SHAPE_TEXT_SIZE])
{
    size_t n = 0;
    text[n++] = '(';
    for (int i = 0; i < shape->rank; i++) {
        const char *sep = i + 1 < shape->rank ? ", " : shape->rank == 1 ? "," : "";
        int w = shape->dims[i] < 0 ? snprintf(text + n, SHAPE_TEXT_SIZE - n, "None%s", sep)
                                   : snprintf(text + n, SHAPE_TEXT_SIZE - n, "%lld%s", (long long)shape->dims[i], sep);
        n += (size_t)w;
    }
    (void)snprintf(text + n, SHAPE_TEXT_SIZE - n, ")");
    return text;
}

struct tensor *tensor_new(const struct shape *shape, enum dtype dtype)
{
    int64_t count;
    if (!shape_count(shape, &count) || count > TENSOR_MAX_COUNT)
        return NULL;
    struct tensor *t = malloc(sizeof *t);
    if (!t)
        return NULL;
    *t = (struct tensor){.shape = *shape, .dtype = dtype, .count = count};
    t->data = malloc(count ? (size_t)count * sizeof(float) : sizeof(float));
    if (!t->data) {
        free(t);
        return NULL;
    }
    return t;
}

struct tensor *tensor_copy(const struct tensor *tensor)
{
    struct tensor *t = tensor_new(&tensor->shape, tensor->dtype);
    if (t)
        memcpy(t->data, tensor->data, (size_t)tensor->count * sizeof(float));
    return t;
}

struct tensor *tensor_free(struct tensor *tensor)
{
    if (tensor) {
        free(tensor->data);
        free(tensor);
    }
    return NULL;
}

/* Copies the sub-array below `axis`; the innermost loop runs over the last output axis. */
static void copy_axis(const struct tensor *in, const struct shape *out, const int64_t *strides, int axis,
                      int64_t offset, float **to)
{
    if (axis == out->rank) {
        *(*to)++ = in->data[offset];
        return;
    }
    int64_t n = out->dims[axis], stride = strides[axis];
    if (axis == out->rank - 1) {
        float *p = *to;
        const float *from = in->data + offset;
        for (int64_t i = 0; i < n; i++)
            p[i] = from[i * stride];
        *to += n;
        return;
    }
    for (int64_t i = 0; i < n; i++)
        copy_axis(in, out, strides, axis + 1, offset + i * stride, to);
}

struct tensor *tensor_transpose(const struct tensor *tensor, const int *axes)
{
    struct shape shape = shape_permute(&tensor->shape, axes);
    struct tensor *t = tensor_new(&shape, tensor->dtype);
    if (!t)
        return NULL;
    int64_t strides[SHAPE_MAX_RANK], in_strides[SHAPE_MAX_RANK], stride = 1;
    for (int i = shape.rank - 1; i >= 0; i--) {
        in_strides[i] = stride;
        stride *= tensor->shape.dims[i];
    }
    for (int i = 0; i < shape.rank; i++)
        strides[i] = in_strides[axes[i]];
    float *to = t->data;
    if (t->count)
        copy_axis(tensor, &shape, strides, 0, 0, &to);
    return t;
}
