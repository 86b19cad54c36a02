/* SPDX-License-Identifier: Apache-2.0 */
/* STFTSpectrogram: a convolution of each channel with the real and the imaginary part of windowed waves, which are weights. */
#include <math.h>
#include <stdlib.h>

#include "layers/compose.h"
#include "layers/spatial.h"

enum stft_mode { STFT_LOG, STFT_MAGNITUDE, STFT_PSD, STFT_REAL, STFT_IMAG, STFT_BOTH };

/* keras.config.epsilon(): the least power and the least magnitude. */
static const double epsilon = 1e-7;

struct stft_config {
    enum stft_mode mode;
    struct spatial_window window; /* the frames */
    int64_t bins;
    bool expand_dims;
};

static void stft_read(struct config_reader *reader, void *config, int variant)
{
    struct stft_config *c = config;
    (void)variant;
    /* The angle of a part that is zero but for rounding is any of -pi and pi. */
    c->mode = (enum stft_mode)config_choice(reader, "mode", "log magnitude psd real imag stft", STFT_LOG);
    int64_t frame = spatial_read_count(reader, "frame_length", 256), fft = 1;
    while (fft < frame)
        fft *= 2;
    fft = spatial_read_count(reader, "fft_length", fft);
    c->window = (struct spatial_window){.rank = 1, .size = {frame}, .dilation = {1}};
    c->window.stride[0] = spatial_read_count(reader, "frame_step", frame > 1 ? frame / 2 : 1);
    spatial_read_padding(reader, &c->window, false);
    c->bins = fft / 2 + 1;
    c->expand_dims = config_bool(reader, "expand_dims", false);
    (void)config_data_format(reader);
    config_ignore(reader, "window periodic scaling"); /* of the weights when they were made */
    if (fft < frame || fft < 2)
        config_refuse(reader, H5PT_CONFIG_INVALID, "fft_length", "\"fft_length\" must not be below frame_length or 2");
}

/* Values for a frame of one channel. */
static int64_t values_per_frame(const struct stft_config *c)
{
    return c->mode == STFT_BOTH ? 2 * c->bins : c->bins;
}

static int stft_shape(struct layer_shape *s)
{
    const struct stft_config *c = s->config;
    int64_t channels, values = values_per_frame(c), kernel[3] = {c->window.size[0], 1, c->bins};
    if (spatial_check_input(s, 1) < 0 || layer_known_dim(s, spatial_channel_axis(s->layer, 1), &channels) < 0)
        return -1;
    if (channels < 1 || channels > WINDOW_MAX_SETTING / values)
        return layer_shape_fail(s, "There must be channels, and not too many");
    int64_t frames = spatial_output_size(&c->window, 0, s->inputs[0].dims[spatial_axis(s->layer)]);
    if (spatial_set_output(s, 1, &frames, channels * values) < 0)
        return -1;
    if (c->expand_dims)
        s->outputs[0] = s->layer->channels_first
                            ? shape_of(4, (const int64_t[]){s->inputs[0].dims[0], channels, frames, values})
                            : shape_of(4, (const int64_t[]){s->inputs[0].dims[0], frames, values, channels});
    if (c->mode != STFT_IMAG)
        layer_weight(s, "real_kernel", 3, kernel);
    if (c->mode != STFT_REAL)
        layer_weight(s, "imag_kernel", 3, kernel);
    return 0;
}

/* ---- reference ---- */

/* One channel of one sample: samples and output values by steps in memory. */
struct signal {
    const float *x;
    int64_t length, step;
    float *y;
    int64_t frame_step, value_step;
};

static float project(const struct stft_config *c, const struct signal *s, const struct tensor *kernel, int64_t start,
                     int64_t bin)
{
    double sum = 0;
    for (int64_t i = 0; i < c->window.size[0]; i++)
        if (start + i >= 0 && start + i < s->length)
            sum += (double)s->x[(start + i) * s->step] * (double)kernel->data[i * c->bins + bin];
    return (float)sum;
}

