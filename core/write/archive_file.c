/* SPDX-License-Identifier: Apache-2.0 */
#include "write/archive_file.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

int archive_file_init(struct archive_file *file, int fd, struct h5pt_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return h5pt_fail_errno(err, H5PT_IO, NULL, "The archive cannot be examined");
    *file = (struct archive_file){.fd = fd, .size = (uint64_t)st.st_size};
    zip_error_init(&file->zip_error);
    return 0;
}

void archive_file_release(struct archive_file *file)
{
    zip_error_fini(&file->zip_error);
    *file = (struct archive_file){.fd = -1};
}

static zip_int64_t fail_read(struct archive_file *file)
{
    zip_error_set(&file->zip_error, ZIP_ER_READ, errno);
    return h5pt_fail_errno(&file->error, H5PT_IO, NULL, "The archive cannot be read");
}

static zip_int64_t read_some(struct archive_file *file, void *data, uint64_t length)
{
    uint64_t done = 0;
    if (length > INT64_MAX)
        length = INT64_MAX;
    while (done < length) {
        uint64_t want = length - done < INT_MAX / 2 ? length - done : INT_MAX / 2;
        ssize_t n = pread(file->fd, (unsigned char *)data + done, (size_t)want, (off_t)(file->read_at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_read(file);
        if (n == 0)
            break;
        done += (uint64_t)n;
    }
    file->read_at += done;
    return (zip_int64_t)done;
}

static zip_int64_t seek(struct archive_file *file, uint64_t *at, void *data, uint64_t length)
{
    zip_int64_t offset = zip_source_seek_compute_offset(*at, file->size, data, length, &file->zip_error);
    if (offset < 0)
        return -1;
    *at = (uint64_t)offset;
    return 0;
}

static zip_int64_t status(const struct archive_file *file, zip_stat_t *st)
{
    zip_stat_init(st);
    st->size = file->size;
    st->valid |= ZIP_STAT_SIZE;
    return (zip_int64_t)sizeof *st;
}

static zip_int64_t supports(void)
{
    return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT,
                                          ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL,
                                          ZIP_SOURCE_SUPPORTS, -1);
}

static zip_int64_t callback(void *context, void *data, zip_uint64_t length, zip_source_cmd_t command)
{
    struct archive_file *file = context;
    switch (command) {
    case ZIP_SOURCE_OPEN: file->read_at = 0; return 0;
    case ZIP_SOURCE_READ: return read_some(file, data, length);
    case ZIP_SOURCE_SEEK: return seek(file, &file->read_at, data, length);
    case ZIP_SOURCE_TELL: return (zip_int64_t)file->read_at;
    case ZIP_SOURCE_STAT: return status(file, data);
    case ZIP_SOURCE_ERROR: return zip_error_to_data(&file->zip_error, data, length);
    case ZIP_SOURCE_SUPPORTS: return supports();
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE: return 0; /* the file belongs to the caller */
    default: zip_error_set(&file->zip_error, ZIP_ER_OPNOTSUPP, 0); return -1;
    }
}

zip_t *archive_file_open(struct archive_file *file, int flags, struct h5pt_error *err)
{
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zip_source_function_create(callback, file, &error);
    zip_t *zip = source ? zip_open_from_source(source, flags, &error) : NULL;
    if (!zip) {
        (void)archive_file_fail(file, &error, err);
        zip_source_free(source);
    }
    zip_error_fini(&error);
    return zip;
}

int archive_file_fail(const struct archive_file *file, zip_error_t *error, struct h5pt_error *err)
{
    if (file->error.code != H5PT_OK) {
        if (err && err->code == H5PT_OK)
            *err = file->error;
        return -1;
    }
    if (zip_error_code_zip(error) == ZIP_ER_MEMORY)
        return h5pt_fail_memory(err);
    return h5pt_fail(err, H5PT_INTERNAL, NULL, "The archive cannot be used: %s", zip_error_strerror(error));
}
