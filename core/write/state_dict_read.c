/* SPDX-License-Identifier: Apache-2.0 */
#include "write/state_dict.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/size.h"
#include "write/archive_file.h"
#include "write/pickle_read.h"

enum {
    PICKLE_MAX = 1 << 30, /* bytes of data.pkl */
    CHUNK = 64 * 1024,    /* bytes of a storage converted at a time */
};

struct entry {
    const char *name;
    enum dtype dtype;
    struct shape shape;
    int64_t count;
    zip_uint64_t record; /* index of its storage in the archive */
};

struct state_dict {
    struct archive_file file;
    zip_t *zip;            /* owned */
    struct arena *arena;   /* owned */
    struct entry *entries; /* in the arena */
    size_t count;
    const struct entry **by_name; /* in the arena; sorted */
};

/* Torch's names, not those that the writer goes by. */
static const struct {
    const char *global;
    enum dtype dtype;
    size_t size;
} storages[] = {
    {"torch FloatStorage", DTYPE_F32, 4}, {"torch DoubleStorage", DTYPE_F64, 8},
    {"torch HalfStorage", DTYPE_F16, 2},  {"torch BFloat16Storage", DTYPE_BF16, 2},
    {"torch LongStorage", DTYPE_I64, 8},  {"torch IntStorage", DTYPE_I32, 4},
    {"torch ShortStorage", DTYPE_I16, 2}, {"torch CharStorage", DTYPE_I8, 1},
    {"torch ByteStorage", DTYPE_U8, 1},   {"torch BoolStorage", DTYPE_BOOL, 1},
};

static int fail(struct h5pt_error *err, const char *where, const char *what)
{
    (void)h5pt_fail(err, H5PT_INTERNAL, where, "The archive is not as PyTorch wants it: %s", what);
    return -1;
}

/* Finds the record "<root>/<name>", which must be stored as it is. */
static int find_record(struct state_dict *dict, const char *name, zip_stat_t *ret, struct h5pt_error *err)
{
    zip_stat_t st = {.valid = 0};
    const char *first = zip_get_name(dict->zip, 0, ZIP_FL_ENC_RAW), *slash = first ? strchr(first, '/') : NULL;
    if (!slash)
        return fail(err, name, "it has no root directory");
    char *path = arena_printf(dict->arena, "%.*s/%s", (int)(slash - first), first, name);
    if (!path)
        return h5pt_fail_memory(err);
    zip_int64_t index = zip_name_locate(dict->zip, path, ZIP_FL_ENC_RAW);
    if (index < 0 || zip_stat_index(dict->zip, (zip_uint64_t)index, 0, &st) < 0)
        return fail(err, name, "the record is missing");
    const zip_uint64_t needed = ZIP_STAT_INDEX | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if ((st.valid & needed) != needed || st.comp_method != ZIP_CM_STORE || st.comp_size != st.size)
        return fail(err, name, "the record is compressed");
    *ret = st;
    return 0;
}

/* Reads exactly `size` bytes; at the end of the record libzip has checked its CRC. */
static int read_bytes(struct state_dict *dict, zip_file_t *record, void *buffer, uint64_t size, const char *name,
                      struct h5pt_error *err)
{
    for (uint64_t done = 0; done < size;) {
        zip_int64_t n = zip_fread(record, (unsigned char *)buffer + done, size - done);
        if (n < 0)
            return archive_file_fail(&dict->file, zip_file_get_error(record), err);
        if (n == 0)
            return fail(err, name, "the record ends early");
        done += (uint64_t)n;
    }
    return 0;
}

static int expect_end(struct state_dict *dict, zip_file_t *record, const char *name, struct h5pt_error *err)
{
    unsigned char byte;
    zip_int64_t n = zip_fread(record, &byte, 1);
    if (n < 0)
        return archive_file_fail(&dict->file, zip_file_get_error(record), err);
    return n == 0 ? 0 : fail(err, name, "the record is too long");
}

