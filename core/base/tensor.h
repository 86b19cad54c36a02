/* SPDX-License-Identifier: Apache-2.0 */
/* Element types, shapes, and the float tensors that the two executors of the parity check compute with. */
#ifndef H5PT_BASE_TENSOR_H
#define H5PT_BASE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
#define DTYPE(id, bytes, name, storage) DTYPE_##id,
#include "base/dtypes.def"
#undef DTYPE
    DTYPE_COUNT
};

size_t dtype_size(enum dtype dtype);
const char *dtype_name(enum dtype dtype);          /* "float32" */
const char *dtype_short_name(enum dtype dtype);    /* "F32", as safetensors has it */
const char *dtype_torch_storage(enum dtype dtype); /* "FloatStorage"; NULL where torch has none */
bool dtype_from_name(const char *name, enum dtype *ret);
bool dtype_is_float(enum dtype dtype);

enum { SHAPE_MAX_RANK = 8 };
#define DIM_UNKNOWN ((int64_t)-1)

/* Row-major. dims[i] is a size >= 0, or DIM_UNKNOWN (a free batch, height, time …). */
struct shape {
    int rank;
    int64_t dims[SHAPE_MAX_RANK];
};

bool shape_equal(const struct shape *a, const struct shape *b);
bool shape_known(const struct shape *shape); /* no dim is unknown */
/* The number of elements; false when a dim is unknown or the product overflows int64. A scalar has 1. */
bool shape_count(const struct shape *shape, int64_t *ret);
struct shape shape_of(int rank, const int64_t *dims);
/* ret.dims[i] = shape.dims[axes[i]] */
struct shape shape_permute(const struct shape *shape, const int *axes);
bool axes_identity(int rank, const int *axes);
/* "(None, 28, 28, 1)" into text; returns text. */
enum { SHAPE_TEXT_SIZE = 192 };
const char *shape_text(const struct shape *shape, char text[SHAPE_TEXT_SIZE]);

/* A dense row-major tensor of floats. `dtype` says what the values stand for (ids and booleans are held as floats too,
 * exact up to 2^24). */
struct tensor {
    struct shape shape; /* all known */
    enum dtype dtype;
    int64_t count;
    float *data; /* owned */
};

/* An uninitialised tensor, or NULL when the shape is not known, too large (TENSOR_MAX_COUNT) or there is no memory. */
#define TENSOR_MAX_COUNT ((int64_t)1 << 33)
struct tensor *tensor_new(const struct shape *shape, enum dtype dtype);
struct tensor *tensor_copy(const struct tensor *tensor);
struct tensor *tensor_free(struct tensor *tensor); /* NULL-safe; returns NULL */

/* A new tensor with ret axis i = input axis axes[i] (numpy.transpose order), or NULL without memory. */
struct tensor *tensor_transpose(const struct tensor *tensor, const int *axes);

#endif
