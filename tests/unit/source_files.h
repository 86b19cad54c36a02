/* SPDX-License-Identifier: Apache-2.0 */
/* Writing HDF5 files as Keras and others do, ordinary and hostile ones, for the tests of core/source. All files of a test
 * program are written before the first source_open, which takes external links out of the library. */
#ifndef H5PT_TESTS_UNIT_SOURCE_FILES_H
#define H5PT_TESTS_UNIT_SOURCE_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "source/source.h"

static char files_dir[64];

static inline const char *file_path(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", files_dir, name);
    return path;
}

static inline void files_init(void)
{
    (void)snprintf(files_dir, sizeof files_dir, "/tmp/h5pt-test-source-XXXXXX");
    assert_non_null(mkdtemp(files_dir));
}

static inline void files_remove(void)
{
    DIR *dir = opendir(files_dir);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            assert_int_equal(unlinkat(dirfd(dir), entry->d_name, 0), 0);
    (void)closedir(dir);
    assert_int_equal(rmdir(files_dir), 0);
}

/* How an attribute stores text. */
struct style {
    bool variable, scalar;
    H5T_str_t padding;
    H5T_cset_t cset;
};

static const struct style style_new = {.variable = true, .padding = H5T_STR_NULLTERM};

/* `count` texts into the attribute `name`; `size` of fixed-length strings, 0: as long as the longest. */
static inline void write_texts(hid_t object, const char *name, struct style style, size_t size, size_t count,
                               const char *const *texts)
{
    hsize_t dims = count;
    hid_t space = style.scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &dims, NULL);
    hid_t type = H5Tcopy(H5T_C_S1);
    for (size_t i = 0; i < count && !style.variable; i++)
        if (strlen(texts[i]) > size)
            size = strlen(texts[i]);
    assert_true(H5Tset_size(type, style.variable ? H5T_VARIABLE : size) >= 0);
    assert_true(H5Tset_strpad(type, style.padding) >= 0 && H5Tset_cset(type, style.cset) >= 0);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(attribute >= 0);
    if (style.variable) {
        assert_true(H5Awrite(attribute, type, texts) >= 0);
    } else {
        char *bytes = malloc(count * size);
        assert_non_null(bytes);
        memset(bytes, style.padding == H5T_STR_SPACEPAD ? ' ' : 0, count * size);
        for (size_t i = 0; i < count; i++)
            memcpy(bytes + i * size, texts[i], strlen(texts[i]));
        assert_true(H5Awrite(attribute, type, bytes) >= 0);
        free(bytes);
    }
    (void)H5Aclose(attribute);
    (void)H5Tclose(type);
    (void)H5Sclose(space);
}

static inline void write_text(hid_t object, const char *name, const char *text)
{
    write_texts(object, name, (struct style){.variable = true, .scalar = true}, 0, 1, &text);
}

/* What h5py makes of an empty list. */
static inline void write_empty_list(hid_t object, const char *name)
{
    hsize_t dims = 0;
    hid_t space = H5Screate_simple(1, &dims, NULL);
    hid_t attribute = H5Acreate2(object, name, H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(attribute >= 0);
    (void)H5Aclose(attribute);
    (void)H5Sclose(space);
}

static inline hid_t group_new(hid_t parent, const char *name)
{
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    (void)H5Pset_create_intermediate_group(links, 1);
    hid_t group = H5Gcreate2(parent, name, links, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(group >= 0);
    (void)H5Pclose(links);
    return group;
}

/* A dataset, written unless `data` is NULL; `data` is of `memory_type`. `properties` may be H5P_DEFAULT. */
static inline void write_dataset(hid_t group, const char *name, hid_t type, int rank, const hsize_t *dims,
                                 hid_t properties, hid_t memory_type, const void *data)
{
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    (void)H5Pset_create_intermediate_group(links, 1);
    hid_t space = rank ? H5Screate_simple(rank, dims, NULL) : H5Screate(H5S_SCALAR);
    hid_t dataset = H5Dcreate2(group, name, type, space, links, properties, H5P_DEFAULT);
    assert_true(dataset >= 0);
    if (data)
        assert_true(H5Dwrite(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    (void)H5Dclose(dataset);
    (void)H5Sclose(space);
    (void)H5Pclose(links);
}

static inline void write_floats(hid_t group, const char *name, int rank, const hsize_t *dims, const float *data)
{
    write_dataset(group, name, H5T_IEEE_F32LE, rank, dims, H5P_DEFAULT, H5T_NATIVE_FLOAT, data);
}

/* A file with the attributes of a whole model and an empty group model_weights. */
static inline hid_t model_new(const char *name, hid_t creation, hid_t access)
{
    hid_t file = H5Fcreate(file_path(name), H5F_ACC_TRUNC, creation, access);
    assert_true(file >= 0);
    write_text(file, "model_config", "{\"class_name\": \"Sequential\"}");
    write_text(file, "keras_version", "2.15.0");
    write_text(file, "backend", "tensorflow");
    (void)H5Gclose(group_new(file, "model_weights"));
    return file;
}

/* A model of one layer "d" with one weight "w", which is still to be made; *ret_layer is the open group of the layer. */
static inline hid_t one_weight_in(hid_t file, hid_t *ret_layer)
{
    hid_t weights = H5Gopen2(file, "model_weights", H5P_DEFAULT);
    write_texts(weights, "layer_names", style_new, 0, 1, (const char *const[]){"d"});
    *ret_layer = group_new(weights, "d");
    write_texts(*ret_layer, "weight_names", style_new, 0, 1, (const char *const[]){"w"});
    (void)H5Gclose(weights);
    return file;
}

static inline hid_t one_weight(const char *name, hid_t *ret_layer)
{
    return one_weight_in(model_new(name, H5P_DEFAULT, H5P_DEFAULT), ret_layer);
}

static inline void close_model(hid_t file, hid_t layer)
{
    (void)H5Gclose(layer);
    assert_true(H5Fclose(file) >= 0);
}

static inline int open_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* Opens a file that must be accepted. */
static inline struct source *accept_file(const char *name, int *ret_fd)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct source *source = NULL;
    *ret_fd = open_path(file_path(name));
    if (source_open(*ret_fd, NULL, &source, &err) < 0)
        fail_msg("%s: %s at \"%s\": %s", name, h5pt_code_name(err.code), err.where, err.message);
    return source;
}

static inline void close_source(struct source *source, int fd)
{
    source_close(source);
    assert_int_equal(close(fd), 0);
}

#endif
