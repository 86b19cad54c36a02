/* SPDX-License-Identifier: Apache-2.0 */
#include "write/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

enum { DIGEST_BUFFER = 256 * 1024 }; /* stays in the second-level cache between reading and hashing */

static int hash_file(int fd, EVP_MD_CTX *context, unsigned char *buffer, uint64_t *ret_bytes, struct h5pt_error *err)
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
        if (!EVP_DigestUpdate(context, buffer, (size_t)n))
            return h5pt_fail(err, H5PT_INTERNAL, NULL, "SHA-256 could not be computed");
        bytes += (uint64_t)n;
    }
    *ret_bytes = bytes;
    return 0;
}

int digest_file(int fd, uint64_t *ret_bytes, char ret_sha256[DIGEST_TEXT_SIZE], struct h5pt_error *err)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[32];
    uint64_t bytes = 0;
    int rc = -1;
    unsigned char *buffer = malloc(DIGEST_BUFFER);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!buffer || !context) {
        (void)h5pt_fail_memory(err);
        goto out;
    }
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    if (!EVP_DigestInit_ex(context, EVP_sha256(), NULL)) {
        (void)h5pt_fail(err, H5PT_INTERNAL, NULL, "SHA-256 is not available");
        goto out;
    }
    if (hash_file(fd, context, buffer, &bytes, err) < 0)
        goto out;
    if (!EVP_DigestFinal_ex(context, digest, NULL)) {
        (void)h5pt_fail(err, H5PT_INTERNAL, NULL, "SHA-256 could not be computed");
        goto out;
    }
    for (size_t i = 0; i < sizeof digest; i++) {
        ret_sha256[2 * i] = digits[digest[i] >> 4];
        ret_sha256[2 * i + 1] = digits[digest[i] & 15];
    }
    ret_sha256[2 * sizeof digest] = '\0';
    if (ret_bytes)
        *ret_bytes = bytes;
    rc = 0;
out:
    EVP_MD_CTX_free(context);
    free(buffer);
    return rc;
}
