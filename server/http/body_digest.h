/* SPDX-License-Identifier: Apache-2.0 */
/* Content-Digest and Repr-Digest (RFC 9530) of a request: what its body, as it was sent, must hash to. As bodies are never
 * encoded, both mean the same bytes. */
#ifndef H5PT_HTTP_BODY_DIGEST_H
#define H5PT_HTTP_BODY_DIGEST_H

#include <microhttpd.h>
#include <stddef.h>

#include "base/error.h"

enum { BODY_DIGEST_ALGORITHMS = 2, BODY_DIGEST_TEXT_SIZE = 89 };

struct body_digest {
    void *contexts[BODY_DIGEST_ALGORITHMS];                       /* owned; NULL: this algorithm is not asked for */
    char expected[BODY_DIGEST_ALGORITHMS][BODY_DIGEST_TEXT_SIZE]; /* base 64 */
    const char *field;                                            /* that asked last */
};

/* Reads the fields. Algorithms other than sha-256 and sha-512 are ignored. USAGE when one is malformed, DIGEST_MISMATCH when two
 * contradict each other. `digest` starts zeroed, and is to be released in any case. */
int body_digest_begin(struct body_digest *digest, struct MHD_Connection *connection, struct h5pt_error *err);
void body_digest_add(struct body_digest *digest, const char *bytes, size_t count);
/* After the last byte: DIGEST_MISMATCH. */
int body_digest_finish(struct body_digest *digest, struct h5pt_error *err);
void body_digest_release(struct body_digest *digest);

/* The value of Repr-Digest for a SHA-256 in hexadecimal: "sha-256=:…:". */
enum { REPR_DIGEST_SIZE = 64 };
const char *repr_digest_text(const char *sha256, char ret[REPR_DIGEST_SIZE]);

#endif
