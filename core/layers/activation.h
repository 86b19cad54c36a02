/* SPDX-License-Identifier: Apache-2.0 */
/* Activations: one table (activations.def) for the strings that layers carry, Activation layers, and the activation layers
 * (ReLU, LeakyReLU, ELU …) that may stand in an `activation` key as objects. */
#ifndef H5PT_LAYERS_ACTIVATION_H
#define H5PT_LAYERS_ACTIVATION_H

#include "layers/layer.h"
#include "layers/lower.h"

enum activation_kind {
#define ACTIVATION(id, names, versions, torch) ACTIVATION_##id,
#include "layers/activations.def"
#undef ACTIVATION
    ACTIVATION_COUNT
};

struct activation {
    enum activation_kind kind;
    double slope;     /* RELU: negative_slope; LEAKY_RELU; ELU, CELU: alpha */
    double max_value; /* RELU: INFINITY when absent */
    double threshold; /* RELU, THRESHOLD, HARD_SHRINK, SOFT_SHRINK */
    double value;     /* THRESHOLD: the replacement */
    int axis_count;   /* SOFTMAX, LOG_SOFTMAX, SPARSEMAX, GLU: axes as in Keras, default one: -1 */
    int64_t axes[SHAPE_MAX_RANK];
    bool zeroes_masked; /* SOFTMAX: what a mask hides becomes 0 whatever is left */
};

/* A row of activations.def. */
struct activation_row {
    const char *names;    /* in files, by spaces: "relu", "silu swish"; "": of operations only */
    const char *versions; /* which Kerases have it by that name: of "2 tf 3" */
    enum torch_op torch;  /* that it becomes, or the main one of several, or TORCH_NONE */
};
/* All rows, in table order, which is that of enum activation_kind; NULL past the end. */
const struct activation_row *activation_at(size_t index);

/* Reads key `key`: a name, null (linear), or a serialized function or layer object. GLU is refused. */
struct activation activation_read(struct config_reader *reader, const char *key);
/* As activation_read, for layers that can deal with GLU, which halves the last axis. */
struct activation activation_read_glu(struct config_reader *reader, const char *key);
/* Reads the configuration of an activation layer; `variant` of enum activation_layer_variant. */
struct activation activation_layer_read(struct config_reader *reader, int variant);
/* One of a kind with its defaults. */
struct activation activation_default(enum activation_kind kind);

/* Applies it to a tensor in Keras order, in place (GLU changes the shape and is not allowed here). */
int activation_reference(const struct activation *activation, struct tensor *x, struct h5pt_error *err);
/* GLU: `out` has half of x's last axis. */
void activation_reference_glu(const struct tensor *x, struct tensor *out);
/* Whether it works along axes of its input, not element by element. */
bool activation_has_axes(const struct activation *activation);

/* Adds its nodes. `module`: the attribute name when the activation is a layer of its own and should be an nn module, else
 * NULL. The layout of x stays; for GLU it must not be flat. */
struct lowered activation_lower(struct lowering *l, const struct keras_call *call, const struct activation *activation,
                                struct lowered x, const char *module);

#endif
