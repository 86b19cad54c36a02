/* SPDX-License-Identifier: Apache-2.0 */
/* ExtractSequences, STFT and ISTFT: signals (…, time) cut into frames that overlap, and put together again. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/json.h"
#include "layers/fourier.h"
#include "layers/operation.h"
#include "layers/variants.h"
#include "layers/window.h"

struct frames_config {
    enum frames_variant variant;
    int64_t size, stride; /* of a frame; of the transform where there is one */
    int64_t length;       /* ISTFT: of the result; -1: what the frames give */
    bool center;
    const double *window; /* `size` numbers, or NULL: none */
};

/* TensorFlow's raised cosines; "periodic" means nothing for an odd length. */
static double raised_cosine(bool hann, int64_t length, int64_t i)
{
    double a = hann ? 0.5 : 0.54, n = (double)(length % 2 == 0 ? length : length - 1);
    return length == 1 ? 1 : a - (1 - a) * cos(2 * acos(-1.0) * (double)i / n);
}

/* The window of `length` numbers in the middle of a frame. */
static void read_window(struct config_reader *reader, struct frames_config *c, int64_t length)
{
    const json_t *value = config_get(reader, "window");
    const double *given = NULL;
    bool named = json_is_string(value);
    int kind = named ? config_choice(reader, "window", "hann hamming", 0) : 0;
    if (!value)
        return;
    if (!named && config_doubles(reader, "window", &given) != length) {
        config_refuse(reader, H5PT_CONFIG_INVALID, "window", "\"window\" must be a name or sequence_length numbers");
        return;
    }
    double *window = ARENA_ARRAY(reader->arena, double, (size_t)c->size);
    int64_t before = (c->size - length) / 2;
    if (!window)
        return;
    for (int64_t i = 0; i < c->size; i++) {
        bool inside = i >= before && i < before + length;
        window[i] = !inside ? 0 : named ? raised_cosine(kind == 0, length, i - before) : given[i - before];
    }
    c->window = window;
}

static int64_t read_count(struct config_reader *reader, const char *key)
{
    int64_t n = config_size(reader, key, 1);
    if (n > WINDOW_MAX_SETTING)
        config_refuse(reader, H5PT_CONFIG_INVALID, key, "\"%s\" is too large", key);
    return n > WINDOW_MAX_SETTING ? 1 : n;
}

static void op_frames_read(struct config_reader *reader, void *config, int variant)
{
    struct frames_config *c = config;
    c->variant = (enum frames_variant)variant;
    c->size = read_count(reader, "sequence_length");
    c->stride = read_count(reader, "sequence_stride");
    c->length = -1;
    if (c->variant == FRAMES_EXTRACT)
        return;
    int64_t length = c->size;
    c->size = read_count(reader, "fft_length");
    c->center = config_bool(reader, "center", true);
    if (c->variant == FRAMES_ISTFT && config_get(reader, "length"))
        c->length = config_size(reader, "length", 1);
    if (c->size < length || c->size < 2) {
        config_refuse(reader, H5PT_CONFIG_INVALID, "fft_length",
                      "\"fft_length\" must not be below sequence_length or 2");
        return;
    }
    read_window(reader, c, length);
}

/* How many tensors the operation takes: a spectrum is two. */
static int parts(const struct frames_config *c)
{
    return c->variant == FRAMES_ISTFT ? 2 : 1;
}

static int64_t edge(const struct frames_config *c)
{
    return c->center ? c->size / 2 : 0;
}

/* What is left of the signal that so many frames make. */
struct span {
    int64_t full, start, stop;
};

static struct span span_of(const struct frames_config *c, int64_t frames)
{
    struct span span = {.full = (frames - 1) * c->stride + c->size, .start = edge(c)};
    int64_t stop = c->length >= 0 ? span.start + c->length : span.full - edge(c);
    span.stop = stop > span.full ? span.full : stop;
    return span;
}

