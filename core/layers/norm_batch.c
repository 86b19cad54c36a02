/* SPDX-License-Identifier: Apache-2.0 */
/* BatchNormalization at inference: (x - moving_mean) / sqrt(moving_variance + epsilon) * gamma + beta along one axis, or, in
 * tf.keras, along several. */
#include <math.h>
#include <stdlib.h>

#include "layers/axes.h"
#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"

struct batch_norm_config {
    struct axis_list axis;
    double epsilon, momentum;
    bool scale, center;
    bool renorm; /* three more statistics, which count in training only */
};

static void batch_norm_read(struct config_reader *reader, void *config, int variant)
{
    struct batch_norm_config *c = config;
    (void)variant;
    c->axis = axis_list_read(reader, "axis", -1);
    c->epsilon = config_double(reader, "epsilon", 1e-3);
    c->momentum = config_double(reader, "momentum", 0.99);
    c->scale = config_bool(reader, "scale", true);
    c->center = config_bool(reader, "center", true);
    c->renorm = config_bool(reader, "renorm", false);
    config_ignore(reader, "renorm_clipping renorm_momentum synchronized fused virtual_batch_size");
    if (c->axis.count < 1)
        config_refuse(reader, H5PT_CONFIG_INVALID, "axis", "\"axis\" is empty");
    if (!(c->epsilon >= 0))
        config_refuse(reader, H5PT_CONFIG_INVALID, "epsilon", "\"epsilon\" is %g, but must not be negative",
                      c->epsilon);
}

static int batch_norm_shape(struct layer_shape *s)
{
    const struct batch_norm_config *c = s->config;
    const struct shape *in = &s->inputs[0];
    int axes[SHAPE_MAX_RANK], count = axis_list_resolve(&c->axis, in->rank, axes);
    if (count < 1 || axes[0] == 0)
        return layer_shape_fail(s, "The input, of rank %d, does not have the axes of the layer behind its batch",
                                in->rank);
    struct shape statistics = shape_only(in, count, axes);
    for (int i = 0; i < count; i++)
        if (layer_known_dim(s, axes[i], &statistics.dims[axes[i]]) < 0)
            return -1;
    if (count == 1)
        statistics = shape_of(1, &in->dims[axes[0]]);
    if (c->scale)
        layer_weight(s, "gamma", statistics.rank, statistics.dims);
    if (c->center)
        layer_weight(s, "beta", statistics.rank, statistics.dims);
    layer_weight(s, "moving_mean", statistics.rank, statistics.dims);
    layer_weight(s, "moving_variance", statistics.rank, statistics.dims);
    if (c->renorm) {
        layer_weight(s, "moving_stddev", statistics.rank, statistics.dims);
        layer_weight(s, "renorm_mean", statistics.rank, statistics.dims);
        layer_weight(s, "renorm_stddev", statistics.rank, statistics.dims);
    }
    s->outputs[0] = *in;
    return 0;
}

static int batch_norm_reference(const struct layer_run *run)
{
    const struct batch_norm_config *c = run->config;
    const struct tensor *x = run->inputs[0], *const *next = run->weights;
    const struct tensor *gamma = c->scale ? *next++ : NULL, *beta = c->center ? *next++ : NULL;
    const struct tensor *mean = *next++, *variance = *next;
    int axes[SHAPE_MAX_RANK], count = axis_list_resolve(&c->axis, x->shape.rank, axes);
    struct shape statistics = shape_only(&x->shape, count, axes);
    double *factor = malloc(((size_t)mean->count + 1) * sizeof *factor);
    double *shift = malloc(((size_t)mean->count + 1) * sizeof *shift);
    int ret = factor && shift ? 0 : h5pt_fail_memory(run->err);
    for (int64_t i = 0; !ret && i < mean->count; i++) {
        factor[i] = (gamma ? (double)gamma->data[i] : 1) / sqrt((double)variance->data[i] + c->epsilon);
        shift[i] = (beta ? (double)beta->data[i] : 0) - (double)mean->data[i] * factor[i];
    }
    struct walk walk;
    walk_begin(&walk, &x->shape, &statistics);
    for (int64_t i = 0; !ret && i < x->count; i++, walk_next(&walk))
        run->outputs[0]->data[i] = (float)((double)x->data[i] * factor[walk.offset] + shift[walk.offset]);
    free(factor);
    free(shift);
    return ret;
}

/* ---- one axis: nn.BatchNorm ---- */

/* The input with `axis` at torch axis 1: as it is when it is there already. */
static struct lowered channels_at_1(struct lowering *l, const struct keras_call *call, int axis)
{
    struct lowered x = lower_input(l, call, 0);
    if (x.id >= 0 && x.layout.flat_rank && call->layer->call_count > 1)
        return lower_input_keras(l, call, 0);
    if (x.id < 0 || x.layout.flat_rank || layout_axis(&x.layout, axis) == 1)
        return x;
    struct layout wanted = layout_with_channels(x.layout.rank, axis);
    return lower_input_as(l, call, 0, &wanted);
}

