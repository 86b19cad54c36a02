/* SPDX-License-Identifier: Apache-2.0 */
/* Files that lead elsewhere, lie, or are too large: each is refused with its own code, at its own place. */
#include <sys/stat.h>

#include "source_files.h"

static const hsize_t four[] = {4};
static const float four_values[] = {1, 2, 3, 4};

/* Something that must not be read: raw floats, and an HDF5 file with the datasets "secret" and "block0". */
static char secret_raw[128], secret_h5[128];

static void build_secrets(void)
{
    (void)snprintf(secret_raw, sizeof secret_raw, "%s", file_path("secret.raw"));
    (void)snprintf(secret_h5, sizeof secret_h5, "%s", file_path("secret.h5"));
    FILE *out = fopen(secret_raw, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(four_values, sizeof four_values, 1, out), 1);
    assert_int_equal(fclose(out), 0);
    hid_t file = H5Fcreate(secret_h5, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    write_floats(file, "secret", 1, four, four_values);
    write_floats(file, "block0", 1, four, four_values);
    hid_t group = group_new(file, "w");
    (void)H5Gclose(group);
    assert_true(H5Fclose(file) >= 0);
}

/* Each of these puts something into a model of one layer "d" whose only weight is "w". */

static void external_storage(hid_t layer)
{
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    assert_true(H5Pset_external(properties, secret_raw, 0, sizeof four_values) >= 0);
    write_dataset(layer, "w", H5T_IEEE_F32LE, 1, four, properties, H5T_NATIVE_FLOAT, NULL);
    (void)H5Pclose(properties);
}

static void external_link(hid_t layer)
{
    assert_true(H5Lcreate_external(secret_h5, "/secret", layer, "w", H5P_DEFAULT, H5P_DEFAULT) >= 0);
}

static void soft_link(hid_t layer)
{
    write_floats(layer, "real", 1, four, four_values);
    assert_true(H5Lcreate_soft("real", layer, "w", H5P_DEFAULT, H5P_DEFAULT) >= 0);
}

static void dangling_soft_link(hid_t layer)
{
    assert_true(H5Lcreate_soft("/nowhere", layer, "w", H5P_DEFAULT, H5P_DEFAULT) >= 0);
}

static hid_t follow_own_link(const char *name, hid_t group, const void *data, size_t size, hid_t access, hid_t transfer)
{
    (void)name, (void)data, (void)size, (void)access, (void)transfer;
    return H5Dopen2(group, "real", H5P_DEFAULT);
}

static void user_defined_link(hid_t layer)
{
    static const H5L_class_t class = {.version = H5L_LINK_CLASS_T_VERS,
                                      .id = (H5L_type_t)(H5L_TYPE_UD_MIN + 36),
                                      .comment = "own",
                                      .trav_func = follow_own_link};
    assert_true(H5Lregister(&class) >= 0);
    write_floats(layer, "real", 1, four, four_values);
    assert_true(H5Lcreate_ud(layer, "w", class.id, "x", 1, H5P_DEFAULT, H5P_DEFAULT) >= 0);
}

/* `from` "." is the file itself. */
static void virtual_from(hid_t layer, const char *from, const char *dataset)
{
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, four, NULL);
    assert_true(H5Pset_virtual(properties, space, from, dataset, space) >= 0);
    write_dataset(layer, "w", H5T_IEEE_F32LE, 1, four, properties, H5T_NATIVE_FLOAT, NULL);
    (void)H5Sclose(space);
    (void)H5Pclose(properties);
}

static void virtual_of_other_file(hid_t layer)
{
    virtual_from(layer, secret_h5, "secret");
}

static void virtual_of_same_file(hid_t layer)
{
    write_floats(layer, "real", 1, four, four_values);
    virtual_from(layer, ".", "/model_weights/d/real");
}

/* Its size depends on the other file, which HDF5 opens when asked for the dataspace. */
static void virtual_unlimited(hid_t layer)
{
    const hsize_t any = H5S_UNLIMITED;
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE), links = H5P_DEFAULT;
    hid_t space = H5Screate_simple(1, four, &any), from = H5Screate_simple(1, four, NULL);
    assert_true(H5Sselect_hyperslab(space, H5S_SELECT_SET, (const hsize_t[]){0}, four, &any, four) >= 0);
    assert_true(H5Pset_virtual(properties, space, secret_h5, "block%b", from) >= 0);
    hid_t dataset = H5Dcreate2(layer, "w", H5T_IEEE_F32LE, space, links, properties, H5P_DEFAULT);
    assert_true(dataset >= 0);
    (void)H5Dclose(dataset);
    (void)H5Sclose(space);
    (void)H5Sclose(from);
    (void)H5Pclose(properties);
}

