/* SPDX-License-Identifier: Apache-2.0 */
/* Conv1DTranspose, Conv2DTranspose, Conv3DTranspose. Kernels are (taps…, filters, channels). The variant is the number of
 * spatial dimensions. */
#include "layers/conv.h"

struct transpose_config {
    struct conv_config conv;
    int64_t output_padding[WINDOW_MAX_RANK]; /* -1: not given */
    bool sized;                              /* Keras 1: the size of the output is in the configuration */
    int64_t output_size[WINDOW_MAX_RANK];
    bool theano; /* cuts by half a window in front, whatever the stride */
};

/* output_shape of Keras 1: batch, spatial sizes and filters in the order of the layer. */
static void read_output_shape(struct config_reader *reader, struct transpose_config *t)
{
    int64_t shape[SHAPE_MAX_RANK];
    int rank = t->conv.window.rank, count = config_list(reader, "output_shape", SHAPE_MAX_RANK, shape);
    bool first = reader->layer->channels_first;
    if (count < 0)
        return;
    bool ok = count == rank + 2 && shape[first ? 1 : rank + 1] == t->conv.filters;
    for (int i = 0; ok && i < rank; i++) {
        t->output_size[i] = shape[(first ? 2 : 1) + i];
        ok = t->output_size[i] > 0 && t->output_size[i] <= WINDOW_MAX_INPUT;
    }
    t->sized = ok;
    if (!ok)
        config_refuse(reader, H5PT_CONFIG_INVALID, "output_shape",
                      "\"output_shape\" must hold the batch, known sizes and the filters");
}

static void read_transpose(struct config_reader *reader, void *config, int variant)
{
    struct transpose_config *t = config;
    struct conv_config *c = &t->conv;
    conv_read(reader, c, variant, false);
    conv_refuse_dilated_stride(reader, c);
    c->filters = spatial_read_count(reader, "filters", 0);
    spatial_read_only(reader, "groups", 1);
    config_ints(reader, "output_padding", variant, t->output_padding, -1);
    t->theano = reader->version.theano;
    read_output_shape(reader, t);
    if (c->window.padding == SPATIAL_FULL)
        config_refuse(reader, H5PT_CONFIG_INVALID, "padding", "A transposed convolution has no \"full\" padding");
    bool given = config_get(reader, "output_padding") != NULL;
    for (int i = 0; given && i < variant; i++) {
        if (t->output_padding[i] >= 0 && t->output_padding[i] < c->window.stride[i])
            continue;
        config_refuse(reader, H5PT_CONFIG_INVALID, "output_padding",
                      "\"output_padding\" must be 0 or more and less than \"strides\"");
        t->output_padding[i] = -1;
    }
}

/* On Theano, Keras treats what a transposed convolution with an even window gives like what a convolution gives: it cuts it to the
 * size of the input divided by the stride. */
static bool shrinks(const struct transpose_config *t, int i)
{
    const struct spatial_window *window = &t->conv.window;
    return t->theano && window->padding != SPATIAL_VALID && window->size[i] % 2 == 0;
}

/* The output along dimension i for n cells of input. */
static struct window_transposed transposed(const struct transpose_config *t, int i, int64_t n)
{
    const struct spatial_window *window = &t->conv.window;
    bool same = window->padding != SPATIAL_VALID;
    int64_t extent = window_extent(window->size[i], window->dilation[i]), stride = window->stride[i];
    struct window_transposed along = window_transposed(n, extent, stride, same, t->output_padding[i]);
    if (t->sized) {
        int64_t full = (n - 1) * stride + extent;
        along.out = t->output_size[i];
        along.left = same && full > along.out ? (full - along.out) / 2 : 0;
    }
    if (t->theano)
        along.left = same ? extent / 2 : 0;
    if (shrinks(t, i) && along.out > (n + stride - 1) / stride)
        along.out = (n + stride - 1) / stride;
    return along;
}

/* A size of the output that is given must be one that a convolution takes to the input. */
static int check_output_size(struct layer_shape *s, int i)
{
    const struct transpose_config *t = s->config;
    const struct spatial_window *window = &t->conv.window;
    int64_t n, extent = window_extent(window->size[i], window->dilation[i]), out = t->output_size[i];
    if (layer_known_dim(s, spatial_axis(s->layer) + i, &n) < 0)
        return -1;
    int64_t needed = window->padding == SPATIAL_VALID ? extent : 1;
    if (out >= needed && (out - needed) / window->stride[i] + 1 == n)
        return 0;
    return layer_shape_fail(s, "\"output_shape\" asks for %lld cells, which %lld cells of input do not give",
                            (long long)out, (long long)n);
}

static int shape_transpose(struct layer_shape *s)
{
    const struct transpose_config *t = s->config;
    const struct conv_config *c = &t->conv;
    int rank = c->window.rank;
    int64_t channels, sizes[WINDOW_MAX_RANK];
    if (spatial_check_input(s, rank) < 0 || layer_known_dim(s, spatial_channel_axis(s->layer, rank), &channels) < 0)
        return -1;
    if (channels < 1)
        return layer_shape_fail(s, "The input has no channels");
    for (int i = 0; i < rank; i++) {
        int64_t n = s->inputs[0].dims[spatial_axis(s->layer) + i];
        if ((t->sized && check_output_size(s, i) < 0) ||
            (shrinks(t, i) && layer_known_dim(s, spatial_axis(s->layer) + i, &n) < 0))
            return -1;
        int64_t size = n > 0 ? transposed(t, i, n).out : 0;
        sizes[i] = n == DIM_UNKNOWN ? DIM_UNKNOWN : size < 0 ? 0 : size;
    }
    if (spatial_set_output(s, rank, sizes, c->filters) < 0)
        return -1;
    conv_declare_kernel(s, "kernel", &c->window, c->filters, channels);
    return conv_declare_bias(s, c, c->filters);
}

