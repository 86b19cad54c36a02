/* SPDX-License-Identifier: Apache-2.0 */
#include "health/canary.h"

#include <string.h>
#include <unistd.h>

#include "jobs/child.h"

__asm__(".section .rodata\n"
        "canary_start: .incbin \"" H5PT_CANARY_MODEL "\"\n"
        "canary_end: .byte 0\n"
        ".previous\n");

extern const char canary_start[], canary_end[];

static int write_all(int fd, const char *bytes, size_t count)
{
    return write(fd, bytes, count) == (ssize_t)count ? 0 : -1;
}

int canary_probe_spool(struct files *files, struct h5pt_error *err)
{
    static const char text[] = "h5pt";
    struct files_draft draft;
    int fd = -1, result = 0;
    if (files_new_upload(files, &draft, err))
        return -1;
    if (files_new_part(files, &draft, FILES_MODEL, &fd, err))
        result = -1;
    else if (write_all(fd, text, sizeof text) || fsync(fd))
        result = h5pt_fail_errno(err, H5PT_IO, "data directory", "Writing a file failed");
    if (fd >= 0)
        (void)close(fd);
    files_drop_draft(files, &draft);
    return result;
}

/* The model as an upload, open for reading, which is how a worker takes it. The draft is the caller's. */
static int open_model(struct files *files, struct files_draft *ret, struct h5pt_error *err)
{
    int fd = -1;
    if (files_new_upload(files, ret, err))
        return -1;
    if (files_new_part(files, ret, FILES_MODEL, &fd, err) == 0 &&
        (write_all(fd, canary_start, (size_t)(canary_end - canary_start)) || lseek(fd, 0, SEEK_SET))) {
        h5pt_fail_errno(err, H5PT_IO, "data directory", "Writing a file failed");
        (void)close(fd);
        fd = -1;
    }
    if (fd < 0)
        files_drop_draft(files, ret);
    return fd;
}

static int judge(const struct child_result *result, struct h5pt_error *err)
{
    const char *verdict = json_string_value(json_object_get(result->last, "verdict"));
    const char *message = json_string_value(json_object_get(json_object_get(result->last, "error"), "message"));
    if (verdict && strcmp(verdict, "converted") == 0)
        return 0;
    return h5pt_fail(err, H5PT_NOT_READY, "worker", "The worker does not convert a small model (signal %d): %s",
                     result->signal,
                     message   ? message
                     : verdict ? verdict
                               : result->output);
}

int canary_convert(const struct config *config, const char *worker, struct files *files, int stop, int64_t limit_ms,
                   struct h5pt_error *err)
{
    static const struct job_options options = {.formats = "pt,py"};
    struct files_draft model, output;
    struct child_result result = {.last = NULL};
    struct child_request request = {.program = worker,
                                    .config = config,
                                    .inputs = {-1, -1, -1},
                                    .options = &options,
                                    .limit_ms = limit_ms,
                                    .stop = stop};
    if (files_new_output(files, &output, &request.output_dir, err))
        return -1;
    int fd = request.inputs[FILES_MODEL] = open_model(files, &model, err), status = -1;
    if (fd >= 0) {
        status = child_run(&request, &result, err) || judge(&result, err) ? -1 : 0;
        json_decref(result.last);
        (void)close(fd);
        files_drop_draft(files, &model);
    }
    (void)close(request.output_dir);
    files_drop_draft(files, &output);
    return status;
}
