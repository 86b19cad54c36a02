# SPDX-License-Identifier: Apache-2.0
"""What the examples do with a model that converts, one that does not, a file that is none, and a service with keys."""
import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from conftest import blackbox

EXAMPLES = os.path.join(blackbox.ROOT, "examples")
MODEL = os.path.join(blackbox.CASES, blackbox.CLASSIC + ".h5")
REFUSED = os.path.join(blackbox.CASES, "tfkeras/made/several_reasons.h5")
COMMANDS = {"curl": ["bash", os.path.join(EXAMPLES, "convert.sh")], "python": [sys.executable, os.path.join(EXAMPLES, "client.py")]}


def run(command, daemon, cwd, **environment):
    """The examples run with a python that has what they import."""
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    environment = {"PATH": path, "HOME": str(cwd), "H5PT_URL": daemon.url, "NO_PROXY": "*", **environment}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=2 * blackbox.PATIENCE)


def module(folder):
    done = subprocess.run(
        [sys.executable, "-c", "from model import load; print(sum(p.numel() for p in load('model.pt').parameters()))"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("example", COMMANDS)
def test_a_model_is_converted(example, start_daemon, tmp_path):
    keys = tmp_path / "keys"
    key = blackbox.Key("robot:convert")
    keys.write_text(key.line + "\n")
    daemon = start_daemon(keys_file=str(keys))
    out = tmp_path / "made/here"
    done = run([*COMMANDS[example], MODEL, str(out)], daemon, tmp_path, H5PT_KEY=key)
    assert done.returncode == 0, done.stderr
    assert "converted" in done.stdout and "largest difference from Keras: " in done.stdout
    assert sorted(os.listdir(out)) == ["model.pt", "model.py", "report.json"]
    assert module(out) > 0 and json.loads((out / "report.json").read_text())["parity"]["ok"] is True
    without = run([*COMMANDS[example], MODEL, str(tmp_path / "no")], daemon, tmp_path)
    assert without.returncode == 1 and "UNAUTHORIZED" in without.stderr


@pytest.mark.parametrize("example", COMMANDS)
def test_a_refusal_is_a_failure_with_its_reasons(example, start_daemon, tmp_path):
    daemon = start_daemon()
    done = run([*COMMANDS[example], REFUSED, str(tmp_path / "out")], daemon, tmp_path)
    assert done.returncode == 1 and "refused" in done.stdout
    assert (done.stdout + done.stderr).count("UNSUPPORTED_LAYER") == 2
    assert os.listdir(tmp_path / "out") == ["report.json"]
    text = tmp_path / "text.h5"
    text.write_text("no model\n" * 100)
    done = run([*COMMANDS[example], str(text), str(tmp_path / "none")], daemon, tmp_path)
    assert done.returncode == 1 and "NOT_HDF5" in done.stderr


@pytest.mark.parametrize("example", COMMANDS)
def test_what_takes_long_is_waited_for(example, start_daemon, gate, tmp_path):
    daemon = start_daemon(worker=gate.worker, workers=1)
    command = [*COMMANDS[example], MODEL, str(tmp_path / "out")]
    environment = {**os.environ, "H5PT_URL": daemon.url, "NO_PROXY": "*"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        blackbox.until(daemon.unfinished, "it is sent")
        assert process.poll() is None
        gate.open()
        output, complaint = process.communicate(timeout=blackbox.PATIENCE)
    assert process.returncode == 0 and b"converted" in output, complaint


def workflow():
    with open(os.path.join(EXAMPLES, "github-workflow.yaml")) as file:
        return yaml.safe_load(file)


def run_steps(daemon, folder):
    """The run: steps of the workflow as its runner does them, until one fails: [(name, result)]."""
    job = workflow()["jobs"]["convert"]
    assert set(job["env"]) == {"H5PT_URL"}
    results = []
    for step in job["steps"]:
        if "run" in step:
            script = folder / "step.sh"
            script.write_text(step["run"])
            done = run(["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)], daemon, folder, GITHUB_STEP_SUMMARY=str(folder / "summary"))
            results.append((step["name"], done))
            if done.returncode:
                break
    return results


def models_in(folder, *paths):
    (folder / "models").mkdir()
    for path in paths:
        with open(path, "rb") as file:
            (folder / "models" / os.path.basename(path)).write_bytes(file.read())


def test_the_workflow_converts_and_computes(start_daemon, tmp_path):
    daemon = start_daemon()
    models_in(tmp_path, MODEL)
    results = run_steps(daemon, tmp_path)
    assert [(name, done.returncode) for name, done in results] == [("Convert", 0), ("Compute with it", 0)], results[-1][1].stderr
    assert "tensor(" in results[1][1].stdout
    out = tmp_path / "converted" / os.path.basename(MODEL)
    assert {"model.pt", "model.py", "report.json"} <= set(os.listdir(out))
    assert torch.load(out / "model.pt", weights_only=True)
    assert ": converted" in (tmp_path / "summary").read_text()


def test_the_workflow_fails_with_the_reasons(start_daemon, tmp_path):
    daemon = start_daemon()
    models_in(tmp_path, MODEL, REFUSED)
    ((name, done),) = run_steps(daemon, tmp_path)
    assert done.returncode == 1 and done.stdout.count("::error file=models/several_reasons.h5::UNSUPPORTED_LAYER") == 2


def test_the_workflow_starts_the_service_that_there_is():
    service = workflow()["jobs"]["convert"]["services"]["h5pt"]
    version = subprocess.run([blackbox.program("h5ptd"), "--version"], env={}, capture_output=True, text=True, check=True).stdout.split()[1]
    assert service["image"] == "h5pt:" + version
    done = subprocess.run([blackbox.program("h5ptd"), "--print-config"], env={"HOME": "/", **service["env"]}, capture_output=True)
    assert done.returncode == 0
