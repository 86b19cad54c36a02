/* SPDX-License-Identifier: Apache-2.0 */
#include "api/artifacts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "api/bundle.h"
#include "http/body_digest.h"
#include "http/fields.h"
#include "http/respond.h"
#include "write/digest.h"

static const struct artifact_kind kinds[] = {
#define ARTIFACT(format, name, media_type, by_default) {format, name, media_type, by_default},
#include "api/artifacts.def"
#undef ARTIFACT
};
static const char bundle_name[] = "all.zip";
enum { KIND_COUNT = sizeof kinds / sizeof *kinds };

const struct artifact_kind *artifact_of_format(const char *format)
{
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (strcmp(kinds[i].format, format) == 0)
            return &kinds[i];
    return NULL;
}

const struct artifact_kind *artifact_of_name(const char *name)
{
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

const char *artifact_formats(void)
{
    return ""
#define ARTIFACT(format, name, media_type, by_default) format " "
#include "api/artifacts.def"
#undef ARTIFACT
        ;
}

/* Whether a media range of `length` bytes, perhaps with a star, covers a media type. */
static bool covers(const char *range, size_t length, const char *type)
{
    if (length >= 2 && memcmp(range + length - 2, "/*", 2) == 0)
        return (length == 3 && *range == '*') || strncasecmp(range, type, length - 1) == 0;
    return strlen(type) == length && strncasecmp(range, type, length) == 0;
}

/* The q of the parameters of one media range, 1 when there is none. */
static double quality(const char *parameters, const char *end)
{
    for (const char *p = parameters; p < end; p++) {
        if (*p != ';')
            continue;
        p += 1 + strspn(p + 1, " \t");
        if (p + 1 < end && (*p == 'q' || *p == 'Q') && p[1] == '=')
            return strtod(p + 2, NULL);
    }
    return 1;
}

const struct artifact_kind *artifact_accepted(const char *accept)
{
    const struct artifact_kind *best = NULL;
    double best_quality = 0;
    for (const char *p = accept; *p;) {
        p += strspn(p, " \t,");
        const char *end = p + strcspn(p, ",");
        size_t length = strcspn(p, " \t;,");
        double q = quality(p + length, end);
        for (size_t i = 0; i < KIND_COUNT && length; i++) {
            if (q <= best_quality || !covers(p, length, kinds[i].media_type))
                continue;
            best = &kinds[i];
            best_quality = q;
        }
        p = end;
    }
    return best;
}

bool artifact_is_made(const struct artifact_kind *artifact, const char *formats)
{
    if (!*formats || strcmp(artifact->name, "report.json") == 0 || strcmp(artifact->name, bundle_name) == 0)
        return artifact->by_default;
    for (const char *p = formats;; p++) {
        size_t n = strcspn(p, ",");
        if (strlen(artifact->format) == n && memcmp(artifact->format, p, n) == 0)
            return true;
        p += n;
        if (!*p)
            return false;
    }
}

/* The entry of a record's artifacts with this name, or NULL. */
static const json_t *find_artifact(const struct job_record *record, const char *name)
{
    for (size_t i = 0; i < json_array_size(record->artifacts); i++) {
        const json_t *artifact = json_array_get(record->artifacts, i);
        const char *other = json_string_value(json_object_get(artifact, "name"));
        if (other && strcmp(other, name) == 0)
            return artifact;
    }
    return NULL;
}

/* The archive has as little of its own as its parts say: the digest of theirs is its tag. */
static void tag_of(const struct job_record *record, char ret[DIGEST_TEXT_SIZE])
{
    struct digest *digest = digest_new();
    ret[0] = '\0';
    for (size_t i = 0; digest && i < json_array_size(record->artifacts); i++) {
        static const char *const keys[] = {"name", "sha256"};
        for (size_t k = 0; k < 2; k++) {
            const char *text = json_string_value(json_object_get(json_array_get(record->artifacts, i), keys[k]));
            digest_add(digest, text ? text : "", text ? strlen(text) + 1 : 1);
        }
    }
    if (digest)
        digest_finish(digest, ret);
    digest_free(digest);
}

static void describe(struct request *request, const char *media_type, const char *name)
{
    request_header(request, "Content-Type", "%s", media_type);
    request_header(request, "Content-Disposition", "attachment; filename=\"%s\"", name);
}

static enum MHD_Result respond_bundle(struct request *request, const struct job_record *record)
{
    enum { BLOCK = 256 * 1024 };
    struct h5pt_error err = H5PT_ERROR_INIT;
    enum MHD_Result result;
    struct bundle *bundle;
    char digest[DIGEST_TEXT_SIZE], tag[DIGEST_TEXT_SIZE + 2];
    tag_of(record, digest);
    (void)snprintf(tag, sizeof tag, "\"%s\"", digest);
    if (bundle_open(request->service->files, record, &bundle, &err))
        return respond_problem(request, &err);
    if (respond_condition(request, tag, &result)) {
        bundle_free(bundle);
        return result;
    }
    describe(request, "application/zip", bundle_name);
    if (request_reads(request))
        request_header(request, "Accept-Ranges", "none");
    return respond_stream(request, bundle_size(bundle), BLOCK, bundle_read, bundle, bundle_free);
}

/* What Range asks for; FIELD_RANGE_NONE when If-Range names another representation. */
static enum field_range read_range(const struct request *request, const char *tag, uint64_t bytes, uint64_t *ret_first,
                                   uint64_t *ret_count)
{
    const char *same = request_field(request, "If-Range");
    char *range = NULL;
    if (strcmp(request->method, "GET") != 0 || (same && (*same == '*' || !field_has_tag(same, tag, true))))
        return FIELD_RANGE_NONE;
    (void)field_read(request->connection, "Range", &range, NULL);
    enum field_range kind = field_range_read(range, bytes, ret_first, ret_count);
    free(range);
    return kind;
}

/* The file `fd` (taken), or the part of it that is asked for. */
static enum MHD_Result respond_artifact(struct request *request, const json_t *artifact, int fd, uint64_t bytes)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    enum MHD_Result result;
    const char *name = json_string_value(json_object_get(artifact, "name"));
    const char *sha256 = json_string_value(json_object_get(artifact, "sha256"));
    const struct artifact_kind *kind = artifact_of_name(name);
    char tag[DIGEST_TEXT_SIZE + 2], digest[REPR_DIGEST_SIZE];
    uint64_t first = 0, count = bytes;
    (void)snprintf(tag, sizeof tag, "\"%s\"", sha256 ? sha256 : "");
    if (respond_condition(request, tag, &result)) {
        (void)close(fd);
        return result;
    }
    if (request_reads(request))
        request_header(request, "Accept-Ranges", "bytes");
    const enum field_range range = read_range(request, tag, bytes, &first, &count);
    if (range == FIELD_RANGE_OUTSIDE) {
        (void)close(fd);
        request_header(request, "Content-Range", "bytes */%" PRIu64, bytes);
        h5pt_fail(&err, H5PT_RANGE_NOT_SATISFIABLE, "Range", "%s has %" PRIu64 " bytes", name, bytes);
        return respond_problem(request, &err);
    }
    describe(request, kind ? kind->media_type : "application/octet-stream", name);
    if (sha256)
        request_header(request, "Repr-Digest", "%s", repr_digest_text(sha256, digest));
    if (range == FIELD_RANGE_NONE)
        return respond_file(request, MHD_HTTP_OK, fd, 0, bytes);
    request_header(request, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first, first + count - 1, bytes);
    return respond_file(request, MHD_HTTP_PARTIAL_CONTENT, fd, first, count);
}

