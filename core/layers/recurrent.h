/* SPDX-License-Identifier: Apache-2.0 */
/* Recurrent layers: LSTM, GRU, SimpleRNN, their CuDNN forms, RNN over cells, ConvLSTM1D/2D/3D, and Bidirectional over any of
 * them. All have one configuration: one or two directions, each a list of cells that run one after the other over the whole
 * sequence (which is what stacked cells compute).
 *
 * Where nn.LSTM, nn.GRU and nn.RNN compute the same they are used; what torch has no module for (a mask, hard_sigmoid, GRU
 * with reset_after=False, ConvLSTM) becomes a small module that model.py brings along: LSTMLoop, GRULoop, RNNLoop,
 * ConvLSTMLoop. Source: keras/src/layers/rnn. */
#ifndef H5PT_LAYERS_RECURRENT_H
#define H5PT_LAYERS_RECURRENT_H

#include "layers/activation.h"
#include "layers/conv.h"
#include "layers/layer.h"
#include "layers/lower.h"

enum recurrent_cell { RECURRENT_LSTM, RECURRENT_GRU, RECURRENT_SIMPLE, RECURRENT_CONV_LSTM };

enum recurrent_merge { RECURRENT_CONCAT, RECURRENT_SUM, RECURRENT_MUL, RECURRENT_AVE, RECURRENT_LISTED };

enum { RECURRENT_MAX_CELLS = 8 };

struct recurrent_cell_config {
    enum recurrent_cell kind;
    int64_t units; /* filters of a ConvLSTM */
    bool use_bias;
    bool reset_after; /* GRU: the state is reset after its matrix product, which has a bias of its own */
    bool cudnn;       /* weights as CuDNN has them: two biases, blocks of kernels transposed */
    struct activation activation, recurrent_activation;
    const char *kernel, *recurrent_kernel, *bias; /* slots */
};

struct recurrent_direction {
    int cell_count; /* 1 but for RNN([cells]) */
    struct recurrent_cell_config cells[RECURRENT_MAX_CELLS];
    struct conv_config conv; /* of the input, for RECURRENT_CONV_LSTM; without bias and activation */
    bool return_sequences, return_state, stateful, unroll, time_major;
    bool go_backwards;        /* outputs stay in the order in which they were computed */
    bool state_order_unknown; /* of stacked cells, in inputs and outputs */
    bool pad_front;   /* ConvLSTM: an even kernel over the state has its odd cell of padding in front (Theano) */
    bool zero_output; /* masked steps give zeros instead of the output before */
};

struct recurrent_config {
    int direction_count; /* 2: Bidirectional; the outputs of the second are brought back into the order of the first's input */
    struct recurrent_direction directions[2];
    enum recurrent_merge merge;
    /* Keras 2 on TensorFlow: before the first valid step a masked step gives the first state, not zeros. */
    bool first_output_is_state;
    /* Keras 3: when first states are given the mask that x carries is not looked at, only one that is an argument. */
    bool states_hide_mask;
};

/* Gates of a cell (4, 3, 1, 4) and its states (2, 1, 1, 2). */
int recurrent_gates(enum recurrent_cell kind);
int recurrent_states(enum recurrent_cell kind);
/* States of all cells of a direction. */
int recurrent_state_count(const struct recurrent_direction *direction);
/* Where the states of a cell are among those of its direction. */
int recurrent_first_state(const struct recurrent_direction *direction, int cell);
bool recurrent_is_convolutional(const struct recurrent_config *config);
/* Keras zeroes the outputs of masked steps of an unrolled sequence afterwards; when it goes backwards, those of the steps that
 * stand where masked ones would stand if it did not. True for that case. */
bool recurrent_zeroes_late(const struct recurrent_direction *direction);
/* How many of the cell's weights there are (2 or 3). */
int recurrent_weight_count(const struct recurrent_cell_config *cell);

/* Which inputs of a call are what. */
enum { RECURRENT_MAX_STATES = 2 * 2 * RECURRENT_MAX_CELLS };
struct recurrent_inputs {
    int x, mask;     /* mask -1: none */
    int state_count; /* 0, or the first states of all cells: of the first direction, then of the second */
    int states[RECURRENT_MAX_STATES];
};
/* Sorts the inputs of a call of a layer with this configuration. Returns NULL, or what is wrong: the name of an argument that is not supported. */
const char *recurrent_sort_inputs(const struct recurrent_config *config, const json_t *arguments, const int *mask_of,
                                  struct recurrent_inputs *ret);

/* Reading (recurrent_read.c), the computation (recurrent_reference.c) and the lowering (recurrent_lower.c). */
void recurrent_read(struct config_reader *reader, void *config, int variant);
int recurrent_reference(const struct layer_run *run);
int recurrent_lower(struct lowering *l, const struct keras_call *call);

/* ---- lowering: parameters of a cell (recurrent_weights.c) ---- */
/* Whether torch's own module computes what the cell does (without a mask). */
bool recurrent_is_torch(const struct recurrent_cell_config *cell);
/* Parameters of nn.LSTM, nn.GRU or nn.RNN; the reverse direction has names of its own. Returns how many (2 or 4). */
int recurrent_torch_parameters(struct lowering *l, const struct keras_call *call, const char *module,
                               const struct recurrent_cell_config *cell, bool reverse, int parameters[4]);
/* Parameters of a loop: weight_ih (not of a ConvLSTM), weight_hh, bias (not of a ConvLSTM), and for reset_after bias_hh. */
int recurrent_loop_parameters(struct lowering *l, const struct keras_call *call, const char *module,
                              const struct recurrent_cell_config *cell, int parameters[4]);
/* The activation as torch writes it, "torch.tanh", for a loop's attribute; NULL when there is no such function. */
const char *recurrent_function(const struct activation *activation);

#endif
