/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic on two tensors with broadcasting, and on a tensor and a number. */
#include "torch/replay_internal.h"

#include <math.h>

/* out[i] from a[i * a_step] and b[i * b_step]; steps are 0 or 1. */
typedef void row_function(int64_t count, const float *a, int64_t a_step, const float *b, int64_t b_step, float *out);

/* The output's dims from the last to the first, merged where both inputs go on evenly. */
struct broadcast {
    int rank;
    int64_t dims[SHAPE_MAX_RANK], a_steps[SHAPE_MAX_RANK], b_steps[SHAPE_MAX_RANK], out_steps[SHAPE_MAX_RANK];
    row_function *row;
};

/* Dim i counted from the end; 1 in front of the shape. */
static int64_t dim_from_end(const struct shape *shape, int i)
{
    return i < shape->rank ? shape->dims[shape->rank - 1 - i] : 1;
}

static int broadcast_init(struct broadcast *bc, const struct replay_call *call, struct shape *out,
                          struct h5pt_error *err)
{
    const struct shape *a = &call->inputs[0]->shape, *b = &call->inputs[1]->shape;
    int64_t a_step = 1, b_step = 1, out_step = 1;
    int rank = 0;
    out->rank = a->rank > b->rank ? a->rank : b->rank;
    for (int i = 0; i < out->rank; i++) {
        int64_t a_dim = dim_from_end(a, i), b_dim = dim_from_end(b, i);
        if (a_dim != b_dim && a_dim != 1 && b_dim != 1)
            return replay_mismatch(call, err, "the shapes do not broadcast");
        int64_t dim = a_dim == 1 ? b_dim : a_dim;
        int64_t a_here = a_dim == 1 ? 0 : a_step, b_here = b_dim == 1 ? 0 : b_step;
        out->dims[out->rank - 1 - i] = dim;
        if (dim != 1 && rank > 0 && a_here == bc->a_steps[rank - 1] * bc->dims[rank - 1] &&
            b_here == bc->b_steps[rank - 1] * bc->dims[rank - 1]) {
            bc->dims[rank - 1] *= dim;
        } else if (dim != 1) {
            bc->dims[rank] = dim;
            bc->a_steps[rank] = a_here;
            bc->b_steps[rank] = b_here;
            bc->out_steps[rank++] = out_step;
        }
        a_step *= a_dim;
        b_step *= b_dim;
        out_step *= dim;
    }
    bc->rank = rank;
    return 0;
}

static void broadcast_level(const struct broadcast *bc, int level, const float *a, const float *b, float *out)
{
    if (level < 0)
        bc->row(1, a, 0, b, 0, out);
    else if (level == 0)
        bc->row(bc->dims[0], a, bc->a_steps[0], b, bc->b_steps[0], out);
    else
        for (int64_t i = 0; i < bc->dims[level]; i++)
            broadcast_level(bc, level - 1, a + i * bc->a_steps[level], b + i * bc->b_steps[level],
                            out + i * bc->out_steps[level]);
}

static int binary(const struct replay_call *call, row_function *row, enum dtype dtype, struct tensor **ret,
                  struct h5pt_error *err)
{
    struct broadcast bc = {.row = row};
    struct shape shape = {.rank = 0};
    if (broadcast_init(&bc, call, &shape, err) != 0)
        return -1;
    struct tensor *y = replay_new(&shape, dtype, err);
    if (!y)
        return -1;
    if (y->count > 0)
        broadcast_level(&bc, bc.rank - 1, call->inputs[0]->data, call->inputs[1]->data, y->data);
    *ret = y;
    return 0;
}

static enum dtype promoted(const struct replay_call *call)
{
    return replay_promote(call->inputs[0]->dtype, call->inputs[1]->dtype);
}

