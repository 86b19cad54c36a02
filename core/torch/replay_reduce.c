/* SPDX-License-Identifier: Apache-2.0 */
/* Reductions over any dims, in double. */
#include "torch/replay_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* A tensor as alternating runs of kept and reduced dims, merged where they are neighbours. */
struct walk {
    int rank;
    int64_t dims[SHAPE_MAX_RANK], in_steps[SHAPE_MAX_RANK];
    int64_t out_steps[SHAPE_MAX_RANK]; /* 0: reduced */
    enum replay_reduction reduction;
    const double *argument; /* as in replay_reduce, not moved along */
    double *out;
};

static void walk_init(struct walk *walk, const struct shape *shape, const bool *reduced)
{
    int64_t in_step = 1, out_step = 1;
    int rank = 0;
    bool previous = false;
    for (int i = shape->rank - 1; i >= 0; i--) {
        if (rank > 0 && reduced[i] == previous) {
            walk->dims[rank - 1] *= shape->dims[i];
        } else {
            walk->dims[rank] = shape->dims[i];
            walk->in_steps[rank] = in_step;
            walk->out_steps[rank] = reduced[i] ? 0 : out_step;
            previous = reduced[i];
            rank++;
        }
        in_step *= shape->dims[i];
        out_step *= reduced[i] ? 1 : shape->dims[i];
    }
    walk->rank = rank;
}

static inline double power(double x, double p)
{
    return p == 2 ? x * x : p == 1 ? fabs(x) : pow(fabs(x), p);
}

/* Takes `count` neighbours in; `step` 0: all into out[at], 1: each into its own. */
static void take(const struct walk *walk, const float *in, int64_t count, int64_t at, int64_t step)
{
    double *out = walk->out;
    switch (walk->reduction) {
    case REPLAY_SUM:
        for (int64_t i = 0; i < count; i++)
            out[at + i * step] += (double)in[i];
        break;
    case REPLAY_SUM_DEVIATIONS:
        for (int64_t i = 0; i < count; i++) {
            double d = (double)in[i] - walk->argument[at + i * step];
            out[at + i * step] += d * d;
        }
        break;
    case REPLAY_SUM_POWERS:
        for (int64_t i = 0; i < count; i++)
            out[at + i * step] += power((double)in[i], *walk->argument);
        break;
    case REPLAY_MAX:
        for (int64_t i = 0; i < count; i++)
            if ((double)in[i] > out[at + i * step] || isnan(in[i]))
                out[at + i * step] = (double)in[i];
        break;
    case REPLAY_MIN:
        for (int64_t i = 0; i < count; i++)
            if ((double)in[i] < out[at + i * step] || isnan(in[i]))
                out[at + i * step] = (double)in[i];
        break;
    }
}

/* Dims are kept from the last to the first: `level` 0 is the innermost. */
static void walk_level(const struct walk *walk, int level, const float *in, int64_t at)
{
    if (level == 0) {
        take(walk, in, walk->dims[0], at, walk->out_steps[0]);
        return;
    }
    for (int64_t i = 0; i < walk->dims[level]; i++)
        walk_level(walk, level - 1, in + i * walk->in_steps[level], at + i * walk->out_steps[level]);
}

void replay_reduce(const struct tensor *tensor, const bool reduced[SHAPE_MAX_RANK], enum replay_reduction reduction,
                   const double *argument, double *ret)
{
    struct walk walk = {.reduction = reduction, .argument = argument, .out = ret};
    int64_t count = 1;
    for (int i = 0; i < tensor->shape.rank; i++)
        count *= reduced[i] ? 1 : tensor->shape.dims[i];
    for (int64_t i = 0; i < count; i++)
        ret[i] = reduction == REPLAY_MAX ? -(double)INFINITY : reduction == REPLAY_MIN ? (double)INFINITY : 0.0;
    walk_init(&walk, &tensor->shape, reduced);
    if (walk.rank == 0)
        take(&walk, tensor->data, 1, 0, 0);
    else
        walk_level(&walk, walk.rank - 1, tensor->data, 0);
}

struct shape replay_reduced_shape(const struct shape *shape, const bool reduced[SHAPE_MAX_RANK], bool keep)
{
    struct shape out = {.rank = 0};
    for (int i = 0; i < shape->rank; i++)
        if (!reduced[i])
            out.dims[out.rank++] = shape->dims[i];
        else if (keep)
            out.dims[out.rank++] = 1;
    return out;
}

/* A reduction of input 0 as its node asks for it, before the doubles become floats. */
struct reduced {
    bool dims[SHAPE_MAX_RANK];
    struct tensor *out;
    double *values;  /* out->count of them */
    double elements; /* that went into each */
};

static void reduced_release(struct reduced *r)
{
    tensor_free(r->out);
    free(r->values);
}

