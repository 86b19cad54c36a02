/* SPDX-License-Identifier: Apache-2.0 */
/* What the attention layers share; see attention.h. */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>

#include "layers/attention.h"
#include "layers/compose.h"

static const double large = 1e9;
/* 0.7 of nearly the largest float: nothing of a score is left when it is added. */
static const double least = -2.372671e38;

bool attention_hides(const struct attention_masks *masks)
{
    return masks->query >= 0 || masks->value >= 0 || masks->key >= 0 || masks->pairs >= 0 || masks->causal ||
           masks->window > 0;
}

int attention_check_masks(struct layer_shape *s, const struct attention_masks *masks, int scores)
{
    const int steps[] = {masks->query, masks->value, masks->key};
    for (int i = 0; i < 3; i++) {
        if (steps[i] < 0)
            continue;
        if (s->input_dtypes[steps[i]] != DTYPE_BOOL)
            return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "mask", "A mask of type %s is not supported, only bool",
                             dtype_name(s->input_dtypes[steps[i]]));
        if (s->inputs[steps[i]].rank != 2)
            return layer_shape_fail(s, "A mask of steps has %d dimensions, but it needs 2", s->inputs[steps[i]].rank);
    }
    if (masks->pairs >= 0 && s->inputs[masks->pairs].rank != 3 &&
        (s->inputs[masks->pairs].rank != 4 || scores != 4 || masks->query >= 0 || masks->value >= 0 || masks->key >= 0))
        return layer_shape_fail(s, "The attention mask has %d dimensions, which is not supported here",
                                s->inputs[masks->pairs].rank);
    return 0;
}

/* ---- reference ---- */

/* Element (b, h, i, j) of the mask of pairs, whose sizes may be 1. */
static bool pair_kept(const struct tensor *pairs, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const struct shape *s = &pairs->shape;
    int64_t at[] = {b, h, i, j}, offset = 0;
    for (int axis = 0; axis < s->rank; axis++) {
        int64_t index = at[axis == 0 || s->rank == 4 ? axis : axis + 1];
        offset = offset * s->dims[axis] + (s->dims[axis] == 1 ? 0 : index);
    }
    return pairs->data[offset] != 0;
}

static bool step_kept(const struct layer_run *run, int input, int64_t b, int64_t step)
{
    const struct tensor *mask = input < 0 ? NULL : run->inputs[input];
    return !mask || mask->data[b * mask->shape.dims[1] + step] != 0;
}

int attention_kept(const struct layer_run *run, const struct attention_masks *masks, int64_t batch, int64_t t,
                   int64_t s, bool **ret, int64_t *ret_heads)
{
    const struct tensor *pairs = masks->pairs < 0 ? NULL : run->inputs[masks->pairs];
    int64_t heads = pairs && pairs->shape.rank == 4 ? pairs->shape.dims[1] : 1, count;
    struct shape shape = {.rank = 4, .dims = {batch, heads, t, s}};
    *ret = NULL;
    *ret_heads = heads;
    if (!attention_hides(masks))
        return 0;
    bool *kept = shape_count(&shape, &count) ? malloc((size_t)count + 1) : NULL;
    if (!kept)
        return h5pt_fail_memory(run->err);
    for (int64_t n = 0; n < count; n++) {
        int64_t j = n % s, i = n / s % t, h = n / s / t % heads, b = n / s / t / heads, apart = i > j ? i - j : j - i;
        kept[n] = step_kept(run, masks->query, b, i) && step_kept(run, masks->value, b, j) &&
                  step_kept(run, masks->key, b, j) && (!pairs || pair_kept(pairs, b, h, i, j)) &&
                  (!masks->causal || j <= i) && (!masks->window || apart < masks->window);
    }
    *ret = kept;
    return 0;
}

void attention_weigh(float *scores, int64_t t, int64_t s, const bool *kept, enum attention_hiding hiding)
{
    for (int64_t i = 0; i < t; i++) {
        float *row = scores + i * s;
        const bool *keep = kept ? kept + i * s : NULL;
        double most = -(double)INFINITY, sum = 0;
        for (int64_t j = 0; j < s; j++) {
            if (keep && !keep[j])
                row[j] = hiding == ATTENTION_ADD       ? row[j] - (float)large
                         : hiding == ATTENTION_REPLACE ? (float)least
                                                       : -(float)large;
            if (!((double)row[j] <= most))
                most = (double)row[j];
        }
        for (int64_t j = 0; j < s; j++)
            sum += exp((double)row[j] - most);
        for (int64_t j = 0; j < s; j++)
            row[j] = keep && !keep[j] && hiding == ATTENTION_ZERO ? 0 : (float)(exp((double)row[j] - most) / sum);
    }
}

