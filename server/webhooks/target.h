/* SPDX-License-Identifier: Apache-2.0 */
/* Which URLs, and which addresses behind them, may be called: a client of the service must not reach through it what he cannot
 * reach himself. */
#ifndef H5PT_WEBHOOKS_TARGET_H
#define H5PT_WEBHOOKS_TARGET_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/error.h"
#include "config.h"

/* What can be said without a look at the network: WEBHOOK_REFUSED for what is no URL, has another scheme than https (or http, where
 * that is allowed) or a user in it, or names an address that is not public (unless that is allowed). */
int target_check(const struct config *config, const char *url, struct h5pt_error *err);

/* False for addresses of private networks, of this machine, of a link, of groups, and for all others that are set aside; also when
 * they are inside of an IPv6 address. To be asked for the address that is connected to, after names were looked up. */
bool target_is_public(const struct sockaddr *address);

#endif
