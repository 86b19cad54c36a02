/* SPDX-License-Identifier: Apache-2.0 */
/* Walking paths: component by component, over hard links only. */
#include <stdlib.h>
#include <string.h>

#include "source/hdf5_file.h"

void hdf5_object_release(struct hdf5_object *object)
{
    if (object->id >= 0)
        (void)H5Oclose(object->id);
    *object = (struct hdf5_object)HDF5_OBJECT_INIT;
}

static enum hdf5_kind kind_of(hid_t id)
{
    switch (H5Iget_type(id)) {
    case H5I_GROUP: return HDF5_GROUP;
    case H5I_DATASET: return HDF5_DATASET;
    default: return HDF5_OTHER;
    }
}

/* Opens `name`, which has no '/', in `group`; `path` is for messages. */
static int open_component(const struct hdf5_file *file, hid_t group, const char *name, const char *path,
                          struct hdf5_object *ret, struct h5pt_error *err)
{
    htri_t exists = H5Lexists(group, name, H5P_DEFAULT);
    if (exists < 0)
        return hdf5_fail(file, err, path, "The group that should hold \"%.100s\" cannot be read", name);
    if (!exists)
        return 0;
    H5L_info_t link;
    if (H5Lget_info(group, name, &link, H5P_DEFAULT) < 0)
        return hdf5_fail(file, err, path, "The link \"%.100s\" cannot be read", name);
    if (link.type == H5L_TYPE_SOFT)
        return h5pt_fail(err, H5PT_H5_SOFT_LINK, path,
                         "\"%.100s\" is a soft link; only data stored in place is accepted", name);
    if (link.type != H5L_TYPE_HARD)
        return h5pt_fail(err, H5PT_H5_EXTERNAL_LINK, path, "\"%.100s\" is %s link; only data in this file is accepted",
                         name, link.type == H5L_TYPE_EXTERNAL ? "an external" : "a user-defined");
    hid_t id = H5Oopen(group, name, H5P_DEFAULT);
    if (id < 0)
        return hdf5_fail(file, err, path, "\"%.100s\" cannot be opened", name);
    *ret = (struct hdf5_object){.id = id, .kind = kind_of(id)};
    return 0;
}

/* One step from *at, which is replaced: by an absent object when there is nothing of that name. */
static int step(const struct hdf5_file *file, struct hdf5_object *at, const char *name, const char *path,
                struct h5pt_error *err)
{
    struct hdf5_object next = HDF5_OBJECT_INIT;
    int rc = at->kind == HDF5_GROUP ? open_component(file, at->id, name, path, &next, err) : 0;
    hdf5_object_release(at);
    *at = next;
    return rc;
}

static int walk(const struct hdf5_file *file, const char *path, char *components, struct hdf5_object *at,
                struct h5pt_error *err)
{
    uint32_t depth = 0;
    char *rest = components;
    for (char *name; at->kind != HDF5_ABSENT && (name = strsep(&rest, "/"));) {
        if (!*name || strcmp(name, ".") == 0)
            continue;
        if (++depth > file->limits->depth)
            return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, path, "Groups are nested more than %u deep",
                             file->limits->depth);
        if (step(file, at, name, path, err) < 0)
            return -1;
    }
    return 0;
}

int hdf5_find(const struct hdf5_file *file, const char *path, struct hdf5_object *ret, struct h5pt_error *err)
{
    int rc = -1;
    struct hdf5_object at = HDF5_OBJECT_INIT;
    char *components = strdup(path);
    if (!components) {
        (void)h5pt_fail_memory(err);
        goto out;
    }
    at.id = H5Gopen2(file->id, "/", H5P_DEFAULT);
    if (at.id < 0) {
        (void)hdf5_fail(file, err, "/", "The root group cannot be opened");
        goto out;
    }
    at.kind = HDF5_GROUP;
    if (walk(file, path, components, &at, err) < 0)
        goto out;
    *ret = at;
    at = (struct hdf5_object)HDF5_OBJECT_INIT;
    rc = 0;
out:
    hdf5_object_release(&at);
    free(components);
    return rc;
}

struct listing {
    struct hdf5_file *file;
    struct hdf5_names names;
    size_t capacity;
};

/* Ends the iteration with a failure when there are more links than counted before, or no memory. */
static herr_t add_name(hid_t group, const char *name, const H5L_info_t *info, void *context)
{
    (void)group;
    (void)info;
    struct listing *l = context;
    if (l->names.count == l->capacity || !(l->names.text[l->names.count] = arena_strdup(l->file->arena, name)))
        return -1;
    l->names.count++;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    size_t m = strlen(x), n = strlen(y);
    return m != n ? (m < n ? -1 : 1) : strcmp(x, y);
}

int hdf5_list(struct hdf5_file *file, const struct hdf5_object *group, const char *path, struct hdf5_names *ret,
              struct h5pt_error *err)
{
    H5G_info_t info;
    if (H5Gget_info(group->id, &info) < 0)
        return hdf5_fail(file, err, path, "The group cannot be read");
    if (info.nlinks > file->limits->names)
        return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, path, "The group has %llu entries, more than %u",
                         (unsigned long long)info.nlinks, file->limits->names);
    struct listing l = {.file = file, .capacity = (size_t)info.nlinks};
    l.names.present = true;
    if (l.capacity && !(l.names.text = ARENA_ARRAY(file->arena, const char *, l.capacity)))
        return h5pt_fail_memory(err);
    if (H5Literate(group->id, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, add_name, &l) < 0)
        return hdf5_fail(file, err, path, "The group cannot be read");
    if (l.names.count)
        qsort(l.names.text, l.names.count, sizeof *l.names.text, compare_names);
    *ret = l.names;
    return 0;
}
