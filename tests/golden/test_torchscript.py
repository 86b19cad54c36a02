# SPDX-License-Identifier: Apache-2.0
"""model.torchscript.pt: every golden case that the form can hold, in the real torch; and that it trains, freezes and is saved again."""
import os

import pytest
import torch
import torch_check
from golden_cases import CASES, CONVERTED, FORM_CASES, TO_CONVERT, convert

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def convert_form(h5pt, case, folder):
    return convert(h5pt, case, folder, CONVERTED, "--parity", "off", "--formats", "pt,torchscript"), folder / "model.torchscript.pt"


@pytest.mark.parametrize("case", FORM_CASES)
def test_runs_as_keras_does(h5pt, case, tmp_path):
    inputs, outputs, _ = torch_check.read_case(os.path.join(CASES, case))
    report, path = convert_form(h5pt, case, tmp_path)
    reason = torch_check.left_out(report, tmp_path, path.name)
    if reason:
        pytest.skip(reason)
    net = torch.jit.load(path)
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert set(net.state_dict()) == set(state) and all(torch.equal(net.state_dict()[name], state[name]) for name in state)
    assert not net.training
    ours = torch_check.run(net, inputs, report)
    assert all(relative <= torch_check.tolerance(report) for _, relative in torch_check.compare(ours, outputs))


@pytest.mark.parametrize("case", [c for c in TO_CONVERT if "/compose/classic_cnn" in c or "/compose/residual" in c])
def test_trains_freezes_and_is_saved_again(h5pt, case, tmp_path):
    inputs, _, _ = torch_check.read_case(os.path.join(CASES, case))
    report, path = convert_form(h5pt, case, tmp_path)
    assert not torch_check.left_out(report, tmp_path, path.name)
    net = torch.jit.load(path)
    x = [torch_check.to_torch(a, spec) for a, spec in zip(inputs, report["inputs"])]
    before = net(*x)
    net.train()
    loss = net(*x).square().sum()
    loss.backward()
    grads = [p.grad for p in net.parameters() if p.requires_grad]
    assert grads and all(g is not None and torch.isfinite(g).all() for g in grads) and any(g.abs().sum() > 0 for g in grads)
    net = torch.jit.load(path)
    again = tmp_path / "again.pt"
    torch.jit.save(net, again)
    torch.testing.assert_close(torch.jit.load(again)(*x), before)
    torch.testing.assert_close(torch.jit.freeze(net)(*x), before)


@pytest.mark.parametrize("case", ["keras3/made/loops_free_length", "tfkeras/made/loops_free_length", "tfkeras/made/resize_methods"])
def test_free_sizes_stay_free(h5pt, case, tmp_path):
    report = convert(h5pt, case, tmp_path, CONVERTED, "--parity", "off", "--formats", "pt,py,torchscript")
    module, _ = torch_check.load(tmp_path)
    net = torch.jit.load(tmp_path / "model.torchscript.pt")
    for sizes in ((9, 12), (1, 1), (30, 7)):
        x = torch_check.inputs_of_size(report, 3, sizes)
        for _, relative in torch_check.compare(torch_check.run(net, x, report), torch_check.run(module, x, report)):
            assert relative <= torch_check.tolerance(report)


def test_a_loop_trains(h5pt, tmp_path):
    report, path = convert_form(h5pt, "tfkeras/made/loops_free_length", tmp_path)
    net = torch.jit.load(path).train()
    outputs = net(*[torch_check.to_torch(a, spec) for a, spec in zip(torch_check.inputs_of_size(report, 2, (5,)), report["inputs"])])
    sum(y.square().sum() for y in outputs).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters() if p.requires_grad)
