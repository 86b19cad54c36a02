/* SPDX-License-Identifier: Apache-2.0 */
/* Recurrent layers as nn.LSTM, nn.GRU, nn.RNN, or as loops. A direction is a chain of such modules; where torch's own cannot
 * run backwards alone its input is flipped, a loop has a setting for that. Loops give their outputs where the inputs stood. */
#include <string.h>

#include "layers/compose.h"
#include "layers/recurrent.h"

/* One call being lowered. */
struct context {
    struct lowering *l;
    const struct keras_call *call;
    const struct recurrent_config *config;
    struct recurrent_inputs in;
    struct lowered x;
    int mask; /* torch value, or -1 */
    bool loops;
};

/* What a direction gives: torch values. */
struct result {
    int sequence; /* (batch, time, …) */
    int state_count;
    int states[2 * RECURRENT_MAX_CELLS];
};

/* ---- small nodes ---- */

static int add_typed(const struct context *c, enum torch_op op, int x, int attr_count, const struct torch_attr *attrs,
                     struct shape shape, enum dtype dtype)
{
    return lower_function(c->l, c->call, op, x, attr_count, attrs, shape, dtype);
}

static int add_one(const struct context *c, enum torch_op op, int x, int attr_count, const struct torch_attr *attrs,
                   struct shape shape)
{
    return add_typed(c, op, x, attr_count, attrs, shape, DTYPE_F32);
}

/* x[…, index] at `dim`. */
static int add_select(const struct context *c, int x, int dim, int64_t index)
{
    struct shape in = lower_shape(c->l, x), out = {.rank = in.rank - 1};
    for (int i = 0, k = 0; i < in.rank; i++)
        if (i != dim)
            out.dims[k++] = in.dims[i];
    return add_one(c, TORCH_SELECT, x, 2, (struct torch_attr[]){attr_int("dim", dim), attr_int("index", index)}, out);
}

/* Features from `first` on, `units` of them, of a sequence with twice as many. */
static int add_half(const struct context *c, int sequence, int direction, int64_t units)
{
    struct shape shape = lower_shape(c->l, sequence);
    shape.dims[2] = units;
    const struct torch_attr attrs[] = {attr_list(c->l, "start", 3, (int64_t[]){0, 0, direction ? units : 0}),
                                       attr_list(c->l, "stop", 3, (int64_t[]){0, 0, direction ? 0 : units})};
    return add_one(c, TORCH_SLICE, sequence, 2, attrs, shape);
}

/* Turns the time around. */
static int add_flip(const struct context *c, int x, enum dtype dtype)
{
    struct torch_attr attr = attr_list(c->l, "dims", 1, (int64_t[]){1});
    return add_typed(c, TORCH_FLIP, x, 1, &attr, lower_shape(c->l, x), dtype);
}

static int add_cat(const struct context *c, int a, int b, int dim)
{
    return lower_cat(c->l, c->call, 2, (const struct lowered[]){{.id = a}, {.id = b}}, dim).id;
}

/* (batch, units) → (1, batch, units), as torch's modules take states. */
static int add_leading(const struct context *c, int x)
{
    struct torch_attr attr = attr_int("dim", 0);
    struct shape in = lower_shape(c->l, x), out = {.rank = in.rank + 1, .dims = {1}};
    memcpy(out.dims + 1, in.dims, (size_t)in.rank * sizeof *in.dims);
    return add_one(c, TORCH_UNSQUEEZE, x, 1, &attr, out);
}

/* First state number `index` of the call, (batch, units) or in the layout of a convolution. */
static int first_state(const struct context *c, int index)
{
    int input = c->in.states[index], rank = c->call->inputs[input]->shape.rank;
    struct layout layout = recurrent_is_convolutional(c->config) ? layout_spatial(c->call->layer, rank)
                                                                 : layout_keras(rank);
    return lower_input_as(c->l, c->call, input, &layout).id;
}

/* ---- modules ---- */

static enum torch_op module_op(enum recurrent_cell kind, bool loop)
{
    static const enum torch_op ops[][2] = {
        [RECURRENT_LSTM] = {TORCH_LSTM, TORCH_LSTM_LOOP},
        [RECURRENT_GRU] = {TORCH_GRU, TORCH_GRU_LOOP},
        [RECURRENT_SIMPLE] = {TORCH_RNN, TORCH_RNN_LOOP},
        [RECURRENT_CONV_LSTM] = {TORCH_CONV_LSTM_LOOP, TORCH_CONV_LSTM_LOOP},
    };
    return ops[kind][loop];
}

