/* SPDX-License-Identifier: Apache-2.0 */
/* An open file as a libzip source, for reading and for writing. libzip's own sources write a second file beside the target
 * and rename it; this one touches nothing but the descriptor, at absolute offsets, so that its position does not matter. */
#ifndef H5PT_WRITE_ARCHIVE_FILE_H
#define H5PT_WRITE_ARCHIVE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zip.h>

#include "base/error.h"

struct archive_file {
    int fd; /* borrowed */
    bool writable;
    uint64_t size;         /* of the file, with what is still in the buffer */
    uint64_t read_at;      /* where libzip reads next */
    uint64_t write_at;     /* where libzip writes next */
    unsigned char *buffer; /* owned; NULL when not writable */
    size_t used;           /* bytes in the buffer, which belong at buffer_at */
    uint64_t buffer_at;
    uint64_t started; /* the kernel was told to write back up to here */
    zip_error_t zip_error;
    struct h5pt_error error; /* the first failure, in our terms */
};

/* A file to read. Errors: IO. */
int archive_file_init_read(struct archive_file *file, int fd, struct h5pt_error *err);
/* An empty file to write. Errors: IO, OUT_OF_MEMORY. */
int archive_file_init_write(struct archive_file *file, int fd, struct h5pt_error *err);
void archive_file_release(struct archive_file *file);

/* Opens the archive in the file; `flags` as of zip_open. The file must outlive the archive. NULL on failure, errors: IO,
 * OUT_OF_MEMORY, INTERNAL (not a ZIP archive). */
zip_t *archive_file_open(struct archive_file *file, int flags, struct h5pt_error *err);

/* Turns a failure of libzip into one of ours: that of the file when it is the cause. Returns -1. */
int archive_file_fail(const struct archive_file *file, zip_error_t *error, struct h5pt_error *err);

#endif
