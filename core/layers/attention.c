/* SPDX-License-Identifier: Apache-2.0 */
/* Attention and AdditiveAttention: a list of query, value and, perhaps, key, without projections. The variant is the score:
 * products, or a sum of tanh(query + key). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers/attention.h"
#include "layers/compose.h"
#include "layers/variants.h"

struct attention_config {
    bool additive; /* AdditiveAttention: the weight is inside the sum */
    bool concat;   /* scores are sums of tanh, not products */
    bool use_scale;
    bool causal;
};

static void attention_read(struct config_reader *reader, void *config, int variant)
{
    struct attention_config *c = config;
    c->additive = variant == ATTENTION_SCORE_ADDITIVE;
    c->use_scale = config_bool(reader, "use_scale", c->additive);
    c->causal = config_bool(reader, "causal", false);
    c->concat = c->additive || config_choice(reader, "score_mode", "dot concat", 0) == 1;
    config_ignore(reader, "dropout seed");
}

/* The tensors of a call: inputs of it. */
struct attention_call {
    int query, value, key;
    bool scores; /* they are the second output */
    struct attention_masks masks;
};

static void attention_call_read(const struct attention_config *c, const json_t *arguments, const int *mask_of,
                                struct attention_call *ret)
{
    const json_t *list = layer_argument(arguments, 0, "inputs");
    bool causal = json_is_true(layer_argument(arguments, -1, "use_causal_mask"));
    *ret = (struct attention_call){
        .query = layer_argument_tensor(json_array_get(list, 0)),
        .value = layer_argument_tensor(json_array_get(list, 1)),
        .key = layer_argument_tensor(json_array_get(list, json_array_size(list) > 2 ? 2 : 1)),
        .scores = json_is_true(layer_argument(arguments, -1, "return_attention_scores")),
    };
    ret->masks = (struct attention_masks){
        .query = -1, .value = -1, .key = -1, .pairs = -1, .causal = c->causal || causal};
    if (ret->value >= 0)
        ret->masks.value = layer_mask(mask_of, ret->value);
}

/* The mask of the query does not hide scores; it sets rows of the result to zero. */
static int query_mask(const struct attention_call *a, const int *mask_of)
{
    return layer_mask(mask_of, a->query);
}

static int declare(struct layer_shape *s, const struct attention_config *c, int64_t width)
{
    if (c->additive && c->use_scale && width < 0)
        return h5pt_fail(s->err, H5PT_SHAPE_UNKNOWN, NULL, "The number of features of the query is not known");
    if (c->use_scale)
        layer_weight(s, "scale", c->additive ? 1 : 0, &width);
    if (c->concat && !c->additive)
        layer_weight(s, "concat_score_weight", 0, NULL);
    return 0;
}

