/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets, and addresses as text. */
#ifndef H5PT_HTTP_LISTEN_H
#define H5PT_HTTP_LISTEN_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/error.h"

enum { LISTEN_ADDRESS_SIZE = 80 };

/* A socket that listens on "127.0.0.1:8080", "[::1]:8080" or "0.0.0.0:0", and its real address. -1 on failure. */
int listen_on(const char *address, char ret_address[LISTEN_ADDRESS_SIZE], struct h5pt_error *err);

/* Whether only this machine can reach such an address. USAGE when it is none. */
int listen_is_loopback(const char *address, bool *ret, struct h5pt_error *err);

void listen_print_address(const struct sockaddr *address, char ret[LISTEN_ADDRESS_SIZE]);

#endif
