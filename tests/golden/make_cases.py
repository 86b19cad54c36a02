#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make golden cases with the Keras that is installed (tf.keras 2.15 or Keras 3).

    make_cases.py [-o DIR] [--seed N] [NAME ...]

Writes DIR/FLAVOUR/made/NAME.h5 and .io.npz, FLAVOUR being keras3 or tfkeras; DIR is `cases` beside this script.  A case is a function
below, or in operation_cases.py or operation_cases_signal.py, that returns a model; its inputs are drawn at random (integers in [0, 9) for an integer input) unless it returns them too.
Afterwards run make_index.py.
"""
import argparse
import itertools
import os
import sys

import tensorflow as tf
import composition_cases  # noqa: F401: its cases
import operation_cases  # noqa: F401: its cases
import operation_cases_signal  # noqa: F401: its cases
from keras_case import CASES, CUSTOM_OBJECTS, FLAVOUR, case, keras, np, randomise, run, save

layers = keras.layers
HERE = os.path.dirname(os.path.abspath(__file__))

# Every string that `activation=` takes, by the documentation of the two versions.
ACTIVATIONS_2_15 = (
    "linear relu sigmoid tanh softmax elu selu softplus softsign swish gelu exponential hard_sigmoid mish leaky_relu log_softmax relu6 silu"
).split()
ACTIVATIONS_3 = ACTIVATIONS_2_15 + (
    "hard_silu hard_swish celu squareplus soft_shrink glu tanh_shrink hard_tanh hard_shrink log_sigmoid sparse_plus sparsemax sparse_sigmoid"
).split()
ACTIVATIONS = ACTIVATIONS_3 if FLAVOUR == "keras3" else ACTIVATIONS_2_15


def register_activations(group, names):
    """Each activation after a convolution (does the one over channels find its axis?), behind Flatten as Dense's own, and on the input."""

    @case("activation_%02d" % group, notes=" ".join(names))
    def _():
        image = keras.Input((5, 4, 3))
        features = layers.Conv2D(6, 2, name="features")(image)
        flat = layers.Flatten()(features)
        outputs = []
        for name in names:
            outputs.append(layers.Activation(name, name="conv_" + name)(features))
            outputs.append(layers.Dense(4, activation=name, name="dense_" + name)(flat))
        return keras.Model(image, outputs)


