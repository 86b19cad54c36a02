/* SPDX-License-Identifier: Apache-2.0 */
/* Attention, and choices by a condition. */
#include "torch/replay_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* Steps of `from` along the dims of `to`, 0 where it broadcasts (aligned at the last dim). False when it does not fit. */
static bool broadcast_steps(const struct shape *from, const struct shape *to, int64_t steps[SHAPE_MAX_RANK])
{
    int64_t own[SHAPE_MAX_RANK];
    int skip = to->rank - from->rank;
    if (skip < 0)
        return false;
    replay_strides(from, own);
    for (int i = 0; i < to->rank; i++) {
        int64_t dim = i < skip ? 1 : from->dims[i - skip];
        if (dim != 1 && dim != to->dims[i])
            return false;
        steps[i] = dim == 1 ? 0 : own[i - skip];
    }
    return true;
}

/* The element at row-major position `position` of a shape, in a tensor with these steps. */
static int64_t element_at(const struct shape *shape, const int64_t steps[SHAPE_MAX_RANK], int64_t position)
{
    int64_t offset = 0;
    for (int i = shape->rank - 1; i >= 0; i--) {
        offset += position % shape->dims[i] * steps[i];
        position /= shape->dims[i];
    }
    return offset;
}

static void softmax_row(float *row, int64_t count)
{
    float most = -INFINITY;
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        most = row[i] > most || isnan(row[i]) ? row[i] : most;
    for (int64_t i = 0; i < count; i++)
        sum += (double)(row[i] = expf(row[i] - most));
    for (int64_t i = 0; i < count; i++)
        row[i] = (float)((double)row[i] / sum);
}

/* What one product of the stack works on. */
struct attention {
    const struct replay_call *call;
    struct shape scores; /* (…, steps of query, steps of key) */
    int64_t width, out;  /* features of query and key, of value */
    float scale;
    bool causal;
    const struct tensor *bias; /* or NULL */
    int64_t bias_steps[SHAPE_MAX_RANK];
};

static int attend(const struct attention *a, int64_t index, float *scores, float *y, struct h5pt_error *err)
{
    int64_t t = a->scores.dims[a->scores.rank - 2], s = a->scores.dims[a->scores.rank - 1];
    const float *q = a->call->inputs[0]->data + index * t * a->width;
    const float *k = a->call->inputs[1]->data + index * s * a->width;
    const float *v = a->call->inputs[2]->data + index * s * a->out;
    struct replay_gemm products = {.transpose_b = true,
                                   .m = t,
                                   .n = s,
                                   .k = a->width,
                                   .a = q,
                                   .a_row = a->width,
                                   .b = k,
                                   .b_row = a->width,
                                   .c = scores,
                                   .c_row = s};
    if (replay_gemm(a->call, &products, err) != 0)
        return -1;
    for (int64_t i = 0; i < t; i++) {
        for (int64_t j = 0; j < s; j++) {
            float *score = &scores[i * s + j];
            *score *= a->scale;
            if (a->bias)
                *score += a->bias->data[element_at(&a->scores, a->bias_steps, (index * t + i) * s + j)];
            if (a->causal && j > i)
                *score = -INFINITY;
        }
        softmax_row(scores + i * s, s);
    }
    struct replay_gemm mix = {
        .m = t, .n = a->out, .k = s, .a = scores, .a_row = s, .b = v, .b_row = a->out, .c = y, .c_row = a->out};
    return replay_gemm(a->call, &mix, err);
}