static int attention_shape(struct layer_shape *s)
{
    const struct attention_config *c = s->config;
    struct attention_call a;
    bool flag;
    if (layer_check_arguments(s, 1, "inputs mask return_attention_scores use_causal_mask") < 0 ||
        layer_argument_flag(s, "return_attention_scores", &flag) < 0 ||
        layer_argument_flag(s, "use_causal_mask", &flag) < 0)
        return -1;
    attention_call_read(c, s->arguments, s->mask_of, &a);
    if (a.query < 0 || a.value < 0 || a.key < 0)
        return layer_shape_fail(s, "It takes a list of query, value and, perhaps, key");
    const struct shape *q = &s->inputs[a.query], *k = &s->inputs[a.key], *v = &s->inputs[a.value];
    if (q->rank == 2 && k->rank == 2 && v->rank == 2)
        return layer_shape_fail(s, "Query, value and key have no steps: Keras then attends across the samples of the "
                                   "batch, and what it gives for one depends on the others");
    if (q->rank != 3 || k->rank != 3 || v->rank != 3)
        return layer_shape_fail(s, "Query, value and key need 3 dimensions, not %d, %d and %d", q->rank, v->rank,
                                k->rank);
    if (q->dims[2] >= 0 && k->dims[2] >= 0 && q->dims[2] != k->dims[2] &&
        !(c->concat && (q->dims[2] == 1 || k->dims[2] == 1)))
        return layer_shape_fail(s, "Query and key have %lld and %lld features", (long long)q->dims[2],
                                (long long)k->dims[2]);
    if (c->concat && q->dims[2] != k->dims[2])
        return layer_shape_fail(s, "The features of query and key differ, or are not known");
    if (k->dims[1] >= 0 && v->dims[1] >= 0 && k->dims[1] != v->dims[1])
        return layer_shape_fail(s, "Key and value have %lld and %lld steps", (long long)k->dims[1],
                                (long long)v->dims[1]);
    for (int i = 0; i < 3; i++)
        if (s->input_dtypes[(const int[]){a.query, a.value, a.key}[i]] != DTYPE_F32)
            return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype", "Query, value and key need to be float32");
    struct attention_masks all = a.masks;
    all.query = query_mask(&a, s->mask_of);
    if (attention_check_masks(s, &all, 3) < 0 || declare(s, c, q->dims[2]) < 0)
        return -1;
    s->outputs[0] = shape_of(3, (const int64_t[]){q->dims[0], q->dims[1], v->dims[2]});
    s->outputs[1] = shape_of(3, (const int64_t[]){q->dims[0], q->dims[1], k->dims[1]});
    s->output_dtypes[1] = DTYPE_F32;
    s->output_count = a.scores ? 2 : 1;
    return 0;
}

/* ---- reference ---- */

static double weight_or_one(const struct layer_run *run, int index, int64_t element)
{
    return index < 0 ? 1 : (double)run->weights[index]->data[element];
}

static double score(const struct layer_run *run, const float *q, const float *k, int64_t width)
{
    const struct attention_config *c = run->config;
    int scale = c->use_scale ? 0 : -1, concat = !c->concat || c->additive ? -1 : c->use_scale ? 1 : 0;
    double sum = 0;
    for (int64_t i = 0; i < width; i++) {
        if (!c->concat)
            sum += (double)q[i] * (double)k[i];
        else if (c->additive)
            sum += weight_or_one(run, scale, i) * tanh((double)q[i] + (double)k[i]);
        else
            sum += tanh(weight_or_one(run, scale, 0) * ((double)q[i] + (double)k[i]));
    }
    return c->concat ? sum * weight_or_one(run, concat, 0) : sum * weight_or_one(run, scale, 0);
}

/* One entry of the batch: scores becomes the weights. */
static void attend(const struct layer_run *run, const struct attention_call *a, int64_t b, const bool *kept,
                   float *scores)
{
    const struct tensor *q = run->inputs[a->query], *k = run->inputs[a->key], *v = run->inputs[a->value];
    int64_t t = q->shape.dims[1], s = k->shape.dims[1], width = q->shape.dims[2], out = v->shape.dims[2];
    int mask = query_mask(a, run->mask_of);
    for (int64_t i = 0; i < t; i++)
        for (int64_t j = 0; j < s; j++)
            scores[i * s + j] = (float)score(run, q->data + (b * t + i) * width, k->data + (b * s + j) * width, width);
    attention_weigh(scores, t, s, kept, ATTENTION_ADD);
    for (int64_t i = 0; i < t; i++)
        for (int64_t n = 0; n < out; n++) {
            double sum = 0;
            for (int64_t j = 0; j < s; j++)
                sum += (double)scores[i * s + j] * (double)v->data[(b * s + j) * out + n];
            bool hidden = mask >= 0 && run->inputs[mask]->data[b * t + i] == 0;
            run->outputs[0]->data[(b * t + i) * out + n] = hidden ? 0 : (float)sum;
        }
}

