/* SPDX-License-Identifier: Apache-2.0 */
/* A Keras file behind one interface: the configuration text, and named tensors that are read lazily.
 *
 * The file is hostile until proven otherwise. Whatever reaches outside the file (external storage, external, soft and
 * user-defined links, virtual datasets, plug-in filters), was never written, or is larger than the limits is refused;
 * nothing is ever replaced by fill values. HDF5 is called from source/hdf5_*.c only; it is not thread-safe: one thread of a
 * process at a time. Facts: HDF5 file format specification 3.0; Keras legacy_h5_format.py. */
#ifndef H5PT_SOURCE_SOURCE_H
#define H5PT_SOURCE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/tensor.h"

struct source_limits {
    uint64_t tensor_bytes;   /* largest declared size of one tensor */
    uint64_t total_bytes;    /* of all tensors together */
    uint64_t config_bytes;   /* the configuration text and all names together */
    uint32_t tensors;        /* number of tensors */
    uint32_t names;          /* strings in one list attribute */
    uint32_t depth;          /* groups within groups */
    uint32_t expansion;      /* declared bytes per stored byte of a compressed dataset or archive entry */
    uint32_t entries;        /* in an archive */
    uint64_t unpacked_bytes; /* of weights that are compressed in an archive: they are held in memory */
};

/* 16 GiB a tensor, 64 GiB in all, 64 MiB of configuration, 200 000 tensors, 65 536 names, depth 64, expansion 1100, 4096 entries,
 * 2 GiB unpacked. */
extern const struct source_limits source_default_limits;

enum source_kind {
    SOURCE_LEGACY_MODEL,   /* model_config attribute and model_weights group */
    SOURCE_LEGACY_WEIGHTS, /* layer_names at the root, no configuration */
    SOURCE_WEIGHTS_V3,     /* .weights.h5: groups of numbered variables, no configuration */
    SOURCE_ARCHIVE,        /* .keras: a configuration and numbered variables */
};

/* A stored tensor as it goes into a larger one: viewed in `view` (row-major, same number of elements), transposed so that axis i is
 * view axis axes[i]. */
struct source_piece {
    const struct source_tensor *tensor;
    struct shape view;
    int axes[SHAPE_MAX_RANK];
};

/* A tensor that is not stored as such: pieces of equal dtype joined along `axis`, then every axis whose bit is set in `reversed`
 * turned round. */
struct source_assembly {
    int count;
    const struct source_piece *pieces;
    int axis;
    unsigned reversed;
};

/* One weight. Strings belong to the source. */
struct source_tensor {
    const char *name;                       /* as listed in weight_names, e.g. "conv2d/kernel:0" */
    const char *object;                     /* path of the dataset in the file, for messages */
    enum dtype dtype;                       /* of the stored elements (any byte order; 2-byte opaque is bfloat16) */
    struct shape shape;                     /* all known; rank 0 is a scalar */
    uint64_t bytes;                         /* elements x size of dtype */
    const struct source_assembly *assembly; /* NULL: stored in the file */
};

/* One entry of layer_names, in file order. With numbered variables: one group "vars", named by the path of its owner
 * ("layers/dense", "" for the model itself), tensors "0", "1", … in numeric order. */
struct source_layer {
    const char *name;
    size_t tensor_count;
    const struct source_tensor *tensors;
};

struct source;

/* Sets up the library that reads the files, as the first source_open would. INTERNAL. */
int source_set_up(struct h5pt_error *err);

/* Opens the file behind `fd` (a regular file, read-only; borrowed, must stay open as long as the source). Checks the whole
 * structure that names lead to, reads no tensor. `limits` NULL: the default ones. On success *ret is owned by the caller.
 * Errors: NOT_HDF5, H5_*, NOT_KERAS, UNSUPPORTED_FORMAT (Keras 0.x), ARCHIVE_CORRUPT, IO,
 * OUT_OF_MEMORY. */
int source_open(int fd, const struct source_limits *limits, struct source **ret, struct h5pt_error *err);
void source_close(struct source *source); /* NULL-safe */

enum source_kind source_kind(const struct source *source);
/* True when the variables are numbered by owner (SOURCE_WEIGHTS_V3, SOURCE_ARCHIVE), false when layers list their names. */
bool source_is_numbered(const struct source *source);

/* The text of model_config or config.json (UTF-8, NUL-terminated, *ret_length without the NUL); NULL when the file has none. */
const char *source_config(const struct source *source, size_t *ret_length);

/* keras_version ("2.15.0") and backend ("tensorflow") of the weights group, else of the root; NULL when absent (Keras 1). */
const char *source_keras_version(const struct source *source);
const char *source_backend(const struct source *source);

size_t source_layer_count(const struct source *source);
const struct source_layer *source_layer(const struct source *source, size_t index);

/* The shape that the pieces of an assembly make; false when they do not fit together. */
bool source_assembly_shape(const struct source_assembly *assembly, struct shape *ret);

/* Reads a whole tensor, stored or assembled, row-major, as little-endian elements of its own dtype into `buffer` of exactly tensor->bytes. */
int source_read(struct source *source, const struct source_tensor *tensor, void *buffer, struct h5pt_error *err);

/* The same, converted to float32 (from any dtype; integers exact up to 2^24): buffer holds one float an element. */
int source_read_float(struct source *source, const struct source_tensor *tensor, float *buffer, struct h5pt_error *err);

/* Version of the HDF5 library in use, "1.10.8". */
const char *source_library_version(char text[32]);

#endif
