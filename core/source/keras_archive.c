/* SPDX-License-Identifier: Apache-2.0 */
#include "source/keras_archive.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "source/zip_file.h"

/* An entry as text in the arena. */
static int read_text(const struct source_bytes *file, const struct zip_entry *entry, const struct source_limits *limits,
                     struct arena *arena, const char **ret, struct h5pt_error *err)
{
    struct source_bytes bytes;
    unsigned char *memory;
    if (entry->size > limits->config_bytes)
        return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, entry->name, "The entry is larger than %llu bytes",
                         (unsigned long long)limits->config_bytes);
    if (zip_entry_open(file, entry, limits, limits->config_bytes, &bytes, &memory, err) < 0)
        return -1;
    char *text = ARENA_ARRAY(arena, char, (size_t)bytes.size + 1);
    int status = text ? 0 : h5pt_fail_memory(err);
    if (text && !source_bytes_read(&bytes, 0, bytes.size, text))
        status = h5pt_fail(err, H5PT_IO, entry->name, "The archive cannot be read");
    else if (text && strlen(text) != bytes.size)
        status = h5pt_fail(err, H5PT_CONFIG_MALFORMED, entry->name, "The text holds a NUL");
    free(memory);
    if (status == 0)
        *ret = text;
    return status;
}

static int read_version(const struct source_bytes *file, const struct zip_entry *entry,
                        const struct source_limits *limits, struct arena *arena, struct keras_archive *ret,
                        struct h5pt_error *err)
{
    const char *text;
    if (read_text(file, entry, limits, arena, &text, err) < 0)
        return -1;
    json_t *metadata = json_parse(text, strlen(text), entry->name, err);
    if (!metadata)
        return -1;
    const char *version = json_string_value(json_object_get(metadata, "keras_version"));
    ret->keras_version = version ? arena_strdup(arena, version) : NULL;
    int status = version && !ret->keras_version ? h5pt_fail_memory(err) : 0;
    json_decref(metadata);
    return status;
}

static const struct zip_entry *find_weights(const struct zip_directory *directory, struct h5pt_error *err)
{
    static const char *const names[] = {"model.weights.h5", "variables.h5"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct zip_entry *entry = zip_find(directory, names[i]);
        if (entry)
            return entry;
    }
    if (zip_find(directory, "model.weights.npz") || zip_find(directory, "model.weights.json"))
        h5pt_fail(
            err, H5PT_UNSUPPORTED_FORMAT, NULL,
            "The weights in the archive are an .npz or in several parts; save the model with Keras' default settings");
    else
        h5pt_fail(err, H5PT_NOT_KERAS, NULL, "The archive has a config.json, but no model.weights.h5");
    return NULL;
}

int keras_archive_open(const struct source_bytes *file, const struct source_limits *limits, struct arena *arena,
                       struct keras_archive *ret, struct h5pt_error *err)
{
    struct zip_directory directory;
    struct keras_archive archive = {.config = NULL};
    if (zip_directory_read(file, limits, arena, &directory, err) < 0)
        return -1;
    const struct zip_entry *config = zip_find(&directory, "config.json"),
                           *metadata = zip_find(&directory, "metadata.json");
    if (!config)
        return h5pt_fail(err, H5PT_NOT_KERAS, NULL,
                         "The file is an archive, but not a Keras model: it has no config.json");
    const struct zip_entry *weights = find_weights(&directory, err);
    if (!weights || read_text(file, config, limits, arena, &archive.config, err) < 0)
        return -1;
    if (metadata && read_version(file, metadata, limits, arena, &archive, err) < 0)
        return -1;
    if (zip_entry_open(file, weights, limits, limits->unpacked_bytes, &archive.weights, &archive.memory, err) < 0)
        return -1;
    *ret = archive;
    return 0;
}

void keras_archive_release(struct keras_archive *archive)
{
    free(archive->memory);
    *archive = (struct keras_archive){.config = NULL};
}
