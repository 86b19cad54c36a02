/* SPDX-License-Identifier: Apache-2.0 */
/* Pooling and convolutions as operations: the windows of pool.c and conv.c, with kernels that are constants in the graph. */
#include <string.h>

#include "base/json.h"
#include "layers/conv.h"
#include "layers/operation.h"
#include "layers/variants.h"

extern const struct layer_handler max_pool_handler, avg_pool_handler;

struct window_config {
    enum window_variant variant;
    int size_count, stride_count, dilation_count; /* 1: for all dimensions; 0: not given */
    int64_t size[WINDOW_MAX_RANK], stride[WINDOW_MAX_RANK], dilation[WINDOW_MAX_RANK];
    enum spatial_padding padding;
};

static int read_settings(struct config_reader *reader, const char *key, int64_t ret[WINDOW_MAX_RANK])
{
    int n = config_list(reader, key, WINDOW_MAX_RANK, ret);
    for (int i = 0; i < n; i++)
        if (ret[i] < 1 || ret[i] > WINDOW_MAX_SETTING) {
            config_refuse(reader, H5PT_CONFIG_INVALID, key, "\"%s\" must be positive", key);
            ret[i] = 1;
        }
    return n < 0 ? 0 : n;
}

static void op_window_read(struct config_reader *reader, void *config, int variant)
{
    struct window_config *c = config;
    c->variant = (enum window_variant)variant;
    bool pool = c->variant == WINDOW_OP_MAX_POOL || c->variant == WINDOW_OP_AVERAGE_POOL;
    if (pool)
        c->size_count = read_settings(reader, "pool_size", c->size);
    else
        c->dilation_count = read_settings(reader, "dilation_rate", c->dilation);
    c->stride_count = read_settings(reader, "strides", c->stride);
    struct spatial_window window = {.rank = 0};
    spatial_read_padding(reader, &window, false);
    c->padding = window.padding;
    (void)config_data_format(reader);
}

static bool spread(int count, const int64_t *values, int rank, int64_t absent, int64_t *ret)
{
    for (int i = 0; i < rank; i++)
        ret[i] = count == 0 ? absent : values[count == 1 ? 0 : i];
    return count <= 1 || count == rank;
}

/* The window for an input of rank + 2 axes; taps of convolutions come from the kernel. */
static bool make_window(const struct window_config *c, int rank, const struct shape *kernel, struct spatial_window *ret)
{
    *ret = (struct spatial_window){.rank = rank, .padding = c->padding};
    if (rank < 1 || rank > WINDOW_MAX_RANK)
        return false;
    bool ok = spread(c->dilation_count, c->dilation, rank, 1, ret->dilation);
    if (kernel) {
        ok = ok && kernel->rank == rank + 2;
        for (int i = 0; ok && i < rank; i++)
            ret->size[i] = kernel->dims[i];
        ok = ok && spread(c->stride_count, c->stride, rank, 1, ret->stride);
    } else {
        ok = ok && c->size_count > 0 && spread(c->size_count, c->size, rank, 1, ret->size);
        for (int i = 0; ok && i < rank; i++)
            ret->stride[i] = c->stride_count == 0 ? ret->size[i] : c->stride[c->stride_count == 1 ? 0 : i];
    }
    for (int i = 0; ok && i < rank; i++)
        ok = ret->size[i] >= 1 && (ret->stride[i] == 1 || ret->dilation[i] == 1);
    return ok;
}

static const struct layer_handler *pool_of(const struct window_config *c)
{
    return c->variant == WINDOW_OP_MAX_POOL       ? &max_pool_handler
           : c->variant == WINDOW_OP_AVERAGE_POOL ? &avg_pool_handler
                                                  : NULL;
}

/* The kernels, which must be constants; how many there are, or -1. */
static int kernels(const struct window_config *c, const struct operand_source *source, struct operand ret[2])
{
    if (pool_of(c))
        return 0;
    bool separable = c->variant == WINDOW_OP_SEPARABLE;
    ret[0] = operand_at(source, 1, c->variant == WINDOW_OP_CONV ? "kernel" : "depthwise_kernel");
    if (ret[0].kind == OPERAND_NONE)
        ret[0] = operand_at(source, 1, "kernel");
    if (separable)
        ret[1] = operand_at(source, 2, "pointwise_kernel");
    for (int i = 0; i <= separable; i++)
        if (ret[i].kind != OPERAND_ARRAY || ret[i].dtype != DTYPE_F32)
            return -1;
    return 1 + separable;
}

