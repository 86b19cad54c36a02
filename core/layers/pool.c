/* SPDX-License-Identifier: Apache-2.0 */
/* MaxPooling1D/2D/3D, AveragePooling1D/2D/3D, and the adaptive ones, which are operations too. The variant is the number of spatial dimensions, 0 for
 * operations: the input has them. */
#include <math.h>

#include "layers/spatial.h"

/* ---- what max and average share ---- */

static void read_window(struct config_reader *reader, void *config, int variant)
{
    struct spatial_window *window = config;
    window->rank = variant;
    spatial_read_sizes(reader, "pool_size", variant, window->size, 2);
    for (int i = 0; i < variant; i++) {
        window->stride[i] = window->size[i];
        window->dilation[i] = 1;
    }
    if (config_get(reader, "strides"))
        spatial_read_sizes(reader, "strides", variant, window->stride, 1);
    window->pooling = true;
    spatial_read_padding(reader, window, false);
    config_data_format(reader);
}

/* The size of the channel axis, which may be free: pooling does not care. */
static int64_t channels_of(const struct layer_shape *s, int rank)
{
    int axis = spatial_channel_axis(s->layer, rank);
    return axis < s->inputs[0].rank ? s->inputs[0].dims[axis] : DIM_UNKNOWN;
}

static int shape_window(struct layer_shape *s)
{
    const struct spatial_window *window = s->config;
    return spatial_window_shape(s, window, channels_of(s, window->rank));
}

static int pool(const struct layer_run *run, enum window_pooling pooling)
{
    struct channels_last cl;
    struct window_axis axes[WINDOW_MAX_RANK];
    if (channels_last_begin(run, &cl) < 0)
        return -1;
    channels_last_axes(&cl, run->config, axes);
    window_pool(cl.x->data, cl.batch, axes, cl.channels, pooling, cl.y);
    return channels_last_end(&cl, 0);
}

static int finish(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    return lower_output(l, call, 0, x);
}

/* A node with one input and no parameters. */
static struct lowered node(struct lowering *l, const struct keras_call *call, struct lowered x, enum torch_op op,
                           const char *module, int attr_count, const struct torch_attr *attrs,
                           const struct shape *shape)
{
    x.id = lower_plain_module(l, call, op, module, x.id, attr_count, attrs, *shape, call->outputs[0]->dtype);
    return x;
}

/* ---- maximum ---- */

static int reference_max(const struct layer_run *run)
{
    return pool(run, WINDOW_MAX);
}

static int lower_max(struct lowering *l, const struct keras_call *call)
{
    static const enum torch_op ops[] = {TORCH_MAX_POOL1D, TORCH_MAX_POOL2D, TORCH_MAX_POOL3D};
    const struct spatial_window *window = call->layer->config;
    int64_t padding[WINDOW_MAX_RANK];
    struct lowered x = spatial_input(l, call, window->rank);
    struct shape input = lower_shape(l, x.id);
    struct shape output = spatial_torch_shape(window, &input, input.dims[1]);
    x = spatial_pad(l, call, window, x, -INFINITY, padding);
    const struct torch_attr attrs[] = {
        attr_ints(l, "kernel_size", window->rank, window->size),
        attr_ints(l, "stride", window->rank, window->stride),
        attr_ints(l, "padding", window->rank, padding),
    };
    return finish(l, call, node(l, call, x, ops[window->rank - 1], lower_module(l, call, NULL), 3, attrs, &output));
}

const struct layer_handler max_pool_handler = {
    .config_size = sizeof(struct spatial_window),
    .read = read_window,
    .shape = shape_window,
    .reference = reference_max,
    .lower = lower_max,
};

/* ---- average: "same" padding is never counted ---- */

static int reference_avg(const struct layer_run *run)
{
    return pool(run, WINDOW_MEAN);
}

static void read_avg(struct config_reader *reader, void *config, int variant)
{
    const struct spatial_window *window = config;
    read_window(reader, config, variant);
    for (int i = 0; window->padding == SPATIAL_EXPLICIT && i < variant; i++)
        if (window->size[i] > 3)
            config_refuse(
                reader, H5PT_UNSUPPORTED_CONFIG, "padding",
                "\"same\" of Theano pads windows of more than 3 cells by more than half of them, which the average "
                "pooling of torch does not");
}

