/* SPDX-License-Identifier: Apache-2.0 */
/* LocallyConnected1D and 2D (the variant): convolutions whose kernel is another one at every position. Keras stores the
 * kernel in one of three forms (`implementation`):
 *
 *   1  (positions, cells of a window, filters)
 *   2  the whole matrix from inputs to outputs, of which most is masked out
 *   3  only the values of that matrix that count, output by output, for each the inputs in ascending order
 *
 * Flattened inputs, outputs and windows have the order of data_format. With "same" padding a window begins size / 2 cells
 * before the position, whatever the stride: not as in convolutions. */
#include <inttypes.h>
#include <stdlib.h>

#include "layers/activation.h"
#include "layers/compose.h"
#include "layers/spatial.h"

struct local_config {
    int64_t filters, implementation;
    struct spatial_window window;
    bool use_bias;
    struct activation activation;
};

/* Always two spatial dims; the first is 1 in 1D. */
struct geometry {
    int64_t channels, filters;
    int64_t in[2], out[2], size[2], stride[2], before[2];
    int64_t positions, taps; /* out[0] * out[1], size[0] * size[1] */
};

/* Of the index that finds weights in the forms 2 and 3; float32 counts exactly up to here. */
static const int64_t max_kernel = (int64_t)1 << 24;

static void local_read(struct config_reader *reader, void *config, int variant)
{
    struct local_config *c = config;
    c->window.rank = variant;
    c->filters = spatial_read_count(reader, "filters", 0);
    spatial_read_sizes(reader, "kernel_size", variant, c->window.size, 0);
    spatial_read_sizes(reader, "strides", variant, c->window.stride, 1);
    for (int i = 0; i < variant; i++)
        c->window.dilation[i] = 1;
    spatial_read_padding(reader, &c->window, false);
    (void)config_data_format(reader);
    c->use_bias = config_bool(reader, "use_bias", true);
    c->activation = activation_read(reader, "activation");
    c->implementation = config_int(reader, "implementation", 1);
    if (c->implementation < 1 || c->implementation > 3)
        config_refuse(reader, H5PT_CONFIG_INVALID, "implementation", "There is no implementation %" PRId64,
                      c->implementation);
    if (c->implementation == 1 && c->window.padding != SPATIAL_VALID)
        config_refuse(reader, H5PT_CONFIG_INVALID, "padding", "Implementation 1 has no \"same\" padding");
}

/* For an input of known sizes, in Keras order. */
static struct geometry find_geometry(const struct keras_layer *layer, const struct local_config *c,
                                     const struct shape *in)
{
    struct geometry g = {.filters = c->filters, .in = {1, 1}, .out = {1, 1}, .size = {1, 1}, .stride = {1, 1}};
    int rank = c->window.rank;
    g.channels = in->dims[spatial_channel_axis(layer, rank)];
    for (int i = 0; i < rank; i++) {
        int k = 2 - rank + i;
        g.in[k] = in->dims[spatial_axis(layer) + i];
        g.size[k] = c->window.size[i];
        g.stride[k] = c->window.stride[i];
        g.out[k] = spatial_output_size(&c->window, i, g.in[k]);
        g.before[k] = c->window.padding == SPATIAL_SAME ? g.size[k] / 2 : 0;
    }
    g.positions = g.out[0] * g.out[1];
    g.taps = g.size[0] * g.size[1];
    return g;
}

/* The cells of the window at position `o` along dim `i` that lie in the input: from *first on. */
static int64_t window_cells(const struct geometry *g, int i, int64_t o, int64_t *first)
{
    int64_t start = o * g->stride[i] - g->before[i], end = start + g->size[i];
    *first = start < 0 ? 0 : start;
    return (end > g->in[i] ? g->in[i] : end) - *first;
}

/* Cells in all windows, those outside of the input not counted. */
static int64_t connected_cells(const struct geometry *g)
{
    int64_t count[2] = {0, 0}, first;
    for (int i = 0; i < 2; i++)
        for (int64_t o = 0; o < g->out[i]; o++)
            count[i] += window_cells(g, i, o, &first);
    return count[0] * count[1];
}

