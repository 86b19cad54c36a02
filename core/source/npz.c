/* SPDX-License-Identifier: Apache-2.0 */
#include "source/npz.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/size.h"
#include "source/to_float.h"
#include "source/zip_file.h"

struct npz {
    struct source_limits limits;
    struct arena *arena;
    struct source_bytes file;
    int read_errno;
    struct zip_directory directory;
    const char **names;
};

/* What the header of an .npy says. */
struct header {
    enum dtype dtype;
    bool swapped; /* big-endian elements */
    bool fortran; /* the first axis runs fastest */
    struct shape shape;
    uint64_t start; /* of the elements, from the start of the entry */
};

enum { MAGIC_BYTES = 8, MAX_HEADER = 65536 };

/* ---- the archive ---- */

int npz_open(int fd, const struct source_limits *limits, struct npz **ret, struct h5pt_error *err)
{
    static const char suffix[] = ".npy";
    struct npz *npz = calloc(1, sizeof *npz);
    if (!npz || !(npz->arena = arena_new())) {
        (void)h5pt_fail_memory(err);
        goto fail;
    }
    npz->limits = limits ? *limits : source_default_limits;
    if (source_bytes_of_file(fd, &npz->read_errno, &npz->file, err) < 0)
        goto fail;
    if (!zip_is_archive(&npz->file)) {
        (void)h5pt_fail(err, H5PT_REFERENCE_INVALID, NULL,
                        "The reference is not an .npz file: write it with numpy.savez");
        goto fail;
    }
    if (zip_directory_read(&npz->file, &npz->limits, npz->arena, &npz->directory, err) < 0)
        goto fail;
    npz->names = ARENA_ARRAY(npz->arena, const char *, npz->directory.count + 1);
    for (size_t i = 0; npz->names && i < npz->directory.count; i++) {
        const char *name = npz->directory.entries[i].name;
        size_t length = strlen(name), cut = sizeof suffix - 1;
        bool array = length > cut && strcmp(name + length - cut, suffix) == 0;
        npz->names[i] = arena_printf(npz->arena, "%.*s", (int)(array ? length - cut : length), name);
        if (!npz->names[i])
            npz->names = NULL;
    }
    if (!npz->names) {
        (void)h5pt_fail_memory(err);
        goto fail;
    }
    *ret = npz;
    return 0;
fail:
    npz_close(npz);
    return -1;
}

void npz_close(struct npz *npz)
{
    if (npz)
        arena_free(npz->arena);
    free(npz);
}

size_t npz_count(const struct npz *npz)
{
    return npz->directory.count;
}

const char *npz_name(const struct npz *npz, size_t index)
{
    return npz->names[index];
}

/* ---- the header ---- */

static int malformed(const char *name, const char *what, struct h5pt_error *err)
{
    return h5pt_fail(err, H5PT_REFERENCE_INVALID, name, "The array cannot be read: %s", what);
}

/* The text behind 'key': in the dictionary, or NULL. numpy always writes keys in this form. */
static const char *value_of(const char *text, const char *key)
{
    const char *found = strstr(text, key);
    if (!found)
        return NULL;
    found += strlen(key);
    return found + strspn(found, " ");
}

/* "'<f4'": byte order, kind, bytes. */
static bool parse_descr(const char *text, struct header *ret)
{
    static const struct {
        char name[4];
        enum dtype dtype;
    } types[] = {{"f4", DTYPE_F32}, {"f8", DTYPE_F64}, {"f2", DTYPE_F16}, {"i1", DTYPE_I8},
                 {"i2", DTYPE_I16}, {"i4", DTYPE_I32}, {"i8", DTYPE_I64}, {"u1", DTYPE_U8},
                 {"u2", DTYPE_U16}, {"u4", DTYPE_U32}, {"u8", DTYPE_U64}, {"b1", DTYPE_BOOL}};
    if (!text || text[0] != '\'' || !text[1] || !strchr("<>|=", text[1]))
        return false;
    ret->swapped = text[1] == '>';
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strncmp(text + 2, types[i].name, 2) == 0 && text[4] == '\'') {
            ret->dtype = types[i].dtype;
            return true;
        }
    return false;
}

/* "(3, 4)", "(3,)", "()". */
static bool parse_shape(const char *text, struct shape *ret)
{
    *ret = (struct shape){.rank = 0};
    if (!text || *text++ != '(')
        return false;
    for (;;) {
        text += strspn(text, " ");
        if (*text == ')')
            return true;
        int64_t size = 0;
        size_t digits = strspn(text, "0123456789");
        if (digits == 0 || digits > 18 || ret->rank == SHAPE_MAX_RANK)
            return false;
        for (size_t i = 0; i < digits; i++)
            size = size * 10 + (text[i] - '0');
        ret->dims[ret->rank++] = size;
        text += digits;
        text += strspn(text, " ");
        if (*text == ',')
            text++;
        else if (*text != ')')
            return false;
    }
}

