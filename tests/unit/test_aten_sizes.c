/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>

#include "aten/builder.h"

/* A builder with nothing but sizes, and two symbols. */
struct bench {
    struct h5pt_error err;
    struct aten_graph graph;
    struct aten_builder b;
    const struct aten_int *n, *m;
};

static void bench_init(struct bench *t, int64_t n, int64_t m)
{
    *t = (struct bench){.graph = {.arena = arena_new()}};
    assert_non_null(t->graph.arena);
    t->b = (struct aten_builder){.graph = &t->graph, .err = &t->err};
    t->n = aten_int_symbol(&t->b, 0, 2, n);
    t->m = aten_int_symbol(&t->b, 0, 3, m);
}

static void bench_release(struct bench *t)
{
    arena_free(t->graph.arena);
}

/* The size after padding="same" and a window. */
static const struct aten_int *same_window(struct bench *t, const struct aten_int *n, int64_t kernel, int64_t stride)
{
    struct aten_builder *b = &t->b;
    const struct aten_int *needed = aten_int_linear(b, stride, aten_int_ceil_div(b, n, stride), kernel - stride);
    const struct aten_int *total = aten_int_max(b, aten_int_sub(b, needed, n), aten_int(b, 0));
    const struct aten_int *padded = aten_int_max(b, needed, n);
    assert_int_equal(aten_int_add(b, n, total)->value, padded->value);
    return aten_int_linear(b, 1, aten_int_floor_div(b, aten_int_linear(b, 1, padded, -kernel), aten_int(b, stride)), 1);
}

static void equal_sizes_are_one_pointer(void **state)
{
    struct bench t;
    (void)state;
    bench_init(&t, 20, 30);
    struct aten_builder *b = &t.b;
    const struct aten_int *sum = aten_int_add(b, t.n, t.m);
    assert_ptr_equal(sum, aten_int_add(b, t.m, t.n));
    assert_ptr_equal(aten_int_sub(b, sum, t.m), t.n);
    assert_true(aten_int_is(aten_int_sub(b, t.n, t.n), 0));
    assert_ptr_equal(aten_int_mul(b, t.n, t.m), aten_int_mul(b, t.m, t.n));
    assert_ptr_equal(aten_int_mul(b, aten_int_linear(b, 3, t.n, 6), t.m),
                     aten_int_linear(b, 3, aten_int_mul(b, t.m, aten_int_linear(b, 1, t.n, 2)), 0));
    bench_release(&t);
}

static void quotients_become_simple(void **state)
{
    struct bench t;
    (void)state;
    bench_init(&t, 21, 30);
    struct aten_builder *b = &t.b;
    const struct aten_int *half = aten_int_ceil_div(b, t.n, 2);
    assert_ptr_equal(aten_int_ceil_div(b, half, 2), aten_int_ceil_div(b, t.n, 4));
    assert_ptr_equal(aten_int_floor_div(b, aten_int_linear(b, 6, t.n, 5), aten_int(b, 3)),
                     aten_int_linear(b, 2, t.n, 1));
    assert_ptr_equal(aten_int_floor_div(b, aten_int_mul(b, t.n, t.m), t.m), t.n);
    assert_null(aten_int_floor_div(b, t.n, aten_int(b, 0)));
    assert_int_equal(t.err.code, H5PT_INTERNAL);
    bench_release(&t);
}

static void same_padding_gives_ceil(void **state)
{
    (void)state;
    for (int64_t kernel = 1; kernel <= 7; kernel++)
        for (int64_t stride = 1; stride <= 5; stride++) {
            struct bench t;
            bench_init(&t, 20, 30);
            const struct aten_int *out = same_window(&t, t.n, kernel, stride);
            assert_ptr_equal(out, aten_int_ceil_div(&t.b, t.n, stride));
            assert_ptr_equal(same_window(&t, out, kernel, stride), aten_int_ceil_div(&t.b, t.n, stride * stride));
            bench_release(&t);
        }
}

static int64_t floored(int64_t x, int64_t y)
{
    return x / y - (x % y != 0 && (x < 0) != (y < 0));
}

/* Whatever the normal form does, the number stays the right one: random expressions, at random sizes. */
static void the_value_is_that_of_plain_arithmetic(void **state)
{
    (void)state;
    srand(1);
    for (int round = 0; round < 3000; round++) {
        struct bench t;
        const struct aten_int *made[12];
        int64_t plain[12];
        bench_init(&t, rand() % 40, rand() % 40);
        made[0] = t.n, plain[0] = t.n->value;
        made[1] = t.m, plain[1] = t.m->value;
        for (int i = 2; i < 12; i++) {
            int x = rand() % i, y = rand() % i;
            int64_t number = rand() % 9 - 4, positive = 1 + rand() % 5;
            struct aten_builder *b = &t.b;
            switch (rand() % 7) {
            case 0: made[i] = aten_int_add(b, made[x], made[y]), plain[i] = plain[x] + plain[y]; break;
            case 1: made[i] = aten_int_sub(b, made[x], made[y]), plain[i] = plain[x] - plain[y]; break;
            case 2:
                made[i] = aten_int_max(b, made[x], made[y]), plain[i] = plain[x] > plain[y] ? plain[x] : plain[y];
                break;
            case 3:
                made[i] = aten_int_min(b, made[x], made[y]), plain[i] = plain[x] < plain[y] ? plain[x] : plain[y];
                break;
            case 4:
                made[i] = aten_int_floor_div(b, made[x], aten_int(b, positive));
                plain[i] = floored(plain[x], positive);
                break;
            case 5:
                made[i] = aten_int_linear(b, number, made[x], positive);
                plain[i] = number * plain[x] + positive;
                break;
            default:
                made[i] = labs(plain[x]) < 1000 && labs(plain[y]) < 1000 ? aten_int_mul(b, made[x], made[y]) : made[x];
                plain[i] = labs(plain[x]) < 1000 && labs(plain[y]) < 1000 ? plain[x] * plain[y] : plain[x];
            }
            assert_non_null(made[i]);
            assert_int_equal(made[i]->value, plain[i]);
        }
        bench_release(&t);
    }
}

static void sizes_do_not_overflow(void **state)
{
    struct bench t;
    (void)state;
    bench_init(&t, 20, 30);
    assert_null(aten_int_linear(&t.b, INT64_MAX / 10, t.n, 0));
    assert_int_equal(t.err.code, H5PT_LIMIT_EXCEEDED);
    assert_null(aten_int_add(&t.b, t.n, t.m)); /* nothing is done after a failure */
    bench_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_sizes_are_one_pointer), cmocka_unit_test(quotients_become_simple),
        cmocka_unit_test(same_padding_gives_ceil),     cmocka_unit_test(the_value_is_that_of_plain_arithmetic),
        cmocka_unit_test(sizes_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
