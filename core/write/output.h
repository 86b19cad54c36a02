/* SPDX-License-Identifier: Apache-2.0 */
/* A file that is written front to back, buffered, and hashed on the way. The disk starts to work while the rest is being made. */
#ifndef H5PT_WRITE_OUTPUT_H
#define H5PT_WRITE_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "write/digest.h"

struct output {
    int fd;                /* borrowed */
    uint64_t size;         /* written so far, with what is in the buffer */
    unsigned char *buffer; /* owned */
    size_t used;
    uint64_t started;       /* the kernel was told to write back up to here */
    struct digest *digest;  /* owned; of everything written so far */
    struct digest *at_mark; /* owned; as it was at the mark, or NULL */
};

/* Errors: OUT_OF_MEMORY. Release also after a failure. */
int output_init(struct output *out, int fd, struct h5pt_error *err);
void output_release(struct output *out); /* also of a zeroed one */

/* Errors: DISK_FULL, IO. */
int output_write(struct output *out, const void *bytes, size_t size, struct h5pt_error *err);

/* The same for `size` bytes of another file, from `offset` on. Errors: also INTERNAL when that ends early. */
int output_copy(struct output *out, int fd, uint64_t offset, uint64_t size, struct h5pt_error *err);

/* Remembers this place; output_rewind goes back to it, which must be at `size`: what was written since is gone. */
int output_mark(struct output *out, struct h5pt_error *err);
int output_rewind(struct output *out, uint64_t size, struct h5pt_error *err);

/* Brings everything to the file (not to the disk), and tells its size and SHA-256. */
int output_finish(struct output *out, uint64_t *ret_bytes, char ret_sha256[DIGEST_TEXT_SIZE], struct h5pt_error *err);

#endif
