/* SPDX-License-Identifier: Apache-2.0 */
/* Rescaling and Normalization: multiply and shift by numbers that the configuration or the file holds. */
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "layers/axes.h"
#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"

/* A number or an array of numbers from a configuration. */
struct numbers {
    struct shape shape; /* rank 0: one number */
    const float *values;
};

/* The shape of a nested list, from its first elements; its elements are checked by their number. */
static struct shape nested_shape(const json_t *value)
{
    struct shape shape = {.rank = 0};
    double number;
    value = json_unwrap(value);
    while (json_is_array(value) && shape.rank < SHAPE_MAX_RANK && !json_read_double(value, &number)) {
        shape.dims[shape.rank++] = (int64_t)json_array_size(value);
        value = json_unwrap(json_array_get(value, 0));
    }
    return shape;
}

/* False when the key is absent (then *ret is the number `absent`) or refused. */
static bool numbers_read(struct config_reader *reader, const char *key, float absent, struct numbers *ret)
{
    const double *values = &(const double){(double)absent};
    int count = config_doubles(reader, key, &values);
    bool found = count >= 0;
    ret->shape = found ? nested_shape(json_object_get(reader->json, key)) : (struct shape){.rank = 0};
    if (!found)
        count = 1;
    int64_t expected;
    float *copy = ARENA_ARRAY(reader->arena, float, (size_t)count + 1);
    if (!copy) {
        reader->refusals->broken = true;
        copy = NULL;
        found = false;
    } else if (!shape_count(&ret->shape, &expected) || expected != count) {
        config_refuse(reader, H5PT_CONFIG_INVALID, key, "\"%s\" is a list of lists of different lengths", key);
        ret->shape.rank = 0;
    }
    for (int i = 0; copy && i < count; i++)
        copy[i] = (float)values[i];
    ret->values = copy;
    return found;
}

/* `shape` as `rank` dims, with ones in front. */
static struct shape shape_align(const struct shape *shape, int rank)
{
    struct shape ret = {.rank = rank};
    for (int i = 0; i < rank; i++)
        ret.dims[i] = i < rank - shape->rank ? 1 : shape->dims[i - (rank - shape->rank)];
    return ret;
}

/* ---- Rescaling ---- */

struct rescaling_config {
    struct numbers scale, offset;
};

static void rescaling_read(struct config_reader *reader, void *config, int variant)
{
    struct rescaling_config *c = config;
    (void)variant;
    if (!numbers_read(reader, "scale", 1, &c->scale))
        config_refuse(reader, H5PT_CONFIG_INVALID, "scale", "\"scale\" is missing");
    (void)numbers_read(reader, "offset", 0, &c->offset);
}

static int rescaling_shape(struct layer_shape *s)
{
    const struct rescaling_config *c = s->config;
    const struct numbers *both[] = {&c->scale, &c->offset};
    s->outputs[0] = s->inputs[0];
    for (int i = 0; i < 2; i++) {
        /* With a list for each channel the axis that it runs over depends on a setting of Keras that no file records, unless
         * it can only be the last one. */
        if (both[i]->shape.rank > 1)
            return h5pt_fail(s->err, H5PT_UNSUPPORTED_CONFIG, "scale", "Lists of lists are not supported");
        int64_t last = s->inputs[0].rank ? s->inputs[0].dims[s->inputs[0].rank - 1] : 1;
        if (both[i]->shape.rank == 1 && both[i]->shape.dims[0] != last)
            return layer_shape_fail(s, "There are %lld numbers for the %lld channels of the last axis",
                                    (long long)both[i]->shape.dims[0], (long long)last);
    }
    return 0;
}

static int rescaling_reference(const struct layer_run *run)
{
    const struct rescaling_config *c = run->config;
    const struct tensor *x = run->inputs[0];
    struct walk scale, offset;
    walk_begin(&scale, &x->shape, &c->scale.shape);
    walk_begin(&offset, &x->shape, &c->offset.shape);
    for (int64_t i = 0; i < x->count; i++, walk_next(&scale), walk_next(&offset))
        run->outputs[0]->data[i] = x->data[i] * c->scale.values[scale.offset] + c->offset.values[offset.offset];
    return 0;
}