/* nn.LSTM and its like, for one cell or the same cell in two directions. `states`: torch values (directions, batch, units), or
 * none. Returns the sequence; the states follow it, as (directions, batch, units). */
static int add_torch_module(const struct context *c, const char *module, int x,
                            const struct recurrent_cell_config *cells[], int directions, const int *states)
{
    const struct recurrent_cell_config *cell = cells[0];
    int parameters[8], count = 0, inputs[3] = {x}, input_count = 1;
    for (int i = 0; i < directions; i++)
        count += recurrent_torch_parameters(c->l, c->call, module, cells[i], i > 0, parameters + count);
    for (int i = 0; states && i < recurrent_states(cell->kind); i++)
        inputs[input_count++] = states[i];
    struct shape in = lower_shape(c->l, x);
    struct torch_attr attrs[6] = {
        attr_int("input_size", in.dims[2]),          attr_int("hidden_size", cell->units),
        attr_bool("bias", cell->use_bias),           attr_bool("batch_first", true),
        attr_bool("bidirectional", directions == 2),
    };
    int attr_count = 5;
    if (cell->activation.kind == ACTIVATION_RELU)
        attrs[attr_count++] = attr_text("nonlinearity", "relu");
    struct shape state = shape_of(3, (int64_t[]){directions, in.dims[0], cell->units});
    return lower_node(c->l, c->call,
                      &(struct node_spec){
                          .op = module_op(cell->kind, false),
                          .module = module,
                          .input_count = input_count,
                          .inputs = inputs,
                          .parameter_count = count,
                          .parameters = parameters,
                          .attr_count = attr_count,
                          .attrs = attrs,
                          .shape = shape_of(3, (int64_t[]){in.dims[0], in.dims[1], directions * cell->units}),
                          .more_outputs = recurrent_states(cell->kind),
                          .more_shapes = {state, state},
                      });
}

/* The settings of a loop that its kind of cell has. */
static int loop_attrs(const struct context *c, const struct recurrent_direction *d,
                      const struct recurrent_cell_config *cell, int64_t inputs, bool zero_output,
                      struct torch_attr attrs[NODE_MAX_ATTRS])
{
    int n = 0;
    bool convolutional = cell->kind == RECURRENT_CONV_LSTM;
    if (!convolutional)
        attrs[n++] = attr_int("input_size", inputs);
    attrs[n++] = attr_int("hidden_size", cell->units);
    if (convolutional)
        attrs[n++] = attr_list(c->l, "kernel_size", d->conv.window.rank, d->conv.window.size);
    if (convolutional)
        attrs[n++] = attr_bool("pad_front", d->pad_front);
    else
        attrs[n++] = attr_bool("bias", cell->use_bias);
    if (cell->kind == RECURRENT_GRU)
        attrs[n++] = attr_bool("reset_after", cell->reset_after);
    attrs[n++] = attr_text("activation", recurrent_function(&cell->activation));
    if (cell->kind != RECURRENT_SIMPLE)
        attrs[n++] = attr_text("recurrent_activation", recurrent_function(&cell->recurrent_activation));
    attrs[n++] = attr_bool("reverse", d->go_backwards);
    attrs[n++] = attr_bool("zero_output", zero_output && c->mask >= 0);
    attrs[n++] = attr_bool("masked", c->mask >= 0);
    return n;
}

/* A loop over x: (batch, time, features), or the gates of a ConvLSTM. Returns the sequence; the states follow it. */
static int add_loop(const struct context *c, const char *module, int x, const struct recurrent_direction *d, int index,
                    const int *states)
{
    const struct recurrent_cell_config *cell = &d->cells[index];
    int parameters[4], inputs[4] = {x}, input_count = 1;
    int count = recurrent_loop_parameters(c->l, c->call, module, cell, parameters);
    if (c->mask >= 0)
        inputs[input_count++] = c->mask;
    for (int i = 0; states && i < recurrent_states(cell->kind); i++)
        inputs[input_count++] = states[i];
    struct shape in = lower_shape(c->l, x), out = in, state;
    struct torch_attr attrs[NODE_MAX_ATTRS];
    int attr_count = loop_attrs(c, d, cell, in.dims[in.rank - 1],
                                d->zero_output && index + 1 == d->cell_count && !recurrent_zeroes_late(d), attrs);
    out.dims[2] = cell->units;
    state = out;
    state.rank--;
    memmove(state.dims + 1, state.dims + 2, (size_t)(out.rank - 2) * sizeof *state.dims);
    return lower_node(c->l, c->call,
                      &(struct node_spec){
                          .op = module_op(cell->kind, true),
                          .module = module,
                          .input_count = input_count,
                          .inputs = inputs,
                          .parameter_count = count,
                          .parameters = parameters,
                          .attr_count = attr_count,
                          .attrs = attrs,
                          .shape = out,
                          .more_outputs = recurrent_states(cell->kind),
                          .more_shapes = {state, state},
                      });
}

