/* SPDX-License-Identifier: Apache-2.0 */
#include "layers/recurrent.h"

#include <string.h>

#include "base/words.h"
#include "layers/activation.h"
#include "layers/variants.h"

static const char ignored_keys[] =
    "unroll implementation use_cudnn unit_forget_bias zero_output_for_mask dropout recurrent_dropout "
    "recurrent_initializer recurrent_regularizer recurrent_constraint reset_after input_dim input_length";

int recurrent_gates(enum recurrent_cell cell)
{
    return cell == RECURRENT_LSTM ? 4 : cell == RECURRENT_GRU ? 3 : 1;
}

int recurrent_states(enum recurrent_cell cell)
{
    return cell == RECURRENT_LSTM ? 2 : 1;
}

/* ---- reading ---- */

static void refuse_activation(struct config_reader *reader, const char *key, const char *wanted)
{
    config_refuse(reader, H5PT_UNSUPPORTED_ACTIVATION, key,
                  "%s is converted with %s %s only, the one that torch's recurrent modules have",
                  reader->layer->class_name, key, wanted);
}

static void read_activations(struct config_reader *reader, struct recurrent_config *c)
{
    enum activation_kind kind = activation_read(reader, "activation").kind;
    if (c->cell == RECURRENT_SIMPLE) {
        c->relu = kind == ACTIVATION_RELU;
        if (!c->relu && kind != ACTIVATION_TANH)
            refuse_activation(reader, "activation", "tanh or relu");
        return;
    }
    if (kind != ACTIVATION_TANH)
        refuse_activation(reader, "activation", "tanh");
    if (activation_read(reader, "recurrent_activation").kind != ACTIVATION_SIGMOID)
        refuse_activation(reader, "recurrent_activation", "sigmoid");
}

static void read_cell(struct config_reader *reader, struct recurrent_config *c)
{
    c->units = config_size(reader, "units", 1);
    c->use_bias = config_bool(reader, "use_bias", true);
    c->return_sequences = config_bool(reader, "return_sequences", false);
    c->return_state = config_bool(reader, "return_state", false);
    c->go_backwards = config_bool(reader, "go_backwards", false);
    read_activations(reader, c);
    /* Old files do not have the key and mean false. */
    if (c->cell == RECURRENT_GRU && !config_bool(reader, "reset_after", false))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "reset_after",
                      "nn.GRU resets the state after the matrix product; reset_after=false is not converted");
    if (config_bool(reader, "stateful", false))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "stateful", "A state that is kept between calls is not converted");
    if (config_bool(reader, "time_major", false))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "time_major", "Only (batch, time, features) is converted");
    config_ignore(reader, ignored_keys);
}

static void recurrent_read(struct config_reader *reader, void *config, int variant)
{
    struct recurrent_config *c = config;
    c->cell = (enum recurrent_cell)variant;
    read_cell(reader, c);
}

/* A layer that stands in the configuration of another: its settings are read with a reader of their own. */
static bool read_inner(struct config_reader *reader, const char *key, struct recurrent_config *c)
{
    static const char *const classes = "LSTM GRU SimpleRNN"; /* in the order of enum recurrent_cell */
    const json_t *json = config_get(reader, key);
    const char *class_name = json_string_value(json_object_get(json, "class_name"));
    const json_t *config = json_object_get(json, "config");
    int cell = class_name ? word_index(classes, class_name) : -1;
    if (cell < 0 || !json_is_object(config)) {
        config_refuse(reader, H5PT_UNSUPPORTED_LAYER, key, "%s of the layer class \"%.60s\" is not supported",
                      reader->layer->class_name, class_name ? class_name : "?");
        return false;
    }
    struct keras_layer inner = *reader->layer;
    inner.class_name = class_name;
    inner.json = config;
    struct config_reader inner_reader;
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (config_begin(&inner_reader, &inner, reader->version, reader->arena, reader->refusals, &err) < 0) {
        reader->refusals->broken = true;
        return false;
    }
    *c = (struct recurrent_config){.cell = (enum recurrent_cell)cell};
    read_cell(&inner_reader, c);
    config_check_policy(&inner_reader);
    config_finish(&inner_reader);
    return true;
}

