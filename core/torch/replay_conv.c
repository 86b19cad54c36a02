/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions: as matrix products over im2col tiles, or by direct loops where a group has few channels. */
#include "torch/replay_internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* Floats in an im2col tile: large enough for BLAS to run at full speed, small enough to stay near the caches. */
enum { TILE_FLOATS = 1 << 20 };
/* With fewer input channels in a group than this, packing for BLAS costs more than it gains. */
enum { DIRECT_CHANNELS = 8 };

struct convolution {
    const struct replay_call *call;
    struct replay_window window;
    const float *weight, *bias;                /* bias may be NULL */
    int64_t groups, in_channels, out_channels; /* channels in a group */
};

/* Checks weight (of shape `first`, `second`, kernel…) and bias. */
static int read_parameters(struct convolution *conv, int64_t first, int64_t second, struct h5pt_error *err)
{
    const struct replay_call *call = conv->call;
    const struct replay_window *w = &conv->window;
    bool has_bias = replay_bool(call, "bias", true);
    if (call->node->parameter_count != 1 + (has_bias ? 1 : 0))
        return replay_mismatch(call, err, "it takes a weight%s", has_bias ? " and a bias" : "");
    struct shape expected = {.rank = w->rank + 2, .dims = {first, second}};
    for (int i = 0; i < w->rank; i++)
        expected.dims[2 + i] = w->kernel[3 - w->rank + i];
    char text[SHAPE_TEXT_SIZE];
    if (!shape_equal(&call->parameters[0]->shape, &expected))
        return replay_mismatch(call, err, "the weight should be %s", shape_text(&expected, text));
    int64_t outputs = conv->groups * conv->out_channels;
    if (has_bias && (call->parameters[1]->shape.rank != 1 || call->parameters[1]->count != outputs))
        return replay_mismatch(call, err, "the bias should have %" PRId64 " elements", outputs);
    conv->weight = call->parameters[0]->data;
    conv->bias = has_bias ? call->parameters[1]->data : NULL;
    return 0;
}

static void fill_bias(const struct convolution *conv, int64_t size, float *out)
{
    for (int64_t c = 0; c < conv->groups * conv->out_channels; c++)
        for (int64_t i = 0; i < size; i++)
            *out++ = conv->bias ? conv->bias[c] : 0.0f;
}

/* How many positions of `rows` floats fit into a tile. */
static int64_t tile_positions(int64_t rows, int64_t positions)
{
    int64_t fit = TILE_FLOATS / (rows > 0 ? rows : 1);
    if (fit < 1)
        fit = 1;
    return fit < positions ? fit : positions;
}

static void run_multiply_add(float *restrict out, const float *restrict in, int64_t count, int64_t stride, int64_t tap,
                             const void *context)
{
    float weight = ((const float *)context)[tap];
    if (stride == 1)
        for (int64_t i = 0; i < count; i++)
            out[i] += weight * in[i];
    else
        for (int64_t i = 0; i < count; i++)
            out[i] += weight * in[i * stride];
}

static void direct(const struct convolution *conv, const float *x, float *y)
{
    const struct replay_window *w = &conv->window;
    const float *weight = conv->weight;
    for (int64_t g = 0; g < conv->groups; g++, x += conv->in_channels * w->in_size)
        for (int64_t o = 0; o < conv->out_channels; o++, y += w->out_size)
            for (int64_t c = 0; c < conv->in_channels; c++, weight += w->kernel_size)
                replay_window_run(w, x + c * w->in_size, y, run_multiply_add, weight);
}

/* Every output sees one cell, its own: the planes are the columns. */
static bool is_pointwise(const struct replay_window *w)
{
    return w->kernel_size == 1 && w->in_size == w->out_size && w->before[0] == 0 && w->before[1] == 0 &&
           w->before[2] == 0;
}

/* One group of one sample; `columns` holds a tile, or is NULL when pointwise. */
static int by_products(const struct convolution *conv, const float *weight, const float *x, float *columns, float *y,
                       struct h5pt_error *err)
{
    const struct replay_window *w = &conv->window;
    int64_t rows = conv->in_channels * w->kernel_size;
    int64_t step = columns ? tile_positions(rows, w->out_size) : w->out_size;
    for (int64_t first = 0; first < w->out_size; first += step) {
        int64_t count = first + step < w->out_size ? step : w->out_size - first;
        if (columns)
            replay_columns(w, conv->in_channels, x, first, count, columns);
        struct replay_gemm gemm = {.m = conv->out_channels,
                                   .n = count,
                                   .k = rows,
                                   .a = weight,
                                   .a_row = rows,
                                   .b = columns ? columns : x,
                                   .b_row = count,
                                   .c_row = w->out_size,
                                   .beta = 1.0f};
        gemm.c = y + first;
        if (replay_gemm(conv->call, &gemm, err) != 0)
            return -1;
    }
    return 0;
}

