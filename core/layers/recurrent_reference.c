/* SPDX-License-Identifier: Apache-2.0 */
/* Recurrent layers as Keras defines them, step by step. Gates are i, f, c, o (LSTM) and z, r, h (GRU). Sequences are kept in
 * the order of computing; the state of a ConvLSTM is a channels-last feature map, `cells` of them. */
#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "layers/recurrent.h"

/* What runs through the cells of one direction. */
struct sequence {
    int64_t batch, time, width; /* width: of one step of one sample */
    float *data;                /* owned: (batch, time, width) */
    float *mask;                /* owned: (batch, time), or NULL */
};

/* One cell at work. Sizes of a step of one sample: `positions` (1, or those of the feature map) x channels. */
struct worker {
    const struct recurrent_direction *d;
    const struct recurrent_cell_config *c;
    struct h5pt_error *err;
    int64_t batch, positions, units, gates, inputs;
    struct window_axis input_axes[WINDOW_MAX_RANK], state_axes[WINDOW_MAX_RANK];
    const float *kernel, *recurrent, *bias, *state_bias;
    float *kernel_copy, *recurrent_copy; /* owned: CuDNN's weights in Keras' order */
    struct tensor *h, *cell;             /* (batch, positions x units), the state */
    struct tensor *from_x, *from_h;      /* (batch, positions x gates) */
    struct tensor *gate[4];              /* (batch, positions, units) */
};

/* ---- affine maps ---- */

/* out = bias, for `rows` rows. */
static void fill_rows(float *out, const float *bias, int64_t rows, int64_t width)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < width; j++)
            out[i * width + j] = bias ? bias[j] : 0.0f;
}

/* out += in (rows x width) * columns first … first + count of weight (width x gates) */
static void multiply(const float *in, int64_t rows, int64_t width, const float *weight, int64_t first, int64_t count,
                     int64_t gates, float *out)
{
    if (rows && width)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)count, (int)width, 1.0f, in, (int)width,
                    weight + first, (int)gates, 1.0f, out + first, (int)gates);
}

static int convolve(const struct worker *w, const float *in, int64_t channels, const float *kernel,
                    const struct window_axis axes[WINDOW_MAX_RANK], float *out)
{
    struct window_convolution job = {
        .batch = w->batch, .channels = channels, .groups = 1, .filters = w->gates, .x = in, .kernel = kernel, .y = out};
    memcpy(job.axes, axes, sizeof job.axes);
    return window_convolve(&job, w->err);
}

static int apply_input(const struct worker *w, const float *x)
{
    fill_rows(w->from_x->data, w->bias, w->batch * w->positions, w->gates);
    if (w->c->kind == RECURRENT_CONV_LSTM)
        return convolve(w, x, w->inputs, w->kernel, w->input_axes, w->from_x->data);
    multiply(x, w->batch, w->inputs, w->kernel, 0, w->gates, w->gates, w->from_x->data);
    return 0;
}

static int apply_state(const struct worker *w)
{
    fill_rows(w->from_h->data, w->state_bias, w->batch * w->positions, w->gates);
    if (w->c->kind == RECURRENT_CONV_LSTM)
        return convolve(w, w->h->data, w->units, w->recurrent, w->state_axes, w->from_h->data);
    bool late = w->c->kind == RECURRENT_GRU && !w->c->reset_after;
    multiply(w->h->data, w->batch, w->units, w->recurrent, 0, late ? 2 * w->units : w->gates, w->gates,
             w->from_h->data);
    return 0;
}

/* ---- steps ---- */

/* Gate `index`, from both parts. */
static int take_gate(const struct worker *w, int index, const struct activation *activation)
{
    int64_t u = w->units;
    float *out = w->gate[index]->data;
    for (int64_t i = 0; i < w->batch * w->positions; i++)
        for (int64_t j = 0; j < u; j++)
            out[i * u + j] = w->from_x->data[i * w->gates + index * u + j] +
                             w->from_h->data[i * w->gates + index * u + j];
    return activation_reference(activation, w->gate[index], w->err);
}

static int step_simple(const struct worker *w)
{
    if (take_gate(w, 0, &w->c->activation) < 0)
        return -1;
    memcpy(w->h->data, w->gate[0]->data, (size_t)w->h->count * sizeof(float));
    return 0;
}

