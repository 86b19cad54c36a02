/* SPDX-License-Identifier: Apache-2.0 */
/* Flatten, Reshape, Permute, RepeatVector. */
#include <string.h>

#include "base/size.h"
#include "layers/axes.h"
#include "layers/layer.h"
#include "layers/lower.h"

/* The product of dims first … rank - 1, or DIM_UNKNOWN. */
static int64_t product_from(const struct shape *shape, int first)
{
    uint64_t product = 1;
    for (int i = first; i < shape->rank; i++)
        if (shape->dims[i] < 0 || !size_mul(product, (uint64_t)shape->dims[i], &product))
            return DIM_UNKNOWN;
    return product <= INT64_MAX ? (int64_t)product : DIM_UNKNOWN;
}

static void keep_dtype(struct layer_shape *s)
{
    s->output_dtypes[0] = s->input_dtypes[0];
}

static int copy_data(const struct layer_run *run)
{
    memcpy(run->outputs[0]->data, run->inputs[0]->data, (size_t)run->outputs[0]->count * sizeof(float));
    return 0;
}

/* ---- Flatten ---- */

static void flatten_read(struct config_reader *reader, void *config, int variant)
{
    (void)config;
    (void)variant;
    (void)config_data_format(reader);
}

/* The axes of the input in the order in which they are flattened: channels_first ones are turned to channels_last before. */
static void flatten_order(const struct keras_layer *layer, int rank, int order[SHAPE_MAX_RANK])
{
    bool turn = layer->channels_first && rank > 2;
    order[0] = 0;
    for (int i = 1; i < rank; i++)
        order[i] = !turn ? i : i == rank - 1 ? 1 : i + 1;
}

static int flatten_shape(struct layer_shape *s)
{
    const struct shape *in = &s->inputs[0];
    if (in->rank < 1)
        return layer_shape_fail(s, "A scalar cannot be flattened");
    s->outputs[0] = shape_of(2, (const int64_t[]){in->dims[0], product_from(in, 1)});
    keep_dtype(s);
    return 0;
}

static int flatten_reference(const struct layer_run *run)
{
    int order[SHAPE_MAX_RANK];
    flatten_order(run->layer, run->inputs[0]->shape.rank, order);
    struct tensor *turned = tensor_transpose(run->inputs[0], order);
    if (!turned)
        return h5pt_fail_memory(run->err);
    memcpy(run->outputs[0]->data, turned->data, (size_t)turned->count * sizeof(float));
    tensor_free(turned);
    return 0;
}

/* The layout of torch.flatten(x, 1): the features stand in the order of x's axes, Keras' in `order`. */
static struct layout flattened(const struct layout *layout, const struct shape *in, const int *order)
{
    struct layout flat = layout_keras(2);
    int rank = in->rank - 1, before = -1;
    bool same = true; /* axes of size 1 do not matter for the order */
    for (int i = 0; i < rank; i++) {
        int axis = 0;
        while (order[axis + 1] != layout->axes[i + 1])
            axis++;
        flat.flat_dims[i] = in->dims[order[i + 1]];
        flat.flat_axes[i] = axis;
        if (in->dims[layout->axes[i + 1]] == 1)
            continue;
        same = same && axis > before;
        before = axis;
    }
    if (same)
        return layout_keras(2);
    flat.flat_rank = rank;
    return flat;
}

static struct lowered flatten_node(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    const struct keras_value *in = call->inputs[0];
    int order[SHAPE_MAX_RANK];
    flatten_order(call->layer, in->shape.rank, order);
    int64_t features = product_from(&in->shape, 1);
    if (x.layout.axes[0] != 0 || features == DIM_UNKNOWN) {
        struct layout as = layout_keras(in->shape.rank);
        memcpy(as.axes, order, (size_t)in->shape.rank * sizeof *order);
        x = lower_input_as(l, call, 0, &as);
    }
    struct torch_attr start = attr_int("start_dim", 1);
    struct lowered y = {.layout = flattened(&x.layout, &in->shape, order)};
    y.id = lower_function(l, call, TORCH_FLATTEN, x.id, 1, &start,
                          shape_of(2, (const int64_t[]){DIM_UNKNOWN, features}), in->dtype);
    return y;
}