/* ---- directions ---- */

/* The name of the module of cell `index`: after the layer, the direction when there are two, the cell when there are several. */
static const char *module_name(const struct context *c, int direction, int index)
{
    static const char *const names[] = {"forward", "backward"};
    const struct recurrent_direction *d = &c->config->directions[direction];
    const char *suffix = c->config->direction_count == 2 ? names[direction] : NULL;
    if (d->cell_count > 1)
        suffix = arena_printf(lower_arena(c->l), "%s%scell_%d", suffix ? suffix : "", suffix ? "_" : "", index);
    return lower_module(c->l, c->call, suffix);
}

/* The convolution of the input of a ConvLSTM, step by step: its gates without what comes from the state. */
static int add_input_convolution(const struct context *c, const struct recurrent_direction *d, int direction)
{
    static const char *const suffixes[] = {"input", "forward_input", "backward_input"};
    const struct recurrent_cell_config *cell = &d->cells[0];
    const struct shape *kernel = &lower_weight(c->call, cell->kernel)->shape;
    int rank = d->conv.window.rank;
    struct shape x = lower_shape(c->l, c->x.id), steps = x;
    steps.rank--;
    memmove(steps.dims + 1, steps.dims + 2, (size_t)(x.rank - 2) * sizeof *x.dims);
    steps.dims[0] = DIM_UNKNOWN;
    const struct torch_attr attrs[] = {attr_int("start_dim", 0), attr_int("end_dim", 1)};
    struct lowered in = {.id = add_one(c, TORCH_FLATTEN, c->x.id, 2, attrs, steps)};
    in.layout = layout_spatial(c->call->layer, rank + 2);
    const struct conv_module module = {
        .suffix = suffixes[c->config->direction_count == 2 ? 1 + direction : 0],
        .kernel = cell->kernel,
        .weight = conv_rearrange(c->call, cell->kernel),
        .bias = cell->use_bias,
        .bias_slot = cell->bias,
        .in_channels = kernel->dims[rank],
        .out_channels = d->conv.filters,
        .groups = 1,
    };
    in = conv_lower(c->l, c->call, in, &d->conv.window, &module);
    struct shape gates = lower_shape(c->l, in.id);
    memmove(gates.dims + 2, gates.dims + 1, (size_t)(gates.rank - 1) * sizeof *gates.dims);
    gates.rank++;
    gates.dims[0] = x.dims[0];
    gates.dims[1] = x.dims[1];
    return lower_function2(c->l, c->call, TORCH_UNFLATTEN_LIKE, in.id, c->x.id, 0, NULL, gates, DTYPE_F32);
}

/* The sequence, in the order of time, without the steps whose mirror image is masked. */
static int zero_late(const struct context *c, int sequence)
{
    int rank = lower_shape(c->l, sequence).rank;
    struct lowered mask = {add_flip(c, c->mask, DTYPE_BOOL), layout_keras(2)}, y = {sequence, layout_keras(rank)};
    for (int dim = 2; dim < rank; dim++) {
        struct torch_attr attr = attr_int("dim", dim);
        struct shape shape = lower_shape(c->l, mask.id);
        shape.dims[shape.rank++] = 1;
        mask.id = add_typed(c, TORCH_UNSQUEEZE, mask.id, 1, &attr, shape, DTYPE_BOOL);
    }
    return lower_binary(c->l, c->call, TORCH_MUL, y, mask).id;
}

