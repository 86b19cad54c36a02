/* SPDX-License-Identifier: Apache-2.0 */
/* What the settings say of who may reach the service and whom it calls, read at the start and by --check. */
#ifndef H5PT_SERVER_ACCESS_H
#define H5PT_SERVER_ACCESS_H

#include <stdbool.h>

#include "auth/keys.h"
#include "config.h"
#include "webhooks/webhooks.h"

struct access {
    struct keys *keys;
    struct webhooks *webhooks;
    bool loopback; /* only this machine can reach the API */
};

/* Origins, certificate, keys and webhook secret; USAGE when one of them cannot be used, or when others could reach a service
 * without keys and nobody has said that they may. *ret is to be released. */
int access_open(const struct config *config, struct access *ret, struct h5pt_error *err);
/* Reads again what can change, and logs it. What cannot be read stays as it was. */
void access_reload(struct access *access, const struct config *config);
void access_release(struct access *access);

#endif