static int reference_transpose(const struct layer_run *run)
{
    const struct transpose_config *t = run->config;
    const struct conv_config *c = &t->conv;
    struct channels_last cl;
    if (channels_last_begin(run, &cl) < 0)
        return -1;
    struct window_convolution job = {
        .batch = cl.batch,
        .channels = cl.channels,
        .groups = 1,
        .filters = c->filters,
        .x = cl.x->data,
        .kernel = run->weights[0]->data,
        .y = cl.y,
    };
    channels_last_axes(&cl, &c->window, job.axes);
    int skip = WINDOW_MAX_RANK - c->window.rank;
    for (int i = 0; i < c->window.rank; i++) {
        struct window_transposed along = transposed(t, i, job.axes[skip + i].in);
        job.axes[skip + i].out = along.out;
        job.axes[skip + i].before = along.left;
    }
    channels_last_fill(&cl, conv_bias(run, c), c->filters);
    return conv_end(&cl, c, window_convolve_transposed(&job, run->err));
}

/* How torch makes the output of Keras along one axis. nn.ConvTranspose cuts `padding` cells off both ends and gives
 * `output_padding` cells back at the end, less than a stride; what Keras has beyond that comes from `zeros` more cells at the end of
 * the input, and what Keras cuts off beyond that is sliced off. */
struct torch_crop {
    int64_t zeros, padding, output_padding, slice;
};

/* Depends on the size n of the input only when that must be known (shape_transpose): else the full length and the output grow alike. */
static struct torch_crop torch_crop(const struct transpose_config *t, int i, int64_t n)
{
    const struct spatial_window *window = &t->conv.window;
    int64_t stride = window->stride[i];
    if (n == DIM_UNKNOWN)
        n = 1;
    struct window_transposed along = transposed(t, i, n);
    int64_t full = (n - 1) * stride + window_extent(window->size[i], window->dilation[i]);
    int64_t right = full - along.out - along.left, back = along.left - right;
    if (back < 0)
        return (struct torch_crop){.padding = along.left, .slice = -back};
    return (struct torch_crop){.zeros = back / stride, .padding = along.left, .output_padding = back % stride};
}

static int lower_transpose(struct lowering *l, const struct keras_call *call)
{
    static const enum torch_op ops[] = {TORCH_CONV_TRANSPOSE1D, TORCH_CONV_TRANSPOSE2D, TORCH_CONV_TRANSPOSE3D};
    const struct transpose_config *t = call->layer->config;
    const struct conv_config *c = &t->conv;
    int rank = c->window.rank, parameters[2];
    int64_t channels = lower_weight(call, "kernel")->shape.dims[rank + 1];
    struct lowered x = spatial_input(l, call, rank);
    struct shape input = lower_shape(l, x.id), full = {.rank = rank + 2, .dims = {input.dims[0], c->filters}},
                 output = full;
    int64_t padding[WINDOW_MAX_RANK], output_padding[WINDOW_MAX_RANK], slices[WINDOW_MAX_RANK];
    int64_t before[SHAPE_MAX_RANK] = {0}, zeros[SHAPE_MAX_RANK] = {0};
    for (int i = 0; i < rank; i++) {
        int64_t n = input.dims[2 + i];
        struct torch_crop crop = torch_crop(t, i, n);
        zeros[2 + i] = crop.zeros;
        padding[i] = crop.padding;
        output_padding[i] = crop.output_padding;
        slices[i] = crop.slice;
        output.dims[2 + i] = n == DIM_UNKNOWN ? DIM_UNKNOWN : transposed(t, i, n).out;
        full.dims[2 + i] = n == DIM_UNKNOWN ? DIM_UNKNOWN : output.dims[2 + i] + crop.slice;
    }
    x = lower_pad(l, call, x, before, zeros, 0);
    const struct conv_module module = {
        .kernel = "kernel", .weight = conv_rearrange(call, "kernel"), .bias = c->use_bias};
    const char *name = lower_module(l, call, NULL);
    int parameter_count = conv_parameters(l, call, name, &module, parameters);
    const struct torch_attr attrs[] = {
        attr_int("in_channels", channels),
        attr_int("out_channels", c->filters),
        attr_ints(l, "kernel_size", rank, c->window.size),
        attr_ints(l, "stride", rank, c->window.stride),
        attr_ints(l, "padding", rank, padding),
        attr_ints(l, "output_padding", rank, output_padding),
        attr_bool("bias", c->use_bias),
        attr_ints(l, "dilation", rank, c->window.dilation),
    };
    x.id = lower_node(l, call,
                      &(struct node_spec){
                          .op = ops[rank - 1],
                          .module = name,
                          .input_count = 1,
                          .inputs = &x.id,
                          .parameter_count = parameter_count,
                          .parameters = parameters,
                          .attr_count = sizeof attrs / sizeof *attrs,
                          .attrs = attrs,
                          .shape = full,
                          .dtype = call->outputs[0]->dtype,
                      });
    return conv_finish(l, call, spatial_cut(l, call, x, slices, &output), &c->activation);
}

const struct layer_handler conv_transpose_handler = {
    .config_size = sizeof(struct transpose_config),
    .read = read_transpose,
    .shape = shape_transpose,
    .reference = reference_transpose,
    .lower = lower_transpose,
};
