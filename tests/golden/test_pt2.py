# SPDX-License-Identifier: Apache-2.0
"""model.pt2 of the golden cases: torch.export loads it, runs it on the case's inputs and on another batch size, and agrees with Keras."""
import os
import re

import numpy as np
import pytest
import torch
import torch_check
from golden_cases import CASES, CONVERTED, FORM_CASES, TO_CONVERT, convert
from test_golden import check_artifacts

# What torch.export.unflatten and run_decompositions must be able to take apart as well.
TAKEN_APART = [case for case in TO_CONVERT if re.search(r"/compose/(classic_cnn|inverted_residual|residual)_|/conv/conv_stack_", case)]
# Spatial or time dims are free, and used.
FREE_SIZES = [
    "keras3/compose/residual_00",
    "keras3/conv_transpose/conv2dtr_08",
    "keras3/made/loops_free_length",
    "keras3/pooling/pool_after_conv_00",
    "keras3/reshape/pad_crop_conv_02",
    "tfkeras/compose/wavenet_02",
    "tfkeras/conv/conv_stack_01",
    "tfkeras/made/loops_free_length",
    "tfkeras/made/resize_like",
    "tfkeras/made/resize_methods",
    "tfkeras/pooling/pool_after_conv_01",
]

# Their operations are made of many calls.
MANY_OPERATIONS = [case for case in FORM_CASES if re.search(r"/made/(operations_(matrices|frames|nan)|resizing_|lambda_signal)|image_math_01|lookup_00", case)]


def load_program(h5pt, case, folder):
    """(the report, the ExportedProgram) of a case."""
    report = convert(h5pt, case, folder, CONVERTED, "--parity", "off", "--formats", "pt,py,pt2")
    reason = torch_check.left_out(report, folder, "model.pt2")
    if reason:
        pytest.skip(reason)
    check_artifacts(report, folder, ("model.pt", "model.py", "model.pt2"))
    return report, torch.export.load(str(folder / "model.pt2"))


def assert_agrees(ours, theirs, report):
    differences = torch_check.compare(ours, theirs)
    off = {spec["name"]: "%.3g" % rel for spec, (_, rel) in zip(report["outputs"], differences) if not rel <= torch_check.tolerance(report)}
    assert not off, "relative to the largest value of each output"


def other_batch(arrays):
    """The samples again, and the first ones once more: sizes are those of no case."""
    return [np.concatenate([a, a, a[:1]]) for a in arrays]


def run_other_batch(module, inputs, report):
    """(inputs, outputs) of another batch size, or None where the model has but one: in its shape, or in a constant or a reshape."""
    if any(spec["keras_shape"][:1] != [None] for spec in report["inputs"]):
        return None
    more = other_batch(inputs)
    try:
        return more, torch_check.run(module, more, report)
    except RuntimeError:
        return None


@pytest.mark.parametrize("case", FORM_CASES)
def test_program_agrees_with_keras(case, h5pt, tmp_path):
    inputs, outputs, _ = torch_check.read_case(os.path.join(CASES, case))
    report, program = load_program(h5pt, case, tmp_path)
    net = program.module()
    assert_agrees(torch_check.run(net, inputs, report), outputs, report)

    module, state = torch_check.load(tmp_path)
    assert set(program.state_dict) == set(state)
    assert all(torch.equal(program.state_dict[name], tensor) for name, tensor in state.items())
    other = run_other_batch(module, inputs, report)
    if other:
        assert_agrees(torch_check.run(net, other[0], report), other[1], report)


@pytest.mark.parametrize("case", TAKEN_APART)
def test_program_can_be_taken_apart(case, h5pt, tmp_path):
    inputs, outputs, _ = torch_check.read_case(os.path.join(CASES, case))
    report, program = load_program(h5pt, case, tmp_path)
    module, _ = torch_check.load(tmp_path)
    more = other_batch(inputs)
    expected = torch_check.run(module, more, report)
    assert_agrees(torch_check.run(program.run_decompositions().module(), more, report), expected, report)
    parts = torch.export.unflatten(program)
    assert {name for name, _ in parts.named_children()} <= {name for name, _ in module.named_children()}
    assert_agrees(torch_check.run(parts, more, report), expected, report)
    torch.export.save(program, str(tmp_path / "again.pt2"))
    again = torch.export.load(str(tmp_path / "again.pt2")).module()
    assert_agrees(torch_check.run(again, inputs, report), outputs, report)


@pytest.mark.parametrize("case", FREE_SIZES)
def test_free_sizes_stay_free(case, h5pt, tmp_path):
    """Sizes that Keras leaves free, through strides, padding="same", pooling, cropping, loops and resampling."""
    report, program = load_program(h5pt, case, tmp_path)
    module, _ = torch_check.load(tmp_path)
    nets = [program.module(), program.run_decompositions().module()]
    for sizes in ((9, 12), (17, 8), (40, 41)):
        x = torch_check.inputs_of_size(report, 3, sizes)
        for net in nets:
            assert_agrees(torch_check.run(net, x, report), torch_check.run(module, x, report), report)


@pytest.mark.parametrize("case", MANY_OPERATIONS)
def test_operations_can_be_decomposed(case, h5pt, tmp_path):
    inputs, outputs, _ = torch_check.read_case(os.path.join(CASES, case))
    report, program = load_program(h5pt, case, tmp_path)
    assert_agrees(torch_check.run(program.run_decompositions().module(), inputs, report), outputs, report)
