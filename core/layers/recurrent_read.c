/* SPDX-License-Identifier: Apache-2.0 */
/* The configurations of recurrent layers, cells and Bidirectional. */
#include <string.h>

#include "base/words.h"
#include "layers/recurrent.h"
#include "layers/variants.h"

/* What changes nothing at inference, or nothing but speed. */
static const char ignored_keys[] =
    "implementation use_cudnn unit_forget_bias dropout recurrent_dropout recurrent_initializer recurrent_regularizer "
    "recurrent_constraint state_initializer input_dim input_length return_runtime consume_less";

/* Names of classes, in the order of enum recurrent_variant. */
static const char layer_classes[] = "LSTM GRU SimpleRNN CuDNNLSTM CuDNNGRU RNN ConvLSTM1D ConvLSTM2D ConvLSTM3D";
static const char cell_classes[] = "LSTMCell GRUCell SimpleRNNCell";

/* ---- objects in the configuration of another ---- */

struct inner {
    struct keras_layer layer;
    struct config_reader reader;
};

/* Begins to read {"class_name", "config"}. False after a refusal; else inner_end follows. */
static bool inner_begin(struct inner *inner, const struct config_reader *outer, const json_t *json)
{
    const char *class_name = config_class_name(json);
    const json_t *config = json_object_get(json, "config");
    inner->layer = *outer->layer;
    inner->layer.class_name = class_name ? class_name : "";
    inner->layer.json = config;
    if (!class_name || !json_is_object(config)) {
        config_refuse((struct config_reader *)outer, H5PT_CONFIG_INVALID, "config",
                      "An inner layer has no class or settings");
        return false;
    }
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (config_begin(&inner->reader, &inner->layer, outer->version, outer->arena, outer->refusals, &err) < 0) {
        outer->refusals->broken = true;
        return false;
    }
    inner->reader.warnings = outer->warnings;
    return true;
}

static void inner_end(struct inner *inner)
{
    config_check_policy(&inner->reader);
    config_finish(&inner->reader);
}

static const char *class_of(const json_t *json)
{
    const char *class_name = config_class_name(json);
    return class_name ? class_name : "?";
}

/* ---- cells ---- */

static const char *slot(struct config_reader *reader, const char *prefix, const char *name)
{
    const char *text = *prefix ? arena_printf(reader->arena, "%s/%s", prefix, name) : name;
    reader->refusals->broken = reader->refusals->broken || !text;
    return text ? text : name;
}

/* An activation that a loop can call. */
static struct activation read_activation(struct config_reader *reader, const char *key)
{
    struct activation a = activation_read(reader, key);
    if (recurrent_function(&a))
        return a;
    config_refuse(reader, H5PT_UNSUPPORTED_ACTIVATION, key, "This activation is not supported in recurrent layers");
    return activation_default(ACTIVATION_TANH);
}

/* `prefix`: of the slots of its weights. */
static void read_cell(struct config_reader *reader, struct recurrent_cell_config *cell, enum recurrent_cell kind,
                      bool cudnn, const char *prefix)
{
    *cell = (struct recurrent_cell_config){.kind = kind, .cudnn = cudnn, .use_bias = true};
    cell->kernel = slot(reader, prefix, "kernel");
    cell->recurrent_kernel = slot(reader, prefix, "recurrent_kernel");
    cell->bias = slot(reader, prefix, "bias");
    cell->activation = activation_default(ACTIVATION_TANH);
    cell->recurrent_activation = activation_default(ACTIVATION_SIGMOID);
    cell->units = spatial_read_count(reader, kind == RECURRENT_CONV_LSTM ? "filters" : "units", 0);
    config_ignore(reader, ignored_keys);
    if (cudnn) {
        cell->reset_after = kind == RECURRENT_GRU;
        return;
    }
    if (kind != RECURRENT_CONV_LSTM) { /* conv_read reads these */
        cell->use_bias = config_bool(reader, "use_bias", true);
        cell->activation = read_activation(reader, "activation");
    }
    if (kind != RECURRENT_SIMPLE)
        cell->recurrent_activation = read_activation(reader, "recurrent_activation");
    else
        config_ignore(reader, "recurrent_activation");
    if (kind == RECURRENT_GRU) /* old files do not have the key and mean false */
        cell->reset_after = config_bool(reader, "reset_after", false);
    else
        config_ignore(reader, "reset_after");
}

static void refuse_cell(struct config_reader *reader, const json_t *json)
{
    config_refuse(reader, H5PT_UNSUPPORTED_LAYER, "cell", "The cell class \"%.60s\" is not supported", class_of(json));
}

