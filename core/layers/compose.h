/* SPDX-License-Identifier: Apache-2.0 */
/* Small compositions of torch nodes that several families of layers use. All of them keep the layout of x. */
#ifndef H5PT_LAYERS_COMPOSE_H
#define H5PT_LAYERS_COMPOSE_H

#include "layers/lower.h"

/* x op value, for ADD_SCALAR, MUL_SCALAR, DIV_SCALAR … */
struct lowered lower_scalar(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                            double value);
/* x limited to minimum…maximum; -INFINITY and INFINITY leave that side open. */
struct lowered lower_clamp(struct lowering *l, const struct keras_call *call, struct lowered x, double minimum,
                           double maximum);
/* SUM, MEAN, AMAX or VAR (population variance) over Keras axes, which keep size 1. A flat layout counts as one axis. */
struct lowered lower_reduce(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                            int count, const int *axes);
/* F.normalize over one Keras axis: x / max(l2 norm, eps). */
struct lowered lower_normalize(struct lowering *l, const struct keras_call *call, struct lowered x, int axis,
                               double eps);
/* x as this type; nothing is added when it has it. */
struct lowered lower_cast(struct lowering *l, const struct keras_call *call, struct lowered x, enum dtype dtype);
/* torch.where(condition, x, otherwise); with an x of id -1: torch.where(condition, 0, otherwise). */
struct lowered lower_where_number(struct lowering *l, const struct keras_call *call, struct lowered condition,
                                  struct lowered x, double otherwise);
/* x with an axis of size 1 before torch axis `dim`; the result counts as Keras order. */
struct lowered lower_unsqueeze(struct lowering *l, const struct keras_call *call, struct lowered x, int dim);
/* x in the type that the layer computes in. */
struct lowered lower_float(struct lowering *l, const struct keras_call *call, struct lowered x);

/* The weight `slot`, read inside forward, shaped to broadcast against values in `layout`: its elements viewed as `shape` (of
 * Keras order and of the layout's rank), then transposed. */
struct lowered lower_weight_value(struct lowering *l, const struct keras_call *call, const char *slot,
                                  const struct shape *shape, const struct layout *layout);
/* The same for numbers that the configuration holds: a buffer with this name. */
struct lowered lower_constant_value(struct lowering *l, const struct keras_call *call, const char *name,
                                    const struct shape *shape, const struct layout *layout, const float *values);

/* Whole numbers (below 2^24) that the configuration holds: an int64 buffer with this name. */
struct lowered lower_constant_ids(struct lowering *l, const struct keras_call *call, const char *name,
                                  const struct shape *shape, const float *values);
/* torch.cat along the torch dim `dim`, all in the layout of the first. */
struct lowered lower_cat(struct lowering *l, const struct keras_call *call, int count, const struct lowered *x,
                         int dim);
/* torch.einsum of values in Keras order. */
struct lowered lower_einsum(struct lowering *l, const struct keras_call *call, const char *equation, struct lowered x,
                            struct lowered y, struct shape shape, enum dtype dtype);
/* nn.Linear `module` over the last axis of x: its weight (outputs, inputs) from slot `kernel` rearranged so, its bias from slot `bias`,
 * whatever the shape of that (NULL: none). The result is in Keras order. */
struct lowered lower_linear_module(struct lowering *l, const struct keras_call *call, const char *module,
                                   struct lowered x, const char *kernel, const struct rearrangement *weight,
                                   const char *bias);

/* A constant vector for a module's parameter that Keras does not have: 1 for weight, 0 for bias. */
int lower_fill(struct lowering *l, const struct keras_call *call, const char *module, const char *name,
               const struct shape *shape, float value);

/* The shortest decimal number that is the same float32, when `value` is a float32 that was widened (0.10000000149011612 → 0.1);
 * else `value`. */
double tidy_float(double value);

#endif
