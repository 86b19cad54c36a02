/* SPDX-License-Identifier: Apache-2.0 */
/* Strings in the global heap, by our own reading of it (file format specification 3.0, III.E). HDF5's trusts lengths and
 * indices: nearly every crash of version 1.10 on a damaged Keras file is there. */
#include <stdlib.h>
#include <string.h>

#include "source/hdf5_file.h"

enum { HEAD = 16 }; /* of a collection, and of an object in it */
static const uint64_t collection_limit = 128 << 20, work_limit = (uint64_t)1 << 30;

void hdf5_heap_release(struct hdf5_heap *heap)
{
    free(heap->bytes);
    heap->bytes = NULL;
}

/* A file can make every string a long way to go. */
static int count_work(struct hdf5_file *file, uint64_t bytes, const char *path, struct h5pt_error *err)
{
    file->heap_work += bytes;
    if (file->heap_work <= work_limit)
        return 0;
    return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, path, "The strings of the file are spread over more than %llu bytes",
                     (unsigned long long)work_limit);
}

static bool load_collection(struct hdf5_file *file, struct hdf5_heap *heap, uint64_t address, const char *path,
                            struct h5pt_error *err)
{
    unsigned char head[HEAD], *bytes;
    if (heap->bytes && heap->address == address)
        return true;
    hdf5_heap_release(heap);
    if (!source_bytes_read(&file->bytes, address, HEAD, head) || memcmp(head, "GCOL\1", 5) != 0) {
        (void)hdf5_fail(file, err, path, "A text of the object is not where the file says it is");
        return false;
    }
    uint64_t size = hdf5_load(head + 8, 8);
    if (size > collection_limit) {
        (void)h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, path, "A text of the object lies among more than %llu bytes",
                        (unsigned long long)collection_limit);
        return false;
    }
    if (count_work(file, size, path, err) < 0)
        return false;
    if (!(bytes = malloc(size ? size : 1))) {
        (void)h5pt_fail_memory(err);
        return false;
    }
    if (!source_bytes_read(&file->bytes, address, size, bytes)) {
        (void)hdf5_fail(file, err, path, "A text of the object reaches behind the end of the file");
        free(bytes);
        return false;
    }
    heap->address = address;
    heap->size = size;
    heap->bytes = bytes;
    return true;
}

/* The object `index` of the collection; 0 is its free space. */
static const unsigned char *find_object(const struct hdf5_heap *heap, uint64_t index, uint64_t *ret_size,
                                        uint64_t *ret_at)
{
    uint64_t at = HEAD;
    const unsigned char *found = NULL;
    while (!found && at < heap->size && heap->size - at >= HEAD) {
        uint64_t here = hdf5_load(heap->bytes + at, 2), size = hdf5_load(heap->bytes + at + 8, 8);
        if (here == 0 || size > heap->size - at - HEAD)
            break;
        if (here == index) {
            found = heap->bytes + at + HEAD;
            *ret_size = size;
        }
        at += HEAD + (size + 7) / 8 * 8;
    }
    *ret_at = at;
    return found;
}

int hdf5_heap_string(struct hdf5_file *file, struct hdf5_heap *heap, const unsigned char *reference, const char *path,
                     const char **ret, size_t *ret_length, struct h5pt_error *err)
{
    uint64_t length = hdf5_load(reference, 4), address = hdf5_load(reference + 4, 8), size = 0, work = 0;
    if (address == 0 && length == 0) { /* how an empty string is stored */
        *ret = "";
        *ret_length = 0;
        return 0;
    }
    if (!load_collection(file, heap, address + file->base, path, err))
        return -1;
    const unsigned char *object = find_object(heap, hdf5_load(reference + 12, 4), &size, &work);
    if (count_work(file, work, path, err) < 0)
        return -1;
    if (!object || length > size)
        return h5pt_fail(err, H5PT_H5_CORRUPT, path, "A text of the object is not where the file says it is");
    *ret = (const char *)object;
    *ret_length = (size_t)length;
    return 0;
}
