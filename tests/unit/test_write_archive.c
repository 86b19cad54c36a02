/* SPDX-License-Identifier: Apache-2.0 */
/* The ZIP container, byte by byte: the file is examined with a parser of its own. H5PT_TEST_LARGE=1 in the environment adds
 * a record of more than 4 GiB, which writes as much to the disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "write/archive.h"

static int new_file(void)
{
    char path[] = "/tmp/h5pt-archive-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    return fd;
}

static unsigned char *read_range(int fd, uint64_t offset, size_t size)
{
    unsigned char *bytes = malloc(size + 1);
    assert_non_null(bytes);
    assert_int_equal(pread(fd, bytes, size, (off_t)offset), (ssize_t)size);
    return bytes;
}

static uint64_t number(const unsigned char *bytes, size_t n)
{
    uint64_t value = 0;
    while (n-- > 0)
        value = value << 8 | bytes[n];
    return value;
}

/* What a local header and the descriptor behind its payload say. */
struct header {
    char name[64];
    uint64_t size, payload, end; /* payload, end: offsets in the file */
    uint32_t crc;
};

/* Parses the record at `offset`, whose payload has `size` bytes; checks what must hold for each. */
static struct header read_header(int fd, uint64_t offset, uint64_t size)
{
    const bool large = size >= UINT32_MAX;
    struct header h = {.size = size};
    unsigned char *fixed = read_range(fd, offset, 30);
    assert_int_equal(number(fixed, 4), 0x04034b50);
    assert_int_equal(number(fixed + 6, 2), 0x808);       /* flags: UTF-8, CRC and sizes in a descriptor */
    assert_int_equal(number(fixed + 8, 2), 0);           /* stored */
    assert_int_equal(number(fixed + 10, 4), 0x00210000); /* 1980-01-01 00:00:00 */
    size_t name = (size_t)number(fixed + 26, 2), extra = (size_t)number(fixed + 28, 2);
    assert_true(name < sizeof h.name);
    unsigned char *rest = read_range(fd, offset + 30, name + extra), *field = rest + name;
    memcpy(h.name, rest, name);
    h.payload = offset + 30 + name + extra;
    bool padding = false, zip64 = false;
    while (field < rest + name + extra) {
        uint64_t id = number(field, 2), length = number(field + 2, 2);
        assert_true(id == 0x4246 || id == 1);
        zip64 |= id == 1;
        padding |= id == 0x4246;
        for (uint64_t i = 0; id == 0x4246 && i < length; i++)
            assert_int_equal(field[4 + i], 'Z');
        field += 4 + length;
    }
    assert_ptr_equal(field, rest + name + extra);
    assert_true(padding && zip64 == large);
    assert_int_equal(h.payload % ARCHIVE_ALIGNMENT, 0);
    size_t width = large ? 8 : 4;
    unsigned char *descriptor = read_range(fd, h.payload + size, 8 + 2 * width);
    assert_int_equal(number(descriptor, 4), 0x08074b50);
    h.crc = (uint32_t)number(descriptor + 4, 4);
    assert_int_equal(number(descriptor + 8, width), size);
    assert_int_equal(number(descriptor + 8 + width, width), size);
    h.end = h.payload + size + 8 + 2 * width;
    free(descriptor);
    free(rest);
    free(fixed);
    return h;
}

/* A stream of `left` bytes, value = low byte of the offset x 7, in uneven pieces. */
struct pattern {
    uint64_t at, left;
    size_t piece;
    int fail; /* 1: an error, 2: ends early */
};

static int read_pattern(void *context, void *buffer, size_t capacity, size_t *ret_size, struct h5pt_error *err)
{
    struct pattern *p = context;
    if (p->fail && p->left == 0) {
        *ret_size = 0;
        return p->fail == 1 ? h5pt_fail(err, H5PT_H5_CORRUPT, "here", "The test ends it") : 0;
    }
    size_t n = p->piece < capacity ? p->piece : capacity;
    if (n > p->left)
        n = (size_t)p->left;
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)buffer)[i] = (unsigned char)((p->at + i) * 7);
    p->at += n;
    p->left -= n;
    *ret_size = n;
    return 0;
}

static const size_t sizes[] = {0, 1, 63, 64, 65, 1000, 8191, 8192, 8193, 1048576, 3000000, 20000000, 5};
enum { SIZE_COUNT = sizeof sizes / sizeof sizes[0] };

