/* SPDX-License-Identifier: Apache-2.0 */
/* Fourier transforms. Complex numbers live between the steps only: nodes have real and imaginary parts as tensors of their own. */
#include "aten/formula.h"

/* The real (0) or imaginary (1) part. */
static int part_of(struct aten_builder *b, int x, int part)
{
    struct aten_shape pairs = aten_with(b, x, aten_rank(b, x), aten_int(b, 2));
    int real = aten_emit(b, "view_as_real.default", pairs, DTYPE_F32, ATEN_ARGS(aten_tensor("self", x)));
    return aten_select(b, real, -1, part);
}

/* The first input, or the complex number of both. */
static int numbers(struct aten_builder *b, const struct torch_node *node)
{
    int re = aten_input(b, node, 0);
    if (node->input_count < 2)
        return re;
    return aten_emit(b, "complex.default", aten_shape_of(b, re), (enum dtype)ATEN_COMPLEX64,
                     ATEN_ARGS(aten_tensor("real", re), aten_tensor("imag", aten_input(b, node, 1))));
}

/* Of real numbers along the last dim, `length` of them (0: as many as there are). */
static int real_transform(struct aten_builder *b, int x, int64_t length)
{
    int last = aten_dim(b, x, -1);
    const struct aten_int *n = length ? aten_int(b, length) : aten_size(b, x, -1);
    const struct aten_int *half = aten_int_floor_div(b, n, aten_int(b, 2));
    return aten_emit(b, "fft_rfft.default", aten_replaced(b, x, last, aten_int_linear(b, 1, half, 1)),
                     (enum dtype)ATEN_COMPLEX64,
                     ATEN_ARGS(aten_tensor("self", x), length ? aten_integer("n", length) : aten_none("n")));
}

int aten_RFFT_REAL(struct aten_builder *b, const struct torch_node *node)
{
    return part_of(b, real_transform(b, aten_input(b, node, 0), aten_attr_int(node, "n", 0)), 0);
}

int aten_RFFT_IMAG(struct aten_builder *b, const struct torch_node *node)
{
    return part_of(b, real_transform(b, aten_input(b, node, 0), aten_attr_int(node, "n", 0)), 1);
}

int aten_IRFFT(struct aten_builder *b, const struct torch_node *node)
{
    int x = numbers(b, node), last = aten_dim(b, x, -1);
    int64_t length = aten_attr_int(node, "n", 0);
    const struct aten_int *n = length ? aten_int(b, length) : aten_int_linear(b, 2, aten_size(b, x, -1), -2);
    return aten_emit(b, "fft_irfft.default", aten_replaced(b, x, last, n), DTYPE_F32,
                     ATEN_ARGS(aten_tensor("self", x), length ? aten_integer("n", length) : aten_none("n")));
}

static int complex_transform(struct aten_builder *b, const struct torch_node *node, const char *op, int part)
{
    int64_t dims[ATEN_MAX_RANK];
    int x = numbers(b, node), count = aten_attr_dims(b, node, "dim", x, dims);
    int y = aten_emit(b, op, aten_shape_of(b, x), (enum dtype)ATEN_COMPLEX64,
                      ATEN_ARGS(aten_tensor("self", x), aten_none("s"), aten_integers("dim", count, dims)));
    return part_of(b, y, part);
}

int aten_FFT_REAL(struct aten_builder *b, const struct torch_node *node)
{
    return complex_transform(b, node, "fft_fftn.default", 0);
}

int aten_FFT_IMAG(struct aten_builder *b, const struct torch_node *node)
{
    return complex_transform(b, node, "fft_fftn.default", 1);
}

int aten_IFFT_REAL(struct aten_builder *b, const struct torch_node *node)
{
    return complex_transform(b, node, "fft_ifftn.default", 0);
}

int aten_IFFT_IMAG(struct aten_builder *b, const struct torch_node *node)
{
    return complex_transform(b, node, "fft_ifftn.default", 1);
}

/* ---- windows of a line ---- */

static int windows(struct aten_builder *b, int x, int64_t dimension, int64_t size, int64_t step)
{
    int dim = aten_dim(b, x, dimension);
    const struct aten_int *room = aten_int_linear(b, 1, aten_size(b, x, dim), -size);
    const struct aten_int *count = aten_int_linear(b, 1, aten_int_floor_div(b, room, aten_int(b, step)), 1);
    struct aten_shape shape = aten_with(b, x, aten_rank(b, x), aten_int(b, size));
    if (!b->failed)
        shape.dims[dim] = count;
    return aten_emit(b, "unfold.default", shape, aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("dimension", dim), aten_integer("size", size),
                               aten_integer("step", step)));
}

int aten_UNFOLD_DIM(struct aten_builder *b, const struct torch_node *node)
{
    return windows(b, aten_input(b, node, 0), torch_attr_int(node, "dimension"), torch_attr_int(node, "size"),
                   torch_attr_int(node, "step"));
}

/* (batch, time) to (batch, frequency, frames): the ends reflected, windows multiplied and transformed. */
int aten_STFT_MAGNITUDE(struct aten_builder *b, const struct torch_node *node)
{
    int64_t n = torch_attr_int(node, "n_fft"), edge[2] = {n / 2, n / 2};
    int x = aten_input(b, node, 0), window = aten_input(b, node, 1);
    x = aten_emit(
        b, "reflection_pad1d.default",
        aten_replaced(b, x, aten_dim(b, x, -1), aten_int_linear(b, 1, aten_size(b, x, -1), edge[0] + edge[1])),
        aten_dtype_of(b, x), ATEN_ARGS(aten_tensor("self", x), aten_integers("padding", 2, edge)));
    x = aten_mul(b, windows(b, x, -1, n, torch_attr_int(node, "hop_length")), window);
    x = aten_unary_as(b, "abs.default", real_transform(b, x, 0), DTYPE_F32);
    return aten_permute(b, x, (const int64_t[]){0, 2, 1});
}
