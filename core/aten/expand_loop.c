/* SPDX-License-Identifier: Apache-2.0 */
/* LSTMLoop, GRULoop, RNNLoop and ConvLSTMLoop of model.py. */
#include <string.h>

#include "aten/activation.h"
#include "aten/formula.h"

enum { MAX_STEPS = 256, MAX_STATES = 2, MAX_GATES = 4 };

/* ---- activations ---- */

static int linear(struct aten_builder *b, int x)
{
    (void)b;
    return x;
}

static int leaky_relu(struct aten_builder *b, int x)
{
    return aten_emit(b, "leaky_relu.default", aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_real("negative_slope", 0.2)));
}

static int hard_sigmoid(struct aten_builder *b, int x)
{
    return aten_limit(b, aten_plus(b, aten_times(b, x, 0.2), 0.5), 0, 1);
}

static int softmax(struct aten_builder *b, int x)
{
    return aten_softmax(b, x, -1);
}

/* By their names in model.py: one operator with its defaults, or a function. */
static const struct activation {
    const char *name, *op;
    int (*function)(struct aten_builder *b, int x);
} activations[] = {
    {"torch.tanh", "tanh.default", NULL},
    {"torch.sigmoid", "sigmoid.default", NULL},
    {"torch.exp", "exp.default", NULL},
    {"F.relu", "relu.default", NULL},
    {"F.relu6", "relu6.default", NULL},
    {"F.elu", "elu.default", NULL},
    {"F.celu", "celu.default", NULL},
    {"F.selu", "selu.default", NULL},
    {"F.gelu", "gelu.default", NULL},
    {"F.silu", "silu.default", NULL},
    {"F.mish", "mish.default", NULL},
    {"F.softplus", "softplus.default", NULL},
    {"F.softsign", NULL, aten_softsign},
    {"F.logsigmoid", "log_sigmoid.default", NULL},
    {"F.hardsigmoid", "hardsigmoid.default", NULL},
    {"F.hardswish", "hardswish.default", NULL},
    {"F.hardtanh", "hardtanh.default", NULL},
    {"F.hardshrink", "hardshrink.default", NULL},
    {"F.softshrink", "softshrink.default", NULL},
    {"F.tanhshrink", NULL, aten_tanh_shrink},
    {"linear", NULL, linear},
    {"leaky_relu", NULL, leaky_relu},
    {"hard_sigmoid", NULL, hard_sigmoid},
    {"softmax", NULL, softmax},
};

static const struct activation *find_activation(struct aten_builder *b, const struct torch_node *node, const char *attr,
                                                const char *fallback)
{
    const char *name = torch_attr(node, attr) ? torch_attr_text(node, attr) : fallback;
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (strcmp(activations[i].name, name) == 0)
            return &activations[i];
    (void)aten_refuse(b, "a recurrent loop with the activation %s", name);
    return &activations[0];
}

static int activated(struct aten_builder *b, const struct activation *activation, int x)
{
    return activation->op ? aten_unary(b, activation->op, x) : activation->function(b, x);
}

/* ---- the loop ---- */

struct loop {
    const struct torch_node *node;
    int (*step)(struct aten_builder *b, const struct loop *r, int x, const int *states, int *ret_states);
    int state_count, rank; /* rank: of a state, (batch, units, …) */
    int64_t units;
    const struct activation *activation, *recurrent_activation;
    int weight_hh, bias_hh;    /* what a step multiplies the state with, and adds */
    int reset_weight;          /* of a GRU that resets before its product: the rows of n; weight_hh has the others */
    int64_t kernel[3];         /* of a ConvLSTM */
    int mask;                  /* (batch, time), or ATEN_NO_TENSOR */
    bool reverse, zero_output; /* see ops.def */
};

/* x weightᵀ + bias */
static int projected(struct aten_builder *b, int x, int weight, int bias)
{
    return aten_emit(b, "linear.default", aten_replaced(b, x, aten_dim(b, x, -1), aten_size(b, weight, 0)),
                     aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("input", x), aten_tensor("weight", weight), aten_tensor("bias", bias)));
}

