/* SPDX-License-Identifier: Apache-2.0 */
/* Finding the layers and tensors of a file. */
#ifndef H5PT_SOURCE_SOURCE_LAYERS_H
#define H5PT_SOURCE_SOURCE_LAYERS_H

#include "source/hdf5_file.h"

/* All layers found so far; names and tensors live in the arena of the file. */
struct source_layers {
    struct source_layer *items; /* owned */
    size_t count, capacity;
    size_t tensors;       /* of all layers */
    uint64_t total_bytes; /* declared by all tensors */
    size_t groups;        /* visited while listing */
};

void source_layers_release(struct source_layers *layers);

/* layer_names of the group at `path` → weight_names of each layer → tensors. */
int source_layers_legacy(struct hdf5_file *file, const char *path, struct source_layers *layers,
                         struct h5pt_error *err);

/* Every group of the file that holds a group "vars", in order of path; named by its path without the leading '/'. The
 * optimizer is left out. */
int source_layers_v3(struct hdf5_file *file, struct source_layers *layers, struct h5pt_error *err);

#endif