int attention_project(const struct layer_run *run, const float *x, int64_t rows, const struct tensor *kernel,
                      const struct tensor *bias, int64_t in, int64_t out, float *y)
{
    if (rows > INT32_MAX || in > INT32_MAX || out > INT32_MAX)
        return h5pt_fail(run->err, H5PT_LIMIT_EXCEEDED, run->layer->path, "A projection is too large");
    for (int64_t row = 0; row < rows; row++)
        for (int64_t j = 0; j < out; j++)
            y[row * out + j] = bias ? bias->data[j] : 0;
    if (rows && in && out)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)out, (int)in, 1, x, (int)in,
                    kernel->data, (int)out, 1, y, (int)out);
    return 0;
}

/* ---- lowering ---- */

struct lowered attention_permute(struct lowering *l, const struct keras_call *call, struct lowered x, const int *axes)
{
    struct shape in = lower_shape(l, x.id), out = shape_permute(&in, axes);
    int64_t dims[SHAPE_MAX_RANK];
    bool same = true;
    for (int i = 0; i < in.rank; i++) {
        dims[i] = axes[i];
        same = same && axes[i] == i;
    }
    if (same || x.id < 0)
        return x;
    struct torch_attr attr = attr_list(l, "dims", in.rank, dims);
    return (struct lowered){.id = lower_function(l, call, TORCH_PERMUTE, x.id, 1, &attr, out, DTYPE_F32),
                            .layout = layout_keras(in.rank)};
}

/* x and y, where x may not be there yet (id -1). */
static struct lowered both(struct lowering *l, const struct keras_call *call, struct lowered x, struct lowered y)
{
    return x.id < 0 ? y : lower_binary(l, call, TORCH_LOGICAL_AND, x, y);
}

static struct lowered lower_band(struct lowering *l, const struct keras_call *call, const struct attention_operands *o,
                                 const struct attention_masks *masks)
{
    struct shape q = lower_shape(l, o->steps_of_query.id), k = lower_shape(l, o->steps_of_key.id);
    struct torch_attr attrs[2];
    int count = 0;
    if (masks->window)
        attrs[count++] = attr_int("before", masks->window - 1);
    if (masks->causal || masks->window)
        attrs[count++] = attr_int("after", masks->causal ? 0 : masks->window - 1);
    return (struct lowered){
        .id = lower_function2(l, call, TORCH_BAND_MASK, o->steps_of_query.id, o->steps_of_key.id, count, attrs,
                              (struct shape){.rank = 2, .dims = {q.dims[1], k.dims[1]}}, DTYPE_BOOL),
        .layout = layout_keras(2)};
}

/* All masks together, so that they broadcast against scores of this rank; id -1 when there is none. */
static struct lowered lower_kept(struct lowering *l, const struct keras_call *call, const struct attention_operands *o,
                                 const struct attention_masks *masks, int rank)
{
    struct lowered kept = {.id = -1};
    if (masks->query >= 0)
        kept = lower_unsqueeze(l, call, lower_input_keras(l, call, masks->query), 2);
    if (masks->value >= 0)
        kept = both(l, call, kept, lower_unsqueeze(l, call, lower_input_keras(l, call, masks->value), 1));
    if (masks->key >= 0)
        kept = both(l, call, kept, lower_unsqueeze(l, call, lower_input_keras(l, call, masks->key), 1));
    if (masks->pairs >= 0) {
        struct lowered pairs = lower_input_keras(l, call, masks->pairs);
        if (call->inputs[masks->pairs]->dtype != DTYPE_BOOL)
            pairs = lower_scalar(l, call, TORCH_NOT_EQUAL_SCALAR, pairs, 0);
        kept = both(l, call, kept, pairs);
    }
    if (masks->causal || masks->window)
        kept = both(l, call, kept, lower_band(l, call, o, masks));
    while (kept.id >= 0 && lower_shape(l, kept.id).rank > 2 && lower_shape(l, kept.id).rank < rank)
        kept = lower_unsqueeze(l, call, kept, 1);
    return kept;
}

