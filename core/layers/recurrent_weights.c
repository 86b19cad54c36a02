/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of recurrent cells as parameters of torch. Keras keeps kernels as (inputs, gates x units), torch as the transpose;
 * Keras' GRU has its gates as z, r, h, torch as r, z, n; Keras has one bias but for GRU with reset_after, torch two. Keras
 * keeps CuDNN's weights as CuDNN has them, (units, inputs) a gate, under another shape. */
#include <math.h>
#include <string.h>

#include "layers/recurrent.h"

/* ---- activations ---- */

/* As torch calls them; names without a dot are functions that model.py brings along. */
static const char *const functions[ACTIVATION_COUNT] = {
    [ACTIVATION_LINEAR] = "linear",
    [ACTIVATION_RELU6] = "F.relu6",
    [ACTIVATION_SELU] = "F.selu",
    [ACTIVATION_GELU] = "F.gelu",
    [ACTIVATION_SILU] = "F.silu",
    [ACTIVATION_MISH] = "F.mish",
    [ACTIVATION_SIGMOID] = "torch.sigmoid",
    [ACTIVATION_TANH] = "torch.tanh",
    [ACTIVATION_SOFTPLUS] = "F.softplus",
    [ACTIVATION_SOFTSIGN] = "F.softsign",
    [ACTIVATION_EXPONENTIAL] = "torch.exp",
    [ACTIVATION_SOFTMAX] = "softmax",
    [ACTIVATION_LOG_SIGMOID] = "F.logsigmoid",
    [ACTIVATION_HARD_SIGMOID] = "F.hardsigmoid",
    [ACTIVATION_HARD_SIGMOID_LEGACY] = "hard_sigmoid",
    [ACTIVATION_HARD_SILU] = "F.hardswish",
    [ACTIVATION_HARD_TANH] = "F.hardtanh",
    [ACTIVATION_HARD_SHRINK] = "F.hardshrink",
    [ACTIVATION_SOFT_SHRINK] = "F.softshrink",
    [ACTIVATION_TANH_SHRINK] = "F.tanhshrink",
};

const char *recurrent_function(const struct activation *a)
{
    switch (a->kind) {
    case ACTIVATION_RELU: return a->slope == 0 && a->threshold == 0 && isinf(a->max_value) ? "F.relu" : NULL;
    case ACTIVATION_LEAKY_RELU: return a->slope == 0.2 ? "leaky_relu" : NULL;
    case ACTIVATION_ELU: return a->slope == 1 ? "F.elu" : NULL;
    case ACTIVATION_CELU: return a->slope == 1 ? "F.celu" : NULL;
    case ACTIVATION_SOFTMAX: return a->axis_count == 1 && a->axes[0] == -1 ? "softmax" : NULL;
    default: return functions[a->kind];
    }
}

bool recurrent_is_torch(const struct recurrent_cell_config *cell)
{
    enum activation_kind kind = cell->activation.kind;
    if (cell->kind == RECURRENT_SIMPLE)
        return kind == ACTIVATION_TANH || kind == ACTIVATION_RELU;
    bool usual = kind == ACTIVATION_TANH && cell->recurrent_activation.kind == ACTIVATION_SIGMOID;
    return usual && cell->kind != RECURRENT_CONV_LSTM && (cell->kind != RECURRENT_GRU || cell->reset_after);
}

/* ---- weights ---- */

/* Keras' z, r, h in torch's order r, z, n. */
static void order_gates(const struct recurrent_cell_config *cell, struct rearrangement *r)
{
    if (cell->kind != RECURRENT_GRU)
        return;
    r->order_count = 3;
    memcpy(r->order, (int[4]){1, 0, 2, 0}, sizeof r->order);
}

/* (width, gates x units) → (gates x units, width). */
static int add_kernel(struct lowering *l, const struct keras_call *call, const char *module, const char *name,
                      const struct recurrent_cell_config *cell, const char *slot)
{
    const struct keras_weight *weight = lower_weight(call, slot);
    int gates = recurrent_gates(cell->kind);
    if (!weight)
        return -1;
    struct rearrangement r = {
        .view = shape_of(3, (int64_t[]){weight->shape.dims[0], gates, cell->units}),
        .axes = {1, cell->cudnn ? 0 : 2, cell->cudnn ? 2 : 0},
        .shape = shape_of(2, (int64_t[]){gates * cell->units, weight->shape.dims[0]}),
    };
    order_gates(cell, &r);
    return lower_parameter(l, call, module, name, slot, &r);
}

/* The bias of the input (row 0) or of the state (row 1). */
static int add_bias(struct lowering *l, const struct keras_call *call, const char *module, const char *name,
                    const struct recurrent_cell_config *cell, int row)
{
    int gates = recurrent_gates(cell->kind);
    int64_t size = gates * cell->units;
    struct shape shape = shape_of(1, &size);
    bool two = cell->cudnn || cell->reset_after;
    if (!two && row == 1) {
        float *zeros = arena_alloc(lower_arena(l), (size_t)size, sizeof *zeros);
        return zeros ? lower_constant(l, call, module, name, &shape, DTYPE_F32, false, zeros) : -1;
    }
    struct rearrangement r = {
        .view = shape_of(2, (int64_t[]){gates, cell->units}),
        .axes = {0, 1},
        .shape = shape,
        .part = two,
        .offset = row * size,
    };
    order_gates(cell, &r);
    return lower_parameter(l, call, module, name, cell->bias, &r);
}

int recurrent_torch_parameters(struct lowering *l, const struct keras_call *call, const char *module,
                               const struct recurrent_cell_config *cell, bool reverse, int parameters[4])
{
    static const char *const names[2][4] = {
        {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"},
        {"weight_ih_l0_reverse", "weight_hh_l0_reverse", "bias_ih_l0_reverse", "bias_hh_l0_reverse"}};
    const char *const *name = names[reverse];
    int n = 0;
    parameters[n++] = add_kernel(l, call, module, name[0], cell, cell->kernel);
    parameters[n++] = add_kernel(l, call, module, name[1], cell, cell->recurrent_kernel);
    for (int row = 0; row < 2 && cell->use_bias; row++)
        parameters[n++] = add_bias(l, call, module, name[2 + row], cell, row);
    return n;
}

int recurrent_loop_parameters(struct lowering *l, const struct keras_call *call, const char *module,
                              const struct recurrent_cell_config *cell, int parameters[4])
{
    int n = 0;
    if (cell->kind == RECURRENT_CONV_LSTM) {
        struct rearrangement r = conv_rearrange(call, cell->recurrent_kernel);
        parameters[n++] = lower_parameter(l, call, module, "weight_hh", cell->recurrent_kernel, &r);
        return n;
    }
    parameters[n++] = add_kernel(l, call, module, "weight_ih", cell, cell->kernel);
    parameters[n++] = add_kernel(l, call, module, "weight_hh", cell, cell->recurrent_kernel);
    if (cell->use_bias)
        parameters[n++] = add_bias(l, call, module, cell->reset_after ? "bias_ih" : "bias", cell, 0);
    if (cell->use_bias && cell->reset_after)
        parameters[n++] = add_bias(l, call, module, "bias_hh", cell, 1);
    return n;
}