for start in range(0, len(ACTIVATIONS), 6):
    register_activations(start // 6, ACTIVATIONS[start : start + 6])


@case("activation_layer_class", only="tfkeras")
def activation_named_by_layer_class():
    vector = keras.Input((7,))
    return keras.Model(vector, [layers.Dense(5, activation=name)(vector) for name in ("LeakyReLU", "ELU", "ReLU", "Softmax")])


@case("rescaling_channels")
def rescaling_per_channel():
    image = keras.Input((6, 5, 3), dtype="uint8")
    x = layers.Rescaling([1 / 127.5, 1 / 64.0, 1 / 255.0], offset=[-1.0, -2.0, 0.5])(image)
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    return keras.Model(image, layers.Rescaling(2.0, offset=0.25)(x))


@case("normalization_image")
def normalization_as_efficientnet_has_it():
    image = keras.Input((7, 6, 3))
    x = layers.Rescaling(1 / 4.0)(image)
    x = layers.Normalization(axis=-1)(x)
    return keras.Model(image, layers.Conv2D(4, 3, strides=2, padding="same")(x))


@case("einsum_axes")
def einsum_dense_of_every_form():
    """Batched, summed alone, several axes at once, a bias in the middle, the ellipsis in front and behind."""
    x = keras.Input((5, 3))
    image = keras.Input((5, 3, 2))
    outputs = [
        layers.EinsumDense("abc,bcd->abd", output_shape=(5, 4), bias_axes="bd")(x),
        layers.EinsumDense("abc,cd->ad", output_shape=4, bias_axes="d", activation="tanh")(x),
        layers.EinsumDense("abc,cde->adbe", output_shape=(2, None, 3), bias_axes="d")(x),
        layers.EinsumDense("abcd,bde->aceb", output_shape=(3, 4, 5), bias_axes="c")(image),
        layers.EinsumDense("...xy,yz->...zx", output_shape=(4, 3), bias_axes="z")(image),
        layers.EinsumDense("abc...,cd->abd...", output_shape=(5, 4), bias_axes="d", activation="relu")(image),
        layers.EinsumDense("...x,xy->...y", output_shape=6, bias_axes=None)(image),
    ]
    return keras.Model([x, image], outputs)


@case("spectral_discriminator")
def spectral_normalization_in_a_discriminator():
    """Nested, so that the weights of several wrappers stand in one list."""
    spectral = layers.SpectralNormalization
    image = keras.Input((9, 7, 3))
    x = spectral(layers.Conv2D(4, 3, strides=2, padding="same"), name="sn1")(image)
    x = layers.LeakyReLU()(layers.BatchNormalization()(x))
    shared = spectral(layers.Conv2D(4, 3, padding="same"), name="sn2")
    body = keras.Model(image, shared(shared(x)), name="body")
    outside = keras.Input((9, 7, 3))
    x = layers.Flatten()(body(outside))
    return keras.Model(outside, spectral(layers.Dense(3, activation="tanh"), name="head")(x))


@case("upsampling_kinds")
def upsampling_of_every_kind():
    """A factor of 3 or 7 shows the rounded positions of bicubic, and the small image the weights at the border."""
    image = keras.Input((4, 3, 2))
    kinds = "bicubic lanczos3 lanczos5".split() + ("area gaussian mitchellcubic".split() if FLAVOUR == "tfkeras" else [])
    features = layers.Conv2D(2, 2, padding="same")(image)
    outputs = [layers.UpSampling2D((3, 2), interpolation=kind)(features) for kind in kinds]
    shared = layers.UpSampling2D((1, 7), interpolation="bicubic")
    outputs.append(shared(shared(image)))
    return keras.Model(image, outputs)


@case("efficientnet_block")
def efficientnet_block():
    def norm(t):
        return layers.BatchNormalization(axis=-1)(t)

    image = keras.Input((9, 11, 4))
    x = layers.ZeroPadding2D(((1, 1), (1, 1)))(image)
    x = layers.Activation("swish")(norm(layers.Conv2D(8, 3, strides=2, padding="valid", use_bias=False)(x)))
    shortcut = x
    x = layers.Activation("swish")(norm(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)))
    gate = layers.GlobalAveragePooling2D()(x)
    gate = layers.Reshape((1, 1, 8))(gate)
    gate = layers.Conv2D(2, 1, padding="same", activation="swish")(gate)
    gate = layers.Conv2D(8, 1, padding="same", activation="sigmoid")(gate)
    x = layers.multiply([x, gate])
    x = norm(layers.Conv2D(8, 1, padding="same", use_bias=False)(x))
    x = layers.Dropout(0.2, noise_shape=(None, 1, 1, 1))(x)
    x = layers.add([x, shortcut])
    return keras.Model(image, layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


@case("inception_same_pools")
def pooling_and_strides_with_uneven_same_padding():
    image = keras.Input((7, 10, 3))
    conv = layers.Conv2D(4, (3, 2), strides=(2, 3), padding="same", activation="relu")(image)
    average = layers.AveragePooling2D(3, strides=2, padding="same")(image)
    largest = layers.MaxPooling2D((2, 3), strides=(2, 2), padding="same")(image)
    even = layers.AveragePooling2D(2, strides=1, padding="same")(image)
    return keras.Model(image, [conv, layers.Concatenate()([average, largest]), even])


@case("flatten_two_readers")
def flatten_read_by_dense_and_by_the_output():
    """The Dense rows may be permuted for one reader only; the others must see Keras' order."""
    image = keras.Input((4, 3, 2))
    x = layers.Conv2D(5, 2, padding="same")(image)
    flat = layers.Flatten()(x)
    return keras.Model(image, [layers.Dense(4)(flat), flat, layers.RepeatVector(2)(flat), layers.Concatenate()([flat, layers.GlobalMaxPooling2D()(x)])])


@case("shared_conv_two_sizes")
def one_layer_called_on_two_sizes():
    """`same` padding of one shared layer differs between its calls."""
    small, large = keras.Input((6, 6, 2)), keras.Input((9, 7, 2))
    conv = layers.Conv2D(3, 3, strides=2, padding="same")
    norm = layers.BatchNormalization()
    return keras.Model([small, large], [norm(conv(small)), norm(conv(large))])


@case("many_inputs_of_every_rank")
def inputs_of_every_rank():
    vector, signal, image, volume = keras.Input((4,)), keras.Input((9, 3)), keras.Input((6, 5, 2)), keras.Input((4, 5, 4, 2))
    parts = [
        layers.Dense(4)(vector),
        layers.GlobalMaxPooling1D()(layers.Conv1D(4, 3, padding="causal")(signal)),
        layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image)),
        layers.GlobalMaxPooling3D()(layers.Conv3D(4, 2, padding="same")(volume)),
    ]
    return keras.Model([vector, signal, image, volume], [layers.Add()(parts), layers.Maximum()(parts), layers.Average()(parts[1:])])


