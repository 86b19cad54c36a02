/* SPDX-License-Identifier: Apache-2.0 */
#include "source/source_layers.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"

void source_layers_release(struct source_layers *layers)
{
    free(layers->items);
    *layers = (struct source_layers){.items = NULL};
}

static int add_layer(struct source_layers *layers, const struct source_layer *layer, struct h5pt_error *err)
{
    if (layers->count == layers->capacity) {
        size_t capacity = layers->capacity ? 2 * layers->capacity : 64;
        struct source_layer *items = reallocarray(layers->items, capacity, sizeof *items);
        if (!items)
            return h5pt_fail_memory(err);
        layers->items = items;
        layers->capacity = capacity;
    }
    layers->items[layers->count++] = *layer;
    return 0;
}

/* base/name; a name that starts with '/' is a path from the root, as everywhere in HDF5. */
static const char *join(struct hdf5_file *file, const char *base, const char *name, struct h5pt_error *err)
{
    const char *path = *name == '/'             ? arena_strdup(file->arena, name)
                       : strcmp(base, "/") == 0 ? arena_printf(file->arena, "/%s", name)
                                                : arena_printf(file->arena, "%s/%s", base, name);
    if (!path)
        (void)h5pt_fail_memory(err);
    else if (hdf5_count_text(file, base, strlen(path), err) < 0)
        return NULL;
    return path;
}

static int read_tensor(const struct hdf5_file *file, struct source_layers *layers, struct source_tensor *tensor,
                       struct h5pt_error *err)
{
    struct hdf5_dataset dataset = HDF5_DATASET_INIT;
    if (hdf5_dataset_open(file, tensor->object, &dataset, err) < 0)
        return -1;
    tensor->dtype = dataset.dtype;
    tensor->shape = dataset.shape;
    tensor->bytes = dataset.bytes;
    hdf5_dataset_release(&dataset);
    if (!size_add(layers->total_bytes, tensor->bytes, &layers->total_bytes) ||
        layers->total_bytes > file->limits->total_bytes)
        return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, tensor->object,
                         "With this tensor, all tensors together declare more than %llu bytes",
                         (unsigned long long)file->limits->total_bytes);
    return 0;
}

/* The layer `name`, whose tensors `names` are datasets below the group at `path`. */
static int read_layer(struct hdf5_file *file, struct source_layers *layers, const char *name, const char *path,
                      const struct hdf5_names *names, struct h5pt_error *err)
{
    if (names->count > file->limits->tensors - layers->tensors)
        return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, path, "The file has more than %u tensors", file->limits->tensors);
    layers->tensors += names->count;
    struct source_tensor *tensors = NULL;
    if (names->count && !(tensors = ARENA_ARRAY(file->arena, struct source_tensor, names->count)))
        return h5pt_fail_memory(err);
    for (size_t i = 0; i < names->count; i++) {
        tensors[i].name = names->text[i];
        tensors[i].object = join(file, path, names->text[i], err);
        if (!tensors[i].object || read_tensor(file, layers, &tensors[i], err) < 0)
            return -1;
    }
    return add_layer(layers, &(struct source_layer){.name = name, .tensor_count = names->count, .tensors = tensors},
                     err);
}

static int read_legacy_layer(struct hdf5_file *file, struct source_layers *layers, const char *name, const char *path,
                             struct h5pt_error *err)
{
    struct hdf5_object group = HDF5_OBJECT_INIT;
    struct hdf5_names names;
    if (hdf5_find(file, path, &group, err) < 0)
        return -1;
    if (group.kind != HDF5_GROUP) {
        hdf5_object_release(&group);
        return h5pt_fail(err, H5PT_H5_CORRUPT, path, "The file lists this layer but holds no group for it");
    }
    int rc = hdf5_names(file, &group, path, "weight_names", &names, err);
    hdf5_object_release(&group);
    return rc < 0 ? -1 : read_layer(file, layers, name, path, &names, err);
}

int source_layers_legacy(struct hdf5_file *file, const char *path, struct source_layers *layers, struct h5pt_error *err)
{
    struct hdf5_object group = HDF5_OBJECT_INIT;
    struct hdf5_names names;
    if (hdf5_find(file, path, &group, err) < 0)
        return -1;
    int rc = hdf5_names(file, &group, path, "layer_names", &names, err);
    hdf5_object_release(&group);
    if (rc < 0)
        return -1;
    if (!names.present)
        return h5pt_fail(err, H5PT_H5_CORRUPT, path, "The weights have no list of layers (attribute layer_names)");
    for (size_t i = 0; i < names.count; i++) {
        const char *layer = join(file, path, names.text[i], err);
        if (!layer || read_legacy_layer(file, layers, names.text[i], layer, err) < 0)
            return -1;
    }
    return 0;
}

/* The kind and, for a group, the links of the object at `path`. */
static int list_group(struct hdf5_file *file, const char *path, enum hdf5_kind *ret_kind, struct hdf5_names *ret,
                      struct h5pt_error *err)
{
    struct hdf5_object object = HDF5_OBJECT_INIT;
    if (hdf5_find(file, path, &object, err) < 0)
        return -1;
    *ret = (struct hdf5_names){.text = NULL};
    *ret_kind = object.kind;
    int rc = object.kind == HDF5_GROUP ? hdf5_list(file, &object, path, ret, err) : 0;
    hdf5_object_release(&object);
    return rc;
}

/* `path` is the group "vars" of the object at `owner`. */
static int read_variables(struct hdf5_file *file, struct source_layers *layers, const char *owner, const char *path,
                          struct h5pt_error *err)
{
    enum hdf5_kind kind;
    struct hdf5_names names;
    if (list_group(file, path, &kind, &names, err) < 0)
        return -1;
    return read_layer(file, layers, owner + 1, path, &names, err);
}

/* Groups may link back to their parents: the depth ends each way down, the number of groups the whole walk. */
static int walk_v3(struct hdf5_file *file, struct source_layers *layers, const char *path, struct h5pt_error *err)
{
    enum hdf5_kind kind;
    struct hdf5_names names;
    if (list_group(file, path, &kind, &names, err) < 0)
        return -1;
    if (kind != HDF5_GROUP)
        return 0;
    if (++layers->groups > file->limits->tensors)
        return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, path, "The file has more than %u groups", file->limits->tensors);
    for (size_t i = 0; i < names.count; i++) {
        if (strcmp(path, "/") == 0 && strcmp(names.text[i], "optimizer") == 0)
            continue;
        const char *child = join(file, path, names.text[i], err);
        if (!child)
            return -1;
        int rc = strcmp(names.text[i], "vars") == 0 ? read_variables(file, layers, path, child, err)
                                                    : walk_v3(file, layers, child, err);
        if (rc < 0)
            return -1;
    }
    return 0;
}

int source_layers_v3(struct hdf5_file *file, struct source_layers *layers, struct h5pt_error *err)
{
    return walk_v3(file, layers, "/", err);
}
