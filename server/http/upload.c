/* SPDX-License-Identifier: Apache-2.0 */
#include "http/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FORM_BUFFER = 65536 };

/* So often the kernel is asked to start writing, so that the sync at the end is short. */
#define FLUSH_INTERVAL ((uint64_t)8 << 20)

static const char *header(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static bool is_form(const char *content_type)
{
    static const char form[] = MHD_HTTP_POST_ENCODING_MULTIPART_FORMDATA;
    return content_type && strncasecmp(content_type, form, sizeof form - 1) == 0;
}

static int too_large(uint64_t limit, struct h5pt_error *err)
{
    return h5pt_fail(err, H5PT_UPLOAD_TOO_LARGE, NULL,
                     "The upload is larger than the %" PRIu64 " bytes that are allowed", limit);
}

/* What a form has around the model. */
static uint64_t allowance(bool form)
{
    enum { FORM_OVERHEAD = 65536 };
    return form ? FORM_OVERHEAD : 0;
}

int upload_check(struct MHD_Connection *connection, uint64_t limit, struct h5pt_error *err)
{
    const char *type = header(connection, MHD_HTTP_HEADER_CONTENT_TYPE);
    const char *encoding = header(connection, MHD_HTTP_HEADER_CONTENT_ENCODING);
    const char *length = header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH);
    /* Any other media type is taken as it comes: clients name many, and the first bytes of the file tell. */
    if (type && strncasecmp(type, "multipart/", 10) == 0 && !is_form(type))
        return h5pt_fail(err, H5PT_UNSUPPORTED_MEDIA_TYPE, "Content-Type", "A form must be multipart/form-data");
    if (encoding && strcasecmp(encoding, "identity") != 0)
        return h5pt_fail(err, H5PT_UNSUPPORTED_MEDIA_TYPE, "Content-Encoding", "The body must not be compressed");
    if (length && strtoull(length, NULL, 10) > limit + allowance(is_form(type)))
        return too_large(limit, err);
    return 0;
}

/* So many of the bytes that are claimed are written, or will not come. */
static void give_back(struct upload *upload, uint64_t bytes)
{
    const uint64_t less = bytes < upload->claimed ? bytes : upload->claimed;
    upload->claimed -= less;
    files_unclaim(upload->files, less);
}

static int begin_part(struct upload *upload, enum files_part which, struct h5pt_error *err)
{
    struct upload_part *part = &upload->parts[which];
    part->digest = digest_new();
    return part->digest ? files_new_part(upload->files, &upload->draft, which, &part->fd, err) : h5pt_fail_memory(err);
}

/* The next bytes of a part, of which the first ones make its file. */
static int write_part(struct upload *upload, enum files_part which, const char *bytes, size_t count,
                      struct h5pt_error *err)
{
    struct upload_part *part = &upload->parts[which];
    if (count > upload->limit - upload->bytes)
        return too_large(upload->limit, err);
    if (part->fd < 0 && begin_part(upload, which, err))
        return -1;
    digest_add(part->digest, bytes, count);
    while (count) {
        ssize_t n = write(part->fd, bytes, count);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return h5pt_fail_errno(err, errno == ENOSPC || errno == EDQUOT ? H5PT_DISK_FULL : H5PT_IO, NULL,
                                   "Keeping the upload failed");
        bytes += n;
        count -= (size_t)n;
        part->bytes += (uint64_t)n;
        upload->bytes += (uint64_t)n;
    }
    if (part->bytes - part->flushed >= FLUSH_INTERVAL) {
        (void)sync_file_range(part->fd, (off_t)part->flushed, (off_t)(part->bytes - part->flushed),
                              SYNC_FILE_RANGE_WRITE);
        give_back(upload, part->bytes - part->flushed);
        part->flushed = part->bytes;
        return files_check_space(upload->files, 0, err);
    }
    return 0;
}

static const char webhook_field[] = "webhook";