static int shape_avg(struct layer_shape *s)
{
    const struct spatial_window *window = s->config;
    for (int i = 0; window->padding == SPATIAL_EXPLICIT && i < window->rank; i++) {
        int64_t known;
        if (window->before[i] != window->after[i] && window->stride[i] > 1 &&
            layer_known_dim(s, spatial_axis(s->layer) + i, &known) < 0)
            return -1;
    }
    return shape_window(s);
}

/* Padding that does not depend on the size, on Theano: nn.AvgPool pads `before` on both sides, where it leaves padding out of the
 * count, and what that makes too many is cut. */
static struct lowered avg_explicit(struct lowering *l, const struct keras_call *call, struct lowered x,
                                   enum torch_op op, const struct shape *output)
{
    const struct spatial_window *window = call->layer->config;
    int64_t cells[WINDOW_MAX_RANK] = {0};
    struct shape made = *output, input = lower_shape(l, x.id);
    for (int i = 0; i < window->rank; i++) {
        int64_t n = input.dims[2 + i], *out = &made.dims[2 + i];
        if (window->before[i] == window->after[i])
            continue;
        cells[i] = n == DIM_UNKNOWN || n % window->stride[i] == 0 ? 1 : 0;
        *out = n == DIM_UNKNOWN ? n : *out + cells[i];
    }
    const struct torch_attr attrs[] = {
        attr_ints(l, "kernel_size", window->rank, window->size),
        attr_ints(l, "stride", window->rank, window->stride),
        attr_ints(l, "padding", window->rank, window->before),
        attr_bool("count_include_pad", false),
    };
    x = node(l, call, x, op, lower_module(l, call, NULL), 4, attrs, &made);
    return spatial_cut(l, call, x, cells, output);
}

static int lower_avg(struct lowering *l, const struct keras_call *call)
{
    static const enum torch_op ops[] = {TORCH_AVG_POOL1D, TORCH_AVG_POOL2D, TORCH_AVG_POOL3D};
    const struct spatial_window *window = call->layer->config;
    struct lowered x = spatial_input(l, call, window->rank);
    struct shape input = lower_shape(l, x.id);
    struct shape output = spatial_torch_shape(window, &input, input.dims[1]);
    struct spatial_plan plan = spatial_plan(call, window, &input);
    bool padded = false;
    for (int i = 0; i < window->rank; i++)
        padded |= plan.before[i] > 0;
    const struct torch_attr attrs[] = {
        attr_ints(l, "kernel_size", window->rank, window->size),
        attr_ints(l, "stride", window->rank, window->stride),
        attr_ints(l, "padding", window->rank, plan.before),
        attr_bool("count_include_pad", !padded),
    };
    if (window->padding == SPATIAL_EXPLICIT)
        return finish(l, call, avg_explicit(l, call, x, ops[window->rank - 1], &output));
    /* nn.AvgPool leaves padding out of the count only when it is the same on both sides. */
    if (plan.form != SPATIAL_SYMMETRIC)
        return finish(l, call, node(l, call, x, TORCH_AVG_POOL_SAME, NULL, 2, attrs, &output));
    return finish(l, call, node(l, call, x, ops[window->rank - 1], lower_module(l, call, NULL), 4, attrs, &output));
}

const struct layer_handler avg_pool_handler = {
    .config_size = sizeof(struct spatial_window),
    .read = read_avg,
    .shape = shape_avg,
    .reference = reference_avg,
    .lower = lower_avg,
};

/* ---- adaptive: the size of the output is given, windows follow ---- */

struct adaptive_config {
    int rank; /* 0: that of the input */
    int64_t output_size[WINDOW_MAX_RANK];
};

static void read_adaptive(struct config_reader *reader, void *config, int variant)
{
    struct adaptive_config *c = config;
    c->rank = variant;
    int given = variant ? variant : config_list(reader, "output_size", WINDOW_MAX_RANK, c->output_size);
    if (given > 1)
        c->rank = given;
    spatial_read_sizes(reader, "output_size", given > 1 ? given : variant ? variant : 1, c->output_size, 0);
    for (int i = 1; !c->rank && i < WINDOW_MAX_RANK; i++)
        c->output_size[i] = c->output_size[0];
    config_data_format(reader);
}

