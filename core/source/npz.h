/* SPDX-License-Identifier: Apache-2.0 */
/* An .npz file as numpy.savez writes it: a ZIP archive of arrays, each an .npy file. Nothing in it is trusted: sizes are checked
 * against the entry before anything is allocated, and objects (pickles), strings and records are not read.
 * Source: numpy/lib/format.py, versions 1 to 3. */
#ifndef H5PT_SOURCE_NPZ_H
#define H5PT_SOURCE_NPZ_H

#include <stddef.h>

#include "base/error.h"
#include "base/tensor.h"
#include "source/source.h"

struct npz;

/* Opens the archive behind `fd` (a regular file; borrowed, must stay open). `limits` NULL: the default ones. On success *ret is
 * owned by the caller. Errors: REFERENCE_INVALID when it is no archive or a damaged one; those of zip_directory_read. */
int npz_open(int fd, const struct source_limits *limits, struct npz **ret, struct h5pt_error *err);
void npz_close(struct npz *npz); /* NULL-safe */

/* The names of the arrays, without ".npy", in the order of the archive. They live as long as the npz. */
size_t npz_count(const struct npz *npz);
const char *npz_name(const struct npz *npz, size_t index);

/* One array as floats in row-major order, whatever its element type, byte order and order of axes; *ret is owned by the caller.
 * tensor->dtype is the stored type. Errors: REFERENCE_INVALID, H5_LIMIT_EXCEEDED, OUT_OF_MEMORY, IO. */
int npz_read(const struct npz *npz, size_t index, struct tensor **ret, struct h5pt_error *err);

#endif
