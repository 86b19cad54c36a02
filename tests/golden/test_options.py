# SPDX-License-Identifier: Apache-2.0
"""--layout and --dtype: the interface as Keras has it, and weights in another floating-point type."""
import os
import random
import re
import subprocess

import pytest
import torch
import torch_check
from test_golden import TO_CONVERT

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
HALF = [("float16", 1e-2), ("bfloat16", 5e-2)]


@pytest.mark.parametrize("dtype, tolerance", HALF)
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


# A result that hangs on the last bits of what goes in: the inverse of a matrix that hardly has one, an entry of a table of 256, a step
# of floor, an exponential, the angle of a grey, numbers that are tiny in 16 bits. These must run; what they compute is not compared.
HANGS_ON_LAST_BITS = re.compile(
    r"keras3/made/(clahe|operations_(close|filters|losses|matrices|nan|parts|scatter|transforms))$"
    r"|keras3/ops/op_(amax_expand_dims|expm1_sparse_sigmoid|floor_sparse_plus|hsv|pad_images_tile_map)_|keras3/compose/unet_02|random_fourier_01"
)


def in_half(names):
    """Cases of what 16 bits are hard for, and one in fifty of the others."""
    hard = re.compile(r"avepool3d|attention_masked$|mel_|op_(median|inv|average)|one_hot|category_0|resize_v1|operations_(fourier|lines|frames|grids|nan)|softmax_masked|random_fourier")
    return sorted({n for n in names if hard.search(n)} | set(random.Random(5).sample(names, len(names) // 50)))


@pytest.mark.parametrize("case", in_half(TO_CONVERT))
def test_every_operation_in_half(case, tmp_path):
    """Each runs in the real torch and is near Keras, or h5pt says why not: refused by name, or the parity check failed."""
    stem = os.path.join(CASES, case)
    architecture = ["--architecture", stem + ".json"] if os.path.exists(stem + ".json") else []
    for dtype, tolerance in HALF:
        folder = tmp_path / dtype
        command = [torch_check.find_program(), "convert", torch_check.model_of(stem), *architecture, "--dtype", dtype, "--formats", "pt,py", "-o", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        report = torch_check.read_report(folder)
        if done.returncode in (3, 4):
            assert all(r["code"] == "UNSUPPORTED_DTYPE" for r in report["refusals"]) if done.returncode == 3 else report["parity"]["first_divergence"]
            continue
        assert done.returncode == 0, done.stdout + done.stderr
        net, _ = torch_check.load(folder)
        inputs, outputs, _ = torch_check.read_case(stem)
        ours = torch_check.run(net, inputs, report)
        if not HANGS_ON_LAST_BITS.search(case):
            assert max(relative for _, relative in torch_check.compare(ours, outputs)) <= tolerance, dtype


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
