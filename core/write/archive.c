/* SPDX-License-Identifier: Apache-2.0 */
/* Source: PKWARE APPNOTE 6.3.9; PyTorch caffe2/serialize/inline_container.cc. */
#include "write/archive.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/arena.h"
#include "base/size.h"
#include "base/strbuf.h"
#include "write/output.h"

#define ARCHIVE_ROOT "archive/"

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

struct entry {
    const char *path;
    uint64_t header, size;
    uint32_t crc;
};

struct archive {
    struct output out; /* its end is that of the last record while `finished` is false */
    struct arena *arena;
    struct entry *entries; /* owned */
    size_t count, capacity;
    unsigned char *piece; /* owned; ARCHIVE_PIECE bytes for streams */
    uint64_t records_end; /* where the central directory begins, once finished */
    bool finished;
};

int archive_new(int fd, struct archive **ret, struct h5pt_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return h5pt_fail_errno(err, H5PT_IO, NULL, "The archive cannot be examined");
    if (st.st_size != 0)
        return h5pt_fail(err, H5PT_INTERNAL, NULL, "The archive must be written to an empty file");
    struct archive *archive = calloc(1, sizeof *archive);
    if (!archive)
        return h5pt_fail_memory(err);
    archive->arena = arena_new();
    archive->piece = aligned_alloc(ARCHIVE_ALIGNMENT, ARCHIVE_PIECE);
    if (output_init(&archive->out, fd, err) < 0 || !archive->arena || !archive->piece) {
        archive_free(archive);
        return h5pt_fail_memory(err);
    }
    *ret = archive;
    return 0;
}

void archive_free(struct archive *archive)
{
    if (!archive)
        return;
    output_release(&archive->out);
    arena_free(archive->arena);
    free(archive->entries);
    free(archive->piece);
    free(archive);
}

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

static int write_header(struct archive *archive, const struct strbuf *header, struct h5pt_error *err)
{
    return strbuf_ok(header) ? output_write(&archive->out, header->text, header->length, err) : h5pt_fail_memory(err);
}

/* ---- records ---- */

static struct entry *new_entry(struct archive *archive, const char *name, struct h5pt_error *err)
{
    if (archive->count == archive->capacity) {
        size_t capacity = archive->capacity ? 2 * archive->capacity : 64;
        struct entry *grown = reallocarray(archive->entries, capacity, sizeof *grown);
        if (!grown) {
            (void)h5pt_fail_memory(err);
            return NULL;
        }
        archive->entries = grown;
        archive->capacity = capacity;
    }
    struct entry *entry = &archive->entries[archive->count];
    *entry = (struct entry){.path = arena_printf(archive->arena, ARCHIVE_ROOT "%s", name)};
    if (!entry->path)
        (void)h5pt_fail_memory(err);
    return entry->path ? entry : NULL;
}

static int begin(struct archive *archive, const struct entry *entry, struct h5pt_error *err)
{
    static const char
        padding[ARCHIVE_ALIGNMENT + 1] = "ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ";
    bool large = entry->size >= UINT32_MAX;
    size_t name = strlen(entry->path), fixed = LOCAL_HEADER + name + (large ? ZIP64_FIELD : 0) + PADDING_HEADER;
    size_t pad = (ARCHIVE_ALIGNMENT - (entry->header + fixed) % ARCHIVE_ALIGNMENT) % ARCHIVE_ALIGNMENT;
    struct strbuf h = STRBUF_INIT;
    put(&h, local_signature, 4);
    put(&h, large ? VERSION_ZIP64 : VERSION, 2);
    put(&h, FLAGS, 2);
    put(&h, 0, 2); /* stored */
    put(&h, DOS_TIME, 2);
    put(&h, DOS_DATE, 2);
    put(&h, 0, 4); /* the CRC and the sizes come behind */
    put(&h, large ? UINT32_MAX : 0, 4);
    put(&h, large ? UINT32_MAX : 0, 4);
    put(&h, name, 2);
    put(&h, fixed - LOCAL_HEADER - name + pad, 2);
    strbuf_add(&h, entry->path);
    if (large) {
        put(&h, ZIP64_ID, 2);
        put(&h, ZIP64_FIELD - 4, 2);
        put(&h, 0, 8);
        put(&h, 0, 8);
    }
    put(&h, PADDING_ID, 2);
    put(&h, pad, 2);
    strbuf_add_bytes(&h, padding, pad);
    int status = write_header(archive, &h, err);
    strbuf_release(&h);
    return status;
}

