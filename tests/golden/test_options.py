# SPDX-License-Identifier: Apache-2.0
"""--layout and --dtype: the interface as Keras has it, and weights in another floating-point type."""
import os
import subprocess

import pytest
import torch
import torch_check

CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases")
IMAGES = "keras3/compose/classic_cnn", "tfkeras/compose/unet", "keras3/graph/", "k1-theano/conv2d/", "keras3/channels_first/", "keras3/convlstm/"
PLAIN = "keras3/compose/classic_cnn", "tfkeras/rnn/", "keras3/norm/", "k1-tf/embed/", "keras3/mask/mask_bidir", "tfkeras/dtype/mixed"


def existing(prefix):
    folder, start = os.path.split(prefix)
    names = sorted(n[: -len(".io.npz")] for n in os.listdir(os.path.join(CASES, folder)) if n.startswith(start) and n.endswith(".io.npz"))
    return os.path.join(CASES, folder, names[0])


def convert(stem, folder, *options):
    command = [torch_check.find_program(), "convert", torch_check.model_of(stem), *options, "-o", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return torch_check.read_report(folder), *torch_check.load(folder)


def worst(stem, report, net):
    inputs, outputs, _ = torch_check.read_case(stem)
    return max(relative for _, relative in torch_check.compare(torch_check.run(net, inputs, report), outputs))


@pytest.mark.parametrize("prefix", IMAGES)
def test_keras_layout(prefix, tmp_path):
    stem = existing(prefix)
    report, net, state = convert(stem, tmp_path, "--layout", "keras")
    for spec in report["inputs"] + report["outputs"]:
        assert spec["keras_shape"] == spec["torch_shape"] and not spec.get("to_torch") and not spec.get("to_keras"), spec
    assert worst(stem, report, net) <= torch_check.TOLERANCE
    _, _, default = convert(stem, tmp_path, "--layout", "torch")
    assert list(state) == list(default) and all(torch.equal(state[name], default[name]) for name in state), "the weights are the same"


# Several layers, each of which rounds to 11 or 8 bits.
@pytest.mark.parametrize("dtype, tolerance", [("float16", 1e-2), ("bfloat16", 5e-2)])
@pytest.mark.parametrize("prefix", PLAIN)
def test_other_floating_point_types(prefix, dtype, tolerance, tmp_path):
    stem = existing(prefix)
    report, net, state = convert(stem, tmp_path, "--dtype", dtype)
    kinds = {t.dtype for t in state.values() if t.is_floating_point()}
    assert kinds == {getattr(torch, dtype)}
    assert {p.dtype for p in net.parameters()} <= kinds
    floats = {spec["dtype"] for spec in report["inputs"] + report["outputs"] if "float" in spec["dtype"]}
    assert floats == {dtype}
    assert report["parity"]["ok"] and worst(stem, report, net) <= tolerance


def test_float32_of_a_float16_model(tmp_path):
    stem = existing("tfkeras/dtype/float16")
    report, net, state = convert(stem, tmp_path, "--dtype", "float32")
    assert {t.dtype for t in state.values() if t.is_floating_point()} == {torch.float32}
    assert worst(stem, report, net) <= torch_check.TOLERANCES["float16"]


def test_unknown_names(tmp_path):
    stem = existing("keras3/compose/classic_cnn")
    for option in (["--layout", "nhwc"], ["--dtype", "int8"]):
        command = [torch_check.find_program(), "convert", torch_check.model_of(stem), *option, "-o", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and option[0] in done.stderr
