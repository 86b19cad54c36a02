/* SPDX-License-Identifier: Apache-2.0 */
/* Datasets: what is accepted, and reading it. */
#include <string.h>

#include "base/size.h"
#include "source/hdf5_file.h"

/* Chunks of one dataset: HDF5 keeps about 4 KiB for each while it reads. */
static const uint64_t chunks_limit = 1 << 16;
/* A chunk may be this large, or as large as its dataset with room to grow. */
static const uint64_t chunk_bytes_always = 16 << 20, chunk_bytes_factor = 4;
/* Small compressed datasets expand by any factor. */
static const uint64_t expansion_slack = 1 << 16;

/* How a dataset is stored. */
struct storage {
    H5D_layout_t layout;
    bool filtered, deflated;
    int chunk_rank;
    hsize_t chunk[H5S_MAX_RANK];
};

void hdf5_dataset_release(struct hdf5_dataset *dataset)
{
    if (dataset->memory_type >= 0)
        (void)H5Tclose(dataset->memory_type);
    if (dataset->id >= 0)
        (void)H5Dclose(dataset->id);
    *dataset = (struct hdf5_dataset)HDF5_DATASET_INIT;
}

static int check_type(const struct hdf5_file *file, struct hdf5_dataset *d, const char *path, struct h5pt_error *err)
{
    hid_t type = H5Dget_type(d->id);
    if (type < 0)
        return hdf5_fail(file, err, path, "The type of the dataset cannot be read");
    bool accepted = hdf5_dtype(type, &d->dtype, &d->memory_type);
    (void)H5Tclose(type);
    if (!accepted)
        return h5pt_fail(err, H5PT_H5_UNSUPPORTED_TYPE, path,
                         "The elements of the dataset are not floats, integers or booleans of an accepted kind");
    return 0;
}

/* Only deflate, shuffle and fletcher32, each at most once. */
static int check_filters(const struct hdf5_file *file, hid_t properties, struct storage *s, const char *path,
                         struct h5pt_error *err)
{
    int count = H5Pget_nfilters(properties);
    if (count < 0)
        return hdf5_fail(file, err, path, "The filters of the dataset cannot be read");
    unsigned seen = 0;
    for (int i = 0; i < count; i++) {
        unsigned flags, values[8], config;
        size_t value_count = sizeof values / sizeof *values;
        char name[64] = "";
        H5Z_filter_t filter = H5Pget_filter2(properties, (unsigned)i, &flags, &value_count, values, sizeof name, name,
                                             &config);
        if (filter < 0)
            return hdf5_fail(file, err, path, "The filters of the dataset cannot be read");
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32)
            return h5pt_fail(err, H5PT_H5_UNSUPPORTED_FILTER, path,
                             "The dataset is stored through filter %d; only deflate (gzip), shuffle and fletcher32 are "
                             "accepted",
                             (int)filter);
        if (seen & 1u << filter)
            return h5pt_fail(err, H5PT_H5_UNSUPPORTED_FILTER, path, "The dataset is stored through filter %d twice",
                             (int)filter);
        seen |= 1u << filter;
        s->deflated |= filter == H5Z_FILTER_DEFLATE;
    }
    s->filtered = count > 0;
    return 0;
}

static int check_layout(const struct hdf5_file *file, hid_t properties, struct storage *s, const char *path,
                        struct h5pt_error *err)
{
    s->layout = H5Pget_layout(properties);
    int external = H5Pget_external_count(properties);
    if (s->layout == H5D_LAYOUT_ERROR || external < 0)
        return hdf5_fail(file, err, path, "The layout of the dataset cannot be read");
    if (external > 0)
        return h5pt_fail(err, H5PT_H5_EXTERNAL_STORAGE, path, "The elements of the dataset are kept in another file");
    switch (s->layout) {
    case H5D_COMPACT:
    case H5D_CONTIGUOUS: return 0;
    case H5D_CHUNKED:
        s->chunk_rank = H5Pget_chunk(properties, H5S_MAX_RANK, s->chunk);
        if (s->chunk_rank < 1 || s->chunk_rank > H5S_MAX_RANK)
            return hdf5_fail(file, err, path, "The chunks of the dataset cannot be read");
        return 0;
    default:
        return h5pt_fail(err, H5PT_H5_VIRTUAL_DATASET, path,
                         "The dataset is virtual: it shows elements of other datasets or files");
    }
}

static int check_properties(const struct hdf5_file *file, const struct hdf5_dataset *d, struct storage *s,
                            const char *path, struct h5pt_error *err)
{
    hid_t properties = H5Dget_create_plist(d->id);
    if (properties < 0)
        return hdf5_fail(file, err, path, "The properties of the dataset cannot be read");
    int rc = check_layout(file, properties, s, path, err);
    if (rc == 0)
        rc = check_filters(file, properties, s, path, err);
    (void)H5Pclose(properties);
    return rc;
}

