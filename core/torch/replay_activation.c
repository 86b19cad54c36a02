/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of one element, in float32 as torch computes them, and those along one dim. */
#include "torch/replay_internal.h"
#include "torch/replay_map.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float sqrt_half = 0.70710678118654752f, sqrt_two_over_pi = 0.79788456080286536f;
static const float selu_alpha = 1.6732632423543772848f, selu_scale = 1.0507009873554804934f;
/* From here on torch takes softplus for the identity. */
static const float softplus_threshold = 20.0f;

static inline float clamp(float x, float lo, float hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

static inline float gelu_tanh(float x)
{
    return 0.5f * x * (1.0f + tanhf(sqrt_two_over_pi * (x + 0.044715f * x * x * x)));
}

/* Comparisons are such that NaN stays NaN. */
MAP0(RELU, same, x <= 0 ? 0.0f : x)
MAP0(RELU6, same, clamp(x, 0, 6))
MAP1(LEAKY_RELU, float_of, "negative_slope", 0.01, x > 0 ? x : x * a)
MAP1(ELU, float_of, "alpha", 1, x <= 0 ? a * expm1f(x) : x)
MAP0(SELU, float_of, selu_scale *(x <= 0 ? selu_alpha * expm1f(x) : x))
MAP1(CELU, float_of, "alpha", 1, x <= 0 ? a * expm1f(x / a) : x)
MAP0(SILU, float_of, x / (1.0f + expf(-x)))
MAP0(MISH, float_of, x *tanhf(log1pf(expf(x))))
MAP0(SIGMOID, float_of, 1.0f / (1.0f + expf(-x)))
MAP0(TANH, float_of, tanhf(x))
MAP0(SOFTPLUS, float_of, x > softplus_threshold ? x : log1pf(expf(x)))
MAP0(SOFTSIGN, float_of, x / (1.0f + fabsf(x)))
MAP0(LOG_SIGMOID, float_of, (x < 0 ? x : x * 0.0f) - log1pf(expf(-fabsf(x))))
MAP0(HARD_SIGMOID, float_of, clamp(x + 3.0f, 0, 6) / 6.0f)
MAP0(HARD_SWISH, float_of, x *clamp(x + 3.0f, 0, 6) / 6.0f)
MAP0(HARD_TANH, same, clamp(x, -1, 1))
MAP1(HARD_SHRINK, float_of, "lambd", 0.5, x >= -a && x <= a ? 0.0f : x)
MAP1(SOFT_SHRINK, float_of, "lambd", 0.5, x > a ? x - a : x < -a ? x + a : x * 0.0f)
MAP0(TANH_SHRINK, float_of, x - tanhf(x))
MAP(THRESHOLD, same, "threshold", 0, "value", 0, x <= a ? b : x)

static bool is_tanh(const struct replay_call *call)
{
    const char *text = torch_attr_text(call->node, "approximate");
    return text && strcmp(text, "tanh") == 0;
}

int replay_GELU(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    bool tanh_form = is_tanh(call);
    struct tensor *y = replay_new(&x->shape, float_of(x->dtype), err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < y->count; i++)
        y->data[i] = tanh_form ? gelu_tanh(x->data[i]) : 0.5f * x->data[i] * (1.0f + erff(x->data[i] * sqrt_half));
    *ret = y;
    return 0;
}

int replay_PRELU(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int64_t channels = x->shape.rank > 1 ? x->shape.dims[1] : 1, size = 1;
    if (call->node->parameter_count != 1)
        return replay_mismatch(call, err, "it takes a weight");
    int64_t count = call->parameters[0]->count;
    if (count != 1 && count != channels)
        return replay_mismatch(call, err, "the weight should have 1 or %" PRId64 " elements", channels);
    for (int i = 2; i < x->shape.rank; i++)
        size *= x->shape.dims[i];
    struct tensor *y = replay_new(&x->shape, x->dtype, err);
    if (!y)
        return -1;
    for (int64_t at = 0, c = 0; at < y->count; at += size, c++) {
        float slope = call->parameters[0]->data[c % channels % count];
        for (int64_t i = at; i < at + size; i++)
            y->data[i] = x->data[i] > 0 ? x->data[i] : x->data[i] * slope;
    }
    *ret = y;
    return 0;
}

/* One line of a tensor along a dim. */
struct line {
    const float *in;
    float *out;
    int64_t count, step;
};

static void line_softmax(const struct line *line, bool logarithm)
{
    float most = -INFINITY;
    double sum = 0;
    for (int64_t i = 0; i < line->count; i++)
        if (line->in[i * line->step] > most || isnan(line->in[i * line->step]))
            most = line->in[i * line->step];
    for (int64_t i = 0; i < line->count; i++) {
        float e = line->in[i * line->step] - most;
        line->out[i * line->step] = logarithm ? e : expf(e);
        sum += (double)(logarithm ? expf(e) : line->out[i * line->step]);
    }
    float total = logarithm ? (float)log(sum) : (float)sum;
    for (int64_t i = 0; i < line->count; i++)
        line->out[i * line->step] = logarithm ? line->out[i * line->step] - total : line->out[i * line->step] / total;
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* The helper of model.py in float32: max(x - tau, 0) with Keras' tau, from the sum of the partial sums over the support.
 * `sorted` is scratch for the line. */
static void line_sparsemax(const struct line *line, float *sorted)
{
    for (int64_t i = 0; i < line->count; i++)
        sorted[i] = line->in[i * line->step];
    qsort(sorted, (size_t)line->count, sizeof *sorted, descending);
    float sum = 0, total = 0, support = 0;
    for (int64_t i = 0; i < line->count; i++) {
        sum += sorted[i];
        if (sorted[i] - (sum - 1.0f) / (float)(i + 1) > 0) {
            support += 1.0f;
            total += sum;
        }
    }
    float tau = (total - 1.0f) / support;
    for (int64_t i = 0; i < line->count; i++) {
        float y = line->in[i * line->step] - tau;
        line->out[i * line->step] = y <= 0 ? 0.0f : y;
    }
}

enum line_kind { LINE_SOFTMAX, LINE_LOG_SOFTMAX, LINE_SPARSEMAX };

/* `dim` of input 0: the elements before, in and behind it. */
static int split_at_dim(const struct replay_call *call, int64_t fallback, int *dim, int64_t *outer, int64_t *inner,
                        struct h5pt_error *err)
{
    const struct shape *shape = &call->inputs[0]->shape;
    if (replay_dim(call, replay_int(call, "dim", fallback), shape->rank, dim, err) != 0)
        return -1;
    *outer = *inner = 1;
    for (int i = 0; i < shape->rank; i++)
        *(i < *dim ? outer : inner) *= i == *dim ? 1 : shape->dims[i];
    return 0;
}

static int along_dim(const struct replay_call *call, enum line_kind kind, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int dim = 0;
    int64_t outer, inner;
    if (!torch_attr(call->node, "dim"))
        return replay_mismatch(call, err, "it needs a dim");
    if (split_at_dim(call, 0, &dim, &outer, &inner, err) != 0)
        return -1;
    int64_t count = x->shape.dims[dim];
    float *scratch = calloc((size_t)count + 1, sizeof *scratch);
    struct tensor *y = scratch ? tensor_new(&x->shape, float_of(x->dtype)) : NULL;
    if (!y) {
        free(scratch);
        return h5pt_fail_memory(err);
    }
    for (int64_t i = 0; count > 0 && i < outer * inner; i++) {
        int64_t at = i / inner * count * inner + i % inner;
        struct line line = {.in = x->data + at, .out = y->data + at, .count = count, .step = inner};
        if (kind == LINE_SPARSEMAX)
            line_sparsemax(&line, scratch);
        else
            line_softmax(&line, kind == LINE_LOG_SOFTMAX);
    }
    free(scratch);
    *ret = y;
    return 0;
}

int replay_SOFTMAX(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return along_dim(call, LINE_SOFTMAX, ret, err);
}

int replay_LOG_SOFTMAX(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return along_dim(call, LINE_LOG_SOFTMAX, ret, err);
}

int replay_SPARSEMAX(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return along_dim(call, LINE_SPARSEMAX, ret, err);
}

int replay_GLU(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int dim = 0;
    int64_t outer, inner;
    if (split_at_dim(call, -1, &dim, &outer, &inner, err) != 0)
        return -1;
    struct shape shape = x->shape;
    if (shape.dims[dim] % 2 != 0)
        return replay_mismatch(call, err, "dim %d of %" PRId64 " has no halves", dim, shape.dims[dim]);
    shape.dims[dim] /= 2;
    struct tensor *y = replay_new(&shape, x->dtype, err);
    if (!y)
        return -1;
    int64_t half = shape.dims[dim] * inner;
    for (int64_t i = 0; i < outer; i++) {
        const float *values = x->data + 2 * i * half, *gates = values + half;
        for (int64_t j = 0; j < half; j++)
            y->data[i * half + j] = values[j] / (1.0f + expf(-gates[j]));
    }
    *ret = y;
    return 0;
}
