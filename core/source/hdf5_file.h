/* SPDX-License-Identifier: Apache-2.0 */
/* One HDF5 file, opened for reading behind a file descriptor (a part of a file, or memory, will do as well), and what may be
 * read from it. The only code that calls the
 * HDF5 library is in source/hdf5_*.c.
 *
 * HDF5 sees the file through a driver of our own, which can do nothing but read from that descriptor: no path is opened, so
 * it works after a sandbox has been closed, and nothing is copied. The library is set up once for the process: no plug-ins,
 * no external links, no printing, no work at exit. It is not thread-safe: one thread at a time. */
#ifndef H5PT_SOURCE_HDF5_FILE_H
#define H5PT_SOURCE_HDF5_FILE_H

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "source/bytes.h"
#include "source/source.h"

struct hdf5_file {
    hid_t id, driver;
    struct source_bytes bytes;
    uint64_t base;       /* where HDF5 starts, behind a user block; addresses in the file count from here */
    uint64_t text_bytes; /* of all strings kept so far, held against limits->config_bytes */
    uint64_t heap_work;  /* bytes of global heap gone through so far */
    const struct source_limits *limits; /* borrowed */
    struct arena *arena;                /* borrowed; strings read from the file live there */
};

/* Sets the library up, as opening a file does. INTERNAL. */
int hdf5_set_up(struct h5pt_error *err);

/* Opens the file that `bytes` are (copied; what they point to is borrowed) into *file. On failure *file needs no release.
 * Errors: NOT_HDF5, H5_CORRUPT, IO, OUT_OF_MEMORY. */
int hdf5_open(struct hdf5_file *file, const struct source_bytes *bytes, const struct source_limits *limits,
              struct arena *arena, struct h5pt_error *err);
void hdf5_release(struct hdf5_file *file);

/* After a call of HDF5 failed: H5_CORRUPT (IO when the system refused a read) with the text and HDF5's own innermost
 * explanation. Returns -1. */
