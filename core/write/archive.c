/* SPDX-License-Identifier: Apache-2.0 */
/* Source: PyTorch caffe2/serialize/inline_container.cc. */
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
#include "write/zip_format.h"

#define ARCHIVE_ROOT "archive/"

struct archive {
    struct output out; /* its end is that of the last record while `finished` is false */
    struct arena *arena;
    struct zip_record *entries; /* owned */
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

static int write_header(struct archive *archive, const struct strbuf *header, struct h5pt_error *err)
{
    return strbuf_ok(header) ? output_write(&archive->out, header->text, header->length, err) : h5pt_fail_memory(err);
}

/* ---- records ---- */

static struct zip_record *new_entry(struct archive *archive, const char *name, struct h5pt_error *err)
{
    if (archive->count == archive->capacity) {
        size_t capacity = archive->capacity ? 2 * archive->capacity : 64;
        struct zip_record *grown = reallocarray(archive->entries, capacity, sizeof *grown);
        if (!grown) {
            (void)h5pt_fail_memory(err);
            return NULL;
        }
        archive->entries = grown;
        archive->capacity = capacity;
    }
    struct zip_record *entry = &archive->entries[archive->count];
    *entry = (struct zip_record){.path = arena_printf(archive->arena, ARCHIVE_ROOT "%s", name)};
    if (!entry->path)
        (void)h5pt_fail_memory(err);
    return entry->path ? entry : NULL;
}

static int begin(struct archive *archive, const struct zip_record *entry, struct h5pt_error *err)
{
    struct strbuf h = STRBUF_INIT;
    zip_put_local(&h, entry, ARCHIVE_ALIGNMENT);
    int status = write_header(archive, &h, err);
    strbuf_release(&h);
    return status;
}

static int end(struct archive *archive, const struct zip_record *entry, struct h5pt_error *err)
{
    struct strbuf h = STRBUF_INIT;
    zip_put_descriptor(&h, entry);
    int status = write_header(archive, &h, err);
    strbuf_release(&h);
    if (status == 0)
        archive->count++;
    return status;
}

/* Begins a record at the end, in place of the central directory when there is one. */
static struct zip_record *open_record(struct archive *archive, const char *name, uint64_t size, struct h5pt_error *err)
{
    uint64_t last;
    if (!size_add(archive->out.size, size, &last) || last > INT64_MAX / 2 || strlen(name) > UINT16_MAX / 2) {
        (void)h5pt_fail(err, H5PT_LIMIT_EXCEEDED, name, "The archive would be too large");
        return NULL;
    }
    if (archive->finished && output_rewind(&archive->out, archive->records_end, err) < 0)
        return NULL;
    archive->finished = false;
    struct zip_record *entry = new_entry(archive, name, err);
    if (!entry)
        return NULL;
    entry->header = archive->out.size;
    entry->size = size;
    if (begin(archive, entry, err) < 0)
        return NULL;
    entry->payload = archive->out.size;
    return entry;
}

struct archive_payload archive_payload(const struct archive *archive, size_t index)
{
    const struct zip_record *entry = &archive->entries[index];
    return (struct archive_payload){
        .fd = archive->out.fd, .offset = entry->payload, .size = entry->size, .crc = entry->crc};
}

int archive_add_copy(struct archive *archive, const char *name, const struct archive_payload *payload,
                     struct h5pt_error *err)
{
    struct zip_record *entry = open_record(archive, name, payload->size, err);
    if (!entry || output_copy(&archive->out, payload->fd, payload->offset, payload->size, err) < 0)
        return -1;
    entry->crc = payload->crc;
    return end(archive, entry, err);
}

static int add_piece(struct archive *archive, struct zip_record *entry, const void *bytes, size_t size,
                     struct h5pt_error *err)
{
    entry->crc = (uint32_t)crc32_z(entry->crc, bytes, size);
    return output_write(&archive->out, bytes, size, err);
}

int archive_add_bytes(struct archive *archive, const char *name, const void *bytes, size_t size, struct h5pt_error *err)
{
    struct zip_record *entry = open_record(archive, name, size, err);
    if (!entry || (size && add_piece(archive, entry, bytes, size, err) < 0))
        return -1;
    return end(archive, entry, err);
}

int archive_add_stream(struct archive *archive, const char *name, uint64_t size, archive_read_fn *read, void *context,
                       struct h5pt_error *err)
{
    struct zip_record *entry = open_record(archive, name, size, err);
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

int archive_finish(struct archive *archive, uint64_t *ret_bytes, char ret_sha256[DIGEST_TEXT_SIZE],
                   struct h5pt_error *err)
{
    struct strbuf directory = STRBUF_INIT;
    if (archive->finished && output_rewind(&archive->out, archive->records_end, err) < 0)
        return -1;
    archive->records_end = archive->out.size;
    if (output_mark(&archive->out, err) < 0)
        return -1;
    zip_put_directory(&directory, archive->entries, archive->count, archive->records_end);
    int status = write_header(archive, &directory, err);
    strbuf_release(&directory);
    if (status < 0)
        return -1;
    archive->finished = true;
    return output_finish(&archive->out, ret_bytes, ret_sha256, err);
}