static void check_backward(struct config_reader *reader, const struct recurrent_config *forward)
{
    struct recurrent_config backward;
    if (!config_get(reader, "backward_layer") || !read_inner(reader, "backward_layer", &backward))
        return;
    bool alike = backward.cell == forward->cell && backward.units == forward->units &&
                 backward.use_bias == forward->use_bias && backward.relu == forward->relu &&
                 backward.return_sequences == forward->return_sequences && backward.return_state == forward->return_state;
    if (!alike || !backward.go_backwards)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "backward_layer",
                      "The two directions differ in more than the direction");
}

static void bidirectional_read(struct config_reader *reader, void *config, int variant)
{
    struct recurrent_config *c = config;
    (void)variant;
    if (!read_inner(reader, "layer", c))
        return;
    c->bidirectional = true;
    if (c->go_backwards)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "layer", "The forward layer runs backwards");
    check_backward(reader, c);
    const json_t *mode = json_object_get(reader->json, "merge_mode");
    c->merge = json_is_null(mode) ? RECURRENT_LISTED : RECURRENT_CONCAT;
    c->merge = (enum recurrent_merge)config_choice(reader, "merge_mode", "concat sum mul ave", (int)c->merge);
    config_ignore(reader, "return_sequences return_state stateful go_backwards unroll zero_output_for_mask num_constants");
}

/* ---- shapes ---- */

static void declare_direction(struct layer_shape *s, const struct recurrent_config *c, int64_t inputs, const char *kernel,
                              const char *recurrent, const char *bias)
{
    int64_t gates = c->units * recurrent_gates(c->cell);
    layer_weight(s, kernel, 2, (int64_t[]){inputs, gates});
    layer_weight(s, recurrent, 2, (int64_t[]){c->units, gates});
    if (!c->use_bias)
        return;
    if (c->cell == RECURRENT_GRU) /* a row for the input, one for the state */
        layer_weight(s, bias, 2, (int64_t[]){2, gates});
    else
        layer_weight(s, bias, 1, &gates);
}

static void add_output(struct layer_shape *s, struct shape shape)
{
    s->output_dtypes[s->output_count] = DTYPE_F32;
    s->outputs[s->output_count++] = shape;
}

static int recurrent_shape(struct layer_shape *s)
{
    const struct recurrent_config *c = s->config;
    int64_t inputs;
    if (s->inputs[0].rank != 3)
        return layer_shape_fail(s, "The input should be (batch, time, features), but has %d dimensions", s->inputs[0].rank);
    if (layer_known_dim(s, 2, &inputs) < 0)
        return -1;
    if (s->inputs[0].dims[1] == 0)
        return layer_shape_fail(s, "The input has no time steps");
    int64_t batch = s->inputs[0].dims[0], time = s->inputs[0].dims[1];
    int64_t width = c->bidirectional && c->merge == RECURRENT_CONCAT ? 2 * c->units : c->units;
    struct shape y = shape_of(3, (int64_t[]){batch, time, width});
    if (!c->return_sequences)
        y = shape_of(2, (int64_t[]){batch, width});
    s->output_count = 0;
    add_output(s, y);
    if (c->bidirectional && c->merge == RECURRENT_LISTED)
        add_output(s, y);
    int states = c->return_state ? recurrent_states(c->cell) * (c->bidirectional ? 2 : 1) : 0;
    for (int i = 0; i < states; i++)
        add_output(s, shape_of(2, (int64_t[]){batch, c->units}));
    if (!c->bidirectional) {
        declare_direction(s, c, inputs, "kernel", "recurrent_kernel", "bias");
    } else {
        declare_direction(s, c, inputs, "forward/kernel", "forward/recurrent_kernel", "forward/bias");
        declare_direction(s, c, inputs, "backward/kernel", "backward/recurrent_kernel", "backward/bias");
    }
    return 0;
}

const struct layer_handler recurrent_handler = {
    .config_size = sizeof(struct recurrent_config),
    .read = recurrent_read,
    .shape = recurrent_shape,
    .reference = recurrent_reference,
    .lower = recurrent_lower,
};

const struct layer_handler bidirectional_handler = {
    .config_size = sizeof(struct recurrent_config),
    .read = bidirectional_read,
    .shape = recurrent_shape,
    .reference = recurrent_reference,
    .lower = recurrent_lower,
};