static struct lowered rescaling_apply(struct lowering *l, const struct keras_call *call, struct lowered x,
                                      const struct numbers *numbers, const char *name, enum torch_op by_number,
                                      enum torch_op by_list, float neutral)
{
    if (numbers->shape.rank == 0) {
        double value = tidy_float((double)numbers->values[0]);
        return numbers->values[0] == neutral ? x : lower_scalar(l, call, by_number, x, value);
    }
    struct shape shape = shape_align(&numbers->shape, x.layout.rank);
    struct lowered list = lower_constant_value(l, call, name, &shape, &x.layout, numbers->values);
    return lower_binary(l, call, by_list, x, list);
}

static int rescaling_lower(struct lowering *l, const struct keras_call *call)
{
    const struct rescaling_config *c = call->layer->config;
    bool lists = c->scale.shape.rank || c->offset.shape.rank;
    struct lowered x = lower_input(l, call, 0);
    if (x.id >= 0 && lists && (x.layout.flat_rank || call->layer->call_count > 1))
        x = lower_input_keras(l, call, 0);
    if (x.id < 0)
        return -1;
    x = lower_float(l, call, x);
    x = rescaling_apply(l, call, x, &c->scale, "scale", TORCH_MUL_SCALAR, TORCH_MUL, 1);
    x = rescaling_apply(l, call, x, &c->offset, "offset", TORCH_ADD_SCALAR, TORCH_ADD, 0);
    return lower_output(l, call, 0, x);
}

const struct layer_handler rescaling_handler = {
    .config_size = sizeof(struct rescaling_config),
    .read = rescaling_read,
    .shape = rescaling_shape,
    .reference = rescaling_reference,
    .lower = rescaling_lower,
};

/* ---- Normalization ---- */

/* The least standard deviation that is divided by. */
static const float least_deviation = 1e-7f;

struct normalization_config {
    struct axis_list axis; /* that have statistics of their own; none: one mean for everything */
    bool invert;
    bool adapted; /* mean and variance are weights, else they are here: */
    struct numbers mean, variance;
};

static void normalization_read(struct config_reader *reader, void *config, int variant)
{
    struct normalization_config *c = config;
    (void)variant;
    c->axis = axis_list_read(reader, "axis", -1);
    if (json_is_null(json_object_get(reader->json, "axis")))
        c->axis.count = 0;
    c->invert = config_bool(reader, "invert", false);
    bool mean = numbers_read(reader, "mean", 0, &c->mean), variance = numbers_read(reader, "variance", 1, &c->variance);
    c->adapted = !mean && !variance;
    if (mean != variance)
        config_refuse(reader, H5PT_CONFIG_INVALID, "mean", "Either both of mean and variance are needed, or none");
    config_ignore(reader, "max_tokens");
}

/* The input's shape with 1 along the axes without statistics of their own. */
static int normalization_kept(const struct normalization_config *c, const struct shape *in, struct shape *ret,
                              int axes[])
{
    int count = axis_list_resolve(&c->axis, in->rank, axes);
    if (count >= 0)
        *ret = shape_only(in, count, axes);
    return count;
}

/* The shape in which numbers of the configuration broadcast against the input: their dims belong to the last of the axes. */
static bool normalization_align(const struct numbers *numbers, const struct shape *kept, int count, const int *axes,
                                struct shape *ret)
{
    struct shape out = shape_without(kept, count, axes);
    int skip = count - numbers->shape.rank;
    if (skip < 0)
        return false;
    for (int i = skip; i < count; i++) {
        out.dims[axes[i]] = numbers->shape.dims[i - skip];
        if (out.dims[axes[i]] != 1 && out.dims[axes[i]] != kept->dims[axes[i]])
            return false;
    }
    *ret = out;
    return true;
}