static void read_one_cell(struct config_reader *reader, const json_t *json, struct recurrent_direction *d,
                          const char *prefix)
{
    struct inner inner;
    int kind = word_index(cell_classes, class_of(json));
    if (kind < 0) {
        refuse_cell(reader, json);
        return;
    }
    if (d->cell_count == RECURRENT_MAX_CELLS) {
        config_refuse(reader, H5PT_LIMIT_EXCEEDED, "cell", "More than %d stacked cells are not supported",
                      RECURRENT_MAX_CELLS);
        return;
    }
    if (!inner_begin(&inner, reader, json))
        return;
    read_cell(&inner.reader, &d->cells[d->cell_count++], (enum recurrent_cell)kind, false, prefix);
    inner_end(&inner);
}

/* Older versions keep the states of the last cell first; since when they do not is known for 2.2.4 only. */
static bool order_unknown(const struct keras_version *version)
{
    return version->major < 3 && !version->tf && (version->minor < 2 || (version->minor == 2 && version->patch < 4));
}

static void read_stack(struct config_reader *reader, const json_t *cells, struct recurrent_direction *d,
                       const char *prefix)
{
    size_t i;
    json_t *item;
    json_array_foreach(cells, i, item)
    {
        const char *scope = arena_printf(reader->arena, "%s%scell_%zu", prefix, *prefix ? "/" : "", i);
        reader->refusals->broken = reader->refusals->broken || !scope;
        if (strcmp(class_of(item), "StackedRNNCells") == 0)
            refuse_cell(reader, item);
        else
            read_one_cell(reader, item, d, scope ? scope : "");
    }
    if (d->cell_count == 0)
        config_refuse(reader, H5PT_CONFIG_INVALID, "cells", "There are no cells");
    d->state_order_unknown = order_unknown(&reader->version);
}

/* RNN: `cell` is a cell, a list, or StackedRNNCells. */
static void read_cells(struct config_reader *reader, struct recurrent_direction *d, const char *prefix)
{
    const json_t *json = config_get(reader, "cell");
    if (json_is_array(json)) {
        read_stack(reader, json, d, prefix);
        return;
    }
    if (strcmp(class_of(json), "StackedRNNCells") != 0) {
        read_one_cell(reader, json, d, prefix);
        return;
    }
    struct inner inner;
    if (!inner_begin(&inner, reader, json))
        return;
    read_stack(&inner.reader, config_get(&inner.reader, "cells"), d, prefix);
    if (config_bool(&inner.reader, "reverse_state_order", false))
        config_refuse(&inner.reader, H5PT_UNSUPPORTED_CONFIG, "reverse_state_order", "Only false is supported");
    inner_end(&inner);
}

/* ---- layers ---- */

/* The window of the input's convolution, and the cell. */
static void read_conv_lstm(struct config_reader *reader, struct recurrent_direction *d, int rank, const char *prefix)
{
    struct recurrent_cell_config *cell = &d->cells[d->cell_count++];
    read_cell(reader, cell, RECURRENT_CONV_LSTM, false, prefix);
    conv_read(reader, &d->conv, rank, false);
    conv_refuse_dilated_stride(reader, &d->conv);
    d->conv.filters = 4 * cell->units;
    cell->use_bias = d->conv.use_bias;
    cell->activation = d->conv.activation;
    if (!recurrent_function(&cell->activation))
        config_refuse(reader, H5PT_UNSUPPORTED_ACTIVATION, "activation", "This activation is not supported here");
    d->conv.activation = activation_default(ACTIVATION_LINEAR);
    d->pad_front = reader->version.theano;
    if (!reader->version.tensorflow && !reader->version.theano)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "backend",
                      "%s computed by another backend than TensorFlow or Theano is not supported",
                      reader->layer->class_name);
}

static void read_flags(struct config_reader *reader, struct recurrent_direction *d)
{
    d->return_sequences = config_bool(reader, "return_sequences", false);
    d->return_state = config_bool(reader, "return_state", false);
    d->go_backwards = config_bool(reader, "go_backwards", false);
    d->stateful = config_bool(reader, "stateful", false);
    d->unroll = config_bool(reader, "unroll", false);
    d->time_major = config_bool(reader, "time_major", false);
    d->zero_output = config_bool(reader, "zero_output_for_mask", false);
    if (config_int(reader, "num_constants", 0) != 0)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "num_constants", "Constants for the cell are not supported");
    if (d->stateful)
        config_warn(
            reader, H5PT_STATE_NOT_KEPT, "stateful",
            "Keras keeps the state from one call to the next; the converted layer starts each call from zeros, as a "
            "fresh Keras model does");
}