/* Runs the cells of a direction. `state`: number of its first state among those of the call. */
static struct result add_direction(const struct context *c, int direction, int state)
{
    const struct recurrent_direction *d = &c->config->directions[direction];
    struct result r = {.sequence = c->x.id};
    bool flip = d->go_backwards && !c->loops;
    if (recurrent_is_convolutional(c->config))
        r.sequence = add_input_convolution(c, d, direction);
    if (flip)
        r.sequence = add_flip(c, r.sequence, DTYPE_F32);
    for (int i = 0; i < d->cell_count && r.sequence >= 0; i++) {
        const struct recurrent_cell_config *cell = &d->cells[i];
        int states[2] = {-1, -1}, count = recurrent_states(cell->kind);
        int at = recurrent_first_state(d, i);
        for (int k = 0; k < count && c->in.state_count; k++) {
            int first = first_state(c, state + at + k);
            states[k] = c->loops ? first : add_leading(c, first);
        }
        const int *given = c->in.state_count ? states : NULL;
        const char *module = module_name(c, direction, i);
        r.sequence = c->loops ? add_loop(c, module, r.sequence, d, i, given)
                              : add_torch_module(c, module, r.sequence, &cell, 1, given);
        for (int k = 0; k < count && r.sequence >= 0; k++)
            r.states[at + k] = c->loops ? r.sequence + 1 + k : add_select(c, r.sequence + 1 + k, 0, 0);
        r.state_count += count;
    }
    if (recurrent_zeroes_late(d) && c->mask >= 0 && r.sequence >= 0)
        r.sequence = zero_late(c, r.sequence);
    return r;
}

/* What the layer gives out of a direction: the step computed last, or the whole sequence. A layer leaves its outputs in the
 * order of computing; Bidirectional turns those of the second direction around. */
static int direction_output(const struct context *c, int direction, int sequence)
{
    const struct recurrent_direction *d = &c->config->directions[direction];
    bool turned = c->loops && d->go_backwards;
    if (!d->return_sequences)
        return add_select(c, sequence, 1, turned ? 0 : -1);
    return turned == (direction == 1) ? sequence : add_flip(c, sequence, DTYPE_F32);
}

static struct layout output_layout(const struct context *c)
{
    bool sequences = c->config->directions[0].return_sequences;
    if (!recurrent_is_convolutional(c->config)) {
        struct layout plain = layout_keras(sequences ? 3 : 2);
        if (sequences && c->config->directions[0].time_major) {
            plain.axes[0] = 1;
            plain.axes[1] = 0;
        }
        return plain;
    }
    int rank = c->config->directions[0].conv.window.rank + 2;
    struct layout step = layout_spatial(c->call->layer, rank);
    if (!sequences)
        return step;
    struct layout layout = {.rank = rank + 1, .axes = {0, 1}};
    for (int i = 1; i < rank; i++)
        layout.axes[i + 1] = step.axes[i] + 1;
    return layout;
}

static struct lowered merge(const struct context *c, int forward, int backward)
{
    static const enum torch_op ops[] = {
        [RECURRENT_SUM] = TORCH_ADD, [RECURRENT_MUL] = TORCH_MUL, [RECURRENT_AVE] = TORCH_ADD};
    struct lowered a = {forward, output_layout(c)}, b = {backward, output_layout(c)};
    enum recurrent_merge mode = c->config->merge;
    if (mode == RECURRENT_CONCAT) {
        a.id = add_cat(c, forward, backward, layout_axis(&a.layout, a.layout.rank - 1));
        return a;
    }
    struct lowered y = lower_binary(c->l, c->call, ops[mode], a, b);
    struct torch_attr two = attr_float("value", 2.0);
    return mode == RECURRENT_AVE ? lower_pointwise(c->l, c->call, y, TORCH_DIV_SCALAR, NULL, 1, &two) : y;
}

/* Outputs 0 (and 1) from the outputs of the directions; returns how many there are. */
static int give_outputs(const struct context *c, int forward, int backward)
{
    struct layout layout = output_layout(c);
    if (c->config->direction_count == 1 || c->config->merge == RECURRENT_LISTED) {
        lower_output(c->l, c->call, 0, (struct lowered){forward, layout});
        if (c->config->direction_count == 1)
            return 1;
        lower_output(c->l, c->call, 1, (struct lowered){backward, layout});
        return 2;
    }
    lower_output(c->l, c->call, 0, merge(c, forward, backward));
    return 1;
}

/* One module of torch for both directions: true when they differ in nothing else. */
static bool fits_bidirectional(const struct context *c)
{
    const struct recurrent_direction *f = &c->config->directions[0], *b = &c->config->directions[1];
    const struct recurrent_cell_config *x = &f->cells[0], *y = &b->cells[0];
    return c->config->direction_count == 2 && !c->loops && f->cell_count == 1 && b->cell_count == 1 &&
           !f->go_backwards && x->kind == y->kind && x->units == y->units && x->use_bias == y->use_bias &&
           x->activation.kind == y->activation.kind;
}

