/* SPDX-License-Identifier: Apache-2.0 */
/* Ordinary files: every encoding of text, every dtype and layout, every kind of file. */
#include <ftw.h>
#include <math.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "source/to_float.h"
#include "source_files.h"

/* Text */

static const char *const texts[] = {"a", "conv2d/kernel:0", "gr\xc3\xbc\xc3\x9f", "exactly_16_bytes"};
enum { TEXTS = sizeof texts / sizeof *texts };

static struct style style_at(unsigned i)
{
    static const H5T_str_t paddings[] = {H5T_STR_NULLTERM, H5T_STR_NULLPAD, H5T_STR_SPACEPAD};
    return (struct style){
        .variable = i & 1, .cset = i & 2 ? H5T_CSET_UTF8 : H5T_CSET_ASCII, .padding = paddings[i / 4]};
}

enum { STYLES = 12 };

/* One file a style: the list as layer_names, a scalar as keras_version, a list of one as backend. */
static void build_styles(void)
{
    for (unsigned i = 0; i < STYLES; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "style%u", i);
        struct style style = style_at(i);
        size_t room = style.padding == H5T_STR_NULLTERM ? 17 : 0; /* the others may fill the whole size */
        hid_t file = model_new(name, H5P_DEFAULT, H5P_DEFAULT);
        hid_t weights = H5Gopen2(file, "model_weights", H5P_DEFAULT);
        write_texts(weights, "layer_names", style, room, TEXTS, texts);
        write_texts(weights, "backend", style, 20, 1, (const char *const[]){"theano"});
        style.scalar = true;
        write_texts(weights, "keras_version", style, 20, 1, (const char *const[]){"2.1.6"});
        for (size_t k = 0; k < TEXTS; k++) {
            hid_t group = group_new(weights, texts[k]);
            write_empty_list(group, "weight_names");
            (void)H5Gclose(group);
        }
        close_model(file, weights);
    }
}

static void text_in_every_encoding(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STYLES; i++) {
        char name[32];
        int fd;
        (void)snprintf(name, sizeof name, "style%u", i);
        struct source *source = accept_file(name, &fd);
        assert_int_equal(source_kind(source), SOURCE_LEGACY_MODEL);
        assert_string_equal(source_keras_version(source), "2.1.6");
        assert_string_equal(source_backend(source), "theano");
        assert_int_equal(source_layer_count(source), TEXTS);
        for (size_t k = 0; k < TEXTS; k++) {
            assert_string_equal(source_layer(source, k)->name, texts[k]);
            assert_int_equal(source_layer(source, k)->tensor_count, 0);
        }
        close_source(source, fd);
    }
}

enum { MANY = 300 };

/* layer_names0 … in parts of 150 names, and weight_names0 alone. */
static void build_numbered(void)
{
    static const struct style fixed = {.padding = H5T_STR_NULLPAD};
    char names[MANY][8];
    const char *list[MANY];
    hid_t file = model_new("numbered", H5P_DEFAULT, H5P_DEFAULT);
    hid_t weights = H5Gopen2(file, "model_weights", H5P_DEFAULT);
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(names[i], sizeof names[i], "l%u", i);
        list[i] = names[i];
        hid_t group = group_new(weights, names[i]);
        if (i == 0)
            write_texts(group, "weight_names0", fixed, 0, 1, (const char *const[]){"w"});
        if (i == 0)
            write_floats(group, "w", 0, NULL, (const float[]){4.5F});
        (void)H5Gclose(group);
    }
    write_texts(weights, "layer_names0", fixed, 255, MANY / 2, list);
    write_texts(weights, "layer_names1", fixed, 255, MANY / 2, list + MANY / 2);
    close_model(file, weights);
}

static void names_in_numbered_attributes(void **state)
{
    (void)state;
    int fd;
    struct source *source = accept_file("numbered", &fd);
    assert_int_equal(source_layer_count(source), MANY);
    assert_string_equal(source_layer(source, 0)->name, "l0");
    assert_string_equal(source_layer(source, MANY / 2)->name, "l150");
    assert_string_equal(source_layer(source, MANY - 1)->name, "l299");
    assert_int_equal(source_layer(source, 0)->tensor_count, 1);
    assert_int_equal(source_layer(source, 1)->tensor_count, 0); /* no weight_names at all */
    float value;
    assert_int_equal(source_read_float(source, &source_layer(source, 0)->tensors[0], &value, NULL), 0);
    assert_true(value == 4.5F);
    close_source(source, fd);
}

