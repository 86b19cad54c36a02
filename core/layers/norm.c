/* SPDX-License-Identifier: Apache-2.0 */
/* LayerNormalization, RMSNormalization, GroupNormalization: statistics of each sample by itself. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers/axes.h"
#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"

/* Mean and population variance of the elements that share a place in `kept` (1 along the axes that are averaged). */
struct moments {
    double *mean, *variance; /* owned */
};

static void moments_release(struct moments *m)
{
    free(m->mean);
    free(m->variance);
}

static int moments_init(struct moments *m, const float *x, const struct shape *shape, const struct shape *kept,
                        struct h5pt_error *err)
{
    int64_t groups, count;
    struct walk walk;
    *m = (struct moments){NULL, NULL};
    if (!shape_count(kept, &groups) || !shape_count(shape, &count))
        return h5pt_fail(err, H5PT_INTERNAL, NULL, "The input is too large");
    m->mean = calloc((size_t)groups + 1, sizeof *m->mean);
    m->variance = calloc((size_t)groups + 1, sizeof *m->variance);
    if (!m->mean || !m->variance)
        return h5pt_fail_memory(err);
    double share = groups && count ? (double)groups / (double)count : 0;
    walk_begin(&walk, shape, kept);
    for (int64_t i = 0; i < count; i++, walk_next(&walk))
        m->mean[walk.offset] += (double)x[i] * share;
    walk_begin(&walk, shape, kept);
    for (int64_t i = 0; i < count; i++, walk_next(&walk)) {
        double d = (double)x[i] - m->mean[walk.offset];
        m->variance[walk.offset] += d * d * share;
    }
    return 0;
}

/* Refuses axes that the input does not have, or the batch; returns their number, else -1. */
static int sample_axes(struct layer_shape *s, const struct axis_list *list, int axes[SHAPE_MAX_RANK])
{
    int count = axis_list_resolve(list, s->inputs[0].rank, axes);
    if (count < 1 || axes[0] == 0)
        return layer_shape_fail(s, "The input, of rank %d, does not have the axes of the layer behind its batch",
                                s->inputs[0].rank);
    return count;
}

/* A layout in which these Keras axes are the last ones: that of x when it is one already, else batch and other axes in front.
 * A shared layer always gets the latter. */
static struct lowered axes_last(struct lowering *l, const struct keras_call *call, int count, const int *axes)
{
    struct lowered x = lower_input(l, call, 0);
    int rank = call->inputs[0]->shape.rank;
    bool normalised[SHAPE_MAX_RANK] = {false}, ready = x.id >= 0 && !x.layout.flat_rank && call->layer->call_count == 1;
    for (int i = 0; i < count; i++)
        normalised[axes[i]] = true;
    for (int i = rank - count; ready && i < rank; i++)
        ready = normalised[x.layout.axes[i]];
    if (x.id < 0 || ready)
        return x;
    struct layout wanted = {.rank = rank};
    int n = 0;
    for (int i = 0; i < rank; i++)
        if (!normalised[i])
            wanted.axes[n++] = i;
    for (int i = 0; i < count; i++)
        wanted.axes[n++] = axes[i];
    return lower_input_as(l, call, 0, &wanted);
}

/* ---- LayerNormalization and RMSNormalization ---- */

struct layer_norm_config {
    struct axis_list axis; /* as stored: its order is that of gamma's dims */
    double epsilon;
    bool center, scale;
    bool rms_scaling; /* divides by the standard deviation without taking the mean away */
};

/* Keras 3 sorts the axes as they are written before it makes the weights. */
static void sort_written(struct axis_list *list)
{
    for (int i = 1; i < list->count; i++)
        for (int k = i; k > 0 && list->axes[k - 1] > list->axes[k]; k--) {
            int64_t axis = list->axes[k];
            list->axes[k] = list->axes[k - 1];
            list->axes[k - 1] = axis;
        }
}

static void layer_norm_read(struct config_reader *reader, void *config, int variant)
{
    struct layer_norm_config *c = config;
    (void)variant;
    c->axis = axis_list_read(reader, "axis", -1);
    if (reader->version.major >= 3)
        sort_written(&c->axis);
    c->epsilon = config_double(reader, "epsilon", 1e-3);
    c->rms_scaling = config_bool(reader, "rms_scaling", false);
    c->scale = config_bool(reader, "scale", true) || c->rms_scaling;
    c->center = config_bool(reader, "center", true) && !c->rms_scaling;
}

static int layer_norm_shape(struct layer_shape *s)
{
    const struct layer_norm_config *c = s->config;
    int axes[SHAPE_MAX_RANK], count = sample_axes(s, &c->axis, axes);
    int64_t dims[SHAPE_MAX_RANK];
    if (count < 0)
        return -1;
    for (int i = 0; i < count; i++)
        if (layer_known_dim(s, axis_resolve(c->axis.axes[i], s->inputs[0].rank), &dims[i]) < 0)
            return -1;
    if (c->scale)
        layer_weight(s, "gamma", count, dims);
    if (c->center)
        layer_weight(s, "beta", count, dims);
    s->outputs[0] = s->inputs[0];
    return 0;
}

