/* SPDX-License-Identifier: Apache-2.0 */
/* Recurrent layers: LSTM, GRU, SimpleRNN, and Bidirectional over one of them. They become nn.LSTM, nn.GRU and nn.RNN, which
 * express them exactly for the usual activations (tanh and sigmoid) and, for GRU, reset_after; anything else is refused.
 * Source: keras/src/layers/rnn. */
#ifndef H5PT_LAYERS_RECURRENT_H
#define H5PT_LAYERS_RECURRENT_H

#include "layers/layer.h"
#include "layers/lower.h"

enum recurrent_cell { RECURRENT_LSTM, RECURRENT_GRU, RECURRENT_SIMPLE };

enum recurrent_merge { RECURRENT_CONCAT, RECURRENT_SUM, RECURRENT_MUL, RECURRENT_AVE, RECURRENT_LISTED };

struct recurrent_config {
    enum recurrent_cell cell;
    int64_t units;
    bool use_bias, return_sequences, return_state, go_backwards;
    bool relu; /* SimpleRNN: relu instead of tanh */
    bool bidirectional;
    enum recurrent_merge merge;
};

/* Gates of the cell (4, 3, 1) and states (2, 1, 1). */
int recurrent_gates(enum recurrent_cell cell);
int recurrent_states(enum recurrent_cell cell);

/* The computation (recurrent_reference.c) and the lowering (recurrent_lower.c). */
int recurrent_reference(const struct layer_run *run);
int recurrent_lower(struct lowering *l, const struct keras_call *call);

#endif