static struct lowered unsqueeze(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    struct shape in = lower_shape(l, x.id), out = {.rank = in.rank + 1, .dims = {in.dims[0], 1}};
    for (int i = 1; i < in.rank; i++)
        out.dims[i + 1] = in.dims[i];
    struct torch_attr dim = attr_int("dim", 1);
    x.id = lower_function(l, call, TORCH_UNSQUEEZE, x.id, 1, &dim, out, call->inputs[0]->dtype);
    x.layout = layout_keras(out.rank);
    return x;
}

static int flatten_lower(struct lowering *l, const struct keras_call *call)
{
    int rank = call->inputs[0]->shape.rank;
    struct lowered x = lower_input(l, call, 0);
    if (x.id < 0)
        return -1;
    if (rank == 1)
        x = unsqueeze(l, call, x);
    else if (rank > 2)
        x = flatten_node(l, call, x);
    return lower_output(l, call, 0, x);
}

const struct layer_handler flatten_handler = {
    .config_size = 0,
    .read = flatten_read,
    .shape = flatten_shape,
    .reference = flatten_reference,
    .lower = flatten_lower,
};

/* ---- Reshape ---- */

struct reshape_config {
    int count;
    int64_t target[SHAPE_MAX_RANK]; /* without the batch; DIM_UNKNOWN: what is left */
};

static void reshape_read(struct config_reader *reader, void *config, int variant)
{
    struct reshape_config *c = config;
    int open = 0;
    (void)variant;
    c->count = config_list(reader, "target_shape", SHAPE_MAX_RANK - 1, c->target);
    if (c->count < 0)
        config_refuse(reader, H5PT_CONFIG_INVALID, "target_shape",
                      "\"target_shape\" is missing or not a list of sizes");
    for (int i = 0; i < c->count; i++) {
        if (c->target[i] < DIM_UNKNOWN)
            config_refuse(reader, H5PT_CONFIG_INVALID, "target_shape", "%lld is not a size", (long long)c->target[i]);
        open += c->target[i] == DIM_UNKNOWN;
    }
    if (open > 1)
        config_refuse(reader, H5PT_CONFIG_INVALID, "target_shape", "Only one size may be left open");
}

static int reshape_shape(struct layer_shape *s)
{
    const struct reshape_config *c = s->config;
    const struct shape *in = &s->inputs[0];
    struct shape *out = &s->outputs[0];
    int64_t total = product_from(in, 1);
    uint64_t fixed = 1;
    int open = 0;
    out->rank = c->count + 1;
    out->dims[0] = in->rank ? in->dims[0] : DIM_UNKNOWN;
    for (int i = 0; i < c->count; i++) {
        out->dims[i + 1] = c->target[i];
        if (c->target[i] == DIM_UNKNOWN)
            open = i + 1;
        else if (!size_mul(fixed, (uint64_t)c->target[i], &fixed) || fixed > INT64_MAX)
            return layer_shape_fail(s, "The target shape is too large");
    }
    keep_dtype(s);
    if (total == DIM_UNKNOWN)
        return 0;
    if (open && fixed && (uint64_t)total % fixed == 0)
        out->dims[open] = total / (int64_t)fixed;
    else if (open || (uint64_t)total != fixed)
        return layer_shape_fail(s, "%lld elements do not fit the target shape", (long long)total);
    return 0;
}

static int reshape_lower(struct lowering *l, const struct keras_call *call)
{
    const struct shape *out = &call->outputs[0]->shape;
    int from[SHAPE_MAX_RANK] = {0};
    struct lowered x = lower_input_keras(l, call, 0);
    if (x.id < 0)
        return -1;
    for (int i = 1; i < out->rank; i++)
        from[i] = -1;
    x = lower_reshape(l, call, x, out->rank, out->dims, from);
    return lower_output(l, call, 0, x);
}

const struct layer_handler reshape_handler = {
    .config_size = sizeof(struct reshape_config),
    .read = reshape_read,
    .shape = reshape_shape,
    .reference = copy_data,
    .lower = reshape_lower,
};

/* ---- Permute ---- */

struct permute_config {
    int count;
    int64_t dims[SHAPE_MAX_RANK]; /* 1 is the first behind the batch */
};

static void permute_read(struct config_reader *reader, void *config, int variant)
{
    struct permute_config *c = config;
    unsigned seen = 0;
    (void)variant;
    c->count = config_list(reader, "dims", SHAPE_MAX_RANK - 1, c->dims);
    if (c->count < 0)
        c->count = 0;
    for (int i = 0; i < c->count; i++)
        if (c->dims[i] >= 1 && c->dims[i] <= c->count)
            seen |= 1u << c->dims[i];
    if (c->count == 0 || seen != (2u << c->count) - 2)
        config_refuse(reader, H5PT_CONFIG_INVALID, "dims", "\"dims\" is not an order of the axes 1, 2 …");
}