static int layer_norm_reference(const struct layer_run *run)
{
    const struct layer_norm_config *c = run->config;
    const struct tensor *x = run->inputs[0], *const *next = run->weights;
    const struct tensor *gamma = c->scale ? *next++ : NULL, *beta = c->center ? *next : NULL;
    int axes[SHAPE_MAX_RANK], count = axis_list_resolve(&c->axis, x->shape.rank, axes);
    /* Keras reshapes gamma and beta to the input's axes, whatever the order of their own dims. */
    struct shape kept = shape_without(&x->shape, count, axes), weight = shape_only(&x->shape, count, axes);
    struct moments m;
    int ret = moments_init(&m, x->data, &x->shape, &kept, run->err);
    struct walk group, place;
    walk_begin(&group, &x->shape, &kept);
    walk_begin(&place, &x->shape, &weight);
    for (int64_t i = 0; !ret && i < x->count; i++, walk_next(&group), walk_next(&place)) {
        double centred = (double)x->data[i] - (c->rms_scaling ? 0 : m.mean[group.offset]);
        double y = centred / sqrt(m.variance[group.offset] + c->epsilon);
        y = y * (gamma ? (double)gamma->data[place.offset] : 1) + (beta ? (double)beta->data[place.offset] : 0);
        run->outputs[0]->data[i] = (float)y;
    }
    moments_release(&m);
    return ret;
}

/* gamma or beta as nn.LayerNorm has it: over the last `count` torch axes of x. */
static struct rearrangement trailing_weight(const struct keras_call *call, const struct layout *layout, int count,
                                            const int *axes)
{
    struct shape view = {.rank = count};
    int order[SHAPE_MAX_RANK];
    for (int i = 0; i < count; i++)
        view.dims[i] = call->inputs[0]->shape.dims[axes[i]];
    for (int i = 0; i < count; i++)
        for (int k = 0; k < count; k++)
            if (axes[k] == layout->axes[layout->rank - count + i])
                order[i] = k;
    return rearrange_axes(&view, order);
}

static struct lowered layer_norm_module(struct lowering *l, const struct keras_call *call, struct lowered x, int count,
                                        const int *axes)
{
    const struct layer_norm_config *c = call->layer->config;
    const char *module = lower_module(l, call, NULL);
    struct rearrangement r = trailing_weight(call, &x.layout, count, axes);
    int parameters[2], n = 0;
    if (c->scale || c->center)
        parameters[n++] = c->scale ? lower_parameter(l, call, module, "weight", "gamma", &r)
                                   : lower_fill(l, call, module, "weight", &r.shape, 1);
    if (c->center)
        parameters[n++] = lower_parameter(l, call, module, "bias", "beta", &r);
    struct torch_attr attrs[] = {
        count == 1 ? attr_int("normalized_shape", r.shape.dims[0])
                   : attr_list(l, "normalized_shape", count, r.shape.dims),
        attr_float("eps", c->epsilon),
        attr_bool("elementwise_affine", n > 0),
        attr_bool("bias", c->center),
    };
    x.id = lower_node(l, call,
                      &(struct node_spec){.op = TORCH_LAYER_NORM,
                                          .module = module,
                                          .input_count = 1,
                                          .inputs = &x.id,
                                          .parameter_count = n,
                                          .parameters = parameters,
                                          .attr_count = n > 0 ? 4 : 3,
                                          .attrs = attrs,
                                          .shape = lower_shape(l, x.id),
                                          .dtype = DTYPE_F32});
    return x;
}

/* x * rsqrt(statistic + epsilon) * weight, where the statistic keeps the normalised axes as ones. */
static struct lowered scale_by_rsqrt(struct lowering *l, const struct keras_call *call, struct lowered x,
                                     struct lowered statistic, double epsilon, const char *slot, int count,
                                     const int *axes)
{
    statistic = lower_scalar(l, call, TORCH_ADD_SCALAR, statistic, epsilon);
    statistic = lower_pointwise(l, call, statistic, TORCH_RSQRT, NULL, 0, NULL);
    struct shape weight = shape_only(&call->inputs[0]->shape, count, axes);
    struct lowered y = lower_binary(l, call, TORCH_MUL, x, statistic);
    return lower_binary(l, call, TORCH_MUL, y, lower_weight_value(l, call, slot, &weight, &x.layout));
}

