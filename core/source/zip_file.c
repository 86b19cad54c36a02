/* SPDX-License-Identifier: Apache-2.0 */
#include "source/zip_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/size.h"

enum {
    LOCAL_HEADER = 30,
    CENTRAL_HEADER = 46,
    END_RECORD = 22,
    END_LOCATOR_64 = 20,
    END_RECORD_64 = 56,
    MAX_COMMENT = 65535,
    PIECE = 1 << 18,
};

static const uint32_t local_signature = 0x04034b50, central_signature = 0x02014b50, end_signature = 0x06054b50,
                      locator_signature = 0x07064b50, end_signature_64 = 0x06064b50;

static uint64_t load(const unsigned char *bytes, unsigned size)
{
    uint64_t value = 0;
    while (size--)
        value = value << 8 | bytes[size];
    return value;
}

static int corrupt(struct h5pt_error *err, const char *where, const char *what)
{
    return h5pt_fail(err, H5PT_ARCHIVE_CORRUPT, where, "The archive is damaged: %s", what);
}

/* After a read failed: the system's reason, or that the bytes are not there. */
static int unreadable(const struct source_bytes *bytes, const char *where, const char *what, struct h5pt_error *err)
{
    if (!*bytes->read_errno)
        return corrupt(err, where, what);
    errno = *bytes->read_errno;
    return h5pt_fail_errno(err, H5PT_IO, where, "The archive cannot be read");
}

bool zip_is_archive(const struct source_bytes *bytes)
{
    unsigned char head[4];
    return source_bytes_read(bytes, 0, sizeof head, head) && load(head, 4) == local_signature;
}

/* Where the central directory is. */
struct extent {
    uint64_t offset, size, count;
};

static int read_end_64(const struct source_bytes *bytes, uint64_t end, struct extent *ret, struct h5pt_error *err)
{
    static const char what[] = "its 64-bit end record is not there";
    unsigned char locator[END_LOCATOR_64], record[END_RECORD_64];
    if (end < sizeof locator || !source_bytes_read(bytes, end - sizeof locator, sizeof locator, locator) ||
        load(locator, 4) != locator_signature ||
        !source_bytes_read(bytes, load(locator + 8, 8), sizeof record, record) || load(record, 4) != end_signature_64)
        return unreadable(bytes, NULL, what, err);
    *ret = (struct extent){.count = load(record + 32, 8), .size = load(record + 40, 8), .offset = load(record + 48, 8)};
    return 0;
}

/* The end record is the last thing in the file but for a comment. */
static int find_directory(const struct source_bytes *bytes, struct extent *ret, struct h5pt_error *err)
{
    static const char what[] = "it ends without a central directory";
    uint64_t most = END_RECORD + MAX_COMMENT, length = bytes->size < most ? bytes->size : most;
    if (length < END_RECORD)
        return corrupt(err, NULL, what);
    unsigned char *tail = malloc(length);
    if (!tail)
        return h5pt_fail_memory(err);
    int status = -1;
    if (!source_bytes_read(bytes, bytes->size - length, length, tail)) {
        (void)unreadable(bytes, NULL, what, err);
        goto out;
    }
    uint64_t at = length - END_RECORD + 1;
    while (at-- > 0)
        if (load(tail + at, 4) == end_signature && load(tail + at + 20, 2) == length - END_RECORD - at)
            break;
    if (at == UINT64_MAX) {
        (void)corrupt(err, NULL, what);
        goto out;
    }
    const unsigned char *record = tail + at;
    *ret = (struct extent){.count = load(record + 10, 2), .size = load(record + 12, 4), .offset = load(record + 16, 4)};
    if (load(record + 4, 2) || load(record + 6, 2))
        (void)h5pt_fail(err, H5PT_UNSUPPORTED_FORMAT, NULL, "The archive is split over several files");
    else if (ret->count == UINT16_MAX || ret->size == UINT32_MAX || ret->offset == UINT32_MAX)
        status = read_end_64(bytes, bytes->size - length + at, ret, err);
    else
        status = 0;
out:
    free(tail);
    return status;
}

/* Sizes and offsets that do not fit into 32 bits stand in an extra field, in this order. */
static bool widen(const unsigned char *extra, size_t length, uint64_t *const values[3])
{
    bool wanted = false;
    for (int i = 0; i < 3; i++)
        wanted |= *values[i] == UINT32_MAX;
    while (wanted && length >= 4) {
        size_t size = (size_t)load(extra + 2, 2), at = 4;
        if (size > length - 4)
            return false;
        if (load(extra, 2) == 1) {
            for (int i = 0; i < 3; i++) {
                if (*values[i] != UINT32_MAX)
                    continue;
                if (at + 8 > 4 + size)
                    return false;
                *values[i] = load(extra + at, 8);
                at += 8;
            }
            return true;
        }
        extra += 4 + size;
        length -= 4 + size;
    }
    return !wanted;
}

