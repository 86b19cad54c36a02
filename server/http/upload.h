/* SPDX-License-Identifier: Apache-2.0 */
/* A model that arrives in the body of a request, raw or as the field "model" of a multipart form, which may have the other parts
 * of store/parts.def beside it: written to files as it comes, counted and hashed on the way, never held in memory. */
#ifndef H5PT_HTTP_UPLOAD_H
#define H5PT_HTTP_UPLOAD_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "http/body_digest.h"
#include "jobs/jobs.h"
#include "store/files.h"
#include "write/digest.h"

/* A file of the upload. */
struct upload_part {
    int fd; /* of the draft; -1: it has not come */
    struct digest *digest;
    char sha256[DIGEST_TEXT_SIZE]; /* after the last byte */
    uint64_t bytes;
    uint64_t flushed; /* of `bytes`, on the way to the disk */
};

struct upload {
    struct files *files; /* NULL: there is no draft */
    struct files_draft draft;
    struct upload_part parts[FILES_PART_COUNT];
    uint64_t limit, bytes;      /* of all parts */
    uint64_t claimed;           /* of the disk, for what is to come */
    struct body_digest body;    /* what the client says of the body */
    char all[DIGEST_TEXT_SIZE]; /* SHA-256 of the names and the SHA-256 of the parts */
    char filename[JOB_FILENAME_SIZE];
    struct MHD_PostProcessor *form; /* NULL: raw body */
    bool takes_webhook;             /* the form may have a field "webhook" */
    char webhook[JOB_WEBHOOK_SIZE]; /* its text, or "" */
    struct h5pt_error *err;         /* of the call in progress */
};

/* UNSUPPORTED_MEDIA_TYPE for a body that is neither; UPLOAD_TOO_LARGE when Content-Length says so already. */
int upload_check(struct MHD_Connection *connection, uint64_t limit, struct h5pt_error *err);

/* Before anything else: an upload that upload_release takes. */
void upload_init(struct upload *upload);
int upload_begin(struct upload *upload, struct files *files, struct MHD_Connection *connection, uint64_t limit,
                 bool takes_webhook, struct h5pt_error *err);
int upload_feed(struct upload *upload, const char *bytes, size_t count, struct h5pt_error *err);
/* After the last byte: DIGEST_MISMATCH, NOT_HDF5 when it is neither an HDF5 file nor an archive, UPLOAD_INCOMPLETE when there is none. */
int upload_finish(struct upload *upload, struct h5pt_error *err);

/* What jobs_submit takes; afterwards the file is the job's. */
struct jobs_upload upload_hand_over(struct upload *upload);
/* Removes what was not handed over. */
void upload_release(struct upload *upload);

#endif
