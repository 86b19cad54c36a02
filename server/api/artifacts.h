/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of artifacts, from artifacts.def, and the download of one. */
#ifndef H5PT_API_ARTIFACTS_H
#define H5PT_API_ARTIFACTS_H

#include <microhttpd.h>
#include <stdbool.h>

#include "jobs/record.h"

struct request;

struct artifact_kind {
    const char *format, *name, *media_type;
    bool by_default; /* made when no formats are asked for */
};

const struct artifact_kind *artifact_of_format(const char *format); /* NULL: unknown */
const struct artifact_kind *artifact_of_name(const char *name);     /* NULL: unknown */
const char *artifact_formats(void);                                 /* "pt py pt2 svg report " */

/* The artifact that an Accept header likes best, or NULL. */
const struct artifact_kind *artifact_accepted(const char *accept);

/* Whether a conversion with this list of formats ("": the default ones) makes the artifact. */
bool artifact_is_made(const struct artifact_kind *artifact, const char *formats);

/* Why the conversion has no artifacts: EXPIRED, CANCELED, CONFLICT when it has not finished. */
int artifact_check_state(const struct job_record *record, struct h5pt_error *err);

/* Answers with an artifact of a finished conversion, or with what the conditions and the range of a GET or HEAD make of it. */
enum MHD_Result artifact_respond(struct request *request, const struct job_record *record, const char *name);

#endif
