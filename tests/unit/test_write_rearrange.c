/* SPDX-License-Identifier: Apache-2.0 */
/* Rearranged streams against the definition, on random shapes, orders, element sizes and buffer sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "write/rearrange.h"

static uint64_t random_state;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static int64_t random_below(int64_t n)
{
    return (int64_t)(next_random() % (uint64_t)n);
}

/* Output element by element from its multi-index. */
static void rearrange_naively(const struct rearrangement *r, const unsigned char *in, size_t element,
                              unsigned char *out)
{
    int rank = r->view.rank;
    int64_t strides[SHAPE_MAX_RANK], index[SHAPE_MAX_RANK], stride = 1;
    for (int i = rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= r->view.dims[i];
    }
    for (int64_t n = 0; n < stride; n++) {
        int64_t rest = n, from = 0;
        for (int i = rank - 1; i >= 0; i--) {
            index[i] = rest % r->view.dims[r->axes[i]];
            rest /= r->view.dims[r->axes[i]];
            from += index[i] * strides[r->axes[i]];
        }
        memcpy(out + (size_t)n * element, in + (size_t)from * element, element);
    }
}

static void check(const struct rearrangement *r, size_t element, size_t capacity, bool vary)
{
    int64_t count;
    assert_true(shape_count(&r->view, &count));
    size_t bytes = (size_t)count * element, done = 0, n;
    unsigned char *in = malloc(bytes + 1), *expected = malloc(bytes + 1), *out = malloc(bytes + 1);
    unsigned char *piece = malloc(capacity + 1);
    assert_true(in && expected && out && piece);
    for (size_t i = 0; i < bytes; i++)
        in[i] = (unsigned char)next_random();
    rearrange_naively(r, in, element, expected);
    struct rearrange_stream stream;
    rearrange_init(&stream, r, in, element);
    for (;;) {
        size_t room = vary ? element + (size_t)random_below((int64_t)(capacity - element + 1)) : capacity;
        piece[room] = 0xa5;
        n = rearrange_next(&stream, piece, room);
        if (n == 0)
            break;
        assert_true(n <= room && n % element == 0 && done + n <= bytes);
        assert_int_equal(piece[room], 0xa5);
        memcpy(out + done, piece, n);
        done += n;
    }
    assert_int_equal(done, bytes);
    assert_memory_equal(out, expected, bytes);
    assert_int_equal(rearrange_next(&stream, piece, capacity), 0);
    free(piece);
    free(out);
    free(expected);
    free(in);
}

static void random_axes(struct rearrangement *r)
{
    for (int i = 0; i < r->view.rank; i++)
        r->axes[i] = i;
    for (int i = r->view.rank - 1; i > 0; i--) {
        int j = (int)random_below(i + 1), axis = r->axes[i];
        r->axes[i] = r->axes[j];
        r->axes[j] = axis;
    }
}

static void test_random_shapes(void **state)
{
    (void)state;
    static const int64_t largest[SHAPE_MAX_RANK + 1] = {1, 3000, 150, 30, 12, 7, 5, 4, 3};
    random_state = 20240117;
    for (int n = 0; n < 3000; n++) {
        struct rearrangement r = {.view.rank = (int)random_below(SHAPE_MAX_RANK + 1)};
        for (int i = 0; i < r.view.rank; i++)
            r.view.dims[i] = 1 + random_below(largest[r.view.rank]);
        random_axes(&r);
        size_t element = (size_t)1 << random_below(4), capacity = element + (size_t)random_below(40000);
        check(&r, element, capacity, n % 2 == 0);
    }
}

/* Kernels as layers have them, larger than a tile on every side. */
static void test_layer_shapes(void **state)
{
    (void)state;
    static const struct rearrangement cases[] = {
        {.view = {2, {513, 130}}, .axes = {1, 0}},                 /* Dense */
        {.view = {4, {7, 7, 64, 100}}, .axes = {3, 2, 0, 1}},      /* Dense behind Flatten */
        {.view = {4, {3, 3, 65, 129}}, .axes = {3, 2, 0, 1}},      /* Conv2D */
        {.view = {4, {3, 3, 96, 1}}, .axes = {2, 3, 0, 1}},        /* DepthwiseConv2D */
        {.view = {4, {4, 4, 17, 33}}, .axes = {3, 2, 0, 1}},       /* Conv2DTranspose */
        {.view = {5, {3, 3, 3, 20, 40}}, .axes = {4, 3, 0, 1, 2}}, /* Conv3D */
        {.view = {3, {128, 8, 16}}, .axes = {1, 2, 0}},            /* attention projection */
    };
    random_state = 7;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t element = 1; element <= 8; element *= 2)
            for (size_t capacity = element; capacity <= (8U << 20); capacity *= 7)
                check(&cases[i], element, capacity, false);
}

static void test_nothing_and_one(void **state)
{
    (void)state;
    random_state = 3;
    check(&(struct rearrangement){.view = {3, {4, 0, 5}}, .axes = {2, 0, 1}}, 4, 64, false);
    check(&(struct rearrangement){.view = {0}}, 8, 8, false);
    check(&(struct rearrangement){.view = {4, {1, 1, 1, 1}}, .axes = {3, 1, 0, 2}}, 4, 4, false);
}

/* What stays as it is becomes one axis, that is one copy. */
static void test_merging(void **state)
{
    (void)state;
    float data[2 * 3 * 4 * 5] = {0};
    struct rearrange_stream stream;
    rearrange_init(&stream, &(struct rearrangement){.view = {4, {2, 3, 4, 5}}, .axes = {0, 1, 2, 3}}, data, 4);
    assert_int_equal(stream.rank, 1);
    assert_int_equal(stream.strides[0], 1);
    rearrange_init(&stream, &(struct rearrangement){.view = {4, {2, 3, 4, 5}}, .axes = {3, 0, 1, 2}}, data, 4);
    assert_int_equal(stream.rank, 2);
    assert_int_equal(stream.dims[1], 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_shapes),
        cmocka_unit_test(test_layer_shapes),
        cmocka_unit_test(test_nothing_and_one),
        cmocka_unit_test(test_merging),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
