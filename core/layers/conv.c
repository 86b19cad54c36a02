/* SPDX-License-Identifier: Apache-2.0 */
/* Conv1D, Conv2D, Conv3D. The variant is the number of spatial dimensions. */
#include "layers/conv.h"

#include <string.h>

/* ---- shared by the convolutions ---- */

void conv_read(struct config_reader *reader, struct conv_config *config, int rank, bool causal)
{
    struct spatial_window *window = &config->window;
    window->rank = rank;
    spatial_read_sizes(reader, "kernel_size", rank, window->size, 0);
    spatial_read_sizes(reader, "strides", rank, window->stride, 1);
    spatial_read_sizes(reader, "dilation_rate", rank, window->dilation, 1);
    spatial_read_padding(reader, window, causal);
    config->groups = config->multiplier = 1;
    config->kernel = "kernel";
    config->use_bias = config_bool(reader, "use_bias", true);
    config->activation = activation_read(reader, "activation");
    config_read_storage(reader);
    const struct keras_version *version = &reader->version;
    config->bias_by_length = config_data_format(reader) && config->use_bias && version->tensorflow &&
                             (version->major > 3 || (version->major == 3 && version->minor >= 7));
}

void conv_refuse_dilated_stride(struct config_reader *reader, const struct conv_config *config)
{
    bool strided = false, dilated = false;
    for (int i = 0; i < config->window.rank; i++) {
        strided |= config->window.stride[i] > 1;
        dilated |= config->window.dilation[i] > 1;
    }
    if (strided && dilated)
        config_refuse(reader, H5PT_CONFIG_INVALID, "dilation_rate",
                      "\"strides\" and \"dilation_rate\" are both above 1, which Keras does not compute");
}

void conv_declare_kernel(struct layer_shape *s, const char *slot, const struct spatial_window *window, int64_t a,
                         int64_t b)
{
    int64_t dims[WINDOW_MAX_RANK + 2];
    for (int i = 0; i < window->rank; i++)
        dims[i] = window->size[i];
    dims[window->rank] = a;
    dims[window->rank + 1] = b;
    layer_weight(s, slot, window->rank + 2, dims);
}

int conv_declare_bias(struct layer_shape *s, const struct conv_config *config, int64_t channels)
{
    const struct shape *out = &s->outputs[0];
    /* Where the batch is known this is a run with sizes that somebody chose, not the model as it stands in the file. */
    bool as_in_file = s->inputs[0].dims[0] == DIM_UNKNOWN;
    if (config->bias_by_length && as_in_file && channels > 1 && out->dims[out->rank - 1] == channels)
        return h5pt_fail(
            s->err, H5PT_UNSUPPORTED_CONFIG, "data_format",
            "Keras 3 on TensorFlow adds the bias along the wrong axis here, and model(x) and model.predict(x) may "
            "differ: the layer is channels_first and its last spatial size is %lld, as many as its channels",
            (long long)channels);
    if (config->use_bias)
        layer_weight(s, "bias", 1, &channels);
    return 0;
}

const struct tensor *conv_bias(const struct layer_run *run, const struct conv_config *config)
{
    for (int i = 0; config->use_bias && i < run->layer->weight_count; i++)
        if (strcmp(run->layer->weights[i].slot, "bias") == 0)
            return run->weights[i];
    return NULL;
}

int conv_end(struct channels_last *cl, const struct conv_config *config, int status)
{
    if (channels_last_end(cl, status) < 0)
        return -1;
    return activation_reference(&config->activation, cl->run->outputs[0], cl->run->err);
}

struct rearrangement conv_rearrange(const struct keras_call *call, const char *slot)
{
    const struct shape *shape = &lower_weight(call, slot)->shape;
    int rank = shape->rank - 2;
    int axes[SHAPE_MAX_RANK] = {rank + 1, rank};
    for (int i = 0; i < rank; i++)
        axes[2 + i] = i;
    return rearrange_axes(shape, axes);
}

static int constant_kernel(struct lowering *l, const struct keras_call *call, const char *name,
                           const struct conv_module *module)
{
    const struct tensor *kernel = module->constant;
    int rank = kernel->shape.rank - 2, axes[SHAPE_MAX_RANK] = {rank + 1, rank};
    if (module->arranged)
        return lower_constant(l, call, name, "weight", &kernel->shape, DTYPE_F32, false, kernel->data);
    for (int i = 0; i < rank; i++)
        axes[2 + i] = i;
    struct tensor *moved = tensor_transpose(kernel, axes);
    int id = moved ? lower_constant(l, call, name, "weight", &moved->shape, DTYPE_F32, false, moved->data) : -1;
    tensor_free(moved);
    return id;
}

