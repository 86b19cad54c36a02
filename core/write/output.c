/* SPDX-License-Identifier: Apache-2.0 */
#include "write/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BUFFER = 1 << 18, /* small records gather here, and copies pass through; a cache of the processor holds it */
    WRITEBACK_STEP = 16 << 20, /* so often the kernel is told to start writing */
};

int output_init(struct output *out, int fd, struct h5pt_error *err)
{
    *out = (struct output){.fd = fd, .buffer = malloc(BUFFER), .digest = digest_new()};
    return out->buffer && out->digest ? 0 : h5pt_fail_memory(err);
}

void output_release(struct output *out)
{
    free(out->buffer);
    digest_free(out->digest);
    digest_free(out->at_mark);
    *out = (struct output){.fd = -1};
}

static int write_through(struct output *out, const unsigned char *bytes, size_t size, uint64_t at,
                         struct h5pt_error *err)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(out->fd, bytes + done, size - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return h5pt_fail_errno(err, errno == ENOSPC || errno == EDQUOT ? H5PT_DISK_FULL : H5PT_IO, NULL,
                                   "The file cannot be written");
        done += (size_t)n;
    }
    uint64_t end = at + size;
    if (end - out->started >= WRITEBACK_STEP && end > out->started) {
        (void)sync_file_range(out->fd, (off_t)out->started, (off_t)(end - out->started), SYNC_FILE_RANGE_WRITE);
        out->started = end;
    }
    return 0;
}

static int flush(struct output *out, struct h5pt_error *err)
{
    size_t used = out->used;
    out->used = 0;
    return write_through(out, out->buffer, used, out->size - used, err);
}

int output_write(struct output *out, const void *bytes, size_t size, struct h5pt_error *err)
{
    const unsigned char *next = bytes;
    for (size_t step; size > 0; size -= step, next += step) {
        step = size < BUFFER ? size : BUFFER;
        digest_add(out->digest, next, step);
        if (step > BUFFER - out->used && flush(out, err) < 0)
            return -1;
        if (step == BUFFER) {
            if (write_through(out, next, step, out->size, err) < 0)
                return -1;
        } else {
            memcpy(out->buffer + out->used, next, step);
            out->used += step;
        }
        out->size += step;
    }
    return 0;
}

/* Reads what there is room for into the buffer. */
static int fill(struct output *out, int fd, uint64_t offset, uint64_t left, struct h5pt_error *err)
{
    size_t room = BUFFER - out->used, want = left < room ? (size_t)left : room;
    ssize_t n;
    do
        n = pread(fd, out->buffer + out->used, want, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return h5pt_fail_errno(err, H5PT_IO, NULL, "A file that was written cannot be read back");
    if (n == 0)
        return h5pt_fail(err, H5PT_INTERNAL, NULL, "A file that was written has become shorter");
    digest_add(out->digest, out->buffer + out->used, (size_t)n);
    out->used += (size_t)n;
    out->size += (size_t)n;
    return 0;
}

int output_copy(struct output *out, int fd, uint64_t offset, uint64_t size, struct h5pt_error *err)
{
    for (uint64_t end = out->size + size; out->size < end;) {
        if (out->used == BUFFER && flush(out, err) < 0)
            return -1;
        uint64_t left = end - out->size;
        if (fill(out, fd, offset + (size - left), left, err) < 0)
            return -1;
    }
    return 0;
}

int output_mark(struct output *out, struct h5pt_error *err)
{
    digest_free(out->at_mark);
    out->at_mark = digest_copy(out->digest);
    return out->at_mark ? 0 : h5pt_fail_memory(err);
}

int output_rewind(struct output *out, uint64_t size, struct h5pt_error *err)
{
    if (flush(out, err) < 0)
        return -1;
    if (ftruncate(out->fd, (off_t)size) < 0)
        return h5pt_fail_errno(err, H5PT_IO, NULL, "The file cannot be written");
    digest_free(out->digest);
    out->digest = out->at_mark;
    out->at_mark = NULL;
    out->size = size;
    if (out->started > size)
        out->started = size;
    return 0;
}

int output_finish(struct output *out, uint64_t *ret_bytes, char ret_sha256[DIGEST_TEXT_SIZE], struct h5pt_error *err)
{
    if (flush(out, err) < 0)
        return -1;
    struct digest *whole = digest_copy(out->digest); /* more may come */
    if (!whole)
        return h5pt_fail_memory(err);
    digest_finish(whole, ret_sha256);
    digest_free(whole);
    *ret_bytes = out->size;
    return 0;
}
