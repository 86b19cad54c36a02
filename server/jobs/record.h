/* SPDX-License-Identifier: Apache-2.0 */
/* The record of a conversion: what the store keeps, a value that is copied, never shared. */
#ifndef H5PT_JOBS_RECORD_H
#define H5PT_JOBS_RECORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "text.h"

enum job_state {
#define STATE(id, name, finished) JOB_##id,
#include "jobs/states.def"
#undef STATE
    JOB_STATE_COUNT
};

const char *job_state_name(enum job_state state); /* "queued" */
bool job_state_from_name(const char *name, enum job_state *ret);
bool job_state_finished(enum job_state state);

/* Options of a conversion as the worker takes them; "" for its default. */
struct job_options {
#define OPTION(name, size, list) char name[size];
#include "jobs/options.def"
#undef OPTION
    bool weights_only;
};

/* The texts of struct job_options, to go through them. */
struct job_option {
    const char *name; /* "formats" */
    const char *list; /* of the capabilities that names its values */
    size_t offset, size;
};

const struct job_option *job_option_at(size_t index); /* NULL behind the last one */

static inline const char *job_option_text(const struct job_options *options, const struct job_option *option)
{
    return (const char *)options + option->offset;
}

static inline char *job_option_buffer(struct job_options *options, const struct job_option *option)
{
    return (char *)options + option->offset;
}

/* {"formats", …, "weights_only"}, with "" or null for a default. NULL without memory. */
json_t *job_options_json(const struct job_options *options, bool null_defaults);

enum { JOB_SHA256_SIZE = 65, JOB_FILENAME_SIZE = 256, JOB_OWNER_SIZE = 64, JOB_KEY_SIZE = 256, JOB_WEBHOOK_SIZE = 512 };

enum webhook_state {
#define WEBHOOK(id, name) WEBHOOK_##id,
#include "jobs/webhooks.def"
#undef WEBHOOK
    WEBHOOK_STATE_COUNT
};

const char *webhook_state_name(enum webhook_state state);

/* Who is to hear that the job has finished. */
struct job_webhook {
    char url[JOB_WEBHOOK_SIZE]; /* "": nobody */
    enum webhook_state state;
    int attempts;
    int64_t next_ms;   /* since 1970, when it is to be called; 0: not yet, or not any more */
    int status;        /* of the last answer; 0: there was none */
    char problem[128]; /* with the last attempt, or "" */
};

struct job_record {
    char id[TEXT_ID_SIZE];
    uint64_t revision; /* of the stored record; counts its changes */
    enum job_state state;
    int64_t created_ms, started_ms, finished_ms; /* since 1970; 0: not yet */
    int attempts;                                /* runs of the worker that came to an end by themselves */
    struct job_options options;
    uint64_t bytes; /* of the upload */
    char sha256[JOB_SHA256_SIZE];
    char filename[JOB_FILENAME_SIZE];   /* as the client named it, or "" */
    char owner[JOB_OWNER_SIZE];         /* the name of the key it was sent with, or "" */
    char idempotency_key[JOB_KEY_SIZE]; /* the client's, unique for each owner, or "" */
    char content[JOB_SHA256_SIZE];      /* of everything that was sent: all parts and the options */
    char core[JOB_SHA256_SIZE];         /* of the program that made the result, or "" */
    char reused_from[TEXT_ID_SIZE];     /* the conversion that made the result, when it was another one, or "" */
    int64_t run_us;                     /* of the worker, in this life of the daemon; not stored */
    /* Shared and never changed once set: */
    json_t *result;    /* {"verdict", "parity", …} of a worker that reported, or NULL */
    json_t *error;     /* a problem, when the state is failed, or NULL */
    json_t *artifacts; /* [{"name", "bytes", "sha256"}], or NULL */
    struct job_webhook webhook;
};

/* A copy, and the end of one. */
struct job_record job_record_copy(const struct job_record *record);
void job_record_release(struct job_record *record);

/* The job has come to its end (its state says which), now; its webhook is to be called. */
void job_record_finish(struct job_record *record);

/* To and from JSON. Encoding gives NULL without memory; decoding is INTERNAL for a document that it cannot read. The
 * revision is not part of the document. */
json_t *job_record_encode(const struct job_record *record);
int job_record_decode(const json_t *document, struct job_record *ret, struct h5pt_error *err);

#endif