static int adaptive_rank(const struct adaptive_config *c, const struct shape *input)
{
    return c->rank ? c->rank : input->rank - 2;
}

static int shape_adaptive(struct layer_shape *s)
{
    const struct adaptive_config *c = s->config;
    int rank = adaptive_rank(c, &s->inputs[0]);
    if (rank < 1 || rank > WINDOW_MAX_RANK || s->input_count != 1 || s->input_dtypes[0] != DTYPE_F32)
        return layer_shape_fail(s, "It is supported for a batch of float images of 1 to 3 dimensions");
    if (spatial_check_input(s, rank) < 0)
        return -1;
    for (int i = 0; i < rank; i++)
        if (s->inputs[0].dims[spatial_axis(s->layer) + i] == 0)
            return layer_shape_fail(s, "The input is empty");
    return spatial_set_output(s, rank, c->output_size, channels_of(s, rank));
}

static int pool_adaptive(const struct layer_run *run, enum window_pooling pooling)
{
    const struct adaptive_config *c = run->config;
    struct channels_last cl;
    if (channels_last_begin(run, &cl) < 0)
        return -1;
    struct window_axis axes[WINDOW_MAX_RANK];
    int skip = WINDOW_MAX_RANK - adaptive_rank(c, &run->inputs[0]->shape);
    for (int i = 0; i < WINDOW_MAX_RANK; i++)
        axes[i] = (struct window_axis){
            .in = i < skip ? 1 : cl.x->shape.dims[1 + i - skip],
            .out = i < skip ? 1 : c->output_size[i - skip],
            .dilation = 1,
            .adaptive = true,
        };
    window_pool(cl.x->data, cl.batch, axes, cl.channels, pooling, cl.y);
    return channels_last_end(&cl, 0);
}

static int lower_adaptive(struct lowering *l, const struct keras_call *call, const enum torch_op ops[WINDOW_MAX_RANK])
{
    const struct adaptive_config *c = call->layer->config;
    int rank = adaptive_rank(c, &call->inputs[0]->shape);
    struct lowered x = spatial_input(l, call, rank);
    struct shape shape = lower_shape(l, x.id);
    for (int i = 0; i < rank; i++)
        shape.dims[2 + i] = c->output_size[i];
    const struct torch_attr size = attr_ints(l, "output_size", rank, c->output_size);
    return finish(l, call, node(l, call, x, ops[rank - 1], lower_module(l, call, NULL), 1, &size, &shape));
}

static int reference_adaptive_avg(const struct layer_run *run)
{
    return pool_adaptive(run, WINDOW_MEAN);
}

static int lower_adaptive_avg(struct lowering *l, const struct keras_call *call)
{
    static const enum torch_op ops[] = {TORCH_ADAPTIVE_AVG_POOL1D, TORCH_ADAPTIVE_AVG_POOL2D,
                                        TORCH_ADAPTIVE_AVG_POOL3D};
    return lower_adaptive(l, call, ops);
}

const struct layer_handler adaptive_avg_pool_handler = {
    .config_size = sizeof(struct adaptive_config),
    .read = read_adaptive,
    .shape = shape_adaptive,
    .reference = reference_adaptive_avg,
    .lower = lower_adaptive_avg,
};

static int reference_adaptive_max(const struct layer_run *run)
{
    return pool_adaptive(run, WINDOW_MAX);
}

static int lower_adaptive_max(struct lowering *l, const struct keras_call *call)
{
    static const enum torch_op ops[] = {TORCH_ADAPTIVE_MAX_POOL1D, TORCH_ADAPTIVE_MAX_POOL2D,
                                        TORCH_ADAPTIVE_MAX_POOL3D};
    return lower_adaptive(l, call, ops);
}

const struct layer_handler adaptive_max_pool_handler = {
    .config_size = sizeof(struct adaptive_config),
    .read = read_adaptive,
    .shape = shape_adaptive,
    .reference = reference_adaptive_max,
    .lower = lower_adaptive_max,
};
