/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products and look-ups. */
#include "torch/replay_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* The matrix of a module, or of a function, which has it as its second input; NULL when it is none. */
static const struct tensor *weight_of(const struct replay_call *call)
{
    const struct tensor *weight = call->node->input_count > 1       ? call->inputs[1]
                                  : call->node->parameter_count > 0 ? call->parameters[0]
                                                                    : NULL;
    return weight && weight->shape.rank == 2 ? weight : NULL;
}

int replay_LINEAR(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    bool function = call->node->input_count > 1, bias = !function && replay_bool(call, "bias", true);
    const struct tensor *weight = weight_of(call);
    if (call->node->parameter_count != !function + bias || !weight || x->shape.rank < 1)
        return replay_mismatch(call, err, "it takes a matrix%s", bias ? " and a bias" : "");
    int64_t out = weight->shape.dims[0], in = weight->shape.dims[1];
    if (x->shape.dims[x->shape.rank - 1] != in)
        return replay_mismatch(call, err, "the last dim should be %" PRId64, in);
    if (bias && call->parameters[1]->count != out)
        return replay_mismatch(call, err, "the bias should have %" PRId64 " elements", out);
    struct shape shape = x->shape;
    shape.dims[shape.rank - 1] = out;
    struct tensor *y = replay_new(&shape, DTYPE_F32, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < y->count; i += out)
        for (int64_t j = 0; j < out; j++)
            y->data[i + j] = bias ? call->parameters[1]->data[j] : 0.0f;
    struct replay_gemm gemm = {.transpose_b = true,
                               .m = out ? y->count / out : 0,
                               .n = out,
                               .k = in,
                               .a = x->data,
                               .a_row = in,
                               .b = weight->data,
                               .b_row = in,
                               .c = y->data,
                               .c_row = out,
                               .beta = 1.0f};
    if (replay_gemm(call, &gemm, err) != 0) {
        tensor_free(y);
        return -1;
    }
    *ret = y;
    return 0;
}

int replay_EMBEDDING(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    const struct tensor *weight = weight_of(call);
    if (!weight)
        return replay_mismatch(call, err, "it takes a matrix");
    if (x->shape.rank == SHAPE_MAX_RANK)
        return replay_mismatch(call, err, "more than %d dims are not supported", SHAPE_MAX_RANK);
    int64_t rows = weight->shape.dims[0], width = weight->shape.dims[1];
    struct shape shape = x->shape;
    shape.dims[shape.rank++] = width;
    struct tensor *y = replay_new(&shape, weight->dtype, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < x->count; i++) {
        float id = x->data[i];
        if (!(id >= 0 && id < (float)rows) || truncf(id) != id || (int64_t)id >= rows) {
            tensor_free(y);
            return replay_mismatch(call, err, "there is no row %g among %" PRId64, (double)id, rows);
        }
        memcpy(y->data + i * width, weight->data + (int64_t)id * width, (size_t)width * sizeof(float));
    }
    *ret = y;
    return 0;
}

/* A stack of matrix products; `a_batch` and `b_batch` are the steps of the batch dims, 0 where broadcast. */
struct products {
    const struct replay_call *call;
    int rank; /* of the batch */
    const int64_t *dims, *a_batch, *b_batch;
    int64_t m, n, k;
};

static int multiply(const struct products *p, int level, const float *a, const float *b, float **c,
                    struct h5pt_error *err)
{
    if (level == p->rank) {
        struct replay_gemm gemm = {
            .m = p->m, .n = p->n, .k = p->k, .a = a, .a_row = p->k, .b = b, .b_row = p->n, .c = *c, .c_row = p->n};
        *c += p->m * p->n;
        return replay_gemm(p->call, &gemm, err);
    }
    for (int64_t i = 0; i < p->dims[level]; i++)
        if (multiply(p, level + 1, a + i * p->a_batch[level], b + i * p->b_batch[level], c, err) != 0)
            return -1;
    return 0;
}

/* Zeroes for an empty sum: BLAS is told so only when k > 0. */
static struct tensor *product_output(const struct shape *shape, enum dtype dtype, struct h5pt_error *err)
{
    struct tensor *y = replay_new(shape, dtype, err);
    if (y)
        memset(y->data, 0, (size_t)y->count * sizeof *y->data);
    return y;
}

/* With a dim of 1 in front of (a) or behind (b) a vector, and 1s in front so that both ranks are equal. */
static struct shape as_matrices(const struct shape *shape, bool is_b, int rank)
{
    struct shape s = {.rank = rank}, own = *shape;
    if (own.rank == 1) {
        own = is_b ? (struct shape){.rank = 2, .dims = {shape->dims[0], 1}}
                   : (struct shape){.rank = 2, .dims = {1, shape->dims[0]}};
    }
    for (int i = 0; i < rank; i++)
        s.dims[i] = i < rank - own.rank ? 1 : own.dims[i - rank + own.rank];
    return s;
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

int replay_MATMUL(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *ta = call->inputs[0], *tb = call->inputs[1];
    if (ta->shape.rank < 1 || tb->shape.rank < 1)
        return replay_mismatch(call, err, "it takes no scalars");
    int rank = larger(2, larger(ta->shape.rank, tb->shape.rank));
    struct shape a = as_matrices(&ta->shape, false, rank), b = as_matrices(&tb->shape, true, rank), full = a;
    int64_t a_steps[SHAPE_MAX_RANK], b_steps[SHAPE_MAX_RANK];
    replay_strides(&a, a_steps);
    replay_strides(&b, b_steps);
    if (a.dims[rank - 1] != b.dims[rank - 2])
        return replay_mismatch(call, err, "the inner dims differ");
    for (int i = 0; i < rank - 2; i++) {
        if (a.dims[i] != b.dims[i] && a.dims[i] != 1 && b.dims[i] != 1)
            return replay_mismatch(call, err, "the batch dims do not broadcast");
        full.dims[i] = a.dims[i] == 1 ? b.dims[i] : a.dims[i];
        a_steps[i] = a.dims[i] == 1 ? 0 : a_steps[i];
        b_steps[i] = b.dims[i] == 1 ? 0 : b_steps[i];
    }
    full.dims[rank - 1] = b.dims[rank - 1];
    struct tensor *y = product_output(&full, replay_promote(ta->dtype, tb->dtype), err);
    if (!y)
        return -1;
    struct products p = {.call = call,
                         .rank = rank - 2,
                         .dims = full.dims,
                         .a_batch = a_steps,
                         .b_batch = b_steps,
                         .m = a.dims[rank - 2],
                         .n = b.dims[rank - 1],
                         .k = a.dims[rank - 1]};
    float *c = y->data;
    if (y->count > 0 && multiply(&p, 0, ta->data, tb->data, &c, err) != 0) {
        tensor_free(y);
        return -1;
    }
    bool dropped[SHAPE_MAX_RANK] = {false};
    dropped[rank - 2] = ta->shape.rank == 1;
    dropped[rank - 1] = tb->shape.rank == 1;
    y->shape = replay_reduced_shape(&full, dropped, false);
    *ret = y;
    return 0;
}
