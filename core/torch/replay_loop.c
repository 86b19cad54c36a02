/* SPDX-License-Identifier: Apache-2.0 */
/* LSTMLoop, GRULoop, RNNLoop and ConvLSTMLoop: the modules that model.py brings along. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "torch/replay_internal.h"

/* ---- activations ---- */

static float f_linear(float x)
{
    return x;
}
static float f_relu(float x)
{
    return x < 0 ? 0 : x;
}
static float f_relu6(float x)
{
    return x < 0 ? 0 : x > 6 ? 6 : x;
}
static float f_leaky_relu(float x)
{
    return x < 0 ? 0.2f * x : x;
}
static float f_elu(float x)
{
    return x > 0 ? x : expm1f(x);
}
static float f_selu(float x)
{
    return 1.05070098f * (x > 0 ? x : 1.67326324f * expm1f(x));
}
static float f_sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}
static float f_silu(float x)
{
    return x / (1.0f + expf(-x));
}
static float f_gelu(float x)
{
    return 0.5f * x * erfcf(-x * 0.70710678f);
}
static float f_softplus(float x)
{
    return x > 20 ? x : log1pf(expf(x));
}
static float f_mish(float x)
{
    return x * tanhf(f_softplus(x));
}
static float f_softsign(float x)
{
    return x / (1.0f + fabsf(x));
}
static float f_logsigmoid(float x)
{
    return fminf(x, 0) - log1pf(expf(-fabsf(x)));
}
static float f_hardsigmoid(float x)
{
    return fminf(fmaxf(x + 3, 0), 6) / 6;
}
static float f_hard_sigmoid(float x)
{
    return fminf(fmaxf(0.2f * x + 0.5f, 0), 1);
}
static float f_hardswish(float x)
{
    return x * f_hardsigmoid(x);
}
static float f_hardtanh(float x)
{
    return x < -1 ? -1 : x > 1 ? 1 : x;
}
static float f_hardshrink(float x)
{
    return fabsf(x) > 0.5f ? x : 0;
}
static float f_softshrink(float x)
{
    return x > 0.5f ? x - 0.5f : x < -0.5f ? x + 0.5f : 0;
}
static float f_tanhshrink(float x)
{
    return x - tanhf(x);
}

static const struct function {
    const char *name;
    float (*at)(float); /* NULL: softmax */
} functions[] = {
    {"torch.tanh", tanhf},
    {"torch.sigmoid", f_sigmoid},
    {"torch.exp", expf},
    {"F.relu", f_relu},
    {"F.relu6", f_relu6},
    {"F.elu", f_elu},
    {"F.celu", f_elu},
    {"F.selu", f_selu},
    {"F.gelu", f_gelu},
    {"F.silu", f_silu},
    {"F.mish", f_mish},
    {"F.softplus", f_softplus},
    {"F.softsign", f_softsign},
    {"F.logsigmoid", f_logsigmoid},
    {"F.hardsigmoid", f_hardsigmoid},
    {"F.hardswish", f_hardswish},
    {"F.hardtanh", f_hardtanh},
    {"F.hardshrink", f_hardshrink},
    {"F.softshrink", f_softshrink},
    {"F.tanhshrink", f_tanhshrink},
    {"linear", f_linear},
    {"leaky_relu", f_leaky_relu},
    {"hard_sigmoid", f_hard_sigmoid},
    {"softmax", NULL},
};

static const struct function *find_function(const struct replay_call *call, const char *attr, const char *fallback)
{
    const char *name = torch_attr_text(call->node, attr);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].name, name ? name : fallback) == 0)
            return &functions[i];
    return NULL;
}

/* softmax over `n` numbers that stand `step` apart */
static void softmax(float *x, int64_t n, int64_t step)
{
    float most = x[0], sum = 0;
    for (int64_t i = 1; i < n; i++)
        most = fmaxf(most, x[i * step]);
    for (int64_t i = 0; i < n; i++)
        sum += x[i * step] = expf(x[i * step] - most);
    for (int64_t i = 0; i < n; i++)
        x[i * step] /= sum;
}