class FirstCustom(layers.Layer):
    def call(self, x):
        return 2 * x


class SecondCustom(layers.Layer):
    def call(self, x):
        return x + 1


@case("several_reasons", expect="refuse", refused=["first_custom", "second_custom"], notes="both layers must be named at once")
def several_reasons_to_refuse():
    vector = keras.Input((4,))
    x = FirstCustom(name="first_custom")(layers.Dense(4)(vector))
    x = SecondCustom(name="second_custom")(layers.Dense(3)(x))
    return keras.Model(vector, x)


@case(
    "own_classes_inside",
    expect="refuse",
    refused=["bidirectional", "rnn", "stacked", "normalized", "block"],
    notes="classes of the user's own that have the names of Keras' classes, inside others",
)
def own_classes_with_keras_names_inside_others():
    own = keras.utils.register_keras_serializable()
    LSTM, LSTMCell, Conv2D, Sequential = (
        own(type(base.__name__, (base,), {})) for base in (layers.LSTM, layers.LSTMCell, layers.Conv2D, keras.Sequential)
    )
    steps, image = keras.Input((5, 3)), keras.Input((6, 6, 2))
    outputs = [
        layers.Bidirectional(LSTM(2), name="bidirectional")(steps),
        layers.RNN(LSTMCell(2), name="rnn")(steps),
        layers.RNN([layers.GRUCell(3), LSTMCell(2)], name="stacked")(steps),
        CUSTOM_OBJECTS["SpectralNormalization"](Conv2D(2, 3), name="normalized")(image),
        Sequential([keras.Input((5, 3)), layers.Dense(2)], name="block")(steps),
    ]
    return keras.Model([steps, image], outputs)


def register_grid(name, shape, *variants):
    """One input, and an output for each (layer class, settings): how kernel, stride, dilation, padding and size play together."""

    @case(name)
    def _():
        x = keras.Input(shape)
        return keras.Model(x, [getattr(layers, kind)(**settings)(x) for kind, settings in variants])


def settings_grid(**choices):
    """Every combination of the choices: settings_grid(a=(1, 2), b=(3,)) is [{a: 1, b: 3}, {a: 2, b: 3}]."""
    return [dict(zip(choices, values)) for values in itertools.product(*choices.values())]


def of(kind, settings, **fixed):
    return [(kind, {**fixed, **s}) for s in settings]