static void declare_kernel(struct layer_shape *s, const struct local_config *c, const struct geometry *g)
{
    int rank = c->window.rank;
    const struct shape *in = &s->inputs[0], *out = &s->outputs[0];
    int64_t dims[SHAPE_MAX_RANK];
    if (c->implementation == 1) {
        layer_weight(s, "kernel", 3, (const int64_t[]){g->positions, g->taps * g->channels, g->filters});
    } else if (c->implementation == 2) {
        for (int i = 0; i <= rank; i++) {
            dims[i] = in->dims[1 + i];
            dims[rank + 1 + i] = out->dims[1 + i];
        }
        layer_weight(s, "kernel", 2 * rank + 2, dims);
    } else {
        layer_weight(s, "kernel", 1, (const int64_t[]){connected_cells(g) * g->channels * g->filters});
    }
    for (int i = 0; i < rank; i++)
        dims[i] = g->out[2 - rank + i];
    dims[rank] = g->filters;
    if (c->use_bias)
        layer_weight(s, "bias", rank + 1, dims);
}

static int local_shape(struct layer_shape *s)
{
    const struct local_config *c = s->config;
    int64_t known;
    if (spatial_window_shape(s, &c->window, c->filters) < 0)
        return -1;
    for (int i = 1; i < s->inputs[0].rank; i++)
        if (layer_known_dim(s, i, &known) < 0)
            return -1;
    struct geometry g = find_geometry(s->layer, c, &s->inputs[0]);
    int64_t cells = g.channels * g.in[0] * g.in[1], outputs = g.positions * g.filters;
    if (g.channels > max_kernel || cells > max_kernel || outputs > max_kernel || g.taps > max_kernel ||
        (c->implementation == 2 && cells > max_kernel / outputs) ||
        (c->implementation == 3 && connected_cells(&g) > max_kernel / (g.channels * g.filters)))
        return h5pt_fail(s->err, H5PT_LIMIT_EXCEEDED, NULL, "The kernel has more than %" PRId64 " elements",
                         max_kernel);
    declare_kernel(s, c, &g);
    return 0;
}

/* ---- reference ---- */

/* One output: the sum over its inputs, in ascending order. `next`: the element that comes next in form 3. */
static float connect(const struct layer_run *run, const struct geometry *g, const float *x, int64_t output,
                     int64_t *next)
{
    const struct local_config *c = run->config;
    const float *kernel = run->weights[0]->data;
    bool first = run->layer->channels_first;
    int64_t filter = first ? output / g->positions : output % g->filters;
    int64_t position = first ? output % g->positions : output / g->filters, start[2];
    int64_t rows = window_cells(g, 0, position / g->out[1], &start[0]);
    int64_t columns = window_cells(g, 1, position % g->out[1], &start[1]), cells = rows * columns * g->channels;
    float sum = 0;
    for (int64_t q = 0; q < cells; q++) {
        int64_t channel = first ? q / (rows * columns) : q % g->channels;
        int64_t cell = first ? q % (rows * columns) : q / g->channels;
        int64_t at = (start[0] + cell / columns) * g->in[1] + start[1] + cell % columns;
        int64_t input = first ? channel * g->in[0] * g->in[1] + at : at * g->channels + channel;
        int64_t element = c->implementation == 1   ? (position * g->taps * g->channels + q) * g->filters + filter
                          : c->implementation == 2 ? input * g->positions * g->filters + output
                                                   : (*next)++;
        sum += x[input] * kernel[element];
    }
    return sum;
}

