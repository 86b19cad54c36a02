# SPDX-License-Identifier: Apache-2.0
"""One step of training in torch against the same step in Keras (make_training.py)."""
import os
import re
import subprocess

import numpy as np
import torch_check
from torch_check import torch

# Relative to the largest entry of each gradient. A wrong layout, a frozen layer that trains or another statistic shows at 1e-1 and more.
TOLERANCE = 1e-3
# A bias in front of a batch normalisation has no gradient but rounding.
NO_GRADIENT = 1e-9


def rearranged(array, text):
    """What the report's `rearrangement` makes of a Keras array: "view(7,7,512,10).permute(3,2,0,1)", "as is"."""
    for step, numbers in re.findall(r"(\w+)\(([\d,]*)\)", text):
        numbers = [int(n) for n in numbers.split(",")]
        if step == "view":
            array = array.reshape(numbers)
        elif step == "permute":
            array = array.transpose(numbers)
        elif step == "flip":
            array = np.flip(array, numbers)
        else:
            raise torch_check.Mismatch("cannot follow the rearrangement " + text)
    return array


def cross_entropy(net, x, target):
    return -(target * torch.log(net(x) + 1e-7)).sum(-1).mean()


def key_of(row):
    """ "conv/kernel" of "/model_weights/conv/conv/kernel:0"."""
    parts = row["keras"].strip("/").split("/")
    return "%s/%s" % (parts[1], re.sub(r":\d+$", "", parts[-1]))


def compare(folder, path):
    """Errors of the loss, of each gradient (by its key in the .npz), and of the loss after the step, all relative."""
    with np.load(path) as file:
        keras = dict(file)
    report = torch_check.read_report(folder)
    net, _ = torch_check.load(folder)
    net.train()
    for part in net.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    target = torch.from_numpy(keras["target"])
    net.to(target.dtype)  # large models are computed in float64, see make_training.py
    x = torch_check.to_torch(keras["in0"], {**report["inputs"][0], "dtype": str(target.dtype).removeprefix("torch.")})
    optimizer = torch.optim.SGD(net.parameters(), lr=float(keras["learning_rate"]))
    loss = cross_entropy(net, x, target)
    loss.backward()
    errors = {"loss": abs(loss.item() / keras["loss"] - 1)}
    parameters = dict(net.named_parameters())
    rows = {key_of(row): row for row in report["weights"] if row["keras"] and row["torch"] in parameters}
    trained = {key for key, row in rows.items() if parameters[row["torch"]].requires_grad}
    gradients = set(keras) - {"in0", "target", "loss", "loss_after", "learning_rate"}
    if trained != gradients:
        raise torch_check.Mismatch("trained in one of the two only: %s" % sorted(trained ^ gradients))
    for key in sorted(gradients):
        row = rows[key]
        wanted = rearranged(keras[key], row["rearrangement"]).reshape(row["shape"])
        ours = parameters[row["torch"]].grad.numpy()
        errors[key] = np.abs(ours - wanted).max() / (np.abs(wanted).max() + NO_GRADIENT)
    optimizer.step()
    with torch.no_grad():
        errors["loss_after"] = abs(cross_entropy(net, x, target).item() / keras["loss_after"] - 1)
    return errors


def convert_and_compare(program, model, folder):
    """The same for NAME.h5 with NAME.training.npz beside it."""
    command = [program, "convert", model, "--formats", "pt,py", "--parity", "off", "-o", str(folder)]
    subprocess.run(command, capture_output=True, check=True, timeout=600)
    return compare(folder, os.path.splitext(model)[0] + ".training.npz")