# The inputs have odd and even sizes: `same` pads unevenly at one and not at the other.
register_grid(
    "grid_conv1d",
    (11, 4),
    *of("Conv1D", settings_grid(kernel_size=(2, 3), strides=(1, 2, 3), padding=("same",)), filters=3),
    *of("Conv1D", settings_grid(kernel_size=(3,), strides=(1, 2), padding=("valid", "causal")), filters=3),
    *of("Conv1D", settings_grid(kernel_size=(2, 3), dilation_rate=(2,), padding=("same", "causal")), filters=2),
    *of("Conv1D", settings_grid(kernel_size=(3,), groups=(2,), padding=("same",)), filters=6),
)
register_grid(
    "grid_conv2d",
    (9, 8, 4),
    *of("Conv2D", settings_grid(kernel_size=((3, 3), (2, 4)), strides=(1, 2, (2, 3)), padding=("same",)), filters=3),
    *of("Conv2D", settings_grid(kernel_size=((1, 3),), strides=(1, (3, 2)), padding=("valid",)), filters=3),
    *of("Conv2D", settings_grid(kernel_size=(2, 3), dilation_rate=(2, (1, 3)), padding=("same",)), filters=2),
    *of("Conv2D", settings_grid(kernel_size=(3,), groups=(2,), strides=(2,), padding=("same",)), filters=6),
)
register_grid(
    "grid_conv3d",
    (5, 6, 4, 2),
    *of("Conv3D", settings_grid(kernel_size=((3, 2, 3),), strides=(1, 2, (1, 2, 3)), padding=("same",)), filters=2),
    *of("Conv3D", settings_grid(kernel_size=(2,), strides=(1, 2), padding=("valid",)), filters=2),
)
register_grid(
    "grid_conv_transpose1d",
    (5, 3),
    *of("Conv1DTranspose", settings_grid(kernel_size=(2, 3, 5), strides=(1, 2, 3), padding=("same",)), filters=2),
    *of("Conv1DTranspose", settings_grid(kernel_size=(2, 3), strides=(2, 3), padding=("valid",)), filters=2),
)
register_grid(
    "grid_conv_transpose2d",
    (4, 5, 3),
    *of("Conv2DTranspose", settings_grid(kernel_size=((3, 2),), strides=(1, 2, (2, 3)), padding=("same", "valid")), filters=2),
    *of("Conv2DTranspose", settings_grid(kernel_size=(3,), strides=(2,), padding=("same", "valid"), output_padding=(0, 1)), filters=2),
)
register_grid(
    "grid_conv_transpose3d",
    (3, 4, 2, 2),
    *of("Conv3DTranspose", settings_grid(kernel_size=((3, 2, 3),), strides=(1, 2), padding=("same", "valid")), filters=2),
)
register_grid(
    "grid_depthwise",
    (9, 8, 3),
    *of("DepthwiseConv2D", settings_grid(kernel_size=((3, 2),), strides=(1, 2), depth_multiplier=(1, 2), padding=("same",))),
    *of("DepthwiseConv2D", settings_grid(kernel_size=(2,), dilation_rate=(2,), padding=("same", "valid"))),
    *of("SeparableConv2D", settings_grid(kernel_size=((2, 3),), strides=(1, 2), depth_multiplier=(1, 2), padding=("same",)), filters=4),
)
register_grid(
    "grid_depthwise1d",
    (10, 3),
    *of("DepthwiseConv1D", settings_grid(kernel_size=(3, 4), strides=(1, 2), depth_multiplier=(2,), padding=("same",))),
    *of("SeparableConv1D", settings_grid(kernel_size=(2, 3), strides=(1, 2), depth_multiplier=(2,), padding=("same",)), filters=4),
    *of("SeparableConv1D", settings_grid(kernel_size=(3,), dilation_rate=(1, 2), padding=("valid",)), filters=4),
)
for dims, shape in ((1, (9, 2)), (2, (7, 8, 2)), (3, (5, 4, 6, 2))):
    register_grid(
        "grid_pool%dd" % dims,
        shape,
        *of("MaxPooling%dD" % dims, settings_grid(pool_size=(2, 3), strides=(None, 1, 2), padding=("same", "valid"))),
        *of("AveragePooling%dD" % dims, settings_grid(pool_size=(2, 3), strides=(None, 1, 2), padding=("same", "valid"))),
    )


@case("augmentation_in_pipeline", only="keras3")
def augmentation_that_a_file_takes_in_a_pipeline_only():
    image = keras.Input((6, 5, 3))
    names = "RandomBrightness RandomColorDegeneration RandomSaturation RandomSharpness"
    random = [getattr(layers, name)(0.2) for name in names.split()]
    return keras.Model(image, layers.Conv2D(2, 3)(layers.Pipeline([*random, layers.RandomPosterization(4), layers.Solarization()])(image)))


