/* SPDX-License-Identifier: Apache-2.0 */
/* Layers that are not Keras' own but stand in many files: those that keras.applications brings along (CustomScaleLayer,
 * LayerScale, StochasticDepth), and InstanceNormalization of keras-contrib and of tensorflow_addons. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers/axes.h"
#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"
#include "layers/variants.h"

/* ---- CustomScaleLayer, StochasticDepth: x + factor * y; or, with one input, what comes in ---- */

struct residual_config {
    int inputs;
    double factor;
};

static void residual_read(struct config_reader *reader, void *config, int variant)
{
    struct residual_config *c = config;
    const char *key = variant == RESIDUAL_SCALE ? "scale" : "survival_probability";
    c->inputs = 2;
    if (variant == RESIDUAL_DEPTH && config_get(reader, "drop_path_rate")) {
        c->inputs = 1; /* that of keras.applications, which drops in training only */
        return;
    }
    if (!config_get(reader, key))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, key, "This %s is none that is known: it has no \"%s\"",
                      reader->layer->class_name, key);
    c->factor = config_double(reader, key, 1);
}

static int residual_shape(struct layer_shape *s)
{
    const struct residual_config *c = s->config;
    if (s->input_count != c->inputs)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_CALL_ARGUMENT, "inputs", "It takes %d tensors, not %d", c->inputs,
                         s->input_count);
    s->outputs[0] = s->inputs[0];
    if (c->inputs == 2 && !shape_equal(&s->inputs[0], &s->inputs[1]))
        return layer_shape_fail(s, "The two tensors differ in shape");
    return 0;
}

static int residual_reference(const struct layer_run *run)
{
    const struct residual_config *c = run->config;
    struct tensor *out = run->outputs[0];
    for (int64_t i = 0; i < out->count; i++) {
        out->data[i] = run->inputs[0]->data[i];
        if (c->inputs == 2)
            out->data[i] += run->inputs[1]->data[i] * (float)c->factor;
    }
    return 0;
}

static int residual_lower(struct lowering *l, const struct keras_call *call)
{
    const struct residual_config *c = call->layer->config;
    struct lowered x = lower_input(l, call, 0);
    if (c->inputs == 2) {
        if (x.id >= 0 && x.layout.flat_rank)
            x = lower_input_keras(l, call, 0);
        struct layout layout = x.layout;
        struct lowered y = lower_input_as(l, call, 1, &layout);
        x = lower_binary(l, call, TORCH_ADD, x, lower_scalar(l, call, TORCH_MUL_SCALAR, y, c->factor));
    }
    return lower_output(l, call, 0, x);
}

const struct layer_handler residual_handler = {
    .config_size = sizeof(struct residual_config),
    .read = residual_read,
    .shape = residual_shape,
    .reference = residual_reference,
    .lower = residual_lower,
};

/* ---- LayerScale: x * gamma over the last axis ---- */

struct layer_scale_config {
    int64_t size;
};

static void layer_scale_read(struct config_reader *reader, void *config, int variant)
{
    struct layer_scale_config *c = config;
    (void)variant;
    c->size = config_size(reader, "projection_dim", 1);
    config_ignore(reader, "init_values");
}

static int layer_scale_shape(struct layer_shape *s)
{
    const struct layer_scale_config *c = s->config;
    const struct shape *in = &s->inputs[0];
    s->outputs[0] = *in;
    if (in->rank < 2 || in->dims[in->rank - 1] != c->size)
        return layer_shape_fail(s, "The last axis must have the size %lld", (long long)c->size);
    layer_weight(s, "gamma", 1, &c->size);
    return 0;
}

static int layer_scale_reference(const struct layer_run *run)
{
    const struct tensor *gamma = run->weights[0];
    for (int64_t i = 0; i < run->outputs[0]->count; i++)
        run->outputs[0]->data[i] = run->inputs[0]->data[i] * gamma->data[i % gamma->count];
    return 0;
}

/* Input 0 in a layout against which a weight broadcasts. */
static struct lowered plain_input(struct lowering *l, const struct keras_call *call)
{
    struct lowered x = lower_input(l, call, 0);
    return x.id >= 0 && (x.layout.flat_rank || call->layer->call_count > 1) ? lower_input_keras(l, call, 0) : x;
}

static struct lowered axis_weight(struct lowering *l, const struct keras_call *call, const char *slot, int axis,
                                  int64_t size, const struct layout *layout)
{
    struct shape shape = {.rank = layout->rank};
    for (int i = 0; i < shape.rank; i++)
        shape.dims[i] = i == axis ? size : 1;
    return lower_weight_value(l, call, slot, &shape, layout);
}

static int layer_scale_lower(struct lowering *l, const struct keras_call *call)
{
    const struct layer_scale_config *c = call->layer->config;
    struct lowered x = plain_input(l, call);
    if (x.id < 0)
        return -1;
    x = lower_binary(l, call, TORCH_MUL, x, axis_weight(l, call, "gamma", x.layout.rank - 1, c->size, &x.layout));
    return lower_output(l, call, 0, x);
}

const struct layer_handler layer_scale_handler = {
    .config_size = sizeof(struct layer_scale_config),
    .read = layer_scale_read,
    .shape = layer_scale_shape,
    .reference = layer_scale_reference,
    .lower = layer_scale_lower,
};

/* ---- InstanceNormalization ---- */

/* keras-contrib divides by the standard deviation plus epsilon, and normalises a sample as a whole when it has no axis.
 * tensorflow_addons, told by its "groups", divides by the root of variance plus epsilon. */
