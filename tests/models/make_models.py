#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the models of keras.applications with random weights, as legacy .h5, with the outputs that this Keras computes.

    make_models.py -o DIR [--size N] [--seed N] [NAME ...]
    make_models.py --list

Runs with tf.keras 2.15, tf-keras (TF_USE_LEGACY_KERAS=1) and Keras 3: each writes the file in its own manner.  For each NAME (default: the
classic CNN and a few well-known ones) it writes DIR/NAME.h5 and DIR/NAME.io.npz: arrays in0.. and out0.. in Keras layout and `meta`, a JSON
string.  --list prints a JSON object: the versions and every NAME of this Keras' applications.

--size N asks for N x N input pixels; a model that cannot take N keeps its own smallest size.  `classic` is always 28 x 28 x 1, and
VGG16 is 224 x 224 x 3 unless --vgg-size says otherwise, because its Dense kernels (392 MiB) are what makes it worth testing.
"""
import argparse
import gc
import inspect
import json
import os
import platform
import re
import sys
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "golden"))
from keras_case import CUSTOM_OBJECTS, flat_layers, keras, np, randomise, role, run, save

# Every model that this keras.applications can build; the rest of that module are submodules, which lead to the same functions.
APPLICATIONS = {name: f for name, f in sorted(vars(keras.applications).items()) if inspect.isfunction(f)}
DEFAULT_NAMES = ["classic", "VGG16", "ResNet50", "MobileNetV2", "DenseNet121", "InceptionV3", "Xception", "EfficientNetB0"]
CALIBRATION_IMAGES = 16


def classic_cnn():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ],
        name="classic",
    )


def smallest_input(constructor):
    """The fewest pixels a side that it takes, which it says when it refuses a single one."""
    try:
        constructor(weights=None, input_shape=(1, 1, 3))
    except ValueError as refusal:
        return int(re.search(r"at least (\d+)x\1", str(refusal)).group(1))
    return 1


def build(name, size, vgg_size):
    if name == "classic":
        return classic_cnn()
    constructor = APPLICATIONS[name]
    pixels = max(vgg_size if name == "VGG16" else size, smallest_input(constructor))
    return constructor(weights=None, input_shape=(pixels, pixels, 3))


def input_top(model):
    """255 when the model scales pixels itself, else None: it wants values around zero."""
    classes = {type(layer).__name__ for layer in flat_layers(model)}
    return 255.0 if classes & {"Rescaling", "Normalization"} else None


def random_images(rng, shape, top):
    """Coarse blotches under fine noise: after many layers, plain noise of any two images looks the same.

    Pixels get darker from image to image, down to black, which is what values around zero look like to a model that wants pixels.
    """
    n, height, width, channels = shape
    coarse = rng.normal(0, 1, (n, 4, 4, channels))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    x = coarse[:, rows][:, :, columns] + 0.5 * rng.normal(0, 1, shape)
    if top is not None:
        x = np.clip((x + 3) / 6, 0, 1) * top * np.linspace(1, 0, n)[:, None, None, None]
    return x.astype("float32")


def calibrate_batch_norm(model, x, rng):
    """Set the moving statistics near those of x, so that no activation vanishes or explodes however deep the model is.

    They stay off by random amounts, for which gamma and beta make up: with the exact statistics, a converter that dropped them in
    favour of the batch's own would go unnoticed.
    """
    norms = [layer for layer in flat_layers(model) if type(layer).__name__ == "BatchNormalization"]
    if not norms:
        return
    momenta = [layer.momentum for layer in norms]
    dropouts = [layer for layer in flat_layers(model) if type(layer).__name__ == "Dropout"]
    rates = [layer.rate for layer in dropouts]
    for layer in norms:
        layer.momentum = 0.0
    for layer in dropouts:  # dropped branches would not be there in the statistics
        layer.rate = 0.0
    model(x, training=True)
    for layer, rate in zip(dropouts, rates):
        layer.rate = rate
    for layer, momentum in zip(norms, momenta):
        layer.momentum = momentum
        weights = dict(zip([role(v) for v in layer.weights], layer.get_weights()))
        # A channel that hardly varies on x would blow up whatever else comes its way.
        mean, variance = weights["moving_mean"], weights["moving_variance"]
        variance = np.maximum(variance, 0.5 * variance.mean())
        spread = np.sqrt(variance + layer.epsilon)
        shift, stretch = rng.normal(0, 0.2, spread.shape), np.sqrt(rng.uniform(0.5, 1.5, spread.shape))
        weights.update(moving_mean=mean + shift * spread, moving_variance=(spread * stretch) ** 2 - layer.epsilon)
        if layer.scale and layer.center:  # undo the shift and the stretch, which would add up over many layers
            weights.update(gamma=weights["gamma"] * stretch, beta=weights["beta"] + weights["gamma"] * shift)
        layer.set_weights([weights[role(v)] for v in layer.weights])


def soften_gates(model):
    """Keep sigmoid gates off their flat ends: random ones switch channels on and off and make rounding large."""
    for layer in flat_layers(model):
        if getattr(layer, "activation", None) is keras.activations.sigmoid:
            kernel, *rest = layer.get_weights()
            layer.set_weights([kernel * 0.05, *rest])


def soften_activations(model):
    """Keep more than half of each activation's inputs positive: a long chain of random ReLUs makes rounding large."""
    for layer in flat_layers(model):
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([w + 0.5 if role(v) == "beta" else w for v, w in zip(layer.weights, layer.get_weights())])