static int normalization_shape(struct layer_shape *s)
{
    const struct normalization_config *c = s->config;
    const struct shape *in = &s->inputs[0];
    struct shape kept, aligned;
    int axes[SHAPE_MAX_RANK], count = normalization_kept(c, in, &kept, axes);
    if (count < 0)
        return layer_shape_fail(s, "The input, of rank %d, does not have the axes of the layer", in->rank);
    s->outputs[0] = *in;
    int64_t dims[SHAPE_MAX_RANK];
    for (int i = 0; i < count; i++)
        if (layer_known_dim(s, axes[i], &dims[i]) < 0)
            return -1;
    if (!c->adapted) {
        if (!normalization_align(&c->mean, &kept, count, axes, &aligned) ||
            !normalization_align(&c->variance, &kept, count, axes, &aligned))
            return layer_shape_fail(s, "mean or variance does not fit the axes of the input");
        return 0;
    }
    layer_weight(s, "mean", count, dims);
    layer_weight(s, "variance", count, dims);
    layer_weight(s, "count", 0, dims);
    return 0;
}

static int normalization_reference(const struct layer_run *run)
{
    const struct normalization_config *c = run->config;
    const struct tensor *x = run->inputs[0];
    struct shape kept, mean_shape, variance_shape;
    int axes[SHAPE_MAX_RANK], count = normalization_kept(c, &x->shape, &kept, axes);
    mean_shape = variance_shape = kept;
    if (!c->adapted && (!normalization_align(&c->mean, &kept, count, axes, &mean_shape) ||
                        !normalization_align(&c->variance, &kept, count, axes, &variance_shape)))
        return h5pt_fail(run->err, H5PT_SHAPE_MISMATCH, run->layer->path, "mean or variance does not fit the input");
    const float *means = c->adapted ? run->weights[0]->data : c->mean.values;
    const float *variances = c->adapted ? run->weights[1]->data : c->variance.values;
    struct walk mean, variance;
    walk_begin(&mean, &x->shape, &mean_shape);
    walk_begin(&variance, &x->shape, &variance_shape);
    for (int64_t i = 0; i < x->count; i++, walk_next(&mean), walk_next(&variance)) {
        float m = means[mean.offset], deviation = sqrtf(variances[variance.offset]);
        if (deviation < least_deviation)
            deviation = least_deviation;
        run->outputs[0]->data[i] = c->invert ? m + x->data[i] * deviation : (x->data[i] - m) / deviation;
    }
    return 0;
}

static struct lowered normalization_value(struct lowering *l, const struct keras_call *call, const char *name,
                                          const struct numbers *numbers, const struct layout *layout)
{
    const struct normalization_config *c = call->layer->config;
    struct shape kept, shape;
    int axes[SHAPE_MAX_RANK], count = normalization_kept(c, &call->inputs[0]->shape, &kept, axes);
    if (c->adapted)
        return lower_weight_value(l, call, name, &kept, layout);
    if (!normalization_align(numbers, &kept, count, axes, &shape))
        return (struct lowered){.id = -1};
    return lower_constant_value(l, call, name, &shape, layout, numbers->values);
}

static int normalization_lower(struct lowering *l, const struct keras_call *call)
{
    const struct normalization_config *c = call->layer->config;
    struct lowered x = lower_input(l, call, 0);
    if (x.id >= 0 && (x.layout.flat_rank || call->layer->call_count > 1))
        x = lower_input_keras(l, call, 0);
    if (x.id < 0)
        return -1;
    x = lower_float(l, call, x);
    struct lowered mean = normalization_value(l, call, "mean", &c->mean, &x.layout);
    struct lowered deviation = normalization_value(l, call, "variance", &c->variance, &x.layout);
    deviation = lower_pointwise(l, call, deviation, TORCH_SQRT, NULL, 0, NULL);
    deviation = lower_clamp(l, call, deviation, 1e-7, (double)INFINITY);
    if (c->invert)
        x = lower_binary(l, call, TORCH_ADD, mean, lower_binary(l, call, TORCH_MUL, x, deviation));
    else
        x = lower_binary(l, call, TORCH_DIV, lower_binary(l, call, TORCH_SUB, x, mean), deviation);
    return lower_output(l, call, 0, x);
}

const struct layer_handler normalization_handler = {
    .config_size = sizeof(struct normalization_config),
    .read = normalization_read,
    .shape = normalization_shape,
    .reference = normalization_reference,
    .lower = normalization_lower,
};
