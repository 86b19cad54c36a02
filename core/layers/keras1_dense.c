/* SPDX-License-Identifier: Apache-2.0 */
/* MaxoutDense and Highway, which Keras dropped after 2.3: layers over samples of rank 1. */
#include <math.h>
#include <stdlib.h>

#include "layers/activation.h"
#include "layers/compose.h"
#include "layers/spatial.h"

/* y = x W + b in double, one row; W is (in, out) at `w`. */
static void multiply_row(const float *x, const float *w, const float *b, int64_t in, int64_t out, double *y)
{
    for (int64_t j = 0; j < out; j++)
        y[j] = b ? (double)b[j] : 0;
    for (int64_t i = 0; i < in; i++)
        for (int64_t j = 0; j < out; j++)
            y[j] += (double)x[i] * (double)w[i * out + j];
}

static int known_features(struct layer_shape *s, int64_t *ret)
{
    if (s->inputs[0].rank != 2)
        return layer_shape_fail(s, "The input has %d dimensions, but %s takes samples of features", s->inputs[0].rank,
                                s->layer->class_name);
    return layer_known_dim(s, 1, ret);
}

/* ---- MaxoutDense: the largest of several Dense layers ---- */

struct maxout_config {
    int64_t units, features; /* features: how many layers */
    bool use_bias;
};

static void maxout_read(struct config_reader *reader, void *config, int variant)
{
    struct maxout_config *c = config;
    (void)variant;
    c->units = spatial_read_count(reader, "units", 0);
    c->features = spatial_read_count(reader, "nb_feature", 0);
    c->use_bias = config_bool(reader, "use_bias", true);
}

static int maxout_shape(struct layer_shape *s)
{
    const struct maxout_config *c = s->config;
    int64_t in;
    if (known_features(s, &in) < 0)
        return -1;
    layer_weight(s, "W", 3, (const int64_t[]){c->features, in, c->units});
    if (c->use_bias)
        layer_weight(s, "b", 2, (const int64_t[]){c->features, c->units});
    s->outputs[0] = s->inputs[0];
    s->outputs[0].dims[1] = c->units;
    return 0;
}

static int maxout_reference(const struct layer_run *run)
{
    const struct maxout_config *c = run->config;
    const struct tensor *x = run->inputs[0], *w = run->weights[0], *b = c->use_bias ? run->weights[1] : NULL;
    int64_t in = x->shape.dims[1];
    struct tensor *out = run->outputs[0];
    double *row = malloc(((size_t)c->units + 1) * sizeof *row);
    if (!row)
        return h5pt_fail_memory(run->err);
    for (int64_t n = 0; n < x->shape.dims[0]; n++)
        for (int64_t k = 0; k < c->features; k++) {
            float *y = out->data + n * c->units;
            multiply_row(x->data + n * in, w->data + k * in * c->units, b ? b->data + k * c->units : NULL, in, c->units,
                         row);
            for (int64_t j = 0; j < c->units; j++)
                y[j] = k == 0 || (float)row[j] > y[j] || isnan(row[j]) ? (float)row[j] : y[j];
        }
    free(row);
    return 0;
}

static int maxout_lower(struct lowering *l, const struct keras_call *call)
{
    const struct maxout_config *c = call->layer->config;
    const struct shape *w = &lower_weight(call, "W")->shape;
    struct rearrangement weight = rearrange_axes(w, (const int[]){0, 2, 1});
    weight.shape = shape_of(2, (const int64_t[]){c->features * c->units, w->dims[1]});
    struct lowered x = lower_input_keras(l, call, 0);
    x = lower_linear_module(l, call, lower_module(l, call, NULL), x, "W", &weight, c->use_bias ? "b" : NULL);
    x = lower_reshape(l, call, x, 3, (const int64_t[]){DIM_UNKNOWN, c->features, c->units}, NULL);
    const struct torch_attr dim = attr_int("dim", 1);
    x.id = lower_function(l, call, TORCH_AMAX, x.id, 1, &dim, call->outputs[0]->shape, DTYPE_F32);
    x.layout = layout_keras(2);
    return lower_output(l, call, 0, x);
}

