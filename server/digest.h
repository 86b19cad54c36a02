/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 of what goes by, as lower-case hexadecimal. */
#ifndef H5PT_SERVER_DIGEST_H
#define H5PT_SERVER_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

struct digest;

enum { DIGEST_SIZE = 65 };

struct digest *digest_new(void); /* NULL without memory */
void digest_free(struct digest *digest);
void digest_add(struct digest *digest, const void *bytes, size_t count);
void digest_finish(struct digest *digest, char ret[DIGEST_SIZE]);

/* Of a whole file, from its beginning; false when it cannot be read. */
bool digest_of_file(int fd, char ret[DIGEST_SIZE]);

bool digest_is_valid(const char *text);

#endif
