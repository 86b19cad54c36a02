# SPDX-License-Identifier: Apache-2.0
"""Every golden case through `h5pt convert`, its result through the real torch, against the outputs of the real Keras."""
import hashlib
import json
import os
import re
import subprocess

import jsonschema
import numpy as np
import pytest
import torch_check
from golden_cases import CASES, CONVERTED, INDEX, REFUSED, TO_CONVERT, TO_REFUSE, convert
from torch_check import TOLERANCE

HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMA = os.path.join(HERE, os.pardir, os.pardir, "api", "report.schema.json")

# Ordinary CNNs: whoever reads their model.py expects NCHW from end to end.
ORDINARY = re.compile(r"/compose/(classic_cnn|inverted_residual|residual|unet)_|/made/(efficientnet_block|inception_same_pools)$")

# What a person must be told, by the name of the case.
REASONS = {
    "operations_of_the_data": "UNSUPPORTED_OPERATION",
    "custom_activation": "UNSUPPORTED_ACTIVATION",
    "custom_layer": "UNSUPPORTED_LAYER",
    "hashing_int": "UNSUPPORTED_LAYER",
    "bn_mode2": "UNSUPPORTED_CONFIG",
    "int8": "UNSUPPORTED_CONFIG",
    "lam_multi": "UNSUPPORTED_LAYER",
    "lambda_named": "UNSUPPORTED_LAYER",
    "lambda_python": "UNSUPPORTED_LAYER",
    "no_architecture": "WEIGHTS_WITHOUT_ARCHITECTURE",
    "operations_loss_of_sigmoid": "UNSUPPORTED_CALL_ARGUMENT",
    "saved_model_layer": "UNSUPPORTED_LAYER",
    "own_classes_inside": "UNSUPPORTED_LAYER",
    "several_reasons": "UNSUPPORTED_LAYER",
    "string_input": "UNSUPPORTED_DTYPE",
    "subclassed": "WEIGHTS_WITHOUT_ARCHITECTURE",
    "tfop_einsum": "UNSUPPORTED_OPERATION",
    "training_true": "UNSUPPORTED_CALL_ARGUMENT",
}


@pytest.fixture(scope="session")
def schema():
    with open(SCHEMA) as file:
        schema = json.load(file)
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    return validator(schema)


def fits(shape, actual):
    """Whether a shape with null for unknown sizes describes an array of this shape."""
    return len(shape) == len(actual) and all(s is None or s == a for s, a in zip(shape, actual))


def check_interface(report, inputs, outputs):
    assert len(report["inputs"]) == len(inputs) and len(report["outputs"]) == len(outputs)
    for spec, array in zip(report["inputs"], inputs):
        assert fits(spec["keras_shape"], array.shape), spec
        axes = spec["to_torch"] or range(array.ndim)
        assert spec["torch_shape"] == [spec["keras_shape"][axis] for axis in axes], spec
    for spec, array in zip(report["outputs"], outputs):
        assert fits(spec["keras_shape"], array.shape), spec
        axes = spec["to_keras"] or range(array.ndim)
        assert spec["keras_shape"] == [spec["torch_shape"][axis] for axis in axes], spec


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def check_artifacts(report, folder, names=("model.pt", "model.py")):
    listed = {artifact["name"]: artifact for artifact in report["artifacts"]}
    for name in names:
        path = os.path.join(folder, name)
        assert listed[name]["bytes"] == os.path.getsize(path)
        assert listed[name]["sha256"] == sha256(path)


def check_weights(report, state):
    for row in report["weights"]:
        assert row["torch"] in state, row
    for name, tensor in state.items():
        if name.rsplit(".", 1)[-1] in ("weight", "bias", "running_mean", "running_var"):
            assert any(row["torch"] == name for row in report["weights"]) or not tensor.any() or (tensor == 1).all(), (
                "%s comes from no Keras weight" % name
            )


@pytest.mark.parametrize("case", TO_CONVERT)
def test_converts_and_agrees_with_keras(case, h5pt, schema, converted_layers, tmp_path):
    inputs, outputs, _ = torch_check.read_case(os.path.join(CASES, case))
    report = convert(h5pt, case, tmp_path, CONVERTED)
    converted_layers[case] = report["layers"]
    schema.validate(report)
    assert report["verdict"] == "converted" and report["refusals"] == []
    assert report["source"]["sha256"] == sha256(torch_check.model_of(os.path.join(CASES, case)))
    check_interface(report, inputs, outputs)
    check_artifacts(report, tmp_path)

    net, state = torch_check.load(tmp_path)
    check_weights(report, state)
    ours = torch_check.run(net, inputs, report)
    differences = torch_check.compare(ours, outputs)
    off = {spec["name"]: "%.3g" % rel for spec, (_, rel) in zip(report["outputs"], differences) if not rel <= torch_check.tolerance(report)}
    assert not off, "relative to the largest value of each output"

    parity = report["parity"]
    assert parity["ok"] is True and parity["first_divergence"] is None and parity["cases"]
    assert all(layer["parity"]["ok"] for layer in report["layers"] if layer["parity"])

    text = (tmp_path / "model.py").read_text()
    imported = set(re.findall(r"^\s*(?:import|from)\s+(\w+)", text, re.M))
    assert imported <= {"torch", "math", "__future__"}, "model.py must need torch only"
    if ORDINARY.search(case):
        assert torch_check.count_permutes(tmp_path) == 0, text


@pytest.mark.parametrize("case", TO_REFUSE)
def test_refuses(case, h5pt, schema, tmp_path):
    _, _, meta = torch_check.read_case(os.path.join(CASES, case))
    report = convert(h5pt, case, tmp_path, REFUSED)
    schema.validate(report)
    assert report["verdict"] == "refused" and report["refusals"]
    assert all(reason["message"] for reason in report["refusals"])
    codes = {reason["code"] for reason in report["refusals"]}
    assert REASONS[re.sub(r"_\d+$", "", os.path.basename(case))] in codes
    named = {reason["layer"] for reason in report["refusals"]}
    assert set(meta.get("refused", [])) <= named, "every layer that is not supported must be named at once"
    assert not [name for name in os.listdir(tmp_path) if name != "report.json"], "a refusal must leave the report alone"


def test_index_lists_every_case():
    on_disk = set()
    for folder, _, files in os.walk(CASES):
        stems = filter(None, map(torch_check.stem_of, files))
        on_disk |= {os.path.relpath(os.path.join(folder, stem), CASES).replace(os.sep, "/") for stem in stems}
    assert on_disk == {row["case"] for row in INDEX}, "run make_index.py"
    assert len(INDEX) == len(on_disk)


def test_comparison_can_fail():
    """The comparison that all of the above rests on sees an error just above the tolerance, a lost NaN and a swapped axis."""
    keras = [np.linspace(-2, 2, 12, dtype="float32").reshape(3, 4)]
    off = [keras[0].copy()]
    off[0][1, 2] += 2 * 2.001 * TOLERANCE
    assert torch_check.compare(keras, keras) == [(0.0, 0.0)]
    assert torch_check.compare(off, keras)[0][1] > TOLERANCE
    with pytest.raises(torch_check.Mismatch):
        torch_check.compare([keras[0].T], keras)
    with pytest.raises(torch_check.Mismatch):
        torch_check.compare(keras, [np.where(keras[0] > 1, np.nan, keras[0])])
