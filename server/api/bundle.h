/* SPDX-License-Identifier: Apache-2.0 */
/* all.zip: every artifact of a conversion in one archive, made while it is sent; nothing is kept. */
#ifndef H5PT_API_BUNDLE_H
#define H5PT_API_BUNDLE_H

#include <microhttpd.h>
#include <stdint.h>

#include "base/error.h"
#include "jobs/record.h"
#include "store/files.h"

struct bundle;

/* Opens the artifacts of a finished conversion. Errors: NOT_FOUND, OUT_OF_MEMORY. */
int bundle_open(struct files *files, const struct job_record *record, struct bundle **ret, struct h5pt_error *err);
void bundle_free(void *bundle); /* NULL-safe; a MHD_ContentReaderFreeCallback */

uint64_t bundle_size(const struct bundle *bundle);
/* A MHD_ContentReaderCallback: positions are asked for in order. */
ssize_t bundle_read(void *bundle, uint64_t position, char *buffer, size_t capacity);

#endif