static int step_lstm(const struct worker *w)
{
    const struct recurrent_cell_config *c = w->c;
    for (int i = 0; i < 4; i++)
        if (take_gate(w, i, i == 2 ? &c->activation : &c->recurrent_activation) < 0)
            return -1;
    for (int64_t i = 0; i < w->cell->count; i++)
        w->cell->data[i] = w->gate[1]->data[i] * w->cell->data[i] + w->gate[0]->data[i] * w->gate[2]->data[i];
    memcpy(w->gate[2]->data, w->cell->data, (size_t)w->cell->count * sizeof(float));
    if (activation_reference(&c->activation, w->gate[2], w->err) < 0)
        return -1;
    for (int64_t i = 0; i < w->h->count; i++)
        w->h->data[i] = w->gate[3]->data[i] * w->gate[2]->data[i];
    return 0;
}

static int step_gru(const struct worker *w)
{
    int64_t u = w->units;
    for (int i = 0; i < 2; i++)
        if (take_gate(w, i, &w->c->recurrent_activation) < 0)
            return -1;
    const float *z = w->gate[0]->data;
    float *r = w->gate[1]->data;
    if (!w->c->reset_after) {
        for (int64_t i = 0; i < w->h->count; i++)
            r[i] *= w->h->data[i];
        multiply(r, w->batch, u, w->recurrent, 2 * u, u, w->gates, w->from_h->data);
    } else {
        for (int64_t b = 0; b < w->batch; b++)
            for (int64_t j = 0; j < u; j++)
                w->from_h->data[b * w->gates + 2 * u + j] *= r[b * u + j];
    }
    if (take_gate(w, 2, &w->c->activation) < 0)
        return -1;
    for (int64_t i = 0; i < w->h->count; i++)
        w->h->data[i] = z[i] * w->h->data[i] + (1.0f - z[i]) * w->gate[2]->data[i];
    return 0;
}

static int step(const struct worker *w, const float *x)
{
    if (apply_input(w, x) < 0 || apply_state(w) < 0)
        return -1;
    switch (w->c->kind) {
    case RECURRENT_GRU: return step_gru(w);
    case RECURRENT_SIMPLE: return step_simple(w);
    default: return step_lstm(w);
    }
}

/* ---- over the sequence ---- */

static void copy_row(float *to, const float *from, int64_t row, int64_t width)
{
    memcpy(to + row * width, from + row * width, (size_t)width * sizeof *to);
}

/* Runs the cell over `s`, whose data become its outputs. `output` (batch x width): what a masked step gives before the first
 * valid one; used up. */
static int run_cell(const struct worker *w, struct sequence *s, bool zero_output, float *output)
{
    int64_t width = w->positions * w->units;
    float *x = malloc(((size_t)(s->batch * s->width) + 1) * sizeof *x);
    float *y = malloc(((size_t)(s->batch * s->time * width) + 1) * sizeof *y);
    struct tensor *h = tensor_copy(w->h), *cell = tensor_copy(w->cell);
    int status = x && y && h && cell ? 0 : h5pt_fail_memory(w->err);
    for (int64_t t = 0; t < s->time && status == 0; t++) {
        for (int64_t b = 0; b < s->batch; b++)
            memcpy(x + b * s->width, s->data + (b * s->time + t) * s->width, (size_t)s->width * sizeof *x);
        memcpy(h->data, w->h->data, (size_t)h->count * sizeof(float));
        memcpy(cell->data, w->cell->data, (size_t)cell->count * sizeof(float));
        status = step(w, x);
        for (int64_t b = 0; b < s->batch; b++) {
            bool valid = !s->mask || s->mask[b * s->time + t] != 0;
            if (valid) {
                copy_row(output, w->h->data, b, width);
            } else {
                copy_row(w->h->data, h->data, b, width);
                copy_row(w->cell->data, cell->data, b, width);
                if (zero_output)
                    memset(output + b * width, 0, (size_t)width * sizeof *output);
            }
            memcpy(y + (b * s->time + t) * width, output + b * width, (size_t)width * sizeof *y);
        }
    }
    free(x);
    tensor_free(h);
    tensor_free(cell);
    if (status < 0) {
        free(y);
        return -1;
    }
    free(s->data);
    s->data = y;
    s->width = width;
    return 0;
}

/* ---- preparing ---- */

static void worker_release(struct worker *w)
{
    free(w->kernel_copy);
    free(w->recurrent_copy);
    tensor_free(w->h);
    tensor_free(w->cell);
    tensor_free(w->from_x);
    tensor_free(w->from_h);
    for (int i = 0; i < 4; i++)
        tensor_free(w->gate[i]);
}

/* CuDNN has (units, width) a gate; Keras' weight is the transpose. `rows` x gates x units numbers. */
static float *from_cudnn(const float *weight, int64_t rows, int64_t units, int gates)
{
    float *out = malloc((size_t)(rows * units * gates) * sizeof *out);
    for (int g = 0; out && g < gates; g++)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < units; j++) {
                int64_t p = j * rows + i; /* where CuDNN's block, row by row, has it */
                out[i * units * gates + g * units + j] = weight[p / units * units * gates + g * units + p % units];
            }
    return out;
}