static int read_dims(const struct hdf5_file *file, const struct hdf5_dataset *d, hsize_t dims[SHAPE_MAX_RANK],
                     int *ret_rank, const char *path, struct h5pt_error *err)
{
    hid_t space = H5Dget_space(d->id);
    if (space < 0)
        return hdf5_fail(file, err, path, "The shape of the dataset cannot be read");
    int rc = 0, rank = H5Sget_simple_extent_ndims(space);
    if (H5Sget_simple_extent_type(space) == H5S_NULL)
        rc = h5pt_fail(err, H5PT_H5_UNSUPPORTED_TYPE, path, "The dataset has no shape and no elements");
    else if (rank > SHAPE_MAX_RANK)
        rc = h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, path, "The dataset has %d axes, more than %d", rank,
                       SHAPE_MAX_RANK);
    else if (rank < 0 || H5Sget_simple_extent_dims(space, dims, NULL) < 0)
        rc = hdf5_fail(file, err, path, "The shape of the dataset cannot be read");
    else
        *ret_rank = rank;
    (void)H5Sclose(space);
    return rc;
}

/* Shape and size. Axes of size 0 count as 1 against the limit, so that no product of axes can overflow later. */
static int check_shape(const struct hdf5_file *file, struct hdf5_dataset *d, const char *path, struct h5pt_error *err)
{
    hsize_t dims[SHAPE_MAX_RANK] = {0};
    if (read_dims(file, d, dims, &d->shape.rank, path, err) < 0)
        return -1;
    uint64_t size = dtype_size(d->dtype);
    bool fits = true, empty = false;
    for (int i = 0; i < d->shape.rank && fits; i++) {
        fits = dims[i] <= INT64_MAX && size_mul(size, dims[i] ? dims[i] : 1, &size);
        empty |= dims[i] == 0;
        d->shape.dims[i] = (int64_t)dims[i];
    }
    if (!fits || size > file->limits->tensor_bytes)
        return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, path, "The dataset declares more than %llu bytes",
                         (unsigned long long)file->limits->tensor_bytes);
    d->bytes = empty ? 0 : size;
    d->elements = d->bytes / dtype_size(d->dtype);
    return 0;
}

static int fail_unwritten(const struct hdf5_file *file, const char *path, struct h5pt_error *err)
{
    if (*file->bytes.read_errno)
        return hdf5_fail(file, err, path, "The dataset cannot be read");
    return h5pt_fail(err, H5PT_H5_UNWRITTEN_DATASET, path,
                     "The dataset was declared but its elements were never (or not all) written");
}

/* Every chunk must be there: HDF5 would put fill values in place of one that is not. Looked up one by one, as reading will
 * do, because an index may list a chunk twice and another not at all. */
static int check_chunks(const struct hdf5_file *file, const struct hdf5_dataset *d, const struct storage *s,
                        uint64_t stored, const char *path, struct h5pt_error *err)
{
    int rank = d->shape.rank;
    uint64_t chunks = 1, chunk_bytes = dtype_size(d->dtype), most = d->bytes;
    if (s->chunk_rank != rank)
        return h5pt_fail(err, H5PT_H5_CORRUPT, path, "Chunks and shape of the dataset do not fit together");
    bool fits = size_mul(most, chunk_bytes_factor, &most);
    for (int i = 0; i < rank && fits; i++) {
        fits = s->chunk[i] && size_mul(chunk_bytes, s->chunk[i], &chunk_bytes) &&
               size_mul(chunks, ((uint64_t)d->shape.dims[i] - 1) / s->chunk[i] + 1, &chunks);
    }
    if (!fits || chunks > chunks_limit)
        return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, path, "The dataset has more than %llu chunks",
                         (unsigned long long)chunks_limit);
    if (chunk_bytes > chunk_bytes_always && chunk_bytes > most)
        return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, path, "A chunk of the dataset declares %llu bytes",
                         (unsigned long long)chunk_bytes);
    if (stored < chunks) /* a written chunk has at least one byte */
        return fail_unwritten(file, path, err);
    hsize_t at[SHAPE_MAX_RANK] = {0};
    for (uint64_t n = 0; n < chunks; n++) {
        hsize_t size = 0;
        if (H5Dget_chunk_storage_size(d->id, at, &size) < 0 || size == 0)
            return fail_unwritten(file, path, err);
        if (size > chunk_bytes + chunk_bytes / 16 + 1024) /* no filter makes it much larger */
            return h5pt_fail(err, H5PT_H5_CORRUPT, path, "A chunk of the dataset is stored in %llu bytes",
                             (unsigned long long)size);
        for (int i = rank - 1; i >= 0 && (at[i] += s->chunk[i]) >= (uint64_t)d->shape.dims[i]; i--)
            at[i] = 0;
    }
    return 0;
}

