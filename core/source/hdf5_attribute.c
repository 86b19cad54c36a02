/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes that hold text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "source/hdf5_file.h"

enum { NAME_BYTES = 65536 }; /* of one name in a list; more than an attribute of fixed-length strings can hold */

/* An open attribute, and what is known of its strings. */
struct strings {
    const char *path, *name; /* for messages */
    hid_t attribute, type, space;
    size_t count;
    size_t element_bytes; /* of a fixed-length string; 0: variable length */
};

static void strings_release(struct strings *s)
{
    if (s->space >= 0)
        (void)H5Sclose(s->space);
    if (s->type >= 0)
        (void)H5Tclose(s->type);
    if (s->attribute >= 0)
        (void)H5Aclose(s->attribute);
}

int hdf5_has_attribute(const struct hdf5_file *file, const struct hdf5_object *object, const char *path,
                       const char *name, bool *ret, struct h5pt_error *err)
{
    htri_t exists = H5Aexists(object->id, name);
    if (exists < 0)
        return hdf5_fail(file, err, path, "The attributes cannot be read");
    *ret = exists > 0;
    return 0;
}

static int count_strings(const struct hdf5_file *file, struct strings *s, struct h5pt_error *err)
{
    s->space = H5Aget_space(s->attribute);
    H5S_class_t extent = s->space < 0 ? H5S_NO_CLASS : H5Sget_simple_extent_type(s->space);
    if (extent == H5S_NO_CLASS)
        return hdf5_fail(file, err, s->path, "The attribute %s cannot be read", s->name);
    if (extent == H5S_NULL)
        return 0;
    hssize_t count = H5Sget_simple_extent_npoints(s->space);
    if (count < 0)
        return hdf5_fail(file, err, s->path, "The attribute %s cannot be read", s->name);
    if ((uint64_t)count > file->limits->names)
        return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, s->path, "The attribute %s has %llu entries, more than %u",
                         s->name, (unsigned long long)count, file->limits->names);
    if (H5Sget_simple_extent_ndims(s->space) > 1)
        return h5pt_fail(err, H5PT_H5_UNSUPPORTED_TYPE, s->path, "The attribute %s is not a plain list", s->name);
    s->count = (size_t)count;
    return 0;
}

static int check_string_type(const struct hdf5_file *file, struct strings *s, struct h5pt_error *err)
{
    s->type = H5Aget_type(s->attribute);
    if (s->type < 0)
        return hdf5_fail(file, err, s->path, "The attribute %s cannot be read", s->name);
    if (H5Tget_class(s->type) != H5T_STRING)
        return h5pt_fail(err, H5PT_H5_UNSUPPORTED_TYPE, s->path, "The attribute %s does not hold text", s->name);
    htri_t variable = H5Tis_variable_str(s->type);
    if (variable > 0)
        return 0;
    s->element_bytes = H5Tget_size(s->type);
    if (variable < 0 || s->element_bytes == 0)
        return hdf5_fail(file, err, s->path, "The attribute %s cannot be read", s->name);
    uint64_t total;
    if (!size_mul(s->element_bytes, s->count, &total) || total > file->limits->config_bytes)
        return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, s->path, "The attribute %s is larger than %llu bytes", s->name,
                         (unsigned long long)file->limits->config_bytes);
    return 0;
}

static int strings_open(const struct hdf5_file *file, hid_t object, struct strings *s, struct h5pt_error *err)
{
    s->attribute = H5Aopen(object, s->name, H5P_DEFAULT);
    if (s->attribute < 0)
        return hdf5_fail(file, err, s->path, "The attribute %s cannot be opened", s->name);
    if (count_strings(file, s, err) < 0)
        return -1;
    return s->count ? check_string_type(file, s, err) : 0; /* an empty list is written as floats */
}

static bool is_utf8(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        unsigned c = p[i++], more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : 3;
        if (more == 3 && (c < 0xf0 || c > 0xf4))
            return false;
        for (unsigned k = 0; k < more; k++, i++) {
            unsigned low = 0x80, high = 0xbf;
            if (k == 0) { /* no overlong forms, no surrogates, nothing above U+10FFFF */
                low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : low;
                high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : high;
            }
            if (i >= n || p[i] < low || p[i] > high)
                return false;
        }
    }
    return true;
}

/* Copies one string to the arena, and counts its bytes. */
static int keep(struct hdf5_file *file, const struct strings *s, const char *text, size_t length, const char **ret,
                struct h5pt_error *err)
{
    if (hdf5_count_text(file, s->path, length, err) < 0)
        return -1;
    if (memchr(text, 0, length) || !is_utf8((const unsigned char *)text, length))
        return h5pt_fail(err, H5PT_H5_CORRUPT, s->path, "The attribute %s does not hold UTF-8 text", s->name);
    char *copy = arena_alloc(file->arena, length + 1, 1);
    if (!copy)
        return h5pt_fail_memory(err);
    memcpy(copy, text, length);
    *ret = copy;
    return 0;
}

static size_t fixed_length(const char *text, size_t size, H5T_str_t padding)
{
    if (padding == H5T_STR_NULLTERM)
        return strnlen(text, size);
    char pad = padding == H5T_STR_SPACEPAD ? ' ' : '\0';
    while (size && (text[size - 1] == pad || text[size - 1] == '\0'))
        size--;
    return size;
}

