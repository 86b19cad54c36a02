/* SPDX-License-Identifier: Apache-2.0 */
#include "api/bundle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/strbuf.h"
#include "write/zip_format.h"

/* One artifact. */
struct part {
    struct zip_record record;
    char *path; /* owned: record.path */
    int fd;
};

enum bundle_step { STEP_HEADER, STEP_PAYLOAD, STEP_DESCRIPTOR, STEP_DIRECTORY, STEP_END };

struct bundle {
    size_t count, current;
    struct part *parts;
    uint64_t size, position, payload; /* payload: bytes of the current part that were sent */
    enum bundle_step step;
    struct strbuf text; /* headers being sent */
    size_t sent;        /* of text */
};

/* ---- the size ---- */

static void put_directory(const struct bundle *b, struct strbuf *out, uint64_t start)
{
    struct zip_record *records = calloc(b->count + 1, sizeof *records);
    for (size_t i = 0; records && i < b->count; i++)
        records[i] = b->parts[i].record;
    if (records)
        zip_put_directory(out, records, b->count, start);
    out->broken = out->broken || !records;
    free(records);
}

/* Where every header will be: sizes are known, only the CRCs are not. */
static int plan(struct bundle *b, struct h5pt_error *err)
{
    struct strbuf text = STRBUF_INIT;
    uint64_t at = 0;
    for (size_t i = 0; i < b->count; i++) {
        b->parts[i].record.header = at;
        text.length = 0;
        zip_put_local(&text, &b->parts[i].record, 0);
        zip_put_descriptor(&text, &b->parts[i].record);
        at += text.length + b->parts[i].record.size;
    }
    text.length = 0;
    put_directory(b, &text, at);
    b->size = at + text.length;
    bool ok = strbuf_ok(&text);
    strbuf_release(&text);
    return ok ? 0 : h5pt_fail_memory(err);
}

int bundle_open(struct files *files, const struct job_record *record, struct bundle **ret, struct h5pt_error *err)
{
    size_t count = json_array_size(record->artifacts);
    struct bundle *b = calloc(1, sizeof *b);
    if (!b || !(b->parts = calloc(count + 1, sizeof *b->parts))) {
        free(b);
        return h5pt_fail_memory(err);
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_object_get(json_array_get(record->artifacts, i), "name"));
        struct part *part = &b->parts[b->count];
        part->path = name ? strdup(name) : NULL;
        if (!part->path || files_open_artifact(files, record->id, name, &part->fd, &part->record.size, err)) {
            free(part->path);
            bundle_free(b);
            return name ? -1 : h5pt_fail_memory(err);
        }
        part->record.path = part->path;
        b->count++;
    }
    if (plan(b, err) < 0) {
        bundle_free(b);
        return -1;
    }
    *ret = b;
    return 0;
}

void bundle_free(void *bundle)
{
    struct bundle *b = bundle;
    if (!b)
        return;
    for (size_t i = 0; i < b->count; i++) {
        (void)close(b->parts[i].fd);
        free(b->parts[i].path);
    }
    strbuf_release(&b->text);
    free(b->parts);
    free(b);
}

uint64_t bundle_size(const struct bundle *bundle)
{
    return bundle->size;
}

/* ---- sending ---- */

/* The headers of the step, when it has just begun. */
static void prepare(struct bundle *b)
{
    struct part *part = &b->parts[b->current];
    if (b->text.length)
        return;
    if (b->step == STEP_HEADER)
        zip_put_local(&b->text, &part->record, 0);
    else if (b->step == STEP_DESCRIPTOR)
        zip_put_descriptor(&b->text, &part->record);
    else if (b->step == STEP_DIRECTORY)
        put_directory(b, &b->text, b->position);
}

static void next(struct bundle *b)
{
    b->text.length = b->sent = 0;
    b->payload = 0;
    if (b->step == STEP_DESCRIPTOR)
        b->step = ++b->current < b->count ? STEP_HEADER : STEP_DIRECTORY;
    else
        b->step++;
}

static ssize_t read_payload(struct bundle *b, char *buffer, size_t capacity)
{
    struct part *part = &b->parts[b->current];
    uint64_t left = part->record.size - b->payload;
    size_t want = left < capacity ? (size_t)left : capacity;
    ssize_t n = want ? pread(part->fd, buffer, want, (off_t)b->payload) : 0;
    while (n < 0 && errno == EINTR)
        n = pread(part->fd, buffer, want, (off_t)b->payload);
    if (n < 0 || (want && n == 0))
        return -1;
    part->record.crc = (uint32_t)crc32_z(part->record.crc, (const unsigned char *)buffer, (size_t)n);
    b->payload += (uint64_t)n;
    if (b->payload == part->record.size)
        next(b);
    return n;
}

static ssize_t read_text(struct bundle *b, char *buffer, size_t capacity)
{
    prepare(b);
    if (!strbuf_ok(&b->text))
        return -1;
    size_t left = b->text.length - b->sent, n = left < capacity ? left : capacity;
    memcpy(buffer, b->text.text + b->sent, n);
    b->sent += n;
    if (b->sent == b->text.length)
        next(b);
    return (ssize_t)n;
}

ssize_t bundle_read(void *bundle, uint64_t position, char *buffer, size_t capacity)
{
    struct bundle *b = bundle;
    size_t done = 0;
    if (position != b->position)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    while (done < capacity && b->step != STEP_END) {
        ssize_t n = b->step == STEP_PAYLOAD ? read_payload(b, buffer + done, capacity - done)
                                            : read_text(b, buffer + done, capacity - done);
        if (n < 0)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        done += (size_t)n;
        b->position += (uint64_t)n;
    }
    return done ? (ssize_t)done : MHD_CONTENT_READER_END_OF_STREAM;
}
