/* SPDX-License-Identifier: Apache-2.0 */
/* store.h on SQLite: one table of documents, with the columns that queries need beside them. */
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "store/store.h"

struct store {
    sqlite3 *db;
    pthread_mutex_t lock; /* one statement at a time */
    sqlite3_stmt *insert, *update, *read, *find_key, *find_result, *remove, *next_webhook;
    enum store_durability durability; /* that the connection is set to */
};

/* WAL with synchronous=FULL syncs at each commit; with NORMAL at checkpoints only. */
static const char *const synchronous[] = {
    [STORE_LAZY] = "PRAGMA synchronous=NORMAL", [STORE_DURABLE] = "PRAGMA synchronous=FULL"};

/* What a query looks for in the document; an index has the same expression. */
#define WEBHOOK "json_extract(document, '$.webhook.next')"

static const char pragmas[] = "PRAGMA journal_mode=WAL;"
                              "PRAGMA synchronous=FULL;";

/* Each takes the database one user_version further; what is here never changes, changes are added behind it. */
static const char *const migrations[] = {
    "CREATE TABLE IF NOT EXISTS jobs ("
    " id TEXT PRIMARY KEY, revision INTEGER NOT NULL, state INTEGER NOT NULL,"
    " finished INTEGER NOT NULL, document TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, id);",
    "ALTER TABLE jobs ADD COLUMN owner TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE jobs ADD COLUMN idempotency_key TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE jobs ADD COLUMN content TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE jobs ADD COLUMN core TEXT NOT NULL DEFAULT '';"
    "CREATE UNIQUE INDEX jobs_by_key ON jobs (owner, idempotency_key) WHERE idempotency_key <> '';"
    "CREATE INDEX jobs_by_content ON jobs (content);"
    "CREATE INDEX jobs_by_owner ON jobs (owner, id);"
    "CREATE INDEX jobs_by_webhook ON jobs (" WEBHOOK ") WHERE " WEBHOOK " IS NOT NULL;",
    ("CREATE INDEX jobs_by_end ON jobs (state, finished);"
     "CREATE INDEX jobs_by_owner_and_state ON jobs (owner, state, id);"),
};
enum { SCHEMA_VERSION = sizeof migrations / sizeof *migrations };

static int fail(struct store *store, struct h5pt_error *err)
{
    int code = sqlite3_errcode(store->db);
    if (code == SQLITE_CONSTRAINT)
        return h5pt_fail(err, H5PT_CONFLICT, "store", "There is such a conversion already");
    return h5pt_fail(err, code == SQLITE_FULL ? H5PT_DISK_FULL : H5PT_IO, "store", "The job store failed: %s",
                     sqlite3_errmsg(store->db));
}

static int prepare(struct store *store, struct h5pt_error *err)
{
    const struct {
        sqlite3_stmt **statement;
        const char *text;
    } statements[] = {
        {&store->insert,
         "INSERT INTO jobs (id, revision, state, finished, document, core, owner, idempotency_key, content)"
         " VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"},
        {&store->update, "UPDATE jobs SET revision = revision + 1, state = ?2, finished = ?3, document = ?4, core = ?5"
                         " WHERE id = ?1 AND revision = ?6"},
        {&store->read, "SELECT document, revision FROM jobs WHERE id = ?1"},
        {&store->find_key, "SELECT document, revision FROM jobs WHERE owner = ?1 AND idempotency_key = ?2"
                           " AND idempotency_key <> ''"},
        {&store->find_result, "SELECT document, revision FROM jobs WHERE owner = ?1 AND content = ?2 AND core = ?3"
                              " AND state = ?4 ORDER BY id DESC LIMIT 1"},
        {&store->remove, "DELETE FROM jobs WHERE id = ?1"},
        {&store->next_webhook, "SELECT " WEBHOOK " FROM jobs WHERE " WEBHOOK " IS NOT NULL AND " WEBHOOK
                               " > ?1 ORDER BY " WEBHOOK " LIMIT 1"},
    };
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        if (sqlite3_prepare_v3(store->db, statements[i].text, -1, SQLITE_PREPARE_PERSISTENT, statements[i].statement,
                               NULL))
            return fail(store, err);
    return 0;
}