static int end(struct archive *archive, const struct entry *entry, struct h5pt_error *err)
{
    unsigned width = entry->size >= UINT32_MAX ? 8 : 4;
    struct strbuf h = STRBUF_INIT;
    put(&h, descriptor_signature, 4);
    put(&h, entry->crc, 4);
    put(&h, entry->size, width);
    put(&h, entry->size, width);
    int status = write_header(archive, &h, err);
    strbuf_release(&h);
    if (status == 0)
        archive->count++;
    return status;
}

/* Begins a record at the end, in place of the central directory when there is one. */
static struct entry *open_record(struct archive *archive, const char *name, uint64_t size, struct h5pt_error *err)
{
    uint64_t last;
    if (!size_add(archive->out.size, size, &last) || last > INT64_MAX / 2 || strlen(name) > UINT16_MAX / 2) {
        (void)h5pt_fail(err, H5PT_LIMIT_EXCEEDED, name, "The archive would be too large");
        return NULL;
    }
    if (archive->finished && output_rewind(&archive->out, archive->records_end, err) < 0)
        return NULL;
    archive->finished = false;
    struct entry *entry = new_entry(archive, name, err);
    if (!entry)
        return NULL;
    entry->header = archive->out.size;
    entry->size = size;
    return begin(archive, entry, err) < 0 ? NULL : entry;
}

static int add_piece(struct archive *archive, struct entry *entry, const void *bytes, size_t size,
                     struct h5pt_error *err)
{
    entry->crc = (uint32_t)crc32_z(entry->crc, bytes, size);
    return output_write(&archive->out, bytes, size, err);
}

int archive_add_bytes(struct archive *archive, const char *name, const void *bytes, size_t size, struct h5pt_error *err)
{
    struct entry *entry = open_record(archive, name, size, err);
    if (!entry || (size && add_piece(archive, entry, bytes, size, err) < 0))
        return -1;
    return end(archive, entry, err);
}

int archive_add_stream(struct archive *archive, const char *name, uint64_t size, archive_read_fn *read, void *context,
                       struct h5pt_error *err)
{
    struct entry *entry = open_record(archive, name, size, err);
    if (!entry)
        return -1;
    for (uint64_t left = size; left > 0;) {
        size_t want = left < ARCHIVE_PIECE ? (size_t)left : ARCHIVE_PIECE, got = 0;
        if (read(context, archive->piece, want, &got, err) < 0)
            return -1;
        if (got == 0 || got > want)
            return h5pt_fail(err, H5PT_INTERNAL, name, "A record of the archive has not the announced size");
        if (add_piece(archive, entry, archive->piece, got, err) < 0)
            return -1;
        left -= got;
    }
    return end(archive, entry, err);
}

/* ---- the central directory ---- */

static void put_entry(struct strbuf *out, const struct entry *entry)
{
    bool large = entry->size >= UINT32_MAX, far = entry->header >= UINT32_MAX;
    unsigned extra = (large ? 16u : 0u) + (far ? 8u : 0u);
    put(out, central_signature, 4);
    put(out, extra ? VERSION_ZIP64 : VERSION, 2);
    put(out, extra ? VERSION_ZIP64 : VERSION, 2);
    put(out, FLAGS, 2);
    put(out, 0, 2);
    put(out, DOS_TIME, 2);
    put(out, DOS_DATE, 2);
    put(out, entry->crc, 4);
    put(out, narrow(entry->size), 4);
    put(out, narrow(entry->size), 4);
    put(out, strlen(entry->path), 2);
    put(out, extra ? extra + 4 : 0, 2);
    put(out, 0, 2); /* comment */
    put(out, 0, 2); /* disk */
    put(out, 0, 2);
    put(out, 0, 4);
    put(out, narrow(entry->header), 4);
    strbuf_add(out, entry->path);
    if (extra) {
        put(out, ZIP64_ID, 2);
        put(out, extra, 2);
    }
    for (int i = 0; large && i < 2; i++)
        put(out, entry->size, 8);
    if (far)
        put(out, entry->header, 8);
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

int archive_finish(struct archive *archive, uint64_t *ret_bytes, char ret_sha256[DIGEST_TEXT_SIZE],
                   struct h5pt_error *err)
{
    struct strbuf directory = STRBUF_INIT;
    if (archive->finished && output_rewind(&archive->out, archive->records_end, err) < 0)
        return -1;
    archive->records_end = archive->out.size;
    if (output_mark(&archive->out, err) < 0)
        return -1;
    for (size_t i = 0; i < archive->count; i++)
        put_entry(&directory, &archive->entries[i]);
    put_end(&directory, archive->records_end, directory.length, archive->count);
    int status = write_header(archive, &directory, err);
    strbuf_release(&directory);
    if (status < 0)
        return -1;
    archive->finished = true;
    return output_finish(&archive->out, ret_bytes, ret_sha256, err);
}
