# SPDX-License-Identifier: Apache-2.0
"""Forms with more than a model: its architecture, reference vectors; and the options that go with them."""
import hashlib
import io
import os
import zipfile

import numpy as np
import pytest
import requests
import torch
import torch_check
from conftest import CASES, CLASSIC, case

WEIGHTS = "keras3/weights_h5/" + sorted(n for n in os.listdir(os.path.join(CASES, "keras3/weights_h5")) if n.endswith(".json"))[0][: -len(".json")]


def read(path):
    with open(path, "rb") as file:
        return file.read()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def stem(name):
    return os.path.join(CASES, name)


def parts(name, **more):
    return {"model": ("model.h5", read(torch_check.model_of(stem(name)))), **more}


def expect(answer, status, code):
    assert answer.status_code == status and answer.json()["code"] == code, answer.text


@pytest.mark.parametrize("path", ["/v1/convert?format=report", "/v1/inspect"])
def test_weights_with_their_architecture(daemon, path):
    form = parts(WEIGHTS)
    expect(daemon.post(path, None, files=form), 422, "WEIGHTS_WITHOUT_ARCHITECTURE") if "convert" in path else None
    form["architecture"] = ("model.json", read(stem(WEIGHTS) + ".json"))
    answer = daemon.post(path, None, files=form)
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert report["verdict"] == "converted" and report["layers"] and report["source"]["format"] == "weights.h5"


def test_architecture_and_reference_survive_in_the_queue(daemon):
    form = parts(WEIGHTS, architecture=read(stem(WEIGHTS) + ".json"), reference=read(stem(WEIGHTS) + ".io.npz"))
    job = daemon.post("/v1/conversions", None, files=form).json()
    job = daemon.wait_for(job["id"], "succeeded", "failed")
    assert job["state"] == "succeeded", job
    report = daemon.get("/v1/conversions/%s/artifacts/report.json" % job["id"]).json()
    assert report["parity"]["reference_vectors"]["ok"] is True


def test_weights_only(daemon):
    answer = daemon.post("/v1/convert?weights_only=true", None, files=parts(WEIGHTS))
    assert answer.status_code == 200, answer.text
    tensors = torch.load(io.BytesIO(answer.content), weights_only=True)
    assert tensors and all(isinstance(t, torch.Tensor) for t in tensors.values())
    job = daemon.job(answer.headers["H5PT-Conversion"])
    assert [a["name"] for a in job["artifacts"]] == ["model.pt", "report.json"]
    assert job["options"]["weights_only"] is True
    expect(daemon.post("/v1/convert?weights_only=true&format=py", None, files=parts(WEIGHTS)), 400, "USAGE")
    expect(daemon.post("/v1/convert?weights_only=maybe", None, files=parts(WEIGHTS)), 400, "USAGE")
    with_architecture = parts(WEIGHTS, architecture=read(stem(WEIGHTS) + ".json"))
    expect(daemon.post("/v1/convert?weights_only=true", None, files=with_architecture), 400, "USAGE")


def test_reference_vectors(daemon):
    inputs, outputs, _ = torch_check.read_case(stem(CLASSIC))
    true = npz(in0=inputs[0], out0=outputs[0])
    answer = daemon.post("/v1/convert?format=report", None, files=parts(CLASSIC, reference=true))
    assert answer.status_code == 200 and answer.json()["parity"]["reference_vectors"]["ok"] is True
    wrong = npz(in0=inputs[0], out0=outputs[0][::-1])
    answer = daemon.post("/v1/convert", None, files=parts(CLASSIC, reference=wrong))
    expect(answer, 422, "PARITY_FAILED")
    report = requests.get(daemon.url + answer.headers["Link"].split(">")[0].lstrip("<"), timeout=60).json()
    assert report["parity"]["reference_vectors"]["ok"] is False
    expect(daemon.post("/v1/convert", None, files=parts(CLASSIC, reference=b"no archive")), 422, "REFERENCE_INVALID")


def test_backend(daemon):
    job = daemon.post("/v1/conversions?backend=theano", case(CLASSIC)).json()
    assert job["options"]["backend"] == "theano"
    expect(daemon.post("/v1/conversions?backend=cntk", case(CLASSIC)), 400, "USAGE")


def test_parts_count_together(start_daemon):
    daemon = start_daemon(max_upload="64KiB")
    model = b"\x89HDF\r\n\x1a\n".ljust(40000, b"x")
    expect(daemon.post("/v1/convert", None, files={"model": model, "reference": model}), 413, "UPLOAD_TOO_LARGE")
    expect(daemon.post("/v1/convert", None, files={"reference": b"alone"}), 400, "UPLOAD_INCOMPLETE")
    expect(daemon.post("/v1/convert", None, files=[("reference", b"a"), ("model", model), ("reference", b"b")]), 400, "USAGE")


def test_layout_and_dtype(daemon):
    answer = daemon.post("/v1/convert?format=report&layout=keras&dtype=float16", case(CLASSIC))
    assert answer.status_code == 200, answer.text
    spec = answer.json()["inputs"][0]
    assert spec["torch_shape"] == spec["keras_shape"] and spec["dtype"] == "float16"
    expect(daemon.post("/v1/convert?layout=nhwc", case(CLASSIC)), 400, "USAGE")
    expect(daemon.post("/v1/convert?dtype=int8", case(CLASSIC)), 400, "USAGE")


def test_picture(daemon):
    answer = daemon.post("/v1/convert?formats=svg&format=svg", case(CLASSIC))
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "image/svg+xml" and answer.text.startswith("<svg")


def test_everything_in_one_archive(daemon, tmp_path):
    answers = [
        daemon.post("/v1/convert?format=zip", case(CLASSIC)),
        daemon.post("/v1/convert", case(CLASSIC), headers={"Accept": "application/zip"}),
    ]
    for answer in answers:
        assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/zip"
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        job = daemon.job(answer.headers["H5PT-Conversion"])
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == [a["name"] for a in job["artifacts"]]
            for artifact in job["artifacts"]:
                assert hashlib.sha256(archive.read(artifact["name"])).hexdigest() == artifact["sha256"]
        again = daemon.get("/v1/conversions/%s/artifacts/all.zip" % job["id"])
        assert again.content == answer.content and again.headers["ETag"] == answer.headers["ETag"]
        head = requests.head(daemon.url + "/v1/conversions/%s/artifacts/all.zip" % job["id"], timeout=60)
        assert head.status_code == 200 and head.headers["Content-Length"] == answer.headers["Content-Length"]
    # A refused model has a report, and so an archive of one file.
    refused = daemon.post("/v1/conversions", case("keras3/refuse/custom_layer_00")).json()
    daemon.wait_for(refused["id"], "failed")
    with zipfile.ZipFile(io.BytesIO(daemon.get("/v1/conversions/%s/artifacts/all.zip" % refused["id"]).content)) as archive:
        assert archive.namelist() == ["report.json"]
