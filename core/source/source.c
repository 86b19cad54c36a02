/* SPDX-License-Identifier: Apache-2.0 */
#include "source/source.h"

#include <stdlib.h>
#include <string.h>

#include "source/bytes.h"
#include "source/hdf5_file.h"
#include "source/assembly.h"
#include "source/keras_archive.h"
#include "source/source_layers.h"
#include "source/to_float.h"
#include "source/zip_file.h"

const struct source_limits source_default_limits = {
    .tensor_bytes = (uint64_t)16 << 30,
    .total_bytes = (uint64_t)64 << 30,
    .config_bytes = (uint64_t)64 << 20,
    .tensors = 200000,
    .names = 65536,
    .depth = 64,
    .expansion = 1100,
    .entries = 4096,
    .unpacked_bytes = (uint64_t)2 << 30,
};

/* Elements wider than a float are converted in pieces of about this size. */
enum { PIECE_BYTES = 8 << 20 };

struct source {
    struct source_limits limits;
    struct arena *arena;
    int read_errno; /* of the last read that the system refused */
    struct keras_archive archive;
    struct hdf5_file file;
    enum source_kind kind;
    const char *config, *keras_version, *backend;
    struct source_layers layers;
};

/* A group of the file, and which of the attributes that tell kinds apart it has. */
struct place {
    const char *path;
    struct hdf5_object group;
    bool layer_names, model_config, nb_layers;
};

static int has_group(const struct hdf5_file *file, const char *path, bool *ret, struct h5pt_error *err)
{
    struct hdf5_object object = HDF5_OBJECT_INIT;
    if (hdf5_find(file, path, &object, err) < 0)
        return -1;
    *ret = object.kind == HDF5_GROUP;
    hdf5_object_release(&object);
    return 0;
}

static int place_open(const struct hdf5_file *file, struct place *place, struct h5pt_error *err)
{
    const char *path = place->path;
    struct hdf5_object *group = &place->group;
    bool numbered;
    if (hdf5_find(file, path, group, err) < 0)
        return -1;
    if (group->kind != HDF5_GROUP)
        return 0;
    if (hdf5_has_attribute(file, group, path, "layer_names", &place->layer_names, err) < 0 ||
        hdf5_has_attribute(file, group, path, "layer_names0", &numbered, err) < 0 ||
        hdf5_has_attribute(file, group, path, "model_config", &place->model_config, err) < 0 ||
        hdf5_has_attribute(file, group, path, "nb_layers", &place->nb_layers, err) < 0)
        return -1;
    place->layer_names |= numbered;
    return 0;
}

static int has_numbered_variables(const struct hdf5_file *file, bool *ret, struct h5pt_error *err)
{
    static const char *const groups[] = {"/layers", "/_layer_checkpoint_dependencies", "/vars"};
    *ret = false;
    for (size_t i = 0; i < sizeof groups / sizeof *groups && !*ret; i++)
        if (has_group(file, groups[i], ret, err) < 0)
            return -1;
    return 0;
}

/* The kind goes to s->kind; where the weights are to *ret_weights, the root for numbered variables. */
static int recognise(struct source *s, const struct place *root, const struct place *weights,
                     const struct place **ret_weights, struct h5pt_error *err)
{
    bool numbered, found = weights->group.kind == HDF5_GROUP;
    if (found && root->model_config) {
        s->kind = SOURCE_LEGACY_MODEL;
        *ret_weights = weights;
        return 0;
    }
    if (root->layer_names || (found && weights->layer_names)) {
        s->kind = SOURCE_LEGACY_WEIGHTS;
        *ret_weights = root->layer_names ? root : weights;
        return 0;
    }
    if (has_numbered_variables(&s->file, &numbered, err) < 0)
        return -1;
    if (numbered) {
        s->kind = SOURCE_WEIGHTS_V3;
        *ret_weights = root;
        return 0;
    }
    if (root->nb_layers)
        return h5pt_fail(err, H5PT_UNSUPPORTED_FORMAT, NULL,
                         "The file holds weights of Keras 0.x; load them in Keras 1 or newer and save the whole model");
    if (root->model_config)
        return h5pt_fail(err, H5PT_NOT_KERAS, NULL, "The file has a model_config but no group model_weights");
    return h5pt_fail(err, H5PT_NOT_KERAS, NULL,
                     "The file is HDF5, but has neither model_config and model_weights nor weights of Keras");
}