/* 0.99 → 0.01, not 0.010000000000000009: torch counts the new part, Keras the old. */
static double torch_momentum(double keras)
{
    return round((1 - keras) * 1e12) / 1e12;
}

static struct lowered batch_norm_module(struct lowering *l, const struct keras_call *call, struct lowered x, int axis)
{
    static const enum torch_op ops[] = {
        [2] = TORCH_BATCH_NORM1D, TORCH_BATCH_NORM1D, TORCH_BATCH_NORM2D, TORCH_BATCH_NORM3D};
    const struct batch_norm_config *c = call->layer->config;
    const char *module = lower_module(l, call, NULL);
    struct shape vector = shape_of(1, &call->inputs[0]->shape.dims[axis]), scalar = {.rank = 0};
    struct rearrangement r = rearrange_features(&vector, (const int[]){0}, 0, &x.layout);
    bool affine = c->scale || c->center;
    int parameters[5], count = 0;
    if (affine) {
        parameters[count++] = c->scale ? lower_parameter(l, call, module, "weight", "gamma", &r)
                                       : lower_fill(l, call, module, "weight", &vector, 1);
        parameters[count++] = c->center ? lower_parameter(l, call, module, "bias", "beta", &r)
                                        : lower_fill(l, call, module, "bias", &vector, 0);
    }
    parameters[count++] = lower_parameter(l, call, module, "running_mean", "moving_mean", &r);
    parameters[count++] = lower_parameter(l, call, module, "running_var", "moving_variance", &r);
    parameters[count++] = lower_constant(l, call, module, "num_batches_tracked", &scalar, DTYPE_I64, true, &(float){0});
    struct torch_attr attrs[] = {
        attr_int("num_features", vector.dims[0]),
        attr_float("eps", c->epsilon),
        attr_float("momentum", torch_momentum(c->momentum)),
        attr_bool("affine", affine),
    };
    x.id = lower_node(l, call,
                      &(struct node_spec){.op = ops[x.layout.rank],
                                          .module = module,
                                          .input_count = 1,
                                          .inputs = &x.id,
                                          .parameter_count = count,
                                          .parameters = parameters,
                                          .attr_count = 4,
                                          .attrs = attrs,
                                          .shape = lower_shape(l, x.id),
                                          .dtype = DTYPE_F32});
    return x;
}

/* ---- several axes, or more dimensions than nn.BatchNorm takes ---- */

static struct lowered batch_norm_compose(struct lowering *l, const struct keras_call *call, int count, const int *axes)
{
    const struct batch_norm_config *c = call->layer->config;
    struct shape statistics = shape_only(&call->inputs[0]->shape, count, axes);
    struct lowered x = lower_input_keras(l, call, 0);
    if (x.id < 0)
        return x;
    const struct layout *layout = &x.layout;
    struct lowered mean = lower_weight_value(l, call, "moving_mean", &statistics, layout);
    struct lowered deviation = lower_weight_value(l, call, "moving_variance", &statistics, layout);
    deviation = lower_scalar(l, call, TORCH_ADD_SCALAR, deviation, c->epsilon);
    deviation = lower_pointwise(l, call, deviation, TORCH_SQRT, NULL, 0, NULL);
    x = lower_binary(l, call, TORCH_DIV, lower_binary(l, call, TORCH_SUB, x, mean), deviation);
    if (c->scale)
        x = lower_binary(l, call, TORCH_MUL, x, lower_weight_value(l, call, "gamma", &statistics, layout));
    if (c->center)
        x = lower_binary(l, call, TORCH_ADD, x, lower_weight_value(l, call, "beta", &statistics, layout));
    return x;
}

static int batch_norm_lower(struct lowering *l, const struct keras_call *call)
{
    const struct batch_norm_config *c = call->layer->config;
    int rank = call->inputs[0]->shape.rank, axes[SHAPE_MAX_RANK], count = axis_list_resolve(&c->axis, rank, axes);
    struct lowered x;
    if (count == 1 && rank <= 5) {
        x = channels_at_1(l, call, axes[0]);
        if (x.id >= 0)
            x = batch_norm_module(l, call, x, axes[0]);
    } else {
        x = batch_norm_compose(l, call, count, axes);
    }
    return lower_output(l, call, 0, x);
}

const struct layer_handler batch_norm_handler = {
    .config_size = sizeof(struct batch_norm_config),
    .read = batch_norm_read,
    .shape = batch_norm_shape,
    .reference = batch_norm_reference,
    .lower = batch_norm_lower,
};