static struct lowered lower_matmul(struct lowering *l, const struct keras_call *call, struct lowered x,
                                   struct lowered y)
{
    struct shape shape = lower_shape(l, x.id), other = lower_shape(l, y.id);
    if (x.id < 0 || y.id < 0)
        return (struct lowered){.id = -1};
    shape.dims[shape.rank - 1] = other.dims[other.rank - 1];
    x.id = lower_function2(l, call, TORCH_MATMUL, x.id, y.id, 0, NULL, shape, DTYPE_F32);
    return x;
}

static struct lowered lower_products(struct lowering *l, const struct keras_call *call,
                                     const struct attention_operands *o)
{
    int axes[SHAPE_MAX_RANK], rank = lower_shape(l, o->key.id).rank;
    for (int i = 0; i < rank; i++)
        axes[i] = i < rank - 2 ? i : i == rank - 2 ? rank - 1 : rank - 2;
    struct lowered scores = lower_matmul(l, call, o->query, attention_permute(l, call, o->key, axes));
    return o->scale == 1 ? scores : lower_scalar(l, call, TORCH_MUL_SCALAR, scores, o->scale);
}

/* The fused operation; what it cannot do is done by hand below. */
static struct lowered lower_fused(struct lowering *l, const struct keras_call *call, const struct attention_operands *o,
                                  struct lowered kept, bool causal, double bias)
{
    struct shape shape = lower_shape(l, o->query.id), value = lower_shape(l, o->value.id);
    int inputs[] = {o->query.id, o->key.id, o->value.id, -1}, count = 3;
    if (shape.rank < 1 || value.rank < 1)
        return (struct lowered){.id = -1};
    if (kept.id >= 0)
        inputs[count++] = lower_where_number(l, call, kept, (struct lowered){.id = -1}, bias).id;
    struct torch_attr attrs[] = {attr_bool("is_causal", causal), attr_float("scale", o->scale)};
    double usual = 1 / sqrt((double)shape.dims[shape.rank - 1]);
    shape.dims[shape.rank - 1] = value.dims[value.rank - 1];
    struct lowered y = o->query;
    y.id = lower_node(l, call,
                      &(struct node_spec){.op = TORCH_SCALED_DOT_PRODUCT_ATTENTION,
                                          .input_count = count,
                                          .inputs = inputs,
                                          .attr_count = fabs(usual - o->scale) < 1e-12 ? 1 : 2,
                                          .attrs = attrs,
                                          .shape = shape,
                                          .dtype = DTYPE_F32});
    return y;
}

struct lowered attention_lower(struct lowering *l, const struct keras_call *call, const struct attention_operands *o,
                               const struct attention_masks *masks, enum attention_hiding hiding, struct lowered scores,
                               struct lowered *ret_weights)
{
    const struct lowered none = {.id = -1};
    int rank = lower_shape(l, o->value.id).rank;
    bool fused = scores.id < 0 && !ret_weights;
    struct attention_masks others = *masks;
    others.causal = false;
    if (fused && masks->causal && !attention_hides(&others))
        return lower_fused(l, call, o, none, true, 0);
    struct lowered kept = lower_kept(l, call, o, masks, rank);
    bool hidden = attention_hides(masks);
    if (fused && (!hidden || hiding != ATTENTION_ZERO))
        return lower_fused(l, call, o, kept, false, hiding == ATTENTION_ADD ? -large : least);
    if (scores.id < 0)
        scores = lower_products(l, call, o);
    if (hidden && hiding == ATTENTION_ADD)
        scores = lower_binary(l, call, TORCH_ADD, scores, lower_where_number(l, call, kept, none, -large));
    else if (hidden)
        scores = lower_where_number(l, call, kept, scores, hiding == ATTENTION_REPLACE ? least : -large);
    struct torch_attr dim = attr_int("dim", -1);
    struct lowered weights = lower_pointwise(l, call, scores, TORCH_SOFTMAX, NULL, 1, &dim);
    if (hidden && hiding == ATTENTION_ZERO)
        weights = lower_where_number(l, call, kept, weights, 0);
    if (ret_weights)
        *ret_weights = weights;
    return lower_matmul(l, call, weights, o->value);
}