/* Elements stored in one piece, unfiltered. */
static int check_piece(const struct hdf5_file *file, const struct hdf5_dataset *d, const struct storage *s,
                       uint64_t stored, const char *path, struct h5pt_error *err)
{
    if (stored < d->bytes)
        return h5pt_fail(err, H5PT_H5_CORRUPT, path, "The dataset declares %llu bytes but has %llu",
                         (unsigned long long)d->bytes, (unsigned long long)stored);
    if (s->layout == H5D_COMPACT)
        return 0;
    haddr_t at = H5Dget_offset(d->id);
    if (at == HADDR_UNDEF)
        return fail_unwritten(file, path, err);
    if (at > file->bytes.size || d->bytes > file->bytes.size - at)
        return h5pt_fail(err, H5PT_H5_CORRUPT, path, "The dataset reaches behind the end of the file");
    return 0;
}

static int check_storage(const struct hdf5_file *file, const struct hdf5_dataset *d, const struct storage *s,
                         const char *path, struct h5pt_error *err)
{
    if (d->elements == 0)
        return 0;
    uint64_t stored = H5Dget_storage_size(d->id), most;
    if (stored == 0)
        return fail_unwritten(file, path, err);
    if (s->deflated && size_mul(stored, file->limits->expansion, &most) && size_add(most, expansion_slack, &most) &&
        d->bytes > most)
        return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, path,
                         "The dataset declares %llu bytes but stores %llu: more than %u-fold compression",
                         (unsigned long long)d->bytes, (unsigned long long)stored, file->limits->expansion);
    return s->layout == H5D_CHUNKED ? check_chunks(file, d, s, stored, path, err)
                                    : check_piece(file, d, s, stored, path, err);
}

static int check_dataset(const struct hdf5_file *file, struct hdf5_dataset *d, const char *path, struct h5pt_error *err)
{
    struct storage storage = {.layout = H5D_LAYOUT_ERROR};
    if (check_type(file, d, path, err) < 0 || check_properties(file, d, &storage, path, err) < 0 ||
        check_shape(file, d, path, err) < 0)
        return -1;
    if (storage.layout != H5D_CHUNKED && storage.filtered)
        return h5pt_fail(err, H5PT_H5_CORRUPT, path, "The dataset has filters but no chunks");
    d->rows = storage.layout == H5D_CHUNKED ? storage.chunk[0] : 1;
    return check_storage(file, d, &storage, path, err);
}

int hdf5_dataset_open(const struct hdf5_file *file, const char *path, struct hdf5_dataset *ret, struct h5pt_error *err)
{
    struct hdf5_object object = HDF5_OBJECT_INIT;
    if (hdf5_find(file, path, &object, err) < 0)
        return -1;
    if (object.kind != HDF5_DATASET) {
        bool absent = object.kind == HDF5_ABSENT;
        hdf5_object_release(&object);
        return h5pt_fail(err, H5PT_H5_CORRUPT, path,
                         absent ? "The file lists this weight but does not hold it" : "This weight is not a dataset");
    }
    struct hdf5_dataset d = HDF5_DATASET_INIT;
    d.id = object.id;
    if (check_dataset(file, &d, path, err) < 0) {
        hdf5_dataset_release(&d);
        return -1;
    }
    *ret = d;
    return 0;
}

/* Bytes other than 0 and 1 are no booleans. */
static int check_values(const struct hdf5_dataset *d, const unsigned char *bytes, uint64_t count, const char *path,
                        struct h5pt_error *err)
{
    if (d->dtype == DTYPE_BOOL)
        for (uint64_t i = 0; i < count; i++)
            if (bytes[i] > 1)
                return h5pt_fail(err, H5PT_H5_CORRUPT, path,
                                 "The dataset holds a boolean that is neither true nor false");
    return 0;
}

int hdf5_dataset_read(struct hdf5_file *file, const struct hdf5_dataset *d, const char *path, void *buffer,
                      struct h5pt_error *err)
{
    if (d->elements == 0)
        return 0;
    if (H5Dread(d->id, d->memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer) < 0)
        return hdf5_fail(file, err, path, "The elements of the dataset cannot be read");
    return check_values(d, buffer, d->elements, path, err);
}

int hdf5_dataset_read_rows(struct hdf5_file *file, const struct hdf5_dataset *d, const char *path, uint64_t first,
                           uint64_t count, void *buffer, struct h5pt_error *err)
{
    hsize_t start[SHAPE_MAX_RANK] = {first}, block[SHAPE_MAX_RANK] = {count};
    hsize_t elements = count;
    for (int i = 1; i < d->shape.rank; i++) {
        block[i] = (hsize_t)d->shape.dims[i];
        elements *= block[i];
    }
    hid_t stored = H5Dget_space(d->id), memory = H5Screate_simple(1, &elements, NULL);
    int rc;
    if (stored < 0 || memory < 0 || H5Sselect_hyperslab(stored, H5S_SELECT_SET, start, NULL, block, NULL) < 0 ||
        H5Dread(d->id, d->memory_type, memory, stored, H5P_DEFAULT, buffer) < 0)
        rc = hdf5_fail(file, err, path, "The elements of the dataset cannot be read");
    else
        rc = check_values(d, buffer, elements, path, err);
    if (stored >= 0)
        (void)H5Sclose(stored);
    if (memory >= 0)
        (void)H5Sclose(memory);
    return rc;
}
