# SPDX-License-Identifier: Apache-2.0
"""Random weights for a Keras model, and the pair of files that make it a test case.

Works with tf.keras 2.15 and Keras 3, and where both Keras 3 and tf-keras are installed takes the latter when TF_USE_LEGACY_KERAS is 1.
"""
import json
import os
import re

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
if os.environ.get("TF_USE_LEGACY_KERAS") == "1":
    import tf_keras as keras
else:
    import keras
import numpy as np

FLAVOUR = "keras3" if keras.__version__.startswith("3.") else "tfkeras"
# Classes that load_model does not find by itself; make_cases.py adds those that it defines.
CUSTOM_OBJECTS = {"SpectralNormalization": keras.layers.SpectralNormalization}
# By name: the function that makes the model, and what `meta` says of it.
CASES = {}


def case(name, only=FLAVOUR, **meta):
    """Registers a function as a case of this Keras, or of the flavour `only`."""

    def add(function):
        if only == FLAVOUR:
            CASES[name] = (function, meta)
        return function

    return add


def role(variable):
    """`gamma` of `bn1/gamma:0` (tf.keras) and of `gamma` (Keras 3)."""
    return re.sub(r":\d+$", "", variable.name).rsplit("/", 1)[-1]


def random_weight(rng, layer, name, shape):
    """A sane value, none of it the initial one, so that a dropped bias or a forgotten statistic shows."""
    depthwise = name == "depthwise_kernel" or name == "kernel" and type(layer).__name__.startswith("Depthwise")
    if depthwise:  # each output channel sees one input channel
        return rng.normal(0, np.sqrt(2.0 / np.prod(shape[:-2])), shape)
    if name.endswith("kernel"):
        return rng.normal(0, np.sqrt(2.0 / np.prod(shape[:-1])), shape)
    if name == "bias":
        return rng.uniform(-0.1, 0.1, shape)
    if name == "vector_u":  # SpectralNormalization needs it in training only
        return rng.normal(0, 1, shape)
    if name in ("embeddings", "reverse_embeddings", "scale", "concat_score_weight"):
        return rng.normal(0, 1, shape)
    if name == "alpha":
        return rng.uniform(0.1, 0.5, shape)
    if name == "gamma" or re.fullmatch(r"[Vv]ariable(_\d+)?", name):  # LayerScale does not name its own
        return rng.uniform(0.8, 1.2, shape)
    if name == "beta":
        return rng.normal(0, 0.2, shape)
    if name in ("moving_mean", "mean"):
        return rng.normal(0, 0.1, shape)
    if name in ("moving_variance", "variance"):
        return rng.uniform(0.5, 1.5, shape)
    if name == "count":  # Normalization keeps it for adapt(); it takes no part in the arithmetic
        return np.asarray(1000)
    raise ValueError("%s: no distribution for the weight %r" % (layer.name, name))


def flat_layers(model):
    """The layers of a model, those of nested models in place of these."""
    for layer in model.layers:
        if getattr(layer, "layers", None):
            yield from flat_layers(layer)
        else:
            yield layer


def randomise(model, rng):
    for layer in flat_layers(model):
        layer.set_weights([random_weight(rng, layer, role(v), tuple(v.shape)) for v in layer.weights])
        if hasattr(layer, "finalize_state"):  # Normalization computes with copies of its weights
            layer.finalize_state()


def classes_of(model):
    """The class names that a model is made of, in the order of their first use."""
    names = [type(model).__name__]
    for layer in model.layers:
        names += classes_of(layer) if getattr(layer, "layers", None) else [type(layer).__name__]
    return list(dict.fromkeys(names))


def run(model, inputs):
    outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    return [np.asarray(y) for y in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]


def check_file(path, inputs, outputs):
    """The model in the file must be the one in memory: some layers compute with copies of their weights."""
    model = keras.models.load_model(path, compile=False, custom_objects=CUSTOM_OBJECTS)
    for again, y in zip(run(model, inputs), outputs, strict=True):
        np.testing.assert_allclose(again, y, rtol=1e-5, atol=1e-6, err_msg=path)


def save(stem, model, inputs, outputs, reload=True, ending=".h5", **more):
    """Write STEM.h5, or another `ending`, and STEM.io.npz: arrays in0.., out0.. in Keras layout and `meta`, a JSON string.  `reload` is
    False where this Keras cannot read back what it wrote, or reads it back as another model."""
    os.makedirs(os.path.dirname(stem) or ".", exist_ok=True)
    model.save(stem + ending)
    if outputs and reload:
        check_file(stem + ending, inputs, outputs)
    meta = {
        "expect": "convert",
        "flavour": FLAVOUR,
        "keras_version": keras.__version__,
        "family": "made",
        "layers": classes_of(model),
        "input_names": [re.sub(r":\d+$", "", t.name) for t in model.inputs],
        "notes": "",
        **more,
    }
    arrays = {"in%d" % i: a for i, a in enumerate(inputs)}
    arrays.update({"out%d" % i: a for i, a in enumerate(outputs)})
    np.savez(stem + ".io.npz", meta=json.dumps(meta), **arrays)
