# SPDX-License-Identifier: Apache-2.0
"""model.safetensors holds what model.pt holds, as the safetensors library reads it."""
import json
import os
import struct
import subprocess

import pytest
import safetensors.torch
import torch
import torch_check

CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases")


def existing(prefix):
    folder, start = os.path.split(prefix)
    names = sorted(n[: -len(".io.npz")] for n in os.listdir(os.path.join(CASES, folder)) if n.startswith(start) and n.endswith(".io.npz"))
    return os.path.join(CASES, folder, names[0])


@pytest.mark.parametrize(
    "prefix, options",
    [
        ("keras3/compose/classic_cnn", []),
        ("keras3/compose/siamese", []),  # a shared model: its weights stand once
        ("tfkeras/dtype/float16", []),
        ("keras3/graph/", ["--dtype", "bfloat16"]),
        ("keras3/preprocessing/category", []),  # no weights at all
        ("tfkeras/tfops/", []),
    ],
)
def test_the_same_tensors(prefix, options, tmp_path):
    stem = existing(prefix)
    command = [torch_check.find_program(), "convert", torch_check.model_of(stem), "--formats", "pt,py,safetensors", *options, "-o", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    path = tmp_path / "model.safetensors"
    state, tensors = torch.load(tmp_path / "model.pt", weights_only=True), safetensors.torch.load_file(path)
    assert set(state) == set(tensors)
    for name, tensor in state.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor), name
    net, _ = torch_check.load(str(tmp_path))
    missing, unexpected = safetensors.torch.load_model(net, path)
    assert not missing and not unexpected

    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "pt"} and (8 + length) % 64 == 0
    for name, entry in header.items():
        size = tensors[name].element_size()
        assert entry["data_offsets"][0] % size == 0, "every tensor is aligned to its elements"