static float combine(const struct stft_config *c, float real, float imag, int64_t bin)
{
    float power = real * real + imag * imag, least = (float)epsilon;
    switch (c->mode) {
    case STFT_REAL: return real;
    case STFT_IMAG: return imag;
    case STFT_PSD: return bin == 0 || bin == c->bins - 1 ? power : power + power;
    case STFT_MAGNITUDE: return sqrtf(fmaxf(power, least));
    default: return logf(fmaxf(sqrtf(fmaxf(power, least)), least));
    }
}

static void run_signal(const struct layer_run *run, const struct signal *s, int64_t frames, int64_t before)
{
    const struct stft_config *c = run->config;
    const struct tensor *real = c->mode == STFT_IMAG ? NULL : run->weights[0];
    const struct tensor *imag = c->mode == STFT_REAL ? NULL : run->weights[c->mode == STFT_IMAG ? 0 : 1];
    for (int64_t t = 0; t < frames; t++)
        for (int64_t bin = 0; bin < c->bins; bin++) {
            int64_t start = t * c->window.stride[0] - before;
            float re = real ? project(c, s, real, start, bin) : 0, im = imag ? project(c, s, imag, start, bin) : 0;
            float *y = s->y + t * s->frame_step + bin * s->value_step;
            *y = c->mode == STFT_BOTH ? re : combine(c, re, im, bin);
            if (c->mode == STFT_BOTH)
                y[c->bins * s->value_step] = im;
        }
}

static int stft_reference(const struct layer_run *run)
{
    const struct stft_config *c = run->config;
    const struct shape *in = &run->inputs[0]->shape;
    bool first = run->layer->channels_first;
    int64_t length = in->dims[spatial_axis(run->layer)], channels = in->dims[spatial_channel_axis(run->layer, 1)];
    int64_t frames = spatial_output_size(&c->window, 0, length), values = values_per_frame(c), before = 0, after;
    if (c->window.padding == SPATIAL_SAME)
        window_same(length, c->window.size[0], c->window.stride[0], &before, &after);
    for (int64_t b = 0; b < in->dims[0]; b++)
        for (int64_t k = 0; k < channels; k++) {
            struct signal s = {.x = run->inputs[0]->data + b * length * channels + (first ? k * length : k),
                               .length = length,
                               .step = first ? 1 : channels,
                               .y = run->outputs[0]->data + b * frames * values * channels};
            /* (frames, values, channels), (frames, channels * values), (channels, frames, values) or (channels * values,
             * frames) */
            s.y += first ? k * values * frames : c->expand_dims ? k : k * values;
            s.frame_step = first ? (c->expand_dims ? values : 1) : values * channels;
            s.value_step = first ? (c->expand_dims ? 1 : frames) : c->expand_dims ? channels : 1;
            run_signal(run, &s, frames, before);
        }
    return 0;
}

/* ---- torch ---- */

/* nn.Conv1d of x (signals, 1, samples). */
static struct lowered project_all(struct lowering *l, const struct keras_call *call, struct lowered x,
                                  const char *suffix, const char *slot, int64_t padding)
{
    const struct stft_config *c = call->layer->config;
    const char *module = lower_module(l, call, suffix);
    struct rearrangement r = rearrange_axes(&lower_weight(call, slot)->shape, (const int[]){2, 1, 0});
    int weight = lower_parameter(l, call, module, "weight", slot, &r);
    struct shape in = lower_shape(l, x.id);
    struct torch_attr attrs[] = {attr_int("in_channels", 1),
                                 attr_int("out_channels", c->bins),
                                 attr_ints(l, "kernel_size", 1, c->window.size),
                                 attr_ints(l, "stride", 1, c->window.stride),
                                 attr_int("padding", padding),
                                 attr_bool("bias", false)};
    struct spatial_window window = c->window;
    window.padding = SPATIAL_VALID;
    if (in.dims[2] != DIM_UNKNOWN)
        in.dims[2] += 2 * padding;
    x.id = lower_node(l, call,
                      &(struct node_spec){.op = TORCH_CONV1D,
                                          .module = module,
                                          .input_count = 1,
                                          .inputs = &x.id,
                                          .parameter_count = 1,
                                          .parameters = &weight,
                                          .attr_count = 6,
                                          .attrs = attrs,
                                          .shape = spatial_torch_shape(&window, &in, c->bins),
                                          .dtype = DTYPE_F32});
    return x;
}

