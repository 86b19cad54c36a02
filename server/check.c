/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "access.h"
#include "health/canary.h"
#include "http/listen.h"
#include "jobs/child.h"
#include "store/files.h"
#include "store/store.h"

enum { CANARY_LIMIT_MS = 60000 };

struct check {
    const struct config *config;
    FILE *out;
    char *worker;
    json_t *description;
    struct files *files; /* NULL: a daemon that runs has them */
    bool in_use;
    int status;
};

static void say(struct check *check, const char *what, const char *value, const struct h5pt_error *err)
{
    const bool ok = err->code == H5PT_OK;
    (void)fprintf(check->out, "%s %s%s%s%s%s\n", ok ? "ok    " : "FAILED", what, *value ? " " : "", value,
                  ok ? "" : ": ", ok ? "" : err->message);
    if (!ok && !check->status)
        check->status = h5pt_code_exit(err->code);
}

static void check_access(struct check *check)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct access access;
    char keys[32] = "";
    if (access_open(check->config, &access, &err) == 0) {
        (void)snprintf(keys, sizeof keys, "with %zu keys", (size_t)keys_count(access.keys));
        access_release(&access);
    }
    say(check, "access", keys, &err);
}

static void check_worker(struct check *check)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    check->worker = child_find_program(check->config->worker, &err);
    if (check->worker)
        (void)child_describe(check->worker, check->config, &check->description, &err);
    const json_t *sandbox = json_object_get(check->description, "sandbox");
    char *walls = json_dumps(sandbox, JSON_COMPACT);
    say(check, "worker", walls ? walls : "", &err);
    free(walls);
}

static void check_data(struct check *check)
{
    const struct config *config = check->config;
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct store *store = NULL;
    if (files_open(config->data_dir, config->disk_reserve, &check->files, &err) && err.code == H5PT_CONFLICT) {
        check->in_use = true;
        err = (struct h5pt_error)H5PT_ERROR_INIT;
    }
    if (check->files && !canary_probe_spool(check->files, &err) && !files_check_space(check->files, 0, &err) &&
        !store_open(config->data_dir, &store, &err))
        store_close(store);
    say(check, check->in_use ? "data directory, which a running daemon uses," : "data directory", config->data_dir,
        &err);
}

/* A port that is taken may be the one of a daemon that runs. */
static void check_address(struct check *check, const char *name, const char *address)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    char real[LISTEN_ADDRESS_SIZE];
    if (check->in_use || strcmp(address, "off") == 0)
        return;
    int fd = listen_on(address, real, &err);
    if (fd >= 0)
        (void)close(fd);
    say(check, name, address, &err);
}

static void check_conversion(struct check *check)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (!check->description || !check->files)
        return; /* a daemon that runs tries this by itself, see /readyz?verbose */
    (void)canary_convert(check->config, check->worker, check->files, -1, CANARY_LIMIT_MS, &err);
    say(check, "conversion of a small model", "", &err);
}

int check_run(const struct config *config, FILE *out)
{
    struct check check = {.config = config, .out = out};
    check_access(&check);
    check_worker(&check);
    check_data(&check);
    check_address(&check, "listen on", config->listen);
    check_address(&check, "listen for operators on", config->admin_listen);
    check_conversion(&check);
    files_close(check.files);
    json_decref(check.description);
    free(check.worker);
    return check.status;
}
