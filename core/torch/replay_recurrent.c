/* SPDX-License-Identifier: Apache-2.0 */
/* nn.LSTM, nn.GRU and nn.RNN: one layer, batch first, one direction or two. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "torch/replay_internal.h"

enum cell { CELL_LSTM, CELL_GRU, CELL_RNN_TANH, CELL_RNN_RELU };

static const int gate_counts[] = {[CELL_LSTM] = 4, [CELL_GRU] = 3, [CELL_RNN_TANH] = 1, [CELL_RNN_RELU] = 1};

struct recurrent {
    const struct replay_call *call;
    enum cell cell;
    int64_t batch, time, inputs, units, gates; /* gates: rows of the weights */
    int directions;
    bool bias;
};

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* One step of one sample: `a` the input's part of the gates, `b` the state's part (with their biases). */
static void step_lstm(int64_t n, const float *a, const float *b, float *h, float *c)
{
    for (int64_t j = 0; j < n; j++) {
        float i = sigmoid(a[j] + b[j]), f = sigmoid(a[n + j] + b[n + j]);
        float g = tanhf(a[2 * n + j] + b[2 * n + j]), o = sigmoid(a[3 * n + j] + b[3 * n + j]);
        c[j] = f * c[j] + i * g;
        h[j] = o * tanhf(c[j]);
    }
}

static void step_gru(int64_t n, const float *a, const float *b, float *h)
{
    for (int64_t j = 0; j < n; j++) {
        float r = sigmoid(a[j] + b[j]), z = sigmoid(a[n + j] + b[n + j]);
        float candidate = tanhf(a[2 * n + j] + r * b[2 * n + j]);
        h[j] = (1.0f - z) * candidate + z * h[j];
    }
}

static void step_rnn(int64_t n, const float *a, const float *b, float *h, bool relu)
{
    for (int64_t j = 0; j < n; j++)
        h[j] = relu ? fmaxf(a[j] + b[j], 0.0f) : tanhf(a[j] + b[j]);
}

static void step(const struct recurrent *r, const float *a, const float *b, float *h, float *c)
{
    switch (r->cell) {
    case CELL_LSTM: step_lstm(r->units, a, b, h, c); break;
    case CELL_GRU: step_gru(r->units, a, b, h); break;
    case CELL_RNN_TANH: step_rnn(r->units, a, b, h, false); break;
    case CELL_RNN_RELU: step_rnn(r->units, a, b, h, true); break;
    }
}

/* rows = x weightᵀ + bias, `count` rows. */
static int project(const struct recurrent *r, const float *x, int64_t count, int64_t width, const struct tensor *weight,
                   const struct tensor *bias, float *rows, struct h5pt_error *err)
{
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < r->gates; j++)
            rows[i * r->gates + j] = bias ? bias->data[j] : 0.0f;
    struct replay_gemm gemm = {.transpose_b = true,
                               .m = count,
                               .n = r->gates,
                               .k = width,
                               .a = x,
                               .a_row = width,
                               .b = weight->data,
                               .b_row = width,
                               .c = rows,
                               .c_row = r->gates,
                               .beta = 1.0f};
    return replay_gemm(r->call, &gemm, err);
}

/* One direction: h and c (batch x units) hold the first states and then the last ones; y is (batch, time, directions x
 * units). */
static int run_direction(const struct recurrent *r, int direction, float *h, float *c, float *y, struct h5pt_error *err)
{
    int per = r->bias ? 4 : 2;
    const struct tensor *const *p = r->call->parameters + direction * per;
    const struct tensor *x = r->call->inputs[0];
    float *from_x = malloc(((size_t)(r->batch * r->time * r->gates) + 1) * sizeof *from_x);
    float *from_h = malloc(((size_t)(r->batch * r->gates) + 1) * sizeof *from_h);
    int status = -1;
    if (!from_x || !from_h) {
        (void)h5pt_fail_memory(err);
        goto out;
    }
    if (project(r, x->data, r->batch * r->time, r->inputs, p[0], r->bias ? p[2] : NULL, from_x, err) < 0)
        goto out;
    for (int64_t i = 0; i < r->time; i++) {
        int64_t t = direction ? r->time - 1 - i : i;
        if (project(r, h, r->batch, r->units, p[1], r->bias ? p[3] : NULL, from_h, err) < 0)
            goto out;
        for (int64_t b = 0; b < r->batch; b++) {
            step(r, from_x + (b * r->time + t) * r->gates, from_h + b * r->gates, h + b * r->units,
                 c ? c + b * r->units : NULL);
            memcpy(y + ((b * r->time + t) * r->directions + direction) * r->units, h + b * r->units,
                   (size_t)r->units * sizeof *y);
        }
    }
    status = 0;
out:
    free(from_x);
    free(from_h);
    return status;
}

static int check_parameters(const struct recurrent *r, struct h5pt_error *err)
{
    int per = r->bias ? 4 : 2;
    if (r->call->node->parameter_count != per * r->directions)
        return replay_mismatch(r->call, err, "it takes %d parameters", per * r->directions);
    for (int i = 0; i < per * r->directions; i++) {
        const struct shape *s = &r->call->parameters[i]->shape;
        int64_t width = i % per == 0 ? r->inputs : r->units;
        bool fits = i % per < 2 ? s->rank == 2 && s->dims[0] == r->gates && s->dims[1] == width
                                : s->rank == 1 && s->dims[0] == r->gates;
        if (!fits)
            return replay_mismatch(r->call, err, "parameter %d does not fit", i);
    }
    return 0;
}

