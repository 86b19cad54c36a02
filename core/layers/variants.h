/* SPDX-License-Identifier: Apache-2.0 */
/* The variants that rows of layers.def name. */
#ifndef H5PT_LAYERS_VARIANTS_H
#define H5PT_LAYERS_VARIANTS_H

enum dropout_variant {
    DROPOUT_PLAIN,
    DROPOUT_SPATIAL1,
    DROPOUT_SPATIAL2,
    DROPOUT_SPATIAL3,
    DROPOUT_ALPHA,
    DROPOUT_GAUSSIAN,
    DROPOUT_NOISE,
    DROPOUT_REGULARIZATION,
    DROPOUT_IDENTITY,
};

enum activation_layer_variant {
    ACTIVATION_LAYER_NAMED,
    ACTIVATION_LAYER_RELU,
    ACTIVATION_LAYER_LEAKY_RELU,
    ACTIVATION_LAYER_ELU,
    ACTIVATION_LAYER_THRESHOLDED_RELU,
    ACTIVATION_LAYER_SOFTMAX,
};

/* = enum recurrent_cell */
enum recurrent_variant {
    RECURRENT_VARIANT_LSTM,
    RECURRENT_VARIANT_GRU,
    RECURRENT_VARIANT_SIMPLE,
};

enum logic_variant {
    LOGIC_OR,
    LOGIC_AND,
};

enum merge_variant {
    MERGE_ADD,
    MERGE_SUBTRACT,
    MERGE_MULTIPLY,
    MERGE_AVERAGE,
    MERGE_MAXIMUM,
    MERGE_MINIMUM,
};

enum residual_variant {
    RESIDUAL_SCALE,
    RESIDUAL_DEPTH,
};

enum resizing_variant {
    RESIZING_PLAIN,
    RESIZING_CENTER_CROP,
    RESIZING_RANDOM_CROP,
};

enum attention_variant {
    ATTENTION_SCORE_DOT,
    ATTENTION_SCORE_ADDITIVE,
};

enum heads_variant {
    HEADS_ALIKE,
    HEADS_GROUPED,
};

enum parametric_variant {
    PARAMETRIC_SOFTPLUS,
    PARAMETRIC_SRELU,
};

#endif
