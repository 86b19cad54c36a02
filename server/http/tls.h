/* SPDX-License-Identifier: Apache-2.0 */
/* The certificate of the API, and its key: one for the process, since that is what the callback of libmicrohttpd can reach. */
#ifndef H5PT_HTTP_TLS_H
#define H5PT_HTTP_TLS_H

#include <gnutls/abstract.h>
#include <stdbool.h>

#include "base/error.h"
#include "config.h"

/* TLS 1.2 and 1.3 only, as a GnuTLS priority string. */
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

bool tls_wanted(const struct config *config);

/* Reads certificate (with those that it hangs from, PEM) and key of the settings; nothing when TLS is not wanted. USAGE when one is
 * missing, unreadable, or they do not belong together; then what was read before stays in use. Also to read them again; from one
 * thread only. */
int tls_load(const struct config *config, struct h5pt_error *err);
/* When no connection is left. */
void tls_release(void);

/* A gnutls_certificate_retrieve_function2, for handshakes in any thread. */
int tls_retrieve(gnutls_session_t session, const gnutls_datum_t *names, int name_count,
                 const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **ret_chain,
                 unsigned *ret_length, gnutls_privkey_t *ret_key);

#endif