int replay_SCALED_DOT_PRODUCT_ATTENTION(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct shape *q = &call->inputs[0]->shape, *k = &call->inputs[1]->shape, *v = &call->inputs[2]->shape;
    int rank = q->rank;
    bool fits = rank >= 2 && k->rank == rank && v->rank == rank && q->dims[rank - 1] == k->dims[rank - 1] &&
                k->dims[rank - 2] == v->dims[rank - 2] && k->dims[rank - 2] > 0;
    for (int i = 0; fits && i < rank - 2; i++)
        fits = q->dims[i] == k->dims[i] && q->dims[i] == v->dims[i];
    if (!fits)
        return replay_mismatch(call, err, "query, key and value do not fit together");
    struct attention a = {.call = call,
                          .scores = *q,
                          .width = q->dims[rank - 1],
                          .out = v->dims[rank - 1],
                          .scale = (float)replay_float(call, "scale", 1 / sqrt((double)q->dims[rank - 1])),
                          .causal = replay_bool(call, "is_causal", false),
                          .bias = call->node->input_count > 3 ? call->inputs[3] : NULL};
    a.scores.dims[rank - 1] = k->dims[rank - 2];
    if (a.bias &&
        (a.causal || !dtype_is_float(a.bias->dtype) || !broadcast_steps(&a.bias->shape, &a.scores, a.bias_steps)))
        return replay_mismatch(call, err, "what is added to the scores does not fit");
    struct shape shape = *q;
    shape.dims[rank - 1] = a.out;
    int64_t cells = a.scores.dims[rank - 2] * a.scores.dims[rank - 1], block = a.scores.dims[rank - 2] * a.out;
    struct tensor *y = replay_new(&shape, DTYPE_F32, err);
    float *scores = calloc((size_t)cells + 1, sizeof *scores);
    int status = y && scores ? 0 : h5pt_fail_memory(err);
    for (int64_t i = 0; !status && block && i < y->count / block; i++)
        status = attend(&a, i, scores, y->data + i * block, err);
    free(scores);
    if (status) {
        tensor_free(y);
        return -1;
    }
    *ret = y;
    return 0;
}

int replay_BAND_MASK(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct shape *x = &call->inputs[0]->shape, *y = &call->inputs[1]->shape;
    if (x->rank < 2 || y->rank < 2)
        return replay_mismatch(call, err, "it takes sequences");
    struct shape shape = {.rank = 2, .dims = {x->dims[1], y->dims[1]}};
    struct tensor *out = replay_new(&shape, DTYPE_BOOL, err);
    if (!out)
        return -1;
    int64_t before = replay_int(call, "before", INT32_MAX), after = replay_int(call, "after", INT32_MAX);
    for (int64_t i = 0; i < shape.dims[0]; i++)
        for (int64_t j = 0; j < shape.dims[1]; j++)
            out->data[i * shape.dims[1] + j] = j - i <= after && i - j <= before ? 1.0f : 0.0f;
    *ret = out;
    return 0;
}

/* The shape that all inputs broadcast to. */
static bool broadcast_all(const struct replay_call *call, struct shape *ret)
{
    *ret = (struct shape){.rank = 0};
    for (int i = 0; i < call->node->input_count; i++)
        ret->rank = call->inputs[i]->shape.rank > ret->rank ? call->inputs[i]->shape.rank : ret->rank;
    for (int d = 0; d < ret->rank; d++) {
        ret->dims[d] = 1;
        for (int i = 0; i < call->node->input_count; i++) {
            const struct shape *s = &call->inputs[i]->shape;
            int64_t dim = d < ret->rank - s->rank ? 1 : s->dims[d - (ret->rank - s->rank)];
            if (dim != 1 && ret->dims[d] != 1 && dim != ret->dims[d])
                return false;
            ret->dims[d] = dim == 1 ? ret->dims[d] : dim;
        }
    }
    return true;
}

static int where(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    struct shape shape;
    int64_t steps[3][SHAPE_MAX_RANK] = {{0}};
    int count = call->node->input_count;
    if (call->inputs[0]->dtype != DTYPE_BOOL || !broadcast_all(call, &shape))
        return replay_mismatch(call, err, "it takes a boolean condition and what fits to it");
    for (int i = 0; i < count; i++)
        (void)broadcast_steps(&call->inputs[i]->shape, &shape, steps[i]);
    enum dtype dtype = count == 3 ? replay_promote(call->inputs[1]->dtype, call->inputs[2]->dtype)
                       : count == 2 && dtype_is_float(call->inputs[1]->dtype) ? call->inputs[1]->dtype
                                                                              : DTYPE_F32;
    struct tensor *out = replay_new(&shape, dtype, err);
    if (!out)
        return -1;
    const float value = (float)replay_float(call, "value", 0), otherwise = (float)replay_float(call, "otherwise", 0);
    for (int64_t i = 0; i < out->count; i++) {
        if (call->inputs[0]->data[element_at(&shape, steps[0], i)] != 0)
            out->data[i] = count > 1 ? call->inputs[1]->data[element_at(&shape, steps[1], i)] : value;
        else
            out->data[i] = count > 2 ? call->inputs[2]->data[element_at(&shape, steps[2], i)] : otherwise;
    }
    *ret = out;
    return 0;
}

int replay_WHERE_NUMBER(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return where(call, ret, err);
}
