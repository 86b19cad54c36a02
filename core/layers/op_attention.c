/* SPDX-License-Identifier: Apache-2.0 */
/* DotProductAttention: query, key and value are (batch, time, heads, depth). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "layers/operation.h"

struct op_attention_config {
    bool causal;
};

/* What stands for a masked score: 0.7 of the lowest float32, as Keras has it. */
static const double masked_score = -0.7 * 3.4028234663852886e38;

static void op_attention_read(struct config_reader *reader, void *config, int variant)
{
    struct op_attention_config *c = config;
    (void)variant;
    c->causal = config_bool(reader, "is_causal", false);
    config_ignore(reader, "flash_attention");
    if (config_get(reader, "attn_logits_soft_cap"))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "attn_logits_soft_cap", "TensorFlow has no soft cap");
}

enum { QUERY, KEY, VALUE, BIAS, MASK, OPERAND_COUNT };

static void operands(const struct operand_source *source, struct operand ret[OPERAND_COUNT])
{
    static const char *const names[OPERAND_COUNT] = {"query", "key", "value", "bias", "mask"};
    for (int i = 0; i < OPERAND_COUNT; i++)
        ret[i] = operand_at(source, i, names[i]);
}

static bool read_scale(const json_t *arguments, int64_t depth, double *ret)
{
    const json_t *scale = layer_argument(arguments, 5, "scale");
    *ret = 1 / sqrt((double)depth);
    return !scale || json_read_double(scale, ret);
}

static int op_attention_shape(struct layer_shape *s)
{
    struct operand_source source = operands_of_shape(s);
    struct operand o[OPERAND_COUNT];
    double scale;
    operands(&source, o);
    for (int i = 0; i <= VALUE; i++)
        if (o[i].kind != OPERAND_TENSOR || o[i].shape.rank != 4 || o[i].dtype != DTYPE_F32)
            return operand_fail(s, i == QUERY ? "query" : i == KEY ? "key" : "value");
    const struct shape *q = &o[QUERY].shape, *k = &o[KEY].shape, *v = &o[VALUE].shape;
    if (q->dims[2] < 1 || q->dims[2] != k->dims[2] || q->dims[2] != v->dims[2] || q->dims[3] < 1 ||
        q->dims[3] != k->dims[3])
        return layer_shape_fail(s, "Query, key and value must have the same, known numbers of heads and depth");
    if (!read_scale(s->arguments, q->dims[3], &scale))
        return operand_fail(s, "scale");
    struct shape scores = {.rank = 4, .dims = {q->dims[0], q->dims[2], q->dims[1], k->dims[1]}}, fitted;
    for (int i = BIAS; i <= MASK; i++) {
        bool given = layer_argument(s->arguments, i, i == BIAS ? "bias" : "mask") != NULL;
        if (given &&
            (o[i].kind == OPERAND_NONE || o[i].shape.rank > 4 || !shape_broadcast(&scores, &o[i].shape, &fitted)))
            return operand_fail(s, i == BIAS ? "bias" : "mask");
    }
    s->outputs[0] = *q;
    s->outputs[0].dims[3] = v->dims[3];
    return 0;
}

struct attention {
    const struct tensor *t[OPERAND_COUNT];
    struct shape scores; /* (batch, heads, queries, keys) */
    double scale;
    bool causal;
};

/* The cell of a tensor that broadcasts to the scores. */
static float score_cell(const struct tensor *t, const int64_t index[4])
{
    int64_t at = 0;
    for (int i = 0; i < t->shape.rank; i++)
        at = at * t->shape.dims[i] + (t->shape.dims[i] == 1 ? 0 : index[4 - t->shape.rank + i]);
    return t->data[at];
}

static double score(const struct attention *a, const int64_t index[4])
{
    const struct tensor *q = a->t[QUERY], *k = a->t[KEY];
    int64_t heads = q->shape.dims[2], depth = q->shape.dims[3];
    const float *x = q->data + ((index[0] * q->shape.dims[1] + index[2]) * heads + index[1]) * depth;
    const float *y = k->data + ((index[0] * k->shape.dims[1] + index[3]) * heads + index[1]) * depth;
    double sum = 0;
    for (int64_t i = 0; i < depth; i++)
        sum += (double)x[i] * (double)y[i];
    sum *= a->scale;
    if (a->t[BIAS])
        sum += (double)score_cell(a->t[BIAS], index);
    bool hidden = (a->causal && index[3] > index[2]) || (a->t[MASK] && score_cell(a->t[MASK], index) == 0);
    return hidden ? masked_score : sum;
}

/* One query: the weights of all keys, then the mean of the values. */
static void attend(const struct attention *a, int64_t index[4], double *weights, float *out)
{
    const struct tensor *v = a->t[VALUE];
    int64_t keys = a->scores.dims[3], depth = v->shape.dims[3], heads = v->shape.dims[2];
    double most = -(double)INFINITY, total = 0;
    for (index[3] = 0; index[3] < keys; index[3]++) {
        weights[index[3]] = score(a, index);
        most = fmax(most, weights[index[3]]);
    }
    for (int64_t i = 0; i < keys; i++)
        total += weights[i] = exp(weights[i] - most);
    for (int64_t d = 0; d < depth; d++) {
        double sum = 0;
        for (int64_t i = 0; i < keys; i++)
            sum += weights[i] / total * (double)v->data[((index[0] * keys + i) * heads + index[1]) * depth + d];
        out[d] = (float)sum;
    }
}

