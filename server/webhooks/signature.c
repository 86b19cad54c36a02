/* SPDX-License-Identifier: Apache-2.0 */
#include "webhooks/signature.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "read_file.h"

enum { SHA256_SIZE = 32, BASE64_SIZE = 4 * ((SHA256_SIZE + 2) / 3) + 1 };

/* The bytes of "whsec_BASE64", or 0. */
static size_t decode(const char *text, unsigned char ret[SIGNATURE_SECRET_MAX])
{
    static const char prefix[] = "whsec_";
    unsigned char bytes[SIGNATURE_SECRET_MAX + 3];
    if (strncmp(text, prefix, sizeof prefix - 1) != 0)
        return 0;
    text += sizeof prefix - 1;
    const size_t length = strlen(text);
    if (length % 4 || length / 4 * 3 > sizeof bytes)
        return 0;
    const int decoded = EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)length);
    const size_t padding = length - strcspn(text, "=");
    if (decoded < 0 || padding > 2)
        return 0;
    const size_t size = (size_t)decoded - padding;
    if (size < SIGNATURE_SECRET_MIN || size > SIGNATURE_SECRET_MAX)
        return 0;
    memcpy(ret, bytes, size);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return size;
}

static int add_secret(struct signature_secrets *secrets, char *line, const char *path, struct h5pt_error *err)
{
    line[strcspn(line, " \t\r")] = '\0';
    if (!*line || *line == '#')
        return 0;
    if (secrets->count == SIGNATURE_SECRETS_MAX)
        return h5pt_fail(err, H5PT_USAGE, path, "%s has more than %d secrets", path, SIGNATURE_SECRETS_MAX);
    const size_t size = decode(line, secrets->list[secrets->count].bytes);
    if (!size)
        return h5pt_fail(
            err, H5PT_USAGE, path,
            "A line of %s is no secret: whsec_ and %d to %d bytes in base64, as of: echo whsec_$(openssl rand "
            "-base64 32)",
            path, SIGNATURE_SECRET_MIN, SIGNATURE_SECRET_MAX);
    secrets->list[secrets->count++].size = size;
    return 0;
}

int signature_read_secrets(const char *path, struct signature_secrets *ret, struct h5pt_error *err)
{
    struct strbuf text = STRBUF_INIT;
    struct signature_secrets secrets = {.count = 0};
    int result = read_file(path, "file of webhook secrets", &text, err);
    char *rest = text.text;
    for (char *line; !result && (line = strsep(&rest, "\n"));)
        result = add_secret(&secrets, line, path, err);
    if (!result && !secrets.count)
        result = h5pt_fail(err, H5PT_USAGE, path, "%s has no secret", path);
    if (!result)
        *ret = secrets;
    OPENSSL_cleanse(&secrets, sizeof secrets);
    if (text.text)
        OPENSSL_cleanse(text.text, text.length);
    strbuf_release(&text);
    return result;
}

void signature_add(const struct signature_secrets *secrets, const char *id, int64_t timestamp, const char *body,
                   struct strbuf *ret)
{
    struct strbuf signed_text = STRBUF_INIT;
    strbuf_addf(&signed_text, "%s.%" PRId64 ".", id, timestamp);
    strbuf_add(&signed_text, body);
    for (size_t i = 0; i < secrets->count; i++) {
        unsigned char mac[SHA256_SIZE], base64[BASE64_SIZE];
        unsigned size = sizeof mac;
        if (!strbuf_ok(&signed_text) ||
            !HMAC(EVP_sha256(), secrets->list[i].bytes, (int)secrets->list[i].size,
                  (const unsigned char *)signed_text.text, signed_text.length, mac, &size)) {
            ret->broken = true;
            break;
        }
        (void)EVP_EncodeBlock(base64, mac, SHA256_SIZE);
        strbuf_addf(ret, "%sv1,%s", i ? " " : "", (const char *)base64);
    }
    strbuf_release(&signed_text);
}
