/* SPDX-License-Identifier: Apache-2.0 */
/* RandomFourierFeatures: cos(x (kernel / scale) + bias). */
#include <math.h>

#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"

struct random_fourier_config {
    int64_t features;
};

static void random_fourier_read(struct config_reader *reader, void *config, int variant)
{
    struct random_fourier_config *c = config;
    (void)variant;
    c->features = config_size(reader, "output_dim", 1);
    config_ignore(reader, "scale"); /* where the weight kernel_scale starts from */
}

static int random_fourier_shape(struct layer_shape *s)
{
    const struct random_fourier_config *c = s->config;
    int64_t in;
    if (s->inputs[0].rank != 2)
        return layer_shape_fail(s, "The input has %d dimensions, but it needs 2", s->inputs[0].rank);
    if (layer_known_dim(s, 1, &in) < 0)
        return -1;
    layer_weight(s, "kernel_scale", 1, (const int64_t[]){1});
    layer_weight(s, "unscaled_kernel", 2, (const int64_t[]){in, c->features});
    layer_weight(s, "bias", 1, &c->features);
    s->outputs[0] = s->inputs[0];
    s->outputs[0].dims[1] = c->features;
    return 0;
}

static int random_fourier_reference(const struct layer_run *run)
{
    const struct tensor *x = run->inputs[0], *scale = run->weights[0], *kernel = run->weights[1],
                        *bias = run->weights[2];
    int64_t in = kernel->shape.dims[0], features = kernel->shape.dims[1];
    for (int64_t b = 0; b < x->shape.dims[0]; b++)
        for (int64_t j = 0; j < features; j++) {
            double sum = 0;
            for (int64_t i = 0; i < in; i++)
                sum += (double)x->data[b * in + i] * (double)kernel->data[i * features + j];
            run->outputs[0]->data[b * features + j] = (float)cos(sum / (double)scale->data[0] + (double)bias->data[j]);
        }
    return 0;
}

static int random_fourier_lower(struct lowering *l, const struct keras_call *call)
{
    const struct random_fourier_config *c = call->layer->config;
    struct lowered x = lower_input_keras(l, call, 0);
    if (x.id < 0)
        return -1;
    struct layout layout = layout_keras(2);
    const struct shape one = {.rank = 2, .dims = {1, 1}}, row = {.rank = 2, .dims = {1, c->features}};
    struct lowered kernel = lower_weight_value(l, call, "unscaled_kernel",
                                               &lower_weight(call, "unscaled_kernel")->shape, &layout);
    kernel = lower_binary(l, call, TORCH_DIV, kernel, lower_weight_value(l, call, "kernel_scale", &one, &layout));
    struct shape shape = lower_shape(l, x.id);
    shape.dims[1] = c->features;
    x.id = lower_function2(l, call, TORCH_MATMUL, x.id, kernel.id, 0, NULL, shape, DTYPE_F32);
    x = lower_binary(l, call, TORCH_ADD, x, lower_weight_value(l, call, "bias", &row, &layout));
    x = lower_pointwise(l, call, x, TORCH_COS, NULL, 0, NULL);
    return lower_output(l, call, 0, x);
}

const struct layer_handler random_fourier_handler = {
    .config_size = sizeof(struct random_fourier_config),
    .read = random_fourier_read,
    .shape = random_fourier_shape,
    .reference = random_fourier_reference,
    .lower = random_fourier_lower,
};