static int recurrent_init(struct recurrent *r, const struct replay_call *call, enum cell cell, struct h5pt_error *err)
{
    const struct shape *x = &call->inputs[0]->shape;
    if (x->rank != 3 || !replay_bool(call, "batch_first", false))
        return replay_mismatch(call, err, "the input should be (batch, time, features), batch first");
    *r = (struct recurrent){
        .call = call,
        .cell = cell,
        .batch = x->dims[0],
        .time = x->dims[1],
        .inputs = x->dims[2],
        .units = replay_int(call, "hidden_size", 0),
        .directions = replay_bool(call, "bidirectional", false) ? 2 : 1,
        .bias = replay_bool(call, "bias", true),
    };
    r->gates = r->units * gate_counts[cell];
    if (r->units < 1 || r->units > INT32_MAX || r->time < 1)
        return replay_mismatch(call, err, "hidden_size and time should be positive");
    return check_parameters(r, err);
}

/* The first state number `index` (0: h, 1: c), from the inputs or zero. */
static struct tensor *first_state(const struct recurrent *r, int index, struct h5pt_error *err)
{
    struct shape shape = {.rank = 3, .dims = {r->directions, r->batch, r->units}};
    struct tensor *state = replay_new(&shape, DTYPE_F32, err);
    if (!state)
        return NULL;
    if (r->call->node->input_count == 1) {
        memset(state->data, 0, (size_t)state->count * sizeof *state->data);
        return state;
    }
    const struct tensor *given = r->call->inputs[1 + index];
    if (!shape_equal(&given->shape, &shape)) {
        (void)replay_mismatch(r->call, err, "a first state does not fit");
        return tensor_free(state);
    }
    memcpy(state->data, given->data, (size_t)state->count * sizeof *state->data);
    return state;
}

static int run(const struct replay_call *call, enum cell cell, struct tensor **ret, struct h5pt_error *err)
{
    struct recurrent r;
    if (recurrent_init(&r, call, cell, err) < 0)
        return -1;
    bool lstm = cell == CELL_LSTM;
    struct shape shape = {.rank = 3, .dims = {r.batch, r.time, r.directions * r.units}};
    struct tensor *y = replay_new(&shape, DTYPE_F32, err);
    struct tensor *h = first_state(&r, 0, err), *c = lstm ? first_state(&r, 1, err) : NULL;
    int status = y && h && (c || !lstm) ? 0 : -1;
    for (int d = 0; d < r.directions && status == 0; d++) {
        int64_t offset = d * r.batch * r.units;
        status = run_direction(&r, d, h->data + offset, lstm ? c->data + offset : NULL, y->data, err);
    }
    if (status < 0) {
        tensor_free(y);
        tensor_free(h);
        tensor_free(c);
        return -1;
    }
    ret[0] = y;
    ret[1] = h;
    if (lstm)
        ret[2] = c;
    return 0;
}

int replay_LSTM(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return run(call, CELL_LSTM, ret, err);
}

int replay_GRU(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return run(call, CELL_GRU, ret, err);
}

int replay_RNN(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct torch_attr *attr = torch_attr(call->node, "nonlinearity");
    bool relu = attr && strcmp(attr->text, "relu") == 0;
    return run(call, relu ? CELL_RNN_RELU : CELL_RNN_TANH, ret, err);
}

int replay_SELECT(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int dim;
    if (replay_dim(call, replay_int(call, "dim", 0), x->shape.rank, &dim, err) < 0)
        return -1;
    int64_t index = replay_int(call, "index", 0), size = x->shape.dims[dim], inner = 1;
    if (index < -size || index >= size)
        return replay_mismatch(call, err, "there is no index %" PRId64, index);
    index += index < 0 ? size : 0;
    struct shape shape = {.rank = x->shape.rank - 1};
    for (int i = 0, k = 0; i < x->shape.rank; i++) {
        if (i != dim)
            shape.dims[k++] = x->shape.dims[i];
        if (i > dim)
            inner *= x->shape.dims[i];
    }
    struct tensor *y = replay_new(&shape, x->dtype, err);
    if (!y)
        return -1;
    for (int64_t i = 0; inner && i < y->count / inner; i++)
        memcpy(y->data + i * inner, x->data + (i * size + index) * inner, (size_t)inner * sizeof *y->data);
    *ret = y;
    return 0;
}

int replay_FLIP(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    bool flipped[SHAPE_MAX_RANK] = {false};
    if (!torch_attr(call->node, "dims") || replay_dims(call, "dims", flipped, err) < 0)
        return replay_mismatch(call, err, "dims are needed");
    struct tensor *y = replay_new(&x->shape, x->dtype, err);
    if (!y)
        return -1;
    int64_t strides[SHAPE_MAX_RANK];
    replay_strides(&x->shape, strides);
    for (int64_t i = 0; i < x->count; i++) {
        int64_t from = 0;
        for (int k = 0; k < x->shape.rank; k++) {
            int64_t at = i / strides[k] % x->shape.dims[k];
            from += (flipped[k] ? x->shape.dims[k] - 1 - at : at) * strides[k];
        }
        y->data[i] = x->data[from];
    }
    *ret = y;
    return 0;
}