/* Both directions as one bidirectional module. Returns how many outputs were given; the states come as ret[direction]. */
static int add_bidirectional(const struct context *c, struct result ret[2])
{
    const struct recurrent_cell_config *cells[] = {&c->config->directions[0].cells[0],
                                                   &c->config->directions[1].cells[0]};
    int count = recurrent_states(cells[0]->kind), states[2] = {-1, -1};
    for (int k = 0; k < count && c->in.state_count; k++)
        states[k] = add_cat(c, add_leading(c, first_state(c, k)), add_leading(c, first_state(c, count + k)), 0);
    int node = add_torch_module(c, lower_module(c->l, c->call, NULL), c->x.id, cells, 2,
                                c->in.state_count ? states : NULL);
    if (node < 0)
        return -1;
    bool sequences = c->config->directions[0].return_sequences;
    for (int d = 0; d < 2; d++)
        for (int k = 0; k < count; k++) {
            bool used = c->config->directions[0].return_state || (k == 0 && !sequences);
            ret[d].states[ret[d].state_count++] = used ? add_select(c, node + 1 + k, 0, d) : -1;
        }
    if (sequences && c->config->merge == RECURRENT_CONCAT) {
        lower_output(c->l, c->call, 0, (struct lowered){node, layout_keras(3)});
        return 1;
    }
    if (!sequences)
        return give_outputs(c, ret[0].states[0], ret[1].states[0]);
    return give_outputs(c, add_half(c, node, 0, cells[0]->units), add_half(c, node, 1, cells[0]->units));
}

static int add_directions(const struct context *c, struct result ret[2])
{
    int outputs[2] = {-1, -1}, state = 0;
    for (int d = 0; d < c->config->direction_count; d++) {
        ret[d] = add_direction(c, d, state);
        if (ret[d].sequence < 0)
            return -1;
        outputs[d] = direction_output(c, d, ret[d].sequence);
        state += recurrent_state_count(&c->config->directions[d]);
    }
    return give_outputs(c, outputs[0], outputs[1]);
}

/* ---- the layer ---- */

/* A mask as booleans. */
static int lower_mask(struct lowering *l, const struct keras_call *call, int input)
{
    struct lowered mask = lower_input_keras(l, call, input);
    if (call->inputs[input]->dtype == DTYPE_BOOL)
        return mask.id;
    struct torch_attr zero = attr_float("value", 0);
    return lower_pointwise(l, call, mask, TORCH_NOT_EQUAL_SCALAR, NULL, 1, &zero).id;
}

/* Input 0 as (batch, time, …): channels first behind the time for a ConvLSTM. */
static struct lowered layer_input(struct context *c)
{
    int rank = c->call->inputs[0]->shape.rank;
    struct layout layout = layout_keras(rank);
    if (recurrent_is_convolutional(c->config)) {
        struct layout step = layout_spatial(c->call->layer, rank - 1);
        for (int i = 1; i < rank - 1; i++)
            layout.axes[i + 1] = step.axes[i] + 1;
    } else if (c->config->directions[0].time_major) {
        layout.axes[0] = 1;
        layout.axes[1] = 0;
    }
    return lower_input_as(c->l, c->call, 0, &layout);
}

static bool needs_loops(const struct context *c)
{
    bool loops = c->mask >= 0;
    for (int d = 0; d < c->config->direction_count; d++)
        for (int i = 0; i < c->config->directions[d].cell_count; i++)
            loops = loops || !recurrent_is_torch(&c->config->directions[d].cells[i]);
    return loops;
}

int recurrent_lower(struct lowering *l, const struct keras_call *call)
{
    struct context c = {.l = l, .call = call, .config = call->layer->config, .mask = -1};
    struct result results[2] = {{.state_count = 0}, {.state_count = 0}};
    if (recurrent_sort_inputs(c.config, call->arguments, call->mask_of, &c.in))
        return -1;
    c.x = layer_input(&c);
    if (c.in.mask >= 0)
        c.mask = lower_mask(l, call, c.in.mask);
    if (c.x.id < 0 || (c.in.mask >= 0 && c.mask < 0))
        return -1;
    c.loops = needs_loops(&c);
    int out = fits_bidirectional(&c) ? add_bidirectional(&c, results) : add_directions(&c, results);
    if (out < 0)
        return -1;
    bool convolutional = recurrent_is_convolutional(c.config);
    for (int d = 0; c.config->directions[0].return_state && d < c.config->direction_count; d++)
        for (int k = 0; k < results[d].state_count; k++, out++) {
            int rank = call->outputs[out]->shape.rank;
            struct layout layout = convolutional ? layout_spatial(call->layer, rank) : layout_keras(rank);
            lower_output(l, call, out, (struct lowered){results[d].states[k], layout});
        }
    return 0;
}