static int unknown_field(const struct upload *upload, const char *key, struct h5pt_error *err)
{
    char names[128] = "";
    for (int i = 0; i < FILES_PART_COUNT; i++) {
        size_t used = strlen(names);
        (void)snprintf(names + used, sizeof names - used, "%s\"%s\"", i ? ", " : "",
                       files_part_name((enum files_part)i));
    }
    return h5pt_fail(err, H5PT_USAGE, key, "The form has a field \"%s\"; there are: %s%s%s", key, names,
                     upload->takes_webhook ? ", " : "", upload->takes_webhook ? webhook_field : "");
}

/* The next bytes of the field. */
static int take_webhook(struct upload *upload, const char *bytes, uint64_t offset, size_t count, struct h5pt_error *err)
{
    const size_t length = strlen(upload->webhook);
    if (offset != length)
        return h5pt_fail(err, H5PT_USAGE, webhook_field, "The form has more than one field \"%s\"", webhook_field);
    if (count >= sizeof upload->webhook - length || memchr(bytes, '\0', count))
        return h5pt_fail(err, H5PT_WEBHOOK_REFUSED, webhook_field,
                         "The webhook is no URL, or is longer than %d characters", JOB_WEBHOOK_SIZE - 1);
    memcpy(upload->webhook + length, bytes, count);
    upload->webhook[length + count] = '\0';
    return 0;
}

static enum MHD_Result take_field(void *context, enum MHD_ValueKind kind, const char *key, const char *filename,
                                  const char *content_type, const char *transfer_encoding, const char *data,
                                  uint64_t offset, size_t size)
{
    struct upload *upload = context;
    (void)kind, (void)content_type, (void)transfer_encoding;
    int which = 0;
    if (upload->takes_webhook && strcmp(key, webhook_field) == 0)
        return take_webhook(upload, data, offset, size, upload->err) ? MHD_NO : MHD_YES;
    while (which < FILES_PART_COUNT && strcmp(key, files_part_name((enum files_part)which)) != 0)
        which++;
    if (which == FILES_PART_COUNT)
        (void)unknown_field(upload, key, upload->err);
    else if (offset == 0 && size && upload->parts[which].fd >= 0)
        h5pt_fail(upload->err, H5PT_USAGE, key, "The form has more than one field \"%s\"", key);
    else if (size && write_part(upload, (enum files_part)which, data, size, upload->err) == 0 && which == FILES_MODEL)
        (void)snprintf(upload->filename, sizeof upload->filename, "%s", filename ? filename : "");
    return upload->err->code == H5PT_OK ? MHD_YES : MHD_NO;
}

void upload_init(struct upload *upload)
{
    *upload = (struct upload){.files = NULL};
    for (int i = 0; i < FILES_PART_COUNT; i++)
        upload->parts[i].fd = -1;
}

int upload_begin(struct upload *upload, struct files *files, struct MHD_Connection *connection, uint64_t limit,
                 bool takes_webhook, struct h5pt_error *err)
{
    upload->takes_webhook = takes_webhook;
    upload->limit = limit;
    if (body_digest_begin(&upload->body, connection, err))
        return -1;
    if (is_form(header(connection, MHD_HTTP_HEADER_CONTENT_TYPE))) {
        upload->form = MHD_create_post_processor(connection, FORM_BUFFER, take_field, upload);
        if (!upload->form)
            return h5pt_fail(err, H5PT_USAGE, "Content-Type",
                             "The form names no boundary, or one of less than two characters");
    }
    const char *length = header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH);
    const uint64_t announced = length ? strtoull(length, NULL, 10) : 0;
    if (files_claim(files, announced, err))
        return -1;
    upload->files = files;
    upload->claimed = announced;
    if (files_new_upload(files, &upload->draft, err) == 0)
        return 0;
    give_back(upload, announced);
    upload->files = NULL;
    return -1;
}