#define ROW(id, expression)                                                                                            \
    static void row_##id(int64_t count, const float *a, int64_t a_step, const float *b, int64_t b_step,                \
                         float *restrict out)                                                                          \
    {                                                                                                                  \
        float x = *a, y = *b;                                                                                          \
        if (a_step == 0 && b_step == 0) {                                                                              \
            for (int64_t i = 0; i < count; i++)                                                                        \
                out[i] = (expression);                                                                                 \
        } else if (a_step == 0) {                                                                                      \
            for (int64_t i = 0; i < count; i++) {                                                                      \
                y = b[i];                                                                                              \
                out[i] = (expression);                                                                                 \
            }                                                                                                          \
        } else if (b_step == 0) {                                                                                      \
            for (int64_t i = 0; i < count; i++) {                                                                      \
                x = a[i];                                                                                              \
                out[i] = (expression);                                                                                 \
            }                                                                                                          \
        } else {                                                                                                       \
            for (int64_t i = 0; i < count; i++) {                                                                      \
                x = a[i];                                                                                              \
                y = b[i];                                                                                              \
                out[i] = (expression);                                                                                 \
            }                                                                                                          \
        }                                                                                                              \
    }

#define BINARY(id, expression)                                                                                         \
    ROW(id, expression)                                                                                                \
    int replay_##id(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)                       \
    {                                                                                                                  \
        return binary(call, row_##id, promoted(call), ret, err);                                                       \
    }

BINARY(MUL, x *y)
BINARY(LOGICAL_OR, x != 0 || y != 0 ? 1.0f : 0.0f)
BINARY(LOGICAL_AND, x != 0 && y != 0 ? 1.0f : 0.0f)
/* NaN wins. */
BINARY(MAXIMUM, x > y || isnan(x) ? x : y)
BINARY(MINIMUM, x < y || isnan(x) ? x : y)
ROW(ADD, x + y)
ROW(SUB, x - y)
ROW(DIV, x / y)

/* Sums of booleans are something else in torch. */
static int sum_or_difference(const struct replay_call *call, row_function *row, struct tensor **ret,
                             struct h5pt_error *err)
{
    if (promoted(call) == DTYPE_BOOL)
        return replay_mismatch(call, err, "booleans are not added");
    return binary(call, row, promoted(call), ret, err);
}

int replay_ADD(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return sum_or_difference(call, row_ADD, ret, err);
}

int replay_SUB(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return sum_or_difference(call, row_SUB, ret, err);
}

int replay_DIV(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    enum dtype dtype = promoted(call);
    return binary(call, row_DIV, dtype_is_float(dtype) ? dtype : DTYPE_F32, ret, err);
}

/* The type of a tensor after arithmetic with the Python number `name`: the number widens only the kind. */
static enum dtype with_number(const struct replay_call *call, const char *name)
{
    enum dtype dtype = call->inputs[0]->dtype;
    const struct torch_attr *attr = torch_attr(call->node, name);
    if (attr && attr->kind == TORCH_ATTR_FLOAT)
        return dtype_is_float(dtype) ? dtype : DTYPE_F32;
    return dtype == DTYPE_BOOL ? DTYPE_I64 : dtype;
}

#define SCALAR(id, dtype, expression)                                                                                  \
    int replay_##id(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)                       \
    {                                                                                                                  \
        const float value = (float)replay_float(call, "value", 0);                                                     \
        struct tensor *out = replay_new(&call->inputs[0]->shape, dtype, err);                                          \
        if (!out)                                                                                                      \
            return -1;                                                                                                 \
        const float *in = call->inputs[0]->data;                                                                       \
        for (int64_t i = 0; i < out->count; i++) {                                                                     \
            const float x = in[i];                                                                                     \
            out->data[i] = (expression);                                                                               \
        }                                                                                                              \
        *ret = out;                                                                                                    \
        return 0;                                                                                                      \
    }

SCALAR(ADD_SCALAR, with_number(call, "value"), x + value)
SCALAR(MUL_SCALAR, with_number(call, "value"), x *value)
SCALAR(DIV_SCALAR, dtype_is_float(call->inputs[0]->dtype) ? call->inputs[0]->dtype : DTYPE_F32, x / value)
SCALAR(GREATER_SCALAR, DTYPE_BOOL, x > value ? 1.0f : 0.0f)
SCALAR(NOT_EQUAL_SCALAR, DTYPE_BOOL, x != value ? 1.0f : 0.0f)

int replay_CLAMP(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    const float min = (float)replay_float(call, "min", -INFINITY), max = (float)replay_float(call, "max", INFINITY);
    enum dtype dtype = replay_promote(with_number(call, "min"), with_number(call, "max"));
    struct tensor *y = replay_new(&x->shape, dtype, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < y->count; i++) {
        float v = x->data[i] < min ? min : x->data[i];
        y->data[i] = v > max ? max : v;
    }
    *ret = y;
    return 0;
}
