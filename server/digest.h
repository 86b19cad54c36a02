/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 of what goes by, as lower-case hexadecimal; of a whole file: write/digest.h. */
#ifndef H5PT_SERVER_DIGEST_H
#define H5PT_SERVER_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#include "write/digest.h"

struct digest;

struct digest *digest_new(void); /* NULL without memory */
void digest_free(struct digest *digest);
void digest_add(struct digest *digest, const void *bytes, size_t count);
void digest_finish(struct digest *digest, char ret[DIGEST_TEXT_SIZE]);

bool digest_is_valid(const char *text);

#endif
