/* SPDX-License-Identifier: Apache-2.0 */
/* server/auth/bucket.c: so many requests a minute, with a clock of the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "auth/bucket.h"

enum { LIMIT = 6 };

static void a_minute_of_requests_may_come_at_once(void **state)
{
    (void)state;
    struct bucket bucket = {.used = 0};
    int64_t now = 123456789;
    for (uint64_t i = 1; i <= LIMIT; i++) {
        assert_true(bucket_take(&bucket, LIMIT, now));
        assert_int_equal(bucket_left(&bucket, LIMIT), LIMIT - i);
    }
    assert_false(bucket_take(&bucket, LIMIT, now));
    assert_int_equal(bucket_wait(&bucket, LIMIT, 1), 11); /* 10 s, and never less */
    assert_int_equal(bucket_wait(&bucket, LIMIT, LIMIT), 61);
    assert_false(bucket_take(&bucket, LIMIT, now += 9999));
    assert_int_equal(bucket_wait(&bucket, LIMIT, 1), 1);
    assert_true(bucket_take(&bucket, LIMIT, now += 2));
    assert_false(bucket_take(&bucket, LIMIT, now));
}

/* In a long time no more than the limit allows: those at once, and then one every ten seconds. */
static void never_more_in_the_long_run(void **state)
{
    (void)state;
    struct bucket bucket = {.used = 0};
    int taken = 0;
    for (int64_t ms = 0; ms < 3600000; ms += 250)
        taken += bucket_take(&bucket, LIMIT, ms);
    assert_in_range(taken, LIMIT + 358, LIMIT + 360);
}

static void what_waits_comes_back_but_no_more(void **state)
{
    (void)state;
    struct bucket bucket = {.used = 0};
    for (int i = 0; i < LIMIT; i++)
        assert_true(bucket_take(&bucket, LIMIT, 0));
    for (int i = 0; i < LIMIT; i++)
        assert_true(bucket_take(&bucket, LIMIT, 86400000));
    assert_false(bucket_take(&bucket, LIMIT, 86400000));
}

/* The file of keys may be read again while some are used up. */
static void a_limit_may_change(void **state)
{
    (void)state;
    struct bucket bucket = {.used = 0};
    for (int i = 0; i < LIMIT; i++)
        assert_true(bucket_take(&bucket, LIMIT, 0));
    assert_int_equal(bucket_left(&bucket, 2), 0);
    assert_false(bucket_take(&bucket, 2, 0));
    assert_int_equal(bucket_wait(&bucket, 2, 1), 151); /* five of them, each after half a minute */
    assert_true(bucket_take(&bucket, 2 * LIMIT, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_minute_of_requests_may_come_at_once),
        cmocka_unit_test(never_more_in_the_long_run),
        cmocka_unit_test(what_waits_comes_back_but_no_more),
        cmocka_unit_test(a_limit_may_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