static void write_records(int fd, uint64_t *ret_bytes, char sha256[DIGEST_TEXT_SIZE])
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct archive *archive;
    struct pattern patterns[SIZE_COUNT];
    assert_int_equal(archive_new(fd, &archive, &err), 0);
    assert_int_equal(archive_add_bytes(archive, "data.pkl", "pickle", 6, &err), 0);
    for (size_t i = 0; i < SIZE_COUNT; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "data/%zu", i);
        patterns[i] = (struct pattern){.left = sizes[i], .piece = 1 + 100003 * i};
        assert_int_equal(archive_add_stream(archive, name, sizes[i], read_pattern, &patterns[i], &err), 0);
    }
    assert_int_equal(archive_add_bytes(archive, "empty", NULL, 0, &err), 0);
    assert_int_equal(archive_finish(archive, ret_bytes, sha256, &err), 0);
    archive_free(archive);
}

static void test_layout(void **state)
{
    (void)state;
    int fd = new_file();
    uint64_t bytes, at = 0;
    char sha256[DIGEST_TEXT_SIZE];
    write_records(fd, &bytes, sha256);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(bytes, st.st_size);
    for (size_t i = 0; i < SIZE_COUNT + 2; i++) {
        struct header h = read_header(fd, at, i == 0 ? 6 : i <= SIZE_COUNT ? sizes[i - 1] : 0);
        char name[40] = "archive/data.pkl";
        if (i > 0)
            (void)snprintf(name, sizeof name, i <= SIZE_COUNT ? "archive/data/%zu" : "archive/empty", i - 1);
        assert_string_equal(h.name, name);
        unsigned char *payload = read_range(fd, h.payload, (size_t)h.size);
        assert_int_equal(h.crc, crc32(0, payload, (uInt)h.size));
        for (uint64_t k = 0; i > 0 && k < h.size; k++)
            if (payload[k] != (unsigned char)(k * 7))
                fail_msg("record %zu differs at %llu", i, (unsigned long long)k);
        free(payload);
        at = h.end;
    }
    unsigned char *directory = read_range(fd, at, 46);
    assert_int_equal(number(directory, 4), 0x02014b50);
    free(directory);
    close(fd);
}

static void test_reproducible(void **state)
{
    (void)state;
    uint64_t bytes[2];
    char sha256[2][DIGEST_TEXT_SIZE];
    for (int i = 0; i < 2; i++) {
        int fd = new_file();
        write_records(fd, &bytes[i], sha256[i]);
        close(fd);
    }
    assert_int_equal(bytes[0], bytes[1]);
    assert_string_equal(sha256[0], sha256[1]);
}