static int layer_norm_lower(struct lowering *l, const struct keras_call *call)
{
    const struct layer_norm_config *c = call->layer->config;
    int axes[SHAPE_MAX_RANK], count = axis_list_resolve(&c->axis, call->inputs[0]->shape.rank, axes);
    struct lowered x = axes_last(l, call, count, axes);
    if (x.id < 0)
        return -1;
    if (c->rms_scaling)
        x = scale_by_rsqrt(l, call, x, lower_reduce(l, call, TORCH_VAR, x, count, axes), c->epsilon, "gamma", count,
                           axes);
    else
        x = layer_norm_module(l, call, x, count, axes);
    return lower_output(l, call, 0, x);
}

const struct layer_handler layer_norm_handler = {
    .config_size = sizeof(struct layer_norm_config),
    .read = layer_norm_read,
    .shape = layer_norm_shape,
    .reference = layer_norm_reference,
    .lower = layer_norm_lower,
};

struct rms_norm_config {
    struct axis_list axis;
    double epsilon;
};

static void rms_norm_read(struct config_reader *reader, void *config, int variant)
{
    struct rms_norm_config *c = config;
    (void)variant;
    c->axis = axis_list_read(reader, "axis", -1);
    sort_written(&c->axis);
    c->epsilon = config_double(reader, "epsilon", 1e-6);
}

static int rms_norm_shape(struct layer_shape *s)
{
    const struct rms_norm_config *c = s->config;
    int axes[SHAPE_MAX_RANK], count = sample_axes(s, &c->axis, axes), rank = s->inputs[0].rank;
    int64_t dims[SHAPE_MAX_RANK];
    if (count < 0)
        return -1;
    /* The scale is not moved to its axes but aligned with the last ones: over others Keras fails, or gives what nobody means. */
    for (int i = 0; i < count; i++) {
        if (axes[i] != rank - count + i || axis_resolve(c->axis.axes[i], rank) != axes[i])
            return h5pt_fail(s->err, H5PT_UNSUPPORTED_CONFIG, "axis", "Only the last axes can be normalised");
        if (layer_known_dim(s, axes[i], &dims[i]) < 0)
            return -1;
    }
    layer_weight(s, "scale", count, dims);
    s->outputs[0] = s->inputs[0];
    return 0;
}

static int rms_norm_reference(const struct layer_run *run)
{
    const struct rms_norm_config *c = run->config;
    const struct tensor *x = run->inputs[0], *scale = run->weights[0];
    int64_t n = scale->count;
    for (int64_t row = 0; n && row < x->count / n; row++) {
        double squares = 0;
        for (int64_t i = row * n; i < (row + 1) * n; i++)
            squares += (double)x->data[i] * (double)x->data[i];
        double factor = 1 / sqrt(squares / (double)n + c->epsilon);
        for (int64_t i = 0; i < n; i++)
            run->outputs[0]->data[row * n + i] = (float)((double)x->data[row * n + i] * factor *
                                                         (double)scale->data[i]);
    }
    return 0;
}

static int rms_norm_lower(struct lowering *l, const struct keras_call *call)
{
    const struct rms_norm_config *c = call->layer->config;
    int axes[SHAPE_MAX_RANK], count = axis_list_resolve(&c->axis, call->inputs[0]->shape.rank, axes);
    struct lowered x = axes_last(l, call, count, axes);
    if (x.id < 0)
        return -1;
    struct lowered squares = lower_pointwise(l, call, x, TORCH_SQUARE, NULL, 0, NULL);
    squares = lower_reduce(l, call, TORCH_MEAN, squares, count, axes);
    x = scale_by_rsqrt(l, call, x, squares, c->epsilon, "scale", count, axes);
    return lower_output(l, call, 0, x);
}

const struct layer_handler rms_norm_handler = {
    .config_size = sizeof(struct rms_norm_config),
    .read = rms_norm_read,
    .shape = rms_norm_shape,
    .reference = rms_norm_reference,
    .lower = rms_norm_lower,
};

/* ---- GroupNormalization ---- */

struct group_norm_config {
    int64_t groups; /* -1: as many as channels */
    int64_t axis;
    double epsilon;
    bool center, scale;
};

static void group_norm_read(struct config_reader *reader, void *config, int variant)
{
    struct group_norm_config *c = config;
    (void)variant;
    c->groups = config_int(reader, "groups", 32);
    c->axis = config_int(reader, "axis", -1);
    c->epsilon = config_double(reader, "epsilon", 1e-3);
    c->center = config_bool(reader, "center", true);
    c->scale = config_bool(reader, "scale", true);
    if (c->groups != -1 && c->groups < 1)
        config_refuse(reader, H5PT_CONFIG_INVALID, "groups", "%lld is not a number of groups", (long long)c->groups);
}

