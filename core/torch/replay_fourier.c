/* SPDX-License-Identifier: Apache-2.0 */
/* torch.fft by halving: a line of even length is put together from the transforms of its even and its odd cells. */
#include "torch/replay_internal.h"

#include <math.h>
#include <stdlib.h>

struct number {
    double re, im;
};

/* `turn` is -2 pi, or 2 pi for the inverse. */
static void transform(const struct number *in, int64_t step, int64_t n, double turn, struct number *out)
{
    int64_t half = n / 2;
    if (n % 2 == 0) {
        transform(in, 2 * step, half, turn, out);
        transform(in + step, 2 * step, half, turn, out + half);
        for (int64_t k = 0; k < half; k++) {
            double c = cos(turn * (double)k / (double)n), s = sin(turn * (double)k / (double)n);
            struct number even = out[k], odd = out[half + k];
            struct number turned = {odd.re * c - odd.im * s, odd.re * s + odd.im * c};
            out[k] = (struct number){even.re + turned.re, even.im + turned.im};
            out[half + k] = (struct number){even.re - turned.re, even.im - turned.im};
        }
        return;
    }
    for (int64_t k = 0; k < n; k++) {
        out[k] = (struct number){0, 0};
        for (int64_t i = 0; i < n; i++) {
            double angle = turn * (double)(i * k % n) / (double)n, c = cos(angle), s = sin(angle);
            out[k].re += in[i * step].re * c - in[i * step].im * s;
            out[k].im += in[i * step].re * s + in[i * step].im * c;
        }
    }
}

/* All lines along `dim` of cells of this shape. */
static int transform_dim(struct number *cells, const struct shape *shape, int dim, bool inverse, struct h5pt_error *err)
{
    int64_t n = shape->dims[dim], inner = 1, lines = 1;
    double turn = (inverse ? 2 : -2) * acos(-1.0), scale = inverse ? 1 / (double)n : 1;
    for (int i = 0; i < shape->rank; i++) {
        lines *= i == dim ? 1 : shape->dims[i];
        inner *= i > dim ? shape->dims[i] : 1;
    }
    struct number *out = n > 0 ? calloc((size_t)n, sizeof *out) : NULL;
    if (!out)
        return h5pt_fail_memory(err);
    for (int64_t line = 0; line < lines; line++) {
        struct number *first = cells + line / inner * n * inner + line % inner;
        transform(first, inner, n, turn, out);
        for (int64_t k = 0; k < n; k++)
            first[k * inner] = (struct number){out[k].re * scale, out[k].im * scale};
    }
    free(out);
    return 0;
}

/* The last dim of x as long as the transform is. */
static struct number *real_cells(const struct tensor *re, const struct tensor *im, int64_t n, struct h5pt_error *err)
{
    int64_t size = re->shape.dims[re->shape.rank - 1], lines = size > 0 ? re->count / size : 0;
    struct number *cells = calloc((size_t)(lines * n) + 1, sizeof *cells);
    if (!cells)
        (void)h5pt_fail_memory(err);
    for (int64_t i = 0; cells && i < lines * n; i++) {
        int64_t at = i % n, bin = im && at > n / 2 ? n - at : at, from = i / n * size + bin;
        if (bin >= size)
            continue;
        cells[i].re = (double)re->data[from];
        if (im && bin != 0 && 2 * bin != n)
            cells[i].im = bin == at ? (double)im->data[from] : -(double)im->data[from];
    }
    return cells;
}

/* torch.fft.rfft, or irfft with a second input. */
static int real_transform(const struct replay_call *call, bool imag, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0], *second = call->node->input_count > 1 ? call->inputs[1] : NULL;
    int rank = x->shape.rank;
    if (rank < 1 || x->shape.dims[rank - 1] < 1 || (second && !shape_equal(&x->shape, &second->shape)))
        return replay_mismatch(call, err, "there is nothing to transform");
    int64_t last = x->shape.dims[rank - 1], n = replay_int(call, "n", second ? 2 * (last - 1) : last);
    if (n < 1 || n > INT32_MAX)
        return replay_mismatch(call, err, "n is not the length of a line");
    struct shape lines = x->shape, shape = x->shape;
    lines.dims[rank - 1] = n;
    shape.dims[rank - 1] = second ? n : n / 2 + 1;
    struct tensor *y = replay_new(&shape, x->dtype, err);
    struct number *cells = y ? real_cells(x, second, n, err) : NULL;
    int status = cells ? transform_dim(cells, &lines, rank - 1, second != NULL, err) : -1;
    for (int64_t i = 0; status == 0 && i < y->count; i++) {
        int64_t bins = shape.dims[rank - 1];
        const struct number *cell = &cells[i / bins * n + i % bins];
        y->data[i] = (float)(imag ? cell->im : cell->re);
    }
    free(cells);
    if (status == 0)
        *ret = y;
    else
        tensor_free(y);
    return status;
}

static int complex_transform(const struct replay_call *call, bool inverse, bool imag, struct tensor **ret,
                             struct h5pt_error *err)
{
    const struct tensor *re = call->inputs[0], *im = call->inputs[1];
    bool along[SHAPE_MAX_RANK];
    if (!shape_equal(&re->shape, &im->shape) || re->count < 1)
        return replay_mismatch(call, err, "the parts have not the same shape");
    if (replay_dims(call, "dim", along, err) != 0)
        return -1;
    struct tensor *y = replay_new(&re->shape, re->dtype, err);
    struct number *cells = y ? calloc((size_t)y->count, sizeof *cells) : NULL;
    int status = cells ? 0 : h5pt_fail_memory(err);
    for (int64_t i = 0; cells && i < y->count; i++)
        cells[i] = (struct number){(double)re->data[i], (double)im->data[i]};
    for (int i = 0; status == 0 && i < re->shape.rank; i++)
        if (along[i])
            status = transform_dim(cells, &re->shape, i, inverse, err);
    for (int64_t i = 0; status == 0 && i < y->count; i++)
        y->data[i] = (float)(imag ? cells[i].im : cells[i].re);
    free(cells);
    if (status == 0)
        *ret = y;
    else
        tensor_free(y);
    return status;
}

int replay_RFFT_REAL(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return real_transform(call, false, ret, err);
}

int replay_RFFT_IMAG(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return real_transform(call, true, ret, err);
}

int replay_IRFFT(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return real_transform(call, false, ret, err);
}

int replay_FFT_REAL(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return complex_transform(call, false, false, ret, err);
}

int replay_FFT_IMAG(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return complex_transform(call, false, true, ret, err);
}

int replay_IFFT_REAL(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return complex_transform(call, true, false, ret, err);
}

int replay_IFFT_IMAG(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return complex_transform(call, true, true, ret, err);
}
