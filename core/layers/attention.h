/* SPDX-License-Identifier: Apache-2.0 */
/* What the attention layers share: who may look at whom, and what becomes of the scores of those that may not. Scores are
 * (batch, heads …, T, S): T steps of the query look at S steps of key and value. */
#ifndef H5PT_LAYERS_ATTENTION_H
#define H5PT_LAYERS_ATTENTION_H

#include "layers/layer.h"
#include "layers/lower.h"

/* What hides steps: inputs of the call (-1: none), and what the layer itself hides. */
struct attention_masks {
    int query, value, key; /* (batch, steps), of bool */
    int pairs;             /* (batch, T, S) or (batch, heads, T, S) */
    bool causal;           /* a step looks at itself and what is before it */
    int64_t window;        /* it looks less than this many steps in either direction; 0: anywhere */
};

/* What Keras does to the scores of hidden steps. They differ for a step that may look at none. */
enum attention_hiding {
    ATTENTION_ADD,     /* 1e9 is taken from them */
    ATTENTION_REPLACE, /* they become the least number, or nearly so */
    ATTENTION_ZERO,    /* they become -1e9, and their weights are set to zero */
};

/* The inputs as masks: bool, and (batch, steps) where steps are those of axis 1 of the tensor that they belong to. SHAPE_MISMATCH
 * or UNSUPPORTED_DTYPE, -1. `scores`: rank of the scores. */
int attention_check_masks(struct layer_shape *s, const struct attention_masks *masks, int scores);
bool attention_hides(const struct attention_masks *masks);

/* For every pair of steps whether it counts, in *ret (owned by the caller): (batch, heads, T, S), where *ret_heads is 1 when all
 * heads are alike. NULL in *ret when nothing is hidden. */
int attention_kept(const struct layer_run *run, const struct attention_masks *masks, int64_t batch, int64_t t,
                   int64_t s, bool **ret, int64_t *ret_heads);
/* Scores to weights, in place, for one batch entry and head. `kept` is NULL or t x s. */
void attention_weigh(float *scores, int64_t t, int64_t s, const bool *kept, enum attention_hiding hiding);
/* x (rows, in) times a matrix (in, out) plus a bias, which may be NULL. LIMIT_EXCEEDED when a side does not fit BLAS. */
int attention_project(const struct layer_run *run, const float *x, int64_t rows, const struct tensor *kernel,
                      const struct tensor *bias, int64_t in, int64_t out, float *y);

/* Query, key and value as torch values (…, steps, features) of equal rank. */
struct attention_operands {
    struct lowered query, key, value;
    double scale;                                /* of the products */
    struct lowered steps_of_query, steps_of_key; /* (batch, steps, …): where a band mask reads the sizes */
};

/* Values … weighed; *ret_weights, unless NULL, is set to the weights, which costs the fused operation. With `scores` (id >= 0)
 * these are taken for the products. */
struct lowered attention_lower(struct lowering *l, const struct keras_call *call, const struct attention_operands *o,
                               const struct attention_masks *masks, enum attention_hiding hiding, struct lowered scores,
                               struct lowered *ret_weights);
/* x with its axes in this order; the result counts as Keras order. */
struct lowered attention_permute(struct lowering *l, const struct keras_call *call, struct lowered x, const int *axes);

#endif
