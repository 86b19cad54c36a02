/* SPDX-License-Identifier: Apache-2.0 */
#include "http/body_digest.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/fields.h"

static const struct algorithm {
    const char *name;
    const EVP_MD *(*method)(void);
    size_t text_length; /* of the sum in base 64 */
} algorithms[BODY_DIGEST_ALGORITHMS] = {{"sha-256", EVP_sha256, 44}, {"sha-512", EVP_sha512, 88}};

static int start(struct body_digest *digest, size_t which, struct h5pt_error *err)
{
    if (digest->contexts[which])
        return 0;
    EVP_MD_CTX *context = digest->contexts[which] = EVP_MD_CTX_new();
    return context && EVP_DigestInit_ex(context, algorithms[which].method(), NULL) == 1 ? 0 : h5pt_fail_memory(err);
}

/* One algorithm of a field: name=:base64:, perhaps with parameters behind. */
static int read_member(struct body_digest *digest, const char *field, const char *member, size_t length,
                       struct h5pt_error *err)
{
    static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    const size_t name = strcspn(member, "=;, \t");
    size_t which = 0;
    while (which < BODY_DIGEST_ALGORITHMS &&
           (strlen(algorithms[which].name) != name || memcmp(algorithms[which].name, member, name) != 0))
        which++;
    if (which == BODY_DIGEST_ALGORITHMS)
        return 0;
    const size_t text = algorithms[which].text_length;
    const char *sum = member + name + 2;
    if (length < name + 3 + text || memcmp(member + name, "=:", 2) != 0 || strspn(sum, base64) != text ||
        sum[text] != ':' || (length > name + 3 + text && sum[text + 1] != ';'))
        return h5pt_fail(err, H5PT_USAGE, field, "%s has no %s in the form %s=:base64:", field, algorithms[which].name,
                         algorithms[which].name);
    char *expected = digest->expected[which];
    if (*expected && memcmp(expected, sum, text) != 0)
        return h5pt_fail(err, H5PT_DIGEST_MISMATCH, field, "There are two different sums of %s",
                         algorithms[which].name);
    memcpy(expected, sum, text);
    digest->field = field;
    return start(digest, which, err);
}

int body_digest_begin(struct body_digest *digest, struct MHD_Connection *connection, struct h5pt_error *err)
{
    static const char *const fields[] = {"Content-Digest", "Repr-Digest"};
    int result = 0;
    for (size_t i = 0; !result && i < sizeof fields / sizeof *fields; i++) {
        char *text = NULL;
        size_t length;
        result = field_read(connection, fields[i], &text, err);
        const char *at = text ? text : "", *member;
        while (!result && (member = field_next(&at, &length)))
            result = read_member(digest, fields[i], member, length, err);
        free(text);
    }
    return result;
}

void body_digest_add(struct body_digest *digest, const char *bytes, size_t count)
{
    for (size_t i = 0; i < BODY_DIGEST_ALGORITHMS; i++)
        if (digest->contexts[i])
            (void)EVP_DigestUpdate(digest->contexts[i], bytes, count);
}

int body_digest_finish(struct body_digest *digest, struct h5pt_error *err)
{
    int result = 0;
    for (size_t i = 0; !result && i < BODY_DIGEST_ALGORITHMS; i++) {
        unsigned char sum[EVP_MAX_MD_SIZE] = {0}, text[BODY_DIGEST_TEXT_SIZE] = {0};
        unsigned size = 0;
        if (!digest->contexts[i])
            continue;
        (void)EVP_DigestFinal_ex(digest->contexts[i], sum, &size);
        (void)EVP_EncodeBlock(text, sum, (int)size);
        if (strcmp((const char *)text, digest->expected[i]) != 0)
            result = h5pt_fail(err, H5PT_DIGEST_MISMATCH, digest->field,
                               "The %s of the body that arrived is %s; it was changed on the way, send it again",
                               algorithms[i].name, (const char *)text);
    }
    return result;
}

void body_digest_release(struct body_digest *digest)
{
    for (size_t i = 0; i < BODY_DIGEST_ALGORITHMS; i++) {
        EVP_MD_CTX_free(digest->contexts[i]);
        digest->contexts[i] = NULL;
    }
}

const char *repr_digest_text(const char *sha256, char ret[REPR_DIGEST_SIZE])
{
    unsigned char sum[32] = {0}, text[45] = {0};
    char pair[3] = "";
    for (size_t i = 0; i < sizeof sum && strlen(sha256) == 2 * sizeof sum; i++) {
        memcpy(pair, sha256 + 2 * i, 2);
        sum[i] = (unsigned char)strtoul(pair, NULL, 16);
    }
    (void)EVP_EncodeBlock(text, sum, sizeof sum);
    (void)snprintf(ret, REPR_DIGEST_SIZE, "sha-256=:%s:", (const char *)text);
    return ret;
}