/* One header of the central directory, of which `left` bytes are there; *ret_length is how long it is. */
static int read_entry(const unsigned char *p, uint64_t left, uint64_t file_size, struct arena *arena,
                      struct zip_entry *ret, uint64_t *ret_length, struct h5pt_error *err)
{
    static const char what[] = "its central directory is not consistent";
    if (left < CENTRAL_HEADER || load(p, 4) != central_signature)
        return corrupt(err, NULL, what);
    size_t name = (size_t)load(p + 28, 2), extra = (size_t)load(p + 30, 2), comment = (size_t)load(p + 32, 2);
    *ret_length = CENTRAL_HEADER + name + extra + comment;
    if (*ret_length > left || memchr(p + CENTRAL_HEADER, 0, name))
        return corrupt(err, NULL, what);
    *ret = (struct zip_entry){
        .name = arena_printf(arena, "%.*s", (int)name, (const char *)p + CENTRAL_HEADER),
        .deflated = load(p + 10, 2) == 8,
        .crc = (uint32_t)load(p + 16, 4),
        .packed = load(p + 20, 4),
        .size = load(p + 24, 4),
        .header = load(p + 42, 4),
    };
    if (!ret->name)
        return h5pt_fail_memory(err);
    if (!widen(p + CENTRAL_HEADER + name, extra, (uint64_t *const[]){&ret->size, &ret->packed, &ret->header}))
        return corrupt(err, ret->name, what);
    if (load(p + 8, 2) & 1)
        return h5pt_fail(err, H5PT_UNSUPPORTED_FORMAT, ret->name, "The archive is encrypted");
    if (!ret->deflated && load(p + 10, 2) != 0)
        return h5pt_fail(err, H5PT_UNSUPPORTED_FORMAT, ret->name,
                         "The archive is compressed with a method other than deflate");
    if (ret->header > file_size || ret->packed > file_size - ret->header ||
        (!ret->deflated && ret->packed != ret->size))
        return corrupt(err, ret->name, "an entry reaches beyond it");
    return 0;
}

static int read_entries(const unsigned char *directory, const struct extent *extent, uint64_t file_size,
                        struct arena *arena, struct zip_directory *ret, struct h5pt_error *err)
{
    uint64_t at = 0;
    ret->count = 0;
    ret->entries = ARENA_ARRAY(arena, struct zip_entry, (size_t)extent->count + 1);
    if (!ret->entries)
        return h5pt_fail_memory(err);
    while (ret->count < extent->count) {
        struct zip_entry *entry = &ret->entries[ret->count];
        uint64_t length = 0;
        if (read_entry(directory + at, extent->size - at, file_size, arena, entry, &length, err) < 0)
            return -1;
        if (zip_find(ret, entry->name))
            return corrupt(err, entry->name, "two entries have this name");
        at += length;
        ret->count++;
    }
    return 0;
}

int zip_directory_read(const struct source_bytes *bytes, const struct source_limits *limits, struct arena *arena,
                       struct zip_directory *ret, struct h5pt_error *err)
{
    struct extent extent = {0};
    if (find_directory(bytes, &extent, err) < 0)
        return -1;
    if (extent.count > limits->entries || extent.size > limits->config_bytes)
        return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, NULL, "The archive has more than %u entries, or too long names",
                         limits->entries);
    unsigned char *directory = malloc((size_t)extent.size + 1);
    if (!directory)
        return h5pt_fail_memory(err);
    int status = source_bytes_read(bytes, extent.offset, extent.size, directory)
                     ? read_entries(directory, &extent, bytes->size, arena, ret, err)
                     : unreadable(bytes, NULL, "its central directory is cut", err);
    free(directory);
    return status;
}

const struct zip_entry *zip_find(const struct zip_directory *directory, const char *name)
{
    for (size_t i = 0; i < directory->count; i++)
        if (strcmp(directory->entries[i].name, name) == 0)
            return &directory->entries[i];
    return NULL;
}

/* The packed bytes of an entry, behind its local header, whose own sizes may be missing and are not looked at. */
static int locate(const struct source_bytes *bytes, const struct zip_entry *entry, struct source_bytes *ret,
                  struct h5pt_error *err)
{
    unsigned char header[LOCAL_HEADER];
    uint64_t start;
    if (!source_bytes_read(bytes, entry->header, sizeof header, header) || load(header, 4) != local_signature)
        return unreadable(bytes, entry->name, "an entry has no header", err);
    start = entry->header + LOCAL_HEADER + load(header + 26, 2) + load(header + 28, 2);
    if (start > bytes->size || entry->packed > bytes->size - start)
        return corrupt(err, entry->name, "an entry reaches beyond it");
    *ret = *bytes;
    ret->start += start;
    ret->size = entry->packed;
    return 0;
}

