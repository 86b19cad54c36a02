/* SPDX-License-Identifier: Apache-2.0 */
#include "api/artifacts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/bundle.h"
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

static enum MHD_Result respond_bundle(struct request *request, const struct job_record *record)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct bundle *bundle;
    char tag[DIGEST_TEXT_SIZE];
    if (bundle_open(request->service->files, record, &bundle, &err))
        return respond_problem(request, &err);
    tag_of(record, tag);
    request_header(request, "Content-Type", "application/zip");
    request_header(request, "Content-Disposition", "attachment; filename=\"%s\"", bundle_name);
    request_header(request, "ETag", "\"%s\"", tag);
    return respond_stream(request, bundle_size(bundle), bundle_read, bundle, bundle_free);
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
    const struct artifact_kind *kind = artifact_of_name(name);
    const char *sha256 = json_string_value(json_object_get(artifact, "sha256"));
    request_header(request, "Content-Type", "%s", kind ? kind->media_type : "application/octet-stream");
    request_header(request, "Content-Disposition", "attachment; filename=\"%s\"", name);
    request_header(request, "ETag", "\"%s\"", sha256 ? sha256 : "");
    return respond_file(request, fd, bytes);
}

enum MHD_Result api_get_artifact(struct request *request)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct job_view view;
    if (api_look(request, &view, &err))
        return respond_problem(request, &err);
    enum MHD_Result result;
    const enum job_state state = view.record.state;
    if (state == JOB_EXPIRED)
        h5pt_fail(&err, H5PT_EXPIRED, view.record.id, "The artifacts of this conversion were removed after their time");
    else if (state == JOB_CANCELED)
        h5pt_fail(&err, H5PT_CANCELED, view.record.id, "This conversion was canceled and has no artifacts");
    else if (!job_state_finished(state))
        h5pt_fail(&err, H5PT_CONFLICT, view.record.id, "This conversion is %s; it has artifacts when it has finished",
                  job_state_name(state));
    if (err.code != H5PT_OK)
        result = respond_problem(request, &err);
    else
        result = artifact_respond(request, &view.record, request->parameters[1]);
    job_view_release(&view);
    return result;
}
