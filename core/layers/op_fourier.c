/* SPDX-License-Identifier: Apache-2.0 */
/* RFFT, IRFFT, FFT, FFT2, IFFT2: complex numbers are pairs of tensors, the real parts and the imaginary ones. */
#include "layers/fourier.h"
#include "layers/operation.h"
#include "layers/variants.h"

struct fourier_config {
    enum fourier_variant variant;
    int64_t length; /* 0: what the input gives */
};

static void op_fourier_read(struct config_reader *reader, void *config, int variant)
{
    struct fourier_config *c = config;
    c->variant = (enum fourier_variant)variant;
    bool real = c->variant == FOURIER_RFFT || c->variant == FOURIER_IRFFT;
    if (real && config_get(reader, "fft_length"))
        c->length = config_size(reader, "fft_length", 1);
}

/* How many tensors the transform takes and how many axes it is along. */
static int parts(const struct fourier_config *c)
{
    return c->variant == FOURIER_RFFT ? 1 : 2;
}

static int axes(const struct fourier_config *c)
{
    return c->variant == FOURIER_FFT2 || c->variant == FOURIER_IFFT2 ? 2 : 1;
}

/* The length of the transform along the last axis, DIM_UNKNOWN when the input does not tell. */
static int64_t transform_length(const struct fourier_config *c, int64_t last)
{
    if (c->length)
        return c->length;
    return c->variant != FOURIER_IRFFT || last == DIM_UNKNOWN ? last : 2 * (last - 1);
}

static int op_fourier_shape(struct layer_shape *s)
{
    const struct fourier_config *c = s->config;
    struct operand_source source = operands_of_shape(s);
    int part[2] = {-1, -1};
    if (!operand_parts(&source, parts(c), part))
        return operand_fail(s, "x");
    const struct shape *in = &s->inputs[part[0]];
    if (parts(c) == 2 && !shape_equal(in, &s->inputs[part[1]]))
        return layer_shape_fail(s, "The real and the imaginary part must have the same shape");
    for (int i = 0; i < parts(c); i++)
        if (s->input_dtypes[part[i]] != DTYPE_F32)
            return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype", "%s is supported for float32",
                             s->layer->class_name);
    if (in->rank < axes(c))
        return layer_shape_fail(s, "%s needs %d axes", s->layer->class_name, axes(c));
    int64_t n = transform_length(c, in->dims[in->rank - 1]);
    if (n != DIM_UNKNOWN && n < 1)
        return layer_shape_fail(s, "There is nothing to transform");
    s->outputs[0] = *in;
    if (c->variant == FOURIER_RFFT)
        s->outputs[0].dims[in->rank - 1] = n == DIM_UNKNOWN ? n : n / 2 + 1;
    if (c->variant == FOURIER_IRFFT)
        s->outputs[0].dims[in->rank - 1] = n;
    s->output_count = c->variant == FOURIER_IRFFT ? 1 : 2;
    s->outputs[1] = s->outputs[0];
    s->output_dtypes[1] = DTYPE_F32;
    return 0;
}

/* ---- reference ---- */

static int run_real(const struct layer_run *run, const struct tensor *x, int64_t n)
{
    int64_t size = x->shape.dims[x->shape.rank - 1], bins = n / 2 + 1;
    struct fourier f;
    if (fourier_init(&f, n) < 0)
        return h5pt_fail_memory(run->err);
    for (int64_t line = 0; size > 0 && line < x->count / size; line++) {
        for (int64_t i = 0; i < n; i++)
            f.real[i] = i < size ? (double)x->data[line * size + i] : 0;
        fourier_line(&f, bins, 0);
        for (int64_t k = 0; k < bins; k++) {
            run->outputs[0]->data[line * bins + k] = (float)f.ret_real[k];
            run->outputs[1]->data[line * bins + k] = (float)f.ret_imag[k];
        }
    }
    fourier_release(&f);
    return 0;
}

/* The bins beyond n / 2 are the conjugates of those before; the imaginary parts of the first and the middle one do not count. */
static int run_real_inverse(const struct layer_run *run, const struct tensor *re, const struct tensor *im, int64_t n)
{
    int64_t size = re->shape.dims[re->shape.rank - 1];
    struct fourier f;
    if (fourier_init(&f, n) < 0)
        return h5pt_fail_memory(run->err);
    for (int64_t line = 0; line < re->count / size; line++) {
        for (int64_t i = 0; i < n; i++) {
            int64_t bin = i <= n / 2 ? i : n - i;
            double imag = bin < size && bin != 0 && 2 * bin != n ? (double)im->data[line * size + bin] : 0;
            f.real[i] = bin < size ? (double)re->data[line * size + bin] : 0;
            f.imag[i] = i == bin ? imag : -imag;
        }
        fourier_line(&f, n, 1);
        for (int64_t i = 0; i < n; i++)
            run->outputs[0]->data[line * n + i] = (float)f.ret_real[i];
    }
    fourier_release(&f);
    return 0;
}

