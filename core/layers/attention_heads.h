/* SPDX-License-Identifier: Apache-2.0 */
/* MultiHeadAttention and GroupedQueryAttention: what reading, reference and lowering share. Private to attention_heads*.c. */
#ifndef H5PT_LAYERS_ATTENTION_HEADS_H
#define H5PT_LAYERS_ATTENTION_HEADS_H

#include "layers/attention.h"
#include "layers/axes.h"

struct heads_config {
    bool grouped; /* GroupedQueryAttention */
    int64_t heads, key_heads, key_dim, value_dim;
    bool use_bias, use_gate;
    bool has_axes;
    struct axis_list axes; /* that steps run along; else all but batch and features */
    int output_rank;       /* dims of the features of the result; 0: as many as the query has */
    int64_t output_dims[SHAPE_MAX_RANK];
    int64_t window;
    bool dropout;
    bool keras3;
};

/* A call with its inputs, and the axes of query, key and value, which have equal rank. */
struct heads_call {
    int query, value, key; /* inputs */
    bool scores;           /* they are the second output */
    struct attention_masks masks;
    enum attention_hiding hiding;
    int rank;
    int step_count,
        other_count; /* axes that steps run along, in order; the ones between batch and features that they do not */
    int steps[SHAPE_MAX_RANK], others[SHAPE_MAX_RANK];
};

/* From the arguments of a call whose query has this rank. False when the axes or the tensors are not there. */
bool heads_call_read(const struct heads_config *c, const json_t *arguments, const int *mask_of, int rank,
                     struct heads_call *ret);
/* The order of the axes in which heads work, for a value of (batch, axes of the inputs …, heads, features), into
 * `axes`: batch, others, heads, steps, features. */
void heads_order(const struct heads_call *h, int axes[SHAPE_MAX_RANK]);
/* The input that is the query of a call, for its rank; -1: there is none. */
int heads_query(const json_t *arguments);

int heads_lower(struct lowering *l, const struct keras_call *call);

#endif
