/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures as Standard Webhooks has them: HMAC-SHA256 over "ID.TIMESTAMP.BODY". */
#ifndef H5PT_WEBHOOKS_SIGNATURE_H
#define H5PT_WEBHOOKS_SIGNATURE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"

enum { SIGNATURE_SECRETS_MAX = 4, SIGNATURE_SECRET_MIN = 24, SIGNATURE_SECRET_MAX = 64 };

struct signature_secrets {
    size_t count;
    struct {
        unsigned char bytes[SIGNATURE_SECRET_MAX];
        size_t size;
    } list[SIGNATURE_SECRETS_MAX];
};

/* Reads a file of one secret a line, "whsec_" and 24 to 64 bytes in base64: several while one takes the place of another. Empty lines and
 * lines that begin with '#' mean nothing. USAGE; *ret is untouched then. */
int signature_read_secrets(const char *path, struct signature_secrets *ret, struct h5pt_error *err);

/* Appends a signature with each secret, "v1,…", with spaces between. */
void signature_add(const struct signature_secrets *secrets, const char *id, int64_t timestamp, const char *body,
                   struct strbuf *ret);

#endif