/* In place along the axis with `inner` cells behind it. */
static int run_axis(const struct layer_run *run, int64_t n, int64_t inner, int inverse, float *re, float *im)
{
    int64_t count = run->outputs[0]->count;
    struct fourier f;
    if (fourier_init(&f, n) < 0)
        return h5pt_fail_memory(run->err);
    for (int64_t line = 0; line < count / n; line++) {
        int64_t at = line / inner * n * inner + line % inner;
        for (int64_t i = 0; i < n; i++) {
            f.real[i] = (double)re[at + i * inner];
            f.imag[i] = (double)im[at + i * inner];
        }
        fourier_line(&f, n, inverse);
        for (int64_t i = 0; i < n; i++) {
            re[at + i * inner] = (float)f.ret_real[i];
            im[at + i * inner] = (float)f.ret_imag[i];
        }
    }
    fourier_release(&f);
    return 0;
}

static int op_fourier_reference(const struct layer_run *run)
{
    const struct fourier_config *c = run->config;
    struct operand_source source = operands_of_run(run);
    int part[2] = {-1, -1}, inverse = c->variant == FOURIER_IFFT2;
    if (!operand_parts(&source, parts(c), part))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The arguments are not as they were");
    const struct tensor *re = run->inputs[part[0]];
    int rank = re->shape.rank;
    int64_t last = re->shape.dims[rank - 1], n = transform_length(c, last);
    if (c->variant == FOURIER_RFFT)
        return run_real(run, re, n);
    const struct tensor *im = run->inputs[part[1]];
    if (c->variant == FOURIER_IRFFT)
        return run_real_inverse(run, re, im, n);
    float *to_re = run->outputs[0]->data, *to_im = run->outputs[1]->data;
    for (int64_t i = 0; i < re->count; i++) {
        to_re[i] = re->data[i];
        to_im[i] = im->data[i];
    }
    if (run_axis(run, last, 1, inverse, to_re, to_im) < 0)
        return -1;
    return axes(c) == 1 ? 0 : run_axis(run, re->shape.dims[rank - 2], last, inverse, to_re, to_im);
}

/* ---- lowering ---- */

static int op_fourier_lower(struct lowering *l, const struct keras_call *call)
{
    const struct fourier_config *c = call->layer->config;
    struct operand_source source = operands_of_call(call);
    int part[2] = {-1, -1}, ids[2] = {-1, -1}, rank = call->outputs[0]->shape.rank, count = parts(c);
    if (!operand_parts(&source, parts(c), part))
        return -1;
    for (int i = 0; i < count; i++)
        ids[i] = lower_input_keras(l, call, part[i]).id;
    struct torch_attr length = attr_int("n", c->length), dims = attr_list(l, "dim", axes(c), (int64_t[]){-1, -2});
    bool real = c->variant == FOURIER_RFFT || c->variant == FOURIER_IRFFT;
    static const enum torch_op ops[][2] = {
        [FOURIER_RFFT] = {TORCH_RFFT_REAL, TORCH_RFFT_IMAG},  [FOURIER_IRFFT] = {TORCH_IRFFT, TORCH_IRFFT},
        [FOURIER_FFT] = {TORCH_FFT_REAL, TORCH_FFT_IMAG},     [FOURIER_FFT2] = {TORCH_FFT_REAL, TORCH_FFT_IMAG},
        [FOURIER_IFFT2] = {TORCH_IFFT_REAL, TORCH_IFFT_IMAG},
    };
    for (int i = 0; i < call->output_count; i++) {
        struct node_spec spec = {
            .op = ops[c->variant][i],
            .input_count = count,
            .inputs = ids,
            .attr_count = real && !c->length ? 0 : 1,
            .attrs = real ? &length : &dims,
            .shape = call->outputs[i]->shape,
            .dtype = DTYPE_F32,
        };
        lower_output(l, call, i, (struct lowered){lower_node(l, call, &spec), layout_keras(rank)});
    }
    return 0;
}

const struct layer_handler op_fourier_handler = {
    .config_size = sizeof(struct fourier_config),
    .read = op_fourier_read,
    .shape = op_fourier_shape,
    .reference = op_fourier_reference,
    .lower = op_fourier_lower,
};
