/* SPDX-License-Identifier: Apache-2.0 */
/* Normalisation in eval mode. */
#include "torch/replay_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* Parameters first..first + count - 1 must have `elements` each. */
static int check_parameters(const struct replay_call *call, int first, int count, int64_t elements,
                            struct h5pt_error *err)
{
    if (call->node->parameter_count < first + count)
        return replay_mismatch(call, err, "it takes %d parameters", first + count);
    for (int i = first; i < first + count; i++)
        if (call->parameters[i]->count != elements)
            return replay_mismatch(call, err, "parameter %d should have %" PRId64 " elements", i, elements);
    return 0;
}

static struct tensor *new_like(const struct tensor *x, struct h5pt_error *err)
{
    return replay_new(&x->shape, x->dtype, err);
}

/* The elements of one channel of one sample. */
static int64_t plane_size(const struct shape *shape)
{
    int64_t size = 1;
    for (int i = 2; i < shape->rank; i++)
        size *= shape->dims[i];
    return size;
}

static int batch_norm(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int64_t channels = x->shape.dims[1], size = plane_size(&x->shape);
    bool affine = replay_bool(call, "affine", true);
    if (check_parameters(call, 0, affine ? 4 : 2, channels, err) != 0)
        return -1;
    const struct tensor *const *statistics = call->parameters + (affine ? 2 : 0);
    double eps = replay_float(call, "eps", 1e-5);
    struct tensor *y = new_like(x, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < x->shape.dims[0] * channels; i++) {
        int64_t c = i % channels;
        double scale = 1 / sqrt((double)statistics[1]->data[c] + eps);
        if (affine)
            scale *= (double)call->parameters[0]->data[c];
        double shift = (affine ? (double)call->parameters[1]->data[c] : 0) - (double)statistics[0]->data[c] * scale;
        float a = (float)scale, b = (float)shift;
        const float *in = x->data + i * size;
        float *out = y->data + i * size;
        for (int64_t j = 0; j < size; j++)
            out[j] = in[j] * a + b;
    }
    *ret = y;
    return 0;
}

#define BATCH_NORM(id, min_rank, max_rank)                                                                             \
    int replay_##id(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)                       \
    {                                                                                                                  \
        int rank = call->inputs[0]->shape.rank;                                                                        \
        if (rank < (min_rank) || rank > (max_rank))                                                                    \
            return replay_mismatch(call, err, "the input cannot have %d dims", rank);                                  \
        return batch_norm(call, ret, err);                                                                             \
    }

BATCH_NORM(BATCH_NORM1D, 2, 3)
BATCH_NORM(BATCH_NORM2D, 4, 4)
BATCH_NORM(BATCH_NORM3D, 5, 5)

static void standardise(const float *in, int64_t count, double eps, float *out)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)in[i];
    double mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++)
        squares += ((double)in[i] - mean) * ((double)in[i] - mean);
    double scale = 1 / sqrt(squares / (double)count + eps);
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)(((double)in[i] - mean) * scale);
}

int replay_LAYER_NORM(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    const struct torch_attr *attr = torch_attr(call->node, "normalized_shape");
    int dims = attr && attr->kind == TORCH_ATTR_INTS ? attr->ints.count : 1;
    int64_t size = 1;
    if (dims < 1 || dims > x->shape.rank)
        return replay_mismatch(call, err, "normalized_shape has %d dims", dims);
    for (int i = 0; i < dims; i++) {
        int64_t dim = x->shape.dims[x->shape.rank - dims + i];
        if (dim != torch_attr_at(call->node, "normalized_shape", i))
            return replay_mismatch(call, err, "normalized_shape does not end the input's shape");
        size *= dim;
    }
    bool weight = replay_bool(call, "elementwise_affine", true), bias = weight && replay_bool(call, "bias", true);
    if (check_parameters(call, 0, (weight ? 1 : 0) + (bias ? 1 : 0), size, err) != 0)
        return -1;
    struct tensor *y = new_like(x, err);
    if (!y)
        return -1;
    for (int64_t at = 0; at < x->count; at += size) {
        float *out = y->data + at;
        standardise(x->data + at, size, replay_float(call, "eps", 1e-5), out);
        for (int64_t i = 0; weight && i < size; i++)
            out[i] = out[i] * call->parameters[0]->data[i] + (bias ? call->parameters[1]->data[i] : 0);
    }
    *ret = y;
    return 0;
}