int upload_feed(struct upload *upload, const char *bytes, size_t count, struct h5pt_error *err)
{
    body_digest_add(&upload->body, bytes, count);
    if (!upload->form)
        return write_part(upload, FILES_MODEL, bytes, count, err);
    upload->err = err;
    if (MHD_post_process(upload->form, bytes, count) == MHD_YES && err->code == H5PT_OK)
        return 0;
    return h5pt_fail(err, H5PT_USAGE, NULL, "The form is malformed");
}

/* An archive (.keras) begins with its signature; that of HDF5 is at the start, or behind a user block of 512 bytes or a power of
 * two times that. */
static bool may_be_model(const struct upload_part *model)
{
    static const char signature[8] = "\x89HDF\r\n\x1a\n", archive[4] = "PK\x03\x04";
    char bytes[sizeof signature];
    if (pread(model->fd, bytes, sizeof archive, 0) == (ssize_t)sizeof archive &&
        memcmp(bytes, archive, sizeof archive) == 0)
        return true;
    for (uint64_t at = 0; at + sizeof signature <= model->bytes; at = at ? 2 * at : 512)
        if (pread(model->fd, bytes, sizeof bytes, (off_t)at) == (ssize_t)sizeof bytes &&
            memcmp(bytes, signature, sizeof bytes) == 0)
            return true;
    return false;
}

static int finish_digests(struct upload *upload, struct h5pt_error *err)
{
    struct digest *all = digest_new();
    for (int i = 0; all && i < FILES_PART_COUNT; i++) {
        struct upload_part *part = &upload->parts[i];
        const char *name = files_part_name((enum files_part)i);
        if (part->fd < 0)
            continue;
        digest_finish(part->digest, part->sha256);
        digest_add(all, name, strlen(name) + 1);
        digest_add(all, part->sha256, sizeof part->sha256);
    }
    if (!all)
        return h5pt_fail_memory(err);
    digest_finish(all, upload->all);
    digest_free(all);
    return 0;
}

int upload_finish(struct upload *upload, struct h5pt_error *err)
{
    if (body_digest_finish(&upload->body, err))
        return -1;
    if (upload->form) {
        upload->err = err;
        bool complete = MHD_destroy_post_processor(upload->form) == MHD_YES;
        upload->form = NULL;
        if (err->code != H5PT_OK)
            return -1;
        if (!complete)
            return h5pt_fail(err, H5PT_UPLOAD_INCOMPLETE, NULL, "The form ends before its last boundary");
    }
    if (!upload->parts[FILES_MODEL].bytes)
        return h5pt_fail(err, H5PT_UPLOAD_INCOMPLETE, NULL,
                         "The upload holds no model; send it as the body, or as the field \"model\" of a form");
    if (finish_digests(upload, err))
        return -1;
    if (!may_be_model(&upload->parts[FILES_MODEL]))
        return h5pt_fail(
            err, H5PT_NOT_HDF5, NULL,
            "The upload has no signature of HDF5 or of an archive; send a Keras model that was saved as .h5 or .keras");
    return 0;
}

struct jobs_upload upload_hand_over(struct upload *upload)
{
    struct jobs_upload handed = {.draft = &upload->draft,
                                 .bytes = upload->parts[FILES_MODEL].bytes,
                                 .sha256 = upload->parts[FILES_MODEL].sha256,
                                 .filename = upload->filename,
                                 .parts = upload->all};
    give_back(upload, upload->claimed);
    upload->files = NULL;
    return handed;
}

void upload_release(struct upload *upload)
{
    if (upload->form)
        (void)MHD_destroy_post_processor(upload->form);
    upload->form = NULL;
    body_digest_release(&upload->body);
    for (int i = 0; i < FILES_PART_COUNT; i++) {
        if (upload->parts[i].fd >= 0)
            (void)close(upload->parts[i].fd);
        upload->parts[i].fd = -1;
        digest_free(upload->parts[i].digest);
        upload->parts[i].digest = NULL;
    }
    if (upload->files) {
        give_back(upload, upload->claimed);
        files_drop_draft(upload->files, &upload->draft);
    }
    upload->files = NULL;
}