/* (…, time) → (…, frames, values of a frame) */
static int shape_of_frames(struct layer_shape *s, const struct shape *in)
{
    const struct frames_config *c = s->config;
    struct shape out = *in;
    int64_t n = in->rank > 0 ? in->dims[in->rank - 1] : 0;
    bool known = n != DIM_UNKNOWN, stft = c->variant == FRAMES_STFT;
    if (in->rank < 1 || in->rank == SHAPE_MAX_RANK || (known && n + 2 * (stft ? edge(c) : 0) < c->size))
        return layer_shape_fail(s, "The signal is shorter than a frame");
    if (known && stft && edge(c) >= n)
        return layer_shape_fail(s, "The signal is too short to be reflected at its ends");
    out.dims[out.rank - 1] = known ? (n + 2 * (stft ? edge(c) : 0) - c->size) / c->stride + 1 : DIM_UNKNOWN;
    out.dims[out.rank++] = stft ? c->size / 2 + 1 : c->size;
    s->outputs[0] = s->outputs[1] = out;
    s->output_count = stft ? 2 : 1;
    s->output_dtypes[1] = DTYPE_F32;
    return 0;
}

static int op_frames_shape(struct layer_shape *s)
{
    const struct frames_config *c = s->config;
    struct operand_source source = operands_of_shape(s);
    int part[2] = {-1, -1};
    if (!operand_parts(&source, parts(c), part))
        return operand_fail(s, "x");
    const struct shape *in = &s->inputs[part[0]];
    for (int i = 0; i < parts(c); i++)
        if (s->input_dtypes[part[i]] != DTYPE_F32 && c->variant != FRAMES_EXTRACT)
            return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype", "%s is supported for float32",
                             s->layer->class_name);
    if (c->variant == FRAMES_EXTRACT)
        s->output_dtypes[0] = s->input_dtypes[part[0]];
    if (c->variant != FRAMES_ISTFT)
        return shape_of_frames(s, in);
    if (!shape_equal(in, &s->inputs[part[1]]))
        return layer_shape_fail(s, "The real and the imaginary part must have the same shape");
    if (in->rank < 3)
        return layer_shape_fail(s, "%s is supported for a batch of spectrograms", s->layer->class_name);
    for (int i = 1; i < in->rank; i++)
        if (in->dims[i] < 1)
            return layer_shape_fail(s, "%s is supported for a known number of frames", s->layer->class_name);
    if (in->dims[in->rank - 2] > WINDOW_MAX_SETTING)
        return layer_shape_fail(s, "There are too many frames");
    struct span span = span_of(c, in->dims[in->rank - 2]);
    if (span.stop <= span.start)
        return layer_shape_fail(s, "Nothing of the signal is left");
    s->outputs[0] = *in;
    s->outputs[0].dims[--s->outputs[0].rank - 1] = span.stop - span.start;
    return 0;
}

/* ---- reference ---- */

/* The cell of the signal at `i`, which may lie outside: reflected. */
static int64_t reflected(int64_t i, int64_t n)
{
    i = i < 0 ? -i : i;
    return i < n ? i : 2 * (n - 1) - i;
}

static int run_frames(const struct layer_run *run, const struct tensor *x)
{
    const struct frames_config *c = run->config;
    bool stft = c->variant == FRAMES_STFT;
    int64_t n = x->shape.dims[x->shape.rank - 1], before = stft ? edge(c) : 0;
    int64_t frames = run->outputs[0]->shape.dims[x->shape.rank - 1], values = stft ? c->size / 2 + 1 : c->size;
    struct fourier f = {.n = 0};
    if (stft && fourier_init(&f, c->size) < 0)
        return h5pt_fail_memory(run->err);
    for (int64_t k = 0; k < x->count / n * frames; k++) {
        const float *line = x->data + k / frames * n;
        int64_t start = k % frames * c->stride - before;
        for (int64_t i = 0; i < c->size; i++) {
            float value = line[reflected(start + i, n)];
            if (stft)
                f.real[i] = (double)value * (c->window ? c->window[i] : 1);
            else
                run->outputs[0]->data[k * values + i] = value;
        }
        if (!stft)
            continue;
        fourier_line(&f, values, 0);
        for (int64_t i = 0; i < values; i++) {
            run->outputs[0]->data[k * values + i] = (float)f.ret_real[i];
            run->outputs[1]->data[k * values + i] = (float)f.ret_imag[i];
        }
    }
    fourier_release(&f);
    return 0;
}

