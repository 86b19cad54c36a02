/* SPDX-License-Identifier: Apache-2.0 */
/* GlobalMaxPooling1D/2D/3D, GlobalAveragePooling1D/2D/3D: reductions over all spatial dimensions. The variant is their
 * number. GlobalAveragePooling1D takes the mean of the steps that its mask keeps. */
#include "layers/compose.h"
#include "layers/spatial.h"

struct global_config {
    int rank;
    bool keepdims;
    bool takes_mask;
    bool selects; /* steps that the mask hides are left out; before Keras 3 they are multiplied by 0 */
};

static void read_global(struct config_reader *reader, void *config, int variant)
{
    struct global_config *c = config;
    c->rank = variant;
    c->keepdims = config_bool(reader, "keepdims", false);
    config_data_format(reader);
}

static void read_average(struct config_reader *reader, void *config, int variant)
{
    struct global_config *c = config;
    read_global(reader, config, variant);
    c->takes_mask = variant == 1;
    c->selects = reader->version.major >= 3;
}

static int mask_of(const struct global_config *c, const json_t *arguments, const int *masks)
{
    return c->takes_mask ? layer_mask_argument(arguments, masks) : -1;
}

static int check_mask(struct layer_shape *s)
{
    const struct global_config *c = s->config;
    int mask = mask_of(c, s->arguments, s->mask_of);
    if (c->takes_mask && layer_check_arguments(s, 2, "inputs mask") < 0)
        return -1;
    if (s->input_count != (mask < 0 ? 1 : 2) || s->input_dtypes[0] != DTYPE_F32)
        return layer_shape_fail(s, "It takes one tensor of float32 and a mask");
    if (mask < 0)
        return 0;
    if (s->input_dtypes[mask] != DTYPE_BOOL || s->inputs[mask].rank != 2)
        return layer_shape_fail(s, "The mask should be of type bool and have 2 dimensions");
    if (s->layer->channels_first && !c->selects)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_MASK, "mask",
                         "A mask is supported with data_format channels_last only");
    return 0;
}

static int shape_global(struct layer_shape *s)
{
    const struct global_config *c = s->config;
    if (spatial_check_input(s, c->rank) < 0 || check_mask(s) < 0)
        return -1;
    const struct shape *in = &s->inputs[0];
    int64_t channels = in->dims[spatial_channel_axis(s->layer, c->rank)];
    for (int i = 0; i < c->rank; i++)
        if (in->dims[spatial_axis(s->layer) + i] == 0)
            return layer_shape_fail(s, "The input is empty");
    if (c->keepdims)
        return spatial_set_output(s, c->rank, (const int64_t[WINDOW_MAX_RANK]){1, 1, 1}, channels);
    s->outputs[0] = shape_of(2, (const int64_t[]){in->dims[0], channels});
    return 0;
}

/* One window as large as the input. */
static int pool(const struct layer_run *run, enum window_pooling pooling)
{
    const struct global_config *c = run->config;
    struct channels_last cl;
    if (channels_last_begin(run, &cl) < 0)
        return -1;
    struct window_axis axes[WINDOW_MAX_RANK];
    int skip = WINDOW_MAX_RANK - c->rank;
    for (int i = 0; i < WINDOW_MAX_RANK; i++) {
        int64_t n = i < skip ? 1 : cl.x->shape.dims[1 + i - skip];
        axes[i] = (struct window_axis){.in = n, .out = 1, .size = n, .stride = 1, .dilation = 1};
    }
    window_pool(cl.x->data, cl.batch, axes, cl.channels, pooling, cl.y);
    return channels_last_end(&cl, 0);
}

/* Reduces in whatever layout the input has, so that no permute is needed for it. */
static int lower_global(struct lowering *l, const struct keras_call *call, enum torch_op op)
{
    const struct global_config *c = call->layer->config;
    struct lowered x = lower_input(l, call, 0);
    if (x.id < 0)
        return -1;
    struct shape input = lower_shape(l, x.id), output = {.rank = 0};
    int channel = layout_axis(&x.layout, spatial_channel_axis(call->layer, c->rank));
    int64_t dims[WINDOW_MAX_RANK];
    int count = 0;
    for (int i = 0; i < input.rank; i++) {
        bool reduced = i != 0 && i != channel;
        if (reduced)
            dims[count++] = i;
        if (c->keepdims || !reduced)
            output.dims[output.rank++] = reduced ? 1 : input.dims[i];
    }
    const struct torch_attr attrs[] = {attr_list(l, "dim", count, dims), attr_bool("keepdim", c->keepdims)};
    struct lowered y = {.layout = c->keepdims ? x.layout : layout_keras(2)};
    y.id = lower_function(l, call, op, x.id, 2, attrs, output, call->outputs[0]->dtype);
    return lower_output(l, call, 0, y);
}

