/* SPDX-License-Identifier: Apache-2.0 */
#include "jobs/record.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    bool finished;
} states[JOB_STATE_COUNT] = {
#define STATE(id, name, finished) [JOB_##id] = {name, finished},
#include "jobs/states.def"
#undef STATE
};

const char *job_state_name(enum job_state state)
{
    return states[state].name;
}

bool job_state_from_name(const char *name, enum job_state *ret)
{
    for (int i = 0; i < JOB_STATE_COUNT; i++) {
        if (strcmp(states[i].name, name) != 0)
            continue;
        *ret = (enum job_state)i;
        return true;
    }
    return false;
}

bool job_state_finished(enum job_state state)
{
    return states[state].finished;
}

const struct job_option *job_option_at(size_t index)
{
    static const struct job_option table[] = {
#define OPTION(name, size, list) {#name, list, offsetof(struct job_options, name), size},
#include "jobs/options.def"
#undef OPTION
    };
    return index < sizeof table / sizeof *table ? &table[index] : NULL;
}

json_t *job_options_json(const struct job_options *options, bool null_defaults)
{
    json_t *object = json_object();
    const struct job_option *option;
    for (size_t i = 0; (option = job_option_at(i)); i++) {
        const char *text = job_option_text(options, option);
        (void)json_object_set_new(object, option->name, *text || !null_defaults ? json_string(text) : json_null());
    }
    (void)json_object_set_new(object, "weights_only", json_boolean(options->weights_only));
    return object;
}

const char *webhook_state_name(enum webhook_state state)
{
    static const char *const names[WEBHOOK_STATE_COUNT] = {
#define WEBHOOK(id, name) [WEBHOOK_##id] = name,
#include "jobs/webhooks.def"
#undef WEBHOOK
    };
    return names[state];
}

/* {"url", "state", "attempts", "next", "status", "problem"}; NULL without a webhook. `next` is left out when there is none: the store
 * looks for those that have one. */
static json_t *encode_webhook(const struct job_webhook *webhook)
{
    if (!*webhook->url)
        return NULL;
    return json_pack("{s:s, s:s, s:i, s:o*, s:i, s:o}", "url", webhook->url, "state",
                     webhook_state_name(webhook->state), "attempts", webhook->attempts, "next",
                     webhook->next_ms ? json_integer(webhook->next_ms) : NULL, "status", webhook->status, "problem",
                     text_json(webhook->problem));
}

static int decode_webhook(const json_t *object, struct job_webhook *ret)
{
    const char *url, *state, *problem;
    json_int_t next = 0;
    int i = 0;
    if (!object)
        return 0;
    if (json_unpack((json_t *)object, "{s:s, s:s, s:i, s?I, s:i, s:s}", "url", &url, "state", &state, "attempts",
                    &ret->attempts, "next", &next, "status", &ret->status, "problem", &problem))
        return -1;
    while (i < WEBHOOK_STATE_COUNT && strcmp(webhook_state_name((enum webhook_state)i), state) != 0)
        i++;
    if (i == WEBHOOK_STATE_COUNT)
        return -1;
    (void)snprintf(ret->url, sizeof ret->url, "%s", url);
    ret->state = (enum webhook_state)i;
    ret->next_ms = next;
    (void)snprintf(ret->problem, sizeof ret->problem, "%s", problem);
    return 0;
}

static void read_options(const json_t *object, struct job_options *ret)
{
    const struct job_option *option;
    for (size_t i = 0; (option = job_option_at(i)); i++) {
        const char *text = json_string_value(json_object_get(object, option->name));
        (void)snprintf(job_option_buffer(ret, option), option->size, "%s", text ? text : "");
    }
    ret->weights_only = json_is_true(json_object_get(object, "weights_only"));
}

struct job_record job_record_copy(const struct job_record *record)
{
    struct job_record copy = *record;
    json_incref(copy.result);
    json_incref(copy.error);
    json_incref(copy.artifacts);
    return copy;
}

