/* SPDX-License-Identifier: Apache-2.0 */
#include "layers/recurrent.h"

#include <string.h>

int recurrent_gates(enum recurrent_cell kind)
{
    return kind == RECURRENT_GRU ? 3 : kind == RECURRENT_SIMPLE ? 1 : 4;
}

int recurrent_states(enum recurrent_cell kind)
{
    return kind == RECURRENT_LSTM || kind == RECURRENT_CONV_LSTM ? 2 : 1;
}

int recurrent_first_state(const struct recurrent_direction *direction, int cell)
{
    int count = 0;
    for (int i = 0; i < cell; i++)
        count += recurrent_states(direction->cells[i].kind);
    return count;
}

int recurrent_state_count(const struct recurrent_direction *direction)
{
    return recurrent_first_state(direction, direction->cell_count);
}

bool recurrent_zeroes_late(const struct recurrent_direction *direction)
{
    return direction->zero_output && direction->unroll && direction->go_backwards && direction->return_sequences;
}

int recurrent_weight_count(const struct recurrent_cell_config *cell)
{
    return cell->use_bias ? 3 : 2;
}

bool recurrent_is_convolutional(const struct recurrent_config *config)
{
    return config->directions[0].cells[0].kind == RECURRENT_CONV_LSTM;
}

/* ---- inputs ---- */

/* Adds the tensors of `value`, a tensor or a list of them. False when something else is there. */
static bool add_states(const json_t *value, struct recurrent_inputs *ret)
{
    int index = layer_argument_tensor(value);
    if (index >= 0 && ret->state_count < RECURRENT_MAX_STATES) {
        ret->states[ret->state_count++] = index;
        return true;
    }
    size_t n = json_array_size(value);
    for (size_t i = 0; i < n; i++)
        if (layer_argument_tensor(json_array_get(value, i)) < 0 || !add_states(json_array_get(value, i), ret))
            return false;
    return n > 0;
}

const char *recurrent_sort_inputs(const struct recurrent_config *config, const json_t *arguments, const int *mask_of,
                                  struct recurrent_inputs *ret)
{
    *ret = (struct recurrent_inputs){.mask = -1};
    if (arguments) {
        const json_t *x = layer_argument(arguments, 0, "sequences"), *rest;
        if (!x)
            x = layer_argument(arguments, -1, "inputs");
        ret->x = layer_argument_tensor(json_is_array(x) ? json_array_get(x, 0) : x);
        for (size_t i = 1; i < json_array_size(x); i++)
            if (!add_states(json_array_get(x, i), ret))
                return "inputs";
        if (ret->x < 0)
            return "inputs";
        rest = layer_argument(arguments, 1, "initial_state");
        if (rest && (ret->state_count || !add_states(rest, ret)))
            return "initial_state";
        if (layer_argument(arguments, 2, NULL) || layer_argument(arguments, 3, NULL))
            return "args";
        const char *key;
        json_t *value;
        json_object_foreach(json_object_get(arguments, "kwargs"), key, value)
        {
            bool known = strcmp(key, "sequences") == 0 || strcmp(key, "inputs") == 0 || strcmp(key, "mask") == 0 ||
                         strcmp(key, "initial_state") == 0 || (strcmp(key, "training") == 0 && json_is_false(value));
            if (!known && !json_is_null(value))
                return key;
        }
    }
    bool hidden = config->states_hide_mask && ret->state_count && !layer_argument(arguments, -1, "mask");
    ret->mask = hidden ? -1 : layer_mask(mask_of, ret->x);
    return NULL;
}

/* ---- shapes ---- */

static void declare_cell(struct layer_shape *s, const struct recurrent_direction *d,
                         const struct recurrent_cell_config *cell, int64_t inputs)
{
    int64_t gates = cell->units * recurrent_gates(cell->kind);
    if (cell->kind == RECURRENT_CONV_LSTM) {
        conv_declare_kernel(s, cell->kernel, &d->conv.window, inputs, gates);
        conv_declare_kernel(s, cell->recurrent_kernel, &d->conv.window, cell->units, gates);
    } else {
        layer_weight(s, cell->kernel, 2, (int64_t[]){inputs, gates});
        layer_weight(s, cell->recurrent_kernel, 2, (int64_t[]){cell->units, gates});
    }
    if (!cell->use_bias)
        return;
    if (cell->cudnn)
        layer_weight(s, cell->bias, 1, (int64_t[]){2 * gates});
    else if (cell->reset_after) /* a row for the input, one for the state */
        layer_weight(s, cell->bias, 2, (int64_t[]){2, gates});
    else
        layer_weight(s, cell->bias, 1, &gates);
}

