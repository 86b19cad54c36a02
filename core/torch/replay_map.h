/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of one element: MAP defines replay_<id> from an expression of x. Private to replay_activation.c and replay_unary.c. */
#ifndef H5PT_TORCH_REPLAY_MAP_H
#define H5PT_TORCH_REPLAY_MAP_H

#include "torch/replay_internal.h"

static inline enum dtype float_of(enum dtype dtype)
{
    return dtype_is_float(dtype) ? dtype : DTYPE_F32;
}

static inline enum dtype same(enum dtype dtype)
{
    return dtype;
}

/* The kernel that gives `expression` of x, where a and b are the attributes named (or their defaults). */
#define MAP(id, result, a_name, a_default, b_name, b_default, expression)                                              \
    int replay_##id(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)                       \
    {                                                                                                                  \
        const float a = (float)replay_float(call, a_name, a_default);                                                  \
        const float b = (float)replay_float(call, b_name, b_default);                                                  \
        struct tensor *out = replay_new(&call->inputs[0]->shape, result(call->inputs[0]->dtype), err);                 \
        if (!out)                                                                                                      \
            return -1;                                                                                                 \
        const float *in = call->inputs[0]->data;                                                                       \
        for (int64_t i = 0; i < out->count; i++) {                                                                     \
            const float x = in[i];                                                                                     \
            out->data[i] = (expression);                                                                               \
        }                                                                                                              \
        (void)a;                                                                                                       \
        (void)b;                                                                                                       \
        *ret = out;                                                                                                    \
        return 0;                                                                                                      \
    }
#define MAP0(id, result, expression) MAP(id, result, "", 0, "", 0, expression)
#define MAP1(id, result, a_name, a_default, expression) MAP(id, result, a_name, a_default, "", 0, expression)

#endif