static void read_direction(struct config_reader *reader, struct recurrent_direction *d, enum recurrent_variant variant,
                           const char *prefix)
{
    *d = (struct recurrent_direction){.cell_count = 0};
    read_flags(reader, d);
    switch (variant) {
    case RECURRENT_VARIANT_LSTM:
    case RECURRENT_VARIANT_GRU:
    case RECURRENT_VARIANT_SIMPLE:
        read_cell(reader, &d->cells[d->cell_count++], (enum recurrent_cell)variant, false, prefix);
        break;
    case RECURRENT_VARIANT_CUDNN_LSTM:
    case RECURRENT_VARIANT_CUDNN_GRU:
        read_cell(reader, &d->cells[d->cell_count++],
                  variant == RECURRENT_VARIANT_CUDNN_LSTM ? RECURRENT_LSTM : RECURRENT_GRU, true, prefix);
        break;
    case RECURRENT_VARIANT_CELLS: read_cells(reader, d, prefix); break;
    case RECURRENT_VARIANT_CONV1:
    case RECURRENT_VARIANT_CONV2:
    case RECURRENT_VARIANT_CONV3:
        read_conv_lstm(reader, d, (int)variant - (int)RECURRENT_VARIANT_CONV1 + 1, prefix);
        break;
    case RECURRENT_VARIANT_BIDIRECTIONAL: break;
    }
}

/* ---- Bidirectional ---- */

static bool read_wrapped(struct config_reader *reader, const char *key, struct recurrent_direction *d,
                         const char *prefix)
{
    const json_t *json = config_get(reader, key);
    int variant = word_index(layer_classes, class_of(json));
    struct inner inner;
    if (variant < 0) {
        config_refuse(reader, H5PT_UNSUPPORTED_LAYER, key, "%s of the layer class \"%.60s\" is not supported",
                      reader->layer->class_name, class_of(json));
        return false;
    }
    if (!inner_begin(&inner, reader, json))
        return false;
    read_direction(&inner.reader, d, (enum recurrent_variant)variant, prefix);
    inner_end(&inner);
    reader->layer->channels_first = inner.layer.channels_first;
    return true;
}

/* Without a backward_layer it is the forward one with other weights and the other direction. */
static void mirror(struct config_reader *reader, const struct recurrent_direction *forward,
                   struct recurrent_direction *backward)
{
    *backward = *forward;
    backward->go_backwards = !forward->go_backwards;
    for (int i = 0; i < backward->cell_count; i++) {
        struct recurrent_cell_config *cell = &backward->cells[i];
        cell->kernel = slot(reader, "backward", cell->kernel + strlen("forward/"));
        cell->recurrent_kernel = slot(reader, "backward", cell->recurrent_kernel + strlen("forward/"));
        cell->bias = slot(reader, "backward", cell->bias + strlen("forward/"));
    }
}

static void check_directions(struct config_reader *reader, const struct recurrent_config *c)
{
    const struct recurrent_direction *f = &c->directions[0], *b = &c->directions[1];
    bool alike = f->return_sequences == b->return_sequences && f->return_state == b->return_state &&
                 f->time_major == b->time_major && f->go_backwards != b->go_backwards &&
                 recurrent_is_convolutional(c) == (b->cells[0].kind == RECURRENT_CONV_LSTM);
    if (!alike)
        config_refuse(reader, H5PT_CONFIG_INVALID, "backward_layer", "The two directions do not fit together");
    else if (f->time_major)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "layer", "time_major is not supported in two directions");
}

static void read_bidirectional(struct config_reader *reader, struct recurrent_config *c)
{
    struct recurrent_direction *d = c->directions;
    c->direction_count = 2;
    bool ok = read_wrapped(reader, "layer", &d[0], "forward");
    if (config_get(reader, "backward_layer"))
        ok = read_wrapped(reader, "backward_layer", &d[1], "backward") && ok;
    else
        mirror(reader, &d[0], &d[1]);
    const json_t *mode = json_object_get(reader->json, "merge_mode");
    c->merge = json_is_null(mode) ? RECURRENT_LISTED : RECURRENT_CONCAT;
    c->merge = (enum recurrent_merge)config_choice(reader, "merge_mode", "concat sum mul ave", (int)c->merge);
    config_ignore(reader,
                  "return_sequences return_state stateful go_backwards unroll zero_output_for_mask num_constants");
    if (ok && d[0].cell_count && d[1].cell_count)
        check_directions(reader, c);
    /* The wrapper of tf.keras and Keras 3 sets this. */
    for (int i = 0; i < 2; i++)
        if (reader->version.tf || reader->version.major >= 3)
            d[i].zero_output = d[i].return_sequences;
}

void recurrent_read(struct config_reader *reader, void *config, int variant)
{
    struct recurrent_config *c = config;
    c->direction_count = 1;
    if (variant == RECURRENT_VARIANT_BIDIRECTIONAL)
        read_bidirectional(reader, c);
    else
        read_direction(reader, &c->directions[0], (enum recurrent_variant)variant, "");
    c->states_hide_mask = reader->version.major >= 3;
    c->first_output_is_state = reader->version.major < 3 && !reader->version.tf && reader->version.tensorflow &&
                               !c->directions[0].unroll;
}
