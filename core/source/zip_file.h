/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of a ZIP archive (.keras), read from a file descriptor. What is stored is read where it stands, so that the HDF5
 * inside an archive needs no copy; what is deflated is inflated into memory. Nothing is trusted: sizes are those of the
 * central directory, checked against the file, the local header, the limits and, at the end, the CRC.
 * Source: PKWARE APPNOTE 6.3.9, with the 64-bit extensions; encryption, splitting and other methods are refused. */
#ifndef H5PT_SOURCE_ZIP_FILE_H
#define H5PT_SOURCE_ZIP_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "source/bytes.h"
#include "source/source.h"

struct zip_entry {
    const char *name; /* as stored, NUL-terminated; a name with a NUL inside is refused */
    bool deflated;    /* else stored */
    uint32_t crc;
    uint64_t packed, size; /* bytes in the file, and unpacked */
    uint64_t header;       /* where its local header stands */
};

struct zip_directory {
    size_t count;
    struct zip_entry *entries; /* in the arena */
};

bool zip_is_archive(const struct source_bytes *bytes);

/* Reads the central directory. Errors: ARCHIVE_CORRUPT, H5_LIMIT_EXCEEDED, UNSUPPORTED_FORMAT, IO, OUT_OF_MEMORY. */
int zip_directory_read(const struct source_bytes *bytes, const struct source_limits *limits, struct arena *arena,
                       struct zip_directory *ret, struct h5pt_error *err);

/* The entry with this name, or NULL. */
const struct zip_entry *zip_find(const struct zip_directory *directory, const char *name);

/* The unpacked bytes of an entry: a part of the file when it is stored, else memory (*ret_memory, owned by the caller;
 * NULL when nothing was allocated) of at most `most` bytes. The CRC has been checked. */
int zip_entry_open(const struct source_bytes *bytes, const struct zip_entry *entry, const struct source_limits *limits,
                   uint64_t most, struct source_bytes *ret, unsigned char **ret_memory, struct h5pt_error *err);

#endif