static int read_small_record(struct state_dict *dict, const char *name, uint64_t limit, unsigned char **ret,
                             size_t *ret_size, struct h5pt_error *err)
{
    zip_stat_t st = {.valid = 0};
    if (find_record(dict, name, &st, err) < 0)
        return -1;
    if (st.size > limit)
        return fail(err, name, "the record is too large");
    unsigned char *bytes = malloc((size_t)st.size + 1);
    if (!bytes)
        return h5pt_fail_memory(err);
    zip_file_t *record = zip_fopen_index(dict->zip, st.index, 0);
    int rc = record ? 0 : archive_file_fail(&dict->file, zip_get_error(dict->zip), err);
    if (rc == 0)
        rc = read_bytes(dict, record, bytes, st.size, name, err);
    if (rc == 0)
        rc = expect_end(dict, record, name, err);
    if (record)
        (void)zip_fclose(record);
    if (rc < 0) {
        free(bytes);
        return -1;
    }
    *ret = bytes;
    *ret_size = (size_t)st.size;
    return 0;
}

static int expect_record(struct state_dict *dict, const char *name, const char *content, struct h5pt_error *err)
{
    unsigned char *bytes = NULL;
    size_t size = 0, expected = strlen(content);
    if (read_small_record(dict, name, expected, &bytes, &size, err) < 0)
        return -1;
    int rc = size == expected && memcmp(bytes, content, size) == 0 ? 0
                                                                   : fail(err, name, "the record has another content");
    free(bytes);
    return rc;
}

static bool is_int(const struct pickled *value, int64_t number)
{
    return value->kind == PICKLED_INT && value->number == number;
}

static bool is_text(const struct pickled *value, const char *text)
{
    return value->kind == PICKLED_TEXT && strcmp(value->text, text) == 0;
}

/* (d0, d1, …) and strides that make it dense and row-major. */
static bool read_shape(const struct pickled *sizes, const struct pickled *strides, struct shape *ret,
                       int64_t *ret_count)
{
    struct shape shape = {.rank = (int)sizes->count};
    int64_t stride = 1;
    if (sizes->kind != PICKLED_TUPLE || strides->kind != PICKLED_TUPLE || sizes->count > SHAPE_MAX_RANK ||
        strides->count != sizes->count)
        return false;
    for (int i = shape.rank - 1; i >= 0; i--) {
        const struct pickled *size = &sizes->items[i];
        if (size->kind != PICKLED_INT || size->number < 0 || !is_int(&strides->items[i], stride))
            return false;
        shape.dims[i] = size->number;
        if (__builtin_mul_overflow(stride, size->number > 1 ? size->number : 1, &stride))
            return false;
    }
    *ret = shape;
    return shape_count(&shape, ret_count);
}

/* ("storage", torch.FloatStorage, "0", "cpu", count) */
static bool read_storage(const struct pickled *value, int64_t count, enum dtype *ret_dtype, size_t *ret_size,
                         const char **ret_key)
{
    if (value->kind != PICKLED_PERSISTENT || value->items[0].kind != PICKLED_TUPLE || value->items[0].count != 5)
        return false;
    const struct pickled *id = value->items[0].items;
    if (!is_text(&id[0], "storage") || id[1].kind != PICKLED_GLOBAL || id[2].kind != PICKLED_TEXT ||
        !is_text(&id[3], "cpu") || !is_int(&id[4], count))
        return false;
    for (size_t i = 0; i < sizeof storages / sizeof storages[0]; i++) {
        if (strcmp(storages[i].global, id[1].text) == 0) {
            *ret_dtype = storages[i].dtype;
            *ret_size = storages[i].size;
            *ret_key = id[2].text;
            return true;
        }
    }
    return false;
}