static int use_cudnn(struct worker *w)
{
    int gates = recurrent_gates(w->c->kind);
    w->kernel = w->kernel_copy = from_cudnn(w->kernel, w->inputs, w->units, gates);
    w->recurrent = w->recurrent_copy = from_cudnn(w->recurrent, w->units, w->units, gates);
    return w->kernel && w->recurrent ? 0 : h5pt_fail_memory(w->err);
}

/* The windows of the input's convolution and of the state's, which is "same" and has stride 1. */
static void set_axes(struct worker *w, const struct layer_run *run)
{
    const struct spatial_window *window = &w->d->conv.window;
    int first = spatial_axis(run->layer) + 1;
    w->positions = 1;
    for (int i = 0; i < WINDOW_MAX_RANK; i++) {
        struct window_axis one = {.in = 1, .out = 1, .size = 1, .stride = 1, .dilation = 1};
        w->input_axes[i] = w->state_axes[i] = one;
    }
    for (int i = 0; i < window->rank; i++) {
        int64_t in = run->inputs[0]->shape.dims[first + i], out = spatial_output_size(window, i, in), after;
        struct window_axis *x = &w->input_axes[WINDOW_MAX_RANK - window->rank + i];
        struct window_axis *h = &w->state_axes[WINDOW_MAX_RANK - window->rank + i];
        *x = (struct window_axis){
            .in = in, .out = out, .size = window->size[i], .stride = window->stride[i], .dilation = window->dilation[i]};
        *h = (struct window_axis){.in = out, .out = out, .size = window->size[i], .stride = 1, .dilation = 1};
        spatial_padding_of(window, i, in, &x->before, &after);
        h->before = w->d->pad_front ? h->size / 2 : (h->size - 1) / 2;
        w->positions *= out;
    }
}

static int worker_init(struct worker *w, const struct layer_run *run, const struct recurrent_direction *d, int index,
                       int weight, const struct sequence *s)
{
    const struct recurrent_cell_config *c = &d->cells[index];
    *w = (struct worker){.d = d, .c = c, .err = run->err, .batch = s->batch, .positions = 1, .units = c->units};
    w->gates = c->units * recurrent_gates(c->kind);
    w->inputs = s->width;
    w->kernel = run->weights[weight]->data;
    w->recurrent = run->weights[weight + 1]->data;
    w->bias = c->use_bias ? run->weights[weight + 2]->data : NULL;
    w->state_bias = w->bias && (c->cudnn || c->reset_after) ? w->bias + w->gates : NULL;
    if (c->kind == RECURRENT_CONV_LSTM) {
        set_axes(w, run);
        w->inputs = run->weights[weight]->shape.dims[d->conv.window.rank];
    }
    struct shape state = shape_of(2, (int64_t[]){w->batch, w->positions * w->units});
    struct shape all = shape_of(2, (int64_t[]){w->batch, w->positions * w->gates});
    struct shape gate = shape_of(3, (int64_t[]){w->batch, w->positions, w->units});
    w->h = tensor_new(&state, DTYPE_F32);
    w->cell = tensor_new(&state, DTYPE_F32);
    w->from_x = tensor_new(&all, DTYPE_F32);
    w->from_h = tensor_new(&all, DTYPE_F32);
    bool ok = w->h && w->cell && w->from_x && w->from_h;
    for (int i = 0; i < 4; i++)
        ok = (w->gate[i] = tensor_new(&gate, DTYPE_F32)) && ok;
    if (!ok)
        return h5pt_fail_memory(run->err);
    memset(w->h->data, 0, (size_t)w->h->count * sizeof(float));
    memset(w->cell->data, 0, (size_t)w->cell->count * sizeof(float));
    return c->cudnn ? use_cudnn(w) : 0;
}

/* ---- Keras' order and ours ---- */

/* Moves the channels of a step: channels_first has them before the positions. */
static void move_channels(const float *from, float *to, int64_t steps, int64_t positions, int64_t channels,
                          bool to_last)
{
    for (int64_t i = 0; i < steps; i++)
        for (int64_t p = 0; p < positions; p++)
            for (int64_t k = 0; k < channels; k++) {
                int64_t last = (i * positions + p) * channels + k, first = (i * channels + k) * positions + p;
                to[to_last ? last : first] = from[to_last ? first : last];
            }
}