/* Filters. */

static void filtered(hid_t layer, hid_t properties, hid_t type)
{
    (void)H5Pset_chunk(properties, 1, four);
    write_dataset(layer, "w", type, 1, four, properties, H5T_NATIVE_FLOAT, four_values);
    (void)H5Pclose(properties);
}

static void nbit(hid_t layer)
{
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    (void)H5Pset_nbit(properties);
    filtered(layer, properties, H5T_STD_I32LE);
}

static void scale_offset(hid_t layer)
{
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    (void)H5Pset_scaleoffset(properties, H5Z_SO_INT, 0);
    filtered(layer, properties, H5T_STD_I32LE);
}

static void unknown_filter(hid_t layer) /* lzf of h5py; optional, so that it can be declared without being there */
{
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    (void)H5Pset_filter(properties, 32000, H5Z_FLAG_OPTIONAL, 0, NULL);
    filtered(layer, properties, H5T_IEEE_F32LE);
}

static void deflate_twice(hid_t layer)
{
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    (void)H5Pset_deflate(properties, 9);
    (void)H5Pset_deflate(properties, 9);
    filtered(layer, properties, H5T_IEEE_F32LE);
}

/* Declared, not written. */

static void unwritten(hid_t layer)
{
    write_floats(layer, "w", 1, four, NULL);
}

/* `axes` of 6, chunks of 2 along each; all chunks but the last are written. */
static void partly_written(hid_t layer, int axes, bool unlimited, bool deflate, bool write)
{
    const hsize_t dims[] = {6, 6}, most[] = {H5S_UNLIMITED, axes == 2 ? H5S_UNLIMITED : 6}, chunk[] = {2, 2};
    float values[36] = {1};
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(axes, dims, unlimited ? most : NULL);
    (void)H5Pset_chunk(properties, axes, chunk);
    if (deflate)
        (void)H5Pset_deflate(properties, 1);
    hid_t dataset = H5Dcreate2(layer, "w", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    assert_true(dataset >= 0);
    (void)H5Sselect_hyperslab(space, H5S_SELECT_SET, (const hsize_t[]){4, 4}, NULL, chunk, NULL);
    (void)H5Sselect_hyperslab(space, H5S_SELECT_NOTB, (const hsize_t[]){0, 0}, NULL, dims, NULL);
    if (write)
        assert_true(H5Dwrite(dataset, H5T_NATIVE_FLOAT, space, space, H5P_DEFAULT, values) >= 0);
    (void)H5Dclose(dataset);
    (void)H5Sclose(space);
    (void)H5Pclose(properties);
}

static void unwritten_chunks(hid_t layer)
{
    partly_written(layer, 1, false, false, false);
}

static void partly_fixed(hid_t layer)
{
    partly_written(layer, 2, false, false, true);
}

static void partly_growing(hid_t layer)
{
    partly_written(layer, 1, true, true, true);
}

static void partly_growing_twice(hid_t layer)
{
    partly_written(layer, 2, true, false, true);
}

/* Sizes. */

static void huge_shape(hid_t layer)
{
    write_floats(layer, "w", 1, (const hsize_t[]){(hsize_t)1 << 40}, NULL);
}

static void chunked_shape(hid_t layer, int rank, const hsize_t *dims, const hsize_t *chunk)
{
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    (void)H5Pset_chunk(properties, rank, chunk);
    write_dataset(layer, "w", H5T_IEEE_F32LE, rank, dims, properties, H5T_NATIVE_FLOAT, NULL);
    (void)H5Pclose(properties);
}

static void overflowing_shape(hid_t layer) /* 2^64 elements: 0 in 64 bits */
{
    chunked_shape(layer, 2, (const hsize_t[]){(hsize_t)1 << 32, (hsize_t)1 << 32}, (const hsize_t[]){1, 1});
}

static void huge_axis_without_elements(hid_t layer)
{
    chunked_shape(layer, 3, (const hsize_t[]){0, (hsize_t)1 << 40, (hsize_t)1 << 40}, (const hsize_t[]){1, 1, 1});
}

static void many_chunks(hid_t layer)
{
    chunked_shape(layer, 1, (const hsize_t[]){3 << 20}, (const hsize_t[]){1});
}

static void huge_chunk(hid_t layer)
{
    const hsize_t most = H5S_UNLIMITED, chunk = 1 << 28;
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, four, &most);
    (void)H5Pset_chunk(properties, 1, &chunk);
    hid_t dataset = H5Dcreate2(layer, "w", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    assert_true(dataset >= 0);
    static const char stored[] = "sixteen bytes...";
    assert_true(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, (const hsize_t[]){0}, sizeof stored, stored) >= 0);
    (void)H5Dclose(dataset);
    (void)H5Sclose(space);
    (void)H5Pclose(properties);
}

