#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What one step of training does to a model in the Keras that is installed (tf.keras 2.15 or Keras 3 on TensorFlow).

    make_training.py                  writes training/FLAVOUR_cnn.h5 and .training.npz beside this script
    make_training.py FILE.h5 ...      writes FILE.training.npz for models that end in a softmax and have no nested models

The .npz holds in0 and target, the loss (cross entropy) before and after a step of plain gradient descent, learning_rate, and for each weight
that is trained its gradient, "layer/kernel".  Dropout is left out: what it drops is random.  Models that are given are computed in float64: behind
many layers, float32 decides by its rounding which ReLU lets a gradient through.
"""
import json
import os
import sys

import numpy as np
import tensorflow as tf
from keras_case import FLAVOUR, keras, randomise, role

HERE = os.path.dirname(os.path.abspath(__file__))
LEARNING_RATE = 0.01
BATCH = 6


def small_cnn():
    """No normalisation; the first convolution is frozen, as when fine-tuning."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((13, 11, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="frozen", trainable=False),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="conv"),
            layers.MaxPooling2D(2, name="pool"),
            layers.DepthwiseConv2D(3, padding="same", name="depthwise"),
            layers.Activation("relu", name="relu"),
            layers.Conv2DTranspose(5, 2, strides=2, name="up"),
            layers.Flatten(name="flatten"),
            layers.Dense(12, activation="tanh", name="hidden"),
            layers.Dense(7, activation="softmax", name="predictions"),
        ],
        name="small_cnn",
    )


def loss_of(model, x, target):
    y = model(x, training=True)
    return -tf.reduce_mean(tf.reduce_sum(target * tf.math.log(y + 1e-7), axis=-1))


def switch_dropout_off(model):
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0


def in_float64(model):
    config = json.loads(json.dumps(model.get_config()).replace("float32", "float64"))
    double = type(model).from_config(config)
    double.set_weights(model.get_weights())
    return double


def train(model, path, rng):
    dtype = "float64" if "float64" in str(model.weights[0].dtype) else "float32"
    x = rng.normal(0, 1, (BATCH, *model.input_shape[1:])).astype(dtype)
    classes = model.output_shape[-1]
    target = np.eye(classes, dtype=dtype)[rng.integers(0, classes, BATCH)]
    switch_dropout_off(model)
    owners = {id(v): layer.name for layer in model.layers for v in layer.trainable_weights}
    weights = model.trainable_weights
    values = [getattr(v, "value", v) for v in weights] if FLAVOUR == "keras3" else weights
    statistics = [w.numpy() if hasattr(w, "numpy") else np.array(w) for w in model.weights]
    with tf.GradientTape() as tape:
        loss = loss_of(model, x, target)
    gradients = tape.gradient(loss, values)
    model.set_weights(statistics)  # the step below must begin where the loss was
    for v, g in zip(weights, gradients, strict=True):
        v.assign(v - LEARNING_RATE * g)
    arrays = {"%s/%s" % (owners[id(v)], role(v)): np.asarray(g) for v, g in zip(weights, gradients, strict=True)}
    assert len(arrays) == len(weights)
    after = loss_of(model, x, target)
    np.savez(path, in0=x, target=target, loss=loss, loss_after=after, learning_rate=LEARNING_RATE, **arrays)
    print("%s: loss %.6f, then %.6f; %d gradients" % (path, loss, after, len(arrays)))


def main():
    rng = np.random.default_rng(7)
    for file in sys.argv[1:]:
        train(in_float64(keras.models.load_model(file, compile=False)), file[: -len(".h5")] + ".training.npz", rng)
    if sys.argv[1:]:
        return
    model = small_cnn()
    randomise(model, rng)
    stem = os.path.join(HERE, "training", FLAVOUR + "_cnn")
    os.makedirs(os.path.dirname(stem), exist_ok=True)
    model.save(stem + ".h5")
    train(model, stem + ".training.npz", rng)


if __name__ == "__main__":
    main()