const struct layer_handler maxout_handler = {
    .config_size = sizeof(struct maxout_config),
    .read = maxout_read,
    .shape = maxout_shape,
    .reference = maxout_reference,
    .lower = maxout_lower,
};

/* ---- Highway: t * act(x W + b) + (1 - t) * x with t = sigmoid(x W_carry + b_carry) ---- */

struct highway_config {
    bool use_bias;
    struct activation activation;
};

static void highway_read(struct config_reader *reader, void *config, int variant)
{
    struct highway_config *c = config;
    (void)variant;
    c->use_bias = config_bool(reader, "use_bias", true);
    c->activation = activation_read(reader, "activation");
}

static int highway_shape(struct layer_shape *s)
{
    const struct highway_config *c = s->config;
    int64_t in;
    if (known_features(s, &in) < 0)
        return -1;
    layer_weight(s, "W", 2, (const int64_t[]){in, in});
    layer_weight(s, "W_carry", 2, (const int64_t[]){in, in});
    if (c->use_bias) {
        layer_weight(s, "b", 1, &in);
        layer_weight(s, "b_carry", 1, &in);
    }
    s->outputs[0] = s->inputs[0];
    return 0;
}

static int highway_reference(const struct layer_run *run)
{
    const struct highway_config *c = run->config;
    const struct tensor *x = run->inputs[0];
    int64_t in = x->shape.dims[1], batch = x->shape.dims[0];
    struct tensor *out = run->outputs[0];
    double *row = malloc(((size_t)in + 1) * sizeof *row);
    if (!row)
        return h5pt_fail_memory(run->err);
    for (int64_t n = 0; n < batch; n++) {
        multiply_row(x->data + n * in, run->weights[0]->data, c->use_bias ? run->weights[2]->data : NULL, in, in, row);
        for (int64_t j = 0; j < in; j++)
            out->data[n * in + j] = (float)row[j];
    }
    int status = activation_reference(&c->activation, out, run->err);
    for (int64_t n = 0; status == 0 && n < batch; n++) {
        multiply_row(x->data + n * in, run->weights[1]->data, c->use_bias ? run->weights[3]->data : NULL, in, in, row);
        for (int64_t j = 0; j < in; j++) {
            double t = 1 / (1 + exp(-row[j]));
            float *y = &out->data[n * in + j];
            *y = (float)(t * (double)*y + (1 - t) * (double)x->data[n * in + j]);
        }
    }
    free(row);
    return status;
}

static int highway_lower(struct lowering *l, const struct keras_call *call)
{
    const struct highway_config *c = call->layer->config;
    struct rearrangement weight = rearrange_axes(&lower_weight(call, "W")->shape, (const int[]){1, 0});
    struct lowered x = lower_input_keras(l, call, 0);
    struct lowered y = lower_linear_module(l, call, lower_module(l, call, NULL), x, "W", &weight,
                                           c->use_bias ? "b" : NULL);
    y = activation_lower(l, call, &c->activation, y, NULL);
    struct lowered t = lower_linear_module(l, call, lower_module(l, call, "carry"), x, "W_carry", &weight,
                                           c->use_bias ? "b_carry" : NULL);
    t = lower_pointwise(l, call, t, TORCH_SIGMOID, NULL, 0, NULL);
    struct lowered kept = lower_scalar(l, call, TORCH_MUL_SCALAR, t, -1);
    kept = lower_scalar(l, call, TORCH_ADD_SCALAR, kept, 1);
    y = lower_binary(l, call, TORCH_ADD, lower_binary(l, call, TORCH_MUL, t, y),
                     lower_binary(l, call, TORCH_MUL, kept, x));
    return lower_output(l, call, 0, y);
}

const struct layer_handler highway_handler = {
    .config_size = sizeof(struct highway_config),
    .read = highway_read,
    .shape = highway_shape,
    .reference = highway_reference,
    .lower = highway_lower,
};