static void many_axes(hid_t layer)
{
    write_floats(layer, "w", 9, (const hsize_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1}, four_values);
}

static void deep(hid_t layer)
{
    char name[2 * 80 + 8] = "";
    for (int i = 0; i < 80; i++)
        memcpy(name + strlen(name), "g/", 3);
    memcpy(name + strlen(name), "w", 2);
    write_floats(layer, name, 1, four, four_values);
    assert_true(H5Adelete(layer, "weight_names") >= 0);
    write_texts(layer, "weight_names", style_new, 0, 1, (const char *const[]){name});
}

/* Types. */

static void typed(hid_t layer, hid_t type)
{
    write_dataset(layer, "w", type, 1, four, H5P_DEFAULT, type, NULL);
    (void)H5Tclose(type);
}

static void vlen_type(hid_t layer)
{
    typed(layer, H5Tvlen_create(H5T_IEEE_F32LE));
}

static void compound_type(hid_t layer)
{
    hid_t type = H5Tcreate(H5T_COMPOUND, 8);
    (void)H5Tinsert(type, "r", 0, H5T_IEEE_F32LE);
    (void)H5Tinsert(type, "i", 4, H5T_IEEE_F32LE);
    typed(layer, type);
}

static void array_type(hid_t layer)
{
    typed(layer, H5Tarray_create2(H5T_IEEE_F32LE, 1, four));
}

static void text_type(hid_t layer)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    (void)H5Tset_size(type, H5T_VARIABLE);
    typed(layer, type);
}

static void reference_type(hid_t layer)
{
    typed(layer, H5Tcopy(H5T_STD_REF_OBJ));
}

static void bitfield_type(hid_t layer)
{
    typed(layer, H5Tcopy(H5T_STD_B32LE));
}

static void odd_float(hid_t layer) /* another exponent bias */
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    (void)H5Tset_ebias(type, 100);
    typed(layer, type);
}

static void odd_integer(hid_t layer) /* 24 of 32 bits */
{
    hid_t type = H5Tcopy(H5T_STD_I32LE);
    (void)H5Tset_precision(type, 24);
    typed(layer, type);
}

static void enumeration(hid_t layer)
{
    hid_t type = H5Tenum_create(H5T_STD_I8LE);
    (void)H5Tenum_insert(type, "FALSE", (const int8_t[]){0});
    (void)H5Tenum_insert(type, "MAYBE", (const int8_t[]){1});
    typed(layer, type);
}

static void opaque_of_three(hid_t layer)
{
    hid_t type = H5Tcreate(H5T_OPAQUE, 3);
    (void)H5Tset_tag(type, "");
    typed(layer, type);
}

static void opaque_with_tag(hid_t layer)
{
    hid_t type = H5Tcreate(H5T_OPAQUE, 2);
    (void)H5Tset_tag(type, "something else");
    typed(layer, type);
}

static void null_space(hid_t layer)
{
    hid_t space = H5Screate(H5S_NULL);
    hid_t dataset = H5Dcreate2(layer, "w", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(dataset >= 0);
    (void)H5Dclose(dataset);
    (void)H5Sclose(space);
}

/* Not there, or something else. */

static void nothing(hid_t layer)
{
    (void)layer;
}

static void group_for_dataset(hid_t layer)
{
    (void)H5Gclose(group_new(layer, "w"));
}

static void type_for_dataset(hid_t layer)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    assert_true(H5Tcommit2(layer, "w", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) >= 0);
    (void)H5Tclose(type);
}

