/* SPDX-License-Identifier: Apache-2.0 */
#include "write/archive.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/size.h"
#include "write/archive_file.h"

#define ARCHIVE_ROOT "archive/"

enum {
    LOCAL_HEADER = 30,  /* without name and extra fields */
    ZIP64_FIELD = 20,   /* in a local header: id, length, both sizes */
    PADDING_HEADER = 4, /* id and length of the field "FB" */
    PADDING_ID = 0x4246,
    DOS_TIME = 0,
    DOS_DATE = 0x21, /* 1980-01-01, the first that there is */
};

struct archive {
    struct archive_file file;
    zip_t *zip;           /* owned; NULL after finish */
    struct arena *arena;  /* owned: records and their bytes */
    uint64_t end;         /* where the next local header will be */
    unsigned char *piece; /* owned; of the record being written: */
    size_t piece_size, piece_at;
};

/* A record whose bytes come from a function; what libzip sees as a source. */
struct record {
    struct archive *archive; /* borrowed */
    uint64_t size, given;
    archive_read_fn *read;
    void *context;
    zip_error_t error;
};

int archive_new(int fd, struct archive **ret, struct h5pt_error *err)
{
    struct archive *archive = calloc(1, sizeof *archive);
    if (!archive)
        return h5pt_fail_memory(err);
    if (archive_file_init_write(&archive->file, fd, err) < 0) {
        free(archive);
        return -1;
    }
    archive->arena = arena_new();
    archive->piece = aligned_alloc(ARCHIVE_ALIGNMENT, ARCHIVE_PIECE);
    if (!archive->arena || !archive->piece) {
        (void)h5pt_fail_memory(err);
        goto fail;
    }
    if (archive->file.size != 0) {
        (void)h5pt_fail(err, H5PT_INTERNAL, NULL, "The archive must be written to an empty file");
        goto fail;
    }
    archive->zip = archive_file_open(&archive->file, ZIP_CREATE | ZIP_TRUNCATE, err);
    if (!archive->zip)
        goto fail;
    *ret = archive;
    return 0;
fail:
    archive_free(archive);
    return -1;
}

void archive_free(struct archive *archive)
{
    if (!archive)
        return;
    if (archive->zip)
        zip_discard(archive->zip);
    archive_file_release(&archive->file);
    arena_free(archive->arena);
    free(archive->piece);
    free(archive);
}

/* Fetches the next piece of a record. */
static int fill(struct record *record)
{
    struct archive *archive = record->archive;
    struct h5pt_error *err = &archive->file.error;
    uint64_t left = record->size - record->given;
    size_t want = left < ARCHIVE_PIECE ? (size_t)left : ARCHIVE_PIECE, got = 0;
    archive->piece_at = archive->piece_size = 0;
    if (record->read(record->context, archive->piece, want, &got, err) < 0)
        return -1;
    if (got == 0 || got > want)
        return h5pt_fail(err, H5PT_INTERNAL, NULL, "A record of the archive has not the announced size");
    archive->piece_size = got;
    return 0;
}

static zip_int64_t read_record(struct record *record, void *data, uint64_t length)
{
    struct archive *archive = record->archive;
    if (record->given == record->size)
        return 0;
    if (archive->piece_at == archive->piece_size && fill(record) < 0) {
        zip_error_set(&record->error, ZIP_ER_READ, 0);
        return -1;
    }
    size_t n = archive->piece_size - archive->piece_at;
    if (n > length)
        n = (size_t)length;
    memcpy(data, archive->piece + archive->piece_at, n);
    archive->piece_at += n;
    record->given += n;
    return (zip_int64_t)n;
}

static zip_int64_t status(const struct record *record, zip_stat_t *st)
{
    zip_stat_init(st);
    st->size = st->comp_size = record->size;
    st->comp_method = ZIP_CM_STORE;
    st->valid |= ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    return (zip_int64_t)sizeof *st;
}

static zip_int64_t callback(void *context, void *data, zip_uint64_t length, zip_source_cmd_t command)
{
    struct record *record = context;
    switch (command) {
    case ZIP_SOURCE_OPEN:
        record->given = 0;
        record->archive->piece_at = record->archive->piece_size = 0;
        return 0;
    case ZIP_SOURCE_READ: return read_record(record, data, length);
    case ZIP_SOURCE_STAT: return status(record, data);
    case ZIP_SOURCE_ERROR: return zip_error_to_data(&record->error, data, length);
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT,
                                              ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, ZIP_SOURCE_SUPPORTS, -1);
    case ZIP_SOURCE_CLOSE: return 0;
    case ZIP_SOURCE_FREE: zip_error_fini(&record->error); return 0;
    default: zip_error_set(&record->error, ZIP_ER_OPNOTSUPP, 0); return -1;
    }
}

