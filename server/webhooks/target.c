/* SPDX-License-Identifier: Apache-2.0 */
#include "webhooks/target.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "jobs/record.h"

static const struct block {
    uint32_t first; /* 32 bits of the address, the highest ones */
    int bits;
} reserved4[] =
    {
#define RESERVED4(a, b, c, d, bits) {(uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d), bits},
#define RESERVED6(a, b, bits)
#include "webhooks/reserved.def"
#undef RESERVED4
#undef RESERVED6
},
  reserved6[] = {
#define RESERVED4(a, b, c, d, bits)
#define RESERVED6(a, b, bits) {(uint32_t)(a) << 16 | (b), bits},
#include "webhooks/reserved.def"
#undef RESERVED4
#undef RESERVED6
};

static bool is_in(uint32_t address, const struct block *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if ((address ^ blocks[i].first) >> (32 - blocks[i].bits) == 0)
            return true;
    return false;
}

static uint32_t word(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static bool is_public4(uint32_t address)
{
    return !is_in(address, reserved4, sizeof reserved4 / sizeof *reserved4);
}

static bool is_public6(const unsigned char bytes[16])
{
    /* IPv4 in IPv6: mapped, and translated by a gateway, which a network without IPv4 reaches everybody through. */
    static const unsigned char mapped[12] = {[10] = 0xff, 0xff}, translated[12] = {0x00, 0x64, 0xff, 0x9b};
    if (memcmp(bytes, mapped, sizeof mapped) == 0 || memcmp(bytes, translated, sizeof translated) == 0)
        return is_public4(word(bytes + 12));
    return bytes[0] >> 5 == 1 && !is_in(word(bytes), reserved6, sizeof reserved6 / sizeof *reserved6);
}

bool target_is_public(const struct sockaddr *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    switch (address->sa_family) {
    case AF_INET: memcpy(&v4, address, sizeof v4); return is_public4(ntohl(v4.sin_addr.s_addr));
    case AF_INET6: memcpy(&v6, address, sizeof v6); return is_public6(v6.sin6_addr.s6_addr);
    default: return false;
    }
}

/* Whether the host of a URL is an address (as libcurl writes it: IPv4 with dots whatever it was, IPv6 in brackets) that is not
 * public, or the name of this machine; with a dot at its end or without. */
static bool names_private(const char *host)
{
    static const char here[] = "localhost";
    unsigned char v6[16];
    struct in_addr v4;
    char name[256]; /* of DNS, at most */
    const bool brackets = *host == '[';
    size_t length = strlen(host);
    length -= length && (host[length - 1] == '.' || brackets);
    if (length >= sizeof name)
        return true;
    (void)snprintf(name, sizeof name, "%.*s", (int)length - brackets, host + brackets);
    if (brackets)
        return inet_pton(AF_INET6, name, v6) != 1 || !is_public6(v6);
    if (inet_pton(AF_INET, name, &v4) == 1)
        return !is_public4(ntohl(v4.s_addr));
    return length >= sizeof here - 1 && strcasecmp(name + length - (sizeof here - 1), here) == 0;
}

static int check_parts(const struct config *config, CURLU *parts, const char *url, struct h5pt_error *err)
{
    char *scheme = NULL, *host = NULL;
    int result = 0;
    const CURLUcode code = curl_url_set(parts, CURLUPART_URL, url, CURLU_DISALLOW_USER | CURLU_NON_SUPPORT_SCHEME);
    if (code || curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) || curl_url_get(parts, CURLUPART_HOST, &host, 0))
        result = h5pt_fail(err, H5PT_WEBHOOK_REFUSED, "webhook", "The webhook is no URL that can be called: %s",
                           curl_url_strerror(code));
    else if (strcmp(scheme, "https") != 0 && !(strcmp(scheme, "http") == 0 && config_yes(config->webhook_allow_http)))
        result = h5pt_fail(err, H5PT_WEBHOOK_REFUSED, "webhook", "The webhook must be an https:// URL");
    else if (!config_yes(config->webhook_allow_private) && names_private(host))
        result = h5pt_fail(err, H5PT_WEBHOOK_REFUSED, "webhook", "The webhook has an address that is not public");
    curl_free(scheme);
    curl_free(host);
    return result;
}

int target_check(const struct config *config, const char *url, struct h5pt_error *err)
{
    const size_t length = strlen(url);
    if (length >= JOB_WEBHOOK_SIZE)
        return h5pt_fail(err, H5PT_WEBHOOK_REFUSED, "webhook", "The webhook is longer than %d characters",
                         JOB_WEBHOOK_SIZE - 1);
    for (size_t i = 0; i < length; i++)
        if (url[i] <= ' ' || url[i] > '~')
            return h5pt_fail(err, H5PT_WEBHOOK_REFUSED, "webhook",
                             "The webhook has a character that a URL cannot have");
    CURLU *parts = curl_url();
    if (!parts)
        return h5pt_fail_memory(err);
    int result = check_parts(config, parts, url, err);
    curl_url_cleanup(parts);
    return result;
}
