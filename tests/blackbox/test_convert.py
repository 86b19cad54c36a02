# SPDX-License-Identifier: Apache-2.0
"""POST and PUT /v1/convert, /v1/inspect: a model in, the converted one out, checked with the real torch."""
import json
import os
import re

import jsonschema
import pytest
import torch_check
from conftest import CASES, CLASSIC, ROOT, case, until


@pytest.fixture(scope="session")
def report_schema():
    with open(os.path.join(ROOT, "api", "report.schema.json")) as file:
        return json.load(file)


def download(daemon, job_id, folder):
    for artifact in daemon.job(job_id)["artifacts"]:
        answer = daemon.get(artifact["href"])
        assert answer.status_code == 200 and len(answer.content) == artifact["bytes"]
        (folder / artifact["name"]).write_bytes(answer.content)


def check_against_keras(folder, name):
    inputs, outputs, _ = torch_check.read_case(os.path.join(CASES, name))
    report = torch_check.read_report(folder)
    net, _ = torch_check.load(folder)
    differences = torch_check.compare(torch_check.run(net, inputs, report), outputs)
    assert all(relative <= torch_check.TOLERANCE for _, relative in differences), differences
    return report


def chunks(data):
    for at in range(0, len(data), 4000):
        yield data[at : at + 4000]


SENDERS = {
    # What curl --data-binary says of its body.
    "raw": lambda daemon, model: daemon.post("/v1/convert", model, headers={"Content-Type": "application/x-www-form-urlencoded"}),
    "raw_untyped": lambda daemon, model: daemon.post("/v1/convert", model),
    "put": lambda daemon, model: daemon.request("PUT", "/v1/convert", data=model),
    "chunked": lambda daemon, model: daemon.request("PUT", "/v1/convert", data=chunks(model)),
    "form": lambda daemon, model: daemon.post("/v1/convert", None, files={"model": ("my model.h5", model)}),
}


@pytest.mark.parametrize("sender", SENDERS)
def test_the_answer_is_the_converted_model(daemon, model, sender, tmp_path, report_schema):
    answer = SENDERS[sender](daemon, model)
    assert answer.status_code == 200, answer.text
    assert answer.headers["H5PT-Verdict"] == "converted" and answer.headers["H5PT-Parity-Ok"] == "true"
    assert 0 <= float(answer.headers["H5PT-Parity-Max-Abs"]) < 1e-4
    assert answer.headers["Content-Disposition"] == 'attachment; filename="model.pt"'

    job_id = answer.headers["H5PT-Conversion"]
    link = "/v1/conversions/%s/artifacts/report.json" % job_id
    assert answer.headers["Link"] == '<%s>; rel="describedby"' % link
    download(daemon, job_id, tmp_path)
    assert (tmp_path / "model.pt").read_bytes() == answer.content
    report = check_against_keras(tmp_path, CLASSIC)
    jsonschema.validate(report, report_schema)
    job = daemon.job(job_id)
    assert job["state"] == "succeeded" and job["attempts"] == 1 and job["model"]["bytes"] == len(model)
    assert job["model"]["sha256"] == report["source"]["sha256"]
    assert job["model"]["filename"] == ("my model.h5" if sender == "form" else None)


@pytest.mark.parametrize("name", ["keras3/compose/siamese_00", "keras3/compose/classic_cnn_00"])
def test_other_models(daemon, name, tmp_path):
    answer = daemon.post("/v1/convert", case(name))
    assert answer.status_code == 200, answer.text
    download(daemon, answer.headers["H5PT-Conversion"], tmp_path)
    check_against_keras(tmp_path, name)


@pytest.mark.parametrize(
    "query, accept, media_type",
    [
        ("?format=pt", "*/*", "application/octet-stream"),
        ("?format=py", "*/*", "text/x-python"),
        ("?format=report", "text/x-python", "application/json"),
        ("", "text/x-python", "text/x-python"),
        ("", "application/json;q=0.5, text/*;q=0.9", "text/x-python"),
        ("", "image/png, application/json", "application/json"),
        ("", "application/*", "application/octet-stream"),
    ],
)
def test_the_client_chooses_the_artifact(daemon, model, query, accept, media_type):
    answer = daemon.post("/v1/convert" + query, model, headers={"Accept": accept})
    assert answer.status_code == 200 and answer.headers["Content-Type"] == media_type
    if media_type == "text/x-python":
        assert "class " in answer.text and "import torch" in answer.text
    if media_type == "application/json":
        assert answer.json()["verdict"] == "converted"