static int local_reference(const struct layer_run *run)
{
    const struct local_config *c = run->config;
    const struct tensor *x = run->inputs[0];
    struct geometry g = find_geometry(run->layer, c, &x->shape);
    int64_t inputs = g.channels * g.in[0] * g.in[1], outputs = g.positions * g.filters;
    for (int64_t b = 0; b < x->shape.dims[0]; b++) {
        int64_t next = 0;
        for (int64_t o = 0; o < outputs; o++) {
            /* Keras reshapes the bias for channels_first, it does not transpose it. */
            float bias = c->use_bias ? run->weights[1]->data[o] : 0;
            run->outputs[0]->data[b * outputs + o] = connect(run, &g, x->data + b * inputs, o, &next) + bias;
        }
    }
    return activation_reference(&c->activation, run->outputs[0], run->err);
}

/* ---- torch ---- */

/* Where form 3 keeps the weights of each position: elements before those of position p, per channel and filter. */
static int64_t *stored_before(const struct geometry *g)
{
    int64_t *before = calloc((size_t)g->positions + 1, sizeof *before), first;
    for (int64_t p = 0; before && p < g->positions; p++)
        before[p + 1] = before[p] +
                        window_cells(g, 0, p / g->out[1], &first) * window_cells(g, 1, p % g->out[1], &first);
    return before;
}

/* The element of the kernel, in form 2 or 3, for a tap of the window at position p; 0 for taps that see the padding. */
static int64_t stored_element(const struct geometry *g, const struct local_config *c, bool channels_first,
                              const int64_t *before, int64_t p, int64_t tap, int64_t channel, int64_t filter)
{
    int64_t start[2], place[2], counts[2], o[2] = {p / g->out[1], p % g->out[1]};
    int64_t t[2] = {tap / g->size[1], tap % g->size[1]};
    for (int i = 0; i < 2; i++) {
        counts[i] = window_cells(g, i, o[i], &start[i]);
        place[i] = o[i] * g->stride[i] - g->before[i] + t[i];
        if (place[i] < 0 || place[i] >= g->in[i])
            return 0;
    }
    if (c->implementation == 2) {
        int64_t at = place[0] * g->in[1] + place[1];
        if (channels_first)
            return ((channel * g->in[0] * g->in[1] + at) * g->filters + filter) * g->positions + p;
        return ((at * g->channels + channel) * g->positions + p) * g->filters + filter;
    }
    int64_t inside = (place[0] - start[0]) * counts[1] + place[1] - start[1], cells = counts[0] * counts[1];
    if (channels_first)
        return (filter * before[g->positions] + before[p]) * g->channels + channel * cells + inside;
    return (before[p] * g->filters + filter * cells) * g->channels + inside * g->channels + channel;
}

/* The kernel of form 2 or 3 as (positions, channels * taps, filters): torch.take with the places of its elements. */
static struct lowered take_kernel(struct lowering *l, const struct keras_call *call, const struct geometry *g)
{
    const struct keras_layer *layer = call->layer;
    const struct shape *stored = &lower_weight(call, "kernel")->shape;
    struct layout layout = layout_keras(stored->rank);
    struct shape shape = shape_of(3, (const int64_t[]){g->positions, g->channels * g->taps, g->filters});
    struct tensor *index = tensor_new(&shape, DTYPE_I64);
    int64_t *before = stored_before(g);
    struct lowered kernel = {.id = -1};
    for (int64_t i = 0; index && before && i < index->count; i++) {
        int64_t row = i / g->filters % shape.dims[1];
        index->data[i] = (float)stored_element(g, layer->config, layer->channels_first, before,
                                               i / (g->filters * shape.dims[1]), row % g->taps, row / g->taps,
                                               i % g->filters);
    }
    if (index && before) {
        struct lowered places = lower_constant_ids(l, call, "index", &shape, index->data);
        kernel = lower_weight_value(l, call, "kernel", stored, &layout);
        kernel.id = lower_function2(l, call, TORCH_TAKE, kernel.id, places.id, 0, NULL, shape, DTYPE_F32);
    }
    tensor_free(index);
    free(before);
    return kernel;
}