static int shape_of_convolution(struct layer_shape *s, const struct window_config *c, const struct operand k[2],
                                int64_t channels)
{
    struct spatial_window window;
    int rank = s->inputs[0].rank - 2;
    int64_t inputs = k[0].shape.dims[k[0].shape.rank - 2], outputs = k[0].shape.dims[k[0].shape.rank - 1];
    if (!make_window(c, rank, &k[0].shape, &window))
        return layer_shape_fail(s, "The settings of %s do not fit together", s->layer->class_name);
    if (c->variant == WINDOW_OP_CONV ? inputs < 1 || channels % inputs != 0 || outputs % (channels / inputs) != 0
                                     : channels != inputs)
        return layer_shape_fail(s, "The kernel does not fit %lld channels", (long long)channels);
    outputs *= c->variant == WINDOW_OP_CONV ? 1 : inputs;
    if (c->variant == WINDOW_OP_SEPARABLE) {
        const struct shape *point = &k[1].shape;
        if (point->rank != rank + 2 || point->dims[rank] != outputs)
            return layer_shape_fail(s, "The pointwise kernel does not fit");
        for (int i = 0; i < rank; i++)
            if (point->dims[i] != 1)
                return layer_shape_fail(s, "The pointwise kernel is not pointwise");
        outputs = point->dims[rank + 1];
    }
    return spatial_window_shape(s, &window, outputs);
}

static int op_window_shape(struct layer_shape *s)
{
    const struct window_config *c = s->config;
    struct operand_source source = operands_of_shape(s);
    struct operand k[2];
    struct spatial_window window;
    int rank = s->inputs[0].rank - 2, count = kernels(c, &source, k);
    int64_t channels;
    if (s->input_count != 1 || layer_argument_tensor(layer_argument(s->arguments, 0, "inputs")) != 0)
        return operand_fail(s, "inputs");
    if (count < 0)
        return operand_fail(s, "kernel");
    if (s->input_dtypes[0] != DTYPE_F32)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype", "%s is supported for float32", s->layer->class_name);
    if (count > 0)
        return layer_known_dim(s, spatial_channel_axis(s->layer, rank), &channels) < 0
                   ? -1
                   : shape_of_convolution(s, c, k, channels);
    if (!make_window(c, rank, NULL, &window))
        return layer_shape_fail(s, "The settings of %s do not fit together", s->layer->class_name);
    struct layer_shape inner = *s;
    inner.config = &window;
    if (pool_of(c)->shape(&inner) < 0)
        return -1;
    s->outputs[0] = inner.outputs[0];
    return 0;
}

/* One convolution of channels-last data; y is filled with 0 before. */
static int convolve(const struct layer_run *run, const struct window_axis axes[WINDOW_MAX_RANK], bool depthwise,
                    int64_t batch, int64_t channels, const float *x, const struct tensor *kernel, float *y)
{
    int64_t inputs = kernel->shape.dims[kernel->shape.rank - 2], outputs = kernel->shape.dims[kernel->shape.rank - 1];
    struct window_convolution job = {
        .batch = batch,
        .channels = channels,
        .groups = depthwise ? channels : channels / inputs,
        .filters = depthwise ? channels * outputs : outputs,
        .x = x,
        .kernel = kernel->data,
        .y = y,
    };
    memcpy(job.axes, axes, sizeof job.axes);
    if (!depthwise)
        return window_convolve(&job, run->err);
    window_convolve_depthwise(&job);
    return 0;
}

static int run_convolution(const struct layer_run *run, const struct window_config *c, const struct operand_tensor k[2],
                           struct channels_last *cl)
{
    struct spatial_window window;
    struct window_axis axes[WINDOW_MAX_RANK], points[WINDOW_MAX_RANK];
    const struct tensor *kernel = k[0].tensor;
    if (!make_window(c, kernel->shape.rank - 2, &kernel->shape, &window))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The configuration is not as it was");
    channels_last_axes(cl, &window, axes);
    if (c->variant != WINDOW_OP_SEPARABLE) {
        memset(cl->y, 0, (size_t)run->outputs[0]->count * sizeof *cl->y);
        return convolve(run, axes, c->variant == WINDOW_OP_DEPTHWISE, cl->batch, cl->channels, cl->x->data, kernel,
                        cl->y);
    }
    int64_t middle = cl->channels * kernel->shape.dims[kernel->shape.rank - 1], cells = cl->batch;
    for (int i = 0; i < WINDOW_MAX_RANK; i++) {
        cells *= axes[i].out;
        points[i] = (struct window_axis){.in = axes[i].out, .out = axes[i].out, .size = 1, .stride = 1, .dilation = 1};
    }
    struct shape shape = shape_of(2, (int64_t[]){cells, middle});
    struct tensor *between = tensor_new(&shape, DTYPE_F32);
    if (!between)
        return h5pt_fail_memory(run->err);
    memset(between->data, 0, (size_t)between->count * sizeof *between->data);
    memset(cl->y, 0, (size_t)run->outputs[0]->count * sizeof *cl->y);
    int status = convolve(run, axes, true, cl->batch, cl->channels, cl->x->data, kernel, between->data);
    if (status == 0)
        status = convolve(run, points, false, cl->batch, middle, between->data, k[1].tensor, cl->y);
    tensor_free(between);
    return status;
}

