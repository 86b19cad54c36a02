/* SPDX-License-Identifier: Apache-2.0 */
/* MultiHeadAttention and GroupedQueryAttention as torch nodes: an nn.Linear for each projection, heads split off by reshape and
 * permute, and attention over what is then the last but one axis. */
#include <math.h>
#include <string.h>

#include "layers/attention_heads.h"
#include "layers/compose.h"

/* x times the kernel `<name>/kernel`, whose first `in_axes` axes are the features of x; the others become one axis. */
static struct lowered lower_linear(struct lowering *l, const struct keras_call *call, struct lowered x,
                                   const char *name, const char *kernel, const char *bias, int in_axes)
{
    const struct shape *shape = &lower_weight(call, kernel)->shape;
    int64_t in = 1, out = 1;
    for (int i = 0; i < shape->rank; i++)
        *(i < in_axes ? &in : &out) *= shape->dims[i];
    const char *module = lower_module(l, call, name);
    struct rearrangement weight = rearrange_axes(&(struct shape){.rank = 2, .dims = {in, out}}, (const int[]){1, 0});
    return lower_linear_module(l, call, module, x, kernel, &weight, lower_weight(call, bias) ? bias : NULL);
}

/* x with `count` axes from `axis` on as one. */
static struct lowered flatten(struct lowering *l, const struct keras_call *call, struct lowered x, int axis, int count)
{
    struct shape shape = lower_shape(l, x.id);
    int64_t size = 1;
    if (count == 1 || x.id < 0)
        return x;
    for (int i = axis; i < axis + count; i++)
        size = size < 0 || shape.dims[i] < 0 ? DIM_UNKNOWN : size * shape.dims[i];
    struct torch_attr attrs[] = {attr_int("start_dim", axis - shape.rank),
                                 attr_int("end_dim", axis + count - 1 - shape.rank)};
    shape.rank -= count - 1;
    shape.dims[axis] = size;
    for (int i = axis + 1; i < shape.rank; i++)
        shape.dims[i] = lower_shape(l, x.id).dims[i + count - 1];
    x.id = lower_function(l, call, TORCH_FLATTEN, x.id, 2, attrs, shape, DTYPE_F32);
    x.layout = layout_keras(shape.rank);
    return x;
}

/* x with axis `axis` as several of these sizes, of which one may be unknown. */
static struct lowered unflatten(struct lowering *l, const struct keras_call *call, struct lowered x, int axis,
                                int count, const int64_t *sizes)
{
    struct shape old = lower_shape(l, x.id), shape = old;
    int64_t written[SHAPE_MAX_RANK];
    int unknown = 0;
    if (count == 1 || x.id < 0)
        return x;
    shape.rank += count - 1;
    for (int i = 0; i < count; i++) {
        written[i] = shape.dims[axis + i] = sizes[i] < 0 ? DIM_UNKNOWN : sizes[i];
        unknown += sizes[i] < 0;
    }
    for (int i = axis + count; i < shape.rank; i++)
        shape.dims[i] = old.dims[i - count + 1];
    if (unknown > 1) {
        lower_fail(l, call, "More than one of the sizes that attention runs along is not known");
        return (struct lowered){.id = -1};
    }
    struct torch_attr attrs[] = {attr_int("dim", axis - old.rank), attr_list(l, "unflattened_size", count, written)};
    x.id = lower_function(l, call, TORCH_UNFLATTEN, x.id, 2, attrs, shape, DTYPE_F32);
    x.layout = layout_keras(shape.rank);
    return x;
}

/* (batch, …, heads · width) → (batch, others, heads, steps, width), several axes of steps as one. */
static struct lowered split_heads(struct lowering *l, const struct keras_call *call, const struct heads_call *h,
                                  struct lowered x, int64_t heads, int64_t width)
{
    int axes[SHAPE_MAX_RANK];
    heads_order(h, axes);
    x = attention_permute(l, call, unflatten(l, call, x, h->rank - 1, 2, (const int64_t[]){heads, width}), axes);
    return flatten(l, call, x, 2 + h->other_count, h->step_count);
}

