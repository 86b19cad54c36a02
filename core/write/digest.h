/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256, as lower-case hexadecimal, of a whole file or of bytes as they come. */
#ifndef H5PT_WRITE_DIGEST_H
#define H5PT_WRITE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { DIGEST_TEXT_SIZE = 65 };

/* Reads the file behind `fd` from start to end, whatever its position, which stays as it is. ret_bytes (may be NULL) is its
 * size. Errors: IO, OUT_OF_MEMORY. */
int digest_file(int fd, uint64_t *ret_bytes, char ret_sha256[DIGEST_TEXT_SIZE], struct h5pt_error *err);

/* A digest under way; NULL without memory. */
struct digest;
struct digest *digest_new(void);
struct digest *digest_copy(const struct digest *digest);
void digest_free(struct digest *digest); /* NULL-safe */
void digest_add(struct digest *digest, const void *bytes, size_t size);
/* Ends it: nothing can be added any more. */
void digest_finish(struct digest *digest, char ret_sha256[DIGEST_TEXT_SIZE]);

bool digest_is_valid(const char *text);

#endif
