/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers of model.py that work on images, and patches. */
#include "torch/replay_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- resize: a matrix for each axis ---- */

static float sinc(float x)
{
    float at = 3.14159274f * x;
    return fabsf(at) < 1e-6f ? 1 : sinf(at) / at;
}

/* A cubic for distances below 1 (without a linear term) and one for those below 2, where it is 0. */
struct cubic {
    float near[3], far[4];
};

static float cubic_weight(const struct cubic *c, float x)
{
    return x < 1   ? (c->near[0] * x + c->near[1]) * x * x + c->near[2]
           : x < 2 ? ((c->far[0] * x + c->far[1]) * x + c->far[2]) * x + c->far[3]
                   : 0;
}

/* The weight at a distance of x >= 0 cells. */
static float kernel_weight(const char *method, float x)
{
    static const struct cubic keys = {{1.5f, -2.5f, 1}, {-0.5f, 2.5f, -4, 2}};
    static const struct cubic mitchell = {{7.0f / 6, -2, 8.0f / 9}, {-7.0f / 18, 2, -10.0f / 3, 16.0f / 9}};
    if (strcmp(method, "bilinear") == 0)
        return x < 1 ? 1 - x : 0;
    if (strcmp(method, "bicubic") == 0)
        return cubic_weight(&keys, x);
    if (strcmp(method, "mitchellcubic") == 0)
        return cubic_weight(&mitchell, x);
    if (strcmp(method, "gaussian") == 0)
        return x < 1.5f ? expf(-2 * x * x) : 0;
    float radius = strcmp(method, "lanczos3") == 0 ? 3 : 5;
    return x < radius ? sinc(x) * sinc(x / radius) : 0;
}

static float area_weight(float step, int64_t place, int64_t cell)
{
    float low = fmaxf((float)place * step, (float)cell), high = fminf((float)(place + 1) * step, (float)(cell + 1));
    return high > low ? (high - low) / step : 0;
}

/* (out, in), rows of sum 1; NULL without memory. */
static float *resize_matrix(const char *method, bool smooth, int64_t in, int64_t out)
{
    float *matrix = calloc((size_t)(in * out), sizeof *matrix);
    float step = (float)in / (float)out, inverse = 1.0f / ((float)out / (float)in);
    bool table = strcmp(method, "bicubic") == 0 && !smooth, area = strcmp(method, "area") == 0;
    for (int64_t o = 0; matrix && o < out; o++) {
        float *row = matrix + o * in, at = ((float)o + 0.5f) * inverse, sum = 0;
        if (table) {
            float lies = ((float)o + 0.5f) * step - 0.5f;
            at = floorf(lies) + rintf((lies - floorf(lies)) * 1024) / 1024 + 0.5f;
        }
        for (int64_t i = 0; i < in; i++) {
            float x = fabsf((float)i + 0.5f - at);
            row[i] = area ? area_weight(step, o, i) : kernel_weight(method, smooth && step > 1 ? x / step : x);
            sum += row[i];
        }
        for (int64_t i = 0; i < in && !area; i++)
            row[i] /= sum;
    }
    return matrix;
}

int replay_like_size(const struct replay_call *call, int64_t size[2], struct h5pt_error *err)
{
    const struct shape *like = &call->inputs[1]->shape;
    int64_t times[2];
    if (replay_ints(call, "times", 2, 1, 1, times, err) != 0)
        return -1;
    for (int i = 0; i < 2; i++)
        if (like->rank != 4 || __builtin_mul_overflow(like->dims[2 + i], times[i], &size[i]) || size[i] < 1)
            return replay_mismatch(call, err, "there is no image of that size");
    return 0;
}