static int attention_reference(const struct layer_run *run)
{
    struct attention_call a;
    attention_call_read(run->config, run->arguments, run->mask_of, &a);
    const struct shape *q = &run->inputs[a.query]->shape, *k = &run->inputs[a.key]->shape;
    int64_t cells = q->dims[1] * k->dims[1], heads;
    bool *kept;
    if (attention_kept(run, &a.masks, q->dims[0], q->dims[1], k->dims[1], &kept, &heads) < 0)
        return -1;
    float *scores = calloc((size_t)cells + 1, sizeof *scores);
    for (int64_t b = 0; scores && b < q->dims[0]; b++) {
        attend(run, &a, b, kept ? kept + b * cells : NULL, scores);
        if (a.scores)
            memcpy(run->outputs[1]->data + b * cells, scores, (size_t)cells * sizeof *scores);
    }
    free(kept);
    free(scores);
    return scores ? 0 : h5pt_fail_memory(run->err);
}

/* ---- lowering ---- */

/* The sums of tanh(query + key), with the weights in their places. */
static struct lowered lower_sums(struct lowering *l, const struct keras_call *call, struct lowered q, struct lowered k)
{
    const struct attention_config *c = call->layer->config;
    const struct shape scalar = {.rank = 0},
                       features = lower_weight(call, "scale") ? lower_weight(call, "scale")->shape : scalar;
    struct layout layout = layout_keras(c->additive ? 1 : 0);
    struct lowered scale = {.id = -1};
    if (c->use_scale)
        scale = lower_weight_value(l, call, "scale", &features, &layout);
    struct lowered x = lower_binary(l, call, TORCH_ADD, lower_unsqueeze(l, call, q, 2), lower_unsqueeze(l, call, k, 1));
    if (c->use_scale && !c->additive)
        x = lower_binary(l, call, TORCH_MUL, x, scale);
    x = lower_pointwise(l, call, x, TORCH_TANH, NULL, 0, NULL);
    if (c->use_scale && c->additive)
        x = lower_binary(l, call, TORCH_MUL, x, scale);
    struct shape shape = lower_shape(l, x.id);
    shape.rank = 3;
    struct torch_attr dim = attr_int("dim", -1);
    x.id = lower_function(l, call, TORCH_SUM, x.id, 1, &dim, shape, DTYPE_F32);
    x.layout = layout_keras(3);
    return c->additive ? x
                       : lower_binary(l, call, TORCH_MUL, x,
                                      lower_weight_value(l, call, "concat_score_weight", &scalar, &layout));
}

static int attention_layer_lower(struct lowering *l, const struct keras_call *call)
{
    const struct attention_config *c = call->layer->config;
    const struct shape scalar = {.rank = 0};
    const struct layout none = layout_keras(0);
    struct lowered scores = {.id = -1}, weights;
    struct attention_call a;
    attention_call_read(c, call->arguments, call->mask_of, &a);
    struct attention_operands o = {.query = lower_input_keras(l, call, a.query),
                                   .key = lower_input_keras(l, call, a.key),
                                   .value = lower_input_keras(l, call, a.value),
                                   .scale = 1};
    o.steps_of_query = o.query;
    o.steps_of_key = o.key;
    if (o.query.id < 0 || o.key.id < 0 || o.value.id < 0)
        return -1;
    if (c->concat)
        scores = lower_sums(l, call, o.query, o.key);
    else if (c->use_scale)
        o.query = lower_binary(l, call, TORCH_MUL, o.query, lower_weight_value(l, call, "scale", &scalar, &none));
    struct lowered y = attention_lower(l, call, &o, &a.masks, ATTENTION_ADD, scores, a.scores ? &weights : NULL);
    int mask = query_mask(&a, call->mask_of);
    if (mask >= 0)
        y = lower_binary(l, call, TORCH_MUL, y, lower_unsqueeze(l, call, lower_input_keras(l, call, mask), 2));
    lower_output(l, call, 0, y);
    if (a.scores)
        lower_output(l, call, 1, weights);
    return y.id < 0 ? -1 : 0;
}

const struct layer_handler attention_handler = {
    .config_size = sizeof(struct attention_config),
    .read = attention_read,
    .shape = attention_shape,
    .reference = attention_reference,
    .lower = attention_layer_lower,
};
