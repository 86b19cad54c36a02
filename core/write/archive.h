/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the ZIP container that PyTorch reads: every record is "archive/<name>", STORED, its payload at a multiple of 64
 * bytes (padded by an extra field "FB" in the local header, as torch does), ZIP64 where sizes need it, and one constant date, so
 * that the same records give the same bytes. As in torch's own files the CRC and the sizes of a record stand behind it (a data
 * descriptor) and in the central directory: everything is written once, front to back, and hashed on the way.
 *
 *     archive_new → archive_add_bytes, archive_add_stream … → archive_finish → archive_free
 *
 * After archive_finish the file can be read, and more records can be added: they take the place of the central directory, and
 * archive_finish is called again. */
#ifndef H5PT_WRITE_ARCHIVE_H
#define H5PT_WRITE_ARCHIVE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "write/digest.h"

struct archive;

enum {
    ARCHIVE_ALIGNMENT = 64,  /* of each payload in the file */
    ARCHIVE_PIECE = 8 << 20, /* the most that a stream is asked for at once */
};

/* Gives the next bytes of a record: at least one and at most `capacity` of them into `buffer` (aligned to 64 bytes);
 * *ret_size is how many. */
typedef int archive_read_fn(void *context, void *buffer, size_t capacity, size_t *ret_size, struct h5pt_error *err);

/* `fd` is an empty file, open for reading and writing; borrowed, must stay open. *ret is owned by the caller. */
int archive_new(int fd, struct archive **ret, struct h5pt_error *err);
void archive_free(struct archive *archive); /* NULL-safe */

/* Writes a record. Errors: DISK_FULL, IO, OUT_OF_MEMORY, LIMIT_EXCEEDED (a size that the format cannot hold). After a failure
 * nothing more can be written. */
int archive_add_bytes(struct archive *archive, const char *name, const void *bytes, size_t size,
                      struct h5pt_error *err);

/* The same for a record of exactly `size` bytes that `read` gives. Errors: those of the stream, and INTERNAL when it has another
 * size. */
int archive_add_stream(struct archive *archive, const char *name, uint64_t size, archive_read_fn *read, void *context,
                       struct h5pt_error *err);

/* Where the payload of a record lies in a file. */
struct archive_payload {
    int fd; /* borrowed */
    uint64_t offset, size;
    uint32_t crc;
};

/* That of the index-th record that was written; the archive is finished. */
struct archive_payload archive_payload(const struct archive *archive, size_t index);

/* Writes a record with the payload of one of another archive. Its CRC is taken over: if the bytes have changed since they were
 * written there, whoever reads the record is told. Errors: as of archive_add_bytes. */
int archive_add_copy(struct archive *archive, const char *name, const struct archive_payload *payload,
                     struct h5pt_error *err);

/* Completes the file, and tells its size and SHA-256. The caller syncs it. Errors: DISK_FULL, IO, OUT_OF_MEMORY. */
int archive_finish(struct archive *archive, uint64_t *ret_bytes, char ret_sha256[DIGEST_TEXT_SIZE],
                   struct h5pt_error *err);

#endif
