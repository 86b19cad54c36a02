# SPDX-License-Identifier: Apache-2.0
"""Load what h5pt wrote with the real torch and compare its outputs with those of the real Keras."""
import importlib.util
import json
import os
import re

import numpy as np
import torch
from golden_cases import find_program, model_of, read_report, stem_of  # noqa: F401, for those who import this module

# Relative to the largest output.  float32 sums of the same few hundred terms in another order differ by 1e-7 to 1e-5 of the largest
# one, through a dozen layers too; a swapped axis, a dropped bias or another padding shows at 1e-2 and more.
TOLERANCE = 1e-4
# Where Keras computes in 16 bits, each layer rounds to 11 bits (float16: 2^-11 = 5e-4 of the value) or 8 (bfloat16: 4e-3); a handful
# of layers add up to a few times that.
TOLERANCES = {"float16": 5e-3, "bfloat16": 2e-2}


class Mismatch(AssertionError):
    pass


def read_case(stem):
    """(inputs, outputs, meta) of STEM.io.npz."""
    with np.load(stem + ".io.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    meta = json.loads(str(arrays.pop("meta")))
    in_order = lambda kind: [arrays[kind + str(i)] for i in range(sum(name.startswith(kind) for name in arrays))]
    return in_order("in"), in_order("out"), meta


def tolerance(report):
    types = {row["dtype"] for row in report["weights"]}
    types |= {name for name in TOLERANCES for w in report["warnings"] if w["code"] == "MIXED_PRECISION" and "mixed_" + name in w["message"]}
    return max(TOLERANCES.get(name, TOLERANCE) for name in types | {"float32"})


def left_out(report, folder, artifact):
    """Why the report says that this artifact was not made, or None where it was. There is one kind of reason: another is a bug."""
    reasons = [w["message"] for w in report["warnings"] if w["code"] == "FORMAT_LEFT_OUT" and w["message"].startswith(artifact + " ")]
    present = os.path.exists(os.path.join(folder, artifact)), artifact in [a["name"] for a in report["artifacts"]]
    assert present == (not reasons,) * 2, "it is there, or the report says why it is not"
    assert all("that only the input tells" in reason for reason in reasons), reasons
    return reasons[0] if reasons else None


def load(folder):
    """The nn.Module of FOLDER/model.py with the weights of FOLDER/model.pt, and that state_dict."""
    weights = os.path.join(folder, "model.pt")
    state = torch.load(weights, weights_only=True)
    spec = importlib.util.spec_from_file_location("converted_model", os.path.join(folder, "model.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net = module.load(weights)
    if not isinstance(net, torch.nn.Module) or any(part.training for part in net.modules()):
        raise Mismatch("load() must return an nn.Module in eval mode")
    if list(net.state_dict()) != list(state):
        raise Mismatch("model.py and model.pt differ in their parameter names: %s" % sorted(set(net.state_dict()) ^ set(state)))
    return net, state


# What makes a callable of the files in a folder, by the name that `h5pt convert --formats` has for the form.
FORMS = {
    "py": lambda folder: load(folder)[0],
    "pt2": lambda folder: torch.export.load(os.path.join(folder, "model.pt2")).module(),
    "torchscript": lambda folder: torch.jit.load(os.path.join(folder, "model.torchscript.pt")),
}


def to_torch(array, spec):
    if spec["to_torch"]:
        array = array.transpose(spec["to_torch"])
    # A copy, with strides of its own: one channel keeps those of channels_last, which a decomposed program does not expect.
    return torch.from_numpy(array.copy(order="C")).to(getattr(torch, spec["dtype"]))


def inputs_of_size(report, batch, sizes):
    """Random inputs in Keras layout: each dim that Keras leaves free has the next of `sizes`."""
    rng, inputs = np.random.default_rng(1), []
    for spec in report["inputs"]:
        free = iter((batch, *sizes))
        inputs.append(rng.normal(size=[next(free) if n is None else n for n in spec["keras_shape"]]).astype("float32"))
    return inputs


def to_keras(tensor, spec):
    if str(tensor.dtype) != "torch." + spec["dtype"]:
        raise Mismatch("%s is of type %s, not %s" % (spec["name"], tensor.dtype, spec["dtype"]))
    array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()  # numpy has no bfloat16
    return array.transpose(spec["to_keras"]) if spec["to_keras"] else array


def run(net, inputs, report):
    """Outputs in Keras layout for inputs in Keras layout."""
    with torch.no_grad():
        outputs = net(*[to_torch(a, spec) for a, spec in zip(inputs, report["inputs"], strict=True)])
    if isinstance(outputs, torch.Tensor):
        outputs = (outputs,)
    return [to_keras(t, spec) for t, spec in zip(outputs, report["outputs"], strict=True)]


def difference(ours, keras):
    """(largest absolute difference, the same relative to the largest value) of two arrays; raises Mismatch where none can be told."""
    a, b = ours.astype("f8"), keras.astype("f8")
    if a.shape != b.shape:
        raise Mismatch("the shape is %s, in Keras %s" % (a.shape, b.shape))
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
        raise Mismatch("NaN or Inf in other places than in Keras")
    if not finite.any():
        return 0.0, 0.0
    largest = float(np.abs(a[finite] - b[finite]).max())
    return largest, largest / (float(np.abs(b[finite]).max()) + 1e-3)


def compare(ours, keras):
    """difference() of each output."""
    if len(ours) != len(keras):
        raise Mismatch("%d outputs, Keras has %d" % (len(ours), len(keras)))
    return [difference(a, b) for a, b in zip(ours, keras)]


def count_permutes(folder):
    with open(os.path.join(folder, "model.py")) as file:
        return len(re.findall(r"\b(?:permute|transpose|movedim|moveaxis|swapaxes)\(", file.read()))
