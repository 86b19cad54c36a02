/* SPDX-License-Identifier: Apache-2.0 */
/* nn.LSTM, nn.GRU and nn.RNN. */
#include "aten/aten.h"

#include <string.h>

enum { MAX_PARAMETERS = 8 }; /* two directions of two weights and two biases */

/* The first states: given as further inputs, or zero. */
static int first_state(struct aten_builder *b, const struct torch_node *node, int index, struct aten_shape shape)
{
    return node->input_count > 1 ? aten_input(b, node, 1 + index) : aten_full(b, aten_input(b, node, 0), shape, 0);
}

/* Emits the call; its outputs are the sequence and `state_count` last states. */
static int recurrent(struct aten_builder *b, const struct torch_node *node, const char *op, int state_count)
{
    int x = aten_input(b, node, 0), parameters[MAX_PARAMETERS], states[2];
    bool both_ways = aten_attr_flag(node, "bidirectional", false);
    bool batch_first = aten_attr_flag(node, "batch_first", false), bias = aten_attr_flag(node, "bias", true);
    int64_t directions = both_ways ? 2 : 1, units = torch_attr_int(node, "hidden_size");
    if (node->parameter_count > MAX_PARAMETERS)
        return aten_refuse(b, "a recurrent module with %d parameters", node->parameter_count);
    for (int i = 0; i < node->parameter_count; i++)
        parameters[i] = aten_parameter(b, node, i);
    const struct aten_shape state = {
        .rank = 3, .dims = {aten_int(b, directions), aten_size(b, x, batch_first ? 0 : 1), aten_int(b, units)}};
    for (int i = 0; i < state_count; i++)
        states[i] = first_state(b, node, i, state);
    const struct aten_meta last = {.shape = state, .dtype = aten_dtype_of(b, x)};
    const struct aten_meta outputs[3] = {
        {.shape = aten_replaced(b, x, 2, aten_int(b, directions * units)), .dtype = last.dtype}, last, last};
    int y = aten_emit_many(b, op, false, 1 + state_count, outputs,
                           ATEN_ARGS(aten_tensor("input", x),
                                     state_count == 2 ? aten_tensors("hx", 2, states) : aten_tensor("hx", states[0]),
                                     aten_tensors("params", node->parameter_count, parameters),
                                     aten_flag("has_biases", bias), aten_integer("num_layers", 1),
                                     aten_real("dropout", 0), aten_training("train"),
                                     aten_flag("bidirectional", both_ways), aten_flag("batch_first", batch_first)));
    for (int i = 1; i <= state_count; i++)
        aten_set_output(b, node, i, y + i);
    return y;
}

int aten_LSTM(struct aten_builder *b, const struct torch_node *node)
{
    return recurrent(b, node, "lstm.input", 2);
}

int aten_GRU(struct aten_builder *b, const struct torch_node *node)
{
    return recurrent(b, node, "gru.input", 1);
}

int aten_RNN(struct aten_builder *b, const struct torch_node *node)
{
    const struct torch_attr *nonlinearity = torch_attr(node, "nonlinearity");
    bool relu = nonlinearity && strcmp(nonlinearity->text, "relu") == 0;
    return recurrent(b, node, relu ? "rnn_relu.input" : "rnn_tanh.input", 1);
}