static int run_convolution(const struct convolution *conv, const float *x, float *y, struct h5pt_error *err)
{
    const struct replay_window *w = &conv->window;
    int64_t x_size = conv->in_channels * w->in_size, y_size = conv->out_channels * w->out_size;
    int64_t weight_size = conv->out_channels * conv->in_channels * w->kernel_size;
    bool is_direct = conv->groups > 1 && conv->in_channels < DIRECT_CHANNELS;
    int64_t rows = conv->in_channels * w->kernel_size;
    float *columns = NULL;
    int rc = 0;
    if (!is_direct && !is_pointwise(w)) {
        columns = calloc((size_t)(rows > 0 ? rows : 1), (size_t)tile_positions(rows, w->out_size) * sizeof *columns);
        if (!columns)
            return h5pt_fail_memory(err);
    }
    for (int64_t n = 0; rc == 0 && n < w->batch; n++, x += conv->groups * x_size, y += conv->groups * y_size) {
        fill_bias(conv, w->out_size, y);
        if (is_direct)
            direct(conv, x, y);
        else
            for (int64_t g = 0; rc == 0 && g < conv->groups; g++)
                rc = by_products(conv, conv->weight + g * weight_size, x + g * x_size, columns, y + g * y_size, err);
    }
    free(columns);
    return rc;
}

static int convolve(const struct replay_call *call, int rank, struct tensor **ret, struct h5pt_error *err)
{
    struct convolution conv = {.call = call};
    if (replay_window_init(&conv.window, call, rank, false, err) != 0 ||
        replay_ints(call, "groups", 1, 1, 1, &conv.groups, err) != 0)
        return -1;
    if (call->node->parameter_count < 1 || call->parameters[0]->shape.rank != rank + 2)
        return replay_mismatch(call, err, "it takes a weight of %d dims", rank + 2);
    int64_t out_channels = call->parameters[0]->shape.dims[0];
    if (conv.window.channels % conv.groups != 0 || out_channels % conv.groups != 0)
        return replay_mismatch(call, err, "the channels do not divide into %" PRId64 " groups", conv.groups);
    conv.in_channels = conv.window.channels / conv.groups;
    conv.out_channels = out_channels / conv.groups;
    if (read_parameters(&conv, out_channels, conv.in_channels, err) != 0)
        return -1;
    struct shape shape = replay_window_shape(&conv.window, out_channels, conv.window.out);
    struct tensor *y = replay_new(&shape, DTYPE_F32, err);
    if (!y)
        return -1;
    if (run_convolution(&conv, call->inputs[0]->data, y->data, err) != 0) {
        tensor_free(y);
        return -1;
    }
    *ret = y;
    return 0;
}

static int run_transposed(const struct convolution *conv, const float *x, float *y, struct h5pt_error *err)
{
    const struct replay_window *w = &conv->window;
    int64_t rows = conv->out_channels * w->kernel_size, step = tile_positions(rows, w->out_size);
    float *columns = calloc((size_t)(rows > 0 ? rows : 1), (size_t)(step > 0 ? step : 1) * sizeof *columns);
    if (!columns)
        return h5pt_fail_memory(err);
    int rc = 0;
    for (int64_t n = 0; rc == 0 && n < w->batch; n++) {
        fill_bias(conv, w->in_size, y);
        for (int64_t first = 0; rc == 0 && first < w->out_size; first += step) {
            int64_t count = first + step < w->out_size ? step : w->out_size - first;
            struct replay_gemm gemm = {.transpose_a = true,
                                       .m = rows,
                                       .n = count,
                                       .k = conv->in_channels,
                                       .a = conv->weight,
                                       .a_row = rows,
                                       .b = x + first,
                                       .b_row = w->out_size,
                                       .c = columns,
                                       .c_row = count};
            rc = replay_gemm(conv->call, &gemm, err);
            if (rc == 0)
                replay_columns_add(w, conv->out_channels, columns, first, count, y);
        }
        x += conv->in_channels * w->out_size;
        y += conv->out_channels * w->in_size;
    }
    free(columns);
    return rc;
}

static int convolve_transposed(const struct replay_call *call, int rank, struct tensor **ret, struct h5pt_error *err)
{
    struct convolution conv = {.call = call, .groups = 1};
    if (replay_window_init_transposed(&conv.window, call, rank, err) != 0)
        return -1;
    if (call->node->parameter_count < 1 || call->parameters[0]->shape.rank != rank + 2)
        return replay_mismatch(call, err, "it takes a weight of %d dims", rank + 2);
    conv.in_channels = conv.window.channels;
    conv.out_channels = call->parameters[0]->shape.dims[1];
    if (read_parameters(&conv, conv.in_channels, conv.out_channels, err) != 0)
        return -1;
    struct shape shape = replay_window_shape(&conv.window, conv.out_channels, conv.window.in);
    struct tensor *y = replay_new(&shape, DTYPE_F32, err);
    if (!y)
        return -1;
    if (run_transposed(&conv, call->inputs[0]->data, y->data, err) != 0) {
        tensor_free(y);
        return -1;
    }
    *ret = y;
    return 0;
}

#define CONVOLUTION(id, function, rank)                                                                                \
    int replay_##id(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)                       \
    {                                                                                                                  \
        return function(call, rank, ret, err);                                                                         \
    }

CONVOLUTION(CONV1D, convolve, 1)
CONVOLUTION(CONV2D, convolve, 2)
CONVOLUTION(CONV3D, convolve, 3)
CONVOLUTION(CONV_TRANSPOSE1D, convolve_transposed, 1)
CONVOLUTION(CONV_TRANSPOSE2D, convolve_transposed, 2)
CONVOLUTION(CONV_TRANSPOSE3D, convolve_transposed, 3)