static int resize(const struct replay_call *call, const int64_t size[2], struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    const char *method = torch_attr_text(call->node, "method");
    bool smooth = replay_bool(call, "antialias", false);
    if (x->shape.rank != 4 || !method || x->shape.dims[2] < 1 || x->shape.dims[3] < 1)
        return replay_mismatch(call, err, "it takes images and a method");
    int64_t height = x->shape.dims[2], width = x->shape.dims[3];
    struct shape shape = x->shape;
    shape.dims[2] = size[0];
    shape.dims[3] = size[1];
    struct tensor *y = replay_new(&shape, DTYPE_F32, err);
    float *rows = resize_matrix(method, smooth, height, size[0]),
          *columns = resize_matrix(method, smooth, width, size[1]);
    float *half = calloc((size_t)(size[0] * width), sizeof *half);
    int status = y && rows && columns && half ? 0 : h5pt_fail_memory(err);
    int64_t planes = y ? x->shape.dims[0] * x->shape.dims[1] : 0;
    for (int64_t p = 0; p < planes && status == 0; p++) {
        struct replay_gemm first = {.m = size[0],
                                    .n = width,
                                    .k = height,
                                    .a = rows,
                                    .a_row = height,
                                    .b = x->data + p * height * width,
                                    .b_row = width,
                                    .c = half,
                                    .c_row = width};
        struct replay_gemm second = {.transpose_b = true,
                                     .m = size[0],
                                     .n = size[1],
                                     .k = width,
                                     .a = half,
                                     .a_row = width,
                                     .b = columns,
                                     .b_row = width,
                                     .c = y->data + p * size[0] * size[1],
                                     .c_row = size[1]};
        status = replay_gemm(call, &first, err) == 0 ? replay_gemm(call, &second, err) : -1;
    }
    free(rows);
    free(columns);
    free(half);
    if (status != 0) {
        tensor_free(y);
        return -1;
    }
    *ret = y;
    return 0;
}

int replay_RESIZE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    int64_t size[2];
    return replay_ints(call, "size", 2, 1, 1, size, err) == 0 ? resize(call, size, ret, err) : -1;
}

int replay_RESIZE_LIKE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    int64_t size[2];
    return replay_like_size(call, size, err) == 0 ? resize(call, size, ret, err) : -1;
}

/* ---- pixel_shuffle ---- */

/* The channels of a cell become a block of r x r cells, or the other way round (`fold`). */
static int shuffle(const struct replay_call *call, const char *factor, bool fold, struct tensor **ret,
                   struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int64_t r;
    if (replay_ints(call, factor, 1, 1, 1, &r, err) != 0)
        return -1;
    if (x->shape.rank != 4 || r > 4096 || x->shape.dims[1] % (fold ? 1 : r * r) != 0 ||
        x->shape.dims[2] % (fold ? r : 1) != 0 || x->shape.dims[3] % (fold ? r : 1) != 0)
        return replay_mismatch(call, err, "it does not divide into blocks");
    struct shape large = x->shape, deep = x->shape;
    struct shape *other = fold ? &deep : &large;
    other->dims[1] = fold ? x->shape.dims[1] * r * r : x->shape.dims[1] / (r * r);
    other->dims[2] = fold ? x->shape.dims[2] / r : x->shape.dims[2] * r;
    other->dims[3] = fold ? x->shape.dims[3] / r : x->shape.dims[3] * r;
    struct tensor *y = replay_new(other, x->dtype, err);
    if (!y)
        return -1;
    int64_t at = 0;
    for (int64_t n = 0; n < large.dims[0]; n++)
        for (int64_t c = 0; c < large.dims[1]; c++)
            for (int64_t i = 0; i < large.dims[2]; i++)
                for (int64_t j = 0; j < large.dims[3]; j++, at++) {
                    int64_t channel = c * r * r + i % r * r + j % r;
                    int64_t cell = ((n * deep.dims[1] + channel) * deep.dims[2] + i / r) * deep.dims[3] + j / r;
                    y->data[fold ? cell : at] = x->data[fold ? at : cell];
                }
    *ret = y;
    return 0;
}

int replay_PIXEL_SHUFFLE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return shuffle(call, "upscale_factor", false, ret, err);
}

int replay_PIXEL_UNSHUFFLE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return shuffle(call, "downscale_factor", true, ret, err);
}

/* ---- auto_contrast ---- */

