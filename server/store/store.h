/* SPDX-License-Identifier: Apache-2.0 */
/* Where the records of conversions are kept: documents by key, changed by compare-and-set on their revision, so that two
 * writers never overwrite each other. Safe from any thread. */
#ifndef H5PT_STORE_STORE_H
#define H5PT_STORE_STORE_H

#include <stddef.h>

#include "base/error.h"
#include "jobs/record.h"

struct store;

/* Opens the store in `data_dir`, which exists. Owned by the caller. */
int store_open(const char *data_dir, struct store **ret, struct h5pt_error *err);
void store_close(struct store *store); /* NULL-safe */

/* DURABLE returns when the record has reached the disk; LAZY survives a crash of the daemon, not of the machine. */
enum store_durability { STORE_LAZY, STORE_DURABLE };

/* Adds a record, durably; its revision becomes 1. CONFLICT when its owner has one with the same idempotency key. */
int store_create(struct store *store, struct job_record *record, struct h5pt_error *err);

/* Replaces the record if the stored revision is still record->revision, which then becomes the new one. CONFLICT when
 * somebody else has changed it, also when it is gone. */
int store_update(struct store *store, struct job_record *record, enum store_durability durability,
                 struct h5pt_error *err);

/* NOT_FOUND when there is none. *ret is to be released. */
int store_read(struct store *store, const char *id, struct job_record *ret, struct h5pt_error *err);

/* The conversion of `owner` that was sent with this idempotency key; NOT_FOUND. *ret is to be released. */
int store_find_key(struct store *store, const char *owner, const char *key, struct job_record *ret,
                   struct h5pt_error *err);

/* The newest conversion of `owner` that has succeeded with this content and this core; NOT_FOUND. *ret is to be released. */
int store_find_result(struct store *store, const char *owner, const char *content, const char *core,
                      struct job_record *ret, struct h5pt_error *err);

/* Removes a record; that it is gone already is no error. */
int store_remove(struct store *store, const char *id, struct h5pt_error *err);

struct store_query {
    unsigned states;            /* a set of 1u << JOB_…; 0: all */
    const char *owner;          /* only those of this one, or NULL */
    const char *before;         /* only ids less than this one, or NULL */
    int64_t finished_before_ms; /* only those of `states` that finished before, in no order; or 0 */
    int64_t webhook_due_ms; /* those whose webhook is to be called by then, the earliest first, and nothing else; or 0 */
    bool oldest_first;      /* otherwise the newest first */
    size_t limit;
};

/* When the first webhook is to be called after a time; INT64_MAX when none is. */
int store_next_webhook(struct store *store, int64_t after_ms, int64_t *ret_ms, struct h5pt_error *err);

/* The records that fit, in the order of their ids unless said otherwise. *ret is an array of *ret_count, to be freed with store_free_records. */
int store_list(struct store *store, const struct store_query *query, struct job_record **ret, size_t *ret_count,
               struct h5pt_error *err);
void store_free_records(struct job_record *records, size_t count);

#endif