static int op_attention_reference(const struct layer_run *run)
{
    const struct op_attention_config *c = run->config;
    struct operand_source source = operands_of_run(run);
    struct operand o[OPERAND_COUNT];
    struct operand_tensor t[OPERAND_COUNT] = {{NULL, NULL}};
    struct attention a = {.causal = c->causal};
    int status = 0;
    operands(&source, o);
    for (int i = 0; i < OPERAND_COUNT && status == 0; i++)
        if (o[i].kind != OPERAND_NONE) {
            status = operand_tensor(run, &o[i], &t[i]);
            a.t[i] = t[i].tensor;
        }
    const struct shape *q = &run->inputs[o[QUERY].input]->shape, *k = &run->inputs[o[KEY].input]->shape;
    a.scores = (struct shape){.rank = 4, .dims = {q->dims[0], q->dims[2], q->dims[1], k->dims[1]}};
    double *weights = calloc((size_t)k->dims[1] + 1, sizeof *weights);
    if (!weights || !read_scale(run->arguments, q->dims[3], &a.scale))
        status = h5pt_fail_memory(run->err);
    int64_t depth = run->outputs[0]->shape.dims[3], index[4] = {0};
    for (int64_t n = 0; status == 0 && n < q->dims[0] * q->dims[1] * q->dims[2]; n++) {
        index[1] = n % q->dims[2];
        index[2] = n / q->dims[2] % q->dims[1];
        index[0] = n / q->dims[2] / q->dims[1];
        attend(&a, index, weights, run->outputs[0]->data + n * depth);
    }
    free(weights);
    for (int i = 0; i < OPERAND_COUNT; i++)
        operand_tensor_release(&t[i]);
    return status;
}

/* True where a score counts. */
static struct lowered lower_mask(struct lowering *l, const struct keras_call *call, const struct operand *mask,
                                 bool causal, const struct shape *scores, const struct layout *layout)
{
    struct lowered x = {.id = -1};
    if (mask->kind != OPERAND_NONE)
        x = lower_operand_as(l, call, mask, "mask", layout, DTYPE_BOOL);
    if (!causal)
        return x;
    struct shape square = {.rank = 2, .dims = {scores->dims[2], scores->dims[3]}};
    struct tensor *triangle = tensor_new(&square, DTYPE_BOOL);
    for (int64_t i = 0; triangle && i < triangle->count; i++)
        triangle->data[i] = i % square.dims[1] <= i / square.dims[1] ? 1 : 0;
    struct layout plain = layout_keras(2);
    struct lowered past = lower_buffer(l, call, "causal", triangle, &plain);
    tensor_free(triangle);
    return x.id < 0 ? past : lower_join(l, call, TORCH_LOGICAL_AND, x, past, DTYPE_BOOL);
}

static int op_attention_lower(struct lowering *l, const struct keras_call *call)
{
    const struct op_attention_config *c = call->layer->config;
    struct operand_source source = operands_of_call(call);
    struct operand o[OPERAND_COUNT];
    double scale;
    operands(&source, o);
    const struct shape *q = &o[QUERY].shape, *k = &o[KEY].shape;
    struct shape scores = {.rank = 4, .dims = {q->dims[0], q->dims[2], q->dims[1], k->dims[1]}};
    struct layout layout = layout_keras(4), scalar = layout_keras(0);
    if (!read_scale(call->arguments, q->dims[3], &scale))
        return -1;
    if (c->causal && (scores.dims[2] < 0 || scores.dims[3] < 0))
        return h5pt_fail(lower_error(l), H5PT_SHAPE_UNKNOWN, call->layer->path,
                         "Causal attention is supported for known lengths");
    struct lowered x[3];
    for (int i = 0; i <= VALUE; i++)
        x[i] = lower_input_keras(l, call, o[i].input);
    struct lowered y = lower_einsum(l, call, "bthd,bshd->bhts", x[QUERY], x[KEY], scores, DTYPE_F32);
    y = lower_number(l, call, TORCH_MUL_SCALAR, y, scale, false, DTYPE_F32);
    if (o[BIAS].kind != OPERAND_NONE)
        y = lower_join(l, call, TORCH_ADD, y, lower_operand_as(l, call, &o[BIAS], "bias", &layout, DTYPE_F32),
                       DTYPE_F32);
    struct lowered mask = lower_mask(l, call, &o[MASK], c->causal, &scores, &layout);
    if (mask.id >= 0) {
        struct tensor *low = tensor_new(&(struct shape){.rank = 0}, DTYPE_F32);
        if (low)
            low->data[0] = (float)masked_score;
        y = lower_where(l, call, mask, y, lower_buffer(l, call, "masked_score", low, &scalar), DTYPE_F32);
        tensor_free(low);
    }
    struct torch_attr dim = attr_int("dim", -1);
    y = lower_one(l, call, TORCH_SOFTMAX, y, scores, layout, DTYPE_F32, 1, &dim);
    return lower_output(l, call, 0,
                        lower_einsum(l, call, "bhts,bshd->bthd", y, x[VALUE], call->outputs[0]->shape, DTYPE_F32));
}

const struct layer_handler op_attention_handler = {
    .config_size = sizeof(struct op_attention_config),
    .read = op_attention_read,
    .shape = op_attention_shape,
    .reference = op_attention_reference,
    .lower = op_attention_lower,
};
