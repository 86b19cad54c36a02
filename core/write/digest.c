/* SPDX-License-Identifier: Apache-2.0 */
#include "write/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DIGEST_BUFFER = 256 * 1024 }; /* stays in the second-level cache between reading and hashing */

static const char digits[] = "0123456789abcdef";

/* libcrypto's context under our name. */
static EVP_MD_CTX *context(const struct digest *digest)
{
    return (EVP_MD_CTX *)digest;
}

struct digest *digest_new(void)
{
    EVP_MD_CTX *new = EVP_MD_CTX_new();
    if (new &&EVP_DigestInit_ex(new, EVP_sha256(), NULL) == 1)
        return (struct digest *)new;
    EVP_MD_CTX_free(new);
    return NULL;
}

struct digest *digest_copy(const struct digest *digest)
{
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    if (copy && EVP_MD_CTX_copy_ex(copy, context(digest)) == 1)
        return (struct digest *)copy;
    EVP_MD_CTX_free(copy);
    return NULL;
}

void digest_free(struct digest *digest)
{
    EVP_MD_CTX_free(context(digest));
}

void digest_add(struct digest *digest, const void *bytes, size_t size)
{
    (void)EVP_DigestUpdate(context(digest), bytes, size);
}

void digest_finish(struct digest *digest, char ret_sha256[DIGEST_TEXT_SIZE])
{
    unsigned char sum[EVP_MAX_MD_SIZE] = {0};
    (void)EVP_DigestFinal_ex(context(digest), sum, NULL);
    for (size_t i = 0; i < DIGEST_TEXT_SIZE / 2; i++) {
        ret_sha256[2 * i] = digits[sum[i] >> 4];
        ret_sha256[2 * i + 1] = digits[sum[i] & 15];
    }
    ret_sha256[DIGEST_TEXT_SIZE - 1] = '\0';
}

bool digest_is_valid(const char *text)
{
    return strlen(text) == DIGEST_TEXT_SIZE - 1 && strspn(text, digits) == DIGEST_TEXT_SIZE - 1;
}

static int hash_file(int fd, struct digest *digest, unsigned char *buffer, uint64_t *ret_bytes, struct h5pt_error *err)
{
    uint64_t bytes = 0;
    for (;;) {
        ssize_t n = pread(fd, buffer, DIGEST_BUFFER, (off_t)bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return h5pt_fail_errno(err, H5PT_IO, NULL, "The file cannot be read to compute its SHA-256");
        if (n == 0)
            break;
        digest_add(digest, buffer, (size_t)n);
        bytes += (uint64_t)n;
    }
    *ret_bytes = bytes;
    return 0;
}

int digest_file(int fd, uint64_t *ret_bytes, char ret_sha256[DIGEST_TEXT_SIZE], struct h5pt_error *err)
{
    uint64_t bytes = 0;
    unsigned char *buffer = malloc(DIGEST_BUFFER);
    struct digest *digest = digest_new();
    int rc = buffer && digest ? 0 : h5pt_fail_memory(err);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    if (rc == 0)
        rc = hash_file(fd, digest, buffer, &bytes, err);
    if (rc == 0)
        digest_finish(digest, ret_sha256);
    if (rc == 0 && ret_bytes)
        *ret_bytes = bytes;
    digest_free(digest);
    free(buffer);
    return rc;
}
