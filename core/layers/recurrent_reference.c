/* SPDX-License-Identifier: Apache-2.0 */
/* The recurrent cells as Keras defines them, step by step. Gates are i, f, c, o (LSTM) and z, r, h (GRU). */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers/recurrent.h"

/* One direction. The sequence is (batch, time, units), in the order of time. */
struct direction {
    const struct recurrent_config *c;
    const struct tensor *x;
    const float *kernel, *recurrent, *bias; /* bias NULL: none */
    bool backwards;
    int64_t batch, time, inputs, units, gates;
    float *h, *cell;     /* batch x units each; cell for LSTM */
    float *sequence;
    float *gate, *state; /* room for batch x gates each */
};

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/* out = in (rows x width) * weight (width x gates) + bias */
static void affine(const struct direction *d, const float *in, int64_t step, int64_t width, const float *weight,
                   const float *bias, float *out)
{
    for (int64_t b = 0; b < d->batch; b++)
        for (int64_t j = 0; j < d->gates; j++)
            out[b * d->gates + j] = bias ? bias[j] : 0.0f;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)d->batch, (int)d->gates, (int)width, 1.0f, in, (int)step,
                weight, (int)d->gates, 1.0f, out, (int)d->gates);
}

static void cell_step(const struct direction *d, int64_t b)
{
    int64_t u = d->units;
    const float *a = d->gate + b * d->gates, *s = d->state + b * d->gates;
    float *h = d->h + b * u, *cell = d->cell + b * u;
    for (int64_t j = 0; j < u; j++) {
        double x0 = (double)a[j] + (double)s[j];
        if (d->c->cell == RECURRENT_SIMPLE) {
            h[j] = (float)(d->c->relu ? fmax(x0, 0.0) : tanh(x0));
            continue;
        }
        double x1 = (double)a[u + j] + (double)s[u + j];
        if (d->c->cell == RECURRENT_LSTM) {
            double candidate = tanh((double)a[2 * u + j] + (double)s[2 * u + j]);
            double output = sigmoid((double)a[3 * u + j] + (double)s[3 * u + j]);
            cell[j] = (float)(sigmoid(x1) * (double)cell[j] + sigmoid(x0) * candidate);
            h[j] = (float)(output * tanh((double)cell[j]));
            continue;
        }
        double z = sigmoid(x0), candidate = tanh((double)a[2 * u + j] + sigmoid(x1) * (double)s[2 * u + j]);
        h[j] = (float)(z * (double)h[j] + (1.0 - z) * candidate);
    }
}

static void run_direction(const struct direction *d)
{
    for (int64_t i = 0; i < d->time; i++) {
        int64_t t = d->backwards ? d->time - 1 - i : i;
        affine(d, d->x->data + t * d->inputs, d->time * d->inputs, d->inputs, d->kernel, d->bias, d->gate);
        const float *state_bias = d->c->cell == RECURRENT_GRU && d->bias ? d->bias + d->gates : NULL;
        affine(d, d->h, d->units, d->units, d->recurrent, state_bias, d->state);
        for (int64_t b = 0; b < d->batch; b++) {
            cell_step(d, b);
            memcpy(d->sequence + (b * d->time + t) * d->units, d->h + b * d->units, (size_t)d->units * sizeof(float));
        }
    }
}

static void direction_release(struct direction *d)
{
    free(d->h);
    free(d->cell);
    free(d->sequence);
    free(d->gate);
    free(d->state);
}

static int direction_init(struct direction *d, const struct layer_run *run, int number)
{
    const struct recurrent_config *c = run->config;
    int first = number * (c->use_bias ? 3 : 2);
    const struct shape *x = &run->inputs[0]->shape;
    *d = (struct direction){
        .c = c,
        .x = run->inputs[0],
        .kernel = run->weights[first]->data,
        .recurrent = run->weights[first + 1]->data,
        .bias = c->use_bias ? run->weights[first + 2]->data : NULL,
        .backwards = number == 1 || c->go_backwards,
        .batch = x->dims[0],
        .time = x->dims[1],
        .inputs = x->dims[2],
        .units = c->units,
        .gates = c->units * recurrent_gates(c->cell),
    };
    size_t states = (size_t)(d->batch * d->units) + 1;
    d->h = calloc(states, sizeof *d->h);
    d->cell = calloc(states, sizeof *d->cell);
    d->sequence = calloc((size_t)(d->batch * d->time * d->units) + 1, sizeof *d->sequence);
    d->gate = calloc((size_t)(d->batch * d->gates) + 1, sizeof *d->gate);
    d->state = calloc((size_t)(d->batch * d->gates) + 1, sizeof *d->state);
    return d->h && d->cell && d->sequence && d->gate && d->state ? 0 : h5pt_fail_memory(run->err);
}

/* Row number `row` of what a direction gives out: of its sequence, or its last state. */
static const float *row_of(const struct direction *d, int64_t row)
{
    return (d->c->return_sequences ? d->sequence : d->h) + row * d->units;
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

static void fill_output(const struct layer_run *run, const struct direction *d)
{
    const struct recurrent_config *c = run->config;
    int64_t u = c->units, rows = d->batch * (c->return_sequences ? d->time : 1);
    for (int64_t i = 0; i < rows; i++) {
        const float *a = row_of(&d[0], i), *b = c->bidirectional ? row_of(&d[1], i) : NULL;
        if (c->bidirectional && c->merge == RECURRENT_CONCAT) {
            memcpy(run->outputs[0]->data + 2 * i * u, a, (size_t)u * sizeof *a);
            memcpy(run->outputs[0]->data + (2 * i + 1) * u, b, (size_t)u * sizeof *b);
            continue;
        }
        for (int64_t j = 0; j < u; j++)
            run->outputs[0]->data[i * u + j] = b ? merge(c->merge, a[j], b[j]) : a[j];
        if (c->bidirectional && c->merge == RECURRENT_LISTED)
            memcpy(run->outputs[1]->data + i * u, b, (size_t)u * sizeof *b);
    }
}

/* go_backwards leaves the sequence in the order in which it was computed. */
static void reverse_time(const struct direction *d)
{
    for (int64_t b = 0; b < d->batch; b++)
        for (int64_t t = 0; t < d->time / 2; t++)
            for (int64_t j = 0; j < d->units; j++) {
                float *p = d->sequence + (b * d->time + t) * d->units + j;
                float *q = d->sequence + (b * d->time + d->time - 1 - t) * d->units + j;
                float swap = *p;
                *p = *q;
                *q = swap;
            }
}

int recurrent_reference(const struct layer_run *run)
{
    const struct recurrent_config *c = run->config;
    struct direction d[2] = {{.c = NULL}};
    int directions = c->bidirectional ? 2 : 1, status = 0;
    for (int i = 0; i < directions && status == 0; i++) {
        status = direction_init(&d[i], run, i);
        if (status == 0)
            run_direction(&d[i]);
    }
    if (status == 0) {
        if (c->go_backwards)
            reverse_time(&d[0]);
        fill_output(run, d);
        int out = c->bidirectional && c->merge == RECURRENT_LISTED ? 2 : 1;
        for (int i = 0; i < directions && c->return_state; i++)
            for (int k = 0; k < recurrent_states(c->cell); k++, out++)
                memcpy(run->outputs[out]->data, k ? d[i].cell : d[i].h, (size_t)run->outputs[out]->count * sizeof(float));
    }
    for (int i = 0; i < directions; i++)
        direction_release(&d[i]);
    return status;
}