static int group_norm_shape(struct layer_shape *s)
{
    const struct group_norm_config *c = s->config;
    int axis = axis_resolve(c->axis, s->inputs[0].rank);
    int64_t channels;
    if (axis < 1 || s->inputs[0].rank == SHAPE_MAX_RANK)
        return layer_shape_fail(s, "The input, of rank %d, does not fit the axis of the layer", s->inputs[0].rank);
    if (layer_known_dim(s, axis, &channels) < 0)
        return -1;
    if (c->groups != -1 && channels % c->groups)
        return layer_shape_fail(s, "%lld channels cannot be split into %lld groups", (long long)channels,
                                (long long)c->groups);
    if (c->scale)
        layer_weight(s, "gamma", 1, &channels);
    if (c->center)
        layer_weight(s, "beta", 1, &channels);
    s->outputs[0] = s->inputs[0];
    return 0;
}

static int group_norm_reference(const struct layer_run *run)
{
    const struct group_norm_config *c = run->config;
    const struct tensor *x = run->inputs[0], *const *next = run->weights;
    const struct tensor *gamma = c->scale ? *next++ : NULL, *beta = c->center ? *next : NULL;
    int rank = x->shape.rank, axis = axis_resolve(c->axis, rank);
    int64_t channels = x->shape.dims[axis], groups = c->groups == -1 ? channels : c->groups;
    /* (…, channels, …) seen as (…, groups, channels of a group, …) */
    struct shape split = x->shape;
    split.rank = rank + 1;
    memmove(split.dims + axis + 1, x->shape.dims + axis, (size_t)(rank - axis) * sizeof *split.dims);
    split.dims[axis] = groups;
    split.dims[axis + 1] = groups ? channels / groups : 0;
    struct shape kept = shape_only(&split, 2, (const int[]){0, axis});
    struct shape weight = shape_only(&x->shape, 1, &axis);
    struct moments m;
    int ret = moments_init(&m, x->data, &split, &kept, run->err);
    struct walk group, place;
    walk_begin(&group, &split, &kept);
    walk_begin(&place, &x->shape, &weight);
    for (int64_t i = 0; !ret && i < x->count; i++, walk_next(&group), walk_next(&place)) {
        double y = ((double)x->data[i] - m.mean[group.offset]) / sqrt(m.variance[group.offset] + c->epsilon);
        y = y * (gamma ? (double)gamma->data[place.offset] : 1) + (beta ? (double)beta->data[place.offset] : 0);
        run->outputs[0]->data[i] = (float)y;
    }
    moments_release(&m);
    return ret;
}

/* The input with the channels at torch axis 1, in Keras' order of channels. */
static struct lowered group_norm_input(struct lowering *l, const struct keras_call *call, int axis)
{
    struct lowered x = lower_input(l, call, 0);
    if (x.id < 0 || (!x.layout.flat_rank && layout_axis(&x.layout, axis) == 1))
        return x;
    struct layout wanted = layout_with_channels(x.layout.rank, axis);
    return lower_input_as(l, call, 0, &wanted);
}

static int group_norm_lower(struct lowering *l, const struct keras_call *call)
{
    const struct group_norm_config *c = call->layer->config;
    int axis = axis_resolve(c->axis, call->inputs[0]->shape.rank);
    struct lowered x = group_norm_input(l, call, axis);
    if (x.id < 0)
        return -1;
    const char *module = lower_module(l, call, NULL);
    struct shape vector = shape_of(1, &call->inputs[0]->shape.dims[axis]);
    struct rearrangement r = rearrange_as_is(&vector);
    bool affine = c->scale || c->center;
    int parameters[2];
    if (affine) {
        parameters[0] = c->scale ? lower_parameter(l, call, module, "weight", "gamma", &r)
                                 : lower_fill(l, call, module, "weight", &vector, 1);
        parameters[1] = c->center ? lower_parameter(l, call, module, "bias", "beta", &r)
                                  : lower_fill(l, call, module, "bias", &vector, 0);
    }
    struct torch_attr attrs[] = {
        attr_int("num_groups", c->groups == -1 ? vector.dims[0] : c->groups),
        attr_int("num_channels", vector.dims[0]),
        attr_float("eps", c->epsilon),
        attr_bool("affine", affine),
    };
    x.id = lower_node(l, call,
                      &(struct node_spec){.op = TORCH_GROUP_NORM,
                                          .module = module,
                                          .input_count = 1,
                                          .inputs = &x.id,
                                          .parameter_count = affine ? 2 : 0,
                                          .parameters = parameters,
                                          .attr_count = 4,
                                          .attrs = attrs,
                                          .shape = lower_shape(l, x.id),
                                          .dtype = DTYPE_F32});
    return lower_output(l, call, 0, x);
}

const struct layer_handler group_norm_handler = {
    .config_size = sizeof(struct group_norm_config),
    .read = group_norm_read,
    .shape = group_norm_shape,
    .reference = group_norm_reference,
    .lower = group_norm_lower,
};
