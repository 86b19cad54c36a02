/* SPDX-License-Identifier: Apache-2.0 */
/* A virtual file driver that reads one file descriptor and can do nothing else. Bytes behind the end of the file are an
 * error, never zeros. */
#include <stdlib.h>

#include "source/hdf5_file.h"

#if H5_VERS_MAJOR > 1 || H5_VERS_MINOR > 12
#include <H5FDdevelop.h>
#endif

struct driver_file {
    H5FD_t base; /* HDF5 keeps its own fields here; must be first */
    struct source_bytes bytes;
    haddr_t eoa;
};

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t access, haddr_t max_address)
{
    (void)name;
    (void)max_address;
    const struct source_bytes *bytes = H5Pget_driver_info(access);
    if (!bytes || (flags & (H5F_ACC_RDWR | H5F_ACC_CREAT | H5F_ACC_TRUNC)))
        return NULL;
    struct driver_file *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->bytes = *bytes;
    return &f->base;
}

static herr_t driver_close(H5FD_t *file)
{
    free(file);
    return 0;
}

static herr_t driver_query(const H5FD_t *file, unsigned long *ret_flags)
{
    (void)file;
    *ret_flags = H5FD_FEAT_IGNORE_DRVRINFO;
    return 0;
}

static haddr_t driver_get_eoa(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const struct driver_file *)file)->eoa;
}

static herr_t driver_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t address)
{
    (void)type;
    ((struct driver_file *)file)->eoa = address;
    return 0;
}

static haddr_t driver_get_eof(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const struct driver_file *)file)->bytes.size;
}

static herr_t driver_read(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t size, void *buffer)
{
    (void)type;
    (void)transfer;
    return source_bytes_read(&((const struct driver_file *)file)->bytes, address, size, buffer) ? 0 : -1;
}

static herr_t driver_write(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t size,
                           const void *buffer)
{
    (void)file;
    (void)type;
    (void)transfer;
    (void)address;
    (void)size;
    (void)buffer;
    return -1;
}

hid_t hdf5_driver_register(void)
{
    static const H5FD_class_t class = {
#ifdef H5FD_CLASS_VERSION
        .version = H5FD_CLASS_VERSION,
        .value = (H5FD_class_value_t)512, /* the first that the library leaves to others */
#endif
        .name = "h5pt_descriptor",
        .maxaddr = INT64_MAX,
        .fc_degree = H5F_CLOSE_STRONG,
        .fapl_size = sizeof(struct source_bytes),
        .open = driver_open,
        .close = driver_close,
        .query = driver_query,
        .get_eoa = driver_get_eoa,
        .set_eoa = driver_set_eoa,
        .get_eof = driver_get_eof,
        .read = driver_read,
        .write = driver_write,
        .fl_map = H5FD_FLMAP_DICHOTOMY,
    };
    return H5FDregister(&class);
}
