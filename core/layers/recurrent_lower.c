/* SPDX-License-Identifier: Apache-2.0 */
/* Recurrent layers as nn.LSTM, nn.GRU, nn.RNN. Keras keeps kernels as (inputs, gates x units), torch as the transpose; Keras'
 * GRU has its gates as z, r, h, torch as r, z, n; Keras has one bias but for GRU, torch always two. */
#include <string.h>

#include "layers/recurrent.h"

/* A kernel: (width, gates x units) → (gates x units, width), gates reordered for GRU. */
static int add_kernel(struct lowering *l, const struct keras_call *call, const char *module, const char *name,
                      const char *slot)
{
    const struct recurrent_config *c = call->layer->config;
    const struct keras_weight *weight = lower_weight(call, slot);
    int gates = recurrent_gates(c->cell);
    struct rearrangement r = {
        .view = shape_of(3, (int64_t[]){weight->shape.dims[0], gates, c->units}),
        .axes = {1, 2, 0},
        .shape = shape_of(2, (int64_t[]){gates * c->units, weight->shape.dims[0]}),
    };
    if (c->cell == RECURRENT_GRU) {
        r.order_count = 3;
        memcpy(r.order, (int[4]){1, 0, 2, 0}, sizeof r.order);
    }
    return lower_parameter(l, call, module, name, slot, &r);
}

/* The bias of the input (row 0) or of the state (row 1). */
static int add_bias(struct lowering *l, const struct keras_call *call, const char *module, const char *name,
                    const char *slot, int row)
{
    const struct recurrent_config *c = call->layer->config;
    int64_t size = recurrent_gates(c->cell) * c->units;
    struct shape shape = shape_of(1, &size);
    if (c->cell != RECURRENT_GRU) {
        struct rearrangement whole = rearrange_as_is(&shape);
        if (row == 0)
            return lower_parameter(l, call, module, name, slot, &whole);
        float *zeros = arena_alloc(lower_arena(l), (size_t)size, sizeof *zeros);
        return zeros ? lower_constant(l, call, module, name, &shape, DTYPE_F32, false, zeros) : -1;
    }
    struct rearrangement r = {
        .view = shape_of(2, (int64_t[]){3, c->units}),
        .axes = {0, 1},
        .shape = shape,
        .part = true,
        .offset = row * size,
        .order_count = 3,
        .order = {1, 0, 2},
    };
    return lower_parameter(l, call, module, name, slot, &r);
}

