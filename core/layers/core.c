/* SPDX-License-Identifier: Apache-2.0 */
/* Dense, Embedding, Rescaling. */
#include <cblas.h>
#include <math.h>
#include <string.h>

#include "layers/activation.h"
#include "layers/axes.h"
#include "layers/compose.h"
#include "layers/embedding.h"
#include "layers/layer.h"
#include "layers/lower.h"

/* ---- Dense ---- */

struct dense_config {
    int64_t units;
    bool use_bias;
    struct activation activation;
};

static void dense_read(struct config_reader *reader, void *config, int variant)
{
    struct dense_config *c = config;
    (void)variant;
    c->units = config_size(reader, "units", 1);
    c->use_bias = config_bool(reader, "use_bias", true);
    c->activation = activation_read_glu(reader, "activation");
    if (c->activation.kind == ACTIVATION_GLU && c->units % 2)
        config_refuse(reader, H5PT_CONFIG_INVALID, "units", "glu halves the features, but there are %lld",
                      (long long)c->units);
    config_read_storage(reader);
}

static int dense_shape(struct layer_shape *s)
{
    const struct dense_config *c = s->config;
    const struct shape *in = &s->inputs[0];
    int64_t features;
    if (in->rank < 2)
        return layer_shape_fail(s, "The input must have features");
    if (layer_known_dim(s, in->rank - 1, &features) < 0)
        return -1;
    layer_weight(s, "kernel", 2, (const int64_t[]){features, c->units});
    if (c->use_bias)
        layer_weight(s, "bias", 1, &c->units);
    s->outputs[0] = *in;
    s->outputs[0].dims[in->rank - 1] = c->activation.kind == ACTIVATION_GLU ? c->units / 2 : c->units;
    return 0;
}

/* y = x kernel + bias, a block of rows at a time so that their number fits the int of BLAS. */
static void dense_multiply(const struct tensor *x, const struct tensor *kernel, const struct tensor *bias, float *y)
{
    enum { BLOCK = 1 << 16 };
    int64_t in = kernel->shape.dims[0], units = kernel->shape.dims[1], rows = 1;
    for (int i = 0; i < x->shape.rank - 1; i++)
        rows *= x->shape.dims[i];
    for (int64_t row = 0; row < rows; row++)
        for (int64_t j = 0; j < units; j++)
            y[row * units + j] = bias ? bias->data[j] : 0;
    for (int64_t row = 0; in && row < rows; row += BLOCK) {
        int64_t m = rows - row < BLOCK ? rows - row : BLOCK;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)units, (int)in, 1, x->data + row * in,
                    (int)in, kernel->data, (int)units, 1, y + row * units, (int)units);
    }
}

static int dense_reference(const struct layer_run *run)
{
    const struct dense_config *c = run->config;
    const struct tensor *x = run->inputs[0], *kernel = run->weights[0];
    const struct tensor *bias = c->use_bias ? run->weights[1] : NULL;
    struct tensor *out = run->outputs[0];
    if (kernel->shape.dims[0] > INT32_MAX)
        return h5pt_fail(run->err, H5PT_LIMIT_EXCEEDED, run->layer->path, "The kernel is too large");
    if (c->activation.kind != ACTIVATION_GLU) {
        dense_multiply(x, kernel, bias, out->data);
        return activation_reference(&c->activation, out, run->err);
    }
    struct shape wide = out->shape;
    wide.dims[wide.rank - 1] = c->units;
    struct tensor *both = tensor_new(&wide, DTYPE_F32);
    if (!both)
        return h5pt_fail_memory(run->err);
    dense_multiply(x, kernel, bias, both->data);
    activation_reference_glu(both, out);
    tensor_free(both);
    return 0;
}

static int dense_lower(struct lowering *l, const struct keras_call *call)
{
    const struct dense_config *c = call->layer->config;
    const struct shape *kernel = &lower_weight(call, "kernel")->shape;
    bool any_order = call->inputs[0]->shape.rank == 2 && call->layer->call_count == 1;
    struct lowered x = any_order ? lower_input(l, call, 0) : lower_input_keras(l, call, 0);
    if (x.id < 0)
        return -1;
    if (!x.layout.flat_rank && !layout_is_keras(&x.layout))
        x = lower_input_keras(l, call, 0);
    const char *module = lower_module(l, call, NULL);
    struct rearrangement weight = rearrange_features(kernel, (const int[]){1, 0}, 0, &x.layout);
    struct lowered y = lower_linear_module(l, call, module, x, "kernel", &weight, c->use_bias ? "bias" : NULL);
    y = activation_lower(l, call, &c->activation, y, NULL);
    return lower_output(l, call, 0, y);
}

