/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic on two tensors with broadcasting, and on a tensor and a number. */
#include "torch/replay_internal.h"

#include <math.h>
#include <stdlib.h>

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

#define COMPARISON(id, expression)                                                                                     \
    ROW(id, (expression) ? 1.0f : 0.0f)                                                                                \
    int replay_##id(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)                       \
    {                                                                                                                  \
        return binary(call, row_##id, DTYPE_BOOL, ret, err);                                                           \
    }

/* Both as in Python: the sign of the remainder is that of y. */
static inline float floor_mod(float x, float y)
{
    float r = fmodf(x, y);
    return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}

static inline float floor_divide(float x, float y)
{
    return y == 0 ? x / y : roundf((x - floor_mod(x, y)) / y);
}

static inline int64_t common_divisor(float x, float y)
{
    int64_t a = llabs((int64_t)x), b = llabs((int64_t)y);
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

BINARY(MUL, x *y)
BINARY(LOGICAL_OR, x != 0 || y != 0 ? 1.0f : 0.0f)
BINARY(LOGICAL_AND, x != 0 && y != 0 ? 1.0f : 0.0f)
/* NaN wins. */
BINARY(MAXIMUM, x > y || isnan(x) ? x : y)
BINARY(MINIMUM, x < y || isnan(x) ? x : y)
BINARY(POW, powf(x, y))
BINARY(REMAINDER, floor_mod(x, y))
BINARY(FLOOR_DIVIDE, floor_divide(x, y))
BINARY(FMOD, fmodf(x, y))
BINARY(FMAX, fmaxf(x, y))
BINARY(FMIN, fminf(x, y))
BINARY(HYPOT, hypotf(x, y))
BINARY(HEAVISIDE, isnan(x) ? x : x<0 ? 0.0f : x> 0 ? 1.0f : y)
BINARY(LOGADDEXP, (x > y ? x : y) + log1pf(expf(-fabsf(x - y))))
BINARY(LOGADDEXP2, (x > y ? x : y) + log1pf(exp2f(-fabsf(x - y))) * 1.44269504088896341f)
BINARY(LOGICAL_XOR, (x != 0) != (y != 0) ? 1.0f : 0.0f)
BINARY(BITWISE_AND, (float)((int64_t)x &(int64_t)y))
BINARY(BITWISE_LEFT_SHIFT, ldexpf(x, (int)y))
BINARY(BITWISE_RIGHT_SHIFT, floorf(ldexpf(x, -(int)y)))
BINARY(GCD, (float)common_divisor(x, y))
BINARY(LCM, x == 0 || y == 0 ? 0.0f : fabsf(x) / (float)common_divisor(x, y) * fabsf(y))
BINARY(BITWISE_OR, (float)((int64_t)x | (int64_t)y))
BINARY(BITWISE_XOR, (float)((int64_t)x ^ (int64_t)y))
COMPARISON(EQUAL, x == y)
COMPARISON(NOT_EQUAL, x != y)
COMPARISON(GREATER, x > y)
COMPARISON(GREATER_EQUAL, x >= y)
COMPARISON(LESS, x < y)
COMPARISON(LESS_EQUAL, x <= y)
ROW(ATAN2, atan2f(x, y))
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

int replay_ATAN2(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    enum dtype dtype = promoted(call);
    return binary(call, row_ATAN2, dtype_is_float(dtype) ? dtype : DTYPE_F32, ret, err);
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

/* x is the tensor and y the number; the other way round when the node is `reflected`. */
#define SCALAR(id, dtype, expression)                                                                                  \
    int replay_##id(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)                       \
    {                                                                                                                  \
        const float value = (float)replay_float(call, "value", 0);                                                     \
        const bool reflected = replay_bool(call, "reflected", false);                                                  \
        struct tensor *out = replay_new(&call->inputs[0]->shape, dtype, err);                                          \
        if (!out)                                                                                                      \
            return -1;                                                                                                 \
        const float *in = call->inputs[0]->data;                                                                       \
        for (int64_t i = 0; i < out->count; i++) {                                                                     \
            const float x = reflected ? value : in[i], y = reflected ? in[i] : value;                                  \
            out->data[i] = (expression);                                                                               \
        }                                                                                                              \
        *ret = out;                                                                                                    \
        return 0;                                                                                                      \
    }

SCALAR(ADD_SCALAR, with_number(call, "value"), x + y)
SCALAR(SUB_SCALAR, with_number(call, "value"), x - y)
SCALAR(MUL_SCALAR, with_number(call, "value"), x *y)
SCALAR(DIV_SCALAR, dtype_is_float(call->inputs[0]->dtype) ? call->inputs[0]->dtype : DTYPE_F32, x / y)
SCALAR(POW_SCALAR, with_number(call, "value"), powf(x, y))
SCALAR(REMAINDER_SCALAR, with_number(call, "value"), floor_mod(x, y))
SCALAR(FLOOR_DIVIDE_SCALAR, with_number(call, "value"), floor_divide(x, y))
SCALAR(EQUAL_SCALAR, DTYPE_BOOL, x == y ? 1.0f : 0.0f)
SCALAR(NOT_EQUAL_SCALAR, DTYPE_BOOL, x != y ? 1.0f : 0.0f)
SCALAR(GREATER_SCALAR, DTYPE_BOOL, x > y ? 1.0f : 0.0f)
SCALAR(GREATER_EQUAL_SCALAR, DTYPE_BOOL, x >= y ? 1.0f : 0.0f)
SCALAR(LESS_SCALAR, DTYPE_BOOL, x < y ? 1.0f : 0.0f)
SCALAR(LESS_EQUAL_SCALAR, DTYPE_BOOL, x <= y ? 1.0f : 0.0f)

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
