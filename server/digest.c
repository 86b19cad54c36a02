/* SPDX-License-Identifier: Apache-2.0 */
#include "digest.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

/* libcrypto's context under our name. */
static EVP_MD_CTX *context(struct digest *digest)
{
    return (EVP_MD_CTX *)digest;
}

struct digest *digest_new(void)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        return NULL;
    }
    return (struct digest *)ctx;
}

void digest_free(struct digest *digest)
{
    EVP_MD_CTX_free(context(digest));
}

void digest_add(struct digest *digest, const void *bytes, size_t count)
{
    (void)EVP_DigestUpdate(context(digest), bytes, count);
}

void digest_finish(struct digest *digest, char ret[DIGEST_TEXT_SIZE])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    (void)EVP_DigestFinal_ex(context(digest), sum, &length);
    for (unsigned i = 0; i < 32; i++)
        (void)snprintf(ret + 2 * (size_t)i, 3, "%02x", sum[i]);
}

bool digest_is_valid(const char *text)
{
    return strlen(text) == DIGEST_TEXT_SIZE - 1 && strspn(text, "0123456789abcdef") == DIGEST_TEXT_SIZE - 1;
}
