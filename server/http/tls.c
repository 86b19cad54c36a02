/* SPDX-License-Identifier: Apache-2.0 */
#include "http/tls.h"

#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "read_file.h"

enum { CHAIN_MAX = 16, KEY_ID_SIZE = 64 };

/* Handshakes use one without a lock, so that earlier ones stay until the end: a few kilobytes for each renewal. */
struct identity {
    struct identity *earlier;
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned length;
    gnutls_privkey_t key;
};

static struct identity *_Atomic current;

bool tls_wanted(const struct config *config)
{
    return *config->tls_cert || *config->tls_key;
}

static void identity_free(struct identity *identity)
{
    for (unsigned i = 0; i < identity->length; i++)
        gnutls_pcert_deinit(&identity->chain[i]);
    gnutls_privkey_deinit(identity->key);
    free(identity);
}

static int import_chain(struct identity *identity, const char *path, const gnutls_datum_t *pem, struct h5pt_error *err)
{
    unsigned length = CHAIN_MAX;
    int error = gnutls_pcert_list_import_x509_raw(identity->chain, &length, pem, GNUTLS_X509_FMT_PEM,
                                                  GNUTLS_X509_CRT_LIST_FAIL_IF_UNSORTED);
    if (error < 0)
        return h5pt_fail(err, H5PT_USAGE, "--tls-cert",
                         "%s is no certificate in PEM, followed by those that it hangs from, in order: %s", path,
                         gnutls_strerror(error));
    identity->length = length;
    return 0;
}

static int import_key(struct identity *identity, const char *path, const gnutls_datum_t *pem, struct h5pt_error *err)
{
    int error = gnutls_privkey_import_x509_raw(identity->key, pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (error < 0)
        return h5pt_fail(err, H5PT_USAGE, "--tls-key", "%s is no key in PEM without a password: %s", path,
                         gnutls_strerror(error));
    return 0;
}

static int check_pair(const struct identity *identity, struct h5pt_error *err)
{
    unsigned char of_key[KEY_ID_SIZE], of_certificate[KEY_ID_SIZE];
    size_t size = sizeof of_key, other = sizeof of_certificate;
    gnutls_pubkey_t pubkey = NULL;
    bool same = gnutls_pubkey_init(&pubkey) == 0 && gnutls_pubkey_import_privkey(pubkey, identity->key, 0, 0) == 0 &&
                gnutls_pubkey_get_key_id(pubkey, GNUTLS_KEYID_USE_SHA256, of_key, &size) == 0 &&
                gnutls_pubkey_get_key_id(identity->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, of_certificate, &other) ==
                    0 &&
                size == other && memcmp(of_key, of_certificate, size) == 0;
    if (pubkey)
        gnutls_pubkey_deinit(pubkey);
    return same ? 0 : h5pt_fail(err, H5PT_USAGE, "--tls-key", "The key is not that of the certificate");
}

/* Reads a file into `text`, for GnuTLS as *ret. */
static int read_pem(const char *path, const char *what, struct strbuf *text, gnutls_datum_t *ret,
                    struct h5pt_error *err)
{
    if (read_file(path, what, text, err))
        return -1;
    *ret = (gnutls_datum_t){.data = (unsigned char *)text->text, .size = (unsigned)text->length};
    return 0;
}

int tls_load(const struct config *config, struct h5pt_error *err)
{
    if (!tls_wanted(config))
        return 0;
    if (!*config->tls_cert || !*config->tls_key)
        return h5pt_fail(err, H5PT_USAGE, "--tls-cert", "TLS needs both --tls-cert and --tls-key");
    struct strbuf chain = STRBUF_INIT, key = STRBUF_INIT;
    gnutls_datum_t chain_pem, key_pem;
    struct identity *identity = calloc(1, sizeof *identity);
    if (!identity || gnutls_privkey_init(&identity->key)) {
        free(identity);
        return h5pt_fail_memory(err);
    }
    int result = 0;
    if (read_pem(config->tls_cert, "certificate", &chain, &chain_pem, err) ||
        import_chain(identity, config->tls_cert, &chain_pem, err) ||
        read_pem(config->tls_key, "key", &key, &key_pem, err) || import_key(identity, config->tls_key, &key_pem, err) ||
        check_pair(identity, err))
        result = -1;
    if (key.text)
        OPENSSL_cleanse(key.text, key.length);
    strbuf_release(&key);
    strbuf_release(&chain);
    if (!result) {
        identity->earlier = atomic_load(&current);
        atomic_store(&current, identity);
    } else {
        identity_free(identity);
    }
    return result;
}

void tls_release(void)
{
    struct identity *identity = atomic_exchange(&current, NULL);
    while (identity) {
        struct identity *earlier = identity->earlier;
        identity_free(identity);
        identity = earlier;
    }
}

int tls_retrieve(gnutls_session_t session, const gnutls_datum_t *names, int name_count,
                 const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **ret_chain,
                 unsigned *ret_length, gnutls_privkey_t *ret_key)
{
    (void)session, (void)names, (void)name_count, (void)algorithms, (void)algorithm_count;
    struct identity *identity = atomic_load(&current);
    *ret_chain = identity->chain;
    *ret_length = identity->length;
    *ret_key = identity->key;
    return 0;
}