def soften_branches(model):
    """Make what a residual block adds small beside what passes it by, as training does: else rounding grows with each of a hundred blocks."""
    made_by = {id(layer.output): layer for layer in model.layers}

    def scale_behind(tensor):
        """The layer that sets how large the tensor is; None when it comes from before the block."""
        layer = made_by.get(id(tensor))
        while type(layer).__name__ in ("Dropout", "Multiply"):
            layer = made_by.get(id(layer.input[0] if isinstance(layer.input, list) else layer.input))
        return layer if type(layer).__name__ in ("BatchNormalization", "Conv2D") else None

    for add in model.layers:
        scales = [scale_behind(tensor) for tensor in add.input] if type(add).__name__ == "Add" else []
        if None in scales:
            for layer in filter(None, scales):
                weight, *rest = layer.get_weights()  # gamma or kernel
                layer.set_weights([weight * 0.25, *rest])


def scale_head(model, x):
    """Scale the classifier so that its logits spread by about 1.5: a saturated softmax would hide every error before it."""
    last = model.layers[-1]
    softmax, last.activation = last.activation, keras.activations.linear
    [logits] = run(model, [x])
    last.activation = softmax
    classifier = next(layer for layer in reversed(model.layers) if layer.weights)  # a convolution in MobileNet
    kernel, bias = classifier.get_weights()
    factor = 1.5 / np.std(logits)
    classifier.set_weights([kernel * factor, bias])


def check(outputs):
    """Refuse to write a model whose outputs could not show an error: saturated, or the same whatever goes in."""
    if not np.isfinite(outputs).all():
        raise ValueError("the outputs are not finite")
    apart = np.ptp(outputs, axis=0).max() / np.abs(outputs).max()  # how far the inputs are told apart
    probabilities = np.allclose(outputs.sum(-1), 1, atol=1e-3)  # RegNet gives logits, whatever classifier_activation says
    if probabilities and outputs.max() > 0.98 or apart < 0.1:
        raise ValueError("outputs from %g to %g, apart by %g" % (outputs.min(), outputs.max(), apart))
    return apart


def readable(model):
    """Whether this Keras can load what it saved: Keras 3 takes the operation Add in a legacy file for the layer Add."""
    return all(isinstance(operation, keras.layers.Layer) for operation in getattr(model, "operations", []))


def make(name, args):
    start = time.time()
    rng = np.random.default_rng([args.seed, zlib.crc32(name.encode())])
    model = build(name, args.size, args.vgg_size)
    CUSTOM_OBJECTS.update({type(layer).__name__: type(layer) for layer in flat_layers(model)})  # some are the applications' own
    count = {"classic": 64, "VGG16": 2}.get(name, 4)
    x = random_images(rng, (max(count, CALIBRATION_IMAGES), *model.input_shape[1:]), input_top(model))
    randomise(model, rng)
    soften_gates(model)
    soften_activations(model)
    soften_branches(model)
    calibrate_batch_norm(model, x, rng)
    x = x[:count]
    scale_head(model, x)
    [y] = run(model, [x])
    apart = check(y)
    stem = os.path.join(args.out, name)
    save(stem, model, [x], [y], reload=readable(model), family="models", seed=args.seed)
    size = os.path.getsize(stem + ".h5") / 2**20
    print("%-15s keras %s  input %s  %7.1f MiB  outputs %.2g..%.2g apart %.2f  %.0f s" % (name, keras.__version__, model.input_shape, size, y.min(), y.max(), apart, time.time() - start), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", help="directory to write to")
    parser.add_argument("--list", action="store_true", help="print what keras.applications has")
    parser.add_argument("--size", type=int, default=0, help="input pixels; default: the smallest that each model takes")
    parser.add_argument("--vgg-size", type=int, default=224)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("names", nargs="*", metavar="NAME", help="classic or a function of keras.applications")
    args = parser.parse_args()
    if args.list:
        import tensorflow

        versions = {"Keras": keras.__version__, "TensorFlow": tensorflow.__version__, "Python": platform.python_version()}
        print(json.dumps({"versions": versions, "names": list(APPLICATIONS)}))
        return
    if not args.out:
        parser.error("-o DIR is needed")
    unknown = set(args.names) - set(APPLICATIONS) - {"classic"}
    if unknown:
        parser.error("unknown: %s; known: classic %s" % (" ".join(sorted(unknown)), " ".join(APPLICATIONS)))
    os.makedirs(args.out, exist_ok=True)
    failed = 0
    for name in args.names or DEFAULT_NAMES:
        try:
            make(name, args)
        except Exception as error:  # one model must not keep the others from being made
            print("%s: %s: %s" % (name, type(error).__name__, error), file=sys.stderr, flush=True)
            failed += 1
        keras.backend.clear_session()
        gc.collect()
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
