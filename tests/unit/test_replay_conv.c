/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions that are too large for one im2col tile, against the definition written out as loops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "torch/replay.h"

/* Sums of up to 9 * 200 products of numbers below 1 in float32; a wrong cell would be off by about 0.1. */
static const double tolerance = 1e-3;

/* Numbers in -1..1, the same in every run. */
static float next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 23) - 1.0f;
}

static struct tensor *random_tensor(int rank, const int64_t *dims, uint32_t seed)
{
    struct shape shape = shape_of(rank, dims);
    struct tensor *tensor = tensor_new(&shape, DTYPE_F32);
    assert_non_null(tensor);
    for (int64_t i = 0; i < tensor->count; i++)
        tensor->data[i] = next_random(&seed);
    return tensor;
}

static double cell(const struct tensor *x, int64_t n, int64_t c, int64_t y, int64_t x_at)
{
    const int64_t *d = x->shape.dims;
    bool inside = y >= 0 && y < d[2] && x_at >= 0 && x_at < d[3];
    return inside ? (double)x->data[((n * d[1] + c) * d[2] + y) * d[3] + x_at] : 0;
}

static double conv_at(const struct tensor *x, const struct tensor *w, const int64_t *at, int64_t stride, int64_t pad)
{
    const int64_t *k = w->shape.dims;
    double sum = 0;
    for (int64_t c = 0; c < k[1]; c++)
        for (int64_t i = 0; i < k[2] * k[3]; i++)
            sum += (double)w->data[(at[1] * k[1] + c) * k[2] * k[3] + i] *
                   cell(x, at[0], c, at[2] * stride - pad + i / k[3], at[3] * stride - pad + i % k[3]);
    return sum;
}

/* Gathers: which inputs, times which weights, arrive at this output. */
static double transposed_at(const struct tensor *x, const struct tensor *w, const int64_t *at, int64_t stride,
                            int64_t pad)
{
    const int64_t *k = w->shape.dims;
    double sum = 0;
    for (int64_t c = 0; c < k[0]; c++)
        for (int64_t i = 0; i < k[2] * k[3]; i++) {
            int64_t y = at[2] + pad - i / k[3], x_at = at[3] + pad - i % k[3];
            if (y % stride == 0 && x_at % stride == 0)
                sum += (double)w->data[(c * k[1] + at[1]) * k[2] * k[3] + i] *
                       cell(x, at[0], c, y / stride, x_at / stride);
        }
    return sum;
}

/* Runs the node and compares every 7th output. */
static void check(enum torch_op op, const int64_t x_dims[4], const int64_t w_dims[4], int64_t stride, int64_t pad)
{
    struct tensor *x = random_tensor(4, x_dims, 1), *w = random_tensor(4, w_dims, 2), *y = NULL;
    const struct torch_attr attrs[] = {
        {.name = "kernel_size", .kind = TORCH_ATTR_INTS, .ints = {2, w_dims + 2}},
        {.name = "stride", .kind = TORCH_ATTR_INT, .i = stride},
        {.name = "padding", .kind = TORCH_ATTR_INT, .i = pad},
        {.name = "bias", .kind = TORCH_ATTR_BOOL, .i = 0},
    };
    struct torch_node node = {.op = op, .input_count = 1, .attr_count = 4, .attrs = attrs, .parameter_count = 1};
    struct replay_call call = {
        .node = &node, .inputs = (const struct tensor *const[]){x}, .parameters = (const struct tensor *const[]){w}};
    struct h5pt_error err = H5PT_ERROR_INIT;
    assert_int_equal(replay_node(&call, &y, &err), 0);
    double worst = 0;
    for (int64_t i = 0; i < y->count; i += 7) {
        const int64_t *d = y->shape.dims;
        int64_t at[4] = {i / d[3] / d[2] / d[1], i / d[3] / d[2] % d[1], i / d[3] % d[2], i % d[3]};
        double expected = (op == TORCH_CONV2D ? conv_at : transposed_at)(x, w, at, stride, pad);
        worst = fmax(worst, fabs(expected - (double)y->data[i]));
    }
    assert_true(worst < tolerance);
    tensor_free(x);
    tensor_free(w);
    tensor_free(y);
}

static void tiles_cover_every_output(void **state)
{
    (void)state;
    check(TORCH_CONV2D, (int64_t[]){2, 64, 60, 61}, (int64_t[]){5, 64, 3, 3}, 1, 1);
    check(TORCH_CONV2D, (int64_t[]){1, 96, 99, 98}, (int64_t[]){3, 96, 3, 3}, 2, 0);
    check(TORCH_CONV2D, (int64_t[]){1, 200, 1, 3000}, (int64_t[]){3, 200, 1, 3}, 1, 2);
}

static void tiles_of_the_transposed_add_up(void **state)
{
    (void)state;
    check(TORCH_CONV_TRANSPOSE2D, (int64_t[]){2, 5, 60, 61}, (int64_t[]){5, 64, 3, 3}, 2, 1);
    check(TORCH_CONV_TRANSPOSE2D, (int64_t[]){1, 3, 1, 3000}, (int64_t[]){3, 150, 2, 3}, 1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_cover_every_output),
        cmocka_unit_test(tiles_of_the_transposed_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