static int add_output(struct layer_shape *s, struct shape shape)
{
    if (s->output_count == LAYER_MAX_OUTPUTS)
        return h5pt_fail(s->err, H5PT_LIMIT_EXCEEDED, "return_state", "The layer gives more than %d tensors",
                         LAYER_MAX_OUTPUTS);
    s->output_dtypes[s->output_count] = DTYPE_F32;
    s->outputs[s->output_count++] = shape;
    return 0;
}

/* The state of a cell: (batch, units), or for a ConvLSTM the shape of the input's convolution in Keras order. */
static struct shape state_shape(const struct layer_shape *s, const struct recurrent_direction *d,
                                const struct recurrent_cell_config *cell, int64_t batch)
{
    if (cell->kind != RECURRENT_CONV_LSTM)
        return shape_of(2, (int64_t[]){batch, cell->units});
    int rank = d->conv.window.rank, first = spatial_axis(s->layer);
    struct shape shape = {.rank = rank + 2, .dims = {batch}};
    shape.dims[spatial_channel_axis(s->layer, rank)] = cell->units;
    for (int i = 0; i < rank; i++)
        shape.dims[first + i] = spatial_output_size(&d->conv.window, i, s->inputs[0].dims[first + i + 1]);
    return shape;
}

/* Output 0 (and 1): the sequence or its last step, with the directions merged. */
static int add_sequence(struct layer_shape *s, const struct shape *last, int64_t time)
{
    const struct recurrent_config *c = s->config;
    const struct recurrent_direction *d = &c->directions[0];
    struct shape y = *last;
    if (d->return_sequences) {
        int at = d->time_major ? 0 : 1;
        memmove(&y.dims[at + 1], &y.dims[at], (size_t)(y.rank - at) * sizeof *y.dims);
        y.dims[at] = time;
        y.rank++;
    }
    struct shape first = y;
    int64_t *width = &y.dims[y.rank - 1];
    bool convolutional = recurrent_is_convolutional(c);
    const struct recurrent_direction *b = &c->directions[1];
    int64_t other = convolutional ? y.dims[y.rank - 1] : b->cell_count ? b->cells[b->cell_count - 1].units : 0;
    if (c->direction_count == 2 && c->merge == RECURRENT_CONCAT)
        *width = *width < 0 ? *width : *width + other;
    else if (c->direction_count == 2 && c->merge != RECURRENT_LISTED && *width != other)
        return layer_shape_fail(s, "The two directions have %lld and %lld units", (long long)*width, (long long)other);
    if (add_output(s, y) < 0)
        return -1;
    if (c->direction_count == 1 || c->merge != RECURRENT_LISTED)
        return 0;
    if (!convolutional)
        first.dims[first.rank - 1] = other;
    return add_output(s, first);
}

static int check_mask(struct layer_shape *s, const struct recurrent_inputs *in)
{
    const struct recurrent_config *c = s->config;
    for (int i = 0; i < in->state_count; i++)
        if (layer_mask(s->mask_of, in->states[i]) >= 0)
            return h5pt_fail(s->err, H5PT_UNSUPPORTED_MASK, "initial_state", "A first state has a mask");
    if (in->mask < 0)
        return 0;
    const struct shape *mask = &s->inputs[in->mask], *x = &s->inputs[in->x];
    if (mask->rank != 2 || (mask->dims[1] >= 0 && x->dims[1] >= 0 && mask->dims[1] != x->dims[1]))
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_MASK, "mask", "The mask should be (batch, time)");
    if (in->state_count && c->first_output_is_state)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_MASK, "initial_state",
                         "A mask together with first states is not supported for this version of Keras");
    if (c->directions[0].time_major || c->directions[0].cells[0].cudnn || c->directions[1].cells[0].cudnn)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_MASK, "mask", "A mask is not supported here");
    return 0;
}

