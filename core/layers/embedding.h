/* SPDX-License-Identifier: Apache-2.0 */
/* What Embedding and ReversibleEmbedding share, and what others need to know of them: their output may carry a mask, and their
 * input holds ids below a limit. */
#ifndef H5PT_LAYERS_EMBEDDING_H
#define H5PT_LAYERS_EMBEDDING_H

#include <stdbool.h>
#include <stdint.h>

#include "layers/layer.h"
#include "layers/lower.h"

/* The typed configuration of Embedding, and the start of that of ReversibleEmbedding. */
struct embedding_config {
    int64_t input_dim, output_dim;
    bool mask_zero;
};

/* Whether the output of this call carries the mask ids != 0. */
bool embedding_masks(const struct keras_call *call);
/* The number of ids when this call looks ids up, else 0. */
int64_t embedding_ids(const struct keras_call *call);

/* Reads input_dim, output_dim and mask_zero. */
void embedding_read_table(struct config_reader *reader, struct embedding_config *c);
/* The reference of a look-up: rows of weight 0. */
int embedding_look_up(const struct layer_run *run);
/* Input 0 as whole numbers. */
struct lowered embedding_lower_ids(struct lowering *l, const struct keras_call *call);

#endif