static int parse_header(const char *text, const char *name, struct header *ret, struct h5pt_error *err)
{
    if (!parse_descr(value_of(text, "'descr':"), ret))
        return malformed(name, "its elements are no plain numbers", err);
    const char *order = value_of(text, "'fortran_order':");
    if (!order || (strncmp(order, "True", 4) != 0 && strncmp(order, "False", 5) != 0))
        return malformed(name, "its order is not told", err);
    ret->fortran = *order == 'T';
    if (!parse_shape(value_of(text, "'shape':"), &ret->shape))
        return malformed(name, "its shape is not understood", err);
    return 0;
}

static int read_header(const struct source_bytes *bytes, const char *name, struct header *ret, struct h5pt_error *err)
{
    unsigned char magic[MAGIC_BYTES], length[4] = {0};
    if (!source_bytes_read(bytes, 0, sizeof magic, magic) || memcmp(magic, "\x93NUMPY", 6) != 0 || magic[6] < 1 ||
        magic[6] > 3)
        return malformed(name, "it is not an .npy file", err);
    unsigned width = magic[6] == 1 ? 2 : 4;
    if (!source_bytes_read(bytes, MAGIC_BYTES, width, length))
        return malformed(name, "it ends early", err);
    uint32_t size = length[0] | (uint32_t)length[1] << 8 | (uint32_t)length[2] << 16 | (uint32_t)length[3] << 24;
    if (size > MAX_HEADER)
        return malformed(name, "its header is too long", err);
    char *text = calloc(size + 1, 1);
    if (!text)
        return h5pt_fail_memory(err);
    int status = source_bytes_read(bytes, MAGIC_BYTES + width, size, text) ? parse_header(text, name, ret, err)
                                                                           : malformed(name, "it ends early", err);
    ret->start = MAGIC_BYTES + width + size;
    free(text);
    return status;
}

/* ---- the elements ---- */

static void swap_bytes(unsigned char *elements, uint64_t count, size_t width)
{
    for (uint64_t i = 0; i < count; i++, elements += width)
        for (size_t k = 0; k < width / 2; k++) {
            unsigned char byte = elements[k];
            elements[k] = elements[width - 1 - k];
            elements[width - 1 - k] = byte;
        }
}

/* The elements as they are stored: for a Fortran array with the axes in reverse. */
static int read_stored(const struct source_bytes *bytes, const struct header *h, const char *name, struct tensor **ret,
                       struct h5pt_error *err)
{
    struct shape stored = h->shape;
    for (int i = 0; h->fortran && i < stored.rank; i++)
        stored.dims[i] = h->shape.dims[stored.rank - 1 - i];
    int64_t count;
    uint64_t size;
    if (!shape_count(&stored, &count) || !size_mul((uint64_t)count, dtype_size(h->dtype), &size) ||
        size != bytes->size - h->start)
        return malformed(name, "its shape does not go with its bytes", err);
    unsigned char *elements = malloc(size + 1);
    struct tensor *t = elements ? tensor_new(&stored, h->dtype) : NULL;
    int status = t ? 0 : h5pt_fail_memory(err);
    if (t && !source_bytes_read(bytes, h->start, size, elements))
        status = malformed(name, "it ends early", err);
    if (status == 0) {
        if (h->swapped)
            swap_bytes(elements, (uint64_t)count, dtype_size(h->dtype));
        to_float(h->dtype, elements, (uint64_t)count, t->data);
        *ret = t;
    } else {
        tensor_free(t);
    }
    free(elements);
    return status;
}

static int in_row_major(struct tensor **tensor, struct h5pt_error *err)
{
    int axes[SHAPE_MAX_RANK], rank = (*tensor)->shape.rank;
    for (int i = 0; i < rank; i++)
        axes[i] = rank - 1 - i;
    struct tensor *turned = tensor_transpose(*tensor, axes);
    tensor_free(*tensor);
    *tensor = turned;
    return turned ? 0 : h5pt_fail_memory(err);
}

int npz_read(const struct npz *npz, size_t index, struct tensor **ret, struct h5pt_error *err)
{
    const char *name = npz->names[index];
    struct source_bytes bytes;
    unsigned char *memory = NULL;
    struct header header = {.start = 0};
    struct tensor *t = NULL;
    if (zip_entry_open(&npz->file, &npz->directory.entries[index], &npz->limits, npz->limits.unpacked_bytes, &bytes,
                       &memory, err) < 0)
        return -1;
    int status = read_header(&bytes, name, &header, err);
    if (status == 0 && header.start > bytes.size)
        status = malformed(name, "it ends early", err);
    if (status == 0)
        status = read_stored(&bytes, &header, name, &t, err);
    free(memory);
    if (status == 0 && header.fortran)
        status = in_row_major(&t, err);
    if (status == 0)
        *ret = t;
    return status;
}
