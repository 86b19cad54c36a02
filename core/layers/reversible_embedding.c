/* SPDX-License-Identifier: Apache-2.0 */
/* ReversibleEmbedding: rows of a table by id, or, called with reverse=True, the products of vectors with all rows. */
#include <math.h>
#include <string.h>

#include "layers/compose.h"
#include "layers/embedding.h"

struct reversible_config {
    struct embedding_config table; /* first: embedding_look_up reads it */
    bool tied;                     /* the way back uses the same table */
    double soft_cap;               /* of the products; 0: none */
};

static bool is_reverse(const json_t *arguments)
{
    return json_is_true(layer_argument(arguments, 1, "reverse"));
}

static bool is_class(const struct keras_call *call, const char *name)
{
    return strcmp(call->layer->class->name, name) == 0;
}

int64_t embedding_ids(const struct keras_call *call)
{
    bool looks_up = is_class(call, "Embedding") ||
                    (is_class(call, "ReversibleEmbedding") && !is_reverse(call->arguments));
    return looks_up ? ((const struct embedding_config *)call->layer->config)->input_dim : 0;
}

bool embedding_masks(const struct keras_call *call)
{
    return embedding_ids(call) > 0 && ((const struct embedding_config *)call->layer->config)->mask_zero;
}

static void reversible_read(struct config_reader *reader, void *config, int variant)
{
    struct reversible_config *c = config;
    (void)variant;
    embedding_read_table(reader, &c->table);
    c->tied = config_bool(reader, "tie_weights", true);
    c->soft_cap = config_double(reader, "logit_soft_cap", 0);
    const json_t *dtype = config_get(reader, "reverse_dtype");
    if (dtype && !(json_is_string(dtype) && strcmp(json_string_value(dtype), "float32") == 0))
        config_refuse(reader, H5PT_UNSUPPORTED_DTYPE, "reverse_dtype", "Only float32 is supported on the way back");
}

static int reversible_shape(struct layer_shape *s)
{
    const struct reversible_config *c = s->config;
    struct shape *out = &s->outputs[0];
    bool reverse;
    if (layer_check_arguments(s, 2, "inputs reverse") < 0 || layer_argument_flag(s, "reverse", &reverse) < 0)
        return -1;
    reverse = is_reverse(s->arguments);
    *out = s->inputs[0];
    if (s->input_count != 1 || (reverse && s->input_dtypes[0] != DTYPE_F32))
        return layer_shape_fail(s, "It takes one tensor, of float32 on the way back");
    if (reverse &&
        (out->rank < 2 || (out->dims[out->rank - 1] >= 0 && out->dims[out->rank - 1] != c->table.output_dim)))
        return layer_shape_fail(s, "On the way back it takes vectors of %lld features", (long long)c->table.output_dim);
    if (!reverse && out->rank == SHAPE_MAX_RANK)
        return layer_shape_fail(s, "The input has too many dimensions");
    if (reverse)
        out->dims[out->rank - 1] = c->table.input_dim;
    else
        out->dims[out->rank++] = c->table.output_dim;
    layer_weight(s, "embeddings", 2, (const int64_t[]){c->table.input_dim, c->table.output_dim});
    if (!c->tied)
        layer_weight(s, "reverse_embeddings", 2, (const int64_t[]){c->table.output_dim, c->table.input_dim});
    return 0;
}

static int reversible_reference(const struct layer_run *run)
{
    const struct reversible_config *c = run->config;
    const struct tensor *x = run->inputs[0], *table = run->weights[c->tied ? 0 : 1];
    if (!is_reverse(run->arguments))
        return embedding_look_up(run);
    int64_t ids = c->table.input_dim, width = c->table.output_dim;
    int64_t row = c->tied ? width : 1, column = c->tied ? 1 : ids;
    for (int64_t i = 0; i < run->outputs[0]->count; i++) {
        const float *vector = x->data + i / ids * width, *weights = table->data + i % ids * row;
        double sum = 0;
        for (int64_t k = 0; k < width; k++)
            sum += (double)vector[k] * (double)weights[k * column];
        run->outputs[0]->data[i] = (float)(c->soft_cap != 0 ? tanh(sum / c->soft_cap) * c->soft_cap : sum);
    }
    return 0;
}

/* The table is a parameter of its own: the two directions read the same one. */
static int reversible_lower(struct lowering *l, const struct keras_call *call)
{
    const struct reversible_config *c = call->layer->config;
    bool reverse = is_reverse(call->arguments), own = reverse && !c->tied;
    struct lowered x = reverse ? lower_input_keras(l, call, 0) : embedding_lower_ids(l, call);
    if (x.id < 0)
        return -1;
    /* F.linear wants (out, in) */
    const char *slot = own ? "reverse_embeddings" : "embeddings";
    struct layout layout = layout_keras(2);
    if (own)
        layout = (struct layout){.rank = 2, .axes = {1, 0}};
    struct lowered table = lower_weight_value(l, call, slot, &lower_weight(call, slot)->shape, &layout);
    struct shape shape = lower_shape(l, x.id);
    if (reverse)
        shape.dims[shape.rank - 1] = c->table.input_dim;
    else
        shape.dims[shape.rank++] = c->table.output_dim;
    struct lowered y = {.layout = layout_keras(shape.rank)};
    y.id = lower_function2(l, call, reverse ? TORCH_LINEAR : TORCH_EMBEDDING, x.id, table.id, 0, NULL, shape,
                           DTYPE_F32);
    if (reverse && c->soft_cap != 0) {
        y = lower_scalar(l, call, TORCH_DIV_SCALAR, y, c->soft_cap);
        y = lower_scalar(l, call, TORCH_MUL_SCALAR, lower_pointwise(l, call, y, TORCH_TANH, NULL, 0, NULL),
                         c->soft_cap);
    }
    return lower_output(l, call, 0, y);
}

const struct layer_handler reversible_embedding_handler = {
    .config_size = sizeof(struct reversible_config),
    .read = reversible_read,
    .shape = reversible_shape,
    .reference = reversible_reference,
    .lower = reversible_lower,
};
