/* SPDX-License-Identifier: Apache-2.0 */
/* DepthwiseConv1D/2D and SeparableConv1D/2D: every input channel is convolved on its own into `depth_multiplier` channels,
 * and a separable convolution mixes these by a 1 x 1 kernel. Output channel of the first part: channel * multiplier + m,
 * in Keras and in torch. The variant is the number of spatial dimensions. */
#include "layers/conv.h"

#include <string.h>

/* The window of the 1 x 1 kernel. */
static struct spatial_window pointwise_window(int rank)
{
    struct spatial_window window = {.rank = rank, .padding = SPATIAL_VALID};
    for (int i = 0; i < rank; i++)
        window.size[i] = window.stride[i] = window.dilation[i] = 1;
    return window;
}

static void read_common(struct config_reader *reader, struct conv_config *c, int rank, bool causal)
{
    conv_read(reader, c, rank, causal);
    /* Keras 3 computes both together here, unlike in its other convolutions. */
    if (reader->version.major < 3)
        conv_refuse_dilated_stride(reader, c);
    c->multiplier = spatial_read_count(reader, "depth_multiplier", 1);
    spatial_read_only(reader, "groups", 1);
}

static void read_depthwise(struct config_reader *reader, void *config, int variant)
{
    struct conv_config *c = config;
    read_common(reader, c, variant, false);
    if (reader->version.major < 3)
        c->kernel = "depthwise_kernel";
    if (config_get(reader, "filters"))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "filters",
                      "\"filters\" is set, which a depthwise convolution does not have");
}

static void read_separable(struct config_reader *reader, void *config, int variant)
{
    struct conv_config *c = config;
    read_common(reader, c, variant, variant == 1);
    /* Keras forgets to cut off on Theano what an even window gives too much. */
    for (int i = 0; c->window.padding == SPATIAL_EXPLICIT && i < variant; i++)
        c->window.after[i] = c->window.before[i];
    c->kernel = "depthwise_kernel";
    c->filters = spatial_read_count(reader, "filters", 0);
}

/* Declares the depthwise kernel; *ret is the number of channels that it makes. */
static int declare_depthwise(struct layer_shape *s, const struct conv_config *c, int64_t *ret)
{
    int64_t channels;
    if (spatial_check_input(s, c->window.rank) < 0 ||
        layer_known_dim(s, spatial_channel_axis(s->layer, c->window.rank), &channels) < 0)
        return -1;
    if (channels < 1)
        return layer_shape_fail(s, "The input has no channels");
    conv_declare_kernel(s, c->kernel, &c->window, channels, c->multiplier);
    *ret = channels * c->multiplier;
    return 0;
}

static int shape_depthwise(struct layer_shape *s)
{
    const struct conv_config *c = s->config;
    int64_t channels = 0;
    if (declare_depthwise(s, c, &channels) < 0 || spatial_window_shape(s, &c->window, channels) < 0)
        return -1;
    return conv_declare_bias(s, c, channels);
}

static int shape_separable(struct layer_shape *s)
{
    const struct conv_config *c = s->config;
    int64_t channels = 0;
    if (declare_depthwise(s, c, &channels) < 0 || spatial_window_shape(s, &c->window, c->filters) < 0)
        return -1;
    struct spatial_window pointwise = pointwise_window(c->window.rank);
    conv_declare_kernel(s, "pointwise_kernel", &pointwise, channels, c->filters);
    return conv_declare_bias(s, c, c->filters);
}

static struct window_convolution depthwise_job(const struct channels_last *cl, const struct conv_config *c, float *y)
{
    struct window_convolution job = {
        .batch = cl->batch,
        .channels = cl->channels,
        .groups = cl->channels,
        .filters = cl->channels * c->multiplier,
        .x = cl->x->data,
        .kernel = cl->run->weights[0]->data,
        .y = y,
    };
    channels_last_axes(cl, &c->window, job.axes);
    return job;
}

static int reference_depthwise(const struct layer_run *run)
{
    const struct conv_config *c = run->config;
    struct channels_last cl;
    if (channels_last_begin(run, &cl) < 0)
        return -1;
    struct window_convolution job = depthwise_job(&cl, c, cl.y);
    channels_last_fill(&cl, conv_bias(run, c), job.filters);
    window_convolve_depthwise(&job);
    return conv_end(&cl, c, 0);
}