static void test_digest(void **state)
{
    (void)state;
    int fd = new_file();
    struct h5pt_error err = H5PT_ERROR_INIT;
    char sha256[DIGEST_TEXT_SIZE];
    uint64_t bytes = 7;
    assert_int_equal(digest_file(fd, &bytes, sha256, &err), 0);
    assert_int_equal(bytes, 0);
    assert_string_equal(sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_int_equal(write(fd, "abc", 3), 3);
    assert_int_equal(digest_file(fd, &bytes, sha256, &err), 0);
    assert_int_equal(bytes, 3);
    assert_string_equal(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"); /* FIPS 180-4 */
    close(fd);
    assert_int_equal(digest_file(fd, &bytes, sha256, &err), -1);
    assert_int_equal(err.code, H5PT_IO);
}

/* The error of a stream is the error of the archive; a stream that is too short is one. */
static void test_stream_errors(void **state)
{
    (void)state;
    for (int fail = 1; fail <= 2; fail++) {
        int fd = new_file();
        struct h5pt_error err = H5PT_ERROR_INIT;
        struct archive *archive;
        struct pattern pattern = {.left = 100000, .piece = 30000, .fail = fail};
        assert_int_equal(archive_new(fd, &archive, &err), 0);
        assert_int_equal(archive_add_stream(archive, "data/0", 100001, read_pattern, &pattern, &err), -1);
        assert_int_equal(err.code, fail == 1 ? H5PT_H5_CORRUPT : H5PT_INTERNAL);
        archive_free(archive);
        close(fd);
    }
}

/* What is added to a finished archive takes the place of its central directory: the file is the same as when it was all added
 * at once, and so is its digest. */
static void test_added_later(void **state)
{
    (void)state;
    uint64_t bytes[2];
    char sha256[2][DIGEST_TEXT_SIZE], whole[DIGEST_TEXT_SIZE];
    struct h5pt_error err = H5PT_ERROR_INIT;
    for (int later = 0; later < 2; later++) {
        int fd = new_file();
        struct archive *archive;
        assert_int_equal(archive_new(fd, &archive, &err), 0);
        assert_int_equal(archive_add_bytes(archive, "data.pkl", "pickle", 6, &err), 0);
        for (int i = 0; later && i < 2; i++)
            assert_int_equal(archive_finish(archive, &bytes[1], sha256[1], &err), 0);
        assert_int_equal(archive_add_bytes(archive, "report.json", "{}", 2, &err), 0);
        assert_int_equal(archive_finish(archive, &bytes[later], sha256[later], &err), 0);
        assert_int_equal(digest_file(fd, NULL, whole, &err), 0);
        assert_string_equal(whole, sha256[later]);
        archive_free(archive);
        close(fd);
    }
    assert_int_equal(bytes[0], bytes[1]);
    assert_string_equal(sha256[0], sha256[1]);
}

static void test_unusable_files(void **state)
{
    (void)state;
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct archive *archive = NULL;
    int fd = new_file();
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(archive_new(fd, &archive, &err), -1);
    assert_int_equal(err.code, H5PT_INTERNAL);
    close(fd);
    err = (struct h5pt_error)H5PT_ERROR_INIT;
    assert_int_equal(archive_new(fd, &archive, &err), -1);
    assert_int_equal(err.code, H5PT_IO);
    assert_null(archive);
}

/* /dev/full answers every write with ENOSPC. */
static void test_disk_full(void **state)
{
    (void)state;
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct archive *archive;
    FILE *full = fopen("/dev/full", "r+");
    if (!full)
        skip();
    struct pattern pattern = {.left = 5000000, .piece = 4096};
    assert_int_equal(archive_new(fileno(full), &archive, &err), 0);
    assert_int_equal(archive_add_stream(archive, "data/0", 5000000, read_pattern, &pattern, &err), -1);
    assert_int_equal(err.code, H5PT_DISK_FULL);
    archive_free(archive);
    assert_int_equal(fclose(full), 0);
}

static int read_zeros(void *context, void *buffer, size_t capacity, size_t *ret_size, struct h5pt_error *err)
{
    (void)context;
    (void)err;
    memset(buffer, 0, capacity);
    *ret_size = capacity;
    return 0;
}

static void test_impossible_sizes(void **state)
{
    (void)state;
    const uint64_t impossible[] = {UINT64_MAX, UINT64_MAX / 2};
    for (size_t i = 0; i < sizeof impossible / sizeof impossible[0]; i++) {
        int fd = new_file();
        struct h5pt_error err = H5PT_ERROR_INIT;
        struct archive *archive;
        assert_int_equal(archive_new(fd, &archive, &err), 0);
        assert_int_equal(archive_add_stream(archive, "data/0", impossible[i], read_zeros, NULL, &err), -1);
        assert_int_equal(err.code, H5PT_LIMIT_EXCEEDED);
        archive_free(archive);
        close(fd);
    }
}

static void test_zip64(void **state)
{
    (void)state;
    if (!getenv("H5PT_TEST_LARGE"))
        skip();
    const uint64_t large[] = {((uint64_t)1 << 32) - 1, (uint64_t)1 << 32, 12};
    int fd = new_file();
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct archive *archive;
    uint64_t bytes, at = 0;
    char sha256[DIGEST_TEXT_SIZE];
    assert_int_equal(archive_new(fd, &archive, &err), 0);
    for (int i = 0; i < 3; i++) {
        char name[] = "data/0";
        name[5] = (char)('0' + i);
        assert_int_equal(archive_add_stream(archive, name, large[i], read_zeros, NULL, &err), 0);
    }
    assert_int_equal(archive_finish(archive, &bytes, sha256, &err), 0);
    archive_free(archive);
    for (int i = 0; i < 3; i++) {
        at = read_header(fd, at, large[i]).end;
    }
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),           cmocka_unit_test(test_reproducible),
        cmocka_unit_test(test_digest),           cmocka_unit_test(test_stream_errors),
        cmocka_unit_test(test_unusable_files),   cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_impossible_sizes), cmocka_unit_test(test_zip64),
        cmocka_unit_test(test_added_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
