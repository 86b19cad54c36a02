/* SPDX-License-Identifier: Apache-2.0 */
#include "access.h"

#include "http/cors.h"
#include "http/listen.h"
#include "http/tls.h"
#include "log.h"

/* Nobody is to find out only later that he has opened his service to the network. */
static int check_open(const struct access *access, const struct config *config, struct h5pt_error *err)
{
    if (keys_count(access->keys) || access->loopback || config_yes(config->allow_unauthenticated))
        return 0;
    return h5pt_fail(
        err, H5PT_USAGE, "--listen",
        "Others can reach %s, and there are no keys. Name a file of them with --keys-file (h5ptd --new-key "
        "NAME makes one), or let everybody in with --allow-unauthenticated yes",
        config->listen);
}

int access_open(const struct config *config, struct access *ret, struct h5pt_error *err)
{
    struct access access = {.keys = NULL};
    if (cors_check(config->cors_origins, err) || tls_load(config, err) || keys_open(config, &access.keys, err) ||
        listen_is_loopback(config->listen, &access.loopback, err) || check_open(&access, config, err) ||
        webhooks_open(config, &access.webhooks, err)) {
        access_release(&access);
        return -1;
    }
    *ret = access;
    return 0;
}

void access_reload(struct access *access, const struct config *config)
{
    struct h5pt_error keys = H5PT_ERROR_INIT, tls = H5PT_ERROR_INIT, webhooks = H5PT_ERROR_INIT;
    if (keys_reload(access->keys, &keys))
        log_failure(LOG_ERROR, "not_reloaded", &keys, NULL);
    if (tls_load(config, &tls))
        log_failure(LOG_ERROR, "not_reloaded", &tls, NULL);
    if (webhooks_reload(access->webhooks, &webhooks))
        log_failure(LOG_ERROR, "not_reloaded", &webhooks, NULL);
    log_event(LOG_INFO, "reloaded", json_pack("{s:I}", "keys", (json_int_t)keys_count(access->keys)));
}

void access_release(struct access *access)
{
    tls_release();
    webhooks_free(access->webhooks);
    keys_free(access->keys);
    *access = (struct access){.keys = NULL};
}
