/* SPDX-License-Identifier: Apache-2.0 */
#include "store/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/spares.h"

struct files {
    int lock, tmp, inputs, outputs;
    uint64_t reserve;
    _Atomic uint64_t claimed;
    struct spares spares;
};

static int fail(struct h5pt_error *err, const char *what)
{
    return h5pt_fail_errno(err, errno == ENOSPC || errno == EDQUOT ? H5PT_DISK_FULL : H5PT_IO, "data directory",
                           "%s failed", what);
}

static int open_directory(int parent, const char *name)
{
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Removes a file, or a directory of files; what cannot be removed stays for the next sweep. */
static void remove_tree(int parent, const char *name)
{
    if (unlinkat(parent, name, 0) == 0)
        return;
    int fd = open_directory(parent, name);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    for (const struct dirent *entry; (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlinkat(fd, entry->d_name, 0);
    (void)closedir(dir);
    (void)unlinkat(parent, name, AT_REMOVEDIR);
}

/* Calls `remove` for the entries of a directory that the callback does not want. */
static void sweep(int directory, bool (*wanted)(void *context, const char *name, bool input), void *context, bool input)
{
    int fd = open_directory(directory, ".");
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    for (const struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.' && !(wanted && wanted(context, entry->d_name, input)))
            remove_tree(directory, entry->d_name);
    (void)closedir(dir);
}

static int make_directories(const char *path, struct h5pt_error *err)
{
    char *partial = strdup(path);
    if (!partial)
        return h5pt_fail_memory(err);
    int result = 0;
    for (char *p = partial + 1; !result && p[-1]; p++) {
        char end = *p;
        if (end && end != '/')
            continue;
        *p = '\0';
        if (mkdir(partial, 0700) && errno != EEXIST)
            result = h5pt_fail_errno(err, H5PT_IO, path, "Making the data directory %s failed", path);
        *p = end;
    }
    free(partial);
    return result;
}

static int take_lock(struct files *files, int data, struct h5pt_error *err)
{
    files->lock = openat(data, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (files->lock < 0)
        return fail(err, "Opening the lock");
    if (flock(files->lock, LOCK_EX | LOCK_NB))
        return h5pt_fail(err, H5PT_CONFLICT, "data directory", "Another h5ptd uses the data directory");
    return 0;
}

static int open_rooms(struct files *files, int data, struct h5pt_error *err)
{
    const struct {
        const char *name;
        int *fd;
    } rooms[] = {{"tmp", &files->tmp},
                 {"inputs", &files->inputs},
                 {"outputs", &files->outputs},
                 {"spare", &files->spares.directory}};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        if (mkdirat(data, rooms[i].name, 0700) && errno != EEXIST)
            return fail(err, "Making a directory");
        *rooms[i].fd = open_directory(data, rooms[i].name);
        if (*rooms[i].fd < 0)
            return fail(err, "Opening a directory");
    }
    return fsync(data) ? fail(err, "Syncing the data directory") : 0;
}

int files_open(const char *data_dir, uint64_t reserve, struct files **ret, struct h5pt_error *err)
{
    if (make_directories(data_dir, err))
        return -1;
    struct files *files = malloc(sizeof *files);
    if (!files)
        return h5pt_fail_memory(err);
    *files = (struct files){.lock = -1, .tmp = -1, .inputs = -1, .outputs = -1, .reserve = reserve};
    spares_init(&files->spares);
    int result = -1, data = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (data < 0)
        (void)fail(err, "Opening the data directory");
    else if (!take_lock(files, data, err) && !open_rooms(files, data, err))
        result = 0;
    if (data >= 0)
        (void)close(data);
    if (result) {
        files_close(files);
        return -1;
    }
    sweep(files->tmp, NULL, NULL, false);
    sweep(files->spares.directory, NULL, NULL, false);
    *ret = files;
    return 0;
}

void files_close(struct files *files)
{
    if (!files)
        return;
    const int fds[] = {files->tmp, files->inputs, files->outputs, files->lock};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    spares_release(&files->spares);
    free(files);
}

const char *files_part_name(enum files_part part)
{
    static const char *const names[FILES_PART_COUNT] = {
#define PART(id, name, description) [FILES_##id] = name,
#include "store/parts.def"
#undef PART
    };
    return names[part];
}

/* A new directory in tmp/. */
static int new_draft(struct files *files, struct files_draft *ret, int *ret_fd, struct h5pt_error *err)
{
    text_new_id(ret->name);
    if (mkdirat(files->tmp, ret->name, 0700))
        return fail(err, "Making a directory for a conversion");
    int fd = open_directory(files->tmp, ret->name);
    if (fd < 0) {
        (void)fail(err, "Opening the directory of a conversion");
        files_drop_draft(files, ret);
        return -1;
    }
    *ret_fd = fd;
    return 0;
}

int files_new_upload(struct files *files, struct files_draft *ret, struct h5pt_error *err)
{
    int fd = -1;
    text_new_id(ret->name);
    if (spares_take(&files->spares, files->tmp, ret->name))
        return 0;
    if (new_draft(files, ret, &fd, err))
        return -1;
    (void)close(fd);
    return 0;
}

/* A part that is new: the file that a spare directory has for a model, if it is empty, or one that is made. */
static int open_new_part(int directory, enum files_part part)
{
    const int exclusive = part == FILES_MODEL ? 0 : O_EXCL;
    int fd = openat(directory, files_part_name(part), O_RDWR | O_CREAT | exclusive | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct stat status;
    if (fd >= 0 && (fstat(fd, &status) || status.st_size > 0)) {
        (void)close(fd);
        errno = EEXIST;
        return -1;
    }
    return fd;
}

int files_new_part(struct files *files, const struct files_draft *draft, enum files_part part, int *ret_fd,
                   struct h5pt_error *err)
{
    int directory = open_directory(files->tmp, draft->name);
    int fd = directory < 0 ? -1 : open_new_part(directory, part);
    if (fd < 0)
        (void)fail(err, "Making a file for the upload");
    else
        *ret_fd = fd;
    if (directory >= 0)
        (void)close(directory);
    return fd < 0 ? -1 : 0;
}

int files_new_output(struct files *files, struct files_draft *ret, int *ret_fd, struct h5pt_error *err)
{
    return new_draft(files, ret, ret_fd, err);
}

/* A file of its own, to which nothing else refers. */
static int check_file(int directory, const char *name, struct h5pt_error *err)
{
    struct stat status;
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW))
        return fail(err, "Looking at a file");
    if (S_ISREG(status.st_mode) && status.st_nlink == 1)
        return 0;
    return h5pt_fail(err, H5PT_INTERNAL, name, "A file of a conversion is not a plain file");
}

static int sync_file(int directory, const char *name, struct h5pt_error *err)
{
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return fail(err, "Opening a file");
    int result = fsync(fd) ? fail(err, "Syncing a file") : 0;
    (void)close(fd);
    return result;
}

static int sync_directory(int directory, struct h5pt_error *err)
{
    return fsync(directory) ? fail(err, "Syncing a directory") : 0;
}

static int for_files(int directory, int (*act)(int directory, const char *name, struct h5pt_error *err),
                     struct h5pt_error *err)
{
    int fd = open_directory(directory, ".");
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        (void)fail(err, "Reading a directory");
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    int result = 0;
    for (const struct dirent *entry; !result && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = act(directory, entry->d_name, err);
    (void)closedir(dir);
    return result;
}

/* Moves a draft into a room, in place of what is there, and syncs it; after the move, so that the first sync brings everything to
 * the disk at once. With `shared` its files are those of another conversion, and synced. */
static int keep_in(int directory, struct files *files, const struct files_draft *draft, bool shared, int room,
                   const char *id, struct h5pt_error *err)
{
    if (!shared && for_files(directory, check_file, err))
        return -1;
    remove_tree(room, id);
    if (renameat(files->tmp, draft->name, room, id))
        return fail(err, "Keeping the files of a conversion");
    if ((shared || for_files(directory, sync_file, err) == 0) && sync_directory(directory, err) == 0 &&
        sync_directory(room, err) == 0)
        return 0;
    remove_tree(room, id);
    return -1;
}

static int keep(struct files *files, const struct files_draft *draft, bool shared, int room, const char *id,
                struct h5pt_error *err)
{
    int directory = open_directory(files->tmp, draft->name);
    if (directory < 0)
        return fail(err, "Opening the directory of a conversion");
    int result = keep_in(directory, files, draft, shared, room, id, err);
    (void)close(directory);
    return result;
}

int files_keep_upload(struct files *files, const struct files_draft *draft, const char *id, struct h5pt_error *err)
{
    if (keep(files, draft, false, files->inputs, id, err) == 0)
        return 0;
    files_drop_draft(files, draft);
    return -1;
}

int files_keep_output(struct files *files, const struct files_draft *draft, const char *id, struct h5pt_error *err)
{
    return keep(files, draft, false, files->outputs, id, err);
}

/* Second names in `to`. */
static int link_files(int from, int to, const char *const *names, size_t count, struct h5pt_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (linkat(from, names[i], to, names[i], 0))
            return errno == ENOENT ? h5pt_fail(err, H5PT_NOT_FOUND, names[i], "The artifact %s is gone", names[i])
                                   : fail(err, "Linking an artifact");
    return 0;
}

int files_share_output(struct files *files, const char *from, const char *const *names, size_t count, const char *id,
                       struct h5pt_error *err)
{
    struct files_draft draft;
    int to = -1, source = open_directory(files->outputs, from);
    if (source < 0)
        return h5pt_fail(err, H5PT_NOT_FOUND, from, "The artifacts of conversion %s are gone", from);
    int result = new_draft(files, &draft, &to, err);
    if (!result) {
        result = link_files(source, to, names, count, err);
        if (!result)
            result = keep(files, &draft, true, files->outputs, id, err);
        (void)close(to);
        if (result)
            files_drop_draft(files, &draft);
    }
    (void)close(source);
    return result;
}

void files_drop_draft(struct files *files, const struct files_draft *draft)
{
    remove_tree(files->tmp, draft->name);
}

static int open_parts(int room, const char *name, int ret_fds[FILES_PART_COUNT], struct h5pt_error *err)
{
    int directory = open_directory(room, name), fds[FILES_PART_COUNT];
    for (int i = 0; i < FILES_PART_COUNT; i++)
        fds[i] = directory < 0
                     ? -1
                     : openat(directory, files_part_name((enum files_part)i), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fds[FILES_MODEL] < 0)
        (void)fail(err, "Opening the upload");
    if (directory >= 0)
        (void)close(directory);
    for (int i = 0; i < FILES_PART_COUNT; i++) {
        if (fds[FILES_MODEL] >= 0)
            ret_fds[i] = fds[i];
        else if (fds[i] >= 0)
            (void)close(fds[i]);
    }
    return fds[FILES_MODEL] < 0 ? -1 : 0;
}

int files_open_upload(struct files *files, const struct files_draft *draft, int ret_fds[FILES_PART_COUNT],
                      struct h5pt_error *err)
{
    return open_parts(files->tmp, draft->name, ret_fds, err);
}

int files_open_input(struct files *files, const char *id, int ret_fds[FILES_PART_COUNT], struct h5pt_error *err)
{
    return open_parts(files->inputs, id, ret_fds, err);
}

int files_open_artifact(struct files *files, const char *id, const char *name, int *ret_fd, uint64_t *ret_bytes,
                        struct h5pt_error *err)
{
    int directory = open_directory(files->outputs, id);
    int fd = directory < 0 ? -1 : openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (directory >= 0)
        (void)close(directory);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) || !S_ISREG(status.st_mode)) {
        if (fd >= 0)
            (void)close(fd);
        return h5pt_fail(err, H5PT_NOT_FOUND, name, "The conversion has no artifact %s", name);
    }
    *ret_fd = fd;
    *ret_bytes = (uint64_t)status.st_size;
    return 0;
}

void files_drop_input(struct files *files, const char *id)
{
    if (!spares_keep(&files->spares, files->inputs, id))
        remove_tree(files->inputs, id);
}

void files_drop_output(struct files *files, const char *id)
{
    remove_tree(files->outputs, id);
}

void files_sweep(struct files *files, bool (*wanted)(void *context, const char *id, bool input), void *context)
{
    sweep(files->inputs, wanted, context, true);
    sweep(files->outputs, wanted, context, false);
}

struct files_space files_space(struct files *files)
{
    struct statvfs status;
    if (fstatvfs(files->tmp, &status))
        return (struct files_space){.claimed = files->claimed};
    return (struct files_space){.free = (uint64_t)status.f_bavail * status.f_frsize, .claimed = files->claimed};
}

/* Whether the claims, with `bytes` among them, leave the reserve. */
static int check_claims(struct files *files, uint64_t claims, struct h5pt_error *err)
{
    const uint64_t left = files_space(files).free;
    if (left >= files->reserve && left - files->reserve >= claims)
        return 0;
    return h5pt_fail(err, H5PT_DISK_FULL, "data directory",
                     "The disk of the data directory is almost full: %" PRIu64 " MiB are free, of which %" PRIu64
                     " MiB are kept",
                     left >> 20, files->reserve >> 20);
}

int files_check_space(struct files *files, uint64_t bytes, struct h5pt_error *err)
{
    return check_claims(files, files->claimed + bytes, err);
}

int files_claim(struct files *files, uint64_t bytes, struct h5pt_error *err)
{
    if (check_claims(files, atomic_fetch_add(&files->claimed, bytes) + bytes, err) == 0)
        return 0;
    files->claimed -= bytes;
    return -1;
}

void files_unclaim(struct files *files, uint64_t bytes)
{
    files->claimed -= bytes;
}