@case("applications_layers")
@case("applications_layers_archive", ending=".keras", notes="the names that a .keras file registers them by")
def layers_that_keras_applications_brings_along():
    from keras.src.applications.convnext import LayerScale, StochasticDepth
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    CUSTOM_OBJECTS.update(LayerScale=LayerScale, StochasticDepth=StochasticDepth, CustomScaleLayer=CustomScaleLayer)
    image = keras.Input((6, 7, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    y = StochasticDepth(0.3)(LayerScale(0.1, 4)(layers.Conv2D(4, 1)(x)))
    return keras.Model(image, CustomScaleLayer(scale=0.17)([x, y]))


class InstanceNormalization(layers.Layer):
    """As keras-contrib has it: divides by the standard deviation plus epsilon; without an axis a sample is normalised as a whole."""

    def __init__(self, axis=None, epsilon=1e-3, center=True, scale=True, **kwargs):
        super().__init__(**kwargs)
        self.settings = {"axis": axis, "epsilon": epsilon, "center": center, "scale": scale}

    def build(self, input_shape):
        axis = self.settings["axis"]
        shape = (1,) if axis is None else (input_shape[axis],)
        self.gamma = self.add_weight(name="gamma", shape=shape)
        self.beta = self.add_weight(name="beta", shape=shape)

    def call(self, inputs):
        rank, axis = len(inputs.shape), self.settings["axis"]
        axes = [a for a in range(1, rank) if axis is None or a != axis % rank]
        kept = [1 if axis is None or a != axis % rank else inputs.shape[a] for a in range(rank)]
        mean = tf.reduce_mean(inputs, axes, keepdims=True)
        normal = (inputs - mean) / (tf.math.reduce_std(inputs, axes, keepdims=True) + self.settings["epsilon"])
        return normal * tf.reshape(self.gamma, kept) + tf.reshape(self.beta, kept)

    def get_config(self):
        return {**super().get_config(), **self.settings}


CUSTOM_OBJECTS["InstanceNormalization"] = InstanceNormalization


@case("instance_normalization")
def instance_normalization_of_keras_contrib():
    image = keras.Input((6, 7, 3))
    x = InstanceNormalization(axis=-1, epsilon=0.1)(layers.Conv2D(4, 3)(image))
    y = InstanceNormalization(axis=1)(layers.Permute((3, 1, 2))(x))
    return keras.Model(image, [InstanceNormalization(epsilon=0.05)(layers.Conv2D(2, 2)(x)), y])


@case("stochastic_depth_addons", only="tfkeras")
def stochastic_depth_of_tensorflow_addons():
    @keras.utils.register_keras_serializable(package="Addons")
    class StochasticDepth(layers.Layer):
        def __init__(self, survival_probability=0.5, **kwargs):
            super().__init__(**kwargs)
            self.survival_probability = survival_probability

        def call(self, inputs):
            shortcut, residual = inputs
            return shortcut + self.survival_probability * residual

        def get_config(self):
            return {**super().get_config(), "survival_probability": self.survival_probability}

    image = keras.Input((5, 4, 3))
    x = layers.Conv2D(4, 2, padding="same")(image)
    return keras.Model(image, StochasticDepth(0.7)([x, layers.Conv2D(4, 3, padding="same")(x)]))


@case("thresholded_relu", only="keras3", reload=False, notes="Keras 3 still has the class, but does not find it in a file")
def thresholded_relu():
    from keras.src.legacy.layers import ThresholdedReLU

    image = keras.Input((5, 4, 3))
    return keras.Model(image, ThresholdedReLU(theta=0.7)(layers.Conv2D(4, 2)(image)))


def ids_with_padding():
    """Ids of which 0 is padding: none, in front, in the middle, behind, everywhere."""
    return np.array([[1, 2, 3, 4, 5], [0, 0, 3, 1, 2], [4, 0, 2, 0, 1], [5, 6, 1, 0, 0], [0, 0, 0, 0, 0]], "int32")


@case("attention_masked", reload=False, notes="padding through attention of every kind, a row that is all padding included")
def attention_masked():
    ids, other = keras.Input((5,), dtype="int32"), keras.Input((5,), dtype="int32")
    query = layers.Embedding(7, 4, mask_zero=True, name="query_tokens")(ids)
    value = layers.Embedding(7, 4, mask_zero=True)(other)  # Keras 3 takes its mask off when MultiHeadAttention runs
    plain = layers.Embedding(7, 4)(ids)
    outputs = [
        layers.Attention(use_scale=True)([query, value]),
        layers.Attention(score_mode="concat")([plain, value, query]),
        *layers.AdditiveAttention()([query, value], return_attention_scores=True, use_causal_mask=True),
        layers.MultiHeadAttention(2, 3, name="query_first")(plain, value),
        layers.MultiHeadAttention(2, 3, value_dim=2, output_shape=(2, 3))(plain, value, use_causal_mask=True),
        *layers.MultiHeadAttention(2, 3)(plain, value, return_attention_scores=True),
    ]
    return keras.Model([ids, other], outputs), [ids_with_padding(), ids_with_padding()[::-1].copy()]


@case("attention_masked_query", reload=False, notes="query, value and key with padding each; the pooling behind takes the mask of the query")
def attention_masked_query():
    inputs = [keras.Input((5,), dtype="int32") for _ in range(3)]
    query, value, key = (layers.Embedding(7, 4, mask_zero=True)(x) for x in inputs)
    x = layers.MultiHeadAttention(2, 2)(query, value, key)
    pooled = layers.GlobalAveragePooling1D()(x)
    ids = ids_with_padding()[:4]
    return keras.Model(inputs, [x, pooled]), [ids, ids[::-1].copy(), ids[[1, 0, 3, 2]].copy()]


@case("attention_axes", notes="attention along one or both of two axes, with scores")
def attention_axes():
    image = keras.Input((3, 4, 5))
    outputs = []
    for axes in (1, 2, (1, 2), (2, 1)):
        x, scores = layers.MultiHeadAttention(2, 3, attention_axes=axes)(image, image, return_attention_scores=True)
        outputs += [x, scores, layers.MultiHeadAttention(1, 2, attention_axes=axes)(image, image)]
    return keras.Model(image, outputs)


@case("masks_merged", reload=False, only="keras3", notes="merging layers of Keras 3 leave out what a mask hides")
def masks_merged():
    a, b = keras.Input((5,), dtype="int32"), keras.Input((5,), dtype="int32")
    masked = [layers.Embedding(7, 4, mask_zero=True)(x) for x in (a, b)]
    plain = layers.Embedding(7, 4)(a)
    outputs = []
    for kind in (layers.Multiply, layers.Maximum, layers.Minimum):
        for tensors in (masked, [masked[0], plain], [plain, masked[1]], [*masked, plain], [plain, *masked], [masked[1], masked[0], masked[1]]):
            x = kind()(tensors)
            outputs += [x, layers.Attention()([plain, x])]
    for kind in (layers.Add(), layers.Subtract(), layers.Concatenate(axis=1), layers.Concatenate()):
        x = kind(masked)
        outputs += [x, layers.Attention()([layers.Dense(x.shape[-1])(plain), x])]
    x = layers.Average()([masked[0], plain])
    outputs.append(layers.Attention()([plain, x]))
    x = layers.Concatenate()([masked[0], plain])
    outputs.append(layers.Attention()([x, x]))
    return keras.Model([a, b], outputs), [ids_with_padding(), ids_with_padding()[::-1].copy()]


@case("masks_merged_before", only="tfkeras", notes="merging layers of tf.keras keep steps that all keep")
def masks_merged_before():
    a, b = keras.Input((5,), dtype="int32"), keras.Input((5,), dtype="int32")
    masked = [layers.Embedding(7, 4, mask_zero=True)(x) for x in (a, b)]
    plain = layers.Embedding(7, 4)(a)
    outputs = []
    for kind in (layers.Multiply(), layers.Maximum(), layers.Add(), layers.Average(), layers.Concatenate()):
        for tensors in (masked, [masked[0], plain]):
            x = kind(tensors)
            outputs += [x, layers.Attention()([layers.Dense(x.shape[-1])(plain), x]), layers.GlobalAveragePooling1D(keepdims=True)(x)]
    x = layers.Concatenate(axis=1)(masked)
    outputs += [layers.Attention()([plain, x]), layers.GlobalAveragePooling1D()(x)]
    # every sample keeps a step that both keep, or pooling has nothing to divide by
    return keras.Model([a, b], outputs), [ids_with_padding()[:4], ids_with_padding()[[0, 2, 1, 0]]]


@case("masks_taken_off", reload=False, only="keras3", notes="MultiHeadAttention takes the masks off its inputs: Add sees one mask only and gives none")
def masks_taken_off():
    ids = keras.Input((5,), dtype="int32")
    x = layers.Embedding(7, 4, mask_zero=True)(ids)
    outputs = []
    for _ in range(2):
        x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 2)(x, x)]))
        outputs.append(x)
    x = layers.Embedding(7, 4, mask_zero=True)(ids)
    for depth in range(4):  # beside it, at all distances from the output
        y = layers.Attention()([x, x])
        for _ in range(depth):
            y = layers.Dense(4)(y)
        outputs.append(y)
        outputs.append(layers.Dense(4)(layers.MultiHeadAttention(2, 2)(layers.Dense(4)(x), x)))
    return keras.Model(ids, outputs), [ids_with_padding()]


