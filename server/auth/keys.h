/* SPDX-License-Identifier: Apache-2.0 */
/* Who may use the API. A key is a secret that a client sends as "Authorization: Bearer h5pt_…"; the keys file has a line for each,
 *
 *     NAME:SCOPES:SHA256[:OPTIONS]
 *
 * NAME     the owner of the conversions that are sent with it: letters, digits, '.', '_', '-'. Two keys may have the same name:
 *          the old and the new one while one takes the place of the other.
 * SCOPES   of scopes.def, with commas between
 * SHA256   of the key, in hexadecimal. Keys are 260 random bits, which nobody finds by trying, so that a plain digest keeps
 *          them as safe as a slow one; a key that is not of the form that keys_create gives is refused for that reason.
 * OPTIONS  jobs=N, rate=N: as quota_jobs and quota_rate of the settings, for this key
 *
 * Empty lines and lines that begin with '#' mean nothing. Safe from any thread. */
#ifndef H5PT_AUTH_KEYS_H
#define H5PT_AUTH_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "config.h"
#include "jobs/record.h"

enum scope_index {
#define SCOPE(name, includes, allows) SCOPE_INDEX_##name,
#include "auth/scopes.def"
#undef SCOPE
    SCOPE_COUNT
};

/* Sets of scopes. */
enum {
    SCOPE_open = 0, /* no key is needed */
#define SCOPE(name, includes, allows) SCOPE_##name = 1 << SCOPE_INDEX_##name,
#include "auth/scopes.def"
#undef SCOPE
};

/* The name of a set of one scope, "open" for none. */
const char *scope_name(unsigned scope);

/* Who makes a request. */
struct caller {
    char name[JOB_OWNER_SIZE]; /* "": anybody, of a service without keys */
    unsigned scopes;           /* with those that they include */
    size_t max_jobs;           /* at once; 0: any number */
};

struct keys;

/* Reads the file of the settings; without one there are no keys, and everybody may do everything. USAGE for a malformed file. */
int keys_open(const struct config *config, struct keys **ret, struct h5pt_error *err);
void keys_free(struct keys *keys); /* NULL-safe */

/* Reads the file again; on failure everything stays as it was. */
int keys_reload(struct keys *keys, struct h5pt_error *err);

/* How many there are; 0 only without a file. */
size_t keys_count(struct keys *keys);

/* What a key has left of its requests per minute; limit 0: any number. */
struct keys_rate {
    uint64_t limit, left;
    unsigned wait_s; /* until there is one more, when none is left; otherwise until all are back */
};

/* Whose the key is, and one of its requests taken. `key` NULL: none was sent. UNAUTHORIZED; QUOTA_EXCEEDED, with *ret_rate set. */
int keys_identify(struct keys *keys, const char *key, struct caller *ret, struct keys_rate *ret_rate,
                  struct h5pt_error *err);

/* Prints a new key and, on the next line, its line for the file. `line` is NAME[:SCOPES[:OPTIONS]]; without scopes: convert. */
int keys_create(const char *line, FILE *out, struct h5pt_error *err);

#endif
