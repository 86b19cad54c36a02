/* SPDX-License-Identifier: Apache-2.0 */
/* The files of conversions, in the data directory:
 *
 *   lock           one daemon at a time
 *   tmp/           uploads that arrive and outputs that are written; emptied at each start
 *   inputs/ID/     the parts of an accepted upload (store/parts.def), until its conversion has finished
 *   spare/         of inputs that are done with, for uploads to come (store/spares.h); emptied at each start
 *   outputs/ID/    the artifacts of a finished conversion; the same file may be one of several conversions
 *
 * What is in inputs/ and outputs/ when a record says so is complete and has reached the disk: it is written in tmp/, renamed, and
 * all of it synced, before the record is. Safe from any thread. */
#ifndef H5PT_STORE_FILES_H
#define H5PT_STORE_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "text.h"

struct files;

/* Makes the directories where they are missing, takes the lock (CONFLICT when another daemon has it), empties tmp/ and spare/. So many
 * bytes of the disk are left free. */
int files_open(const char *data_dir, uint64_t reserve, struct files **ret, struct h5pt_error *err);
void files_close(struct files *files); /* NULL-safe */

/* The name of a file or directory in tmp/. */
struct files_draft {
    char name[TEXT_ID_SIZE];
};

enum files_part {
#define PART(id, name, description) FILES_##id,
#include "store/parts.def"
#undef PART
    FILES_PART_COUNT
};

const char *files_part_name(enum files_part part); /* "model" */

/* An upload without parts, and a part of it: an empty file, open for reading and writing; *ret_fd is the caller's. */
int files_new_upload(struct files *files, struct files_draft *ret, struct h5pt_error *err);
int files_new_part(struct files *files, const struct files_draft *draft, enum files_part part, int *ret_fd,
                   struct h5pt_error *err);
/* Makes an upload the input of `id`, durably. The draft is gone afterwards, also on failure. */
int files_keep_upload(struct files *files, const struct files_draft *draft, const char *id, struct h5pt_error *err);

/* An empty directory; *ret_fd is the caller's. */
int files_new_output(struct files *files, struct files_draft *ret, int *ret_fd, struct h5pt_error *err);
/* Makes it the outputs of `id`, durably, in place of earlier ones. Refuses anything that is not a plain file. */
int files_keep_output(struct files *files, const struct files_draft *draft, const char *id, struct h5pt_error *err);

/* Makes these outputs of the conversion `from` outputs of `id` too, durably: as second names of the same files, so that either
 * conversion can be removed. NOT_FOUND when one of them is gone. */
int files_share_output(struct files *files, const char *from, const char *const *names, size_t count, const char *id,
                       struct h5pt_error *err);

/* Opens the parts of an upload that is not kept, or of the input of `id`, for reading: -1 for those that it does not have. The
 * model is always there. */
int files_open_upload(struct files *files, const struct files_draft *draft, int ret_fds[FILES_PART_COUNT],
                      struct h5pt_error *err);
int files_open_input(struct files *files, const char *id, int ret_fds[FILES_PART_COUNT], struct h5pt_error *err);

/* Removes a draft of either kind. */
void files_drop_draft(struct files *files, const struct files_draft *draft);

/* Opens an artifact for reading; NOT_FOUND when there is none of that name. */
int files_open_artifact(struct files *files, const char *id, const char *name, int *ret_fd, uint64_t *ret_bytes,
                        struct h5pt_error *err);

void files_drop_input(struct files *files, const char *id);
void files_drop_output(struct files *files, const char *id);

/* Removes inputs and outputs for which `wanted` says no: left over from a crash between two steps. */
void files_sweep(struct files *files, bool (*wanted)(void *context, const char *id, bool input), void *context);

/* DISK_FULL when so many more bytes would not leave the reserve, with what others have claimed. */
int files_check_space(struct files *files, uint64_t bytes, struct h5pt_error *err);
/* The same, and claims them, so that uploads that arrive together cannot fill the disk with none of them complete. */
int files_claim(struct files *files, uint64_t bytes, struct h5pt_error *err);
/* Gives back what was written by now, or will not be. */
void files_unclaim(struct files *files, uint64_t bytes);

struct files_space {
    uint64_t free, claimed; /* bytes that can still be written, and those of them that are claimed */
};
struct files_space files_space(struct files *files);

#endif