static int reference_max(const struct layer_run *run)
{
    return pool(run, WINDOW_MAX);
}

static int lower_max(struct lowering *l, const struct keras_call *call)
{
    return lower_global(l, call, TORCH_AMAX);
}

const struct layer_handler global_max_pool_handler = {
    .config_size = sizeof(struct global_config),
    .read = read_global,
    .shape = shape_global,
    .reference = reference_max,
    .lower = lower_max,
};

static int masked_mean(const struct layer_run *run, const struct tensor *mask)
{
    const struct global_config *c = run->config;
    struct channels_last cl;
    if (channels_last_begin(run, &cl) < 0)
        return -1;
    int64_t steps = cl.x->shape.dims[1];
    for (int64_t i = 0; i < cl.batch * cl.channels; i++) {
        int64_t b = i / cl.channels, channel = i % cl.channels;
        double sum = 0, count = 0;
        for (int64_t t = 0; t < steps; t++) {
            double x = (double)cl.x->data[(b * steps + t) * cl.channels + channel],
                   m = (double)mask->data[b * steps + t];
            sum += m != 0 || !c->selects ? x * m : 0;
            count += m;
        }
        cl.y[i] = (float)(sum / count);
    }
    return channels_last_end(&cl, 0);
}

static int reference_avg(const struct layer_run *run)
{
    int mask = mask_of(run->config, run->arguments, run->mask_of);
    return mask < 0 ? pool(run, WINDOW_MEAN) : masked_mean(run, run->inputs[mask]);
}

static struct lowered sum_steps(struct lowering *l, const struct keras_call *call, struct lowered x, int dim,
                                bool keepdims)
{
    struct shape shape = lower_shape(l, x.id);
    if (x.id < 0)
        return x;
    shape.dims[dim] = keepdims ? 1 : shape.dims[2];
    shape.rank = keepdims ? 3 : 2;
    const struct torch_attr attrs[] = {attr_int("dim", dim), attr_bool("keepdim", keepdims)};
    x.id = lower_function(l, call, TORCH_SUM, x.id, 2, attrs, shape,
                          lower_dtype(l, x.id) == DTYPE_BOOL ? DTYPE_I64 : DTYPE_F32);
    x.layout = keepdims ? x.layout : layout_keras(2);
    return x;
}

/* The sum of the steps that count over their number. */
static int lower_masked_mean(struct lowering *l, const struct keras_call *call, int mask)
{
    const struct global_config *c = call->layer->config;
    struct lowered x = lower_input(l, call, 0), kept = lower_input_keras(l, call, mask);
    if (x.id < 0)
        return -1;
    int channel = layout_axis(&x.layout, spatial_channel_axis(call->layer, 1)), step = 3 - channel;
    kept = lower_unsqueeze(l, call, kept, channel);
    kept.layout = x.layout;
    x = c->selects ? lower_where_number(l, call, kept, x, 0) : lower_binary(l, call, TORCH_MUL, x, kept);
    x = lower_binary(l, call, TORCH_DIV, sum_steps(l, call, x, step, c->keepdims),
                     sum_steps(l, call, kept, step, c->keepdims));
    return lower_output(l, call, 0, x);
}

static int lower_avg(struct lowering *l, const struct keras_call *call)
{
    int mask = mask_of(call->layer->config, call->arguments, call->mask_of);
    return mask < 0 ? lower_global(l, call, TORCH_MEAN) : lower_masked_mean(l, call, mask);
}

const struct layer_handler global_avg_pool_handler = {
    .config_size = sizeof(struct global_config),
    .read = read_average,
    .shape = shape_global,
    .reference = reference_avg,
    .lower = lower_avg,
};
