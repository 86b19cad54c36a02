/* SPDX-License-Identifier: Apache-2.0 */
/* Categories as vectors: what CategoryEncoding, Discretization and IntegerLookup do with the indices that they have or find,
 * and what the parity check needs to know about the numbers that these layers look up. */
#ifndef H5PT_LAYERS_ENCODING_H
#define H5PT_LAYERS_ENCODING_H

#include "layers/layer.h"
#include "layers/lower.h"

enum encoding_mode {
    ENCODING_INT,       /* the index itself */
    ENCODING_ONE_HOT,   /* a vector for each index; a last axis of size 1 goes */
    ENCODING_MULTI_HOT, /* one for the indices along axis 1: where any of them is */
    ENCODING_COUNT,     /* how many of them are there, weighted when weights are given */
};

struct encoding {
    enum encoding_mode mode;
    int64_t depth;   /* of the vectors; indices outside 0 … depth - 1 have none */
    enum dtype ints; /* of ENCODING_INT */
};

/* "output_mode", where "binary" is an old name of multi_hot, and "sparse", which is refused. */
enum encoding_mode encoding_read_mode(struct config_reader *reader, enum encoding_mode absent);
/* Output 0 for indices shaped like input 0. */
int encoding_shape(struct layer_shape *s, const struct encoding *encoding);
/* Output 0 from indices of input 0's shape; `weights`: a number for each index, or NULL. */
void encoding_reference(const struct layer_run *run, const struct encoding *encoding, const float *indices,
                        const float *weights);
/* The nodes; `indices` in Keras' order, int64; `weights` too, float32, id -1: none. */
struct lowered encoding_lower(struct lowering *l, const struct keras_call *call, const struct encoding *encoding,
                              struct lowered indices, struct lowered weights);

/* The categories that an encoding layer tells apart: how many indices a CategoryEncoding takes (returned, *ret_tokens NULL), or
 * the numbers that an IntegerLookup knows. 0: another layer. */
int64_t encoding_categories(const struct keras_layer *layer, const float **ret_tokens);

#endif