static int op_window_reference(const struct layer_run *run)
{
    const struct window_config *c = run->config;
    struct operand_source source = operands_of_run(run);
    struct operand k[2];
    struct operand_tensor t[2] = {{NULL, NULL}, {NULL, NULL}};
    struct spatial_window window;
    struct channels_last cl;
    int count = kernels(c, &source, k), status = 0;
    if (count == 0 && make_window(c, run->inputs[0]->shape.rank - 2, NULL, &window)) {
        struct layer_run inner = *run;
        inner.config = &window;
        return pool_of(c)->reference(&inner);
    }
    for (int i = 0; i < count && status == 0; i++)
        status = operand_tensor(run, &k[i], &t[i]);
    if (status == 0 && channels_last_begin(run, &cl) == 0)
        status = channels_last_end(&cl, run_convolution(run, c, t, &cl));
    else
        status = -1;
    operand_tensor_release(&t[0]);
    operand_tensor_release(&t[1]);
    return status;
}

static int lower_pool_call(struct lowering *l, const struct keras_call *call, const struct window_config *c)
{
    struct keras_layer *layer = ARENA_NEW(lower_arena(l), struct keras_layer);
    struct keras_call *inner = ARENA_NEW(lower_arena(l), struct keras_call);
    struct spatial_window *window = ARENA_NEW(lower_arena(l), struct spatial_window);
    if (!layer || !inner || !window || !make_window(c, call->inputs[0]->shape.rank - 2, NULL, window))
        return -1;
    *layer = *call->layer;
    layer->config = window;
    *inner = *call;
    inner->layer = layer;
    return pool_of(c)->lower(l, inner);
}

/* A depthwise kernel (taps…, channels, multiplier) as torch has it: (channels * multiplier, 1, taps…). */
static struct tensor *depthwise_kernel(const struct tensor *kernel)
{
    int rank = kernel->shape.rank - 2, axes[SHAPE_MAX_RANK] = {rank, rank + 1};
    for (int i = 0; i < rank; i++)
        axes[2 + i] = i;
    struct tensor *t = tensor_transpose(kernel, axes);
    if (t) {
        t->shape.dims[0] *= t->shape.dims[1];
        t->shape.dims[1] = 1;
    }
    return t;
}

static int op_window_lower(struct lowering *l, const struct keras_call *call)
{
    const struct window_config *c = call->layer->config;
    struct operand_source source = operands_of_call(call);
    struct operand k[2];
    struct spatial_window window;
    int count = kernels(c, &source, k), rank = call->inputs[0]->shape.rank - 2;
    if (count == 0)
        return lower_pool_call(l, call, c);
    if (count < 0 || !make_window(c, rank, &k[0].shape, &window))
        return -1;
    struct lowered x = spatial_input(l, call, rank);
    int64_t channels = lower_shape(l, x.id).dims[1], outputs = k[0].shape.dims[rank + 1],
            inputs = k[0].shape.dims[rank];
    bool depthwise = c->variant != WINDOW_OP_CONV;
    struct tensor *kernel = operand_constant(&k[0]), *arranged = kernel && depthwise ? depthwise_kernel(kernel) : NULL;
    struct conv_module module = {
        .suffix = c->variant == WINDOW_OP_SEPARABLE ? "depthwise" : NULL,
        .constant = depthwise ? arranged : kernel,
        .arranged = depthwise,
        .in_channels = channels,
        .out_channels = depthwise ? channels * outputs : outputs,
        .groups = depthwise ? channels : channels / inputs,
    };
    if (module.constant)
        x = conv_lower(l, call, x, &window, &module);
    tensor_free(kernel);
    tensor_free(arranged);
    if (module.constant && c->variant == WINDOW_OP_SEPARABLE) {
        struct spatial_window point = {.rank = rank, .size = {1, 1, 1}, .stride = {1, 1, 1}, .dilation = {1, 1, 1}};
        struct tensor *second = operand_constant(&k[1]);
        struct conv_module pointwise = {.suffix = "pointwise",
                                        .constant = second,
                                        .in_channels = module.out_channels,
                                        .out_channels = k[1].shape.dims[rank + 1],
                                        .groups = 1};
        module.constant = second;
        if (second)
            x = conv_lower(l, call, x, &point, &pointwise);
        tensor_free(second);
    }
    if (!module.constant)
        return h5pt_fail_memory(lower_error(l));
    return lower_output(l, call, 0, x);
}

const struct layer_handler op_window_handler = {
    .config_size = sizeof(struct window_config),
    .read = op_window_read,
    .shape = op_window_shape,
    .reference = op_window_reference,
    .lower = op_window_lower,
};
