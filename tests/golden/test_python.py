# SPDX-License-Identifier: Apache-2.0
"""model.py of every golden case as black writes it and clean under ruff; what Keras froze is frozen; no case needs a Python newer than 3.8."""
import ast
import json
import os
import re
import subprocess
import sys

import h5py
import pytest
import torch
import torch_check
from golden_cases import CASES, TO_CONVERT

# Beside ruff's own selection.
RULES = "E,F,I,UP,B"
OLDEST = (3, 8)


def convert(h5pt, case, folder, formats="py"):
    stem = os.path.join(CASES, case)
    architecture = ["--architecture", stem + ".json"] if os.path.exists(stem + ".json") else []
    command = [h5pt, "convert", torch_check.model_of(stem), *architecture, "--parity", "off", "--formats", formats, "-o", str(folder)]
    subprocess.run(command, capture_output=True, check=True, timeout=120)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder with the model.py of each case."""
    h5pt = torch_check.find_program()
    work, gathered = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("sources")
    for case in TO_CONVERT:
        convert(h5pt, case, work)
        name = re.sub(r"\W", "_", case)
        (work / "model.py").rename(gathered / ("case_%s.py" % name))
    return gathered


def run(*command):
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def test_black_changes_nothing(sources):
    run("black", "--check", "--quiet", "--diff", str(sources))


def test_ruff_finds_nothing(sources):
    run("ruff", "check", "--isolated", "--no-cache", "--extend-select", RULES, str(sources))


def test_old_pythons_can_read_it(sources):
    for path in sorted(sources.iterdir()):
        tree = ast.parse(path.read_text(), str(path), feature_version=OLDEST)
        later = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
        for node in ast.walk(tree):  # annotations are evaluated, unless the module says that they come later
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in ("tuple", "list"):
                assert later, path


FROZEN = [case for case in TO_CONVERT if "frozen" in case]


def frozen_layers(config, outer=True):
    """Names of the layers in a configuration that are not trained."""
    layers = config["config"] if isinstance(config["config"], list) else config["config"].get("layers")
    trainable = outer and (isinstance(config["config"], list) or config["config"].get("trainable", True))
    if layers is not None:
        return {name for layer in layers for name in frozen_layers(layer, trainable)}
    return set() if trainable else {config["config"]["name"]}


def read_frozen(case):
    with h5py.File(torch_check.model_of(os.path.join(CASES, case))) as file:
        text = file.attrs["model_config"]
    return frozen_layers(json.loads(text if isinstance(text, str) else text.decode()))


def test_some_case_is_frozen():
    """Keras 1 and 2 forget, for some nested models, that they were frozen."""
    assert sum(bool(read_frozen(case)) for case in FROZEN) >= 5


@pytest.mark.parametrize("case", FROZEN)
def test_frozen_layers_are_frozen(case, tmp_path):
    """requires_grad as `trainable` of the layers in the file."""
    convert(torch_check.find_program(), case, tmp_path, "pt,py")
    frozen = read_frozen(case)
    net, _ = torch_check.load(tmp_path)
    parameters = dict(net.named_parameters())
    assert parameters
    for row in torch_check.read_report(tmp_path)["weights"]:
        if row["torch"] in parameters and row["keras"]:
            trained = not frozen & set(row["keras"].split("/"))
            assert parameters[row["torch"]].requires_grad == trained, row["torch"]


def test_frozen_batch_norm_keeps_its_statistics(tmp_path):
    """In training mode too, and the layers that are not frozen train."""
    cases = [case for case in FROZEN if case.startswith(("tfkeras/", "keras3/"))]
    seen = 0
    for case in cases:
        convert(torch_check.find_program(), case, tmp_path, "pt,py")
        net, _ = torch_check.load(tmp_path)
        assert net.train() is net
        for part in net.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                frozen = part.affine and not any(p.requires_grad for p in part.parameters())
                seen += frozen
                assert part.training != frozen, case
    assert seen, "no case has a frozen BatchNormalization"
