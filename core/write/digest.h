/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 of a whole file. */
#ifndef H5PT_WRITE_DIGEST_H
#define H5PT_WRITE_DIGEST_H

#include <stdint.h>

#include "base/error.h"

enum { DIGEST_TEXT_SIZE = 65 };

/* Reads the file behind `fd` from start to end, whatever its position, which stays as it is. ret_bytes (may be NULL) is its
 * size, ret_sha256 the digest in lower-case hex. Errors: IO, OUT_OF_MEMORY, INTERNAL. */
int digest_file(int fd, uint64_t *ret_bytes, char ret_sha256[DIGEST_TEXT_SIZE], struct h5pt_error *err);

#endif
