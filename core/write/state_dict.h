/* SPDX-License-Identifier: Apache-2.0 */
/* model.pt: a state_dict as torch.save writes it (a ZIP archive with a protocol-2 pickle and raw storages), written by
 * streaming: one source tensor is held at a time, the rearranged bytes go to the archive in pieces. The file loads with
 * torch.load(weights_only=True) and mmap=True from torch 1.13 on: entries STORED, 64-byte aligned, root "archive",
 * version "3", no .format_version. The same input gives the same bytes. */
#ifndef H5PT_WRITE_STATE_DICT_H
#define H5PT_WRITE_STATE_DICT_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/tensor.h"
#include "source/source.h"
#include "torch/graph.h"
#include "write/archive.h"

/* A written file. */
struct artifact {
    const char *name; /* "model.pt"; static */
    uint64_t bytes;
    char sha256[65];         /* hex */
    const char *how_to_load; /* a line of Python; static */
};

/* Writes the parameters of `graph` (keys in graph order) to `fd`, an empty file open for reading and writing. The archive is
 * finished and can be read; *ret_archive, for records that are to be added, is to be freed by the caller. Tensors come from `source` through their rearrangement; a float32 parameter is converted from whatever the source
 * has, any other must have the dtype of its source. Constants may be float32, float64, int64, int32 and bool.
 * Errors: UNSUPPORTED_DTYPE (torch has no storage for it), IO, DISK_FULL, OUT_OF_MEMORY and those of source_read. */
int state_dict_write(const struct torch_graph *graph, struct source *source, int fd, struct artifact *ret,
                     struct archive **ret_archive, struct h5pt_error *err);

/* The bytes of a parameter in such an archive, as they lie in the file: little-endian, row-major. */
struct archive_payload state_dict_payload(const struct archive *archive, int parameter);

/* Copies them all into another archive, as the records "<prefix>0", "<prefix>1" and so on. */
int state_dict_copy(const struct archive *archive, const struct torch_graph *graph, const char *prefix,
                    struct archive *to, struct h5pt_error *err);

/* Reading it back, knowing nothing but the bytes: the ZIP directory and the pickle are parsed anew. */
struct state_dict;
/* `fd` is borrowed and must stay open. */
int state_dict_open(int fd, struct state_dict **ret, struct h5pt_error *err);
void state_dict_close(struct state_dict *dict); /* NULL-safe */
size_t state_dict_count(const struct state_dict *dict);
const char *state_dict_name(const struct state_dict *dict, size_t index);
/* The tensor of that name as floats, owned by the caller. Errors: INTERNAL when it is not there or the archive is not as
 * torch wants it. */
int state_dict_read(struct state_dict *dict, const char *name, struct tensor **ret, struct h5pt_error *err);

#endif
