/* SPDX-License-Identifier: Apache-2.0 */
/* Ids: one-hot vectors, bins, places in a vocabulary, elements by their place. */
#include "torch/replay_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

int replay_ONE_HOT(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int64_t classes = replay_int(call, "num_classes", 0);
    struct shape shape = x->shape;
    if (shape.rank == SHAPE_MAX_RANK || classes < 1)
        return replay_mismatch(call, err, "there are no %" PRId64 " classes for it", classes);
    shape.dims[shape.rank++] = classes;
    struct tensor *y = replay_new(&shape, DTYPE_F32, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < y->count; i++)
        y->data[i] = x->data[i / classes] == (float)(i % classes) ? 1.0f : 0.0f;
    *ret = y;
    return 0;
}

/* numpy.interp(at, cumulated / total, values) */
static double quantile(const float *values, const float *weights, int64_t n, float total, double at)
{
    float sum = 0;
    double before = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += weights[i];
        double share = (double)(sum / total);
        if (at < share) {
            if (i == 0)
                return (double)values[0];
            double step = (double)values[i] - (double)values[i - 1];
            return (double)values[i - 1] + (at - before) * (step / (share - before));
        }
        before = share;
    }
    return (double)values[n - 1];
}

int replay_BIN_BOUNDARIES(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *summary = call->inputs[0];
    int64_t bins = replay_int(call, "num_bins", 0);
    if (summary->shape.rank != 2 || summary->shape.dims[0] != 2 || summary->shape.dims[1] < 1 || bins < 1)
        return replay_mismatch(call, err, "the summary is no (2, n)");
    int64_t n = summary->shape.dims[1];
    double part = 1.0 / (double)bins;
    bool few = (double)n * part < 1;
    struct shape shape = {.rank = 1, .dims = {few ? n - 1 : (int64_t)ceil(1.0 / part) - 1}};
    struct tensor *y = replay_new(&shape, DTYPE_F32, err);
    if (!y)
        return -1;
    float total = 0;
    for (int64_t i = 0; i < n; i++)
        total += summary->data[n + i];
    for (int64_t i = 0; i < y->count; i++)
        y->data[i] = few ? summary->data[i]
                         : (float)quantile(summary->data, summary->data + n, n, total, part + (double)i * part);
    *ret = y;
    return 0;
}

int replay_LOOKUP(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0], *tokens = call->inputs[1], *indices = call->inputs[2];
    float count = (float)replay_int(call, "num_oov", 1), first = (float)replay_int(call, "first_oov", 0);
    if (tokens->shape.rank != 1 || !shape_equal(&tokens->shape, &indices->shape) || count < 1)
        return replay_mismatch(call, err, "tokens and indices are no vectors of one length");
    struct tensor *y = replay_new(&x->shape, DTYPE_I64, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < x->count; i++) {
        y->data[i] = first + x->data[i] - count * floorf(x->data[i] / count);
        for (int64_t k = 0; k < tokens->count; k++)
            if (tokens->data[k] == x->data[i])
                y->data[i] = indices->data[k];
    }
    *ret = y;
    return 0;
}

int replay_TAKE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0], *index = call->inputs[1];
    struct tensor *y = replay_new(&index->shape, x->dtype, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < index->count; i++) {
        float at = index->data[i] < 0 ? index->data[i] + (float)x->count : index->data[i];
        if (!(at >= 0 && at < (float)x->count)) {
            tensor_free(y);
            return replay_mismatch(call, err, "there is no element %g among %" PRId64, (double)index->data[i],
                                   x->count);
        }
        y->data[i] = x->data[(int64_t)at];
    }
    *ret = y;
    return 0;
}
