/* SPDX-License-Identifier: Apache-2.0 */
/* The records of a ZIP archive whose entries are STORED and written front to back: the CRC and the sizes of an entry stand behind
 * it, in a data descriptor, and in the central directory. ZIP64 where sizes need it, one constant date. Everything is appended to a
 * strbuf. Source: PKWARE APPNOTE 6.3.9. */
#ifndef H5PT_WRITE_ZIP_FORMAT_H
#define H5PT_WRITE_ZIP_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

struct zip_record {
    const char *path; /* UTF-8, of at most 65535 bytes */
    uint64_t header;  /* where its local header is in the file */
    uint64_t payload; /* and where what it holds begins; for whoever writes it, not for the functions below */
    uint64_t size;
    uint32_t crc;
};

/* The local header; with `alignment` > 0 padded by an extra field "FB", as torch does it, so that the payload begins at a multiple. */
void zip_put_local(struct strbuf *out, const struct zip_record *record, size_t alignment);
/* What follows the payload. */
void zip_put_descriptor(struct strbuf *out, const struct zip_record *record);
/* The central directory, which begins at `start`, and the end of the archive. */
void zip_put_directory(struct strbuf *out, const struct zip_record *records, size_t count, uint64_t start);

#endif