/* Dim `dim` in `count` parts of `size`; ret has their values. */
static void split(struct aten_builder *b, int x, int dim, int64_t size, int count, int *ret)
{
    struct aten_meta parts[MAX_GATES];
    for (int i = 0; i < count; i++)
        parts[i] = (struct aten_meta){aten_replaced(b, x, dim, aten_int(b, size)), aten_dtype_of(b, x)};
    int first = aten_emit_many(
        b, "split.Tensor", true, count, parts,
        ATEN_ARGS(aten_tensor("self", x), aten_integer("split_size", size), aten_integer("dim", dim)));
    for (int i = 0; i < count; i++)
        ret[i] = first < 0 ? -1 : first + i;
}

/* The state's convolution, which keeps its size. */
static int convolved(struct aten_builder *b, const struct loop *r, int h)
{
    static const char *const ops[] = {"conv1d.default", "conv2d.default", "conv3d.default"};
    static const int64_t ones[3] = {1, 1, 1}, zeros[3] = {0};
    const struct aten_int *before[ATEN_MAX_RANK] = {NULL}, *after[ATEN_MAX_RANK] = {NULL};
    int dims = r->rank - 2;
    bool front = aten_attr_flag(r->node, "pad_front", false);
    for (int i = 0; i < dims; i++) {
        before[2 + i] = aten_int(b, front ? r->kernel[i] / 2 : (r->kernel[i] - 1) / 2);
        after[2 + i] = aten_int(b, front ? (r->kernel[i] - 1) / 2 : r->kernel[i] / 2);
    }
    return aten_emit(b, ops[dims - 1], aten_replaced(b, h, 1, aten_size(b, r->weight_hh, 0)), aten_dtype_of(b, h),
                     ATEN_ARGS(aten_tensor("input", aten_pad(b, h, before, after, 0)),
                               aten_tensor("weight", r->weight_hh), aten_none("bias"),
                               aten_integers("stride", dims, ones), aten_integers("padding", dims, zeros),
                               aten_integers("dilation", dims, ones), aten_integer("groups", 1)));
}

/* Gates i, f, g, o. */
static int lstm_step(struct aten_builder *b, const struct loop *r, int x, const int *states, int *ret_states)
{
    int gates[4];
    int from_state = r->rank > 2 ? convolved(b, r, states[0]) : projected(b, states[0], r->weight_hh, ATEN_NO_TENSOR);
    split(b, aten_add(b, x, from_state), 1, r->units, 4, gates);
    int kept = aten_mul(b, activated(b, r->recurrent_activation, gates[1]), states[1]);
    int input = activated(b, r->recurrent_activation, gates[0]);
    int c = aten_add(b, kept, aten_mul(b, input, activated(b, r->activation, gates[2])));
    int output = activated(b, r->recurrent_activation, gates[3]);
    ret_states[0] = aten_mul(b, output, activated(b, r->activation, c));
    ret_states[1] = c;
    return 0;
}

/* Gates r, z, n. */
static int gru_step(struct aten_builder *b, const struct loop *r, int x, const int *states, int *ret_states)
{
    int from_x[3], from_h[3], h = states[0];
    bool reset_after = r->reset_weight == ATEN_NO_TENSOR;
    split(b, x, 1, r->units, 3, from_x);
    split(b, projected(b, h, r->weight_hh, r->bias_hh), 1, r->units, reset_after ? 3 : 2, from_h);
    int reset = activated(b, r->recurrent_activation, aten_add(b, from_x[0], from_h[0]));
    int n = reset_after ? aten_mul(b, reset, from_h[2])
                        : projected(b, aten_mul(b, reset, h), r->reset_weight, ATEN_NO_TENSOR);
    n = activated(b, r->activation, aten_add(b, from_x[2], n));
    int z = activated(b, r->recurrent_activation, aten_add(b, from_x[1], from_h[1]));
    ret_states[0] = aten_add(b, aten_mul(b, aten_from(b, 1, z), n), aten_mul(b, z, h));
    return 0;
}

static int rnn_step(struct aten_builder *b, const struct loop *r, int x, const int *states, int *ret_states)
{
    int from_state = projected(b, states[0], r->weight_hh, ATEN_NO_TENSOR);
    ret_states[0] = activated(b, r->activation, aten_add(b, x, from_state));
    return 0;
}

