# SPDX-License-Identifier: Apache-2.0
"""Requests that are wrong, and files that are: each gets a clear answer and the daemon goes on."""
import os
import random
import socket

import pytest
from conftest import ROOT, until

HOSTILE = os.path.join(os.path.dirname(ROOT), "shared", "hostile", "cve")


def expect(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return answer


@pytest.mark.parametrize("path", ["/v1/convert", "/v1/conversions", "/v1/inspect"])
def test_uploads_that_are_no_model(daemon, model, path):
    expect(daemon.post(path, b"not a model" * 1000), 415, "NOT_HDF5")
    expect(daemon.post(path, b""), 400, "UPLOAD_INCOMPLETE")
    expect(daemon.post(path, model, headers={"Content-Encoding": "gzip"}), 415, "UNSUPPORTED_MEDIA_TYPE")
    expect(daemon.post(path, model, headers={"Content-Type": "multipart/mixed; boundary=xx"}), 415, "UNSUPPORTED_MEDIA_TYPE")
    expect(daemon.post(path, model, headers={"Content-Type": "multipart/form-data"}), 400, "USAGE")
    expect(daemon.post(path, None, files={"file": ("m.h5", model)}), 400, "USAGE")
    expect(daemon.post(path, None, files=[("model", model), ("model", model)]), 400, "USAGE")
    cut = b'--xx\r\nContent-Disposition: form-data; name="model"; filename="m"\r\n\r\n' + model
    expect(daemon.post(path, cut, headers={"Content-Type": "multipart/form-data; boundary=xx"}), 400, "UPLOAD_INCOMPLETE")


def test_a_model_behind_a_user_block_is_found(daemon, model):
    """It has the signature, but is not at the offset that it says: the worker has to look at it, and refuses."""
    answer = daemon.post("/v1/convert", b"#" * 512 + model)
    assert answer.status_code in (200, 422), answer.text


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files(daemon, model, keep):
    answer = daemon.post("/v1/convert", model[: int(len(model) * keep)])
    assert answer.status_code == 422 and answer.json()["code"].startswith(("H5_", "NOT_KERAS", "CONFIG_", "WEIGHTS_"))


@pytest.mark.parametrize(
    "method, path, status, code",
    [
        ("GET", "/nothing", 404, "NOT_FOUND"),
        ("GET", "/v1/conversions/", 404, "NOT_FOUND"),
        ("GET", "/v1/conversions/nothing", 404, "NOT_FOUND"),
        ("GET", "/v1/conversions/" + "0" * 26, 404, "NOT_FOUND"),
        ("DELETE", "/v1/conversions/" + "0" * 26, 404, "NOT_FOUND"),
        ("GET", "/v1/conversions/%s/artifacts/model.pt" % ("0" * 26), 404, "NOT_FOUND"),
        ("GET", "/v1/convert", 405, "METHOD_NOT_ALLOWED"),
        ("DELETE", "/v1/conversions", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/livez", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/v1/convert?formats=exe", 400, "USAGE"),
        ("POST", "/v1/convert?format=exe", 400, "USAGE"),
        ("POST", "/v1/convert?parity=maybe", 400, "USAGE"),
        ("POST", "/v1/convert?wait=soon", 400, "USAGE"),
        ("POST", "/v1/convert?wait=-1", 400, "USAGE"),
        ("POST", "/v1/convert?fromat=pt", 400, "USAGE"),
        ("POST", "/v1/convert?format=pt&format=py", 400, "USAGE"),
        ("GET", "/v1/conversions?limit=0", 400, "USAGE"),
        ("GET", "/v1/conversions?state=done", 400, "USAGE"),
        ("GET", "/v1/conversions?cursor=x", 400, "USAGE"),
    ],
)
def test_requests_that_make_no_sense(daemon, model, method, path, status, code):
    answer = expect(daemon.request(method, path, data=model if method == "POST" else None), status, code)
    if status == 405:
        assert answer.headers["Allow"]


def test_nothing_acceptable(daemon, model):
    expect(daemon.post("/v1/convert", model, headers={"Accept": "image/png"}), 406, "NOT_ACCEPTABLE")


def test_request_ids(daemon):
    assert daemon.get("/livez", headers={"X-Request-ID": "a.B-9_"}).headers["X-Request-ID"] == "a.B-9_"
    for bad in "a b", "x" * 65, '"', "ä".encode():
        answer = daemon.get("/nothing", headers={"X-Request-ID": bad})
        assert len(answer.headers["X-Request-ID"]) == 26 and answer.json()["request_id"] == answer.headers["X-Request-ID"]


def read_head(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(4096)
        if not part:
            break
        data += part
    return data


def test_too_large(start_daemon):
    daemon = start_daemon(max_upload="64KiB")
    signature = b"\x89HDF\r\n\x1a\n"
    just_enough, too_much = signature.ljust(65536, b"x"), signature.ljust(65537, b"x")
    expect(daemon.post("/v1/convert", too_much), 413, "UPLOAD_TOO_LARGE")
    expect(daemon.post("/v1/convert", iter([too_much[:40000], too_much[40000:] + b"x" * 1000000])), 413, "UPLOAD_TOO_LARGE")
    expect(daemon.post("/v1/convert", None, files={"model": too_much}), 413, "UPLOAD_TOO_LARGE")
    assert daemon.post("/v1/convert", just_enough).status_code == 422
    assert daemon.post("/v1/convert", None, files={"model": just_enough}).status_code == 422

    # Whoever asks first is refused before one byte of the body.
    with socket.create_connection(daemon.address) as connection:
        connection.sendall(
            b"POST /v1/convert HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert read_head(connection).startswith(b"HTTP/1.1 413 ")
    until(lambda: daemon.files("tmp") == [], "no draft is kept")
    assert daemon.get("/v1/conversions").json()["conversions"] != []


def test_a_client_that_vanishes_leaves_nothing(daemon, model):
    for body in b"Content-Length: 100000\r\n\r\n" + model[:5000], b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + model[:1000]:
        with socket.create_connection(daemon.address) as connection:
            connection.sendall(b"POST /v1/convert HTTP/1.1\r\nHost: h\r\n" + body)
            until(lambda: daemon.files("tmp"), "the upload begins")
        until(lambda: not daemon.files("tmp"), "the upload is removed")


def test_a_full_queue(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1, queue_limit=1)
    first = daemon.post("/v1/conversions", model).json()["id"]
    until(daemon.workers, "the worker runs")
    second = daemon.post("/v1/conversions", model)
    assert second.status_code == 202
    answer = expect(daemon.post("/v1/conversions", model), 429, "QUEUE_FULL")
    assert int(answer.headers["Retry-After"]) > 0
    assert expect(daemon.get("/readyz"), 503, "NOT_READY").json()["where"] == "queue"
    assert daemon.get("/livez").status_code == 200
    gate.open()
    for job_id in first, second.json()["id"]:
        assert daemon.wait_for(job_id, "succeeded", "failed")["state"] == "succeeded"
    assert daemon.get("/readyz").json() == {"status": "ready", "queued": 0, "running": 0}


CLEAR = {200, 415, 422}


def test_mutations(daemon, model):
    """Bytes flipped at random. A flip in a weight converts to another model; what is damaged gets a clear answer."""
    rng = random.Random(20240611)
    for _ in range(150):
        mutant = bytearray(model)
        for _ in range(rng.choice((1, 2, 8, 64))):
            mutant[rng.randrange(len(mutant))] = rng.randrange(256)
        answer = daemon.post("/v1/convert?wait=60&parity=quick", bytes(mutant))
        assert answer.status_code in CLEAR, answer.text
    assert daemon.get("/livez").status_code == 200


@pytest.mark.skipif(not os.path.isdir(HOSTILE), reason="the corpus of hostile files is not here")
def test_hostile_files(daemon):
    names = [name for name in sorted(os.listdir(HOSTILE)) if name != "COPYING"]
    assert names
    for name in names:
        with open(os.path.join(HOSTILE, name), "rb") as file:
            answer = daemon.post("/v1/convert", file.read() or b"\0")
        assert answer.status_code in CLEAR - {200}, (name, answer.status_code, answer.headers)
    assert daemon.get("/livez").status_code == 200
