/* SPDX-License-Identifier: Apache-2.0 */
/* SampleNormalization: BatchNormalization of Keras 1 in mode 1, which normalises each sample by itself, along its last axis:
 * gamma * (x - mean) / (sqrt(var + epsilon) + epsilon) + beta. The statistics in the file have no use. */
#include <math.h>

#include "layers/axes.h"
#include "layers/compose.h"
#include "layers/layer.h"

struct sample_norm_config {
    int64_t axis;
    double epsilon;
};

static void sample_norm_read(struct config_reader *reader, void *config, int variant)
{
    struct sample_norm_config *c = config;
    (void)variant;
    c->axis = config_int(reader, "axis", -1);
    c->epsilon = config_double(reader, "epsilon", 1e-3);
    config_ignore(reader, "momentum");
}

static int sample_norm_shape(struct layer_shape *s)
{
    static const char *const slots[] = {"gamma", "beta", "moving_mean", "moving_variance"};
    const struct sample_norm_config *c = s->config;
    int last = s->inputs[0].rank - 1;
    int64_t size;
    if (last < 1 || axis_resolve(c->axis, s->inputs[0].rank) != last)
        return layer_shape_fail(s, "In mode 1, the axis must be the last one");
    if (layer_known_dim(s, last, &size) < 0)
        return -1;
    for (int i = 0; i < 4; i++)
        layer_weight(s, slots[i], 1, &size);
    s->outputs[0] = s->inputs[0];
    return 0;
}

static int sample_norm_reference(const struct layer_run *run)
{
    const struct sample_norm_config *c = run->config;
    const struct tensor *x = run->inputs[0];
    int64_t n = x->shape.dims[x->shape.rank - 1];
    const float *gamma = run->weights[0]->data, *beta = run->weights[1]->data;
    for (int64_t row = 0; n > 0 && row < x->count; row += n) {
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < n; i++)
            mean += (double)x->data[row + i] / (double)n;
        for (int64_t i = 0; i < n; i++)
            variance += pow((double)x->data[row + i] - mean, 2) / (double)n;
        double scale = sqrt(variance + c->epsilon) + c->epsilon;
        for (int64_t i = 0; i < n; i++)
            run->outputs[0]->data[row + i] = (float)((double)gamma[i] * ((double)x->data[row + i] - mean) / scale +
                                                     (double)beta[i]);
    }
    return 0;
}

static int sample_norm_lower(struct lowering *l, const struct keras_call *call)
{
    const struct sample_norm_config *c = call->layer->config;
    struct lowered x = lower_input_keras(l, call, 0);
    if (x.id < 0)
        return -1;
    int last = x.layout.rank - 1;
    struct shape vector = {.rank = x.layout.rank};
    for (int i = 0; i < last; i++)
        vector.dims[i] = 1;
    vector.dims[last] = lower_weight(call, "gamma")->shape.dims[0];
    struct lowered mean = lower_reduce(l, call, TORCH_MEAN, x, 1, &last);
    struct lowered scale = lower_reduce(l, call, TORCH_VAR, x, 1, &last);
    scale = lower_scalar(l, call, TORCH_ADD_SCALAR, scale, c->epsilon);
    scale = lower_pointwise(l, call, scale, TORCH_SQRT, NULL, 0, NULL);
    scale = lower_scalar(l, call, TORCH_ADD_SCALAR, scale, c->epsilon);
    struct lowered y = lower_binary(l, call, TORCH_DIV, lower_binary(l, call, TORCH_SUB, x, mean), scale);
    y = lower_binary(l, call, TORCH_MUL, lower_weight_value(l, call, "gamma", &vector, &x.layout), y);
    y = lower_binary(l, call, TORCH_ADD, y, lower_weight_value(l, call, "beta", &vector, &x.layout));
    return lower_output(l, call, 0, y);
}

const struct layer_handler sample_norm_handler = {
    .config_size = sizeof(struct sample_norm_config),
    .read = sample_norm_read,
    .shape = sample_norm_shape,
    .reference = sample_norm_reference,
    .lower = sample_norm_lower,
};