static int reference_separable(const struct layer_run *run)
{
    const struct conv_config *c = run->config;
    struct channels_last cl;
    if (channels_last_begin(run, &cl) < 0)
        return -1;
    struct window_convolution job = depthwise_job(&cl, c, NULL);
    struct window_convolution mix = {
        .batch = cl.batch,
        .channels = job.filters,
        .groups = 1,
        .filters = c->filters,
        .kernel = run->weights[1]->data,
        .y = cl.y,
    };
    for (int i = 0; i < WINDOW_MAX_RANK; i++)
        mix.axes[i] = (struct window_axis){
            .in = job.axes[i].out, .out = job.axes[i].out, .size = 1, .stride = 1, .dilation = 1};
    const int64_t dims[] = {cl.batch, job.axes[0].out, job.axes[1].out, job.axes[2].out, job.filters};
    struct shape between = shape_of(5, dims);
    struct tensor *middle = tensor_new(&between, DTYPE_F32);
    if (!middle)
        return conv_end(&cl, c, h5pt_fail_memory(run->err));
    memset(middle->data, 0, (size_t)middle->count * sizeof(float));
    job.y = middle->data;
    window_convolve_depthwise(&job);
    mix.x = middle->data;
    channels_last_fill(&cl, conv_bias(run, c), c->filters);
    int status = window_convolve(&mix, run->err);
    tensor_free(middle);
    return conv_end(&cl, c, status);
}

/* (taps…, channels, multiplier) → (channels * multiplier, 1, taps…) */
static struct rearrangement rearrange_depthwise(const struct shape *kernel)
{
    int rank = kernel->rank - 2;
    struct rearrangement r = {.view = *kernel, .axes = {rank, rank + 1}};
    r.shape.rank = kernel->rank;
    r.shape.dims[0] = kernel->dims[rank] * kernel->dims[rank + 1];
    r.shape.dims[1] = 1;
    for (int i = 0; i < rank; i++) {
        r.axes[2 + i] = i;
        r.shape.dims[2 + i] = kernel->dims[i];
    }
    return r;
}

static struct lowered lower_first(struct lowering *l, const struct keras_call *call, const char *suffix, bool bias)
{
    const struct conv_config *c = call->layer->config;
    const struct shape *kernel = &lower_weight(call, c->kernel)->shape;
    int64_t channels = kernel->dims[c->window.rank];
    const struct conv_module module = {
        .suffix = suffix,
        .kernel = c->kernel,
        .weight = rearrange_depthwise(kernel),
        .bias = bias,
        .in_channels = channels,
        .out_channels = channels * c->multiplier,
        .groups = channels,
    };
    return conv_lower(l, call, spatial_input(l, call, c->window.rank), &c->window, &module);
}

static int lower_depthwise(struct lowering *l, const struct keras_call *call)
{
    const struct conv_config *c = call->layer->config;
    return conv_finish(l, call, lower_first(l, call, NULL, c->use_bias), &c->activation);
}

static int lower_separable(struct lowering *l, const struct keras_call *call)
{
    const struct conv_config *c = call->layer->config;
    int rank = c->window.rank;
    struct spatial_window pointwise = pointwise_window(rank);
    const struct conv_module module = {
        .suffix = "pointwise",
        .kernel = "pointwise_kernel",
        .weight = conv_rearrange(call, "pointwise_kernel"),
        .bias = c->use_bias,
        .in_channels = lower_weight(call, "pointwise_kernel")->shape.dims[rank],
        .out_channels = c->filters,
        .groups = 1,
    };
    struct lowered x = lower_first(l, call, "depthwise", false);
    return conv_finish(l, call, conv_lower(l, call, x, &pointwise, &module), &c->activation);
}

const struct layer_handler depthwise_handler = {
    .config_size = sizeof(struct conv_config),
    .read = read_depthwise,
    .shape = shape_depthwise,
    .reference = reference_depthwise,
    .lower = lower_depthwise,
};

const struct layer_handler separable_handler = {
    .config_size = sizeof(struct conv_config),
    .read = read_separable,
    .shape = shape_separable,
    .reference = reference_separable,
    .lower = lower_separable,
};
