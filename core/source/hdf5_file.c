/* SPDX-License-Identifier: Apache-2.0 */
/* Setting the library up, opening the file, and HDF5's explanations. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "source/hdf5_file.h"

enum { EXPLANATION_SIZE = 160 };

const char *source_library_version(char text[32])
{
    unsigned major = 0, minor = 0, release = 0;
    (void)H5get_libversion(&major, &minor, &release);
    (void)snprintf(text, 32, "%u.%u.%u", major, minor, release);
    return text;
}

/* The first entry of an upward walk is the innermost, the most specific one. */
static herr_t innermost(unsigned n, const H5E_error2_t *entry, void *text)
{
    if (n == 0 && entry->desc)
        (void)snprintf(text, EXPLANATION_SIZE, "%s", entry->desc);
    return 0;
}

int hdf5_fail(const struct hdf5_file *file, struct h5pt_error *err, const char *where, const char *format, ...)
{
    char explanation[EXPLANATION_SIZE] = "", text[256];
    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, explanation);
    for (char *p = explanation; *p; p++)
        if (!isprint((unsigned char)*p))
            *p = '?';
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (*file->bytes.read_errno) {
        errno = *file->bytes.read_errno;
        return h5pt_fail_errno(err, H5PT_IO, where, "%s", text);
    }
    return h5pt_fail(err, H5PT_H5_CORRUPT, where, "%s%s%s%s", text, *explanation ? " (HDF5: " : "", explanation,
                     *explanation ? ")" : "");
}

int hdf5_count_text(struct hdf5_file *file, const char *where, size_t length, struct h5pt_error *err)
{
    if (size_add(file->text_bytes, length, &file->text_bytes) && file->text_bytes <= file->limits->config_bytes)
        return 0;
    return h5pt_fail(err, H5PT_H5_LIMIT_EXCEEDED, where, "Configuration and names together are larger than %llu bytes",
                     (unsigned long long)file->limits->config_bytes);
}

/* Each of these is a setting of the process and may be repeated. */
int hdf5_set_up(struct h5pt_error *err)
{
    static const char failed[] = "The HDF5 library cannot be set up";
    (void)H5dont_atexit(); /* a damaged file can make the library crash while it tidies up; nothing is written anyway */
    if (H5open() < 0)
        return h5pt_fail(err, H5PT_INTERNAL, NULL, failed);
    if (H5Eset_auto2(H5E_DEFAULT, NULL, NULL) < 0 || H5PLset_loading_state(0) < 0)
        return h5pt_fail(err, H5PT_INTERNAL, NULL, failed);
    if (H5Lis_registered(H5L_TYPE_EXTERNAL) > 0 && H5Lunregister(H5L_TYPE_EXTERNAL) < 0)
        return h5pt_fail(err, H5PT_INTERNAL, NULL, failed);
    return 0;
}

/* The signature stands at 0, or behind a user block at 512, 1024, 2048, … */
static int find_signature(const struct source_bytes *bytes, uint64_t *ret_base, struct h5pt_error *err)
{
    static const char signature[8] = "\x89HDF\r\n\x1a\n";
    for (uint64_t at = 0; at < bytes->size && bytes->size - at >= sizeof signature; at = at ? 2 * at : 512) {
        char here[sizeof signature];
        if (!source_bytes_read(bytes, at, sizeof here, here)) {
            errno = *bytes->read_errno;
            return h5pt_fail_errno(err, H5PT_IO, NULL, "The file cannot be read");
        }
        if (memcmp(here, signature, sizeof signature) == 0) {
            *ret_base = at;
            return 0;
        }
    }
    if (bytes->size == 0)
        return h5pt_fail(err, H5PT_NOT_HDF5, NULL, "The file is empty");
    return h5pt_fail(err, H5PT_NOT_HDF5, NULL, "The file does not hold the signature of HDF5");
}

static int open_file(struct hdf5_file *file, struct h5pt_error *err)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    file->driver = hdf5_driver_register();
    if (access < 0 || file->driver < 0 || H5Pset_driver(access, file->driver, &file->bytes) < 0 ||
        H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) < 0) {
        (void)H5Pclose(access);
        return h5pt_fail(err, H5PT_INTERNAL, NULL, "The HDF5 library cannot be set up");
    }
    file->id = H5Fopen("/model.h5", H5F_ACC_RDONLY, access); /* a name only; relative ones make HDF5 ask for the cwd */
    int rc = file->id < 0 ? hdf5_fail(file, err, NULL, "The file starts like HDF5 but cannot be opened") : 0;
    (void)H5Pclose(access);
    return rc;
}

/* Addresses and lengths of other than 8 bytes are allowed by the format, and used by nobody. */
static int check_sizes(const struct hdf5_file *file, struct h5pt_error *err)
{
    size_t address = 0, length = 0;
    hid_t creation = H5Fget_create_plist(file->id);
    int rc = 0;
    if (creation < 0 || H5Pget_sizes(creation, &address, &length) < 0)
        rc = hdf5_fail(file, err, NULL, "The properties of the file cannot be read");
    else if (address != 8 || length != 8)
        rc = h5pt_fail(err, H5PT_UNSUPPORTED_FORMAT, NULL,
                       "The file has addresses of %zu bytes and lengths of %zu; only 8 are supported", address, length);
    if (creation >= 0)
        (void)H5Pclose(creation);
    return rc;
}

int hdf5_open(struct hdf5_file *file, const struct source_bytes *bytes, const struct source_limits *limits,
              struct arena *arena, struct h5pt_error *err)
{
    *file = (struct hdf5_file){
        .id = H5I_INVALID_HID, .driver = H5I_INVALID_HID, .bytes = *bytes, .limits = limits, .arena = arena};
    if (find_signature(&file->bytes, &file->base, err) < 0)
        return -1;
    if (hdf5_set_up(err) < 0 || open_file(file, err) < 0 || check_sizes(file, err) < 0) {
        hdf5_release(file);
        return -1;
    }
    return 0;
}

void hdf5_release(struct hdf5_file *file)
{
    if (file->id >= 0)
        (void)H5Fclose(file->id);
    if (file->driver >= 0)
        (void)H5FDunregister(file->driver);
    file->id = file->driver = H5I_INVALID_HID;
}