/* Kinds */

static void build_kinds(void)
{
    hid_t layer, file = one_weight("without_version", &layer);
    write_floats(layer, "w", 0, NULL, (const float[]){1});
    assert_true(H5Adelete(file, "keras_version") >= 0 && H5Adelete(file, "backend") >= 0);
    close_model(file, layer);

    file = one_weight("weights_below", &layer); /* Keras looks into model_weights here */
    write_floats(layer, "w", 0, NULL, (const float[]){1});
    assert_true(H5Adelete(file, "model_config") >= 0);
    close_model(file, layer);

    file = H5Fcreate(file_path("weights_root"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    write_texts(file, "layer_names", style_new, 0, 1, (const char *const[]){"d"});
    layer = group_new(file, "d");
    write_texts(layer, "weight_names", style_new, 0, 1, (const char *const[]){"w"});
    write_floats(layer, "w", 0, NULL, (const float[]){1});
    close_model(file, layer);

    file = H5Fcreate(file_path("empty_hdf5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    (void)H5Fclose(file);

    file = H5Fcreate(file_path("config_only"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    write_text(file, "model_config", "{}");
    (void)H5Fclose(file);

    file = H5Fcreate(file_path("keras0"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    write_text(file, "nb_layers", "1");
    (void)H5Fclose(file);

    static const struct {
        const char *name, *bytes;
    } others[] = {{"empty", ""},
                  {"short", "\x89HDF"},
                  {"text", "Ceci n'est pas un fichier HDF5."},
                  {"archive", "PK\x03\x04 and so on"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        FILE *out = fopen(file_path(others[i].name), "wb");
        assert_non_null(out);
        (void)fputs(others[i].bytes, out);
        assert_int_equal(fclose(out), 0);
    }
}

static void kinds_of_files(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum source_kind kind;
    } cases[] = {{"without_version", SOURCE_LEGACY_MODEL},
                 {"weights_below", SOURCE_LEGACY_WEIGHTS},
                 {"weights_root", SOURCE_LEGACY_WEIGHTS}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd;
        size_t length = 99;
        struct source *source = accept_file(cases[i].name, &fd);
        assert_int_equal(source_kind(source), cases[i].kind);
        assert_int_equal(source_layer_count(source), 1);
        assert_int_equal(source_layer(source, 0)->tensor_count, 1);
        if (cases[i].kind == SOURCE_LEGACY_MODEL) {
            assert_string_equal(source_config(source, &length), "{\"class_name\": \"Sequential\"}");
            assert_int_equal(length, 28);
            assert_null(source_keras_version(source));
            assert_null(source_backend(source));
        } else {
            assert_null(source_config(source, &length));
            assert_int_equal(length, 0);
        }
        close_source(source, fd);
    }
}

static void files_that_are_no_models(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum h5pt_code code;
    } cases[] = {{"empty", H5PT_NOT_HDF5},           {"short", H5PT_NOT_HDF5},       {"text", H5PT_NOT_HDF5},
                 {"archive", H5PT_ARCHIVE_CORRUPT},  {"empty_hdf5", H5PT_NOT_KERAS}, {"config_only", H5PT_NOT_KERAS},
                 {"keras0", H5PT_UNSUPPORTED_FORMAT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct h5pt_error err = H5PT_ERROR_INIT;
        struct source *source = NULL;
        int fd = open_path(file_path(cases[i].name));
        assert_int_equal(source_open(fd, NULL, &source, &err), -1);
        assert_null(source);
        assert_string_equal(h5pt_code_name(err.code), h5pt_code_name(cases[i].code));
        assert_true(*err.message);
        assert_int_equal(close(fd), 0);
    }
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct source *source = NULL;
    int dir = open_path(files_dir);
    assert_int_equal(source_open(dir, NULL, &source, &err), -1);
    assert_int_equal(err.code, H5PT_IO);
    assert_int_equal(close(dir), 0);
}

/* layers/dense/vars/{0,1,2,…,10}, a nested model, an optimizer that is not to be listed. */
static void build_v3(void)
{
    hid_t file = H5Fcreate(file_path("v3"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    (void)H5Gclose(group_new(file, "vars"));
    hid_t dense = group_new(file, "layers/dense/vars");
    for (int i = 0; i <= 10; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%d", i);
        write_floats(dense, name, 0, NULL, (const float[]){(float)i});
    }
    (void)H5Gclose(dense);
    hid_t inner = group_new(file, "layers/sequential/layers/lstm/cell/vars");
    write_floats(inner, "0", 1, (const hsize_t[]){2}, (const float[]){1, 2});
    (void)H5Gclose(inner);
    hid_t optimizer = group_new(file, "optimizer/vars");
    write_floats(optimizer, "0", 0, NULL, (const float[]){1});
    close_model(file, optimizer);
}

static void numbered_variables(void **state)
{
    (void)state;
    int fd;
    struct source *source = accept_file("v3", &fd);
    assert_int_equal(source_kind(source), SOURCE_WEIGHTS_V3);
    assert_int_equal(source_layer_count(source), 3);
    assert_string_equal(source_layer(source, 0)->name, "");
    assert_string_equal(source_layer(source, 1)->name, "layers/dense");
    assert_string_equal(source_layer(source, 2)->name, "layers/sequential/layers/lstm/cell");
    const struct source_layer *dense = source_layer(source, 1);
    assert_int_equal(dense->tensor_count, 11);
    for (size_t i = 0; i < 11; i++) {
        float value;
        assert_int_equal(source_read_float(source, &dense->tensors[i], &value, NULL), 0);
        assert_true(value == (float)i);
    }
    assert_string_equal(dense->tensors[10].name, "10");
    assert_string_equal(dense->tensors[10].object, "/layers/dense/vars/10");
    close_source(source, fd);
}

/* Paths */

static void build_paths(void)
{
    hid_t file = model_new("paths", H5P_DEFAULT, H5P_DEFAULT);
    hid_t weights = H5Gopen2(file, "model_weights", H5P_DEFAULT);
    write_texts(weights, "layer_names", style_new, 0, 2, (const char *const[]){"block1/conv", "twice"});
    hid_t conv = group_new(weights, "block1/conv");
    write_texts(conv, "weight_names", style_new, 0, 2, (const char *const[]){"block1/conv/kernel:0", "a//./b"});
    write_floats(conv, "block1/conv/kernel:0", 1, (const hsize_t[]){3}, (const float[]){1, 2, 3});
    write_floats(conv, "a/b", 0, NULL, (const float[]){7});
    assert_true(H5Lcreate_hard(file, "/", conv, "loop", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    (void)H5Gclose(conv);
    hid_t twice = group_new(weights, "twice"); /* the same dataset under two names, one of them round the cycle */
    write_texts(twice, "weight_names", style_new, 0, 2,
                (const char *const[]){"k", "/model_weights/block1/conv/loop/model_weights/block1/conv/a/b"});
    assert_true(H5Lcreate_hard(file, "/model_weights/block1/conv/a/b", twice, "k", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    (void)H5Gclose(twice);
    close_model(file, weights);
}

static void paths_as_hdf5_reads_them(void **state)
{
    (void)state;
    int fd;
    float values[3];
    struct source *source = accept_file("paths", &fd);
    const struct source_layer *conv = source_layer(source, 0), *twice = source_layer(source, 1);
    assert_string_equal(conv->name, "block1/conv");
    assert_string_equal(conv->tensors[0].object, "/model_weights/block1/conv/block1/conv/kernel:0");
    assert_int_equal(source_read_float(source, &conv->tensors[0], values, NULL), 0);
    assert_true(values[0] == 1 && values[1] == 2 && values[2] == 3);
    const struct source_tensor *same[] = {&conv->tensors[1], &twice->tensors[0], &twice->tensors[1]};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(same[i]->shape.rank, 0);
        assert_int_equal(same[i]->bytes, 4);
        assert_int_equal(source_read_float(source, same[i], values, NULL), 0);
        assert_true(values[0] == 7);
    }
    close_source(source, fd);
}

/* Types */

static hid_t half_type(void)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    (void)H5Tset_fields(type, 15, 10, 5, 0, 10);
    (void)H5Tset_size(type, 2);
    (void)H5Tset_ebias(type, 15);
    return type;
}

static hid_t bfloat_type(void)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    (void)H5Tset_fields(type, 15, 7, 8, 0, 7);
    (void)H5Tset_size(type, 2);
    (void)H5Tset_ebias(type, 127);
    return type;
}

static hid_t bool_type(void)
{
    hid_t type = H5Tenum_create(H5T_STD_I8LE);
    (void)H5Tenum_insert(type, "FALSE", (const int8_t[]){0});
    (void)H5Tenum_insert(type, "TRUE", (const int8_t[]){1});
    return type;
}

static hid_t opaque_type(void)
{
    hid_t type = H5Tcreate(H5T_OPAQUE, 2);
    (void)H5Tset_tag(type, "");
    return type;
}

static hid_t f32_type(void)
{
    return H5Tcopy(H5T_IEEE_F32LE);
}
static hid_t f64_type(void)
{
    return H5Tcopy(H5T_IEEE_F64LE);
}
static hid_t i64_type(void)
{
    return H5Tcopy(H5T_STD_I64LE);
}
static hid_t i32_type(void)
{
    return H5Tcopy(H5T_STD_I32LE);
}
static hid_t i16_type(void)
{
    return H5Tcopy(H5T_STD_I16LE);
}
static hid_t i8_type(void)
{
    return H5Tcopy(H5T_STD_I8LE);
}
static hid_t u64_type(void)
{
    return H5Tcopy(H5T_STD_U64LE);
}
static hid_t u32_type(void)
{
    return H5Tcopy(H5T_STD_U32LE);
}
static hid_t u16_type(void)
{
    return H5Tcopy(H5T_STD_U16LE);
}
static hid_t u8_type(void)
{
    return H5Tcopy(H5T_STD_U8LE);
}

/* Little-endian bytes of three elements, and the floats that they are. */
static const struct {
    hid_t (*type)(void);
    enum dtype dtype;
    unsigned char bytes[24];
    float values[3];
} types[] = {
    {f32_type, DTYPE_F32, {0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 1, 0, 0, 0}, {1, -2, 0x1p-149F}},
    {f64_type,
     DTYPE_F64,
     {0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0x9a, 0x99, 0x99, 0x99, 0x99, 0x99, 0xb9, 0x3f},
     {1, -2, 0.1F}},
    {half_type, DTYPE_F16, {0, 0x3c, 0, 0xc0, 1, 0}, {1, -2, 0x1p-24F}},
    {bfloat_type, DTYPE_BF16, {0x80, 0x3f, 0, 0xc0, 1, 0}, {1, -2, 0x1p-133F}},
    {opaque_type, DTYPE_BF16, {0x80, 0x3f, 0, 0xc0, 1, 0}, {1, -2, 0x1p-133F}},
    {i64_type,
     DTYPE_I64,
     {1, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0},
     {1, -2, 0x1p24F}},
    {i32_type, DTYPE_I32, {1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0}, {1, -2, 0x1p24F - 1}},
    {i16_type, DTYPE_I16, {1, 0, 0xfe, 0xff, 0, 0x80}, {1, -2, -32768}},
    {i8_type, DTYPE_I8, {1, 0xfe, 0x80}, {1, -2, -128}},
    {u64_type,
     DTYPE_U64,
     {1, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80},
     {1, 65534, 0x1p63F}},
    {u32_type, DTYPE_U32, {1, 0, 0, 0, 0xfe, 0xff, 0, 0, 0, 0, 0, 0x80}, {1, 65534, 0x1p31F}},
    {u16_type, DTYPE_U16, {1, 0, 0xfe, 0xff, 0, 0x80}, {1, 65534, 32768}},
    {u8_type, DTYPE_U8, {1, 0xfe, 0x80}, {1, 254, 128}},
    {bool_type, DTYPE_BOOL, {1, 0, 1}, {1, 0, 1}},
};
enum { TYPES = sizeof types / sizeof *types };

/* Written in the stored type itself, so that nothing but byte order is HDF5's work. */
static void build_types(void)
{
    for (int big = 0; big < 2; big++) {
        for (unsigned i = 0; i < TYPES; i++) {
            char name[32];
            (void)snprintf(name, sizeof name, "type%u_%d", i, big);
            hid_t layer, file = one_weight(name, &layer), memory = types[i].type(), stored = H5Tcopy(memory);
            if (big && H5Tget_class(stored) != H5T_OPAQUE && H5Tget_class(stored) != H5T_ENUM)
                assert_true(H5Tset_order(stored, H5T_ORDER_BE) >= 0);
            write_dataset(layer, "w", stored, 1, (const hsize_t[]){3}, H5P_DEFAULT, memory, types[i].bytes);
            (void)H5Tclose(stored);
            (void)H5Tclose(memory);
            close_model(file, layer);
        }
    }
}

static void every_dtype_in_both_orders(void **state)
{
    (void)state;
    for (int big = 0; big < 2; big++) {
        for (unsigned i = 0; i < TYPES; i++) {
            char name[32];
            int fd;
            unsigned char bytes[25];
            float values[4] = {0, 0, 0, -99};
            (void)snprintf(name, sizeof name, "type%u_%d", i, big);
            struct source *source = accept_file(name, &fd);
            const struct source_tensor *tensor = &source_layer(source, 0)->tensors[0];
            assert_int_equal(tensor->dtype, types[i].dtype);
            assert_int_equal(tensor->bytes, 3 * dtype_size(types[i].dtype));
            bytes[tensor->bytes] = 0xa5;
            assert_int_equal(source_read(source, tensor, bytes, NULL), 0);
            assert_memory_equal(bytes, types[i].bytes, tensor->bytes);
            assert_int_equal(bytes[tensor->bytes], 0xa5);
            assert_int_equal(source_read_float(source, tensor, values, NULL), 0);
            assert_memory_equal(values, types[i].values, sizeof types[i].values);
            assert_true(values[3] == -99);
            close_source(source, fd);
        }
    }
}

/* All 65,536 halves, in place, against their definition in double arithmetic. */
static void every_half(void **state)
{
    (void)state;
    static float values[1 << 16];
    uint16_t *halves = (uint16_t *)(void *)values + (1 << 16);
    for (uint32_t i = 0; i < 1 << 16; i++)
        halves[i] = (uint16_t)i;
    to_float(DTYPE_F16, halves, 1 << 16, values);
    for (uint32_t i = 0; i < 1 << 16; i++) {
        int exponent = (int)(i >> 10 & 31), mantissa = (int)(i & 1023);
        double want = exponent == 31  ? (mantissa ? (double)NAN : (double)INFINITY)
                      : exponent == 0 ? ldexp(mantissa, -24)
                                      : ldexp(1024 + mantissa, exponent - 25);
        assert_int_equal(signbit(values[i]) != 0, i >> 15);
        assert_true(isnan(want) ? isnan(values[i]) : (double)fabsf(values[i]) == want);
    }
}

/* Layouts */

enum layout { CONTIGUOUS, COMPACT, CHUNKED, DEFLATE, SHUFFLE_DEFLATE, FLETCHER, EARLY, LAYOUTS };

static hid_t layout_properties(enum layout layout)
{
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    if (layout == COMPACT)
        (void)H5Pset_layout(properties, H5D_COMPACT);
    if (layout >= CHUNKED)
        (void)H5Pset_chunk(properties, 2, (const hsize_t[]){4, 3}); /* divides neither axis */
    if (layout == SHUFFLE_DEFLATE)
        (void)H5Pset_shuffle(properties);
    if (layout == DEFLATE || layout == SHUFFLE_DEFLATE)
        (void)H5Pset_deflate(properties, 6);
    if (layout == FLETCHER)
        (void)H5Pset_fletcher32(properties);
    if (layout == EARLY)
        (void)H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY);
    return properties;
}

enum { ROWS = 10, COLUMNS = 7 };

/* Old and latest format (other chunk indices), with and without a user block. */
static void build_layouts(void)
{
    float values[ROWS * COLUMNS];
    for (int i = 0; i < ROWS * COLUMNS; i++)
        values[i] = (float)i / 3;
    for (int variant = 0; variant < 4; variant++) {
        for (int i = 0; i < LAYOUTS; i++) {
            char name[32];
            (void)snprintf(name, sizeof name, "layout%d_%d", i, variant);
            hid_t creation = H5Pcreate(H5P_FILE_CREATE), access = H5Pcreate(H5P_FILE_ACCESS);
            if (variant & 1)
                (void)H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
            if (variant & 2)
                (void)H5Pset_userblock(creation, 2048);
            hid_t layer, file = one_weight_in(model_new(name, creation, access), &layer);
            hid_t properties = layout_properties((enum layout)i);
            write_dataset(layer, "w", H5T_IEEE_F32BE, 2, (const hsize_t[]){ROWS, COLUMNS}, properties, H5T_NATIVE_FLOAT,
                          values);
            (void)H5Pclose(properties);
            close_model(file, layer);
            (void)H5Pclose(creation);
            (void)H5Pclose(access);
        }
    }
}

static void every_layout(void **state)
{
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        for (int i = 0; i < LAYOUTS; i++) {
            char name[32];
            int fd;
            float values[ROWS * COLUMNS];
            (void)snprintf(name, sizeof name, "layout%d_%d", i, variant);
            struct source *source = accept_file(name, &fd);
            const struct source_tensor *tensor = &source_layer(source, 0)->tensors[0];
            assert_int_equal(tensor->shape.rank, 2);
            assert_int_equal(tensor->shape.dims[0], ROWS);
            assert_int_equal(tensor->shape.dims[1], COLUMNS);
            assert_int_equal(source_read_float(source, tensor, values, NULL), 0);
            for (int k = 0; k < ROWS * COLUMNS; k++)
                assert_true(values[k] == (float)k / 3);
            close_source(source, fd);
        }
    }
}

/* Doubles and 64-bit integers that are converted in more than one piece: 9 MiB, rows of 3 x 1000. */
enum { LONG_ROWS = 401, LONG_ROW = 3000 };

static void build_long(void)
{
    double *values = malloc(sizeof *values * LONG_ROWS * LONG_ROW);
    assert_non_null(values);
    for (int i = 0; i < LONG_ROWS * LONG_ROW; i++)
        values[i] = i - 1e6;
    for (int chunked = 0; chunked < 3; chunked++) {
        char name[32];
        (void)snprintf(name, sizeof name, "long%d", chunked);
        hid_t layer, file = one_weight(name, &layer), properties = H5Pcreate(H5P_DATASET_CREATE);
        if (chunked)
            (void)H5Pset_chunk(properties, 3,
                               chunked == 1 ? (const hsize_t[]){50, 2, 700} : (const hsize_t[]){300, 3, 1000});
        write_dataset(layer, "w", chunked ? H5T_STD_I64BE : H5T_IEEE_F64LE, 3,
                      (const hsize_t[]){LONG_ROWS, 3, LONG_ROW / 3}, properties, H5T_NATIVE_DOUBLE, values);
        (void)H5Pclose(properties);
        close_model(file, layer);
    }
    free(values);
}

static void wide_elements_in_pieces(void **state)
{
    (void)state;
    float *values = malloc(sizeof *values * LONG_ROWS * LONG_ROW);
    assert_non_null(values);
    for (int chunked = 0; chunked < 3; chunked++) {
        char name[32];
        int fd;
        (void)snprintf(name, sizeof name, "long%d", chunked);
        struct source *source = accept_file(name, &fd);
        memset(values, 0xff, sizeof *values * LONG_ROWS * LONG_ROW);
        assert_int_equal(source_read_float(source, &source_layer(source, 0)->tensors[0], values, NULL), 0);
        for (int i = 0; i < LONG_ROWS * LONG_ROW; i++)
            if (values[i] != (float)(i - 1e6))
                fail_msg("%s: element %d is %g", name, i, (double)values[i]);
        close_source(source, fd);
    }
    free(values);
}

/* Empty tensors need no storage. */
static void build_empty(void)
{
    hid_t layer, file = one_weight("no_elements", &layer);
    write_dataset(layer, "w", H5T_IEEE_F64LE, 2, (const hsize_t[]){5, 0}, H5P_DEFAULT, H5T_NATIVE_DOUBLE, NULL);
    close_model(file, layer);
}

static void no_elements(void **state)
{
    (void)state;
    int fd;
    float untouched = 5;
    struct source *source = accept_file("no_elements", &fd);
    const struct source_tensor *tensor = &source_layer(source, 0)->tensors[0];
    assert_int_equal(tensor->shape.rank, 2);
    assert_int_equal(tensor->shape.dims[0], 5);
    assert_int_equal(tensor->shape.dims[1], 0);
    assert_int_equal(tensor->bytes, 0);
    assert_int_equal(source_read(source, tensor, &untouched, NULL), 0);
    assert_int_equal(source_read_float(source, tensor, &untouched, NULL), 0);
    assert_true(untouched == 5);
    close_source(source, fd);
}

/* The descriptor is all that is needed: a process that cannot open anything reads the file. */
static void nothing_else_is_opened(void **state)
{
    (void)state;
    int fd = open_path(file_path("layout3_0"));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct source *source = NULL;
        float values[ROWS * COLUMNS];
        if (setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, 0}) < 0 || open("/dev/null", O_RDONLY) >= 0)
            _exit(2);
        if (source_open(fd, NULL, &source, NULL) < 0 ||
            source_read_float(source, &source_layer(source, 0)->tensors[0], values, NULL) < 0 || values[4] != 4.F / 3)
            _exit(1);
        source_close(source);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(close(fd), 0);
}

/* Two files at a time, and one many times: nothing is left open in the library. */
static void again_and_again(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        int fd1, fd2;
        float value;
        struct source *first = accept_file("numbered", &fd1), *second = accept_file("paths", &fd2);
        assert_int_equal(source_read_float(first, &source_layer(first, 0)->tensors[0], &value, NULL), 0);
        assert_true(value == 4.5F);
        close_source(first, fd1);
        assert_int_equal(source_read_float(second, &source_layer(second, 1)->tensors[0], &value, NULL), 0);
        assert_true(value == 7);
        close_source(second, fd2);
    }
    assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
}

/* What real Keras wrote. */

static int golden_files, golden_tensors;

static int read_golden(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    size_t length = strlen(path);
    if (type != FTW_F || length < 3 || strcmp(path + length - 3, ".h5") != 0)
        return 0;
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct source *source = NULL;
    int fd = open_path(path);
    if (source_open(fd, NULL, &source, &err) < 0)
        fail_msg("%s: %s at \"%s\": %s", path, h5pt_code_name(err.code), err.where, err.message);
    assert_int_equal(source_kind(source) == SOURCE_LEGACY_MODEL, source_config(source, NULL) != NULL);
    for (size_t i = 0; i < source_layer_count(source); i++) {
        const struct source_layer *layer = source_layer(source, i);
        for (size_t k = 0; k < layer->tensor_count; k++, golden_tensors++) {
            int64_t count;
            assert_true(shape_count(&layer->tensors[k].shape, &count));
            float *values = malloc(sizeof *values * (size_t)count + 1);
            assert_non_null(values);
            if (source_read_float(source, &layer->tensors[k], values, &err) < 0)
                fail_msg("%s: %s: %s", path, err.where, err.message);
            free(values);
        }
    }
    close_source(source, fd);
    golden_files++;
    return 0;
}

static void files_of_real_keras(void **state)
{
    (void)state;
    assert_int_equal(nftw("tests/golden/cases", read_golden, 16, FTW_PHYS), 0);
    assert_true(golden_files > 0 && golden_tensors > 0);
}

static void library_version(void **state)
{
    (void)state;
    char text[32], want[32];
    (void)snprintf(want, sizeof want, "%d.%d.%d", H5_VERS_MAJOR, H5_VERS_MINOR, H5_VERS_RELEASE);
    assert_string_equal(source_library_version(text), want);
}

static int set_up(void **state)
{
    (void)state;
    files_init();
    build_styles();
    build_numbered();
    build_kinds();
    build_v3();
    build_paths();
    build_types();
    build_layouts();
    build_long();
    build_empty();
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
        cmocka_unit_test(text_in_every_encoding),
        cmocka_unit_test(names_in_numbered_attributes),
        cmocka_unit_test(kinds_of_files),
        cmocka_unit_test(files_that_are_no_models),
        cmocka_unit_test(numbered_variables),
        cmocka_unit_test(paths_as_hdf5_reads_them),
        cmocka_unit_test(every_dtype_in_both_orders),
        cmocka_unit_test(every_half),
        cmocka_unit_test(every_layout),
        cmocka_unit_test(wide_elements_in_pieces),
        cmocka_unit_test(no_elements),
        cmocka_unit_test(nothing_else_is_opened),
        cmocka_unit_test(again_and_again),
        cmocka_unit_test(files_of_real_keras),
        cmocka_unit_test(library_version),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