/* The parameters of all directions in torch's order. Returns how many. */
static int add_parameters(struct lowering *l, const struct keras_call *call, const char *module, int *parameters)
{
    static const char *const slots[2][3] = {{"forward/kernel", "forward/recurrent_kernel", "forward/bias"},
                                            {"backward/kernel", "backward/recurrent_kernel", "backward/bias"}};
    static const char *const alone[3] = {"kernel", "recurrent_kernel", "bias"};
    static const char *const names[2][4] = {
        {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"},
        {"weight_ih_l0_reverse", "weight_hh_l0_reverse", "bias_ih_l0_reverse", "bias_hh_l0_reverse"}};
    const struct recurrent_config *c = call->layer->config;
    int n = 0;
    for (int d = 0; d < (c->bidirectional ? 2 : 1); d++) {
        const char *const *slot = c->bidirectional ? slots[d] : alone;
        parameters[n++] = add_kernel(l, call, module, names[d][0], slot[0]);
        parameters[n++] = add_kernel(l, call, module, names[d][1], slot[1]);
        for (int row = 0; row < 2 && c->use_bias; row++)
            parameters[n++] = add_bias(l, call, module, names[d][2 + row], slot[2], row);
    }
    return n;
}

static int add_module(struct lowering *l, const struct keras_call *call, int x, int64_t inputs)
{
    static const enum torch_op ops[] = {
        [RECURRENT_LSTM] = TORCH_LSTM, [RECURRENT_GRU] = TORCH_GRU, [RECURRENT_SIMPLE] = TORCH_RNN};
    const struct recurrent_config *c = call->layer->config;
    const char *module = lower_module(l, call, NULL);
    int parameters[8], directions = c->bidirectional ? 2 : 1;
    int count = add_parameters(l, call, module, parameters);
    struct shape in = lower_shape(l, x);
    struct torch_attr attrs[6] = {
        attr_int("input_size", inputs),
        attr_int("hidden_size", c->units),
        attr_bool("bias", c->use_bias),
        attr_bool("batch_first", true),
        attr_bool("bidirectional", c->bidirectional),
    };
    int attr_count = 5;
    if (c->relu)
        attrs[attr_count++] = attr_text("nonlinearity", "relu");
    struct shape state = shape_of(3, (int64_t[]){directions, DIM_UNKNOWN, c->units});
    return lower_node(l, call, &(struct node_spec){
                                   .op = ops[c->cell],
                                   .module = module,
                                   .input_count = 1,
                                   .inputs = &x,
                                   .parameter_count = count,
                                   .parameters = parameters,
                                   .attr_count = attr_count,
                                   .attrs = attrs,
                                   .shape = shape_of(3, (int64_t[]){DIM_UNKNOWN, in.dims[1], directions * c->units}),
                                   .more_outputs = recurrent_states(c->cell),
                                   .more_shapes = {state, state},
                               });
}

/* x[…, index] at `dim`. */
static int add_select(struct lowering *l, const struct keras_call *call, int x, int dim, int64_t index)
{
    struct shape in = lower_shape(l, x), out = {.rank = in.rank - 1};
    for (int i = 0, k = 0; i < in.rank; i++)
        if (i != dim)
            out.dims[k++] = in.dims[i];
    struct torch_attr attrs[] = {attr_int("dim", dim), attr_int("index", index)};
    return lower_node(l, call, &(struct node_spec){
                                   .op = TORCH_SELECT,
                                   .input_count = 1,
                                   .inputs = &x,
                                   .attr_count = 2,
                                   .attrs = attrs,
                                   .shape = out,
                               });
}

/* The half of the features that one direction made. */
static int add_half(struct lowering *l, const struct keras_call *call, int sequence, int direction, int64_t units)
{
    struct shape shape = lower_shape(l, sequence);
    shape.dims[2] = units;
    struct torch_attr attrs[] = {attr_list(l, "start", 3, (int64_t[]){0, 0, direction ? units : 0}),
                                 attr_list(l, "stop", 3, (int64_t[]){0, 0, direction ? 0 : units})};
    return lower_node(l, call, &(struct node_spec){
                                   .op = TORCH_SLICE,
                                   .input_count = 1,
                                   .inputs = &sequence,
                                   .attr_count = 2,
                                   .attrs = attrs,
                                   .shape = shape,
                               });
}

static int add_flip(struct lowering *l, const struct keras_call *call, int x)
{
    struct torch_attr attr = attr_list(l, "dims", 1, (int64_t[]){1});
    return lower_node(l, call, &(struct node_spec){
                                   .op = TORCH_FLIP,
                                   .input_count = 1,
                                   .inputs = &x,
                                   .attr_count = 1,
                                   .attrs = &attr,
                                   .shape = lower_shape(l, x),
                               });
}

/* What one direction gives out: its sequence, or its last state. */
static int direction_output(struct lowering *l, const struct keras_call *call, int node, int direction)
{
    const struct recurrent_config *c = call->layer->config;
    if (!c->return_sequences)
        return add_select(l, call, node + 1, 0, direction);
    return add_half(l, call, node, direction, c->units);
}

static struct lowered merged(struct lowering *l, const struct keras_call *call, int forward, int backward)
{
    static const enum torch_op ops[] = {
        [RECURRENT_SUM] = TORCH_ADD, [RECURRENT_MUL] = TORCH_MUL, [RECURRENT_AVE] = TORCH_ADD};
    const struct recurrent_config *c = call->layer->config;
    struct layout layout = layout_keras(c->return_sequences ? 3 : 2);
    struct lowered a = {forward, layout}, b = {backward, layout};
    if (c->merge == RECURRENT_CONCAT) { /* last states; the sequence comes concatenated */
        struct torch_attr dim = attr_int("dim", 1);
        struct shape shape = lower_shape(l, forward);
        shape.dims[1] *= 2;
        a.id = lower_node(l, call, &(struct node_spec){
                                       .op = TORCH_CAT,
                                       .input_count = 2,
                                       .inputs = (int[]){forward, backward},
                                       .attr_count = 1,
                                       .attrs = &dim,
                                       .shape = shape,
                                   });
        return a;
    }
    struct lowered y = lower_binary(l, call, ops[c->merge], a, b);
    struct torch_attr two = attr_float("value", 2.0);
    return c->merge == RECURRENT_AVE ? lower_pointwise(l, call, y, TORCH_DIV_SCALAR, NULL, 1, &two) : y;
}

/* Outputs 0 (and 1) of the layer. Returns how many there are. */
static int give_outputs(struct lowering *l, const struct keras_call *call, int node)
{
    const struct recurrent_config *c = call->layer->config;
    struct layout layout = layout_keras(c->return_sequences ? 3 : 2);
    if (!c->bidirectional || (c->return_sequences && c->merge == RECURRENT_CONCAT)) {
        int y = c->return_sequences ? node : add_select(l, call, node, 1, -1);
        lower_output(l, call, 0, (struct lowered){y, layout});
        return 1;
    }
    int forward = direction_output(l, call, node, 0), backward = direction_output(l, call, node, 1);
    if (c->merge == RECURRENT_LISTED) {
        lower_output(l, call, 0, (struct lowered){forward, layout});
        lower_output(l, call, 1, (struct lowered){backward, layout});
        return 2;
    }
    lower_output(l, call, 0, merged(l, call, forward, backward));
    return 1;
}

int recurrent_lower(struct lowering *l, const struct keras_call *call)
{
    const struct recurrent_config *c = call->layer->config;
    struct lowered x = lower_input_keras(l, call, 0);
    int id = c->go_backwards ? add_flip(l, call, x.id) : x.id;
    int node = add_module(l, call, id, call->inputs[0]->shape.dims[2]);
    if (node < 0)
        return -1;
    int out = give_outputs(l, call, node);
    for (int d = 0; c->return_state && d < (c->bidirectional ? 2 : 1); d++)
        for (int k = 0; k < recurrent_states(c->cell); k++)
            lower_output(l, call, out++, (struct lowered){add_select(l, call, node + 1 + k, 0, d), layout_keras(2)});
    return 0;
}
