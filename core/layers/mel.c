/* SPDX-License-Identifier: Apache-2.0 */
/* MelSpectrogram: the magnitudes of a centred STFT, summed up in bands of the mel scale, in decibels if so asked. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"

struct mel_config {
    int64_t fft, stride, sequence; /* samples; the window covers `sequence` of the `fft` */
    int64_t bins, mels;
    float *window; /* fft */
    float *bands;  /* (mels, bins) */
    bool decibels;
    double top, exponent, least, reference;
};

static const int64_t max_fft = 1 << 16, max_mels = 1 << 14;

/* TensorFlow's periodic windows, which are not periodic when their length is odd. */
static void fill_window(struct mel_config *c, bool hann)
{
    int64_t before = (c->fft - c->sequence) / 2, steps = c->sequence % 2 ? c->sequence - 1 : c->sequence;
    for (int64_t i = 0; i < c->sequence; i++) {
        double wave = steps ? cos(6.283185307179586 * (double)i / (double)steps) : -1;
        c->window[before + i] = (float)(hann ? 0.5 - 0.5 * wave : 0.54 - 0.46 * wave);
    }
    if (c->sequence == 1)
        c->window[before] = 1;
}

static float mel_of(float hertz)
{
    return 1127.0f * logf(1.0f + hertz / 700.0f);
}

/* Triangles between every other of mels + 2 frequencies that are evenly spread over the mel scale. */
static void fill_bands(struct mel_config *c, float rate, float low, float high)
{
    float first = mel_of(low), step = (mel_of(high) - first) / (float)(c->mels + 1);
    float spacing = rate / 2.0f / (float)(c->bins - 1);
    for (int64_t m = 0; m < c->mels; m++) {
        float left = first + step * (float)m, centre = first + step * (float)(m + 1),
              right = first + step * (float)(m + 2);
        for (int64_t b = 1; b < c->bins; b++) {
            float at = mel_of(spacing * (float)b);
            float weight = fminf((at - left) / (centre - left), (right - at) / (right - centre));
            c->bands[m * c->bins + b] = weight > 0 ? weight : 0;
        }
    }
}

static void read_window(struct config_reader *reader, struct mel_config *c)
{
    if (json_is_null(json_object_get(reader->json, "window"))) {
        (void)config_get(reader, "window");
        for (int64_t i = 0; i < c->fft; i++)
            c->window[i] = 1;
    } else {
        fill_window(c, config_choice(reader, "window", "hann hamming", 0) == 0);
    }
    if (c->sequence % 2 && !reader->version.tensorflow)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "sequence_length",
                      "Windows of odd lengths differ between TensorFlow and other backends, which are not supported");
}

static void mel_read(struct config_reader *reader, void *config, int variant)
{
    struct mel_config *c = config;
    (void)variant;
    c->fft = config_int(reader, "fft_length", 2048);
    c->stride = config_int(reader, "sequence_stride", 512);
    c->sequence = config_int(reader, "sequence_length", c->fft);
    c->mels = config_int(reader, "num_mel_bins", 128);
    int64_t rate = config_int(reader, "sampling_rate", 16000);
    double low = config_double(reader, "min_freq", 20), high = config_double(reader, "max_freq", 0);
    c->decibels = config_bool(reader, "power_to_db", true);
    c->top = config_double(reader, "top_db", 80);
    c->exponent = config_double(reader, "mag_exp", 2);
    c->least = config_double(reader, "min_power", 1e-10);
    c->reference = fabs(config_double(reader, "ref_power", 1));
    if (c->fft < 2 || c->fft > max_fft || c->sequence < 1 || c->sequence > c->fft || c->stride < 1 ||
        c->stride > max_fft || c->mels < 1 || c->mels > max_mels || rate < 2 || !(c->exponent > 0) || !(c->least > 0)) {
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "fft_length",
                      "These sizes of a mel spectrogram are not supported");
        return;
    }
    c->bins = c->fft / 2 + 1;
    c->window = ARENA_ARRAY(reader->arena, float, (size_t)c->fft);
    c->bands = ARENA_ARRAY(reader->arena, float, (size_t)(c->mels * c->bins));
    if (!c->window || !c->bands) {
        reader->refusals->broken = true;
        return;
    }
    read_window(reader, c);
    fill_bands(c, (float)rate, (float)low, high > 0 ? (float)high : (float)(rate / 2));
}

static int mel_shape(struct layer_shape *s)
{
    const struct mel_config *c = s->config;
    const struct shape *in = &s->inputs[0];
    if (in->rank != 2)
        return layer_shape_fail(s, "It takes a batch of signals without channels");
    int64_t length = in->dims[1], frames = DIM_UNKNOWN;
    if (length != DIM_UNKNOWN && length <= c->fft / 2)
        return layer_shape_fail(s, "A signal of %lld samples is too short to be reflected at its ends",
                                (long long)length);
    if (length != DIM_UNKNOWN)
        frames = (length + c->fft / 2 * 2 - c->fft) / c->stride + 1;
    s->outputs[0] = shape_of(3, (const int64_t[]){in->dims[0], c->mels, frames});
    return 0;
}

/* ---- reference ---- */

/* The magnitudes of one frame, to the power. `waves`: cosines and sines of a turn in fft steps. */
static void frame_magnitudes(const struct mel_config *c, const double *frame, const double *waves, float *magnitudes)
{
    for (int64_t b = 0; b < c->bins; b++) {
        double real = 0, imag = 0;
        for (int64_t i = 0, at = 0; i < c->fft; i++, at = (at + b) % c->fft) {
            real += frame[i] * waves[at];
            imag -= frame[i] * waves[c->fft + at];
        }
        magnitudes[b] = powf((float)sqrt(real * real + imag * imag), (float)c->exponent);
    }
}