/* One step: `states` become the new ones; returns the output. `valid`: of each sample, (batch, 1, …), or ATEN_NO_TENSOR. */
static int run_step(struct aten_builder *b, const struct loop *r, int x, int valid, int *states, int output)
{
    int fresh[MAX_STATES];
    if (r->step(b, r, x, states, fresh) < 0)
        return -1;
    if (valid == ATEN_NO_TENSOR) {
        memcpy(states, fresh, (size_t)r->state_count * sizeof *states);
        return states[0];
    }
    output = aten_where(b, valid, fresh[0], output);
    for (int i = 0; i < r->state_count; i++)
        states[i] = aten_where(b, valid, fresh[i], states[i]);
    return output;
}

/* Whether the steps of each sample are valid, (batch, time, 1, …); ATEN_NO_TENSOR without a mask. */
static int validity(struct aten_builder *b, const struct loop *r)
{
    if (r->mask == ATEN_NO_TENSOR)
        return ATEN_NO_TENSOR;
    int valid = aten_cast(b, r->mask, DTYPE_BOOL);
    for (int i = 1; i < r->rank; i++)
        valid = aten_unsqueeze(b, valid, -1);
    return valid;
}

/* What the steps work on: x and valid (batch, time, …); `states` and `output` before the first step, then after the last one. */
struct course {
    int x, valid, states[MAX_STATES], output;
};

/* Step by step, each written out; returns the sequence. */
static int unroll(struct aten_builder *b, const struct loop *r, struct course *c, int steps)
{
    int outputs[MAX_STEPS], zero = c->output;
    for (int i = 0; i < steps && !b->failed; i++) {
        int t = r->reverse ? steps - 1 - i : i;
        int valid = c->valid == ATEN_NO_TENSOR ? ATEN_NO_TENSOR : aten_select(b, c->valid, 1, t);
        c->output = run_step(b, r, aten_select(b, c->x, 1, t), valid, c->states, r->zero_output ? zero : c->output);
        outputs[t] = c->output;
    }
    return aten_stack(b, steps, outputs, 1);
}

/* Time and batch change places; `reverse`: the last step first. */
static int swapped(struct aten_builder *b, int x, bool reverse)
{
    int64_t dims[ATEN_MAX_RANK] = {1, 0};
    for (int i = 2; i < ATEN_MAX_RANK; i++)
        dims[i] = i;
    x = aten_permute(b, x, dims);
    return reverse ? aten_emit(b, "flip.default", aten_shape_of(b, x), aten_dtype_of(b, x),
                               ATEN_ARGS(aten_tensor("self", x), aten_integers("dims", 1, (const int64_t[]){0})))
                   : x;
}

/* As a loop of the program. */
static int scan(struct aten_builder *b, const struct loop *r, struct course *c)
{
    bool masked = c->valid != ATEN_NO_TENSOR, repeats = masked && !r->zero_output;
    int carried[MAX_STATES + 1], count = r->state_count;
    int sequences[2] = {swapped(b, c->x, r->reverse), masked ? swapped(b, c->valid, r->reverse) : ATEN_NO_TENSOR};
    memcpy(carried, c->states, (size_t)count * sizeof *carried);
    carried[count] = c->output;
    struct aten_scan *scan = aten_scan_begin(b, count + repeats, carried, 1 + masked, sequences);
    if (!scan)
        return -1;
    memcpy(carried, scan->carried, (size_t)count * sizeof *carried);
    int before = repeats ? scan->carried[count] : c->output;
    int output = run_step(b, r, scan->parts[0], masked ? scan->parts[1] : ATEN_NO_TENSOR, carried, before);
    carried[count] = output;
    int given = aten_unary(b, "clone.default", output); /* what a step gives is no other name of what it carries over */
    int first = aten_scan_end(b, scan, carried, 1, &given);
    for (int i = 0; i < count; i++)
        c->states[i] = first + i;
    int sequence = first < 0 ? -1 : first + count + repeats;
    if (r->reverse)
        sequence = aten_emit(b, "flip.default", aten_shape_of(b, sequence), aten_dtype_of(b, sequence),
                             ATEN_ARGS(aten_tensor("self", sequence), aten_integers("dims", 1, (const int64_t[]){0})));
    return swapped(b, sequence, false);
}

/* `gates`: what the input makes of them, (batch, time, gates, …). Programs of torch.export have few steps written out, which every
 * tool that reads them understands. */
