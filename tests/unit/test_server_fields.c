/* SPDX-License-Identifier: Apache-2.0 */
/* server/http/fields: lists, preferences, entity tags and ranges, as clients send them and as nobody should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "http/body_digest.h"
#include "http/fields.h"

static void lists_are_taken_apart(void **state)
{
    (void)state;
    static const char list[] = " ,a,, \"b,\\\",c\" ;q=1\t,\td ,";
    static const char *const elements[] = {"a", "\"b,\\\",c\" ;q=1", "d"};
    const char *at = list, *element;
    size_t length, count = 0;
    while ((element = field_next(&at, &length))) {
        assert_int_equal(length, strlen(elements[count]));
        assert_memory_equal(element, elements[count++], length);
    }
    assert_int_equal(count, 3);
    assert_true(field_has("max-age=0, No-Cache", "no-cache"));
    assert_false(field_has("no-cache-at-all, x", "no-cache"));
    assert_false(field_has(NULL, "no-cache"));
    at = "\"never closed, x";
    assert_non_null(field_next(&at, &length));
    assert_null(field_next(&at, &length));
}

static void preferences_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        bool respond_async;
        int64_t wait_s;
    } cases[] = {
        {NULL, false, -1},
        {"", false, -1},
        {"wait=10", false, 10},
        {"Wait = \"10\" ; x=y", false, 10},
        {"respond-async, wait=0", true, 0},
        {"RESPOND-ASYNC;foo", true, -1},
        {"wait=5, wait=7", false, 5},
        {"wait, wait=, wait=x, wait=-1, wait=1.5", false, -1},
        {"wait=99999999999999999999999", false, 1000000000},
        {"waiting=5, respond-asynchronously", false, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct field_preferences read = field_preferences_read(cases[i].field);
        assert_int_equal(read.respond_async, cases[i].respond_async);
        assert_int_equal(read.wait_s, cases[i].wait_s);
    }
}

static void tags_are_compared(void **state)
{
    (void)state;
    static const struct {
        const char *list, *tag;
        bool weak, strong;
    } cases[] = {
        {"\"a\"", "\"a\"", true, true},    {"\"b\", \"a\"", "\"a\"", true, true}, {"*", "\"a\"", true, true},
        {"W/\"a\"", "\"a\"", true, false}, {"\"a\"", "W/\"a\"", true, false},     {"W/\"a\"", "W/\"a\"", true, false},
        {"\"a\"x", "\"a\"", false, false}, {"a", "\"a\"", false, false},          {"\"a, \"a\"", "\"a\"", false, false},
        {"", "\"a\"", false, false},       {NULL, "\"a\"", false, false},         {"W/", "W/\"a\"", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(field_has_tag(cases[i].list, cases[i].tag, false), cases[i].weak);
        assert_int_equal(field_has_tag(cases[i].list, cases[i].tag, true), cases[i].strong);
    }
}

/* Every short range of every short file, against the definition. */
static void ranges_are_what_they_say(void **state)
{
    (void)state;
    char text[64];
    uint64_t first, count;
    for (uint64_t size = 0; size < 5; size++)
        for (uint64_t a = 0; a < 7; a++)
            for (uint64_t b = 0; b < 7; b++) {
                (void)snprintf(text, sizeof text, "bytes=%d-%d", (int)a, (int)b);
                const enum field_range kind = field_range_read(text, size, &first, &count);
                assert_int_equal(kind, b < a ? FIELD_RANGE_NONE : a >= size ? FIELD_RANGE_OUTSIDE : FIELD_RANGE_PART);
                if (kind == FIELD_RANGE_PART) {
                    assert_int_equal(first, a);
                    assert_int_equal(first + count, b < size ? b + 1 : size);
                }
            }
    for (uint64_t size = 0; size < 5; size++)
        for (uint64_t n = 0; n < 7; n++) {
            (void)snprintf(text, sizeof text, "bytes=-%d", (int)n);
            const enum field_range kind = field_range_read(text, size, &first, &count);
            assert_int_equal(kind, n && size ? FIELD_RANGE_PART : FIELD_RANGE_OUTSIDE);
            if (kind == FIELD_RANGE_PART) {
                assert_int_equal(first + count, size);
                assert_int_equal(count, n < size ? n : size);
            }
        }
}

static void large_and_odd_ranges(void **state)
{
    (void)state;
    uint64_t first, count;
    const uint64_t size = UINT64_MAX - 1;
    assert_int_equal(field_range_read("bytes=0-", size, &first, &count), FIELD_RANGE_PART);
    assert_int_equal(count, size);
    assert_int_equal(field_range_read("bytes=0-99999999999999999999999", size, &first, &count), FIELD_RANGE_PART);
    assert_int_equal(count, size);
    assert_int_equal(field_range_read("bytes=-99999999999999999999999", size, &first, &count), FIELD_RANGE_PART);
    assert_int_equal(first, 0);
    assert_int_equal(field_range_read("bytes=99999999999999999999999-", size, &first, &count), FIELD_RANGE_OUTSIDE);
    static const char *const ignored[] = {"bytes=1-2,3-4", "bytes",      "bytes=",    "bytes=-", "bytes=1",
                                          "bytes=x-2",     "bytes=1-x",  "items=1-2", "",        "bytes=+1-2",
                                          "bytes=1 -2",    "bytes=0x1-2"};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        assert_int_equal(field_range_read(ignored[i], 10, &first, &count), FIELD_RANGE_NONE);
    assert_int_equal(field_range_read(NULL, 10, &first, &count), FIELD_RANGE_NONE);
}

static void digests_are_written(void **state)
{
    (void)state;
    char text[REPR_DIGEST_SIZE];
    /* Of nothing at all. */
    assert_string_equal(repr_digest_text("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", text),
                        "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_taken_apart), cmocka_unit_test(preferences_are_read),
        cmocka_unit_test(tags_are_compared),     cmocka_unit_test(ranges_are_what_they_say),
        cmocka_unit_test(large_and_odd_ranges),  cmocka_unit_test(digests_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