int conv_parameters(struct lowering *l, const struct keras_call *call, const char *name,
                    const struct conv_module *module, int parameters[2])
{
    parameters[0] = module->constant ? constant_kernel(l, call, name, module)
                                     : lower_parameter(l, call, name, "weight", module->kernel, &module->weight);
    if (!module->bias)
        return 1;
    const char *slot = module->bias_slot ? module->bias_slot : "bias";
    struct rearrangement as_is = rearrange_as_is(&lower_weight(call, slot)->shape);
    parameters[1] = lower_parameter(l, call, name, "bias", slot, &as_is);
    return 2;
}

struct lowered conv_lower(struct lowering *l, const struct keras_call *call, struct lowered x,
                          const struct spatial_window *window, const struct conv_module *module)
{
    static const enum torch_op ops[] = {TORCH_CONV1D, TORCH_CONV2D, TORCH_CONV3D};
    int rank = window->rank, parameters[2];
    int64_t padding[WINDOW_MAX_RANK];
    struct shape input = lower_shape(l, x.id);
    x = spatial_pad(l, call, window, x, 0, padding);
    const char *name = lower_module(l, call, module->suffix);
    int parameter_count = conv_parameters(l, call, name, module, parameters);
    const struct torch_attr attrs[] = {
        attr_int("in_channels", module->in_channels),
        attr_int("out_channels", module->out_channels),
        attr_ints(l, "kernel_size", rank, window->size),
        attr_ints(l, "stride", rank, window->stride),
        attr_ints(l, "padding", rank, padding),
        attr_ints(l, "dilation", rank, window->dilation),
        attr_int("groups", module->groups),
        attr_bool("bias", module->bias),
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
                          .shape = spatial_torch_shape(window, &input, module->out_channels),
                          .dtype = call->outputs[0]->dtype,
                      });
    return x;
}

int conv_finish(struct lowering *l, const struct keras_call *call, struct lowered x,
                const struct activation *activation)
{
    x = activation_lower(l, call, activation, x, NULL);
    return lower_output(l, call, 0, x);
}

/* ---- Conv1D, Conv2D, Conv3D ---- */

static void read_conv(struct config_reader *reader, void *config, int variant)
{
    struct conv_config *c = config;
    conv_read(reader, c, variant, variant == 1);
    conv_refuse_dilated_stride(reader, c);
    c->filters = spatial_read_count(reader, "filters", 0);
    c->groups = spatial_read_count(reader, "groups", 1);
    if (c->filters % c->groups != 0) {
        config_refuse(reader, H5PT_CONFIG_INVALID, "groups", "\"filters\" is not a multiple of \"groups\"");
        c->groups = 1;
    }
}

static int shape_conv(struct layer_shape *s)
{
    const struct conv_config *c = s->config;
    int64_t channels;
    if (spatial_window_shape(s, &c->window, c->filters) < 0 ||
        layer_known_dim(s, spatial_channel_axis(s->layer, c->window.rank), &channels) < 0)
        return -1;
    if (channels < 1 || channels % c->groups != 0)
        return layer_shape_fail(s, "The input has %lld channels, which is not a multiple of the %lld groups",
                                (long long)channels, (long long)c->groups);
    conv_declare_kernel(s, "kernel", &c->window, channels / c->groups, c->filters);
    return conv_declare_bias(s, c, c->filters);
}

static int reference_conv(const struct layer_run *run)
{
    const struct conv_config *c = run->config;
    struct channels_last cl;
    if (channels_last_begin(run, &cl) < 0)
        return -1;
    struct window_convolution job = {
        .batch = cl.batch,
        .channels = cl.channels,
        .groups = c->groups,
        .filters = c->filters,
        .x = cl.x->data,
        .kernel = run->weights[0]->data,
        .y = cl.y,
    };
    channels_last_axes(&cl, &c->window, job.axes);
    channels_last_fill(&cl, conv_bias(run, c), c->filters);
    return conv_end(&cl, c, window_convolve(&job, run->err));
}

static int lower_conv(struct lowering *l, const struct keras_call *call)
{
    const struct conv_config *c = call->layer->config;
    const struct shape *kernel = &lower_weight(call, "kernel")->shape;
    const struct conv_module module = {
        .kernel = "kernel",
        .weight = conv_rearrange(call, "kernel"),
        .bias = c->use_bias,
        .in_channels = kernel->dims[c->window.rank] * c->groups,
        .out_channels = c->filters,
        .groups = c->groups,
    };
    struct lowered x = conv_lower(l, call, spatial_input(l, call, c->window.rank), &c->window, &module);
    return conv_finish(l, call, x, &c->activation);
}

const struct layer_handler conv_handler = {
    .config_size = sizeof(struct conv_config),
    .read = read_conv,
    .shape = shape_conv,
    .reference = reference_conv,
    .lower = lower_conv,
};