@case("masks_given", reload=False, notes="masks as arguments: of softmax, attention, pooling, and of layers that only hand them on")
def masks_given():
    x, kept = keras.Input((5, 4)), keras.Input((5,), dtype="bool")
    cells, pairs = keras.Input((5, 4), dtype="bool"), keras.Input((5, 5), dtype="bool")
    normed = layers.BatchNormalization()(x, mask=kept)
    outputs = [
        layers.Softmax()(x, mask=cells),
        layers.Softmax(axis=1)(x, mask=cells),
        layers.GlobalAveragePooling1D()(x, mask=kept),
        layers.GlobalAveragePooling1D()(normed),
        layers.Attention()([x, x], mask=[kept, kept]),
        layers.Attention()([x, normed]),
        layers.MultiHeadAttention(2, 3)(x, x, attention_mask=pairs),
        layers.MultiHeadAttention(2, 3, dropout=0.3)(x, x, attention_mask=pairs, use_causal_mask=True),
    ]
    rng = np.random.default_rng(5)
    given = [rng.normal(size=(3, 5, 4)).astype("float32")] + [rng.random(shape) < 0.6 for shape in ((3, 5), (3, 5, 4), (3, 5, 5))]
    for mask in given[2:]:
        mask[2] = False
    return keras.Model([x, kept, cells, pairs], outputs), given


