/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/keys.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "auth/bucket.h"
#include "read_file.h"
#include "text.h"
#include "write/digest.h"

static const char key_prefix[] = "h5pt_";
enum { KEY_RANDOM = 52, KEY_LENGTH = sizeof key_prefix - 1 + KEY_RANDOM, KEYS_MAX = 10000 };

static const struct {
    const char *name;
    unsigned scopes; /* with those that it includes */
} scopes[SCOPE_COUNT] = {
#define SCOPE(name, includes, allows) {#name, SCOPE_##name | (includes)},
#include "auth/scopes.def"
#undef SCOPE
};

struct key {
    struct caller caller;
    uint64_t rate;
    char sha256[DIGEST_TEXT_SIZE];
    struct bucket bucket;
};

struct keys {
    const struct config *config;
    pthread_mutex_t lock;
    struct key *rows;
    size_t count;
};

const char *scope_name(unsigned scope)
{
    for (unsigned i = 0; i < SCOPE_COUNT; i++)
        if (scope == 1u << i)
            return scopes[i].name;
    return "open";
}

static int read_name(const char *text, struct key *key, struct h5pt_error *err)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    const size_t length = strlen(text);
    if (!length || length >= JOB_OWNER_SIZE || strspn(text, allowed) != length)
        return h5pt_fail(err, H5PT_USAGE, "keys",
                         "The name of a key is \"%.80s\", but must be up to %d letters, digits, '.', '_' or '-'", text,
                         JOB_OWNER_SIZE - 1);
    memcpy(key->caller.name, text, length + 1);
    return 0;
}

static int read_scopes(char *list, struct key *key, struct h5pt_error *err)
{
    for (char *name; (name = strsep(&list, ","));) {
        unsigned i = 0;
        while (i < SCOPE_COUNT && strcmp(scopes[i].name, name) != 0)
            i++;
        if (i == SCOPE_COUNT)
            return h5pt_fail(err, H5PT_USAGE, "keys",
                             "The key %s has a scope \"%.80s\"; there are: read, convert, admin", key->caller.name,
                             name);
        key->caller.scopes |= scopes[i].scopes;
    }
    return 0;
}

static int read_options(char *list, struct key *key, struct h5pt_error *err)
{
    for (char *option; (option = strsep(&list, ","));) {
        uint64_t number;
        const size_t name = strcspn(option, "=");
        const bool jobs = name == 4 && memcmp(option, "jobs", name) == 0;
        const bool rate = name == 4 && memcmp(option, "rate", name) == 0;
        if (!(jobs || rate) || !option[name] || !text_number(option + name + 1, &number))
            return h5pt_fail(err, H5PT_USAGE, "keys",
                             "The key %s has an option \"%.80s\"; there are: jobs=NUMBER, rate=NUMBER",
                             key->caller.name, option);
        if (jobs)
            key->caller.max_jobs = (size_t)number;
        else
            key->rate = number;
    }
    return 0;
}

/* NAME:SCOPES:SHA256[:OPTIONS]; the line is taken apart. */
static int read_row(const struct config *config, char *line, struct key *ret, struct h5pt_error *err)
{
    struct key key = {.caller.max_jobs = (size_t)config->quota_jobs, .rate = config->quota_rate};
    const char *name = strsep(&line, ":");
    char *list = strsep(&line, ":");
    const char *sha256 = strsep(&line, ":");
    if (read_name(name, &key, err))
        return -1;
    if (!list || !sha256 || !digest_is_valid(sha256))
        return h5pt_fail(
            err, H5PT_USAGE, "keys",
            "The line of the key %s is not NAME:SCOPES:SHA256[:OPTIONS], with 64 lower-case hexadecimal digits", name);
    if (read_scopes(list, &key, err) || (line && read_options(line, &key, err)))
        return -1;
    memcpy(key.sha256, sha256, sizeof key.sha256);
    *ret = key;
    return 0;
}