static const struct {
    const char *name;
    void (*build)(hid_t layer);
    enum h5pt_code code;
    bool latest; /* also in the latest format of the library, which has other chunk indices */
} cases[] = {
    {"external_storage", external_storage, H5PT_H5_EXTERNAL_STORAGE, true},
    {"external_link", external_link, H5PT_H5_EXTERNAL_LINK, true},
    {"user_defined_link", user_defined_link, H5PT_H5_EXTERNAL_LINK, false},
    {"soft_link", soft_link, H5PT_H5_SOFT_LINK, true},
    {"dangling_soft_link", dangling_soft_link, H5PT_H5_SOFT_LINK, false},
    {"virtual_of_other_file", virtual_of_other_file, H5PT_H5_VIRTUAL_DATASET, true},
    {"virtual_of_same_file", virtual_of_same_file, H5PT_H5_VIRTUAL_DATASET, false},
    {"virtual_unlimited", virtual_unlimited, H5PT_H5_VIRTUAL_DATASET, false},
    {"nbit", nbit, H5PT_H5_UNSUPPORTED_FILTER, false},
    {"scale_offset", scale_offset, H5PT_H5_UNSUPPORTED_FILTER, false},
    {"unknown_filter", unknown_filter, H5PT_H5_UNSUPPORTED_FILTER, false},
    {"deflate_twice", deflate_twice, H5PT_H5_UNSUPPORTED_FILTER, false},
    {"unwritten", unwritten, H5PT_H5_UNWRITTEN_DATASET, true},
    {"unwritten_chunks", unwritten_chunks, H5PT_H5_UNWRITTEN_DATASET, true},
    {"partly_fixed", partly_fixed, H5PT_H5_UNWRITTEN_DATASET, true},
    {"partly_growing", partly_growing, H5PT_H5_UNWRITTEN_DATASET, true},
    {"partly_growing_twice", partly_growing_twice, H5PT_H5_UNWRITTEN_DATASET, true},
    {"huge_shape", huge_shape, H5PT_H5_LIMIT_EXCEEDED, false},
    {"overflowing_shape", overflowing_shape, H5PT_H5_LIMIT_EXCEEDED, false},
    {"huge_axis_without_elements", huge_axis_without_elements, H5PT_H5_LIMIT_EXCEEDED, false},
    {"huge_chunk", huge_chunk, H5PT_H5_LIMIT_EXCEEDED, true},
    {"many_axes", many_axes, H5PT_H5_LIMIT_EXCEEDED, false},
    {"vlen_type", vlen_type, H5PT_H5_UNSUPPORTED_TYPE, true},
    {"compound_type", compound_type, H5PT_H5_UNSUPPORTED_TYPE, false},
    {"array_type", array_type, H5PT_H5_UNSUPPORTED_TYPE, false},
    {"text_type", text_type, H5PT_H5_UNSUPPORTED_TYPE, false},
    {"reference_type", reference_type, H5PT_H5_UNSUPPORTED_TYPE, false},
    {"bitfield_type", bitfield_type, H5PT_H5_UNSUPPORTED_TYPE, false},
    {"odd_float", odd_float, H5PT_H5_UNSUPPORTED_TYPE, false},
    {"odd_integer", odd_integer, H5PT_H5_UNSUPPORTED_TYPE, false},
    {"enumeration", enumeration, H5PT_H5_UNSUPPORTED_TYPE, false},
    {"opaque_of_three", opaque_of_three, H5PT_H5_UNSUPPORTED_TYPE, false},
    {"opaque_with_tag", opaque_with_tag, H5PT_H5_UNSUPPORTED_TYPE, false},
    {"null_space", null_space, H5PT_H5_UNSUPPORTED_TYPE, false},
    {"nothing", nothing, H5PT_H5_CORRUPT, false},
    {"group_for_dataset", group_for_dataset, H5PT_H5_CORRUPT, false},
    {"type_for_dataset", type_for_dataset, H5PT_H5_CORRUPT, false},
};
enum { CASES = sizeof cases / sizeof *cases };

static const char *case_name(size_t index, bool latest)
{
    static char name[64];
    (void)snprintf(name, sizeof name, "%s%s", cases[index].name, latest ? "-latest" : "");
    return name;
}

static void build_cases(void)
{
    for (size_t i = 0; i < CASES; i++) {
        for (int latest = 0; latest <= cases[i].latest; latest++) {
            hid_t access = H5Pcreate(H5P_FILE_ACCESS);
            (void)H5Pset_libver_bounds(access, latest ? H5F_LIBVER_LATEST : H5F_LIBVER_EARLIEST, H5F_LIBVER_LATEST);
            hid_t layer, file = one_weight_in(model_new(case_name(i, latest), H5P_DEFAULT, access), &layer);
            cases[i].build(layer);
            close_model(file, layer);
            (void)H5Pclose(access);
        }
    }
}