static int run(struct aten_builder *b, struct loop *r, int gates)
{
    const struct torch_node *node = r->node;
    const struct aten_int *time = aten_size(b, gates, 1);
    struct aten_shape shape = aten_without(b, gates, 1);
    if (b->failed)
        return -1;
    r->rank = shape.rank;
    shape.dims[1] = aten_int(b, r->units);
    int first = r->mask == ATEN_NO_TENSOR ? 1 : 2;
    bool given = node->input_count > first;
    struct course c = {.x = gates, .valid = validity(b, r)};
    for (int i = 0; i < r->state_count; i++)
        c.states[i] = given ? aten_input(b, node, first + i) : aten_full(b, gates, shape, 0);
    c.output = r->mask == ATEN_NO_TENSOR ? ATEN_NO_TENSOR : aten_full(b, gates, shape, 0);
    bool few = b->newest && aten_int_known(time) && time->value >= 1 && time->value <= MAX_STEPS;
    int sequence = few ? unroll(b, r, &c, (int)time->value) : scan(b, r, &c);
    for (int i = 0; i < r->state_count; i++)
        aten_set_output(b, node, 1 + i, c.states[i]);
    return sequence;
}

static struct loop loop_of(struct aten_builder *b, const struct torch_node *node)
{
    return (struct loop){
        .node = node,
        .state_count = 1,
        .units = torch_attr_int(node, "hidden_size"),
        .activation = find_activation(b, node, "activation", "torch.tanh"),
        .recurrent_activation = find_activation(b, node, "recurrent_activation", "torch.sigmoid"),
        .bias_hh = ATEN_NO_TENSOR,
        .reset_weight = ATEN_NO_TENSOR,
        .mask = aten_attr_flag(node, "masked", false) ? aten_input(b, node, 1) : ATEN_NO_TENSOR,
        .reverse = aten_attr_flag(node, "reverse", false),
        .zero_output = aten_attr_flag(node, "zero_output", false),
    };
}

/* With weight_ih, weight_hh and bias. */
static int run_projected(struct aten_builder *b, struct loop *r)
{
    int bias = aten_attr_flag(r->node, "bias", true) ? aten_parameter(b, r->node, 2) : ATEN_NO_TENSOR;
    return run(b, r, projected(b, aten_input(b, r->node, 0), aten_parameter(b, r->node, 0), bias));
}

int aten_LSTM_LOOP(struct aten_builder *b, const struct torch_node *node)
{
    struct loop r = loop_of(b, node);
    r.step = lstm_step;
    r.state_count = 2;
    r.weight_hh = aten_parameter(b, node, 1);
    return run_projected(b, &r);
}

int aten_GRU_LOOP(struct aten_builder *b, const struct torch_node *node)
{
    struct loop r = loop_of(b, node);
    r.step = gru_step;
    r.weight_hh = aten_parameter(b, node, 1);
    if (aten_attr_flag(node, "reset_after", true)) {
        r.bias_hh = aten_attr_flag(node, "bias", true) ? aten_parameter(b, node, 3) : ATEN_NO_TENSOR;
    } else {
        const struct aten_int *rows = aten_int(b, 2 * r.units);
        /* The inputs of a scan must not share memory. */
        r.reset_weight = aten_unary(b, "clone.default", aten_slice(b, r.weight_hh, 0, rows, NULL));
        r.weight_hh = aten_slice(b, r.weight_hh, 0, NULL, rows);
    }
    return run_projected(b, &r);
}

int aten_RNN_LOOP(struct aten_builder *b, const struct torch_node *node)
{
    struct loop r = loop_of(b, node);
    r.step = rnn_step;
    r.weight_hh = aten_parameter(b, node, 1);
    return run_projected(b, &r);
}

int aten_CONV_LSTM_LOOP(struct aten_builder *b, const struct torch_node *node)
{
    struct loop r = loop_of(b, node);
    int x = aten_input(b, node, 0), dims = aten_rank(b, x) - 3;
    if (!b->failed && (dims < 1 || dims > 3))
        return aten_refuse(b, "a convolutional loop over %d dims", dims);
    aten_attr_ints(node, "kernel_size", dims, 1, r.kernel);
    r.step = lstm_step;
    r.state_count = 2;
    r.weight_hh = aten_parameter(b, node, 0);
    return run(b, &r, x);
}