/* One key and its tensor: _rebuild_tensor_v2(storage, 0, sizes, strides, False, OrderedDict()). */
static int read_entry(struct state_dict *dict, const struct pickled *pair, struct entry *entry, struct h5pt_error *err)
{
    const struct pickled *key = &pair[0], *call = &pair[1];
    const char *storage;
    size_t size;
    uint64_t bytes;
    zip_stat_t st = {.valid = 0};
    if (key->kind != PICKLED_TEXT)
        return fail(err, "data.pkl", "a key is not a text");
    entry->name = key->text;
    if (call->kind != PICKLED_CALL || call->items[1].count != 6)
        return fail(err, key->text, "the value is not a tensor");
    const struct pickled *args = call->items[1].items;
    if (!is_int(&args[1], 0) || !read_shape(&args[2], &args[3], &entry->shape, &entry->count) ||
        !read_storage(&args[0], entry->count, &entry->dtype, &size, &storage))
        return fail(err, key->text, "the tensor is not dense over a storage of its own");
    if (args[4].kind != PICKLED_BOOL || args[4].number != 0 || args[5].kind != PICKLED_DICT || args[5].count != 0)
        return fail(err, key->text, "the tensor wants a gradient");
    char *record = arena_printf(dict->arena, "data/%s", storage);
    if (!record)
        return h5pt_fail_memory(err);
    if (find_record(dict, record, &st, err) < 0)
        return -1;
    if (!size_mul((uint64_t)entry->count, size, &bytes) || st.size != bytes)
        return fail(err, key->text, "the storage has another size than the tensor");
    entry->record = st.index;
    return 0;
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int compare_name(const void *name, const void *entry)
{
    const struct entry *const *e = entry;
    return strcmp(name, (*e)->name);
}

static int read_entries(struct state_dict *dict, const struct pickled *root, struct h5pt_error *err)
{
    if (root->kind != PICKLED_DICT)
        return fail(err, "data.pkl", "it holds no dict");
    size_t count = root->count / 2;
    dict->entries = ARENA_ARRAY(dict->arena, struct entry, count ? count : 1);
    dict->by_name = ARENA_ARRAY(dict->arena, const struct entry *, count ? count : 1);
    if (!dict->entries || !dict->by_name)
        return h5pt_fail_memory(err);
    for (size_t i = 0; i < count; i++) {
        if (read_entry(dict, &root->items[2 * i], &dict->entries[i], err) < 0)
            return -1;
        dict->by_name[i] = &dict->entries[i];
    }
    dict->count = count;
    if (count > 1)
        qsort(dict->by_name, count, sizeof(const struct entry *), compare_entries);
    for (size_t i = 1; i < count; i++)
        if (strcmp(dict->by_name[i - 1]->name, dict->by_name[i]->name) == 0)
            return fail(err, dict->by_name[i]->name, "the key is there twice");
    return 0;
}

int state_dict_open(int fd, struct state_dict **ret, struct h5pt_error *err)
{
    unsigned char *pickle = NULL;
    size_t size = 0;
    struct pickled root = {.kind = PICKLED_DICT};
    struct state_dict *dict = calloc(1, sizeof *dict);
    if (!dict)
        return h5pt_fail_memory(err);
    if (archive_file_init(&dict->file, fd, err) < 0) {
        free(dict);
        return -1;
    }
    dict->arena = arena_new();
    if (!dict->arena) {
        (void)h5pt_fail_memory(err);
        goto fail;
    }
    dict->zip = archive_file_open(&dict->file, ZIP_RDONLY | ZIP_CHECKCONS, err);
    if (!dict->zip || expect_record(dict, "version", "3\n", err) < 0 ||
        expect_record(dict, "byteorder", "little", err) < 0 ||
        read_small_record(dict, "data.pkl", PICKLE_MAX, &pickle, &size, err) < 0 ||
        pickle_read(pickle, size, dict->arena, &root, err) < 0 || read_entries(dict, &root, err) < 0)
        goto fail;
    free(pickle);
    *ret = dict;
    return 0;
fail:
    free(pickle);
    state_dict_close(dict);
    return -1;
}

void state_dict_close(struct state_dict *dict)
{
    if (!dict)
        return;
    if (dict->zip)
        zip_discard(dict->zip);
    archive_file_release(&dict->file);
    arena_free(dict->arena);
    free(dict);
}

size_t state_dict_count(const struct state_dict *dict)
{
    return dict->count;
}

const char *state_dict_name(const struct state_dict *dict, size_t index)
{
    return dict->entries[index].name;
}

static float bits_to_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent == 31)
        return bits_to_float(sign | 0x7f800000 | fraction << 13);
    if (exponent == 0) {
        float magnitude = (float)fraction * 0x1p-24F; /* subnormal */
        return sign ? -magnitude : magnitude;
    }
    return bits_to_float(sign | (exponent + 112) << 23 | fraction << 13);
}

