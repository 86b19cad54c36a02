/* SPDX-License-Identifier: Apache-2.0 */
/* server/store: records with compare-and-set, and the files of conversions. In a directory of its own under /tmp. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "write/digest.h"
#include "store/files.h"
#include "store/store.h"

static char directory[64];

static int make_directory(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof directory, "/tmp/h5pt-test-store-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf -- %s", directory);
    return system(command);
}

static struct job_record make_record(enum job_state state)
{
    struct job_record record = {.state = state, .created_ms = 5, .bytes = 7, .attempts = 2};
    text_new_id(record.id);
    (void)snprintf(record.filename, sizeof record.filename, "m\"o\xff.h5");
    (void)snprintf(record.options.formats, sizeof record.options.formats, "pt,py");
    (void)snprintf(record.options.backend, sizeof record.options.backend, "theano");
    record.options.weights_only = true;
    return record;
}

static struct store *open_store(void)
{
    struct store *store = NULL;
    struct h5pt_error err = H5PT_ERROR_INIT;
    assert_int_equal(store_open(directory, &store, &err), 0);
    return store;
}

static void records_survive_and_are_compared(void **state)
{
    (void)state;
    struct store *store = open_store();
    struct job_record record = make_record(JOB_QUEUED), stale = record, seen;
    struct h5pt_error err = H5PT_ERROR_INIT;
    record.result = json_pack("{s:s}", "verdict", "converted");
    assert_int_equal(store_create(store, &record, &err), 0);
    assert_int_equal(store_create(store, &stale, &err), -1); /* the id is taken */
    stale.revision = record.revision;

    record.state = JOB_RUNNING;
    assert_int_equal(store_update(store, &record, STORE_LAZY, NULL), 0);
    err = (struct h5pt_error)H5PT_ERROR_INIT;
    stale.state = JOB_CANCELED;
    assert_int_equal(store_update(store, &stale, STORE_DURABLE, &err), -1);
    assert_int_equal(err.code, H5PT_CONFLICT);
    record.state = JOB_SUCCEEDED;
    record.finished_ms = 99;
    assert_int_equal(store_update(store, &record, STORE_DURABLE, NULL), 0);
    store_close(store);

    store = open_store();
    assert_int_equal(store_read(store, record.id, &seen, NULL), 0);
    assert_string_equal(seen.id, record.id);
    assert_string_equal(seen.options.formats, "pt,py");
    assert_string_equal(seen.options.backend, "theano");
    assert_true(seen.options.weights_only);
    assert_string_equal(seen.filename, "m\"o?.h5");
    assert_int_equal(seen.state, JOB_SUCCEEDED);
    assert_int_equal(seen.finished_ms, 99);
    assert_int_equal(seen.attempts, 2);
    assert_int_equal(seen.revision, 3);
    assert_true(json_equal(seen.result, record.result));
    job_record_release(&seen);

    err = (struct h5pt_error)H5PT_ERROR_INIT;
    assert_int_equal(store_remove(store, record.id, NULL), 0);
    assert_int_equal(store_read(store, record.id, &seen, &err), -1);
    assert_int_equal(err.code, H5PT_NOT_FOUND);
    err = (struct h5pt_error)H5PT_ERROR_INIT;
    assert_int_equal(store_update(store, &record, STORE_DURABLE, &err), -1);
    assert_int_equal(err.code, H5PT_CONFLICT);
    job_record_release(&record);
    store_close(store);
}