/* The way back. `query` tells the sizes. */
static struct lowered merge_heads(struct lowering *l, const struct keras_call *call, const struct heads_call *h,
                                  struct lowered x, const struct shape *query)
{
    int axes[SHAPE_MAX_RANK], back[SHAPE_MAX_RANK];
    int64_t sizes[SHAPE_MAX_RANK];
    for (int i = 0; i < h->step_count; i++)
        sizes[i] = query->dims[h->steps[i]];
    x = unflatten(l, call, x, 2 + h->other_count, h->step_count, sizes);
    heads_order(h, axes);
    for (int i = 0; i <= h->rank; i++)
        back[axes[i]] = i;
    return flatten(l, call, attention_permute(l, call, x, back), h->rank - 1, 2);
}

/* Each head of key or value for all the heads of the query that share it. */
static struct lowered repeat_heads(struct lowering *l, const struct keras_call *call, const struct heads_config *c,
                                   struct lowered x)
{
    struct shape shape = lower_shape(l, x.id);
    if (c->heads == c->key_heads || x.id < 0)
        return x;
    struct torch_attr attrs[] = {attr_int("repeats", c->heads / c->key_heads), attr_int("dim", 1)};
    shape.dims[1] = c->heads;
    x.id = lower_function(l, call, TORCH_REPEAT_INTERLEAVE, x.id, 2, attrs, shape, DTYPE_F32);
    return x;
}

/* The weights as Keras returns them: with the axes of steps told apart. */
static struct lowered split_scores(struct lowering *l, const struct keras_call *call, const struct heads_call *h,
                                   struct lowered x)
{
    const int64_t *sizes = call->outputs[1]->shape.dims + 2 + h->other_count;
    x = unflatten(l, call, x, 3 + h->other_count, h->step_count, sizes + h->step_count);
    return unflatten(l, call, x, 2 + h->other_count, h->step_count, sizes);
}

int heads_lower(struct lowering *l, const struct keras_call *call)
{
    const struct heads_config *c = call->layer->config;
    struct heads_call h;
    (void)heads_call_read(c, call->arguments, call->mask_of, call->inputs[heads_query(call->arguments)]->shape.rank,
                          &h);
    struct lowered q = lower_input_keras(l, call, h.query), k = lower_input_keras(l, call, h.key);
    struct lowered v = lower_input_keras(l, call, h.value), weights;
    struct shape query = lower_shape(l, q.id);
    struct attention_operands o = {.scale = 1 / sqrt((double)c->key_dim), .steps_of_query = q, .steps_of_key = v};
    o.query = lower_linear(l, call, q, "query", "query/kernel", "query/bias", 1);
    o.query = split_heads(l, call, &h, o.query, c->heads, c->key_dim);
    o.key = lower_linear(l, call, k, "key", "key/kernel", "key/bias", 1);
    o.key = repeat_heads(l, call, c, split_heads(l, call, &h, o.key, c->key_heads, c->key_dim));
    o.value = lower_linear(l, call, v, "value", "value/kernel", "value/bias", 1);
    o.value = repeat_heads(l, call, c, split_heads(l, call, &h, o.value, c->key_heads, c->value_dim));
    struct lowered y = attention_lower(l, call, &o, &h.masks, h.hiding, (struct lowered){.id = -1},
                                       h.scores ? &weights : NULL);
    y = merge_heads(l, call, &h, y, &query);
    if (c->use_gate) {
        struct lowered gate = lower_linear(l, call, q, "gate", "gate/kernel", "gate/bias", 1);
        y = lower_binary(l, call, TORCH_MUL, y, lower_pointwise(l, call, gate, TORCH_SIGMOID, NULL, 0, NULL));
    }
    y = lower_linear(l, call, y, "output", "attention_output/kernel", "attention_output/bias", 2);
    y = unflatten(l, call, y, h.rank - 1, c->output_rank ? c->output_rank : 1, c->output_dims);
    lower_output(l, call, 0, y);
    if (h.scores)
        lower_output(l, call, 1, split_scores(l, call, &h, weights));
    return y.id < 0 ? -1 : 0;
}