const struct layer_handler dense_handler = {
    .config_size = sizeof(struct dense_config),
    .read = dense_read,
    .shape = dense_shape,
    .reference = dense_reference,
    .lower = dense_lower,
};

/* ---- Embedding ---- */

/* The parity check holds ids as floats, which are exact up to here. */
enum { EMBEDDING_MAX_IDS = 1 << 24 };

void embedding_read_table(struct config_reader *reader, struct embedding_config *c)
{
    c->input_dim = config_size(reader, "input_dim", 1);
    c->output_dim = config_size(reader, "output_dim", 1);
    c->mask_zero = config_bool(reader, "mask_zero", false);
    if (c->input_dim > EMBEDDING_MAX_IDS)
        config_refuse(reader, H5PT_LIMIT_EXCEEDED, "input_dim", "An embedding of more than %d ids is not supported",
                      EMBEDDING_MAX_IDS);
    config_read_storage(reader);
}

static void embedding_read(struct config_reader *reader, void *config, int variant)
{
    (void)variant;
    embedding_read_table(reader, config);
    config_ignore(reader, "input_length sparse");
}

static int embedding_shape(struct layer_shape *s)
{
    const struct embedding_config *c = s->config;
    struct shape *out = &s->outputs[0];
    *out = s->inputs[0];
    if (out->rank == SHAPE_MAX_RANK)
        return layer_shape_fail(s, "The input has too many dimensions");
    out->dims[out->rank++] = c->output_dim;
    layer_weight(s, "embeddings", 2, (const int64_t[]){c->input_dim, c->output_dim});
    return 0;
}

int embedding_look_up(const struct layer_run *run)
{
    const struct embedding_config *c = run->config;
    const struct tensor *ids = run->inputs[0], *rows = run->weights[0];
    size_t row = (size_t)c->output_dim;
    for (int64_t i = 0; i < ids->count; i++) {
        float id = truncf(ids->data[i]);
        if (!(id >= 0 && id < (float)c->input_dim))
            return h5pt_fail(run->err, H5PT_SHAPE_MISMATCH, run->layer->path, "The id %g is not one of the %lld",
                             (double)id, (long long)c->input_dim);
        memcpy(run->outputs[0]->data + (size_t)i * row, rows->data + (size_t)id * row, row * sizeof(float));
    }
    return 0;
}

struct lowered embedding_lower_ids(struct lowering *l, const struct keras_call *call)
{
    struct lowered x = lower_input_keras(l, call, 0);
    enum dtype dtype = call->inputs[0]->dtype;
    if (dtype == DTYPE_I64 || dtype == DTYPE_I32)
        return x;
    struct torch_attr to = attr_text("dtype", "int64");
    x.id = lower_function(l, call, TORCH_CAST, x.id, 1, &to, lower_shape(l, x.id), DTYPE_I64);
    return x;
}

static int embedding_lower(struct lowering *l, const struct keras_call *call)
{
    const struct embedding_config *c = call->layer->config;
    struct lowered x = embedding_lower_ids(l, call);
    if (x.id < 0)
        return -1;
    struct shape shape = lower_shape(l, x.id);
    const char *module = lower_module(l, call, NULL);
    struct rearrangement r = rearrange_as_is(&lower_weight(call, "embeddings")->shape);
    int parameter = lower_parameter(l, call, module, "weight", "embeddings", &r);
    struct torch_attr attrs[] = {attr_int("num_embeddings", c->input_dim), attr_int("embedding_dim", c->output_dim)};
    shape.dims[shape.rank++] = c->output_dim;
    struct lowered y = {.layout = layout_keras(shape.rank)};
    y.id = lower_node(l, call,
                      &(struct node_spec){.op = TORCH_EMBEDDING,
                                          .module = module,
                                          .input_count = 1,
                                          .inputs = &x.id,
                                          .parameter_count = 1,
                                          .parameters = &parameter,
                                          .attr_count = 2,
                                          .attrs = attrs,
                                          .shape = shape,
                                          .dtype = DTYPE_F32});
    return lower_output(l, call, 0, y);
}

const struct layer_handler embedding_handler = {
    .config_size = sizeof(struct embedding_config),
    .read = embedding_read,
    .shape = embedding_shape,
    .reference = embedding_look_up,
    .lower = embedding_lower,
};
