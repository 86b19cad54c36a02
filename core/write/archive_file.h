/* SPDX-License-Identifier: Apache-2.0 */
/* An open file as a libzip source for reading: it touches nothing but the descriptor, at absolute offsets, so that its position
 * does not matter. What is written is read back with another's code than ours. */
#ifndef H5PT_WRITE_ARCHIVE_FILE_H
#define H5PT_WRITE_ARCHIVE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zip.h>

#include "base/error.h"

struct archive_file {
    int fd;           /* borrowed */
    uint64_t size;    /* of the file */
    uint64_t read_at; /* where libzip reads next */
    zip_error_t zip_error;
    struct h5pt_error error; /* the first failure, in our terms */
};

/* Errors: IO. */
int archive_file_init(struct archive_file *file, int fd, struct h5pt_error *err);
void archive_file_release(struct archive_file *file);

/* Opens the archive in the file; `flags` as of zip_open. The file must outlive the archive. NULL on failure, errors: IO,
 * OUT_OF_MEMORY, INTERNAL (not a ZIP archive). */
zip_t *archive_file_open(struct archive_file *file, int flags, struct h5pt_error *err);

/* Turns a failure of libzip into one of ours: that of the file when it is the cause. Returns -1. */
int archive_file_fail(const struct archive_file *file, zip_error_t *error, struct h5pt_error *err);

#endif