/* Output axis i is input axis axes[i]. */
static void permute_axes(const struct permute_config *c, int axes[SHAPE_MAX_RANK])
{
    axes[0] = 0;
    for (int i = 0; i < c->count; i++)
        axes[i + 1] = (int)c->dims[i];
}

static int permute_shape(struct layer_shape *s)
{
    const struct permute_config *c = s->config;
    int axes[SHAPE_MAX_RANK];
    if (s->inputs[0].rank != c->count + 1)
        return layer_shape_fail(s, "The input has %d dimensions, but %d are put in order", s->inputs[0].rank,
                                c->count + 1);
    permute_axes(c, axes);
    s->outputs[0] = shape_permute(&s->inputs[0], axes);
    keep_dtype(s);
    return 0;
}

static int permute_reference(const struct layer_run *run)
{
    int axes[SHAPE_MAX_RANK];
    permute_axes(run->config, axes);
    struct tensor *turned = tensor_transpose(run->inputs[0], axes);
    if (!turned)
        return h5pt_fail_memory(run->err);
    memcpy(run->outputs[0]->data, turned->data, (size_t)turned->count * sizeof(float));
    tensor_free(turned);
    return 0;
}

/* No node: the same torch value, under other names of its axes. Who needs another order asks for it. */
static int permute_lower(struct lowering *l, const struct keras_call *call)
{
    struct lowered x = lower_input(l, call, 0);
    if (x.id >= 0 && !x.layout.flat_rank) {
        int axes[SHAPE_MAX_RANK], inverse[SHAPE_MAX_RANK];
        permute_axes(call->layer->config, axes);
        for (int i = 0; i < x.layout.rank; i++)
            inverse[axes[i]] = i;
        for (int i = 0; i < x.layout.rank; i++)
            x.layout.axes[i] = inverse[x.layout.axes[i]];
    }
    return lower_output(l, call, 0, x);
}

const struct layer_handler permute_handler = {
    .config_size = sizeof(struct permute_config),
    .read = permute_read,
    .shape = permute_shape,
    .reference = permute_reference,
    .lower = permute_lower,
};

/* ---- RepeatVector ---- */

static void repeat_vector_read(struct config_reader *reader, void *config, int variant)
{
    (void)variant;
    *(int64_t *)config = config_size(reader, "n", 1);
}

static int repeat_vector_shape(struct layer_shape *s)
{
    const struct shape *in = &s->inputs[0];
    if (in->rank != 2)
        return layer_shape_fail(s, "The input must have 2 dimensions, not %d", in->rank);
    s->outputs[0] = shape_of(3, (const int64_t[]){in->dims[0], *(const int64_t *)s->config, in->dims[1]});
    keep_dtype(s);
    return 0;
}

static int repeat_vector_reference(const struct layer_run *run)
{
    const struct shape *out = &run->outputs[0]->shape;
    size_t row = (size_t)out->dims[2];
    for (int64_t i = 0; i < out->dims[0] * out->dims[1]; i++)
        memcpy(run->outputs[0]->data + (size_t)i * row, run->inputs[0]->data + (size_t)(i / out->dims[1]) * row,
               row * sizeof(float));
    return 0;
}

static int repeat_vector_lower(struct lowering *l, const struct keras_call *call)
{
    struct lowered x = lower_input_keras(l, call, 0);
    if (x.id < 0)
        return -1;
    x = unsqueeze(l, call, x);
    struct shape shape = lower_shape(l, x.id);
    shape.dims[1] = *(const int64_t *)call->layer->config;
    const struct torch_size keep = {.value = -1, .from_dim = -1}, times = {.value = shape.dims[1], .from_dim = -1};
    struct torch_attr sizes = attr_sizes(l, "sizes", 3, (const struct torch_size[]){keep, times, keep});
    x.id = lower_function(l, call, TORCH_EXPAND, x.id, 1, &sizes, shape, call->inputs[0]->dtype);
    return lower_output(l, call, 0, x);
}

const struct layer_handler repeat_vector_handler = {
    .config_size = sizeof(int64_t),
    .read = repeat_vector_read,
    .shape = repeat_vector_shape,
    .reference = repeat_vector_reference,
    .lower = repeat_vector_lower,
};