/* An attribute of the weights, else of the root. */
static int read_text(struct source *s, const struct place *weights, const struct place *root, const char *name,
                     const char **ret, struct h5pt_error *err)
{
    if (hdf5_text(&s->file, &weights->group, weights->path, name, ret, err) < 0)
        return -1;
    return *ret ? 0 : hdf5_text(&s->file, &root->group, root->path, name, ret, err);
}

static int read_places(struct source *s, struct place *root, struct place *model_weights, struct h5pt_error *err)
{
    const struct place *weights = root;
    if (place_open(&s->file, root, err) < 0 || place_open(&s->file, model_weights, err) < 0 ||
        recognise(s, root, model_weights, &weights, err) < 0)
        return -1;
    if (s->kind == SOURCE_LEGACY_MODEL && hdf5_text(&s->file, &root->group, "/", "model_config", &s->config, err) < 0)
        return -1;
    if (read_text(s, weights, root, "keras_version", &s->keras_version, err) < 0 ||
        read_text(s, weights, root, "backend", &s->backend, err) < 0)
        return -1;
    return s->kind == SOURCE_WEIGHTS_V3 ? source_layers_v3(&s->file, &s->layers, err)
                                        : source_layers_legacy(&s->file, weights->path, &s->layers, err);
}

static int read_structure(struct source *s, struct h5pt_error *err)
{
    struct place root = {.path = "/", .group = HDF5_OBJECT_INIT};
    struct place weights = {.path = "/model_weights", .group = HDF5_OBJECT_INIT};
    int rc = read_places(s, &root, &weights, err);
    hdf5_object_release(&root.group);
    hdf5_object_release(&weights.group);
    return rc;
}

static int open_archive(struct source *s, const struct source_bytes *bytes, struct h5pt_error *err)
{
    if (keras_archive_open(bytes, &s->limits, s->arena, &s->archive, err) < 0 ||
        hdf5_open(&s->file, &s->archive.weights, &s->limits, s->arena, err) < 0)
        return -1;
    s->kind = SOURCE_ARCHIVE;
    s->config = s->archive.config;
    s->keras_version = s->archive.keras_version;
    return source_layers_v3(&s->file, &s->layers, err);
}

static int open_bytes(struct source *s, int fd, struct h5pt_error *err)
{
    struct source_bytes bytes;
    if (source_bytes_of_file(fd, &s->read_errno, &bytes, err) < 0)
        return -1;
    if (zip_is_archive(&bytes))
        return open_archive(s, &bytes, err);
    return hdf5_open(&s->file, &bytes, &s->limits, s->arena, err) < 0 ? -1 : read_structure(s, err);
}

int source_set_up(struct h5pt_error *err)
{
    return hdf5_set_up(err);
}

int source_open(int fd, const struct source_limits *limits, struct source **ret, struct h5pt_error *err)
{
    struct source *s = calloc(1, sizeof *s);
    if (!s)
        return h5pt_fail_memory(err);
    s->file.id = s->file.driver = H5I_INVALID_HID;
    s->limits = limits ? *limits : source_default_limits;
    s->arena = arena_new();
    if (!s->arena) {
        source_close(s);
        return h5pt_fail_memory(err);
    }
    if (open_bytes(s, fd, err) < 0) {
        source_close(s);
        return -1;
    }
    *ret = s;
    return 0;
}

void source_close(struct source *source)
{
    if (!source)
        return;
    hdf5_release(&source->file);
    source_layers_release(&source->layers);
    keras_archive_release(&source->archive);
    arena_free(source->arena);
    free(source);
}

enum source_kind source_kind(const struct source *source)
{
    return source->kind;
}

bool source_is_numbered(const struct source *source)
{
    return source->kind == SOURCE_WEIGHTS_V3 || source->kind == SOURCE_ARCHIVE;
}

const char *source_config(const struct source *source, size_t *ret_length)
{
    if (ret_length)
        *ret_length = source->config ? strlen(source->config) : 0;
    return source->config;
}

