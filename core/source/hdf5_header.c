/* SPDX-License-Identifier: Apache-2.0 */
/* The stored bytes of an attribute, found in the object header by our own reading of it (file format specification 3.0,
 * IV.A). HDF5 has opened the same header before; what is read here is where an attribute's bytes lie, which its interface
 * does not tell. Attributes kept apart from the header (dense or shared) are not found. */
#include <stdlib.h>
#include <string.h>

#include "source/hdf5_file.h"

enum {
    MESSAGE_ATTRIBUTE = 0x0c,
    MESSAGE_CONTINUATION = 0x10,
    MESSAGE_SHARED = 0x02, /* flag */
    BLOCKS = 1024,         /* of one header */
};
static const uint64_t block_bytes_limit = 16 << 20;

/* A header: blocks of messages, the later ones named by messages of the earlier. */
struct header {
    const struct hdf5_file *file;
    bool second;          /* version 2, else 1 */
    unsigned head;        /* bytes before the body of a message */
    unsigned blocks;      /* seen so far */
    const char *name;     /* of the attribute looked for */
    uint64_t size;        /* of its bytes */
    unsigned char *found; /* owned; NULL: not yet */
    struct {
        uint64_t address, size;
    } todo[BLOCKS];
};

static void add_block(struct header *h, uint64_t address, uint64_t size)
{
    if (h->blocks < BLOCKS && size <= block_bytes_limit) {
        h->todo[h->blocks].address = address;
        h->todo[h->blocks++].size = size;
    }
}

/* The first block: `ret` gets its messages. */
static bool read_prefix(struct header *h, uint64_t address)
{
    unsigned char p[32];
    const struct source_bytes *bytes = &h->file->bytes;
    if (!source_bytes_read(bytes, address, 16, p))
        return false;
    if (p[0] == 1) { /* version, reserved, count, references, size; padded to 16 */
        h->head = 8;
        add_block(h, address + 16, hdf5_load(p + 8, 4));
        return true;
    }
    if (memcmp(p, "OHDR\2", 5) != 0)
        return false;
    unsigned flags = p[5], width = 1u << (flags & 3);
    unsigned at = 6 + (flags & 0x20 ? 16u : 0) + (flags & 0x10 ? 4u : 0);
    if (!source_bytes_read(bytes, address + at, width, p))
        return false;
    h->second = true;
    h->head = flags & 0x04 ? 6 : 4;
    add_block(h, address + at + width, hdf5_load(p, width));
    return true;
}

/* The body of an attribute message: when the name is right, its bytes go to h->found. False: no memory. */
static bool take_attribute(struct header *h, const unsigned char *body, size_t size)
{
    if (size < 9)
        return true;
    unsigned version = body[0];
    size_t name_size = (size_t)hdf5_load(body + 2, 2), at = version == 3 ? 9 : 8;
    size_t parts[] = {name_size, (size_t)hdf5_load(body + 4, 2),
                      (size_t)hdf5_load(body + 6, 2)}; /* name, type, space */
    size_t name_at = at, length = strlen(h->name);
    if (version < 1 || version > 3)
        return true;
    for (int i = 0; i < 3; i++)
        at += version == 1 ? (parts[i] + 7) / 8 * 8 : parts[i];
    if (at > size || name_size <= length || memcmp(body + name_at, h->name, length + 1) != 0 || h->size > size - at)
        return true;
    if (!(h->found = malloc(h->size ? h->size : 1)))
        return false;
    memcpy(h->found, body + at, h->size);
    return true;
}

/* Goes through the messages of one block. False: no memory. */
static bool scan(struct header *h, const unsigned char *p, size_t size)
{
    for (size_t at = 0; !h->found && size - at >= h->head;) {
        unsigned type = (unsigned)hdf5_load(p + at, h->second ? 1 : 2), flags = p[at + (h->second ? 3 : 4)];
        size_t length = (size_t)hdf5_load(p + at + (h->second ? 1 : 2), 2);
        const unsigned char *body = p + at + h->head;
        if (length > size - at - h->head)
            break;
        if (type == MESSAGE_CONTINUATION && length >= 16) {
            uint64_t address = hdf5_load(body, 8) + h->file->base, bytes = hdf5_load(body + 8, 8);
            if (!h->second)
                add_block(h, address, bytes);
            else if (bytes >= 8) /* between "OCHK" and a checksum */
                add_block(h, address + 4, bytes - 8);
        }
        if (type == MESSAGE_ATTRIBUTE && !(flags & MESSAGE_SHARED) && !take_attribute(h, body, length))
            return false;
        at += h->head + length;
    }
    return true;
}

static int scan_blocks(struct header *h, const char *path, struct h5pt_error *err)
{
    for (unsigned i = 0; i < h->blocks && !h->found; i++) {
        uint64_t address = h->todo[i].address, size = h->todo[i].size;
        unsigned char *p = malloc(size ? size : 1);
        if (!p)
            return h5pt_fail_memory(err);
        bool read = source_bytes_read(&h->file->bytes, address, size, p), memory = !read || scan(h, p, size);
        free(p);
        if (!memory)
            return h5pt_fail_memory(err);
        if (!read)
            return hdf5_fail(h->file, err, path, "The header of the object reaches behind the end of the file");
    }
    return 0;
}

/* Where the header of an open object starts. */
static bool header_address(const struct hdf5_file *file, hid_t object, uint64_t *ret)
{
#if H5_VERS_MAJOR > 1 || H5_VERS_MINOR > 10
    H5O_info2_t info;
    haddr_t address;
    if (H5Oget_info3(object, &info, H5O_INFO_BASIC) < 0 || H5VLnative_token_to_addr(object, info.token, &address) < 0)
        return false;
#else
    H5O_info_t info;
    if (H5Oget_info2(object, &info, H5O_INFO_BASIC) < 0)
        return false;
    haddr_t address = info.addr;
#endif
    *ret = address + file->base;
    return true;
}

int hdf5_raw_attribute(const struct hdf5_file *file, hid_t object, const char *path, const char *name, uint64_t size,
                       unsigned char **ret, struct h5pt_error *err)
{
    int rc = -1;
    uint64_t address;
    struct header *h = calloc(1, sizeof *h);
    if (!h)
        return h5pt_fail_memory(err);
    h->file = file;
    h->name = name;
    h->size = size;
    if (!header_address(file, object, &address) || !read_prefix(h, address)) {
        (void)hdf5_fail(file, err, path, "The header of the object cannot be read");
        goto out;
    }
    if (scan_blocks(h, path, err) < 0)
        goto out;
    if (!h->found) {
        (void)h5pt_fail(err, H5PT_H5_UNSUPPORTED_TYPE, path,
                        "The text of the attribute %s is not stored with its object; write the file with the default "
                        "library version to convert it",
                        name);
        goto out;
    }
    *ret = h->found;
    h->found = NULL;
    rc = 0;
out:
    free(h->found);
    free(h);
    return rc;
}