@case("attention_grouped", reload=False, only="keras3", notes="windows, gates and groups of heads, with padding")
def attention_grouped():
    ids, other = keras.Input((5,), dtype="int32"), keras.Input((6,), dtype="int32")
    x = layers.Embedding(7, 4, mask_zero=True)(ids)
    y = layers.Embedding(7, 4, mask_zero=True)(other)
    outputs = [
        layers.GroupQueryAttention(3, 4, 2, sliding_window=2)(x, y),
        layers.GroupQueryAttention(3, 4, 1, use_gate=True, dropout=0.1)(x, y, use_causal_mask=True),
        *layers.GroupQueryAttention(2, 6, 2, use_gate=True, use_bias=False)(x, y, return_attention_scores=True),
    ]
    x = layers.Embedding(7, 4)(ids)
    outputs += [
        layers.MultiHeadAttention(2, 3, sliding_window=2, use_gate=True)(x, y, use_causal_mask=True),
        *layers.MultiHeadAttention(2, 3, sliding_window=3)(x, x, return_attention_scores=True),
    ]
    return keras.Model([ids, other], outputs), [ids_with_padding(), np.pad(ids_with_padding()[::-1], ((0, 0), (1, 0)), constant_values=6)]


def random_input(rng, tensor):
    shape = [3, *[6 if d is None else d for d in tensor.shape[1:]]]
    dtype = keras.backend.standardize_dtype(tensor.dtype) if FLAVOUR == "keras3" else tensor.dtype.name
    if dtype.startswith("float"):
        return rng.normal(0, 1.5, shape).astype(dtype)
    return rng.integers(0, 256 if dtype == "uint8" else 9, shape).astype(dtype)


def make(name, seed, out):
    function, meta = CASES[name]
    rng = np.random.default_rng([seed, *name.encode()])
    keras.backend.clear_session()
    made = function()
    model, inputs = made if isinstance(made, tuple) else (made, [random_input(rng, t) for t in made.inputs])
    randomise(model, rng)
    outputs = [] if meta.get("expect") == "refuse" else run(model, inputs)
    if not all(np.isfinite(y).all() and y.std() > 1e-3 for y in outputs):
        sys.exit("make_cases.py: %s: an output is not finite, or constant" % name)
    save(os.path.join(out, FLAVOUR, "made", name), model, inputs, outputs, **meta)


@case("clahe", only="keras3", notes="histogram equalisation: tiles that do not divide the image, other ranges, no limit, channels_first")
def clahe():
    image = keras.Input((11, 14, 2))
    first = keras.Input((3, 8, 6))
    layer = layers.ContrastLimitedAdaptiveHistogramEqualization
    outputs = [
        layer((0, 1), clip_limit=1.5, tile_grid_size=(3, 4))(image),
        layer((-1, 1), clip_limit=0.0, tile_grid_size=(2, 1))(image),
        layer((0, 255), tile_grid_size=(4, 2), data_format="channels_first")(first),
    ]
    rng = np.random.default_rng(5)
    return keras.Model([image, first], outputs), [
        rng.uniform(-0.2, 1.2, (2, 11, 14, 2)).astype("float32"),
        rng.uniform(0, 255, (2, 3, 8, 6)).astype("float32"),
    ]


@case("resize_like", only="tfkeras", notes="images of free size brought to the size of others, times a number, with every method")
def resize_like():
    image = keras.Input((None, None, 2))
    deep = layers.Conv2D(3, 3, strides=2, padding="same")(image)
    outputs = [tf.image.resize(deep, tf.shape(image)[1:3], method) for method in ("bilinear", "nearest", "bicubic", "lanczos3")]
    outputs.append(tf.image.resize(image, tf.shape(deep)[1:3] * 3))
    outputs.append(tf.image.resize(deep, (2 * tf.shape(deep)[1], tf.shape(deep)[2])))
    return keras.Model(image, outputs), [np.random.default_rng(3).normal(0, 1, (2, 7, 10, 2)).astype("float32")]