static int read_version(struct store *store, int *ret, struct h5pt_error *err)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(store->db, "PRAGMA user_version", -1, &statement, NULL) ||
                         sqlite3_step(statement) != SQLITE_ROW
                     ? fail(store, err)
                     : 0;
    if (!result)
        *ret = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    return result;
}

/* Brings the tables of an earlier h5ptd up to date. */
static int migrate(struct store *store, struct h5pt_error *err)
{
    int version = 0;
    if (read_version(store, &version, err))
        return -1;
    if (version > SCHEMA_VERSION)
        return h5pt_fail(err, H5PT_CONFLICT, "store", "The job store was written by a newer h5ptd");
    for (; version < SCHEMA_VERSION; version++) {
        char done[64];
        (void)snprintf(done, sizeof done, "PRAGMA user_version = %d; COMMIT", version + 1);
        if (sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) ||
            sqlite3_exec(store->db, migrations[version], NULL, NULL, NULL) ||
            sqlite3_exec(store->db, done, NULL, NULL, NULL))
            return fail(store, err);
    }
    return 0;
}

int store_open(const char *data_dir, struct store **ret, struct h5pt_error *err)
{
    struct strbuf path = STRBUF_INIT;
    struct store *store = calloc(1, sizeof *store);
    strbuf_addf(&path, "%s/jobs.sqlite", data_dir);
    if (!store || !strbuf_ok(&path)) {
        free(store);
        strbuf_release(&path);
        return h5pt_fail_memory(err);
    }
    (void)pthread_mutex_init(&store->lock, NULL);
    store->durability = STORE_DURABLE;
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    bool failed = sqlite3_open_v2(strbuf_text(&path), &store->db, flags, NULL) ||
                  sqlite3_exec(store->db, pragmas, NULL, NULL, NULL);
    if (failed)
        (void)fail(store, err);
    strbuf_release(&path);
    if (failed || migrate(store, err) || prepare(store, err)) {
        store_close(store);
        return -1;
    }
    *ret = store;
    return 0;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    sqlite3_finalize(store->insert);
    sqlite3_finalize(store->update);
    sqlite3_finalize(store->read);
    sqlite3_finalize(store->find_key);
    sqlite3_finalize(store->find_result);
    sqlite3_finalize(store->remove);
    sqlite3_finalize(store->next_webhook);
    sqlite3_close(store->db);
    (void)pthread_mutex_destroy(&store->lock);
    free(store);
}

/* With the lock held. */
static int set_durability(struct store *store, enum store_durability durability, struct h5pt_error *err)
{
    if (store->durability == durability)
        return 0;
    if (sqlite3_exec(store->db, synchronous[durability], NULL, NULL, NULL))
        return fail(store, err);
    store->durability = durability;
    return 0;
}