/* Gives the entry its settings and its padding, which follows from where its header will be. */
static int set_up_entry(struct archive *archive, zip_uint64_t index, const char *path, uint64_t size)
{
    static const unsigned char
        padding[ARCHIVE_ALIGNMENT] = "ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ";
    uint64_t start = archive->end + LOCAL_HEADER + strlen(path) + PADDING_HEADER;
    if (size > UINT32_MAX)
        start += ZIP64_FIELD;
    uint64_t pad = (ARCHIVE_ALIGNMENT - start % ARCHIVE_ALIGNMENT) % ARCHIVE_ALIGNMENT;
    archive->end = start + pad + size;
    zip_t *zip = archive->zip;
    return zip_set_file_compression(zip, index, ZIP_CM_STORE, 0) < 0 ||
                   zip_file_set_dostime(zip, index, DOS_TIME, DOS_DATE, 0) < 0 ||
                   zip_file_extra_field_set(zip, index, PADDING_ID, ZIP_EXTRA_FIELD_NEW, padding, (zip_uint16_t)pad,
                                            ZIP_FL_LOCAL) < 0
               ? -1
               : 0;
}

/* Takes `source`, also on failure. */
static int add(struct archive *archive, const char *name, uint64_t size, zip_source_t *source, struct h5pt_error *err)
{
    uint64_t end;
    char *path = arena_printf(archive->arena, ARCHIVE_ROOT "%s", name);
    if (!path) {
        zip_source_free(source);
        return h5pt_fail_memory(err);
    }
    if (!size_add(archive->end, size, &end) || end > INT64_MAX / 2 || strlen(path) > UINT16_MAX) {
        zip_source_free(source);
        return h5pt_fail(err, H5PT_LIMIT_EXCEEDED, name, "The archive would be too large");
    }
    if (size == UINT32_MAX) { /* libzip 1.7 writes an empty ZIP64 field for this one size */
        zip_source_free(source);
        return h5pt_fail(err, H5PT_LIMIT_EXCEEDED, name, "A record of exactly %" PRIu64 " bytes cannot be written",
                         size);
    }
    zip_int64_t index = zip_file_add(archive->zip, path, source, ZIP_FL_ENC_UTF_8);
    if (index < 0)
        zip_source_free(source);
    if (index < 0 || set_up_entry(archive, (zip_uint64_t)index, path, size) < 0)
        return archive_file_fail(&archive->file, zip_get_error(archive->zip), err);
    return 0;
}

int archive_add_bytes(struct archive *archive, const char *name, const void *bytes, size_t size, struct h5pt_error *err)
{
    assert(archive->zip);
    void *copy = arena_alloc(archive->arena, size ? size : 1, 1);
    if (!copy)
        return h5pt_fail_memory(err);
    if (size)
        memcpy(copy, bytes, size);
    zip_source_t *source = zip_source_buffer(archive->zip, copy, size, 0);
    if (!source)
        return archive_file_fail(&archive->file, zip_get_error(archive->zip), err);
    return add(archive, name, size, source, err);
}

int archive_add_stream(struct archive *archive, const char *name, uint64_t size, archive_read_fn *read, void *context,
                       struct h5pt_error *err)
{
    assert(archive->zip);
    struct record *record = ARENA_NEW(archive->arena, struct record);
    if (!record)
        return h5pt_fail_memory(err);
    *record = (struct record){.archive = archive, .size = size, .read = read, .context = context};
    zip_error_init(&record->error);
    zip_source_t *source = zip_source_function(archive->zip, callback, record);
    if (!source)
        return archive_file_fail(&archive->file, zip_get_error(archive->zip), err);
    return add(archive, name, size, source, err);
}

int archive_finish(struct archive *archive, uint64_t *ret_bytes, char ret_sha256[DIGEST_TEXT_SIZE],
                   struct h5pt_error *err)
{
    assert(archive->zip);
    uint64_t bytes = 0;
    char sha256[DIGEST_TEXT_SIZE];
    if (zip_close(archive->zip) < 0)
        return archive_file_fail(&archive->file, zip_get_error(archive->zip), err);
    archive->zip = NULL;
    /* libzip goes back to each header once it knows the CRC, so the file is hashed afterwards, from the page cache, while
     * the disk is still writing. */
    if (digest_file(archive->file.fd, &bytes, sha256, err) < 0)
        return -1;
    if (fsync(archive->file.fd) < 0)
        return h5pt_fail_errno(err, H5PT_IO, NULL, "The archive cannot be written to the disk");
    *ret_bytes = bytes;
    memcpy(ret_sha256, sha256, sizeof sha256);
    return 0;
}