int hdf5_fail(const struct hdf5_file *file, struct h5pt_error *err, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Counts `length` more bytes of strings. H5_LIMIT_EXCEEDED. */
int hdf5_count_text(struct hdf5_file *file, const char *where, size_t length, struct h5pt_error *err);

/* Objects, by path from the root ("/model_weights/dense/kernel:0"; empty and "." components mean nothing, as in HDF5). Every
 * component must be a hard link. */

enum hdf5_kind { HDF5_ABSENT, HDF5_GROUP, HDF5_DATASET, HDF5_OTHER };

struct hdf5_object {
    hid_t id;
    enum hdf5_kind kind;
};

#define HDF5_OBJECT_INIT                                                                                               \
    {                                                                                                                  \
        .id = H5I_INVALID_HID, .kind = HDF5_ABSENT                                                                     \
    }

/* A component that does not exist makes the object absent, which is no error.
 * Errors: H5_SOFT_LINK, H5_EXTERNAL_LINK, H5_LIMIT_EXCEEDED (depth), H5_CORRUPT. */
int hdf5_find(const struct hdf5_file *file, const char *path, struct hdf5_object *ret, struct h5pt_error *err);
void hdf5_object_release(struct hdf5_object *object);

/* A list of strings, in the arena. */
struct hdf5_names {
    const char **text;
    size_t count;
    bool present; /* false: there is no such attribute */
};

/* The names of the links of a group, shorter ones first, then by bytes: "2" before "10". */
int hdf5_list(struct hdf5_file *file, const struct hdf5_object *group, const char *path, struct hdf5_names *ret,
              struct h5pt_error *err);

/* Attributes: strings of fixed or variable length, any padding, ASCII or UTF-8, all taken as UTF-8.
 * Errors: H5_UNSUPPORTED_TYPE, H5_LIMIT_EXCEEDED, H5_CORRUPT. */

int hdf5_has_attribute(const struct hdf5_file *file, const struct hdf5_object *object, const char *path,
                       const char *name, bool *ret, struct h5pt_error *err);

/* One string (a scalar or a list of one); *ret is NULL when the attribute is absent. */
int hdf5_text(struct hdf5_file *file, const struct hdf5_object *object, const char *path, const char *name,
              const char **ret, struct h5pt_error *err);

/* A list of non-empty strings: the attribute `name`, or, without it, name0, name1, … joined. An empty list has any type. */
int hdf5_names(struct hdf5_file *file, const struct hdf5_object *object, const char *path, const char *name,
               struct hdf5_names *ret, struct h5pt_error *err);

/* Datasets. */

struct hdf5_dataset {
    hid_t id, memory_type;
    enum dtype dtype;
    struct shape shape;
    uint64_t elements, bytes; /* bytes as read: elements x size of dtype */
    uint64_t rows;            /* along the first axis that are stored together: height of a chunk, else 1 */
};

#define HDF5_DATASET_INIT                                                                                              \
    {                                                                                                                  \
        .id = H5I_INVALID_HID, .memory_type = H5I_INVALID_HID                                                          \
    }

/* Opens the dataset at `path` and checks everything that can be checked without reading its elements. The order matters:
 * link, type, creation properties, and only then the dataspace, because asking a virtual dataset for it opens other files.
 * Errors: those of hdf5_find; H5_EXTERNAL_STORAGE, H5_VIRTUAL_DATASET, H5_UNSUPPORTED_FILTER, H5_UNSUPPORTED_TYPE,
 * H5_UNWRITTEN_DATASET, H5_LIMIT_EXCEEDED; H5_CORRUPT also when there is no dataset. */
int hdf5_dataset_open(const struct hdf5_file *file, const char *path, struct hdf5_dataset *ret, struct h5pt_error *err);
void hdf5_dataset_release(struct hdf5_dataset *dataset);

/* Reads all elements, or `count` rows from `first` along the first axis, as little-endian elements. */
int hdf5_dataset_read(struct hdf5_file *file, const struct hdf5_dataset *dataset, const char *path, void *buffer,
                      struct h5pt_error *err);
int hdf5_dataset_read_rows(struct hdf5_file *file, const struct hdf5_dataset *dataset, const char *path, uint64_t first,
                           uint64_t count, void *buffer, struct h5pt_error *err);

/* Between the files of this module. */

/* The driver; what it takes in H5Pset_driver is a struct source_bytes, which is copied. */
hid_t hdf5_driver_register(void);

/* The dtype of a stored type, and the type to read it with (owned by the caller); false when it is not accepted. */
bool hdf5_dtype(hid_t type, enum dtype *ret, hid_t *ret_memory_type);

/* The stored bytes of an attribute of `object`, read past the library: `size` bytes into *ret (owned by the caller). */
int hdf5_raw_attribute(const struct hdf5_file *file, hid_t object, const char *path, const char *name, uint64_t size,
                       unsigned char **ret, struct h5pt_error *err);

/* A collection of the global heap, which holds variable-length strings; the last one used is kept. */
struct hdf5_heap {
    uint64_t address, size;
    unsigned char *bytes; /* owned */
};

/* A stored variable-length string is a reference of 16 bytes: length, address of a collection, index in it. *ret points into
 * the heap until the next call and is not terminated. */
enum { HDF5_REFERENCE_BYTES = 16 };
int hdf5_heap_string(struct hdf5_file *file, struct hdf5_heap *heap, const unsigned char *reference, const char *path,
                     const char **ret, size_t *ret_length, struct h5pt_error *err);
void hdf5_heap_release(struct hdf5_heap *heap);

/* Little-endian integers of 1 to 8 bytes. */
static inline uint64_t hdf5_load(const unsigned char *bytes, unsigned size)
{
    uint64_t value = 0;
    while (size--)
        value = value << 8 | bytes[size];
    return value;
}

#endif