static int read_fixed(struct hdf5_file *file, const struct strings *s, const char **ret, struct h5pt_error *err)
{
    int rc = -1;
    H5T_str_t padding = H5Tget_strpad(s->type);
    char *bytes = calloc(s->count, s->element_bytes);
    if (!bytes) {
        (void)h5pt_fail_memory(err);
        goto out;
    }
    if (padding == H5T_STR_ERROR || H5Aread(s->attribute, s->type, bytes) < 0) {
        (void)hdf5_fail(file, err, s->path, "The attribute %s cannot be read", s->name);
        goto out;
    }
    for (size_t i = 0; i < s->count; i++) {
        const char *text = bytes + i * s->element_bytes;
        if (keep(file, s, text, fixed_length(text, s->element_bytes, padding), &ret[i], err) < 0)
            goto out;
    }
    rc = 0;
out:
    free(bytes);
    return rc;
}

/* Past the library, whose reading of variable-length strings trusts the lengths and indices in the file. */
static int read_variable(struct hdf5_file *file, hid_t object, const struct strings *s, const char **ret,
                         struct h5pt_error *err)
{
    int rc = -1;
    unsigned char *references = NULL;
    struct hdf5_heap heap = {.bytes = NULL};
    if (hdf5_raw_attribute(file, object, s->path, s->name, (uint64_t)s->count * HDF5_REFERENCE_BYTES, &references,
                           err) < 0)
        goto out;
    for (size_t i = 0; i < s->count; i++) {
        const char *text;
        size_t length;
        if (hdf5_heap_string(file, &heap, references + i * HDF5_REFERENCE_BYTES, s->path, &text, &length, err) < 0 ||
            keep(file, s, text, strnlen(text, length), &ret[i], err) < 0)
            goto out;
    }
    rc = 0;
out:
    hdf5_heap_release(&heap);
    free(references);
    return rc;
}

/* All strings of one attribute, which must exist. */
static int read_strings(struct hdf5_file *file, const struct hdf5_object *object, const char *path, const char *name,
                        struct hdf5_names *ret, struct h5pt_error *err)
{
    int rc = -1;
    const char **text = NULL;
    struct strings s = {
        .path = path, .name = name, .attribute = H5I_INVALID_HID, .type = H5I_INVALID_HID, .space = H5I_INVALID_HID};
    if (strings_open(file, object->id, &s, err) < 0)
        goto out;
    if (s.count && !(text = ARENA_ARRAY(file->arena, const char *, s.count))) {
        (void)h5pt_fail_memory(err);
        goto out;
    }
    if (s.count &&
        (s.element_bytes ? read_fixed(file, &s, text, err) : read_variable(file, object->id, &s, text, err)) < 0)
        goto out;
    *ret = (struct hdf5_names){.text = text, .count = s.count, .present = true};
    rc = 0;
out:
    strings_release(&s);
    return rc;
}

int hdf5_text(struct hdf5_file *file, const struct hdf5_object *object, const char *path, const char *name,
              const char **ret, struct h5pt_error *err)
{
    struct hdf5_names one = {.text = NULL};
    bool exists = false;
    if (hdf5_has_attribute(file, object, path, name, &exists, err) < 0)
        return -1;
    if (exists) {
        if (read_strings(file, object, path, name, &one, err) < 0)
            return -1;
        if (one.count != 1)
            return h5pt_fail(err, H5PT_H5_UNSUPPORTED_TYPE, path, "The attribute %s holds %zu texts instead of one",
                             name, one.count);
    }
    *ret = one.count ? one.text[0] : NULL;
    return 0;
}

static int check_names(const struct hdf5_names *names, const char *path, const char *name, struct h5pt_error *err)
{
    for (size_t i = 0; i < names->count; i++) {
        size_t length = strlen(names->text[i]);
        if (length == 0)
            return h5pt_fail(err, H5PT_H5_CORRUPT, path, "Entry %zu of the attribute %s is empty", i, name);
        if (length > NAME_BYTES)
            return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, path, "Entry %zu of the attribute %s is longer than %d bytes",
                             i, name, NAME_BYTES);
    }
    return 0;
}

static int append(struct hdf5_file *file, struct hdf5_names *to, const struct hdf5_names *more, const char *path,
                  const char *name, struct h5pt_error *err)
{
    size_t count = to->count + more->count;
    if (count > file->limits->names)
        return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, path, "The attributes %s0, %s1, … have more than %u entries",
                         name, name, file->limits->names);
    const char **text = ARENA_ARRAY(file->arena, const char *, count ? count : 1);
    if (!text)
        return h5pt_fail_memory(err);
    if (to->count)
        memcpy(text, to->text, to->count * sizeof *text);
    if (more->count)
        memcpy(text + to->count, more->text, more->count * sizeof *text);
    *to = (struct hdf5_names){.text = text, .count = count, .present = true};
    return 0;
}

/* name0, name1, … joined, as far as they go. */
static int read_numbered(struct hdf5_file *file, const struct hdf5_object *object, const char *path, const char *name,
                         struct hdf5_names *all, struct h5pt_error *err)
{
    for (unsigned part = 0;; part++) {
        char numbered[64];
        bool exists = false;
        struct hdf5_names more;
        (void)snprintf(numbered, sizeof numbered, "%s%u", name, part);
        if (hdf5_has_attribute(file, object, path, numbered, &exists, err) < 0)
            return -1;
        if (!exists)
            return 0;
        if (read_strings(file, object, path, numbered, &more, err) < 0 || append(file, all, &more, path, name, err) < 0)
            return -1;
    }
}

int hdf5_names(struct hdf5_file *file, const struct hdf5_object *object, const char *path, const char *name,
               struct hdf5_names *ret, struct h5pt_error *err)
{
    struct hdf5_names all = {.text = NULL};
    bool exists = false;
    if (hdf5_has_attribute(file, object, path, name, &exists, err) < 0)
        return -1;
    if ((exists ? read_strings(file, object, path, name, &all, err)
                : read_numbered(file, object, path, name, &all, err)) < 0 ||
        check_names(&all, path, name, err) < 0)
        return -1;
    *ret = all;
    return 0;
}