int replay_GROUP_NORM(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int64_t groups;
    if (x->shape.rank < 2)
        return replay_mismatch(call, err, "the input needs channels");
    if (replay_ints(call, "num_groups", 1, 1, 1, &groups, err) != 0)
        return -1;
    int64_t channels = x->shape.dims[1], size = plane_size(&x->shape);
    bool affine = replay_bool(call, "affine", true);
    if (channels % groups != 0)
        return replay_mismatch(call, err, "the channels do not divide into %" PRId64 " groups", groups);
    if (check_parameters(call, 0, affine ? 2 : 0, channels, err) != 0)
        return -1;
    struct tensor *y = new_like(x, err);
    if (!y)
        return -1;
    int64_t group_size = channels / groups * size;
    for (int64_t at = 0; at < x->count; at += group_size)
        standardise(x->data + at, group_size, replay_float(call, "eps", 1e-5), y->data + at);
    for (int64_t i = 0; affine && i < x->shape.dims[0] * channels; i++) {
        float weight = call->parameters[0]->data[i % channels], bias = call->parameters[1]->data[i % channels];
        for (int64_t j = 0; j < size; j++)
            y->data[i * size + j] = y->data[i * size + j] * weight + bias;
    }
    *ret = y;
    return 0;
}

/* The p-norm over the marked dims, each at least eps. */
static int norms(const struct replay_call *call, const bool *dims, double *out, int64_t count, struct h5pt_error *err)
{
    double p = replay_float(call, "p", 2), eps = replay_float(call, "eps", 1e-12);
    if (!(p > 0) || isinf(p))
        return replay_mismatch(call, err, "the norm of order %g is not known", p);
    replay_reduce(call->inputs[0], dims, REPLAY_SUM_POWERS, &p, out);
    for (int64_t i = 0; i < count; i++)
        out[i] = fmax(p == 2 ? sqrt(out[i]) : pow(out[i], 1 / p), eps);
    return 0;
}

int replay_NORMALIZE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    bool dims[SHAPE_MAX_RANK] = {false};
    if (torch_attr(call->node, "dim")) {
        if (replay_dims(call, "dim", dims, err) != 0)
            return -1;
    } else {
        int channels = 0;
        if (replay_dim(call, 1, x->shape.rank, &channels, err) != 0)
            return -1;
        dims[channels] = true;
    }
    struct shape shape = replay_reduced_shape(&x->shape, dims, true);
    int64_t count, steps[SHAPE_MAX_RANK], index[SHAPE_MAX_RANK] = {0};
    if (!shape_count(&shape, &count))
        return replay_mismatch(call, err, "the sizes are too large");
    double *divisors = calloc((size_t)count + 1, sizeof *divisors);
    if (!divisors)
        return h5pt_fail_memory(err);
    struct tensor *y = NULL;
    if (norms(call, dims, divisors, count, err) != 0 || !(y = new_like(x, err))) {
        free(divisors);
        return -1;
    }
    replay_strides(&shape, steps);
    for (int64_t i = 0; i < x->count; i++) {
        int64_t at = 0;
        for (int d = 0; d < x->shape.rank; d++)
            at += dims[d] ? 0 : index[d] * steps[d];
        y->data[i] = (float)((double)x->data[i] / divisors[at]);
        for (int d = x->shape.rank - 1; d >= 0 && ++index[d] == x->shape.dims[d]; d--)
            index[d] = 0;
    }
    free(divisors);
    *ret = y;
    return 0;
}