def test_only_the_wanted_formats_are_made(daemon, model):
    answer = daemon.post("/v1/convert?formats=pt", model)
    job = daemon.job(answer.headers["H5PT-Conversion"])
    assert sorted(artifact["name"] for artifact in job["artifacts"]) == ["model.pt", "report.json"]
    assert job["options"].pop("formats") == "pt" and job["options"].pop("weights_only") is False
    assert set(job["options"].values()) == {None}
    answer = daemon.post("/v1/convert?formats=pt&format=py", model)
    assert answer.status_code == 400 and answer.json()["code"] == "USAGE"


def test_parity_can_be_left_out(daemon, model):
    answer = daemon.post("/v1/convert?parity=off", model)
    assert answer.status_code == 200 and "H5PT-Parity-Ok" not in answer.headers
    assert daemon.job(answer.headers["H5PT-Conversion"])["options"]["parity"] == "off"


def test_a_conversion_that_outlasts_the_wait_goes_on(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker)
    for wait in 0, 1:
        answer = daemon.post("/v1/convert?wait=%d" % wait, model)
        assert answer.status_code == 202 and answer.headers["Retry-After"]
        assert answer.json()["state"] in ("queued", "running")
        assert answer.headers["Location"] == "/v1/conversions/" + answer.json()["id"]
    gate.open()
    assert daemon.wait_for(answer.json()["id"], "succeeded", "failed")["state"] == "succeeded"


def test_a_refused_model_is_answered_with_every_reason(daemon, refused_model, report_schema):
    answer = daemon.post("/v1/convert", refused_model)
    assert answer.status_code == 422 and answer.headers["H5PT-Verdict"] == "refused"
    problem = answer.json()
    meta = torch_check.read_case(os.path.join(CASES, "tfkeras/made/several_reasons"))[2]
    assert len(problem["refusals"]) > 1 and set(meta["refused"]) <= {reason["layer"] for reason in problem["refusals"]}
    assert problem["code"] == problem["refusals"][0]["code"] and problem["detail"] == problem["refusals"][0]["message"]
    report = daemon.get(problem["report"]).json()
    jsonschema.validate(report, report_schema)
    assert report["verdict"] == "refused" and report["refusals"] == problem["refusals"]
    job = daemon.job(answer.headers["H5PT-Conversion"])
    assert job["state"] == "failed" and job["error"]["code"] == problem["code"]
    assert [artifact["name"] for artifact in job["artifacts"]] == ["report.json"]


def test_inspection_keeps_nothing(start_daemon, model, refused_model, report_schema):
    daemon = start_daemon()
    for upload, verdict in (model, "converted"), (refused_model, "refused"):
        answer = daemon.post("/v1/inspect", upload)
        assert answer.status_code == 200
        jsonschema.validate(answer.json(), report_schema)
        assert answer.json()["verdict"] == verdict
    assert daemon.post("/v1/inspect", model[: len(model) // 2]).status_code == 422
    assert daemon.get("/v1/conversions").json() == {"conversions": [], "next": None}
    # The upload goes when the request ends, which the client may see a moment before.
    until(lambda: [daemon.files(room) for room in ("tmp", "inputs", "outputs")] == [[], [], []], "nothing is kept")


def test_the_answer_says_what_took_its_time(daemon, model, refused_model):
    for upload, status in (model, 200), (refused_model, 422):
        answer = daemon.post("/v1/convert", upload)
        assert answer.status_code == status
        queue, worker = map(float, re.fullmatch(r"queue;dur=(\d+), worker;dur=(\d+\.\d+)", answer.headers["Server-Timing"]).groups())
        assert 0 < worker < answer.elapsed.total_seconds() * 1e3 and queue + worker < answer.elapsed.total_seconds() * 1e3 + 2  # of whole milliseconds
    accepted = daemon.post("/v1/convert?wait=0", model)
    assert accepted.status_code == 202 and "Server-Timing" not in accepted.headers