void job_record_release(struct job_record *record)
{
    json_decref(record->result);
    json_decref(record->error);
    json_decref(record->artifacts);
    record->result = record->error = record->artifacts = NULL;
}

void job_record_finish(struct job_record *record)
{
    record->finished_ms = text_now_ms();
    if (*record->webhook.url)
        record->webhook.next_ms = record->finished_ms;
}

/* Texts of a record that a document may lack, as those of earlier versions do; "" then. */
static const struct {
    const char *name;
    size_t offset, size;
} texts[] = {
#define TEXT(name) {#name, offsetof(struct job_record, name), sizeof((struct job_record *)0)->name},
    TEXT(owner) TEXT(idempotency_key) TEXT(content) TEXT(core) TEXT(reused_from)
#undef TEXT
};
enum { TEXT_COUNT = sizeof texts / sizeof *texts };

json_t *job_record_encode(const struct job_record *record)
{
    json_t *document = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:i, s:o, s:{s:I, s:s, s:o}, s:O*, s:O*, s:O*, s:o*}", "id", record->id, "state",
        job_state_name(record->state), "created", (json_int_t)record->created_ms, "started",
        (json_int_t)record->started_ms, "finished", (json_int_t)record->finished_ms, "attempts", record->attempts,
        "options", job_options_json(&record->options, false), "model", "bytes", (json_int_t)record->bytes, "sha256",
        record->sha256, "filename", text_json(record->filename), "result", record->result, "error", record->error,
        "artifacts", record->artifacts, "webhook", encode_webhook(&record->webhook));
    for (size_t i = 0; document && i < TEXT_COUNT; i++) {
        const char *text = (const char *)record + texts[i].offset;
        if (*text && json_object_set_new(document, texts[i].name, text_json(text))) {
            json_decref(document);
            return NULL;
        }
    }
    return document;
}

int job_record_decode(const json_t *document, struct job_record *ret, struct h5pt_error *err)
{
    struct job_record record = {0};
    const char *id, *state, *sha256, *filename, *owner = "";
    json_int_t created, started, finished, bytes;
    json_t *options, *result = NULL, *error = NULL, *artifacts = NULL, *webhook = NULL;
    /* jansson takes the document as not const, though it changes nothing without the F flag. */
    json_t *root = json_incref((json_t *)document);
    int failed = json_unpack(root, "{s:s, s?s, s:s, s:I, s:I, s:I, s:i, s:o, s:{s:I, s:s, s:s}, s?o, s?o, s?o, s?o}",
                             "id", &id, "owner", &owner, "state", &state, "created", &created, "started", &started,
                             "finished", &finished, "attempts", &record.attempts, "options", &options, "model", "bytes",
                             &bytes, "sha256", &sha256, "filename", &filename, "result", &result, "error", &error,
                             "artifacts", &artifacts, "webhook", &webhook) ||
                 !job_state_from_name(state, &record.state) || decode_webhook(webhook, &record.webhook);
    if (!failed) {
        (void)snprintf(record.id, sizeof record.id, "%s", id);
        read_options(options, &record.options);
        (void)snprintf(record.sha256, sizeof record.sha256, "%s", sha256);
        (void)snprintf(record.filename, sizeof record.filename, "%s", filename);
        for (size_t i = 0; i < TEXT_COUNT; i++) {
            const char *text = json_string_value(json_object_get(root, texts[i].name));
            (void)snprintf((char *)&record + texts[i].offset, texts[i].size, "%s", text ? text : "");
        }
        record.created_ms = created;
        record.started_ms = started;
        record.finished_ms = finished;
        record.bytes = (uint64_t)bytes;
        record.result = json_incref(result);
        record.error = json_incref(error);
        record.artifacts = json_incref(artifacts);
        *ret = record;
    }
    json_decref(root);
    return failed ? h5pt_fail(err, H5PT_INTERNAL, "store", "The record of a conversion cannot be read") : 0;
}