struct instance_norm_config {
    bool whole, addons, center, scale;
    int64_t axis, groups;
    double epsilon;
};

static void instance_norm_read(struct config_reader *reader, void *config, int variant)
{
    struct instance_norm_config *c = config;
    (void)variant;
    c->addons = json_object_get(reader->json, "groups") != NULL;
    c->groups = config_int(reader, "groups", -1);
    c->whole = !config_get(reader, "axis") && !c->addons;
    c->axis = config_int(reader, "axis", -1);
    c->epsilon = config_double(reader, "epsilon", 1e-3);
    c->center = config_bool(reader, "center", true);
    c->scale = config_bool(reader, "scale", true);
}

static int instance_norm_shape(struct layer_shape *s)
{
    const struct instance_norm_config *c = s->config;
    int axis = axis_resolve(c->axis, s->inputs[0].rank);
    int64_t size = 1;
    s->outputs[0] = s->inputs[0];
    if (s->inputs[0].rank < (c->whole ? 2 : 3) || axis < 1)
        return layer_shape_fail(s, "The input, of rank %d, has not the axes of the layer", s->inputs[0].rank);
    if (!c->whole && layer_known_dim(s, axis, &size) < 0)
        return -1;
    if (c->groups != -1 && c->groups != size)
        return layer_shape_fail(s, "There are %lld groups for %lld channels", (long long)c->groups, (long long)size);
    if (c->scale)
        layer_weight(s, "gamma", 1, &size);
    if (c->center)
        layer_weight(s, "beta", 1, &size);
    return 0;
}

/* One sample, or one channel of it: (outer, count, inner) of which `x` points to the first. */
static void normalise(const struct instance_norm_config *c, const float *x, float *y, int64_t outer, int64_t outer_step,
                      int64_t inner, float gamma, float beta)
{
    double mean = 0, variance = 0, count = (double)(outer * inner);
    for (int64_t i = 0; i < outer * inner; i++)
        mean += (double)x[i / inner * outer_step + i % inner] / count;
    for (int64_t i = 0; i < outer * inner; i++) {
        double d = (double)x[i / inner * outer_step + i % inner] - mean;
        variance += d * d / count;
    }
    double deviation = c->addons ? sqrt(variance + c->epsilon) : sqrt(variance) + c->epsilon;
    for (int64_t i = 0; i < outer * inner; i++) {
        int64_t at = i / inner * outer_step + i % inner;
        y[at] = (float)(((double)x[at] - mean) / deviation) * gamma + beta;
    }
}

static int instance_norm_reference(const struct layer_run *run)
{
    const struct instance_norm_config *c = run->config;
    const struct shape *in = &run->inputs[0]->shape;
    int axis = c->whole ? 0 : axis_resolve(c->axis, in->rank);
    int64_t outer = 1, inner = 1, channels = c->whole ? 1 : in->dims[axis];
    for (int i = 1; i < in->rank; i++) {
        if (i < axis)
            outer *= in->dims[i];
        else if (i > axis)
            inner *= in->dims[i];
    }
    int64_t sample = outer * channels * inner;
    for (int64_t i = 0; i < in->dims[0] * channels; i++) {
        int64_t at = i / channels * sample + i % channels * inner;
        float gamma = c->scale ? run->weights[0]->data[i % channels] : 1;
        float beta = c->center ? run->weights[c->scale ? 1 : 0]->data[i % channels] : 0;
        normalise(c, run->inputs[0]->data + at, run->outputs[0]->data + at, outer, channels * inner, inner, gamma,
                  beta);
    }
    return 0;
}

static int instance_norm_lower(struct lowering *l, const struct keras_call *call)
{
    const struct instance_norm_config *c = call->layer->config;
    int rank = call->inputs[0]->shape.rank, axis = c->whole ? 0 : axis_resolve(c->axis, rank), axes[SHAPE_MAX_RANK],
        count = 0;
    int64_t size = c->whole ? 1 : call->inputs[0]->shape.dims[axis];
    for (int i = 1; i < rank; i++)
        if (i != axis)
            axes[count++] = i;
    struct lowered x = plain_input(l, call);
    if (x.id < 0)
        return -1;
    struct lowered mean = lower_reduce(l, call, TORCH_MEAN, x, count, axes);
    struct lowered deviation = lower_reduce(l, call, TORCH_VAR, x, count, axes);
    if (c->addons)
        deviation = lower_scalar(l, call, TORCH_ADD_SCALAR, deviation, c->epsilon);
    deviation = lower_pointwise(l, call, deviation, TORCH_SQRT, NULL, 0, NULL);
    if (!c->addons)
        deviation = lower_scalar(l, call, TORCH_ADD_SCALAR, deviation, c->epsilon);
    x = lower_binary(l, call, TORCH_DIV, lower_binary(l, call, TORCH_SUB, x, mean), deviation);
    if (c->scale)
        x = lower_binary(l, call, TORCH_MUL, x, axis_weight(l, call, "gamma", axis, size, &x.layout));
    if (c->center)
        x = lower_binary(l, call, TORCH_ADD, x, axis_weight(l, call, "beta", axis, size, &x.layout));
    return lower_output(l, call, 0, x);
}

const struct layer_handler instance_norm_handler = {
    .config_size = sizeof(struct instance_norm_config),
    .read = instance_norm_read,
    .shape = instance_norm_shape,
    .reference = instance_norm_reference,
    .lower = instance_norm_lower,
};