const char *source_keras_version(const struct source *source)
{
    return source->keras_version;
}

const char *source_backend(const struct source *source)
{
    return source->backend;
}

size_t source_layer_count(const struct source *source)
{
    return source->layers.count;
}

const struct source_layer *source_layer(const struct source *source, size_t index)
{
    return &source->layers.items[index];
}

/* The dataset of a tensor, checked again and still what it was. */
static int reopen(const struct source *source, const struct source_tensor *tensor, struct hdf5_dataset *ret,
                  struct h5pt_error *err)
{
    if (hdf5_dataset_open(&source->file, tensor->object, ret, err) < 0)
        return -1;
    if (ret->dtype == tensor->dtype && shape_equal(&ret->shape, &tensor->shape))
        return 0;
    hdf5_dataset_release(ret);
    return h5pt_fail(err, H5PT_IO, tensor->object, "The file was changed while it was read");
}

static int read_stored(struct source *source, const struct source_tensor *tensor, void *buffer, struct h5pt_error *err)
{
    struct hdf5_dataset dataset = HDF5_DATASET_INIT;
    if (reopen(source, tensor, &dataset, err) < 0)
        return -1;
    int rc = hdf5_dataset_read(&source->file, &dataset, tensor->object, buffer, err);
    hdf5_dataset_release(&dataset);
    return rc;
}

/* Elements larger than a float, in pieces of whole rows (chunks, where there are) along the first axis. */
static int read_pieces(struct source *source, const struct hdf5_dataset *dataset, const char *object, float *buffer,
                       struct h5pt_error *err)
{
    if (dataset->elements == 0)
        return 0;
    const uint64_t rows = dataset->shape.rank ? (uint64_t)dataset->shape.dims[0] : 1;
    const uint64_t row = dataset->elements / rows, size = dtype_size(dataset->dtype), step = dataset->rows;
    uint64_t piece = step;
    if (PIECE_BYTES / (row * size) > step)
        piece = PIECE_BYTES / (row * size) / step * step;
    if (piece > rows)
        piece = rows;
    void *elements = malloc(piece * row * size);
    if (!elements)
        return h5pt_fail_memory(err);
    int rc = 0;
    for (uint64_t first = 0; first < rows && rc == 0; first += piece) {
        uint64_t count = rows - first < piece ? rows - first : piece;
        rc = count == rows ? hdf5_dataset_read(&source->file, dataset, object, elements, err)
                           : hdf5_dataset_read_rows(&source->file, dataset, object, first, count, elements, err);
        if (rc == 0)
            to_float(dataset->dtype, elements, count * row, buffer + first * row);
    }
    free(elements);
    return rc;
}

static int read_stored_float(struct source *source, const struct source_tensor *tensor, void *floats,
                             struct h5pt_error *err)
{
    float *buffer = floats;
    struct hdf5_dataset dataset = HDF5_DATASET_INIT;
    if (reopen(source, tensor, &dataset, err) < 0)
        return -1;
    int rc;
    if (dtype_size(dataset.dtype) > sizeof *buffer) {
        rc = read_pieces(source, &dataset, tensor->object, buffer, err);
    } else {
        /* Read into the end of the buffer and widen from the front. */
        char *elements = (char *)buffer + (dataset.elements * sizeof *buffer - dataset.bytes);
        rc = hdf5_dataset_read(&source->file, &dataset, tensor->object, elements, err);
        if (rc == 0)
            to_float(dataset.dtype, elements, dataset.elements, buffer);
    }
    hdf5_dataset_release(&dataset);
    return rc;
}

int source_read(struct source *source, const struct source_tensor *tensor, void *buffer, struct h5pt_error *err)
{
    if (tensor->assembly)
        return assembly_read(source, tensor, dtype_size(tensor->dtype), read_stored, buffer, err);
    return read_stored(source, tensor, buffer, err);
}

int source_read_float(struct source *source, const struct source_tensor *tensor, float *buffer, struct h5pt_error *err)
{
    if (tensor->assembly)
        return assembly_read(source, tensor, sizeof *buffer, read_stored_float, buffer, err);
    return read_stored_float(source, tensor, buffer, err);
}