static int check_inputs(struct layer_shape *s, const struct recurrent_inputs *in, int rank)
{
    const struct recurrent_config *c = s->config;
    const struct shape *x = &s->inputs[in->x];
    bool first = in->x == 0; /* spatial_* look at input 0 */
    if (!first || x->rank != rank)
        return layer_shape_fail(s, "The input should have %d dimensions, but has %d", rank, x->rank);
    if (s->input_dtypes[0] != DTYPE_F32)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype",
                         "The input is of type %s; only float32 is supported here", dtype_name(s->input_dtypes[0]));
    int states = 0;
    for (int i = 0; i < c->direction_count; i++)
        states += recurrent_state_count(&c->directions[i]);
    if (in->state_count && in->state_count != states)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_CALL_ARGUMENT, "initial_state",
                         "There are %d first states, %d are needed", in->state_count, states);
    if (x->dims[c->directions[0].time_major ? 0 : 1] == 0)
        return layer_shape_fail(s, "The input has no time steps");
    return check_mask(s, in);
}

static int check_state(struct layer_shape *s, const struct recurrent_inputs *in, int index, const struct shape *state)
{
    if (!in->state_count)
        return 0;
    const struct shape *given = &s->inputs[in->states[index]];
    bool fits = given->rank == state->rank && s->input_dtypes[in->states[index]] == DTYPE_F32;
    for (int i = 1; fits && i < state->rank; i++)
        fits = given->dims[i] < 0 || state->dims[i] < 0 || given->dims[i] == state->dims[i];
    return fits ? 0 : layer_shape_fail(s, "First state %d does not fit the cell", index);
}

static int recurrent_shape(struct layer_shape *s)
{
    const struct recurrent_config *c = s->config;
    const struct recurrent_direction *first = &c->directions[0];
    bool convolutional = recurrent_is_convolutional(c);
    int rank = convolutional ? first->conv.window.rank + 3 : 3, state = 0;
    struct recurrent_inputs in;
    const char *unknown = recurrent_sort_inputs(c, s->arguments, s->mask_of, &in);
    if (unknown)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_CALL_ARGUMENT, unknown,
                         "%s is called with the argument \"%.60s\", which is not supported", s->layer->class_name,
                         unknown);
    if (check_inputs(s, &in, rank) < 0)
        return -1;
    const struct shape *x = &s->inputs[in.x];
    int64_t features, batch = x->dims[first->time_major ? 1 : 0], time = x->dims[first->time_major ? 0 : 1];
    if (layer_known_dim(s, convolutional && s->layer->channels_first ? 2 : rank - 1, &features) < 0)
        return -1;
    s->output_count = 0;
    struct shape last = state_shape(s, first, &first->cells[first->cell_count - 1], batch);
    for (int i = 1; i < last.rank; i++)
        if (last.dims[i] == 0)
            return layer_shape_fail(s, "The input is smaller than the kernel");
    if (add_sequence(s, &last, time) < 0)
        return -1;
    for (int i = 0; i < c->direction_count; i++) {
        const struct recurrent_direction *d = &c->directions[i];
        int64_t inputs = features;
        if (d->cell_count > 1 && d->state_order_unknown && (d->return_state || in.state_count))
            return h5pt_fail(s->err, H5PT_UNSUPPORTED_CONFIG, "return_state",
                             "In which order this version of Keras keeps the states of stacked cells is not known");
        for (int k = 0; k < d->cell_count; inputs = d->cells[k++].units) {
            const struct recurrent_cell_config *cell = &d->cells[k];
            declare_cell(s, d, cell, inputs);
            struct shape shape = state_shape(s, d, cell, batch);
            for (int n = 0; n < recurrent_states(cell->kind); n++)
                if (check_state(s, &in, state++, &shape) < 0 || (d->return_state && add_output(s, shape) < 0))
                    return -1;
        }
    }
    return s->err->code ? -1 : 0;
}

const struct layer_handler recurrent_handler = {
    .config_size = sizeof(struct recurrent_config),
    .read = recurrent_read,
    .shape = recurrent_shape,
    .reference = recurrent_reference,
    .lower = recurrent_lower,
};