/* Runs `insert` or `update` with a record, with the lock held. */
static int write_record(struct store *store, sqlite3_stmt *statement, const struct job_record *record,
                        struct h5pt_error *err)
{
    json_t *document = job_record_encode(record);
    char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    if (!text)
        return h5pt_fail_memory(err);
    (void)sqlite3_bind_text(statement, 1, record->id, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int(statement, 2, (int)record->state);
    (void)sqlite3_bind_int64(statement, 3, record->finished_ms);
    (void)sqlite3_bind_text(statement, 4, text, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(statement, 5, record->core, -1, SQLITE_STATIC);
    if (statement == store->update) {
        (void)sqlite3_bind_int64(statement, 6, (sqlite3_int64)record->revision);
    } else {
        (void)sqlite3_bind_text(statement, 6, record->owner, -1, SQLITE_STATIC);
        (void)sqlite3_bind_text(statement, 7, record->idempotency_key, -1, SQLITE_STATIC);
        (void)sqlite3_bind_text(statement, 8, record->content, -1, SQLITE_STATIC);
    }
    int result = sqlite3_step(statement) == SQLITE_DONE ? 0 : fail(store, err);
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    free(text);
    return result;
}

int store_create(struct store *store, struct job_record *record, struct h5pt_error *err)
{
    (void)pthread_mutex_lock(&store->lock);
    int result = set_durability(store, STORE_DURABLE, err);
    if (!result)
        result = write_record(store, store->insert, record, err);
    (void)pthread_mutex_unlock(&store->lock);
    if (!result)
        record->revision = 1;
    return result;
}

int store_update(struct store *store, struct job_record *record, enum store_durability durability,
                 struct h5pt_error *err)
{
    (void)pthread_mutex_lock(&store->lock);
    int result = set_durability(store, durability, err);
    if (!result)
        result = write_record(store, store->update, record, err);
    if (!result && sqlite3_changes(store->db) != 1)
        result = h5pt_fail(err, H5PT_CONFLICT, record->id, "The conversion was changed by somebody else");
    (void)pthread_mutex_unlock(&store->lock);
    if (!result)
        record->revision++;
    return result;
}

static int read_row(struct store *store, sqlite3_stmt *statement, struct job_record *ret, struct h5pt_error *err)
{
    const char *text = (const char *)sqlite3_column_text(statement, 0);
    if (!text)
        return fail(store, err);
    json_t *document = json_loads(text, 0, NULL);
    int result = job_record_decode(document, ret, err);
    json_decref(document);
    if (!result)
        ret->revision = (uint64_t)sqlite3_column_int64(statement, 1);
    return result;
}

/* The row of a statement whose first parameters are texts, and the next one, unless negative, a number. */
static int find_row(struct store *store, sqlite3_stmt *statement, const char *const *texts, int count, int number,
                    struct job_record *ret, struct h5pt_error *err)
{
    (void)pthread_mutex_lock(&store->lock);
    for (int i = 0; i < count; i++)
        (void)sqlite3_bind_text(statement, i + 1, texts[i], -1, SQLITE_STATIC);
    if (number >= 0)
        (void)sqlite3_bind_int(statement, count + 1, number);
    int step = sqlite3_step(statement), result;
    if (step == SQLITE_ROW)
        result = read_row(store, statement, ret, err);
    else if (step == SQLITE_DONE)
        result = h5pt_fail(err, H5PT_NOT_FOUND, NULL, "There is no such conversion");
    else
        result = fail(store, err);
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    (void)pthread_mutex_unlock(&store->lock);
    return result;
}

int store_read(struct store *store, const char *id, struct job_record *ret, struct h5pt_error *err)
{
    const char *const texts[] = {id};
    return find_row(store, store->read, texts, 1, -1, ret, err);
}

int store_find_key(struct store *store, const char *owner, const char *key, struct job_record *ret,
                   struct h5pt_error *err)
{
    const char *const texts[] = {owner, key};
    return find_row(store, store->find_key, texts, 2, -1, ret, err);
}

int store_find_result(struct store *store, const char *owner, const char *content, const char *core,
                      struct job_record *ret, struct h5pt_error *err)
{
    const char *const texts[] = {owner, content, core};
    return find_row(store, store->find_result, texts, 3, JOB_SUCCEEDED, ret, err);
}

int store_remove(struct store *store, const char *id, struct h5pt_error *err)
{
    (void)pthread_mutex_lock(&store->lock);
    (void)sqlite3_bind_text(store->remove, 1, id, -1, SQLITE_STATIC);
    int result = sqlite3_step(store->remove) == SQLITE_DONE ? 0 : fail(store, err);
    (void)sqlite3_reset(store->remove);
    (void)sqlite3_clear_bindings(store->remove);
    (void)pthread_mutex_unlock(&store->lock);
    return result;
}

int store_next_webhook(struct store *store, int64_t after_ms, int64_t *ret_ms, struct h5pt_error *err)
{
    (void)pthread_mutex_lock(&store->lock);
    (void)sqlite3_bind_int64(store->next_webhook, 1, after_ms);
    const int step = sqlite3_step(store->next_webhook);
    int result = 0;
    if (step == SQLITE_ROW)
        *ret_ms = sqlite3_column_int64(store->next_webhook, 0);
    else if (step == SQLITE_DONE)
        *ret_ms = INT64_MAX;
    else
        result = fail(store, err);
    (void)sqlite3_reset(store->next_webhook);
    (void)pthread_mutex_unlock(&store->lock);
    return result;
}

/* The SELECT of a query; its parameters are ?1 before, ?2 finished_before, ?3 limit, ?4 owner,
 * ?5 webhook_due. */
static void query_text(const struct store_query *query, struct strbuf *ret)
{
    const char *columns = "SELECT document, revision FROM jobs WHERE";
    const char *owner = query->owner ? " AND owner = ?4" : "", *before = query->before ? " AND id < ?1" : "";
    const char *order = query->oldest_first ? "ORDER BY id ASC" : "ORDER BY id DESC";
    if (query->webhook_due_ms) {
        strbuf_addf(ret, "%s " WEBHOOK " IS NOT NULL AND " WEBHOOK " <= ?5 ORDER BY " WEBHOOK " LIMIT ?3", columns);
        return;
    }
    if (!query->states) {
        strbuf_addf(ret, "%s 1%s%s %s LIMIT ?3", columns, owner, before, order);
        return;
    }
    /* One state after the other, each in the order of its index, of which no more is read than may be wanted. */
    const char *finished = query->finished_before_ms ? " AND finished < ?2" : "", *separator = "";
    if (query->finished_before_ms)
        order = "";
    strbuf_addf(ret, "%s id IN (", columns);
    for (int i = 0; i < JOB_STATE_COUNT; i++) {
        if (!(query->states & 1u << i))
            continue;
        strbuf_addf(ret, "%sSELECT * FROM (SELECT id FROM jobs WHERE state = %d%s%s%s %s LIMIT ?3)", separator, i,
                    owner, before, finished, order);
        separator = " UNION ALL ";
    }
    strbuf_addf(ret, ") %s LIMIT ?3", order);
}

/* Steps through the rows of a query with the lock held; what was read is in *records on failure too. */
static int read_rows(struct store *store, sqlite3_stmt *statement, struct job_record **records, size_t *count,
                     struct h5pt_error *err)
{
    size_t capacity = 0;
    int step;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        if (*count == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            struct job_record *larger = reallocarray(*records, capacity, sizeof **records);
            if (!larger)
                return h5pt_fail_memory(err);
            *records = larger;
        }
        if (read_row(store, statement, &(*records)[*count], err))
            return -1;
        ++*count;
    }
    return step == SQLITE_DONE ? 0 : fail(store, err);
}

int store_list(struct store *store, const struct store_query *query, struct job_record **ret, size_t *ret_count,
               struct h5pt_error *err)
{
    struct strbuf text = STRBUF_INIT;
    struct job_record *records = NULL;
    size_t count = 0;
    sqlite3_stmt *statement = NULL;
    query_text(query, &text);
    (void)pthread_mutex_lock(&store->lock);
    int result;
    if (!strbuf_ok(&text))
        result = h5pt_fail_memory(err);
    else if (sqlite3_prepare_v2(store->db, strbuf_text(&text), -1, &statement, NULL))
        result = fail(store, err);
    else {
        if (query->before)
            (void)sqlite3_bind_text(statement, 1, query->before, -1, SQLITE_STATIC);
        if (query->finished_before_ms)
            (void)sqlite3_bind_int64(statement, 2, query->finished_before_ms);
        if (query->owner)
            (void)sqlite3_bind_text(statement, 4, query->owner, -1, SQLITE_STATIC);
        if (query->webhook_due_ms)
            (void)sqlite3_bind_int64(statement, 5, query->webhook_due_ms);
        (void)sqlite3_bind_int64(statement, 3, query->limit > INT64_MAX ? INT64_MAX : (sqlite3_int64)query->limit);
        result = read_rows(store, statement, &records, &count, err);
    }
    sqlite3_finalize(statement);
    (void)pthread_mutex_unlock(&store->lock);
    strbuf_release(&text);
    if (result) {
        store_free_records(records, count);
        return -1;
    }
    *ret = records;
    *ret_count = count;
    return 0;
}

void store_free_records(struct job_record *records, size_t count)
{
    for (size_t i = 0; i < count; i++)
        job_record_release(&records[i]);
    free(records);
}
