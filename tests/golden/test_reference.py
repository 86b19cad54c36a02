# SPDX-License-Identifier: Apache-2.0
"""`h5pt convert --reference`: vectors from the caller's own Keras, as numpy writes them."""
import io
import json
import os
import subprocess
import zipfile

import jsonschema
import numpy as np
import pytest
import torch_check

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = os.path.join(HERE, "cases")
SCHEMA = os.path.join(HERE, os.pardir, os.pardir, "api", "report.schema.json")
CONVERTED, USAGE, PARITY_FAILED, IO_ERROR = 0, 2, 4, 6


def existing(prefix):
    """The first case below a folder whose name starts so."""
    folder, start = os.path.split(prefix)
    names = sorted(n[: -len(".io.npz")] for n in os.listdir(os.path.join(CASES, folder)) if n.startswith(start) and n.endswith(".io.npz"))
    return os.path.join(CASES, folder, names[0])


def run(stem, reference, folder, *more):
    program = torch_check.find_program()
    command = [program, "convert", torch_check.model_of(stem), "--reference", str(reference), "-o", str(folder), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    path = os.path.join(folder, "report.json")
    report = json.load(open(path)) if os.path.exists(path) else None
    if report:
        with open(SCHEMA) as file:
            jsonschema.validate(report, json.load(file))
    return done, report


def arrays(stem):
    inputs, outputs, _ = torch_check.read_case(stem)
    return {"in%d" % i: a for i, a in enumerate(inputs)} | {"out%d" % i: a for i, a in enumerate(outputs)}


@pytest.fixture
def image():
    return existing("keras3/compose/classic_cnn")


def save(tmp_path, save_function=np.savez, **content):
    path = tmp_path / "reference.npz"
    save_function(path, **content)
    return path


@pytest.mark.parametrize("prefix", ["keras3/compose/classic_cnn", "keras3/graph/", "tfkeras/mask/", "tfkeras/dtype/float16", "k1-theano/graph/graph_multi"])
def test_true_outputs_agree(prefix, tmp_path):
    stem = existing(prefix)
    done, report = run(stem, stem + ".io.npz", tmp_path / "out")
    assert done.returncode == CONVERTED, done.stdout + done.stderr
    vectors = report["parity"]["reference_vectors"]
    assert vectors["ok"] and vectors["max_rel"] <= vectors["tolerance"] and vectors["ignored"] == ["meta"]
    assert vectors["samples"] == len(arrays(stem)["in0"])
    assert [o["name"] for o in vectors["outputs"]] == [o["name"] for o in report["outputs"]]
    assert report["parity"]["cases"][-1]["name"] == "reference vectors"
    assert "reference vectors: ok" in done.stdout


def test_other_outputs_are_told_and_nothing_is_handed_out(image, tmp_path):
    content = arrays(image)
    content["out0"] = content["out0"][::-1].copy()
    done, report = run(image, save(tmp_path, **content), tmp_path / "out")
    assert done.returncode == PARITY_FAILED and report["verdict"] == "parity_failed"
    parity = report["parity"]
    assert not parity["ok"] and not parity["reference_vectors"]["ok"]
    assert parity["first_divergence"] is None and all(case["ok"] for case in parity["cases"]), "the model itself is right"
    assert os.listdir(tmp_path / "out") == ["report.json"]
    assert "reference vectors: FAILED" in done.stdout


def test_one_output_of_several_that_is_off_is_named(tmp_path):
    stem = existing("k1-theano/graph/graph_multi")
    content = arrays(stem)
    last = max(name for name in content if name.startswith("out"))
    assert last != "out0"
    content[last] = content[last] + 0.01 * np.abs(content[last]).max()
    done, report = run(stem, save(tmp_path, **content), tmp_path / "out")
    assert done.returncode == PARITY_FAILED
    assert [o["ok"] for o in report["parity"]["reference_vectors"]["outputs"]] == [True] * int(last[3:]) + [False]


def test_without_the_other_cases(image, tmp_path):
    done, report = run(image, image + ".io.npz", tmp_path / "out", "--parity", "off")
    assert done.returncode == CONVERTED
    assert [case["name"] for case in report["parity"]["cases"]] == ["reference vectors"]


@pytest.mark.parametrize("change", [np.asfortranarray, lambda a: a.astype("f8"), lambda a: a.astype(a.dtype.newbyteorder(">"))])
def test_however_numpy_stores_them(change, image, tmp_path):
    content = {name: change(a) for name, a in arrays(image).items()}
    for function in (np.savez, np.savez_compressed):
        done, report = run(image, save(tmp_path, function, **content), tmp_path / "out")
        assert done.returncode == CONVERTED, done.stdout + done.stderr
        assert report["parity"]["reference_vectors"]["max_rel"] < 1e-5


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zipped(tmp_path, **members):
    path = tmp_path / "reference.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name + ".npy", data)
    return path


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda c: c.pop("out0"), '"out0"'),
        (lambda c: c.pop("in0"), '"in0"'),
        (lambda c: c.update(in0=c["in0"][..., :-1]), "has the shape"),
        (lambda c: c.update(out0=c["out0"][:1]), "has the shape"),
        (lambda c: c.update(out0=np.array(["a"])), "no plain numbers"),
        (lambda c: c.update(out0=np.array([{}], dtype=object)), "no plain numbers"),
        (lambda c: c.update(out0=np.zeros(3, "c8")), "no plain numbers"),
    ],
)
def test_what_does_not_fit_is_said(change, says, image, tmp_path):
    content = arrays(image)
    change(content)
    done, report = run(image, save(tmp_path, **content), tmp_path / "out")
    assert done.returncode == USAGE and report is None
    assert "REFERENCE_INVALID" in done.stderr and says in done.stderr, done.stderr


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-4],
        lambda data: data + b"1234",
        lambda data: data[:40],
        lambda data: b"",
        lambda data: data.replace(b"(", b"["),
        lambda data: data.replace(b"'shape'", b"'share'"),
        lambda data: data.replace(b"(", b"(99999999999999999, 999999999999999999, "),
        lambda data: data.replace(b"False", b"Maybe"),
    ],
)
def test_damaged_arrays(damage, image, tmp_path):
    content = {name: npy(a) for name, a in arrays(image).items()}
    content["out0"] = damage(content["out0"])
    done, report = run(image, zipped(tmp_path, **content), tmp_path / "out")
    assert done.returncode == USAGE and report is None
    assert "REFERENCE_INVALID" in done.stderr and "out0" in done.stderr, done.stderr


def test_no_archive_and_no_file(image, tmp_path):
    plain = tmp_path / "plain.npz"
    plain.write_bytes(b"in0 and out0, as text")
    done, _ = run(image, plain, tmp_path / "out")
    assert done.returncode == USAGE and "numpy.savez" in done.stderr
    done, _ = run(image, tmp_path / "absent.npz", tmp_path / "out")
    assert done.returncode == IO_ERROR