/* ---- the loop ---- */

enum kind { LOOP_LSTM, LOOP_GRU, LOOP_RNN, LOOP_CONV_LSTM };

struct loop {
    const struct replay_call *call;
    enum kind kind;
    int state_count, gate_count;
    int64_t batch, time, units, cells; /* cells: of the feature map of a ConvLSTM, else 1 */
    const struct tensor *weight_ih, *weight_hh, *bias_ih, *bias_hh, *mask;
    const struct function *activation, *recurrent_activation;
    bool reset_after, reverse, zero_output;
    struct replay_window window;        /* of the state's convolution */
    struct tensor *state[2], *fresh[2]; /* (batch, units, …) */
    float *gates, *hidden, *columns;    /* (batch, gates x units, cells); columns of one sample */
};

bool replay_loop_inputs(const struct torch_node *node, int states)
{
    const struct torch_attr *masked = torch_attr(node, "masked");
    int least = masked && masked->i ? 2 : 1;
    return node->input_count == least || node->input_count == least + states;
}

static void activate(const struct loop *r, const struct function *f, float *gate)
{
    int64_t n = r->units * r->cells;
    for (int64_t i = 0; f->at && i < n; i++)
        gate[i] = f->at(gate[i]);
    for (int64_t i = 0; !f->at && i < r->cells; i++) /* torch: dim 1 for (batch, units); not used for feature maps */
        softmax(gate + i, r->units, r->cells);
}

/* out (rows x gates) = bias + in (rows x width) weightᵀ, for `gates` rows of the weight from `first` on. */
static int project(const struct loop *r, const float *in, int64_t rows, int64_t width, const struct tensor *weight,
                   const struct tensor *bias, int64_t first, int64_t gates, float *out, struct h5pt_error *err)
{
    int64_t all = r->gate_count * r->units;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < gates; j++)
            out[i * all + first + j] = bias ? bias->data[first + j] : 0.0f;
    struct replay_gemm gemm = {.transpose_b = true,
                               .m = rows,
                               .n = gates,
                               .k = width,
                               .a = in,
                               .a_row = width,
                               .b = weight->data + first * width,
                               .b_row = width,
                               .c = out + first,
                               .c_row = all,
                               .beta = 1.0f};
    return replay_gemm(r->call, &gemm, err);
}

/* hidden = convolution of the state, sample by sample. */
static int convolve_state(const struct loop *r, struct h5pt_error *err)
{
    int64_t all = r->gate_count * r->units, taps = r->units * r->window.kernel_size;
    for (int64_t b = 0; b < r->batch; b++) {
        replay_columns(&r->window, r->units, r->state[0]->data + b * r->units * r->cells, 0, r->cells, r->columns);
        struct replay_gemm gemm = {.m = all,
                                   .n = r->cells,
                                   .k = taps,
                                   .a = r->weight_hh->data,
                                   .a_row = taps,
                                   .b = r->columns,
                                   .b_row = r->cells,
                                   .c = r->hidden + b * all * r->cells,
                                   .c_row = r->cells};
        if (replay_gemm(r->call, &gemm, err) < 0)
            return -1;
    }
    return 0;
}

static int from_state(const struct loop *r, struct h5pt_error *err)
{
    if (r->kind == LOOP_CONV_LSTM)
        return convolve_state(r, err);
    int64_t rows = r->kind == LOOP_GRU && !r->reset_after ? 2 : r->gate_count;
    return project(r, r->state[0]->data, r->batch, r->units, r->weight_hh, r->bias_hh, 0, rows * r->units, r->hidden,
                   err);
}

static void step_lstm(const struct loop *r, int64_t b)
{
    int64_t n = r->units * r->cells;
    float *g = r->gates + b * 4 * n;
    const float *h = r->hidden + b * 4 * n, *c = r->state[1]->data + b * n;
    float *new_h = r->fresh[0]->data + b * n, *new_c = r->fresh[1]->data + b * n;
    for (int64_t i = 0; i < 4 * n; i++)
        g[i] += h[i];
    for (int i = 0; i < 4; i++)
        activate(r, i == 2 ? r->activation : r->recurrent_activation, g + i * n);
    for (int64_t i = 0; i < n; i++)
        new_h[i] = new_c[i] = g[n + i] * c[i] + g[i] * g[2 * n + i];
    activate(r, r->activation, new_h);
    for (int64_t i = 0; i < n; i++)
        new_h[i] *= g[3 * n + i];
}

