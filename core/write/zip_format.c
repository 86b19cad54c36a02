/* SPDX-License-Identifier: Apache-2.0 */
#include "write/zip_format.h"

#include <stdbool.h>
#include <string.h>

static const uint32_t local_signature = 0x04034b50, descriptor_signature = 0x08074b50, central_signature = 0x02014b50,
                      end_signature_64 = 0x06064b50, locator_signature = 0x07064b50, end_signature = 0x06054b50;

enum {
    LOCAL_HEADER = 30, /* without name and extra fields */
    ZIP64_FIELD = 20,  /* in a local header: id, length, both sizes */
    ZIP64_ID = 1,
    PADDING_HEADER = 4, /* id and length of the field "FB" */
    PADDING_ID = 0x4246,
    FLAGS = 0x0808, /* UTF-8 names, data descriptors */
    VERSION = 20,
    VERSION_ZIP64 = 45,
    DOS_TIME = 0,
    DOS_DATE = 0x21,  /* 1980-01-01, the first that there is */
    END_64_REST = 44, /* of the 64-bit end record, behind its length */
};

/* Appends a little-endian number of `size` bytes. */
static void put(struct strbuf *out, uint64_t value, unsigned size)
{
    unsigned char bytes[8];
    for (unsigned i = 0; i < size; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
    strbuf_add_bytes(out, bytes, size);
}

static uint64_t narrow(uint64_t value)
{
    return value < UINT32_MAX ? value : UINT32_MAX;
}

void zip_put_local(struct strbuf *out, const struct zip_record *record, size_t alignment)
{
    bool large = record->size >= UINT32_MAX;
    size_t name = strlen(record->path),
           fixed = LOCAL_HEADER + name + (large ? ZIP64_FIELD : 0) + (alignment ? PADDING_HEADER : 0);
    size_t pad = alignment ? (alignment - (record->header + fixed) % alignment) % alignment : 0;
    put(out, local_signature, 4);
    put(out, large ? VERSION_ZIP64 : VERSION, 2);
    put(out, FLAGS, 2);
    put(out, 0, 2); /* stored */
    put(out, DOS_TIME, 2);
    put(out, DOS_DATE, 2);
    put(out, 0, 4); /* the CRC and the sizes come behind */
    put(out, large ? UINT32_MAX : 0, 4);
    put(out, large ? UINT32_MAX : 0, 4);
    put(out, name, 2);
    put(out, fixed - LOCAL_HEADER - name + pad, 2);
    strbuf_add(out, record->path);
    if (large) {
        put(out, ZIP64_ID, 2);
        put(out, ZIP64_FIELD - 4, 2);
        put(out, 0, 8);
        put(out, 0, 8);
    }
    if (alignment) {
        put(out, PADDING_ID, 2);
        put(out, pad, 2);
    }
    for (size_t i = 0; i < pad; i++)
        strbuf_add(out, "Z");
}

void zip_put_descriptor(struct strbuf *out, const struct zip_record *record)
{
    unsigned width = record->size >= UINT32_MAX ? 8 : 4;
    put(out, descriptor_signature, 4);
    put(out, record->crc, 4);
    put(out, record->size, width);
    put(out, record->size, width);
}

static void put_entry(struct strbuf *out, const struct zip_record *record)
{
    bool large = record->size >= UINT32_MAX, far = record->header >= UINT32_MAX;
    unsigned extra = (large ? 16u : 0u) + (far ? 8u : 0u);
    put(out, central_signature, 4);
    put(out, extra ? VERSION_ZIP64 : VERSION, 2);
    put(out, extra ? VERSION_ZIP64 : VERSION, 2);
    put(out, FLAGS, 2);
    put(out, 0, 2);
    put(out, DOS_TIME, 2);
    put(out, DOS_DATE, 2);
    put(out, record->crc, 4);
    put(out, narrow(record->size), 4);
    put(out, narrow(record->size), 4);
    put(out, strlen(record->path), 2);
    put(out, extra ? extra + 4 : 0, 2);
    put(out, 0, 2); /* comment */
    put(out, 0, 2); /* disk */
    put(out, 0, 2);
    put(out, 0, 4);
    put(out, narrow(record->header), 4);
    strbuf_add(out, record->path);
    if (extra) {
        put(out, ZIP64_ID, 2);
        put(out, extra, 2);
    }
    for (int i = 0; large && i < 2; i++)
        put(out, record->size, 8);
    if (far)
        put(out, record->header, 8);
}

static void put_end(struct strbuf *out, uint64_t start, uint64_t size, uint64_t count)
{
    if (start >= UINT32_MAX || size >= UINT32_MAX || count >= UINT16_MAX) {
        put(out, end_signature_64, 4);
        put(out, END_64_REST, 8);
        put(out, VERSION_ZIP64, 2);
        put(out, VERSION_ZIP64, 2);
        put(out, 0, 4);
        put(out, 0, 4);
        put(out, count, 8);
        put(out, count, 8);
        put(out, size, 8);
        put(out, start, 8);
        put(out, locator_signature, 4);
        put(out, 0, 4);
        put(out, start + size, 8);
        put(out, 1, 4);
    }
    uint64_t short_count = count < UINT16_MAX ? count : UINT16_MAX;
    put(out, end_signature, 4);
    put(out, 0, 2);
    put(out, 0, 2);
    put(out, short_count, 2);
    put(out, short_count, 2);
    put(out, narrow(size), 4);
    put(out, narrow(start), 4);
    put(out, 0, 2);
}

void zip_put_directory(struct strbuf *out, const struct zip_record *records, size_t count, uint64_t start)
{
    size_t before = out->length;
    for (size_t i = 0; i < count; i++)
        put_entry(out, &records[i]);
    put_end(out, start, out->length - before, count);
}
