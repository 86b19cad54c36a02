# SPDX-License-Identifier: Apache-2.0
"""A conversion that a signal ends is an error of h5pt, no crash of it."""
import os
import signal
import subprocess
import time

import pytest
import torch_check

HERE = os.path.dirname(os.path.abspath(__file__))
WEIGHTS = os.path.join(HERE, "cases", "tfkeras", "weights_h5", "wh5_07.weights.h5")


@pytest.mark.parametrize("command", ["convert", "inspect"])
def test_a_signal_ends_as_an_error(tmp_path, command):
    architecture = str(tmp_path / "architecture.json")
    os.mkfifo(architecture)  # nobody writes: the conversion waits here
    output = ["-o", str(tmp_path / "out")] if command == "convert" else []
    h5pt = subprocess.Popen(
        [torch_check.find_program(), command, WEIGHTS, "--architecture", architecture, *output], stderr=subprocess.PIPE, text=True
    )
    children = "/proc/%d/task/%d/children" % (h5pt.pid, h5pt.pid)
    deadline = time.monotonic() + 60
    while not (child := open(children).read().split()):
        assert time.monotonic() < deadline and h5pt.poll() is None
        time.sleep(0.01)
    os.kill(int(child[0]), signal.SIGKILL)
    _, message = h5pt.communicate(timeout=60)
    assert h5pt.returncode == 1
    assert "WORKER_CRASHED" in message and "Killed" in message