/* The row of a digest, or `count`. Looks at all rows and at all of each, so that the time says nothing. */
static size_t find(const struct key *rows, size_t count, const char *sha256)
{
    size_t found = count;
    for (size_t i = 0; i < count; i++)
        found = CRYPTO_memcmp(rows[i].sha256, sha256, DIGEST_TEXT_SIZE) == 0 ? i : found;
    return found;
}

static int add_line(const struct config *config, char *line, struct key **rows, size_t *count, struct h5pt_error *err)
{
    line += strspn(line, " \t");
    line[strcspn(line, "\r")] = '\0';
    if (!*line || *line == '#')
        return 0;
    if (*count == KEYS_MAX)
        return h5pt_fail(err, H5PT_USAGE, "keys", "There are more than %d keys", KEYS_MAX);
    struct key *larger = reallocarray(*rows, *count + 1, sizeof **rows);
    if (!larger)
        return h5pt_fail_memory(err);
    *rows = larger;
    if (read_row(config, line, &larger[*count], err))
        return -1;
    if (find(larger, *count, larger[*count].sha256) != *count)
        return h5pt_fail(err, H5PT_USAGE, "keys", "The key %s has two lines", larger[*count].caller.name);
    ++*count;
    return 0;
}

static int read_rows(const struct config *config, struct key **ret, size_t *ret_count, struct h5pt_error *err)
{
    struct strbuf text = STRBUF_INIT;
    struct key *rows = NULL;
    size_t count = 0, number = 0;
    struct h5pt_error failure = H5PT_ERROR_INIT;
    int result = read_file(config->keys_file, "keys file", &text, &failure);
    char *rest = text.text;
    for (char *line; !result && (line = strsep(&rest, "\n")); number++)
        result = add_line(config, line, &rows, &count, &failure);
    if (!result && !count)
        result = h5pt_fail(&failure, H5PT_USAGE, "keys", "The keys file %s has no key", config->keys_file);
    strbuf_release(&text);
    if (result) {
        free(rows);
        if (!number)
            return h5pt_fail(err, failure.code, config->keys_file, "%s", failure.message);
        return h5pt_fail(err, failure.code, config->keys_file, "Line %zu of the keys file: %s", number,
                         failure.message);
    }
    *ret = rows;
    *ret_count = count;
    return 0;
}

int keys_open(const struct config *config, struct keys **ret, struct h5pt_error *err)
{
    struct keys *keys = calloc(1, sizeof *keys);
    if (!keys)
        return h5pt_fail_memory(err);
    keys->config = config;
    (void)pthread_mutex_init(&keys->lock, NULL);
    if (*config->keys_file && read_rows(config, &keys->rows, &keys->count, err)) {
        keys_free(keys);
        return -1;
    }
    *ret = keys;
    return 0;
}

void keys_free(struct keys *keys)
{
    if (!keys)
        return;
    (void)pthread_mutex_destroy(&keys->lock);
    free(keys->rows);
    free(keys);
}

int keys_reload(struct keys *keys, struct h5pt_error *err)
{
    struct key *rows = NULL;
    size_t count = 0;
    if (!*keys->config->keys_file)
        return 0;
    if (read_rows(keys->config, &rows, &count, err))
        return -1;
    (void)pthread_mutex_lock(&keys->lock);
    for (size_t i = 0; i < count; i++) {
        const size_t old = find(keys->rows, keys->count, rows[i].sha256);
        if (old < keys->count)
            rows[i].bucket = keys->rows[old].bucket;
    }
    free(keys->rows);
    keys->rows = rows;
    keys->count = count;
    (void)pthread_mutex_unlock(&keys->lock);
    return 0;
}

size_t keys_count(struct keys *keys)
{
    (void)pthread_mutex_lock(&keys->lock);
    const size_t count = keys->count;
    (void)pthread_mutex_unlock(&keys->lock);
    return count;
}

