/* SPDX-License-Identifier: Apache-2.0 */
/* server/config.c: quantities. Flags, environment and messages are tested on the program, in tests/blackbox. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config.h"

static void sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"17", 17},
                {"3B", 3},
                {"2K", 2048},
                {"2KiB", 2048},
                {"2kib", 2048},
                {"5MB", 5000000},
                {"4GiB", 4ULL << 30},
                {"1TiB", 1ULL << 40},
                {"16777215TiB", 16777215ULL << 40}};
    static const char *const bad[] = {
        "", " 1", "-1", "+1", "1.5G", "1 G", "GiB", "1PiB", "0x10", "16777216TiB", "18446744073709551616"};
    uint64_t value;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(config_parse_size(good[i].text, &value));
        assert_int_equal(value, good[i].bytes);
    }
    value = 42;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(config_parse_size(bad[i], &value));
    assert_int_equal(value, 42); /* left alone */
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"10", 10000}, {"250ms", 250}, {"10s", 10000}, {"3min", 180000}, {"24h", 86400000}, {"7d", 604800000}};
    static const char *const bad[] = {"", "s", "1m", "1week", "-5s", "999999999999999999d"};
    uint64_t value;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(config_parse_duration(good[i].text, &value));
        assert_int_equal(value, good[i].ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(config_parse_duration(bad[i], &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes), cmocka_unit_test(durations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
