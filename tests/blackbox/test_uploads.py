# SPDX-License-Identifier: Apache-2.0
"""Bodies on their way: their digests, and clients that do not go on."""
import base64
import hashlib
import re
import socket
import ssl
import time

import pytest
from conftest import PATIENCE, until
from test_tls import make_certificate


def sums(body):
    return {name: base64.b64encode(hashlib.new(name.replace("-", ""), body).digest()).decode() for name in ("sha-256", "sha-512")}


def form(model):
    return b'--xx\r\nContent-Disposition: form-data; name="model"; filename="m"\r\n\r\n' + model + b"\r\n--xx--\r\n"


ROUTES = ["/v1/convert", "/v1/conversions", "/v1/inspect"]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest"])
def test_digests_of_the_body(daemon, model, path, field):
    for body, content_type in (model, "application/x-hdf5"), (form(model), "multipart/form-data; boundary=xx"):
        right = {name: "%s=:%s:" % (name, value) for name, value in sums(body).items()}
        wrong = {name: "%s=:%s:" % (name, value) for name, value in sums(body + b"x").items()}
        send = lambda value: daemon.post(path, body, headers={field: value, "Content-Type": content_type})
        for good in right["sha-256"], right["sha-512"], ", ".join(right.values()), "md5=:AAAA:, crc32c=:x:, " + right["sha-512"] + ";a=1":
            assert send(good).status_code in (200, 202), good
        assert send("md5=:AAAA:").status_code in (200, 202)  # none that is known
        for bad in wrong["sha-256"], wrong["sha-512"], right["sha-256"] + ", " + wrong["sha-512"], wrong["sha-256"] + "," + right["sha-256"]:
            answer = send(bad)
            assert (answer.status_code, answer.json()["code"], answer.json()["where"]) == (400, "DIGEST_MISMATCH", field)


@pytest.mark.parametrize("value", ["sha-256", "sha-256=", "sha-256=abc", "sha-256=:AAAA:", "sha-512=:%s:" % ("A" * 44), "sha-256=:%s:x" % ("A" * 44)])
def test_digests_that_are_malformed(daemon, model, value):
    answer = daemon.post("/v1/conversions", model, headers={"Content-Digest": value})
    assert (answer.status_code, answer.json()["code"], answer.json()["where"]) == (400, "USAGE", "Content-Digest")


def test_nothing_is_kept_of_a_body_that_was_changed(start_daemon, model):
    daemon = start_daemon()
    changed = {"Content-Digest": "sha-256=:%s:" % sums(model + b"x")["sha-256"]}
    chunks = iter([model[:1000], model[1000:]])
    for body in model, chunks:
        assert daemon.post("/v1/conversions", body, headers=changed).json()["code"] == "DIGEST_MISMATCH"
    assert daemon.get("/v1/conversions").json()["conversions"] == []
    until(lambda: daemon.files("tmp") == [] and daemon.files("inputs") == [], "nothing is kept")


def read_all(connection):
    data = b""
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            return data
        if not part:
            return data
        data += part


@pytest.mark.parametrize(
    "path, head, body",
    [
        ("/v1/convert", "Content-Length: 100000", b"\x89HDF\r\n\x1a\n"),
        ("/v1/conversions", "Content-Length: 100000", b""),
        ("/v1/conversions", "Transfer-Encoding: chunked", b"3e8\r\n" + b"x" * 500),
        ("/v1/conversions?formats=exe", "Content-Length: 100", b"x"),
        ("/nothing", "Content-Length: 100", b"x"),
    ],
)
def test_a_stalled_upload_is_answered(start_daemon, path, head, body):
    daemon = start_daemon(upload_idle_timeout="300ms")
    with socket.create_connection(daemon.address) as connection:
        started = time.monotonic()
        connection.sendall(b"POST %s HTTP/1.1\r\nHost: h\r\nX-Request-ID: stalls\r\n%s\r\n\r\n%s" % (path.encode(), head.encode(), body))
        answer = read_all(connection)
    assert time.monotonic() - started > 0.29  # the daemon's clock has milliseconds
    head, _, text = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ") and b"\r\nX-Request-ID: stalls\r\n" in head and b"\r\nConnection: close" in head
    assert b"\r\nContent-Type: application/problem+json\r\n" in head and b'"UPLOAD_STALLED"' in text
    assert int(re.search(rb"Content-Length: (\d+)", head)[1]) == len(text)
    until(lambda: daemon.files("tmp") == [], "the upload is removed")
    line = until(lambda: next((line for line in daemon.log() if line.get("request_id") == "stalls"), None), "it is logged")
    assert (line["status"], line["code"], line["aborted"]) == (408, "UPLOAD_STALLED", True)


def test_a_byte_now_and_then_does_not_hold_an_upload_open(start_daemon):
    daemon = start_daemon(upload_idle_timeout="500ms")
    with socket.create_connection(daemon.address) as connection:
        connection.sendall(b"POST /v1/convert HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
        connection.settimeout(0.05)
        started, answer = time.monotonic(), b""
        while not answer and time.monotonic() - started < 30:
            connection.sendall(b"x")
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                pass
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_slow_upload_that_moves_is_taken(start_daemon, model):
    daemon = start_daemon(upload_idle_timeout="500ms")

    def slowly():
        for at in range(0, len(model), 4000):
            yield model[at : at + 4000]
            time.sleep(0.1)

    started = time.monotonic()
    assert daemon.post("/v1/convert", slowly()).status_code == 200
    assert time.monotonic() - started > 0.7


def test_many_stalled_uploads_at_once(start_daemon, model):
    daemon = start_daemon(upload_idle_timeout="1s")
    connections = []
    for i in range(200):
        connections.append(socket.create_connection(daemon.address))
        connections[-1].sendall(b"POST /v1/convert HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + model[: 100 * i])
    assert daemon.post("/v1/convert", model).status_code == 200  # meanwhile
    answers = [read_all(connection) for connection in connections]
    assert {answer[:13] for answer in answers} == {b"HTTP/1.1 408 "}
    for connection in connections:
        connection.close()
    until(lambda: daemon.files("tmp") == [], "the uploads are removed")


def test_a_stalled_upload_over_tls_is_closed(start_daemon, tmp_path):
    """libmicrohttpd cannot be made to say anything then."""
    certificate = make_certificate(tmp_path, "server")
    daemon = start_daemon(upload_idle_timeout="300ms", **certificate)
    context = ssl.create_default_context(cafile=certificate["tls_cert"])
    context.check_hostname = False
    with socket.create_connection(daemon.address) as plain, context.wrap_socket(plain) as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(b"POST /v1/convert HTTP/1.1\r\nHost: h\r\nX-Request-ID: stalls\r\nContent-Length: 100000\r\n\r\nx")
        try:
            assert connection.recv(65536) == b""
        except ssl.SSLError:
            pass  # no farewell
    until(lambda: daemon.files("tmp") == [], "the upload is removed")
    line = until(lambda: next((line for line in daemon.log() if line.get("request_id") == "stalls"), None), "it is logged")
    assert (line["status"], line["code"]) == (408, "UPLOAD_STALLED")