static int digest_of(const char *key, char ret[DIGEST_TEXT_SIZE], struct h5pt_error *err)
{
    struct digest *digest = digest_new();
    if (!digest)
        return h5pt_fail_memory(err);
    digest_add(digest, key, strlen(key));
    digest_finish(digest, ret);
    digest_free(digest);
    return 0;
}

/* With the lock held: one of the requests of a key. */
static int take_request(struct key *key, struct keys_rate *ret_rate, struct h5pt_error *err)
{
    if (!key->rate)
        return 0;
    const bool taken = bucket_take(&key->bucket, key->rate, text_clock_ms());
    *ret_rate = (struct keys_rate){.limit = key->rate, .left = bucket_left(&key->bucket, key->rate)};
    ret_rate->wait_s = bucket_wait(&key->bucket, key->rate, taken ? key->rate : 1);
    if (taken)
        return 0;
    return h5pt_fail(err, H5PT_QUOTA_EXCEEDED, "rate", "The key %s may make %zu requests in a minute", key->caller.name,
                     (size_t)key->rate);
}

int keys_identify(struct keys *keys, const char *key, struct caller *ret, struct keys_rate *ret_rate,
                  struct h5pt_error *err)
{
    *ret_rate = (struct keys_rate){.limit = 0};
    if (!*keys->config->keys_file) {
        *ret = (struct caller){.scopes = ~0u};
        return 0;
    }
    char sha256[DIGEST_TEXT_SIZE];
    if (!key)
        return h5pt_fail(err, H5PT_UNAUTHORIZED, "Authorization",
                         "Send your key with the request: \"Authorization: Bearer %s…\"", key_prefix);
    /* A secret of another making might be short enough to be found by trying. */
    if (strlen(key) != KEY_LENGTH || strncmp(key, key_prefix, sizeof key_prefix - 1) != 0)
        return h5pt_fail(err, H5PT_UNAUTHORIZED, "Authorization", "This is no key: one is %s and %d characters",
                         key_prefix, KEY_RANDOM);
    if (digest_of(key, sha256, err))
        return -1;
    (void)pthread_mutex_lock(&keys->lock);
    const size_t row = find(keys->rows, keys->count, sha256);
    int result;
    if (row < keys->count) {
        *ret = keys->rows[row].caller;
        result = take_request(&keys->rows[row], ret_rate, err);
    } else {
        result = h5pt_fail(err, H5PT_UNAUTHORIZED, "Authorization", "This key is not, or no longer, known here");
    }
    (void)pthread_mutex_unlock(&keys->lock);
    return result;
}

int keys_create(const char *line, FILE *out, struct h5pt_error *err)
{
    char key[KEY_LENGTH + 1], sha256[DIGEST_TEXT_SIZE], name[JOB_OWNER_SIZE];
    struct strbuf text = STRBUF_INIT;
    struct key row;
    const size_t length = strcspn(line, ":");
    const char *list = line[length] ? line + length + 1 : "convert";
    const size_t list_length = strcspn(list, ":");
    (void)snprintf(name, sizeof name, "%.*s", length < sizeof name ? (int)length : 0, line);
    memcpy(key, key_prefix, sizeof key_prefix - 1);
    text_random(key + sizeof key_prefix - 1, KEY_RANDOM);
    if (digest_of(key, sha256, err))
        return -1;
    strbuf_addf(&text, "%s:%.*s:%s%s", name, (int)list_length, list, sha256, list + list_length);
    char *copy = strbuf_ok(&text) ? strdup(strbuf_text(&text)) : NULL;
    int result = copy ? read_row(&(const struct config){.quota_jobs = 0}, copy, &row, err) : h5pt_fail_memory(err);
    if (!result && fprintf(out, "%s\n%s\n", key, strbuf_text(&text)) < 0)
        result = h5pt_fail_errno(err, H5PT_IO, NULL, "Printing the key failed");
    free(copy);
    strbuf_release(&text);
    return result;
}