/* `count` elements at `from`; the switch is outside the loops. */
static void to_floats(enum dtype dtype, const unsigned char *from, size_t count, float *to)
{
#define CONVERT(type, expression)                                                                                      \
    for (size_t i = 0; i < count; i++) {                                                                               \
        type v;                                                                                                        \
        memcpy(&v, from + i * sizeof v, sizeof v);                                                                     \
        to[i] = (expression);                                                                                          \
    }                                                                                                                  \
    break
    switch (dtype) {
    case DTYPE_F32: CONVERT(float, v);
    case DTYPE_F64: CONVERT(double, (float)v);
    case DTYPE_F16: CONVERT(uint16_t, half_to_float(v));
    case DTYPE_BF16: CONVERT(uint16_t, bits_to_float((uint32_t)v << 16));
    case DTYPE_I64: CONVERT(int64_t, (float)v);
    case DTYPE_I32: CONVERT(int32_t, (float)v);
    case DTYPE_I16: CONVERT(int16_t, (float)v);
    case DTYPE_I8: CONVERT(int8_t, (float)v);
    case DTYPE_U8: CONVERT(uint8_t, (float)v);
    default: CONVERT(uint8_t, v ? 1.0F : 0.0F);
    }
#undef CONVERT
}

static int read_floats(struct state_dict *dict, const struct entry *entry, zip_file_t *record, float *data,
                       struct h5pt_error *err)
{
    uint64_t count = (uint64_t)entry->count, size = dtype_size(entry->dtype);
    if (entry->dtype == DTYPE_F32)
        return read_bytes(dict, record, data, count * size, entry->name, err);
    unsigned char *chunk = malloc(CHUNK);
    if (!chunk)
        return h5pt_fail_memory(err);
    int rc = 0;
    for (uint64_t done = 0; rc == 0 && done < count;) {
        uint64_t n = count - done < CHUNK / size ? count - done : CHUNK / size;
        rc = read_bytes(dict, record, chunk, n * size, entry->name, err);
        if (rc == 0)
            to_floats(entry->dtype, chunk, (size_t)n, data + done);
        done += n;
    }
    free(chunk);
    return rc;
}

static const struct entry *find_entry(const struct state_dict *dict, const char *name, struct h5pt_error *err)
{
    const struct entry *const *found = dict->count ? bsearch(name, dict->by_name, dict->count,
                                                             sizeof(const struct entry *), compare_name)
                                                   : NULL;
    if (!found)
        (void)fail(err, name, "the key is missing");
    return found ? *found : NULL;
}

int state_dict_read(struct state_dict *dict, const char *name, struct tensor **ret, struct h5pt_error *err)
{
    const struct entry *entry = find_entry(dict, name, err);
    if (!entry)
        return -1;
    struct tensor *tensor = tensor_new(&entry->shape, entry->dtype);
    if (!tensor)
        return h5pt_fail_memory(err);
    zip_file_t *record = zip_fopen_index(dict->zip, entry->record, 0);
    int rc = record ? 0 : archive_file_fail(&dict->file, zip_get_error(dict->zip), err);
    if (rc == 0)
        rc = read_floats(dict, entry, record, tensor->data, err);
    if (rc == 0)
        rc = expect_end(dict, record, entry->name, err);
    if (record)
        (void)zip_fclose(record);
    if (rc < 0) {
        tensor_free(tensor);
        return -1;
    }
    *ret = tensor;
    return 0;
}