static void the_owner_and_the_webhook_are_found(void **state)
{
    (void)state;
    struct store *store = open_store();
    static const char *const owners[] = {"alice", "bob", ""};
    struct job_record made[6], *seen;
    size_t count;
    int64_t next;
    for (int i = 0; i < 6; i++) {
        made[i] = make_record(JOB_SUCCEEDED);
        (void)snprintf(made[i].owner, sizeof made[i].owner, "%s", owners[i % 3]);
        if (i) /* due at 900, 800, … */
            made[i].webhook = (struct job_webhook){.url = "https://example.org/",
                                                   .attempts = i,
                                                   .next_ms = 1000 - 100 * i,
                                                   .status = 503,
                                                   .problem = "none"};
        assert_int_equal(store_create(store, &made[i], NULL), 0);
    }
    for (int i = 0; i < 3; i++) {
        const struct store_query of_owner = {.owner = owners[i], .limit = 10};
        assert_int_equal(store_list(store, &of_owner, &seen, &count, NULL), 0);
        assert_int_equal(count, 2);
        assert_string_equal(seen[0].owner, owners[i]);
        store_free_records(seen, count);
    }

    const struct store_query due = {.webhook_due_ms = 800, .limit = 3};
    assert_int_equal(store_list(store, &due, &seen, &count, NULL), 0);
    assert_int_equal(count, 3);
    for (int i = 0; i < 3; i++)
        assert_string_equal(seen[i].id, made[5 - i].id);
    assert_string_equal(seen[0].webhook.url, "https://example.org/");
    assert_int_equal(seen[0].webhook.state, WEBHOOK_PENDING);
    assert_int_equal(seen[0].webhook.attempts, 5);
    assert_int_equal(seen[0].webhook.next_ms, 500);
    assert_int_equal(seen[0].webhook.status, 503);
    assert_string_equal(seen[0].webhook.problem, "none");
    store_free_records(seen, count);
    assert_int_equal(store_next_webhook(store, 800, &next, NULL), 0);
    assert_int_equal(next, 900);

    /* One that is done with is not due any more. */
    for (int i = 1; i < 6; i++) {
        made[i].webhook.state = WEBHOOK_DELIVERED;
        made[i].webhook.next_ms = 0;
        assert_int_equal(store_update(store, &made[i], STORE_LAZY, NULL), 0);
    }
    assert_int_equal(store_list(store, &due, &seen, &count, NULL), 0);
    assert_int_equal(count, 0);
    store_free_records(seen, count);
    assert_int_equal(store_next_webhook(store, 0, &next, NULL), 0);
    assert_true(next == INT64_MAX);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(store_remove(store, made[i].id, NULL), 0);
        job_record_release(&made[i]);
    }
    store_close(store);
}

static void lists_are_filtered_and_in_order(void **state)
{
    (void)state;
    struct store *store = open_store();
    struct job_record made[6], *seen;
    size_t count;
    for (int i = 0; i < 6; i++) {
        made[i] = make_record(i % 2 ? JOB_SUCCEEDED : JOB_QUEUED);
        made[i].id[9] = (char)('0' + i); /* ids of one millisecond are in random order */
        made[i].finished_ms = i;
        assert_int_equal(store_create(store, &made[i], NULL), 0);
    }
    const struct store_query newest = {.limit = 2};
    assert_int_equal(store_list(store, &newest, &seen, &count, NULL), 0);
    assert_int_equal(count, 2);
    assert_true(strcmp(seen[0].id, seen[1].id) > 0);
    store_free_records(seen, count);

    const struct store_query queued = {.states = 1u << JOB_QUEUED, .oldest_first = true, .limit = SIZE_MAX};
    assert_int_equal(store_list(store, &queued, &seen, &count, NULL), 0);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(seen[i].state, JOB_QUEUED);
    assert_true(strcmp(seen[0].id, seen[1].id) < 0);
    const struct store_query before = {.states = 1u << JOB_QUEUED, .before = seen[1].id, .limit = 10};
    struct job_record *earlier;
    size_t earlier_count;
    assert_int_equal(store_list(store, &before, &earlier, &earlier_count, NULL), 0);
    assert_int_equal(earlier_count, 1);
    assert_string_equal(earlier[0].id, seen[0].id);
    store_free_records(earlier, earlier_count);
    store_free_records(seen, count);

    const struct store_query old = {.states = 1u << JOB_SUCCEEDED, .finished_before_ms = 4, .limit = 10};
    assert_int_equal(store_list(store, &old, &seen, &count, NULL), 0);
    assert_int_equal(count, 2);
    store_free_records(seen, count);
    store_close(store);
}