/* What a cell of a frame is multiplied by so that frames that were windowed add up to the signal. */
static double inverse_window(const struct frames_config *c, int64_t i)
{
    double sum = 0;
    for (int64_t k = i % c->stride; c->window && k < c->size; k += c->stride)
        sum += c->window[k] * c->window[k];
    return c->window ? c->window[i] / sum : 1;
}

static int run_overlap(const struct layer_run *run, const struct tensor *re, const struct tensor *im)
{
    const struct frames_config *c = run->config;
    int rank = re->shape.rank;
    int64_t frames = re->shape.dims[rank - 2], bins = re->shape.dims[rank - 1], n = c->size;
    struct span span = span_of(c, frames);
    double *sum = calloc((size_t)span.full, sizeof *sum);
    struct fourier f = {.n = 0};
    int status = sum && fourier_init(&f, n) == 0 ? 0 : h5pt_fail_memory(run->err);
    for (int64_t k = 0; status == 0 && k < re->count / bins; k++) {
        if (k % frames == 0)
            memset(sum, 0, (size_t)span.full * sizeof *sum);
        for (int64_t i = 0; i < n; i++) {
            int64_t bin = i <= n / 2 ? i : n - i, at = k * bins + bin;
            bool within = bin < bins, imaginary = within && bin != 0 && 2 * bin != n;
            f.real[i] = within ? (double)re->data[at] : 0;
            f.imag[i] = !imaginary ? 0 : i == bin ? (double)im->data[at] : -(double)im->data[at];
        }
        fourier_line(&f, n, 1);
        for (int64_t i = 0; i < n; i++)
            sum[k % frames * c->stride + i] += f.ret_real[i] * inverse_window(c, i);
        for (int64_t i = span.start; k % frames == frames - 1 && i < span.stop; i++)
            run->outputs[0]->data[k / frames * (span.stop - span.start) + i - span.start] = (float)sum[i];
    }
    fourier_release(&f);
    free(sum);
    return status;
}

static int op_frames_reference(const struct layer_run *run)
{
    const struct frames_config *c = run->config;
    struct operand_source source = operands_of_run(run);
    int part[2] = {-1, -1};
    if (!operand_parts(&source, parts(c), part))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The arguments are not as they were");
    if (c->variant == FRAMES_ISTFT)
        return run_overlap(run, run->inputs[part[0]], run->inputs[part[1]]);
    return run_frames(run, run->inputs[part[0]]);
}

/* ---- lowering ---- */

/* x times a number for each cell of its last axis. */
static struct lowered lower_windowed(struct lowering *l, const struct keras_call *call, const struct frames_config *c,
                                     struct lowered x)
{
    struct shape shape = {.rank = x.layout.rank};
    for (int i = 0; i < shape.rank; i++)
        shape.dims[i] = i == shape.rank - 1 ? c->size : 1;
    struct tensor *window = c->window ? tensor_new(&shape, DTYPE_F32) : NULL;
    for (int64_t i = 0; window && i < c->size; i++)
        window->data[i] = (float)(c->variant == FRAMES_STFT ? c->window[i] : inverse_window(c, i));
    if (window)
        x = lower_join(l, call, TORCH_MUL, x, lower_buffer(l, call, "window", window, &x.layout), DTYPE_F32);
    tensor_free(window);
    return x;
}

static struct lowered lower_reflected(struct lowering *l, const struct keras_call *call, struct lowered x, int64_t edge)
{
    int dim = x.layout.rank - 1;
    if (edge == 0)
        return x;
    struct lowered parts[] = {lower_flip(l, call, lower_range(l, call, x, dim, 1, edge + 1, 1), 1, (int64_t[]){dim}), x,
                              lower_flip(l, call, lower_range(l, call, x, dim, -edge - 1, -1, 1), 1, (int64_t[]){dim})};
    return lower_cat(l, call, 3, parts, dim);
}