static void step_rnn(const struct loop *r, int64_t b)
{
    float *h = r->fresh[0]->data + b * r->units;
    for (int64_t i = 0; i < r->units; i++)
        h[i] = r->gates[b * r->units + i] + r->hidden[b * r->units + i];
    activate(r, r->activation, h);
}

static int step_gru(const struct loop *r, struct h5pt_error *err)
{
    int64_t n = r->units, all = 3 * n;
    for (int64_t b = 0; b < r->batch; b++) {
        float *g = r->gates + b * all;
        for (int64_t i = 0; i < 2 * n; i++)
            g[i] += r->hidden[b * all + i];
        activate(r, r->recurrent_activation, g);
        activate(r, r->recurrent_activation, g + n);
        for (int64_t i = 0; i < n; i++) /* the state after the reset, or its product after the reset */
            if (r->reset_after)
                r->hidden[b * all + 2 * n + i] *= g[i];
            else
                r->fresh[0]->data[b * n + i] = g[i] * r->state[0]->data[b * n + i];
    }
    if (!r->reset_after && project(r, r->fresh[0]->data, r->batch, n, r->weight_hh, NULL, 2 * n, n, r->hidden, err) < 0)
        return -1;
    for (int64_t b = 0; b < r->batch; b++) {
        float *g = r->gates + b * all;
        for (int64_t i = 0; i < n; i++)
            g[2 * n + i] += r->hidden[b * all + 2 * n + i];
        activate(r, r->activation, g + 2 * n);
        for (int64_t i = 0; i < n; i++)
            r->fresh[0]->data[b * n + i] = (1.0f - g[n + i]) * g[2 * n + i] + g[n + i] * r->state[0]->data[b * n + i];
    }
    return 0;
}

/* The gates of step t as far as the input makes them. */
static int from_input(const struct loop *r, int64_t t, struct h5pt_error *err)
{
    const struct tensor *x = r->call->inputs[0];
    int64_t width = x->count / (r->batch * r->time), all = r->gate_count * r->units;
    for (int64_t b = 0; b < r->batch; b++) {
        const float *in = x->data + (b * r->time + t) * width;
        if (r->kind == LOOP_CONV_LSTM)
            memcpy(r->gates + b * width, in, (size_t)width * sizeof *in);
        else if (project(r, in, 1, width, r->weight_ih, r->bias_ih, 0, all, r->gates + b * all, err) < 0)
            return -1;
    }
    return 0;
}

static int run_step(const struct loop *r, int64_t t, struct h5pt_error *err)
{
    if (from_input(r, t, err) < 0 || from_state(r, err) < 0)
        return -1;
    if (r->kind == LOOP_GRU)
        return step_gru(r, err);
    for (int64_t b = 0; b < r->batch; b++) {
        if (r->kind == LOOP_RNN)
            step_rnn(r, b);
        else
            step_lstm(r, b);
    }
    return 0;
}

static int run_loop(const struct loop *r, struct tensor *y, struct h5pt_error *err)
{
    int64_t n = r->units * r->cells;
    size_t row = (size_t)n * sizeof(float);
    for (int64_t i = 0; i < r->time && r->batch; i++) {
        int64_t t = r->reverse ? r->time - 1 - i : i, before = r->reverse ? t + 1 : t - 1;
        if (run_step(r, t, err) < 0)
            return -1;
        for (int64_t b = 0; b < r->batch; b++) {
            float *out = y->data + (b * r->time + t) * n;
            if (!r->mask || r->mask->data[b * r->time + t] != 0) {
                for (int k = 0; k < r->state_count; k++)
                    memcpy(r->state[k]->data + b * n, r->fresh[k]->data + b * n, row);
                memcpy(out, r->state[0]->data + b * n, row);
            } else if (i == 0 || r->zero_output) {
                memset(out, 0, row);
            } else {
                memcpy(out, y->data + (b * r->time + before) * n, row);
            }
        }
    }
    return 0;
}