static void reverse_steps(float *data, int64_t batch, int64_t time, int64_t width)
{
    for (int64_t b = 0; b < batch; b++)
        for (int64_t t = 0; t < time / 2; t++)
            for (int64_t j = 0; j < width; j++) {
                float *p = data + (b * time + t) * width + j, *q = data + (b * time + time - 1 - t) * width + j;
                float swap = *p;
                *p = *q;
                *q = swap;
            }
}

/* (a, b, width) → (b, a, width) */
static void swap_axes(const float *from, float *to, int64_t a, int64_t b, int64_t width)
{
    for (int64_t i = 0; i < a; i++)
        for (int64_t k = 0; k < b; k++)
            memcpy(to + (k * a + i) * width, from + (i * b + k) * width, (size_t)width * sizeof *to);
}

/* The input of a direction in the order of computing. */
static int sequence_init(struct sequence *s, const struct layer_run *run, const struct recurrent_direction *d, int mask)
{
    const struct tensor *x = run->inputs[0];
    int at = d->time_major ? 0 : 1;
    *s = (struct sequence){.batch = x->shape.dims[1 - at], .time = x->shape.dims[at]};
    int64_t steps = s->batch * s->time;
    s->width = steps ? x->count / steps : x->shape.dims[x->shape.rank - 1];
    s->data = malloc(((size_t)x->count + 1) * sizeof *s->data);
    s->mask = mask >= 0 ? malloc(((size_t)steps + 1) * sizeof *s->mask) : NULL;
    if (!s->data || (mask >= 0 && !s->mask))
        return h5pt_fail_memory(run->err);
    if (d->time_major) {
        swap_axes(x->data, s->data, s->time, s->batch, s->width);
    } else if (d->cells[0].kind == RECURRENT_CONV_LSTM && run->layer->channels_first) {
        int64_t channels = x->shape.dims[2];
        move_channels(x->data, s->data, steps, s->width / channels, channels, true);
    } else {
        memcpy(s->data, x->data, (size_t)x->count * sizeof *s->data);
    }
    if (s->mask)
        memcpy(s->mask, run->inputs[mask]->data, (size_t)steps * sizeof *s->mask);
    if (d->go_backwards)
        reverse_steps(s->data, s->batch, s->time, s->width);
    if (d->go_backwards && s->mask)
        reverse_steps(s->mask, s->batch, s->time, 1);
    return 0;
}

static void give_state(const struct layer_run *run, const struct worker *w, const struct tensor *state, int output)
{
    float *out = run->outputs[output]->data;
    if (w->c->kind == RECURRENT_CONV_LSTM && run->layer->channels_first)
        move_channels(state->data, out, w->batch, w->positions, w->units, false);
    else
        memcpy(out, state->data, (size_t)state->count * sizeof *out);
}

static void take_state(const struct layer_run *run, const struct worker *w, struct tensor *state, int input)
{
    const float *in = run->inputs[input]->data;
    if (w->c->kind == RECURRENT_CONV_LSTM && run->layer->channels_first)
        move_channels(in, state->data, w->batch, w->positions, w->units, true);
    else
        memcpy(state->data, in, (size_t)state->count * sizeof *in);
}

/* ---- directions ---- */

/* What goes on from one direction to the next. */
struct progress {
    const struct layer_run *run;
    struct recurrent_inputs in;
    int weight;               /* the next one */
    int state, state_output;  /* first state and output for a state number 0 of the direction */
    int64_t positions, units; /* of a step of the last direction */
};

/* The mask is in the order of computing; here it counts in the order of time. */
static void zero_late(struct sequence *s)
{
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t t = 0; t < s->time; t++)
            if (s->mask[b * s->time + s->time - 1 - t] == 0)
                memset(s->data + (b * s->time + t) * s->width, 0, (size_t)s->width * sizeof(float));
}