static void lower_frames(struct lowering *l, const struct keras_call *call, const struct frames_config *c,
                         struct lowered x)
{
    int rank = x.layout.rank;
    if (c->variant == FRAMES_STFT)
        x = lower_reflected(l, call, x, edge(c));
    struct torch_attr attrs[] = {attr_int("dimension", rank - 1), attr_int("size", c->size),
                                 attr_int("step", c->stride)};
    struct shape shape = call->outputs[0]->shape, frames = shape;
    frames.dims[rank] = c->size;
    struct layout layout = layout_keras(rank + 1);
    x = lower_one(l, call, TORCH_UNFOLD_DIM, x, frames, layout, lower_dtype(l, x.id), 3, attrs);
    if (c->variant == FRAMES_EXTRACT) {
        lower_output(l, call, 0, x);
        return;
    }
    x = lower_windowed(l, call, c, x);
    lower_output(l, call, 0, lower_one(l, call, TORCH_RFFT_REAL, x, shape, layout, DTYPE_F32, 0, NULL));
    lower_output(l, call, 1, lower_one(l, call, TORCH_RFFT_IMAG, x, shape, layout, DTYPE_F32, 0, NULL));
}

/* The axes between batch and frames are the channels of F.fold. */
static void lower_overlap(struct lowering *l, const struct keras_call *call, const struct frames_config *c,
                          const int part[2])
{
    struct lowered re = lower_input_keras(l, call, part[0]), im = lower_input_keras(l, call, part[1]);
    int rank = re.layout.rank, axes[SHAPE_MAX_RANK], from[SHAPE_MAX_RANK] = {0};
    struct shape shape = lower_shape(l, re.id), out = call->outputs[0]->shape;
    int64_t channels = 1, frames = shape.dims[rank - 2];
    struct span span = span_of(c, frames);
    struct torch_attr n = attr_int("n", c->size);
    shape.dims[rank - 1] = c->size;
    struct node_spec spec = {.op = TORCH_IRFFT,
                             .input_count = 2,
                             .inputs = (int[]){re.id, im.id},
                             .attr_count = 1,
                             .attrs = &n,
                             .shape = shape,
                             .dtype = DTYPE_F32};
    struct lowered x = lower_windowed(l, call, c, (struct lowered){lower_node(l, call, &spec), layout_keras(rank)});
    for (int i = 0; i < rank; i++) {
        axes[i] = i < rank - 2 ? i : i == rank - 2 ? rank - 1 : rank - 2;
        channels *= i > 0 && i < rank - 2 ? shape.dims[i] : 1;
        from[i] = i == 0 ? 0 : -1;
    }
    x = lower_transpose(l, call, x, axes);
    if (rank > 3)
        x = lower_reshape(l, call, x, 3, (int64_t[]){DIM_UNKNOWN, channels * c->size, frames}, from);
    struct torch_attr attrs[] = {attr_list(l, "output_size", 2, (int64_t[]){1, span.full}),
                                 attr_list(l, "kernel_size", 2, (int64_t[]){1, c->size}),
                                 attr_list(l, "stride", 2, (int64_t[]){1, c->stride})};
    struct shape folded = {.rank = 4, .dims = {shape.dims[0], channels, 1, span.full}};
    x = lower_one(l, call, TORCH_FOLD, x, folded, layout_keras(4), DTYPE_F32, 3, attrs);
    x = lower_range(l, call, x, 3, span.start, span.stop, 1);
    lower_output(l, call, 0, lower_reshape(l, call, x, out.rank, out.dims, from));
}

static int op_frames_lower(struct lowering *l, const struct keras_call *call)
{
    const struct frames_config *c = call->layer->config;
    struct operand_source source = operands_of_call(call);
    int part[2] = {-1, -1};
    if (!operand_parts(&source, parts(c), part))
        return -1;
    if (c->variant == FRAMES_ISTFT)
        lower_overlap(l, call, c, part);
    else
        lower_frames(l, call, c, lower_input_keras(l, call, part[0]));
    return 0;
}

const struct layer_handler op_frames_handler = {
    .config_size = sizeof(struct frames_config),
    .read = op_frames_read,
    .shape = op_frames_shape,
    .reference = op_frames_reference,
    .lower = op_frames_lower,
};