/* The same of form 1: in torch a window has its channels first. */
static struct lowered stored_kernel(struct lowering *l, const struct keras_call *call, const struct geometry *g)
{
    bool first = call->layer->channels_first;
    const char *module = lower_module(l, call, "kernel");
    struct shape view = shape_of(4, (const int64_t[]){g->positions, g->taps, g->channels, g->filters});
    if (first)
        view = shape_of(4, (const int64_t[]){g->positions, g->channels, g->taps, g->filters});
    struct rearrangement r = rearrange_axes(&view, first ? (const int[]){0, 1, 2, 3} : (const int[]){0, 2, 1, 3});
    r.shape = shape_of(3, (const int64_t[]){g->positions, g->channels * g->taps, g->filters});
    int parameter = lower_parameter(l, call, module, NULL, "kernel", &r);
    int id = lower_node(l, call,
                        &(struct node_spec){.op = TORCH_PARAMETER,
                                            .module = module,
                                            .parameter_count = 1,
                                            .parameters = &parameter,
                                            .shape = r.shape,
                                            .dtype = DTYPE_F32});
    return (struct lowered){.id = id, .layout = layout_keras(3)};
}

/* (batch, channels * taps, positions) of input 0. */
static struct lowered lower_windows(struct lowering *l, const struct keras_call *call, const struct geometry *g,
                                    int rank)
{
    struct lowered x = spatial_input(l, call, rank);
    struct shape shape = lower_shape(l, x.id);
    if (rank == 1) {
        struct torch_attr dim = attr_int("dim", 2);
        shape = shape_of(4, (const int64_t[]){shape.dims[0], g->channels, 1, g->in[1]});
        x.id = lower_function(l, call, TORCH_UNSQUEEZE, x.id, 1, &dim, shape, DTYPE_F32);
    }
    int64_t before[4] = {0, 0, g->before[0], g->before[1]}, after[4] = {0};
    for (int i = 0; i < 2; i++) {
        int64_t end = (g->out[i] - 1) * g->stride[i] + g->size[i] - g->before[i];
        after[2 + i] = end > g->in[i] ? end - g->in[i] : 0;
    }
    x = lower_pad(l, call, x, before, after, 0);
    struct torch_attr attrs[] = {attr_ints(l, "kernel_size", 2, g->size), attr_ints(l, "stride", 2, g->stride)};
    shape = shape_of(3, (const int64_t[]){shape.dims[0], g->channels * g->taps, g->positions});
    x.id = lower_function(l, call, TORCH_UNFOLD, x.id, 2, attrs, shape, DTYPE_F32);
    return x;
}

static int local_lower(struct lowering *l, const struct keras_call *call)
{
    const struct local_config *c = call->layer->config;
    struct geometry g = find_geometry(call->layer, c, &call->inputs[0]->shape);
    int rank = c->window.rank;
    struct layout layout = layout_spatial(call->layer, rank + 2);
    struct lowered x = lower_windows(l, call, &g, rank);
    struct lowered kernel = c->implementation == 1 ? stored_kernel(l, call, &g) : take_kernel(l, call, &g);
    if (x.id < 0 || kernel.id < 0)
        return -1;
    struct shape shape = lower_shape(l, x.id);
    shape.dims[1] = g.filters;
    x = lower_einsum(l, call, "bkp,pkf->bfp", x, kernel, shape, DTYPE_F32);
    if (rank == 2)
        x = lower_reshape(l, call, x, 4, (const int64_t[]){DIM_UNKNOWN, g.filters, g.out[0], g.out[1]}, NULL);
    x.layout = layout;
    if (c->use_bias) {
        struct shape bias = call->outputs[0]->shape;
        bias.dims[0] = 1;
        x = lower_binary(l, call, TORCH_ADD, x, lower_weight_value(l, call, "bias", &bias, &layout));
    }
    x = activation_lower(l, call, &c->activation, x, NULL);
    return lower_output(l, call, 0, x);
}

const struct layer_handler local_handler = {
    .config_size = sizeof(struct local_config),
    .read = local_read,
    .shape = local_shape,
    .reference = local_reference,
    .lower = local_lower,
};