@case("resize_methods", only="tfkeras", notes="the methods of TensorFlow that PyTorch has not, larger by a number, smaller, and to images of free size")
def resize_methods():
    image, small = keras.Input((None, None, 2)), keras.Input((7, 6, 1))
    kinds = "gaussian mitchellcubic lanczos5 area".split()
    return keras.Model(
        [image, small],
        [layers.UpSampling2D((3, 2), interpolation=kind)(image) for kind in kinds[:3]] + [layers.Resizing(5, 9, interpolation=kind)(small) for kind in kinds],
    ), [np.random.default_rng(seed).normal(0, 1, shape).astype("float32") for seed, shape in ((7, (2, 5, 4, 2)), (8, (2, 7, 6, 1)))]


@case("loops_free_length", reload=False, notes="recurrent layers that no module of PyTorch is, over a number of steps that only the input tells")
def loops_free_length():
    x, frames = keras.Input((None, 3)), keras.Input((None, 5, 6, 2))
    masked = layers.Masking(0.0)(x)
    lstm, h, c = layers.LSTM(4, recurrent_activation="hard_sigmoid", return_sequences=True, return_state=True)(x)
    outputs = [
        layers.LSTM(4, activation="elu", return_sequences=True, go_backwards=True)(lstm, initial_state=[h, c]),
        layers.LSTM(4, activation="relu", return_sequences=True, zero_output_for_mask=True)(masked),
        layers.GRU(5, reset_after=False, return_sequences=True, go_backwards=True)(masked),
        layers.GRU(5, activation="softsign")(masked),
        layers.Bidirectional(layers.SimpleRNN(3, activation="softsign", return_sequences=True))(masked),
        layers.ConvLSTM2D(2, (3, 2), padding="same", return_sequences=True)(frames),
        layers.ConvLSTM2D(3, 2, go_backwards=True, activation="relu")(frames),
    ]
    steps = np.random.default_rng(5).normal(0, 1, (3, 6, 3)).astype("float32")
    steps[0, 4:] = 0
    steps[1, :2] = 0
    steps[2, 3] = 0
    return keras.Model([x, frames], outputs), [steps, np.random.default_rng(6).normal(0, 1, (3, 4, 5, 6, 2)).astype("float32")]


@case("blocks_free_size", only="tfkeras", notes="depth_to_space and space_to_depth of images of free size, and of one channel")
def blocks_free_size():
    image = keras.Input((None, None, 1))
    deep = tf.nn.space_to_depth(image, 2)
    wide = layers.Conv2D(12, 3, padding="same")(deep)
    outputs = [tf.nn.depth_to_space(deep, 2), tf.nn.depth_to_space(wide, 2), tf.nn.space_to_depth(tf.nn.depth_to_space(wide, 2), 2)]
    return keras.Model(image, outputs), [np.random.default_rng(4).normal(0, 1, (2, 6, 8, 1)).astype("float32")]


@case("resizing_antialias", only="keras3", notes="shrinking with and without antialias, by uneven factors")
def resizing_antialias():
    image = keras.Input((11, 9, 2))
    kinds = ("bilinear", "bicubic", "lanczos3")
    return keras.Model(image, [layers.Resizing(4, 5, interpolation=kind, antialias=kind != "bicubic")(image) for kind in kinds])


@case("mel_narrow", only="keras3", notes="frames that overlap by an odd part, and a range of 12 dB, which noise exceeds")
def mel_narrow():
    sound = keras.Input((200,))
    return keras.Model(sound, layers.MelSpectrogram(fft_length=64, sequence_stride=24, sampling_rate=8000, num_mel_bins=8, top_db=12.0)(sound))


@case("select_average", reload=False, only="keras3", notes="conditions that overlap, the first of which counts, and weights that do not add up to 1")
def select_average():
    x = keras.Input((5, 4))
    chosen = keras.ops.select([x > 0.5, x > -0.5, x > -1.0], [x * 2.0, x - 3.0, x + 7.0], 0.25)
    return keras.Model(x, [chosen, keras.ops.average(x, axis=1, weights=np.array([1.0, 2.0, 0.5, 3.0, 1.5], "float32"))])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", default=os.path.join(HERE, "cases"))
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all of " + " ".join(CASES))
    args = parser.parse_args()
    unknown = set(args.names) - set(CASES)
    if unknown:
        sys.exit("make_cases.py: no such case with this Keras: " + " ".join(sorted(unknown)))
    for name in args.names or CASES:
        make(name, args.seed, args.out)
        print(FLAVOUR, name)


if __name__ == "__main__":
    main()
