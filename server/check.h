/* SPDX-License-Identifier: Apache-2.0 */
/* h5ptd --check: whether the service would start here with these settings. */
#ifndef H5PT_SERVER_CHECK_H
#define H5PT_SERVER_CHECK_H

#include <stdio.h>

#include "config.h"

/* One line for each check. Returns the exit status of the first that failed, or 0. A daemon that runs is not disturbed. */
int check_run(const struct config *config, FILE *out);

#endif