static void read_frame(const struct mel_config *c, const float *x, int64_t length, int64_t start, double *frame)
{
    for (int64_t i = 0; i < c->fft; i++) {
        int64_t at = start + i < 0 ? -(start + i) : start + i;
        at = at >= length ? 2 * (length - 1) - at : at;
        frame[i] = (double)x[at] * (double)c->window[i];
    }
}

static void to_decibels(const struct mel_config *c, struct tensor *y)
{
    float top = -INFINITY, least = (float)c->least, offset = 10.0f * log10f(fmaxf((float)c->reference, least));
    for (int64_t i = 0; i < y->count; i++) {
        y->data[i] = 10.0f * log10f(fmaxf(y->data[i], least)) - offset;
        top = fmaxf(top, y->data[i]);
    }
    for (int64_t i = 0; i < y->count; i++)
        y->data[i] = fmaxf(y->data[i], top - (float)c->top);
}

static int mel_reference(const struct layer_run *run)
{
    const struct mel_config *c = run->config;
    const struct tensor *x = run->inputs[0];
    struct tensor *y = run->outputs[0];
    int64_t length = x->shape.dims[1], frames = y->shape.dims[2];
    double *waves = calloc((size_t)(3 * c->fft), sizeof *waves), *frame = waves ? waves + 2 * c->fft : NULL;
    float *magnitudes = calloc((size_t)c->bins, sizeof *magnitudes);
    if (!waves || !magnitudes) {
        free(waves);
        free(magnitudes);
        return h5pt_fail_memory(run->err);
    }
    for (int64_t i = 0; i < c->fft; i++) {
        waves[i] = cos(6.283185307179586 * (double)i / (double)c->fft);
        waves[c->fft + i] = sin(6.283185307179586 * (double)i / (double)c->fft);
    }
    for (int64_t i = 0; i < x->shape.dims[0] * frames; i++) {
        int64_t b = i / frames, t = i % frames;
        read_frame(c, x->data + b * length, length, t * c->stride - c->fft / 2, frame);
        frame_magnitudes(c, frame, waves, magnitudes);
        for (int64_t m = 0; m < c->mels; m++) {
            double sum = 0;
            for (int64_t k = 0; k < c->bins; k++)
                sum += (double)magnitudes[k] * (double)c->bands[m * c->bins + k];
            y->data[(b * c->mels + m) * frames + t] = (float)sum;
        }
    }
    free(waves);
    free(magnitudes);
    if (c->decibels)
        to_decibels(c, y);
    return 0;
}

/* ---- torch ---- */

/* |STFT| to the power: (batch, bins, frames). */
static struct lowered lower_magnitudes(struct lowering *l, const struct keras_call *call)
{
    const struct mel_config *c = call->layer->config;
    struct layout vector = layout_keras(1);
    struct shape length = shape_of(1, &c->fft), shape = call->outputs[0]->shape;
    struct lowered x = lower_input_keras(l, call, 0);
    struct lowered window = lower_constant_value(l, call, "window", &length, &vector, c->window);
    struct torch_attr attrs[] = {attr_int("n_fft", c->fft), attr_int("hop_length", c->stride)};
    shape.dims[1] = c->bins;
    x.id = lower_function2(l, call, TORCH_STFT_MAGNITUDE, x.id, window.id, 2, attrs, shape, DTYPE_F32);
    x.layout = layout_keras(3);
    if (c->exponent == 2)
        return lower_pointwise(l, call, x, TORCH_SQUARE, NULL, 0, NULL);
    if (c->exponent == 1)
        return x;
    x = lower_pointwise(l, call, x, TORCH_LOG, NULL, 0, NULL);
    x = lower_scalar(l, call, TORCH_MUL_SCALAR, x, c->exponent);
    return lower_pointwise(l, call, x, TORCH_EXP, NULL, 0, NULL);
}

static struct lowered lower_decibels(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    const struct mel_config *c = call->layer->config;
    double offset = 10 * log10(fmax(c->reference, c->least));
    x = lower_pointwise(l, call, lower_clamp(l, call, x, c->least, (double)INFINITY), TORCH_LOG, NULL, 0, NULL);
    x = lower_scalar(l, call, TORCH_MUL_SCALAR, x, 10 / log(10));
    if (offset != 0)
        x = lower_scalar(l, call, TORCH_ADD_SCALAR, x, -offset);
    struct lowered top = lower_reduce(l, call, TORCH_AMAX, x, 3, (const int[]){0, 1, 2});
    return lower_binary(l, call, TORCH_MAXIMUM, x, lower_scalar(l, call, TORCH_ADD_SCALAR, top, -c->top));
}

static int mel_lower(struct lowering *l, const struct keras_call *call)
{
    const struct mel_config *c = call->layer->config;
    struct layout matrix = layout_keras(2);
    struct shape shape = shape_of(2, (const int64_t[]){c->mels, c->bins});
    struct lowered x = lower_magnitudes(l, call);
    struct lowered bands = lower_constant_value(l, call, "bands", &shape, &matrix, c->bands);
    if (x.id < 0 || bands.id < 0)
        return -1;
    x.id = lower_function2(l, call, TORCH_MATMUL, bands.id, x.id, 0, NULL, call->outputs[0]->shape, DTYPE_F32);
    if (c->decibels)
        x = lower_decibels(l, call, x);
    return lower_output(l, call, 0, x);
}

const struct layer_handler mel_handler = {
    .config_size = sizeof(struct mel_config),
    .read = mel_read,
    .shape = mel_shape,
    .reference = mel_reference,
    .lower = mel_lower,
};