static int run_direction(struct progress *p, int direction, struct sequence *s)
{
    const struct recurrent_config *c = p->run->config;
    const struct recurrent_direction *d = &c->directions[direction];
    int status = sequence_init(s, p->run, d, p->in.mask);
    for (int i = 0; i < d->cell_count && status == 0; i++) {
        struct worker w = {.c = &d->cells[i]};
        int states = recurrent_states(d->cells[i].kind), at = recurrent_first_state(d, i);
        status = worker_init(&w, p->run, d, i, p->weight, s);
        p->weight += recurrent_weight_count(&d->cells[i]);
        float *output = status == 0 ? calloc((size_t)w.h->count + 1, sizeof *output) : NULL;
        if (status == 0 && !output)
            status = h5pt_fail_memory(p->run->err);
        for (int k = 0; k < states && status == 0 && p->in.state_count; k++)
            take_state(p->run, &w, k ? w.cell : w.h, p->in.states[p->state + at + k]);
        if (status == 0)
            status = run_cell(&w, s, d->zero_output && i + 1 == d->cell_count && !recurrent_zeroes_late(d), output);
        for (int k = 0; k < states && status == 0 && d->return_state; k++)
            give_state(p->run, &w, k ? w.cell : w.h, p->state_output + at + k);
        p->positions = w.positions;
        p->units = w.units;
        free(output);
        worker_release(&w);
    }
    if (status == 0 && recurrent_zeroes_late(d) && s->mask)
        zero_late(s);
    p->state += recurrent_state_count(d);
    p->state_output += recurrent_state_count(d);
    if (status == 0 && direction == 1 && d->return_sequences)
        reverse_steps(s->data, s->batch, s->time, s->width);
    return status;
}

static float merge(enum recurrent_merge mode, float a, float b)
{
    switch (mode) {
    case RECURRENT_SUM: return a + b;
    case RECURRENT_MUL: return a * b;
    case RECURRENT_AVE: return (a + b) / 2.0f;
    default: return a;
    }
}

/* The part of a sequence that is given out, in Keras' order: all of it or its last step. Owned by the caller. */
static float *given(const struct progress *p, const struct sequence *s)
{
    const struct recurrent_config *c = p->run->config;
    const struct recurrent_direction *d = &c->directions[0];
    int64_t steps = d->return_sequences ? s->time : 1, skipped = s->time - steps;
    float *rows = malloc(((size_t)(s->batch * steps * s->width) + 1) * sizeof *rows);
    float *out = malloc(((size_t)(s->batch * steps * s->width) + 1) * sizeof *out);
    if (rows && out) {
        for (int64_t b = 0; b < s->batch; b++)
            memcpy(rows + b * steps * s->width, s->data + (b * s->time + skipped) * s->width,
                   (size_t)(steps * s->width) * sizeof *rows);
        if (recurrent_is_convolutional(c) && p->run->layer->channels_first)
            move_channels(rows, out, s->batch * steps, p->positions, p->units, false);
        else if (d->time_major && d->return_sequences)
            swap_axes(rows, out, s->batch, s->time, s->width);
        else
            memcpy(out, rows, (size_t)(s->batch * steps * s->width) * sizeof *out);
    } else {
        free(out);
        out = NULL;
    }
    free(rows);
    return out;
}

/* Outputs 0 (and 1). */
static int give_outputs(const struct progress *p, const struct sequence s[2])
{
    const struct recurrent_config *c = p->run->config;
    struct tensor *const *out = p->run->outputs;
    bool two = c->direction_count == 2;
    float *a = given(p, &s[0]), *b = two ? given(p, &s[1]) : NULL;
    int status = a && (b || !two) ? 0 : h5pt_fail_memory(p->run->err);
    if (status == 0 && two && c->merge == RECURRENT_CONCAT) {
        /* along the last axis, whatever the data format */
        int64_t last = out[0]->shape.dims[out[0]->shape.rank - 1];
        int64_t left = recurrent_is_convolutional(c) ? last / 2 : s[0].width, right = last - left;
        for (int64_t i = 0; last && i < out[0]->count / last; i++) {
            memcpy(out[0]->data + i * last, a + i * left, (size_t)left * sizeof *a);
            memcpy(out[0]->data + i * last + left, b + i * right, (size_t)right * sizeof *b);
        }
    } else if (status == 0) {
        for (int64_t i = 0; i < out[0]->count; i++)
            out[0]->data[i] = two ? merge(c->merge, a[i], b[i]) : a[i];
        if (two && c->merge == RECURRENT_LISTED)
            memcpy(out[1]->data, b, (size_t)out[1]->count * sizeof *b);
    }
    free(a);
    free(b);
    return status;
}

int recurrent_reference(const struct layer_run *run)
{
    const struct recurrent_config *c = run->config;
    struct sequence s[2] = {{.data = NULL}, {.data = NULL}};
    struct progress p = {.run = run, .state_output = c->direction_count == 2 && c->merge == RECURRENT_LISTED ? 2 : 1};
    int status = 0;
    if (recurrent_sort_inputs(c, run->arguments, run->mask_of, &p.in))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The arguments are not as they were");
    for (int i = 0; i < c->direction_count && status == 0; i++)
        status = run_direction(&p, i, &s[i]);
    if (status == 0)
        status = give_outputs(&p, s);
    for (int i = 0; i < 2; i++) {
        free(s[i].data);
        free(s[i].mask);
    }
    return status;
}
