/* SPDX-License-Identifier: Apache-2.0 */
/* Small files: those that settings name (keys, certificates, secrets), and what the kernel tells. */
#ifndef H5PT_SERVER_READ_FILE_H
#define H5PT_SERVER_READ_FILE_H

#include "base/error.h"
#include "base/strbuf.h"

/* Appends the whole file. USAGE when it cannot be read, is larger than a megabyte, or has a NUL in it. `what` is for the message:
 * "keys file". */
int read_file(const char *path, const char *what, struct strbuf *ret, struct h5pt_error *err);

#endif