/* Refused with `code`, at `where` unless that is NULL, with a message that shows nothing of this machine. */
static void expect(const char *name, const struct source_limits *limits, enum h5pt_code code, const char *where)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct source *source = NULL;
    int fd = open_path(file_path(name));
    if (source_open(fd, limits, &source, &err) == 0)
        fail_msg("%s was accepted", name);
    if (err.code != code)
        fail_msg("%s: %s instead of %s: %s", name, h5pt_code_name(err.code), h5pt_code_name(code), err.message);
    if (where && strcmp(err.where, where) != 0)
        fail_msg("%s: at \"%s\" instead of \"%s\"", name, err.where, where);
    assert_null(source);
    assert_true(strlen(err.message) > 10);
    assert_null(strstr(err.message, files_dir));
    assert_int_equal(close(fd), 0);
}

static void accept_within(const char *name, const struct source_limits *limits)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct source *source = NULL;
    int fd = open_path(file_path(name));
    if (source_open(fd, limits, &source, &err) < 0)
        fail_msg("%s: %s", name, err.message);
    close_source(source, fd);
}

static void each_case_has_its_code(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++)
        for (int latest = 0; latest <= cases[i].latest; latest++)
            expect(case_name(i, latest), NULL, cases[i].code, "/model_weights/d/w");
}

static void too_many_chunks(void **state)
{
    (void)state;
    expect("many_chunks", NULL, H5PT_H5_UNWRITTEN_DATASET, "/model_weights/d/w"); /* before they are counted */
}

/* Links on the way, not at the end of it. */

