/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that can be read at any place: a file, a part of one, or memory. */
#ifndef H5PT_SOURCE_BYTES_H
#define H5PT_SOURCE_BYTES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct source_bytes {
    int fd;                      /* borrowed */
    uint64_t start;              /* where they begin in the file */
    const unsigned char *memory; /* when they are in memory instead; borrowed */
    uint64_t size;
    int *read_errno; /* borrowed; of the last read that the system refused, else 0 */
};

/* Reads exactly `size` bytes; false when they are not all there, or the system refuses. */
bool source_bytes_read(const struct source_bytes *bytes, uint64_t address, uint64_t size, void *buffer);

/* The whole regular file behind `fd`. Errors: IO. */
int source_bytes_of_file(int fd, int *read_errno, struct source_bytes *ret, struct h5pt_error *err);

#endif
