/* SPDX-License-Identifier: Apache-2.0 */
/* GlobalMaxPooling1D/2D/3D, GlobalAveragePooling1D/2D/3D: reductions over all spatial dimensions. The variant is their
 * number. */
#include "layers/spatial.h"

struct global_config {
    int rank;
    bool keepdims;
};

static void read_global(struct config_reader *reader, void *config, int variant)
{
    struct global_config *c = config;
    c->rank = variant;
    c->keepdims = config_bool(reader, "keepdims", false);
    config_data_format(reader);
}

static int shape_global(struct layer_shape *s)
{
    const struct global_config *c = s->config;
    if (spatial_check_input(s, c->rank) < 0)
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
    y.id = lower_node(l, call,
                      &(struct node_spec){
                          .op = op,
                          .input_count = 1,
                          .inputs = &x.id,
                          .attr_count = 2,
                          .attrs = attrs,
                          .shape = output,
                          .dtype = call->outputs[0]->dtype,
                      });
    lower_output(l, call, 0, y);
    return y.id < 0 ? -1 : 0;
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

static int reference_avg(const struct layer_run *run)
{
    return pool(run, WINDOW_MEAN);
}

static int lower_avg(struct lowering *l, const struct keras_call *call)
{
    return lower_global(l, call, TORCH_MEAN);
}

const struct layer_handler global_avg_pool_handler = {
    .config_size = sizeof(struct global_config),
    .read = read_global,
    .shape = shape_global,
    .reference = reference_avg,
    .lower = lower_avg,
};