static void build_links_on_the_way(void)
{
    hid_t file = model_new("soft_model_weights", H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Lmove(file, "model_weights", file, "real", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    assert_true(H5Lcreate_soft("/real", file, "model_weights", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    (void)H5Fclose(file);

    hid_t layer;
    file = one_weight("soft_layer", &layer);
    write_floats(layer, "w", 1, four, four_values);
    assert_true(H5Lmove(file, "model_weights/d", file, "real", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    assert_true(H5Lcreate_soft("/real", file, "model_weights/d", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    close_model(file, layer);

    file = one_weight("external_group", &layer); /* "ext/secret": only the first component is a link */
    assert_true(H5Adelete(layer, "weight_names") >= 0);
    write_texts(layer, "weight_names", style_new, 0, 1, (const char *const[]){"ext/secret"});
    assert_true(H5Lcreate_external(secret_h5, "/", layer, "ext", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    close_model(file, layer);

    file = H5Fcreate(file_path("v3_soft"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    layer = group_new(file, "layers/dense");
    write_floats(layer, "real/0", 1, four, four_values);
    assert_true(H5Lcreate_soft("real", layer, "vars", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    close_model(file, layer);

    file = H5Fcreate(file_path("v3_cycle"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    layer = group_new(file, "layers/dense");
    assert_true(H5Lcreate_hard(file, "/layers", layer, "a", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    assert_true(H5Lcreate_hard(file, "/layers", layer, "b", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    close_model(file, layer);
}

static void links_on_the_way(void **state)
{
    (void)state;
    expect("soft_model_weights", NULL, H5PT_H5_SOFT_LINK, "/model_weights");
    expect("soft_layer", NULL, H5PT_H5_SOFT_LINK, "/model_weights/d");
    expect("external_group", NULL, H5PT_H5_EXTERNAL_LINK, "/model_weights/d/ext/secret");
    expect("v3_soft", NULL, H5PT_H5_SOFT_LINK, "/layers/dense/vars");
    expect("v3_cycle", NULL, H5PT_H5_LIMIT_EXCEEDED, NULL);
    expect("deep", NULL, H5PT_H5_LIMIT_EXCEEDED, NULL);
}

/* Attributes. */

static void replace_names(hid_t object, const char *name, hid_t type, int rank, const hsize_t *dims, const void *data)
{
    (void)H5Adelete(object, name);
    hid_t space = H5Screate_simple(rank, dims, NULL);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(attribute >= 0 && H5Awrite(attribute, type, data) >= 0);
    (void)H5Aclose(attribute);
    (void)H5Sclose(space);
}

static void build_attributes(void)
{
    hid_t layer, file = one_weight("numbers_for_names", &layer);
    replace_names(layer, "weight_names", H5T_NATIVE_INT, 1, (const hsize_t[]){2}, (const int[]){1, 2});
    close_model(file, layer);

    hid_t type = H5Tcopy(H5T_C_S1);
    file = one_weight("table_of_names", &layer);
    replace_names(layer, "weight_names", type, 2, (const hsize_t[]){2, 2}, "wwww");
    close_model(file, layer);

    file = one_weight("latin_name", &layer);
    (void)H5Tset_size(type, 4);
    (void)H5Tset_strpad(type, H5T_STR_NULLPAD);
    replace_names(layer, "weight_names", type, 1, (const hsize_t[]){1}, "gr\xfcn");
    close_model(file, layer);

    file = one_weight("name_with_nul", &layer);
    replace_names(layer, "weight_names", type, 1, (const hsize_t[]){1}, "w\0ww");
    close_model(file, layer);
    (void)H5Tclose(type);

    file = one_weight("empty_name", &layer);
    (void)H5Adelete(layer, "weight_names");
    write_texts(layer, "weight_names", style_new, 0, 1, (const char *const[]){""});
    close_model(file, layer);

    file = one_weight("two_versions", &layer);
    (void)H5Adelete(file, "keras_version");
    write_texts(file, "keras_version", style_new, 0, 2, (const char *const[]){"1", "2"});
    close_model(file, layer);

    file = one_weight("no_layer", &layer);
    assert_true(H5Ldelete(file, "model_weights/d", H5P_DEFAULT) >= 0);
    close_model(file, layer);

    file = model_new("no_layer_names", H5P_DEFAULT, H5P_DEFAULT);
    (void)H5Fclose(file);
}

static void attributes_that_are_no_names(void **state)
{
    (void)state;
    expect("numbers_for_names", NULL, H5PT_H5_UNSUPPORTED_TYPE, "/model_weights/d");
    expect("table_of_names", NULL, H5PT_H5_UNSUPPORTED_TYPE, "/model_weights/d");
    expect("latin_name", NULL, H5PT_H5_CORRUPT, "/model_weights/d");
    expect("name_with_nul", NULL, H5PT_H5_CORRUPT, "/model_weights/d");
    expect("empty_name", NULL, H5PT_H5_CORRUPT, "/model_weights/d");
    expect("two_versions", NULL, H5PT_H5_UNSUPPORTED_TYPE, "/");
    expect("no_layer", NULL, H5PT_H5_CORRUPT, "/model_weights/d");
    expect("no_layer_names", NULL, H5PT_H5_CORRUPT, "/model_weights");
}

/* Variable-length strings, whose references and heap are read past the library. */

enum heap_damage { HEAP_INDEX, HEAP_LENGTH, HEAP_OBJECT_SIZE, HEAP_COLLECTION_SIZE, HEAP_SIGNATURE, HEAP_DAMAGES };

static const char heap_text[] = "{\"a text that stands in the heap\": true}";

/* The offset of `what` in the file `bytes`. */
static size_t offset_of(const unsigned char *bytes, size_t size, const void *what, size_t length)
{
    const unsigned char *at = memmem(bytes, size, what, length);
    assert_non_null(at);
    return (size_t)(at - bytes);
}

static void damage_heap(enum heap_damage damage, unsigned char *bytes, size_t size)
{
    size_t text = offset_of(bytes, size, heap_text, strlen(heap_text)), heap = offset_of(bytes, size, "GCOL", 4);
    /* the reference: length, address of the collection, index; the object before its text: index, count, size */
    unsigned char reference[12] = {(unsigned char)strlen(heap_text)};
    for (size_t i = 0; i < 8; i++)
        reference[4 + i] = (unsigned char)(heap >> (8 * i));
    size_t at = offset_of(bytes, size, reference, sizeof reference);
    switch (damage) {
    case HEAP_INDEX: bytes[at + 14] = 0x7f; break;
    case HEAP_LENGTH: bytes[at + 1] = 0x7f; break;
    case HEAP_OBJECT_SIZE: bytes[text - 1] = 0x7f; break;
    case HEAP_COLLECTION_SIZE: bytes[heap + 11] = 0x01; break;
    case HEAP_SIGNATURE: bytes[heap] = 'X'; break;
    case HEAP_DAMAGES: break;
    }
}

static void build_heaps(void)
{
    for (int damage = 0; damage <= HEAP_DAMAGES; damage++) {
        static unsigned char bytes[1 << 16];
        char name[32];
        (void)snprintf(name, sizeof name, "heap%d", damage);
        hid_t layer, file = one_weight(name, &layer);
        write_floats(layer, "w", 1, four, four_values);
        (void)H5Adelete(file, "model_config");
        write_text(file, "model_config", heap_text);
        close_model(file, layer);
        FILE *f = fopen(file_path(name), "r+b");
        assert_non_null(f);
        size_t size = fread(bytes, 1, sizeof bytes, f);
        damage_heap((enum heap_damage)damage, bytes, size);
        rewind(f);
        assert_int_equal(fwrite(bytes, 1, size, f), size);
        assert_int_equal(fclose(f), 0);
    }

    /* More attributes than the latest format keeps in an object's header. */
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    (void)H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
    hid_t file = model_new("dense_attributes", H5P_DEFAULT, access);
    for (int i = 0; i < 10; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "more%d", i);
        write_text(file, name, "x");
    }
    (void)H5Fclose(file);
    (void)H5Pclose(access);
}

static void damaged_heaps(void **state)
{
    (void)state;
    for (int damage = 0; damage < HEAP_DAMAGES; damage++) {
        char name[32];
        (void)snprintf(name, sizeof name, "heap%d", damage);
        expect(name, NULL, H5PT_H5_CORRUPT, "/");
    }
    accept_within("heap5", NULL); /* HEAP_DAMAGES: none */
    expect("dense_attributes", NULL, H5PT_H5_UNSUPPORTED_TYPE, "/");
}

/* Limits: at the limit a file is accepted, one below it is refused. */

static void build_limits(void)
{
    hid_t file = model_new("limits", H5P_DEFAULT, H5P_DEFAULT), weights = H5Gopen2(file, "model_weights", H5P_DEFAULT);
    write_texts(weights, "layer_names", style_new, 0, 2, (const char *const[]){"a", "b"});
    for (int i = 0; i < 2; i++) {
        hid_t layer = group_new(weights, i ? "b" : "a");
        write_texts(layer, "weight_names", style_new, 0, 2, (const char *const[]){"x", "y/y"});
        write_floats(layer, "x", 1, four, four_values);
        write_floats(layer, "y/y", 1, four, four_values);
        (void)H5Gclose(layer);
    }
    close_model(file, weights);

    /* 4 MiB of zeros in a few KiB */
    hid_t layer, properties = H5Pcreate(H5P_DATASET_CREATE);
    file = one_weight("zeros", &layer);
    float *zeros = calloc(1 << 20, sizeof *zeros);
    assert_non_null(zeros);
    (void)H5Pset_chunk(properties, 1, (const hsize_t[]){1 << 18});
    (void)H5Pset_deflate(properties, 9);
    write_dataset(layer, "w", H5T_IEEE_F32LE, 1, (const hsize_t[]){1 << 20}, properties, H5T_NATIVE_FLOAT, zeros);
    free(zeros);
    (void)H5Pclose(properties);
    close_model(file, layer);
}

static void each_limit_holds(void **state)
{
    (void)state;
    struct source_limits most = {
        .tensor_bytes = 16, .total_bytes = 64, .tensors = 4, .names = 2, .depth = 4, .expansion = 1};
    uint64_t config = strlen("{\"class_name\": \"Sequential\"}"
                             "2.15.0"
                             "tensorflow"
                             "a"
                             "b"
                             "xy/yxy/y");
    config += strlen("/model_weights/a"
                     "/model_weights/a/x"
                     "/model_weights/a/y/y") *
              2;
    most.config_bytes = config;
    accept_within("limits", &most);
    struct source_limits less = most;
    less.tensor_bytes--;
    expect("limits", &less, H5PT_H5_LIMIT_EXCEEDED, "/model_weights/a/x");
    less = most;
    less.total_bytes--;
    expect("limits", &less, H5PT_H5_LIMIT_EXCEEDED, "/model_weights/b/y/y");
    less = most;
    less.tensors--;
    expect("limits", &less, H5PT_H5_LIMIT_EXCEEDED, "/model_weights/b");
    less = most;
    less.names--;
    expect("limits", &less, H5PT_H5_LIMIT_EXCEEDED, "/model_weights");
    less = most;
    less.depth--;
    expect("limits", &less, H5PT_H5_LIMIT_EXCEEDED, "/model_weights/a/y/y");
    less = most;
    less.config_bytes--;
    expect("limits", &less, H5PT_H5_LIMIT_EXCEEDED, NULL);
    less.config_bytes = 10;
    expect("limits", &less, H5PT_H5_LIMIT_EXCEEDED, "/");
}

static void compressed_bombs(void **state)
{
    (void)state;
    struct source_limits limits = source_default_limits;
    accept_within("zeros", NULL); /* deflate reaches 1029:1 and no more */
    limits.expansion = 200;
    expect("zeros", &limits, H5PT_H5_LIMIT_EXCEEDED, "/model_weights/d/w");
}

/* Damage behind what is checked at opening. */

static void build_damaged(void)
{
    hid_t layer, file = one_weight("not_bool", &layer), type = H5Tenum_create(H5T_STD_I8LE);
    (void)H5Tenum_insert(type, "FALSE", (const int8_t[]){0});
    (void)H5Tenum_insert(type, "TRUE", (const int8_t[]){1});
    write_dataset(layer, "w", type, 1, four, H5P_DEFAULT, type, (const int8_t[]){0, 1, 2, 1});
    (void)H5Tclose(type);
    close_model(file, layer);

    static const char *const names[] = {"bad_deflate", "bad_checksum"};
    for (int i = 0; i < 2; i++) {
        hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
        static const unsigned char garbage[20] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
        file = one_weight(names[i], &layer);
        if (i)
            (void)H5Pset_fletcher32(properties);
        else
            (void)H5Pset_deflate(properties, 1);
        (void)H5Pset_chunk(properties, 1, four);
        write_dataset(layer, "w", H5T_IEEE_F32LE, 1, four, properties, H5T_NATIVE_FLOAT, NULL);
        hid_t dataset = H5Dopen2(layer, "w", H5P_DEFAULT);
        assert_true(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, (const hsize_t[]){0}, sizeof garbage, garbage) >= 0);
        (void)H5Dclose(dataset);
        (void)H5Pclose(properties);
        close_model(file, layer);
    }

    file = one_weight("cut", &layer);
    write_floats(layer, "w", 1, four, four_values);
    close_model(file, layer);
    struct stat st;
    assert_int_equal(stat(file_path("cut"), &st), 0);
    assert_int_equal(truncate(file_path("cut"), st.st_size - 8), 0);
}

static void damage_is_found_when_read(void **state)
{
    (void)state;
    static const char *const names[] = {"not_bool", "bad_deflate", "bad_checksum"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct h5pt_error err = H5PT_ERROR_INIT;
        int fd;
        float values[4];
        struct source *source = accept_file(names[i], &fd);
        assert_int_equal(source_read_float(source, &source_layer(source, 0)->tensors[0], values, &err), -1);
        assert_string_equal(h5pt_code_name(err.code), "H5_CORRUPT");
        assert_string_equal(err.where, "/model_weights/d/w");
        close_source(source, fd);
    }
    expect("cut", NULL, H5PT_H5_CORRUPT, NULL);
}

/* The file shrinks between opening and reading. */
static void file_that_is_cut_meanwhile(void **state)
{
    (void)state;
    struct h5pt_error err = H5PT_ERROR_INIT;
    int fd;
    unsigned char values[16];
    struct source *source = accept_file("limits", &fd);
    assert_int_equal(truncate(file_path("limits"), 600), 0);
    assert_int_equal(source_read(source, &source_layer(source, 1)->tensors[1], values, &err), -1);
    assert_string_equal(h5pt_code_name(err.code), "IO");
    close_source(source, fd);
}

static int set_up(void **state)
{
    (void)state;
    files_init();
    build_secrets();
    build_cases();
    build_links_on_the_way();
    build_attributes();
    build_heaps();
    build_limits();
    build_damaged();
    hid_t layer, file = one_weight("many_chunks", &layer);
    many_chunks(layer);
    close_model(file, layer);
    file = one_weight("deep", &layer);
    deep(layer);
    close_model(file, layer);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    files_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_case_has_its_code),
        cmocka_unit_test(too_many_chunks),
        cmocka_unit_test(links_on_the_way),
        cmocka_unit_test(attributes_that_are_no_names),
        cmocka_unit_test(each_limit_holds),
        cmocka_unit_test(compressed_bombs),
        cmocka_unit_test(damage_is_found_when_read),
        cmocka_unit_test(file_that_is_cut_meanwhile),
        cmocka_unit_test(damaged_heaps),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