static struct job_record make_repeatable(const char *owner, const char *key, const char *content, const char *core)
{
    struct job_record record = make_record(JOB_SUCCEEDED);
    (void)snprintf(record.owner, sizeof record.owner, "%s", owner);
    (void)snprintf(record.idempotency_key, sizeof record.idempotency_key, "%s", key);
    (void)snprintf(record.content, sizeof record.content, "%s", content);
    (void)snprintf(record.core, sizeof record.core, "%s", core);
    return record;
}

static void keys_are_unique_for_each_owner(void **state)
{
    (void)state;
    struct store *store = open_store();
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct job_record seen, records[] = {
                                make_repeatable("ann", "k", "", ""),
                                make_repeatable("bob", "k", "", ""),
                                make_repeatable("ann", "", "", ""), /* no key: as many as one likes */
                                make_repeatable("ann", "", "", ""),
                            };
    for (size_t i = 0; i < sizeof records / sizeof *records; i++)
        assert_int_equal(store_create(store, &records[i], NULL), 0);
    struct job_record again = make_repeatable("ann", "k", "", "");
    assert_int_equal(store_create(store, &again, &err), -1);
    assert_int_equal(err.code, H5PT_CONFLICT);
    store_close(store);

    store = open_store();
    assert_int_equal(store_find_key(store, "bob", "k", &seen, NULL), 0);
    assert_string_equal(seen.id, records[1].id);
    assert_string_equal(seen.owner, "bob");
    job_record_release(&seen);
    static const char *const unknown[][2] = {{"ann", "K"}, {"", "k"}, {"ann", ""}};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        err = (struct h5pt_error)H5PT_ERROR_INIT;
        assert_int_equal(store_find_key(store, unknown[i][0], unknown[i][1], &seen, &err), -1);
        assert_int_equal(err.code, H5PT_NOT_FOUND);
    }
    assert_int_equal(store_remove(store, records[0].id, NULL), 0);
    assert_int_equal(store_create(store, &again, NULL), 0); /* the key is free */
    store_close(store);
}