/* ---- preparing ---- */

static bool is_matrix(const struct tensor *t, int64_t rows, int64_t columns)
{
    return t->shape.rank == 2 && t->shape.dims[0] == rows && t->shape.dims[1] == columns;
}

static int take_parameters(struct loop *r, struct h5pt_error *err)
{
    const struct replay_call *call = r->call;
    const struct tensor *const *p = call->parameters;
    int64_t all = r->gate_count * r->units;
    bool bias = replay_bool(call, "bias", true);
    bool two = r->kind == LOOP_GRU && r->reset_after;
    int count = r->kind == LOOP_CONV_LSTM ? 1 : !bias ? 2 : two ? 4 : 3;
    if (call->node->parameter_count != count)
        return replay_mismatch(call, err, "it takes %d parameters", count);
    if (r->kind == LOOP_CONV_LSTM) {
        r->weight_hh = p[0];
        const struct shape *s = &p[0]->shape;
        bool fits = s->rank == r->window.rank + 2 && s->dims[0] == all && s->dims[1] == r->units;
        for (int i = 0; fits && i < r->window.rank; i++)
            fits = s->dims[2 + i] == r->window.kernel[3 - r->window.rank + i];
        return fits ? 0 : replay_mismatch(call, err, "weight_hh does not fit");
    }
    r->weight_ih = p[0];
    r->weight_hh = p[1];
    r->bias_ih = bias ? p[2] : NULL;
    r->bias_hh = bias && two ? p[3] : NULL;
    bool fits = is_matrix(p[0], all, call->inputs[0]->shape.dims[2]) && is_matrix(p[1], all, r->units);
    for (int i = 2; fits && i < count; i++)
        fits = p[i]->shape.rank == 1 && p[i]->shape.dims[0] == all;
    return fits ? 0 : replay_mismatch(call, err, "a parameter does not fit");
}

/* Stride 1, "same". */
static int set_window(struct loop *r, struct h5pt_error *err)
{
    const struct shape *x = &r->call->inputs[0]->shape;
    int rank = x->rank - 3;
    struct replay_window w = {.rank = rank, .batch = r->batch, .channels = r->units, .kernel_size = 1};
    int64_t kernel[3];
    if (replay_ints(r->call, "kernel_size", rank, 1, 1, kernel, err) < 0)
        return -1;
    for (int i = 0; i < 3; i++) {
        int k = i - (3 - rank);
        w.in[i] = w.out[i] = k < 0 ? 1 : x->dims[3 + k];
        w.kernel[i] = k < 0 ? 1 : kernel[k];
        w.stride[i] = w.dilation[i] = 1;
        w.before[i] = replay_bool(r->call, "pad_front", false) ? w.kernel[i] / 2 : (w.kernel[i] - 1) / 2;
        w.kernel_size *= w.kernel[i];
    }
    w.in_size = w.out_size = r->cells = w.in[0] * w.in[1] * w.in[2];
    r->window = w;
    return 0;
}

static int set_states(struct loop *r, struct h5pt_error *err)
{
    const struct replay_call *call = r->call;
    struct shape shape = call->inputs[0]->shape;
    int first = r->mask ? 2 : 1;
    shape.rank--;
    memmove(shape.dims + 1, shape.dims + 2, (size_t)(shape.rank - 1) * sizeof *shape.dims);
    shape.dims[1] = r->units;
    for (int k = 0; k < r->state_count; k++) {
        r->state[k] = replay_new(&shape, DTYPE_F32, err);
        r->fresh[k] = replay_new(&shape, DTYPE_F32, err);
        if (!r->state[k] || !r->fresh[k])
            return -1;
        memset(r->state[k]->data, 0, (size_t)r->state[k]->count * sizeof(float));
        if (call->node->input_count == first)
            continue;
        const struct tensor *given = call->inputs[first + k];
        if (!shape_equal(&given->shape, &shape))
            return replay_mismatch(call, err, "a first state does not fit");
        memcpy(r->state[k]->data, given->data, (size_t)given->count * sizeof(float));
    }
    size_t gates = (size_t)(r->batch * r->gate_count * r->units * r->cells) + 1;
    r->gates = malloc(gates * sizeof *r->gates);
    r->hidden = malloc(gates * sizeof *r->hidden);
    r->columns = r->kind == LOOP_CONV_LSTM
                     ? malloc(((size_t)(r->units * r->window.kernel_size * r->cells) + 1) * sizeof *r->columns)
                     : NULL;
    bool ok = r->gates && r->hidden && (r->columns || r->kind != LOOP_CONV_LSTM);
    return ok ? 0 : h5pt_fail_memory(err);
}