static int reduced_init(struct reduced *r, const struct replay_call *call, enum dtype dtype, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    *r = (struct reduced){.elements = 1};
    if (replay_dims(call, "dim", r->dims, err) != 0)
        return -1;
    struct shape shape = replay_reduced_shape(&x->shape, r->dims, replay_bool(call, "keepdim", false));
    for (int i = 0; i < x->shape.rank; i++)
        r->elements *= r->dims[i] ? (double)x->shape.dims[i] : 1;
    r->out = replay_new(&shape, dtype, err);
    if (!r->out)
        return -1;
    r->values = calloc((size_t)r->out->count + 1, sizeof *r->values);
    if (!r->values) {
        reduced_release(r);
        return h5pt_fail_memory(err);
    }
    return 0;
}

/* Hands the values over, each divided by `divisor`. */
static int reduced_finish(struct reduced *r, double divisor, struct tensor **ret)
{
    for (int64_t i = 0; i < r->out->count; i++)
        r->out->data[i] = (float)(r->values[i] / divisor);
    *ret = r->out;
    r->out = NULL;
    reduced_release(r);
    return 0;
}

static int needs_float(const struct replay_call *call, struct h5pt_error *err)
{
    if (dtype_is_float(call->inputs[0]->dtype))
        return 0;
    return replay_mismatch(call, err, "torch does not compute this for %s", dtype_name(call->inputs[0]->dtype));
}

int replay_SUM(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    struct reduced r;
    enum dtype dtype = call->inputs[0]->dtype;
    if (reduced_init(&r, call, dtype_is_float(dtype) ? dtype : DTYPE_I64, err) != 0)
        return -1;
    replay_reduce(call->inputs[0], r.dims, REPLAY_SUM, NULL, r.values);
    return reduced_finish(&r, 1, ret);
}

int replay_MEAN(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    struct reduced r;
    if (needs_float(call, err) != 0 || reduced_init(&r, call, call->inputs[0]->dtype, err) != 0)
        return -1;
    replay_reduce(call->inputs[0], r.dims, REPLAY_SUM, NULL, r.values);
    return reduced_finish(&r, r.elements, ret);
}

static int variance(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    struct reduced r;
    if (needs_float(call, err) != 0 || reduced_init(&r, call, call->inputs[0]->dtype, err) != 0)
        return -1;
    double *means = calloc((size_t)r.out->count + 1, sizeof *means);
    if (!means) {
        reduced_release(&r);
        return h5pt_fail_memory(err);
    }
    replay_reduce(call->inputs[0], r.dims, REPLAY_SUM, NULL, means);
    for (int64_t i = 0; i < r.out->count; i++)
        means[i] /= r.elements;
    replay_reduce(call->inputs[0], r.dims, REPLAY_SUM_DEVIATIONS, means, r.values);
    free(means);
    return reduced_finish(&r, fmax(0, r.elements - (double)replay_int(call, "correction", 1)), ret);
}

int replay_VAR(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return variance(call, ret, err);
}

int replay_STD(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    int status = variance(call, ret, err);
    for (int64_t i = 0; status == 0 && i < (*ret)->count; i++)
        (*ret)->data[i] = sqrtf((*ret)->data[i]);
    return status;
}

/* The largest, or of `sign` -1 the smallest. */
static int extreme(const struct replay_call *call, double sign, struct tensor **ret, struct h5pt_error *err)
{
    struct reduced r;
    if (reduced_init(&r, call, call->inputs[0]->dtype, err) != 0)
        return -1;
    if (r.elements == 0) {
        reduced_release(&r);
        return replay_mismatch(call, err, "there is no largest or smallest of nothing");
    }
    replay_reduce(call->inputs[0], r.dims, sign > 0 ? REPLAY_MAX : REPLAY_MIN, NULL, r.values);
    return reduced_finish(&r, 1, ret);
}

int replay_AMAX(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return extreme(call, 1, ret, err);
}

int replay_AMIN(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return extreme(call, -1, ret, err);
}

int replay_ANY(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    struct reduced r;
    if (reduced_init(&r, call, DTYPE_BOOL, err) != 0)
        return -1;
    static const double power = 1; /* a sum of magnitudes is 0 when all are; a NaN counts as true */
    replay_reduce(call->inputs[0], r.dims, REPLAY_SUM_POWERS, &power, r.values);
    int status = reduced_finish(&r, 1, ret);
    for (int64_t i = 0; status == 0 && i < (*ret)->count; i++)
        (*ret)->data[i] = (*ret)->data[i] != 0 ? 1.0f : 0.0f;
    return status;
}

int replay_ALL(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    struct reduced r;
    if (reduced_init(&r, call, DTYPE_BOOL, err) != 0)
        return -1;
    struct tensor *truth = tensor_copy(call->inputs[0]);
    if (!truth) {
        reduced_release(&r);
        return h5pt_fail_memory(err);
    }
    for (int64_t i = 0; i < truth->count; i++)
        truth->data[i] = truth->data[i] != 0 ? 1.0f : 0.0f;
    replay_reduce(truth, r.dims, REPLAY_SUM, NULL, r.values);
    tensor_free(truth);
    double elements = r.elements;
    for (int64_t i = 0; i < r.out->count; i++)
        r.values[i] = r.values[i] == elements ? 1.0 : 0.0;
    return reduced_finish(&r, 1, ret);
}