/* psd counts the bins between the first and the last twice, for the negative frequencies. */
static struct lowered double_bins(struct lowering *l, const struct keras_call *call, struct lowered power)
{
    const struct stft_config *c = call->layer->config;
    struct shape shape = shape_of(2, (const int64_t[]){c->bins, 1});
    struct layout layout = layout_keras(2);
    float *factors = calloc((size_t)c->bins, sizeof *factors);
    if (!factors)
        return (struct lowered){.id = -1};
    for (int64_t i = 0; i < c->bins; i++)
        factors[i] = i == 0 || i == c->bins - 1 ? 1 : 2;
    power = lower_binary(l, call, TORCH_MUL, power, lower_constant_value(l, call, "sides", &shape, &layout, factors));
    free(factors);
    return power;
}

/* (signals, values, frames) */
static struct lowered spectra(struct lowering *l, const struct keras_call *call, struct lowered x, int64_t padding)
{
    const struct stft_config *c = call->layer->config;
    struct lowered real = x, imag = x;
    if (c->mode != STFT_IMAG)
        real = project_all(l, call, x, "real", "real_kernel", padding);
    if (c->mode != STFT_REAL)
        imag = project_all(l, call, x, "imag", "imag_kernel", padding);
    if (c->mode == STFT_REAL || c->mode == STFT_IMAG)
        return c->mode == STFT_REAL ? real : imag;
    if (c->mode == STFT_BOTH)
        return lower_cat(l, call, 2, (const struct lowered[]){real, imag}, 1);
    real = lower_pointwise(l, call, real, TORCH_SQUARE, NULL, 0, NULL);
    imag = lower_pointwise(l, call, imag, TORCH_SQUARE, NULL, 0, NULL);
    struct lowered power = lower_binary(l, call, TORCH_ADD, real, imag);
    if (c->mode == STFT_PSD)
        return double_bins(l, call, power);
    x = lower_pointwise(l, call, lower_clamp(l, call, power, epsilon, (double)INFINITY), TORCH_SQRT, NULL, 0, NULL);
    if (c->mode == STFT_LOG)
        x = lower_pointwise(l, call, lower_clamp(l, call, x, epsilon, (double)INFINITY), TORCH_LOG, NULL, 0, NULL);
    return x;
}

static int stft_lower(struct lowering *l, const struct keras_call *call)
{
    const struct stft_config *c = call->layer->config;
    bool first = call->layer->channels_first;
    int64_t channels = call->inputs[0]->shape.dims[spatial_channel_axis(call->layer, 1)], padding[WINDOW_MAX_RANK];
    int64_t values = values_per_frame(c), frames = call->outputs[0]->shape.dims[first ? 2 : 1];
    struct lowered x = spatial_input(l, call, 1);
    if (x.id < 0)
        return -1;
    x = spatial_pad(l, call, &c->window, x, 0, padding);
    if (channels > 1) {
        int64_t samples = lower_shape(l, x.id).dims[2];
        x = lower_reshape(l, call, x, 3, (const int64_t[]){DIM_UNKNOWN, 1, samples}, (const int[]){-1, -1, 2});
    }
    x = spectra(l, call, x, padding[0]);
    if (c->expand_dims) {
        x = lower_reshape(l, call, x, 4, (const int64_t[]){DIM_UNKNOWN, channels, values, frames},
                          (const int[]){-1, -1, -1, 2});
        x.layout = (struct layout){.rank = 4, .axes = {0, first ? 1 : 3, first ? 3 : 2, first ? 2 : 1}};
    } else {
        if (channels > 1)
            x = lower_reshape(l, call, x, 3, (const int64_t[]){DIM_UNKNOWN, channels * values, frames},
                              (const int[]){-1, -1, 2});
        x.layout = layout_spatial(call->layer, 3);
    }
    return lower_output(l, call, 0, x);
}

const struct layer_handler stft_handler = {
    .config_size = sizeof(struct stft_config),
    .read = stft_read,
    .shape = stft_shape,
    .reference = stft_reference,
    .lower = stft_lower,
};
