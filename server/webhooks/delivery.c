/* SPDX-License-Identifier: Apache-2.0 */
#include "webhooks/delivery.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "webhooks/target.h"

/* Nobody reads the answer; so much of it is let through before the connection is closed. */
enum { ANSWER_MAX = 65536 };
enum { PAUSE_FACTOR = 3, PAUSE_MAX_MS = 600000, RETRY_AFTER_MAX_MS = 3600000, STATUS_GONE = 410 };

/* NOLINTNEXTLINE(readability-non-const-parameter): libcurl says so */
static size_t take_answer(char *bytes, size_t size, size_t count, void *context)
{
    struct delivery *delivery = context;
    (void)bytes;
    delivery->received += size * count;
    delivery->too_long = delivery->received > ANSWER_MAX;
    return delivery->too_long ? 0 : size * count;
}

/* Where a connection is made, the name has been looked up: no later answer of a name server can lead elsewhere. */
static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct delivery *delivery = context;
    (void)purpose;
    if (!config_yes(delivery->config->webhook_allow_private) && !target_is_public(&address->addr)) {
        delivery->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static bool add_header(struct delivery *delivery, const char *name, const char *value)
{
    struct strbuf line = STRBUF_INIT;
    strbuf_addf(&line, "%s: %s", name, value);
    struct curl_slist *headers = strbuf_ok(&line) ? curl_slist_append(delivery->headers, strbuf_text(&line)) : NULL;
    strbuf_release(&line);
    if (headers)
        delivery->headers = headers;
    return headers;
}

static bool add_headers(struct delivery *delivery, const struct signature_secrets *secrets)
{
    struct strbuf signature = STRBUF_INIT;
    char timestamp[24];
    const int64_t now = text_now_ms() / 1000;
    (void)snprintf(timestamp, sizeof timestamp, "%" PRId64, now);
    signature_add(secrets, delivery->id, now, delivery->body, &signature);
    bool added = strbuf_ok(&signature) && add_header(delivery, "Content-Type", "application/json") &&
                 add_header(delivery, "Expect", "") && add_header(delivery, "Webhook-Id", delivery->id) &&
                 add_header(delivery, "Webhook-Timestamp", timestamp) &&
                 add_header(delivery, "Webhook-Signature", strbuf_text(&signature));
    strbuf_release(&signature);
    return added;
}

/* NOLINTBEGIN(bugprone-*,clang-analyzer-*): the checks of curl's own macro */
static bool set_options(struct delivery *delivery, const char *url)
{
    CURL *curl = delivery->curl;
    const struct config *config = delivery->config;
    const long timeout = (long)config->webhook_timeout;
    const char *protocols = config_yes(config->webhook_allow_http) ? "http,https" : "https";
    return !(curl_easy_setopt(curl, CURLOPT_URL, url) || curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, protocols) ||
             curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) || curl_easy_setopt(curl, CURLOPT_PROXY, "") ||
             curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) || curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L) ||
             curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L) || curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L) ||
             curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout) ||
             curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, timeout) ||
             curl_easy_setopt(curl, CURLOPT_USERAGENT, "h5pt/" H5PT_VERSION) ||
             curl_easy_setopt(curl, CURLOPT_HTTPHEADER, delivery->headers) ||
             curl_easy_setopt(curl, CURLOPT_POSTFIELDS, delivery->body) ||
             curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(delivery->body)) ||
             curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_answer) ||
             curl_easy_setopt(curl, CURLOPT_WRITEDATA, delivery) ||
             curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket) ||
             curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, delivery) ||
             curl_easy_setopt(curl, CURLOPT_PRIVATE, delivery) ||
             (*config->webhook_ca_file && curl_easy_setopt(curl, CURLOPT_CAINFO, config->webhook_ca_file)));
}

struct delivery *delivery_new(const struct config *config, const struct signature_secrets *secrets,
                              const struct job_record *record, char *body)
{
    struct delivery *delivery = calloc(1, sizeof *delivery);
    if (!delivery) {
        free(body);
        return NULL;
    }
    delivery->config = config;
    delivery->body = body;
    memcpy(delivery->id, record->id, sizeof delivery->id);
    delivery->curl = curl_easy_init();
    if (!delivery->curl || !add_headers(delivery, secrets) || !set_options(delivery, record->webhook.url)) {
        delivery_free(delivery);
        return NULL;
    }
    return delivery;
}

void delivery_free(struct delivery *delivery)
{
    if (!delivery)
        return;
    curl_easy_cleanup(delivery->curl);
    curl_slist_free_all(delivery->headers);
    free(delivery->body);
    free(delivery);
}

/* How long to wait after so many attempts, up to a fifth more so that those that failed together do not come back together. */
static int64_t pause_after(const struct config *config, int attempts)
{
    uint64_t ms = config->webhook_pause;
    for (int i = 1; i < attempts && ms < PAUSE_MAX_MS; i++)
        ms *= PAUSE_FACTOR;
    if (ms > PAUSE_MAX_MS)
        ms = PAUSE_MAX_MS;
    unsigned char random = 0;
    (void)!getrandom(&random, sizeof random, 0);
    return (int64_t)(ms + ms / 5 * random / UINT8_MAX);
}

/* What the server asks for, in milliseconds. */
static int64_t retry_after(CURL *curl)
{
    curl_off_t seconds = 0;
    if (curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &seconds) || seconds <= 0)
        return 0;
    return seconds < RETRY_AFTER_MAX_MS / 1000 ? (int64_t)seconds * 1000 : RETRY_AFTER_MAX_MS;
}

void delivery_judge(const struct delivery *delivery, CURLcode code, int64_t now_ms, struct job_webhook *webhook)
{
    long status = 0;
    (void)curl_easy_getinfo(delivery->curl, CURLINFO_RESPONSE_CODE, &status);
    const bool answered = code == CURLE_OK || delivery->too_long;
    webhook->attempts++;
    webhook->status = answered ? (int)status : 0;
    webhook->next_ms = 0;
    webhook->problem[0] = '\0';
    if (answered && status / 100 == 2) {
        webhook->state = WEBHOOK_DELIVERED;
        return;
    }
    /* Of the network no more than that, since the reader is not the one who may look around in it. */
    if (delivery->refused && !answered)
        (void)snprintf(webhook->problem, sizeof webhook->problem, "The host has an address that is not public");
    else if (!answered)
        (void)snprintf(webhook->problem, sizeof webhook->problem, "%s", curl_easy_strerror(code));
    else
        (void)snprintf(webhook->problem, sizeof webhook->problem, "The answer has status %ld", status);
    if ((delivery->refused && !answered) || status == STATUS_GONE ||
        webhook->attempts >= (int)delivery->config->webhook_attempts) {
        webhook->state = WEBHOOK_FAILED;
        return;
    }
    const int64_t own = pause_after(delivery->config, webhook->attempts), asked = retry_after(delivery->curl);
    webhook->next_ms = now_ms + (own > asked ? own : asked);
}
/* NOLINTEND(bugprone-*,clang-analyzer-*) */