static int loop_init(struct loop *r, const struct replay_call *call, enum kind kind, struct h5pt_error *err)
{
    static const int gate_counts[] = {4, 3, 1, 4}, state_counts[] = {2, 1, 1, 2};
    const struct shape *x = &call->inputs[0]->shape;
    *r = (struct loop){
        .call = call,
        .kind = kind,
        .state_count = state_counts[kind],
        .gate_count = gate_counts[kind],
        .units = replay_int(call, "hidden_size", 0),
        .cells = 1,
        .activation = find_function(call, "activation", "torch.tanh"),
        .recurrent_activation = find_function(call, "recurrent_activation", "torch.sigmoid"),
        .reset_after = replay_bool(call, "reset_after", true),
        .reverse = replay_bool(call, "reverse", false),
        .zero_output = replay_bool(call, "zero_output", false),
        .mask = replay_bool(call, "masked", false) ? call->inputs[1] : NULL,
    };
    bool convolutional = kind == LOOP_CONV_LSTM;
    if (convolutional ? x->rank < 4 || x->rank > 6 || x->dims[2] != 4 * r->units : x->rank != 3)
        return replay_mismatch(call, err, "the input should be (batch, time, features)");
    r->batch = x->dims[0];
    r->time = x->dims[1];
    if (r->units < 1 || r->units > INT32_MAX || r->time < 1 || !r->activation || !r->recurrent_activation)
        return replay_mismatch(call, err, "hidden_size, time or activation cannot be");
    if (r->mask && !is_matrix(r->mask, r->batch, r->time))
        return replay_mismatch(call, err, "the mask should be (batch, time)");
    if (convolutional && (!r->activation->at || !r->recurrent_activation->at))
        return replay_mismatch(call, err, "softmax is not for feature maps");
    if (convolutional && set_window(r, err) < 0)
        return -1;
    return take_parameters(r, err) < 0 ? -1 : set_states(r, err);
}

static int run(const struct replay_call *call, enum kind kind, struct tensor **ret, struct h5pt_error *err)
{
    struct loop r;
    struct tensor *y = NULL;
    int status = loop_init(&r, call, kind, err);
    if (status == 0) {
        struct shape shape = call->inputs[0]->shape;
        shape.dims[2] = r.units;
        y = replay_new(&shape, DTYPE_F32, err);
        status = y ? run_loop(&r, y, err) : -1;
    }
    for (int k = 0; k < 2; k++)
        tensor_free(r.fresh[k]);
    free(r.gates);
    free(r.hidden);
    free(r.columns);
    if (status == 0) {
        ret[0] = y;
        for (int k = 0; k < r.state_count; k++)
            ret[1 + k] = r.state[k];
        return 0;
    }
    tensor_free(y);
    for (int k = 0; k < 2; k++)
        tensor_free(r.state[k]);
    return -1;
}

int replay_LSTM_LOOP(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return run(call, LOOP_LSTM, ret, err);
}

int replay_GRU_LOOP(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return run(call, LOOP_GRU, ret, err);
}

int replay_RNN_LOOP(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return run(call, LOOP_RNN, ret, err);
}

int replay_CONV_LSTM_LOOP(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return run(call, LOOP_CONV_LSTM, ret, err);
}
