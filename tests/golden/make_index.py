#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write INDEX.tsv: a row for each case below `cases`, with the Keras classes that its architecture names.  Needs h5py and numpy."""
import json
import os
import zipfile

import h5py
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = os.path.join(HERE, "cases")
INDEX = os.path.join(HERE, "INDEX.tsv")
HEADER = "case\tflavour\tclasses\texpect\n"


def classes_in(config):
    """Class names in a model_config, nested models and wrapped layers included, in the order of their first use."""
    found = {}

    def layer(node):
        inner = node["config"]
        mode = inner.get("mode") if isinstance(inner, dict) else None
        # Two layers of Keras 1 are several in one, told apart by "mode"; h5pt has names of its own for two of these.
        own = {"BatchNormalization 1": "SampleNormalization", "Merge cos": "CosineSimilarity"}
        found[own.get("%s %s" % (node["class_name"], mode), node["class_name"])] = None
        nested = inner.get("layers", []) if isinstance(inner, dict) else inner  # a bare list: Sequential of Keras < 2.2.3
        for child in nested:
            layer(child)
        for wrapped in ("layer", "forward_layer", "backward_layer"):
            if isinstance(inner, dict) and isinstance(inner.get(wrapped), dict):
                layer(inner[wrapped])

    layer(config)
    return list(found)


def architecture(path):
    """The text that names the classes of a case, or None when it is a file of weights alone."""
    if os.path.exists(path + ".json"):
        with open(path + ".json") as file:
            return file.read()
    if os.path.exists(path + ".keras"):
        with zipfile.ZipFile(path + ".keras") as archive:
            return archive.read("config.json")
    with h5py.File(path + ".h5") as file:
        return file.attrs.get("model_config")


def row(path):
    meta = json.loads(str(np.load(path + ".io.npz")["meta"]))
    text = architecture(path)
    classes = classes_in(json.loads(text)) if text is not None else ["-"]
    name = os.path.relpath(path, CASES).replace(os.sep, "/")
    return "%s\t%s %s\t%s\t%s\n" % (name, meta["flavour"], meta["keras_version"], ",".join(classes), meta["expect"])


def index():
    stems = []
    for folder, _, files in os.walk(CASES):
        stems += [os.path.join(folder, f[: -len(".io.npz")]) for f in files if f.endswith(".io.npz")]
    return HEADER + "".join(row(stem) for stem in sorted(stems))


if __name__ == "__main__":
    rows = index()
    with open(INDEX, "w") as file:
        file.write(rows)
