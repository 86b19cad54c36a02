/* SPDX-License-Identifier: Apache-2.0 */
/* Small pieces of the real work, done to see whether it can be done. */
#ifndef H5PT_HEALTH_CANARY_H
#define H5PT_HEALTH_CANARY_H

#include "base/error.h"
#include "config.h"
#include "store/files.h"

/* Writes and syncs a file where uploads arrive, and removes it. */
int canary_probe_spool(struct files *files, struct h5pt_error *err);

/* Runs the worker on health/canary.h5, a convolution and a dense layer saved by Keras 3, for so long at most or until `stop` (an
 * eventfd, or -1) is readable. */
int canary_convert(const struct config *config, const char *worker, struct files *files, int stop, int64_t limit_ms,
                   struct h5pt_error *err);

#endif
