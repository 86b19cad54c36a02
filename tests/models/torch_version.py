#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the torch of this Python makes of the cases that check_torch_versions.py converted:  torch_version.py FOLDER RESULTS.json

FOLDER/cases.json lists the cases, FOLDER/i holds what case i became.  The outcomes of all checks go to RESULTS.json."""
import json
import os
import re
import struct
import sys
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "golden"))
import golden_cases
import numpy as np
import torch_check
from torch_check import torch

VERSION = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
MMAP_SINCE = (2, 1)
PROGRAM_SINCE = (2, 13)  # what model.pt2 promises
HALF_ON_CPU_SINCE = (2, 3)  # before, convolutions and products of float16 were for GPUs alone
# By the name that safetensors gives them.
DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "i2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U8": "u1", "BOOL": "?"}


class Absent(Exception):
    """The case has no such form for this torch."""


class Case:
    def __init__(self, name, folder):
        self.name, self.folder = name, folder
        self.report = golden_cases.read_report(folder)
        self.inputs, self.outputs, _ = torch_check.read_case(os.path.join(golden_cases.CASES, name))
        self.tensors = read_safetensors(os.path.join(folder, "model.safetensors"))

    def path(self, artifact):
        if torch_check.left_out(self.report, self.folder, artifact):
            raise Absent
        return os.path.join(self.folder, artifact)

    def assert_runs(self, net):
        """The outputs are those of Keras."""
        differences = torch_check.compare(torch_check.run(net, self.inputs, self.report), self.outputs)
        worst = max(relative for _, relative in differences)
        assert worst <= torch_check.tolerance(self.report), "differs from Keras by %.3g, relative" % worst

    def assert_state(self, state):
        """A state_dict has the names, types and values of model.safetensors, which torch has no part in reading."""
        assert set(state) == set(self.tensors), sorted(set(state) ^ set(self.tensors))
        for name, tensor in state.items():
            wanted = self.tensors[name]
            array = (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
            assert array.dtype == wanted.dtype and array.shape == wanted.shape and array.tobytes() == wanted.tobytes(), name


def read_safetensors(path):
    """Its arrays by name; bfloat16, which numpy has not, as int16."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(length)), file.read()
    header.pop("__metadata__")
    part = lambda entry: np.frombuffer(data[slice(*entry["data_offsets"])], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return {name: part(entry) for name, entry in header.items()}


def check_weights(case):
    case.assert_state(torch.load(case.path("model.pt"), weights_only=True))


def check_mmap(case):
    case.assert_state(torch.load(case.path("model.pt"), weights_only=True, mmap=True))


def check_module(case):
    path = case.path("model.py")
    with open(path) as file:
        needs = re.search(r"^Needs torch (\d+)\.(\d+) or later", file.read(), re.M)
    if needs and VERSION < tuple(map(int, needs.groups())):
        raise Absent
    net, _ = torch_check.load(case.folder)
    case.assert_runs(net)


def check_script(case):
    net = torch.jit.load(case.path("model.torchscript.pt"))
    case.assert_state(net.state_dict())
    case.assert_runs(net)


def check_program(case):
    program = torch.export.load(case.path("model.pt2"))
    case.assert_state(program.state_dict)
    case.assert_runs(program.module())


def is_unrolled(program, report):
    """Whether torch, to decompose a recurrent layer, writes it out for as many steps as its example has, though the steps are free."""
    recurrent = any(re.match(r"(lstm|gru|rnn_tanh|rnn_relu)\.", str(node.target)[len("aten.") :]) for node in program.graph.nodes)
    return recurrent and any(None in spec["keras_shape"][1:] for spec in report["inputs"])


def check_decompositions(case):
    program = torch.export.load(case.path("model.pt2"))
    decomposed = program.run_decompositions()
    if is_unrolled(program, case.report):
        raise Absent
    case.assert_runs(decomposed.module())


def check_unflattened(case):
    case.assert_runs(torch.export.unflatten(torch.export.load(case.path("model.pt2"))))


# heading, check, the first torch that has it, whether each case is checked or, as it takes a second, one of each family
CHECKS = [
    ("weights_only", check_weights, (0, 0), True),
    ("mmap", check_mmap, MMAP_SINCE, True),
    ("model.py", check_module, (0, 0), True),
    ("torchscript", check_script, (0, 0), True),
    ("pt2", check_program, PROGRAM_SINCE, True),
    ("decompositions", check_decompositions, PROGRAM_SINCE, False),
    ("unflatten", check_unflattened, PROGRAM_SINCE, False),
]


def outcome(check, case):
    try:
        check(case)
        return ""
    except Absent:
        return None
    except Exception as error:  # one failure must not hide the others
        if VERSION < HALF_ON_CPU_SINCE and "not implemented for 'Half'" in str(error):
            return None
        return "%s: %s" % (type(error).__name__, str(error)[-1500:])


def main():
    folder, results = sys.argv[1:]
    warnings.simplefilter("ignore")  # newer ones deprecate TorchScript
    torch.set_num_threads(1)
    with open(os.path.join(folder, "cases.json")) as file:
        cases = json.load(file)
    outcomes = []
    for number, name in enumerate(cases):
        case = Case(name, os.path.join(folder, str(number)))
        for heading, check, since, each in CHECKS:
            if VERSION >= since and (each or name in golden_cases.OF_EACH_FAMILY):
                outcomes.append((name, heading, outcome(check, case)))
    with open(results, "w") as file:
        json.dump({"torch": torch.__version__, "checks": [heading for heading, *_ in CHECKS], "outcomes": outcomes}, file)


if __name__ == "__main__":
    main()
