/* SPDX-License-Identifier: Apache-2.0 */
/* server/config.c: quantities; server/cpus.c. Flags, environment and messages are tested on the program, in tests/blackbox. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "config.h"
#include "cpus.h"

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

static void put_quota(const char *root, const char *group, const char *text)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s%s", root, group);
    assert_true(mkdir(path, 0700) == 0 || !*group);
    (void)snprintf(path, sizeof path, "%s%s/cpu.max", root, group);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void quotas_of_control_groups(void **state)
{
    (void)state;
    char root[] = "/tmp/h5pt-test-cpus-XXXXXX", command[64];
    assert_non_null(mkdtemp(root));
    put_quota(root, "/pod", "350000 100000\n");
    put_quota(root, "/pod/app", "max 100000\n");
    put_quota(root, "/pod/half", "50000 100000\n");
    put_quota(root, "/other", "nonsense");
    const struct {
        const char *groups;
        uint64_t cpus;
    } cases[] = {
        {"0::/pod/app\n", 4},       {"12:cpu,cpuacct:/x\n0::/pod/half\n", 1},
        {"0::/pod/gone/deeper", 4}, {"0::/other\n", UINT64_MAX},
        {"0::/\n", UINT64_MAX},     {"12:cpu,cpuacct:/pod/half\n", UINT64_MAX},
        {"", UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(cpus_of_quotas(root, cases[i].groups) == cases[i].cpus);
    put_quota(root, "", "200000 100000\n"); /* as a container sees its own */
    assert_true(cpus_of_quotas(root, "0::/\n") == 2);
    assert_true(cpus_of_quotas(root, "0::/pod/app\n") == 2);
    assert_true(cpus_of_quotas(root, "0::/docker/0123\n") == 2);
    assert_true(cpus_available() >= 1);
    (void)snprintf(command, sizeof command, "rm -rf -- %s", root);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes), cmocka_unit_test(durations),
                                       cmocka_unit_test(quotas_of_control_groups)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
