/* SPDX-License-Identifier: Apache-2.0 */
/* The weights with which images are resized: what must hold for every kind, size and factor, and numbers that follow from the
 * definitions by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "layers/resize_taps.h"

enum { MOST_CELLS = 13 };

/* Positions are float32, so off by up to 2^-21 at 13 cells, and no kernel is steeper than 2 a cell. */
static const double tolerance = 4e-6;

static void assert_near(double got, double want)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%.9g, not %.9g", got, want);
}

/* The weights of output cell `o` on all cells of the input. */
static void row_of(const struct resize_axis *axis, int64_t o, double ret[MOST_CELLS])
{
    struct resize_taps taps;
    assert_true(resize_taps_init(&taps, axis));
    int64_t first = taps.first[o], count = taps.count[o];
    assert_in_range(count, 1, taps.most);
    assert_true(first >= 0 && first + count <= axis->in);
    for (int64_t i = 0; i < axis->in; i++)
        ret[i] = i >= first && i < first + count ? (double)taps.weights[o * taps.most + i - first] : 0;
    resize_taps_release(&taps);
}

static void row(enum resize_kind kind, int64_t in, int64_t factor, int64_t o, double ret[MOST_CELLS])
{
    row_of(&(struct resize_axis){.kind = kind, .in = in, .out = in * factor}, o, ret);
}

static void a_flat_image_stays_flat_at_any_size(void **state)
{
    (void)state;
    for (enum resize_kind kind = 0; kind <= RESIZE_MITCHELL; kind++)
        for (int64_t in = 1; in <= MOST_CELLS; in++)
            for (int64_t out = 1; out <= 2 * MOST_CELLS; out++)
                for (int64_t o = 0; o < 2 * out; o++) {
                    double weights[MOST_CELLS], sum = 0;
                    struct resize_axis axis = {.kind = kind, .in = in, .out = out, .smooth = o >= out};
                    row_of(&axis, o % out, weights);
                    for (int64_t i = 0; i < in; i++)
                        sum += weights[i];
                    assert_near(sum, 1);
                }
}

static void a_flat_image_stays_flat(void **state)
{
    (void)state;
    for (enum resize_kind kind = 0; kind <= RESIZE_MITCHELL; kind++)
        for (int64_t in = 1; in <= MOST_CELLS; in++)
            for (int64_t factor = 1; factor <= 7; factor++)
                for (int64_t o = 0; o < in * factor; o++) {
                    double weights[MOST_CELLS], sum = 0;
                    row(kind, in, factor, o, weights);
                    for (int64_t i = 0; i < in; i++)
                        sum += weights[i];
                    assert_near(sum, 1);
                }
}

static void a_mirrored_image_gives_the_mirrored_result(void **state)
{
    (void)state;
    for (enum resize_kind kind = 0; kind <= RESIZE_MITCHELL; kind++)
        for (int64_t in = 1; in <= MOST_CELLS && kind != RESIZE_BILINEAR_LEGACY; in++)
            for (int64_t factor = 1; factor <= 7; factor++)
                for (int64_t o = 0; o < in * factor; o++) {
                    double here[MOST_CELLS], there[MOST_CELLS];
                    row(kind, in, factor, o, here);
                    row(kind, in, factor, in * factor - 1 - o, there);
                    for (int64_t i = 0; i < in; i++)
                        assert_near(here[i], there[in - 1 - i]);
                }
}

static void kernels_that_interpolate_keep_the_samples(void **state)
{
    (void)state;
    for (enum resize_kind kind = 0; kind <= RESIZE_MITCHELL; kind++)
        for (int64_t factor = 1; factor <= 7 && kind != RESIZE_GAUSSIAN && kind != RESIZE_MITCHELL; factor += 2)
            for (int64_t cell = 0; cell < 5; cell++) {
                double weights[MOST_CELLS];
                int64_t sample = kind == RESIZE_BILINEAR_LEGACY ? 0 : factor / 2;
                row(kind, 5, factor, cell * factor + sample, weights);
                for (int64_t i = 0; i < 5; i++)
                    assert_near(weights[i], i == cell ? 1 : 0);
            }
}

static void weights_follow_from_the_definitions(void **state)
{
    (void)state;
    double weights[MOST_CELLS];
    row(RESIZE_BILINEAR, 3, 2, 2, weights); /* at 0.75 */
    assert_near(weights[0], 0.25);
    assert_near(weights[1], 0.75);
    row(RESIZE_BILINEAR_LEGACY, 3, 2, 1, weights); /* at 0.5 */
    assert_near(weights[0], 0.5);
    row(RESIZE_BILINEAR_LEGACY, 3, 2, 5, weights); /* at 2.5, where the last cell is the nearest on both sides */
    assert_near(weights[2], 1);
    row(RESIZE_BICUBIC, 5, 2, 4, weights); /* at 1.75: distances 1.75, 0.75, 0.25, 1.25 */
    assert_near(weights[0], -3.0 / 128);
    assert_near(weights[1], 29.0 / 128);
    assert_near(weights[2], 111.0 / 128);
    assert_near(weights[3], -9.0 / 128);
    row(RESIZE_BICUBIC, 5, 3, 6, weights); /* at 5 / 3, which becomes 1 + 683 / 1024 */
    double u = 683.0 / 1024;
    assert_near(weights[1], 1.5 * u * u * u - 2.5 * u * u + 1);
    row(RESIZE_MITCHELL, 5, 1, 2, weights);
    assert_near(weights[1], 1.0 / 18);
    assert_near(weights[2], 16.0 / 18);
    row(RESIZE_GAUSSIAN, 5, 1, 2, weights);
    assert_near(weights[1] / weights[2], exp(-2));
    row(RESIZE_LANCZOS3, 9, 2, 9, weights); /* at 4.25 */
    double pi = acos(-1), ratio = (sin(0.75 * pi) * sin(0.25 * pi) / 0.5625) / (sin(0.25 * pi) * sin(pi / 12) / 0.0625);
    assert_near(weights[5] / weights[4], ratio);
    assert_near(weights[8], 0);
    row_of(&(struct resize_axis){.kind = RESIZE_BILINEAR, .in = 4, .out = 2, .smooth = true}, 0, weights);
    assert_near(weights[0], 3.0 / 7); /* at 0.5, with a radius of 2: 0.75, 0.75, 0.25 */
    assert_near(weights[2], 1.0 / 7);
    row_of(&(struct resize_axis){.kind = RESIZE_AREA, .in = 3, .out = 2}, 1, weights);
    assert_near(weights[1], 1.0 / 3);
    assert_near(weights[2], 2.0 / 3);
    row_of(&(struct resize_axis){.kind = RESIZE_NEAREST, .in = 3, .out = 2}, 0, weights);
    assert_near(weights[0], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flat_image_stays_flat_at_any_size),
        cmocka_unit_test(a_flat_image_stays_flat),
        cmocka_unit_test(a_mirrored_image_gives_the_mirrored_result),
        cmocka_unit_test(kernels_that_interpolate_keep_the_samples),
        cmocka_unit_test(weights_follow_from_the_definitions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