static int check_crc(const struct source_bytes *packed, const struct zip_entry *entry, struct h5pt_error *err)
{
    unsigned char *piece = malloc(PIECE);
    uLong crc = crc32(0, NULL, 0);
    int status = piece ? 0 : h5pt_fail_memory(err);
    for (uint64_t at = 0; at < packed->size && status == 0;) {
        uint64_t n = packed->size - at < PIECE ? packed->size - at : PIECE;
        if (!source_bytes_read(packed, at, n, piece))
            status = unreadable(packed, entry->name, "an entry is cut", err);
        else
            crc = crc32(crc, piece, (uInt)n);
        at += n;
    }
    free(piece);
    return status == 0 && crc != entry->crc ? corrupt(err, entry->name, "the checksum of an entry is wrong") : status;
}

/* Feeds the packed bytes to zlib until the entry is full; one byte more than it declares is an error. */
static int inflate_into(z_stream *stream, const struct source_bytes *packed, const struct zip_entry *entry,
                        unsigned char *piece, unsigned char *memory, struct h5pt_error *err)
{
    uint64_t at = 0, made = 0;
    int state = Z_OK;
    while (state != Z_STREAM_END) {
        if (stream->avail_in == 0 && at < packed->size) {
            uint64_t n = packed->size - at < PIECE ? packed->size - at : PIECE;
            if (!source_bytes_read(packed, at, n, piece))
                return unreadable(packed, entry->name, "an entry is cut", err);
            stream->next_in = piece;
            stream->avail_in = (uInt)n;
            at += n;
        }
        uint64_t room = entry->size + 1 - made;
        stream->next_out = memory + made;
        stream->avail_out = room < PIECE ? (uInt)room : PIECE;
        uInt before = stream->avail_out;
        state = inflate(stream, Z_NO_FLUSH);
        made += before - stream->avail_out;
        if ((state != Z_OK && state != Z_STREAM_END) || made > entry->size)
            return corrupt(err, entry->name, "an entry cannot be inflated to the size that it declares");
    }
    if (made != entry->size || crc32_z(crc32(0, NULL, 0), memory, made) != entry->crc)
        return corrupt(err, entry->name, "the checksum of an entry is wrong");
    return 0;
}

static int inflate_entry(const struct source_bytes *packed, const struct zip_entry *entry, unsigned char *memory,
                         struct h5pt_error *err)
{
    z_stream stream = {.zalloc = NULL};
    unsigned char *piece = malloc(PIECE);
    if (!piece || inflateInit2(&stream, -MAX_WBITS) != Z_OK) {
        free(piece);
        return h5pt_fail_memory(err);
    }
    int status = inflate_into(&stream, packed, entry, piece, memory, err);
    (void)inflateEnd(&stream);
    free(piece);
    return status;
}

static int check_size(const struct zip_entry *entry, const struct source_limits *limits, uint64_t most,
                      struct h5pt_error *err)
{
    if (entry->deflated && entry->size > most)
        return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, entry->name,
                         "The entry is compressed and declares %llu bytes; at most %llu are unpacked. Store it without "
                         "compression, as Keras does",
                         (unsigned long long)entry->size, (unsigned long long)most);
    if (entry->deflated && entry->size / limits->expansion > entry->packed)
        return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, entry->name,
                         "The entry declares %llu bytes, but is stored in %llu", (unsigned long long)entry->size,
                         (unsigned long long)entry->packed);
    return 0;
}

int zip_entry_open(const struct source_bytes *bytes, const struct zip_entry *entry, const struct source_limits *limits,
                   uint64_t most, struct source_bytes *ret, unsigned char **ret_memory, struct h5pt_error *err)
{
    struct source_bytes packed;
    if (check_size(entry, limits, most, err) < 0 || locate(bytes, entry, &packed, err) < 0)
        return -1;
    if (!entry->deflated) {
        if (check_crc(&packed, entry, err) < 0)
            return -1;
        *ret = packed;
        *ret_memory = NULL;
        return 0;
    }
    unsigned char *memory = malloc((size_t)entry->size + 1);
    if (!memory)
        return h5pt_fail_memory(err);
    if (inflate_entry(&packed, entry, memory, err) < 0) {
        free(memory);
        return -1;
    }
    *ret = (struct source_bytes){.fd = -1, .memory = memory, .size = entry->size, .read_errno = bytes->read_errno};
    *ret_memory = memory;
    return 0;
}
