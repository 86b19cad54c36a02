/* SPDX-License-Identifier: Apache-2.0 */
/* A .keras archive: metadata.json, config.json, and the weights in model.weights.h5 (variables.h5 in the first ones).
 * Source: Keras 3 src/saving/saving_lib.py, tf.keras 2.12 saving_lib. */
#ifndef H5PT_SOURCE_KERAS_ARCHIVE_H
#define H5PT_SOURCE_KERAS_ARCHIVE_H

#include "base/arena.h"
#include "source/bytes.h"
#include "source/source.h"

struct keras_archive {
    const char *config;          /* text of config.json; in the arena */
    const char *keras_version;   /* of metadata.json, or NULL; in the arena */
    struct source_bytes weights; /* the HDF5 file */
    unsigned char *memory;       /* owned: what `weights` points to when they were compressed, else NULL */
};

/* Reads the archive that `file` is (borrowed). On failure *ret needs no release.
 * Errors: those of zip_directory_read and zip_entry_open; NOT_KERAS, CONFIG_MALFORMED, UNSUPPORTED_FORMAT. */
int keras_archive_open(const struct source_bytes *file, const struct source_limits *limits, struct arena *arena,
                       struct keras_archive *ret, struct h5pt_error *err);
void keras_archive_release(struct keras_archive *archive);

#endif
