#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make well-known Keras models with random weights, as legacy .h5, with the outputs that this Keras computes.

    make_models.py -o DIR [--size N] [--seed N] [NAME ...]

Runs with tf.keras 2.15 and with Keras 3: the Keras that is installed writes the file in its own manner.  For each NAME (default: all
of them) it writes DIR/NAME.h5 and DIR/NAME.io.npz: arrays in0.. and out0.. in Keras layout and `meta`, a JSON string.

--size N asks for N x N input pixels; a model that cannot take N keeps its own smallest size.  `classic` is always 28 x 28 x 1, and
VGG16 is 224 x 224 x 3 unless --vgg-size says otherwise, because its Dense kernels (392 MiB) are what makes it worth testing.
"""
import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "golden"))
from keras_case import keras, np, randomise, role, run, save

# name in keras.applications -> (smallest input, top of the input range or None for a normal distribution).
# EfficientNet holds its own Rescaling(1/255), so it wants pixels.
APPLICATIONS = {
    "VGG16": (32, None),
    "ResNet50": (32, None),
    "MobileNetV2": (32, None),
    "DenseNet121": (32, None),
    "InceptionV3": (75, None),
    "Xception": (71, None),
    "EfficientNetB0": (32, 255.0),
}
NAMES = ["classic", *APPLICATIONS]


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


def build(name, size, vgg_size):
    if name == "classic":
        return classic_cnn(), None
    smallest, top = APPLICATIONS[name]
    pixels = vgg_size if name == "VGG16" else max(size, smallest)
    return getattr(keras.applications, name)(weights=None, input_shape=(pixels, pixels, 3)), top


def random_images(rng, shape, top):
    """Coarse blotches under fine noise: after many layers, plain noise of any two images looks the same."""
    n, height, width, channels = shape
    coarse = rng.normal(0, 1, (n, 4, 4, channels))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    x = coarse[:, rows][:, :, columns] + 0.5 * rng.normal(0, 1, shape)
    if top is not None:
        x = np.clip((x + 3) / 6, 0, 1) * top
    return x.astype("float32")


def calibrate_batch_norm(model, x, rng):
    """Set the moving statistics near those of x, so that no activation vanishes or explodes however deep the model is.

    They stay off by random amounts: with the exact statistics, a converter that dropped them in favour of the
    batch's own would go unnoticed.
    """
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    if not norms:
        return
    momenta = [layer.momentum for layer in norms]
    dropouts = [layer for layer in model.layers if type(layer).__name__ == "Dropout"]
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
        variance = weights["moving_variance"]
        weights["moving_variance"] = np.maximum(variance, 0.5 * variance.mean())
        spread = np.sqrt(weights["moving_variance"] + layer.epsilon)
        weights["moving_mean"] = weights["moving_mean"] + rng.normal(0, 0.2, spread.shape) * spread
        weights["moving_variance"] = weights["moving_variance"] * rng.uniform(0.5, 1.5, spread.shape)
        layer.set_weights([weights[role(v)] for v in layer.weights])


def soften_gates(model):
    """Keep sigmoid gates off their flat ends: random ones switch channels on and off and make rounding large."""
    for layer in model.layers:
        if getattr(layer, "activation", None) is keras.activations.sigmoid:
            kernel, *rest = layer.get_weights()
            layer.set_weights([kernel * 0.05, *rest])


def scale_head(model, x):
    """Scale the classifier so that its logits spread by about 1.5: a saturated softmax would hide every error before it."""
    head = model.layers[-1]
    softmax, head.activation = head.activation, keras.activations.linear
    [logits] = run(model, [x])
    head.activation = softmax
    kernel, bias = head.get_weights()
    factor = 1.5 / np.std(logits)
    head.set_weights([kernel * factor, bias])


def check(name, outputs):
    """Refuse to write a model whose outputs could not show an error: saturated, or the same whatever goes in."""
    if not np.isfinite(outputs).all():
        raise SystemExit("%s: the outputs are not finite" % name)
    apart = np.ptp(outputs, axis=0).max() / outputs.max()  # how far the inputs are told apart
    if outputs.max() > 0.98 or apart < 0.1:
        raise SystemExit("%s: outputs from %g to %g, apart by %g" % (name, outputs.min(), outputs.max(), apart))
    return apart


def make(name, args):
    rng = np.random.default_rng([args.seed, NAMES.index(name)])
    model, top = build(name, args.size, args.vgg_size)
    count = {"classic": 64, "VGG16": 2}.get(name, 4)
    x = random_images(rng, (max(count, 4), *model.input_shape[1:]), top)
    randomise(model, rng)
    soften_gates(model)
    calibrate_batch_norm(model, x, rng)
    scale_head(model, x)
    x = x[:count]
    [y] = run(model, [x])
    apart = check(name, y)
    save(os.path.join(args.out, name), model, [x], [y], family="models", seed=args.seed)
    return model, y, apart


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", required=True, help="directory to write to")
    parser.add_argument("--size", type=int, default=0, help="input pixels; default: the smallest that each model takes")
    parser.add_argument("--vgg-size", type=int, default=224)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of: " + " ".join(NAMES))
    args = parser.parse_args()
    unknown = set(args.names) - set(NAMES)
    if unknown:
        parser.error("unknown: %s; known: %s" % (" ".join(sorted(unknown)), " ".join(NAMES)))
    os.makedirs(args.out, exist_ok=True)
    for name in args.names or NAMES:
        start = time.time()
        model, y, apart = make(name, args)
        size = os.path.getsize(os.path.join(args.out, name + ".h5")) / 2**20
        print("%-15s keras %s  input %s  %7.1f MiB  outputs %.2g..%.2g apart %.2f  %.0f s" % (name, keras.__version__, model.input_shape, size, y.min(), y.max(), apart, time.time() - start), flush=True)


if __name__ == "__main__":
    main()