static void results_are_found_by_what_made_them(void **state)
{
    (void)state;
    struct store *store = open_store();
    struct job_record seen, older = make_repeatable("ann", "", "content", "core"), newer = older;
    text_new_id(newer.id);
    newer.id[0] = '1';
    older.id[0] = '0';
    newer.state = JOB_RUNNING;
    newer.core[0] = '\0';
    assert_int_equal(store_create(store, &older, NULL), 0);
    assert_int_equal(store_create(store, &newer, NULL), 0);
    assert_int_equal(store_find_result(store, "ann", "content", "core", &seen, NULL), 0);
    assert_string_equal(seen.id, older.id); /* the newer one has none yet */
    job_record_release(&seen);
    static const char *const others[][3] = {
        {"bob", "content", "core"}, {"ann", "other", "core"}, {"ann", "content", "other"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(store_find_result(store, others[i][0], others[i][1], others[i][2], &seen, NULL), -1);

    newer.state = JOB_SUCCEEDED;
    (void)snprintf(newer.core, sizeof newer.core, "core");
    assert_int_equal(store_update(store, &newer, STORE_LAZY, NULL), 0);
    assert_int_equal(store_find_result(store, "ann", "content", "core", &seen, NULL), 0);
    assert_string_equal(seen.id, newer.id);
    job_record_release(&seen);
    newer.state = JOB_EXPIRED;
    assert_int_equal(store_update(store, &newer, STORE_LAZY, NULL), 0);
    assert_int_equal(store_find_result(store, "ann", "content", "core", &seen, NULL), 0);
    assert_string_equal(seen.id, older.id);
    job_record_release(&seen);
    store_close(store);
}

/* Whether a list of these states and this owner, read in pages of two, has just the records that fit, in order. */
static void check_pages(struct store *store, const struct job_record *all, size_t count, unsigned states,
                        const char *owner, bool oldest_first)
{
    struct store_query query = {.states = states, .owner = owner, .oldest_first = oldest_first, .limit = 2};
    struct job_record *page = NULL;
    char last[TEXT_ID_SIZE] = "";
    size_t length = 0, taken = 0;
    for (size_t n = 0; n < count; n++) {
        const struct job_record *record = &all[oldest_first ? n : count - 1 - n];
        if ((states && !(states & 1u << record->state)) || (owner && strcmp(record->owner, owner) != 0))
            continue;
        if (taken == length) {
            store_free_records(page, length);
            query.before = *last && !oldest_first ? last : NULL;
            query.limit = oldest_first ? count : 2; /* there are pages for the newest first only */
            assert_int_equal(store_list(store, &query, &page, &length, NULL), 0);
            assert_in_range(length, 1, query.limit);
            taken = 0;
        }
        assert_string_equal(page[taken].id, record->id);
        (void)snprintf(last, sizeof last, "%s", page[taken++].id);
    }
    assert_int_equal(taken, length);
    store_free_records(page, length);
}

static void lists_of_several_states_are_in_order(void **state)
{
    (void)state;
    static const char *const owners[] = {"alice", "bob", NULL};
    enum { COUNT = 40 };
    struct job_record all[COUNT];
    struct store *store = open_store();
    for (int i = 0; i < COUNT; i++) {
        all[i] = make_record((enum job_state)(i * 7 % JOB_STATE_COUNT));
        all[i].id[8] = (char)('0' + i / 10); /* those of one millisecond are in random order */
        all[i].id[9] = (char)('0' + i % 10);
        (void)snprintf(all[i].owner, sizeof all[i].owner, "%s", owners[i * 5 % 3 == 0]);
        assert_int_equal(store_create(store, &all[i], NULL), 0);
    }
    for (unsigned states = 0; states < 1u << JOB_STATE_COUNT; states++)
        for (int i = 0; i < 6; i++)
            check_pages(store, all, COUNT, states, owners[i % 3], i >= 3);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(store_remove(store, all[i].id, NULL), 0);
    store_close(store);
}

static struct files *open_files(void)
{
    struct files *files = NULL;
    struct h5pt_error err = H5PT_ERROR_INIT;
    assert_int_equal(files_open(directory, 0, &files, &err), 0);
    return files;
}

static bool exists(const char *format, const char *name)
{
    char path[256], tail[128];
    (void)snprintf(tail, sizeof tail, "%s/%s", format, name);
    (void)snprintf(path, sizeof path, "%s/%s", directory, tail);
    return access(path, F_OK) == 0;
}

static void put(int dir, const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

static void uploads_are_kept_or_swept(void **state)
{
    (void)state;
    struct files *files = open_files(), *second;
    struct files_draft kept, lost;
    struct h5pt_error err = H5PT_ERROR_INIT;
    int fd, inputs[FILES_PART_COUNT];
    char byte, id[TEXT_ID_SIZE];
    text_new_id(id);
    assert_int_equal(files_open(directory, 0, &second, &err), -1); /* one daemon at a time */
    assert_int_equal(err.code, H5PT_CONFLICT);

    assert_int_equal(files_new_upload(files, &kept, NULL), 0);
    assert_int_equal(files_new_upload(files, &lost, NULL), 0);
    assert_int_equal(files_new_part(files, &kept, FILES_MODEL, &fd, NULL), 0);
    assert_int_equal(write(fd, "x", 1), 1);
    (void)close(fd);
    assert_int_equal(files_new_part(files, &kept, FILES_MODEL, &fd, NULL), -1); /* it is there already */
    assert_int_equal(files_new_part(files, &kept, FILES_REFERENCE, &fd, NULL), 0);
    (void)close(fd);
    assert_int_equal(files_keep_upload(files, &kept, id, NULL), 0);
    assert_true(exists("inputs", id) && !exists("tmp", kept.name) && exists("tmp", lost.name));
    files_close(files);

    files = open_files();
    assert_false(exists("tmp", lost.name));
    assert_int_equal(files_open_input(files, id, inputs, NULL), 0);
    assert_int_equal(read(inputs[FILES_MODEL], &byte, 1), 1);
    assert_int_equal(inputs[FILES_ARCHITECTURE], -1);
    assert_int_equal(read(inputs[FILES_REFERENCE], &byte, 1), 0);
    (void)close(inputs[FILES_MODEL]);
    (void)close(inputs[FILES_REFERENCE]);
    files_drop_input(files, id);
    assert_false(exists("inputs", id));

    assert_true(exists("spare", id)); /* for the next upload, of which nothing can be seen in it */
    assert_int_equal(files_new_upload(files, &kept, NULL), 0);
    assert_false(exists("spare", id));
    assert_int_equal(files_new_part(files, &kept, FILES_MODEL, &fd, NULL), 0);
    assert_int_equal(read(fd, &byte, 1), 0);
    (void)close(fd);
    assert_int_equal(files_keep_upload(files, &kept, id, NULL), 0);
    assert_int_equal(files_open_input(files, id, inputs, NULL), 0);
    assert_int_equal(inputs[FILES_REFERENCE], -1);
    (void)close(inputs[FILES_MODEL]);
    files_drop_input(files, id);
    files_close(files);
    files = open_files();
    assert_false(exists("spare", id));
    files_close(files);
}

static void outputs_appear_whole(void **state)
{
    (void)state;
    struct files *files = open_files();
    struct files_draft draft;
    int dir, fd;
    uint64_t bytes;
    char id[TEXT_ID_SIZE];
    text_new_id(id);
    for (int round = 0; round < 2; round++) { /* the second takes the place of the first */
        assert_int_equal(files_new_output(files, &draft, &dir, NULL), 0);
        put(dir, "model.pt", round ? "second" : "one");
        assert_int_equal(files_open_artifact(files, id, "model.pt", &fd, &bytes, NULL), round ? 0 : -1);
        if (round)
            (void)close(fd);
        (void)close(dir);
        assert_int_equal(files_keep_output(files, &draft, id, NULL), 0);
    }
    assert_int_equal(files_open_artifact(files, id, "model.pt", &fd, &bytes, NULL), 0);
    assert_int_equal(bytes, 6);
    (void)close(fd);
    assert_int_equal(files_open_artifact(files, id, "..", &fd, &bytes, NULL), -1);
    files_drop_output(files, id);
    assert_false(exists("outputs", id));
    files_close(files);
}

static void outputs_are_shared(void **state)
{
    (void)state;
    static const char *const names[] = {"model.pt", "report.json", "model.py"};
    struct files *files = open_files();
    struct files_draft draft;
    struct h5pt_error err = H5PT_ERROR_INIT;
    int dir, fd;
    uint64_t bytes;
    char ids[3][TEXT_ID_SIZE];
    for (int i = 0; i < 3; i++)
        text_new_id(ids[i]);
    assert_int_equal(files_new_output(files, &draft, &dir, NULL), 0);
    put(dir, names[0], "weights");
    put(dir, names[1], "{}");
    (void)close(dir);
    assert_int_equal(files_keep_output(files, &draft, ids[0], NULL), 0);

    assert_int_equal(files_share_output(files, ids[0], names, 2, ids[1], &err), 0);
    assert_int_equal(files_share_output(files, ids[0], names, 3, ids[2], &err), -1); /* one is missing: none at all */
    assert_int_equal(err.code, H5PT_NOT_FOUND);
    assert_false(exists("outputs", ids[2]));
    files_drop_output(files, ids[0]);
    assert_int_equal(files_open_artifact(files, ids[1], names[0], &fd, &bytes, NULL), 0);
    assert_int_equal(bytes, strlen("weights"));
    (void)close(fd);
    err = (struct h5pt_error)H5PT_ERROR_INIT;
    assert_int_equal(files_share_output(files, ids[0], names, 2, ids[2], &err), -1);
    assert_int_equal(err.code, H5PT_NOT_FOUND);
    files_drop_output(files, ids[1]);
    files_close(files);
}

static void only_plain_files_are_outputs(void **state)
{
    (void)state;
    static const char *const kinds[] = {"symlink", "fifo", "directory", "hard link"};
    struct files *files = open_files();
    char id[TEXT_ID_SIZE];
    text_new_id(id);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct files_draft draft;
        struct h5pt_error err = H5PT_ERROR_INIT;
        int dir;
        assert_int_equal(files_new_output(files, &draft, &dir, NULL), 0);
        switch (i) {
        case 0: assert_int_equal(symlinkat("/etc/passwd", dir, "model.pt"), 0); break;
        case 1: assert_int_equal(mkfifoat(dir, "model.pt", 0600), 0); break;
        case 2: assert_int_equal(mkdirat(dir, "model.pt", 0700), 0); break;
        default: put(dir, "a", "a"); assert_int_equal(linkat(dir, "a", dir, "model.pt", 0), 0);
        }
        (void)close(dir);
        assert_int_equal(files_keep_output(files, &draft, id, &err), -1);
        assert_false(exists("outputs", id));
        files_drop_draft(files, &draft);
    }
    files_close(files);
}

static bool want_inputs(void *context, const char *id, bool input)
{
    return input && strcmp(id, context) == 0;
}

static void what_nobody_knows_is_swept(void **state)
{
    (void)state;
    struct files *files = open_files();
    char ids[2][TEXT_ID_SIZE];
    for (int i = 0; i < 2; i++) {
        struct files_draft draft;
        int fd;
        text_new_id(ids[i]);
        assert_int_equal(files_new_upload(files, &draft, NULL), 0);
        assert_int_equal(files_keep_upload(files, &draft, ids[i], NULL), 0);
        assert_int_equal(files_new_output(files, &draft, &fd, NULL), 0);
        put(fd, "report.json", "{}");
        (void)close(fd);
        assert_int_equal(files_keep_output(files, &draft, ids[i], NULL), 0);
    }
    files_sweep(files, want_inputs, ids[0]);
    assert_true(exists("inputs", ids[0]));
    assert_false(exists("inputs", ids[1]) || exists("outputs", ids[0]) || exists("outputs", ids[1]));
    files_close(files);
}

static void digests(void **state)
{
    (void)state;
    char text[DIGEST_TEXT_SIZE];
    struct digest *digest = digest_new();
    digest_add(digest, "a", 1);
    digest_add(digest, "bc", 2);
    digest_finish(digest, text);
    digest_free(digest);
    /* FIPS 180-2, appendix B.1 */
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_true(digest_is_valid(text));
    assert_false(digest_is_valid("ba78") || digest_is_valid(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_several_states_are_in_order),
        cmocka_unit_test(records_survive_and_are_compared),
        cmocka_unit_test(the_owner_and_the_webhook_are_found),
        cmocka_unit_test(lists_are_filtered_and_in_order),
        cmocka_unit_test(keys_are_unique_for_each_owner),
        cmocka_unit_test(results_are_found_by_what_made_them),
        cmocka_unit_test(uploads_are_kept_or_swept),
        cmocka_unit_test(outputs_appear_whole),
        cmocka_unit_test(outputs_are_shared),
        cmocka_unit_test(only_plain_files_are_outputs),
        cmocka_unit_test(what_nobody_knows_is_swept),
        cmocka_unit_test(digests),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