enum MHD_Result artifact_respond(struct request *request, const struct job_record *record, const char *name)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (strcmp(name, bundle_name) == 0 && json_array_size(record->artifacts))
        return respond_bundle(request, record);
    const json_t *artifact = find_artifact(record, name);
    int fd;
    uint64_t bytes;
    if (!artifact)
        h5pt_fail(&err, H5PT_NOT_FOUND, name, "The conversion has no artifact %s", name);
    if (!artifact || files_open_artifact(request->service->files, record->id, name, &fd, &bytes, &err))
        return respond_problem(request, &err);
    return respond_artifact(request, artifact, fd, bytes);
}

int artifact_check_state(const struct job_record *record, struct h5pt_error *err)
{
    const enum job_state state = record->state;
    if (state == JOB_EXPIRED)
        return h5pt_fail(err, H5PT_EXPIRED, record->id,
                         "The artifacts of this conversion were removed after their time");
    if (state == JOB_CANCELED)
        return h5pt_fail(err, H5PT_CANCELED, record->id, "This conversion was canceled and has no artifacts");
    if (!job_state_finished(state))
        return h5pt_fail(err, H5PT_CONFLICT, record->id, "This conversion is %s; it has artifacts when it has finished",
                         job_state_name(state));
    return 0;
}

enum MHD_Result api_get_artifact(struct request *request)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct job_view view;
    if (api_look(request, &view, &err))
        return respond_problem(request, &err);
    enum MHD_Result result = artifact_check_state(&view.record, &err)
                                 ? respond_problem(request, &err)
                                 : artifact_respond(request, &view.record, request->parameters[1]);
    job_view_release(&view);
    return result;
}