int replay_AUTO_CONTRAST(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    float low = (float)replay_float(call, "low", 0), high = (float)replay_float(call, "high", 255);
    bool reduced[SHAPE_MAX_RANK];
    if (replay_dims(call, "dim", reduced, err) != 0)
        return -1;
    struct shape kept = replay_reduced_shape(&x->shape, reduced, true);
    int64_t groups, steps[SHAPE_MAX_RANK], index[SHAPE_MAX_RANK] = {0};
    (void)shape_count(&kept, &groups);
    struct tensor *y = replay_new(&x->shape, DTYPE_F32, err);
    float *least = malloc((size_t)groups * sizeof *least + 1), *most = malloc((size_t)groups * sizeof *most + 1);
    int64_t *group = malloc((size_t)x->count * sizeof *group + 1);
    if (!y || !least || !most || !group) {
        tensor_free(y);
        free(least);
        free(most);
        free(group);
        return h5pt_fail_memory(err);
    }
    replay_strides(&kept, steps);
    for (int64_t i = 0; i < groups; i++) {
        least[i] = INFINITY;
        most[i] = -INFINITY;
    }
    for (int64_t i = 0; i < x->count; i++) {
        int64_t g = 0;
        for (int d = 0; d < x->shape.rank; d++)
            g += reduced[d] ? 0 : index[d] * steps[d];
        group[i] = g;
        y->data[i] = (x->data[i] - low) / (high - low) * 255;
        least[g] = fminf(least[g], y->data[i]);
        most[g] = fmaxf(most[g], y->data[i]);
        for (int d = x->shape.rank - 1; d >= 0 && ++index[d] == x->shape.dims[d]; d--)
            index[d] = 0;
    }
    for (int64_t i = 0; i < x->count; i++) {
        float scale = 255 / (most[group[i]] - least[group[i]]), v = y->data[i] * scale - least[group[i]] * scale;
        if (!isnan(v))
            v = (v < 0 ? 0 : v > 255 ? 255 : v) / 255 * (high - low) + low;
        y->data[i] = isnan(v) ? x->data[i] : v;
    }
    free(least);
    free(most);
    free(group);
    *ret = y;
    return 0;
}

/* ---- stft_magnitude ---- */

/* The sample `at` of a signal that is reflected at its ends. */
static int64_t reflected(int64_t at, int64_t length)
{
    at = at < 0 ? -at : at;
    return at < length ? at : 2 * (length - 1) - at;
}

/* (bins * 2, n): the cosines and sines of every frequency, times the window. */
static float *fourier_matrix(const struct tensor *window, int64_t bins)
{
    int64_t n = window->count;
    float *matrix = calloc((size_t)(2 * bins * n), sizeof *matrix);
    for (int64_t f = 0; matrix && f < bins; f++)
        for (int64_t i = 0; i < n; i++) {
            double angle = 6.283185307179586 * (double)(f * i % n) / (double)n;
            matrix[f * n + i] = (float)(cos(angle) * (double)window->data[i]);
            matrix[(bins + f) * n + i] = (float)(sin(angle) * (double)window->data[i]);
        }
    return matrix;
}

int replay_STFT_MAGNITUDE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0], *window = call->inputs[1];
    int64_t n = replay_int(call, "n_fft", 0), hop = replay_int(call, "hop_length", 0);
    if (x->shape.rank != 2 || window->shape.rank != 1 || window->count != n || n < 1 || n > 1 << 16 || hop < 1)
        return replay_mismatch(call, err, "it takes a batch of signals and a window of n_fft");
    int64_t length = x->shape.dims[1], bins = n / 2 + 1, frames = (length + n / 2 * 2 - n) / hop + 1;
    if (length <= n / 2)
        return replay_mismatch(call, err, "the signal is too short to be reflected");
    struct shape shape = {.rank = 3, .dims = {x->shape.dims[0], bins, frames}};
    struct tensor *y = replay_new(&shape, DTYPE_F32, err);
    float *matrix = fourier_matrix(window, bins), *cut = calloc((size_t)(n * frames), sizeof *cut);
    float *parts = calloc((size_t)(2 * bins * frames), sizeof *parts);
    int status = y && matrix && cut && parts ? 0 : h5pt_fail_memory(err);
    for (int64_t b = 0; status == 0 && b < shape.dims[0]; b++) {
        for (int64_t i = 0; i < n; i++)
            for (int64_t t = 0; t < frames; t++)
                cut[i * frames + t] = x->data[b * length + reflected(t * hop + i - n / 2, length)];
        struct replay_gemm gemm = {.m = 2 * bins,
                                   .n = frames,
                                   .k = n,
                                   .a = matrix,
                                   .a_row = n,
                                   .b = cut,
                                   .b_row = frames,
                                   .c = parts,
                                   .c_row = frames};
        status = replay_gemm(call, &gemm, err);
        for (int64_t i = 0; i < bins * frames; i++)
            y->data[b * bins * frames + i] = hypotf(parts[i], parts[bins * frames + i]);
    }
    free(matrix);
    free(cut);
    free(parts);
    if (status != 0) {
        tensor_free(y);
        return -1;
    }
    *ret = y;
    return 0;
}
