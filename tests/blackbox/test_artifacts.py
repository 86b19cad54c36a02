# SPDX-License-Identifier: Apache-2.0
"""Downloads: entity tags, conditions, ranges, digests, HEAD."""
import base64
import hashlib
import os
import socket

import pytest
from conftest import until


@pytest.fixture(scope="module")
def job(daemon, model):
    answer = daemon.post("/v1/conversions", model, headers={"Prefer": "wait=60"})
    assert answer.status_code == 201 and answer.json()["state"] == "succeeded"
    return answer.json()


@pytest.fixture(scope="module")
def artifact(daemon, job):
    """(path, bytes, entity tag) of model.pt"""
    entry = next(entry for entry in job["artifacts"] if entry["name"] == "model.pt")
    whole = daemon.get(entry["href"])
    return entry["href"], whole.content, whole.headers["ETag"]


def test_the_whole_says_what_it_is(daemon, artifact):
    path, whole, tag = artifact
    answer = daemon.get(path)
    assert answer.status_code == 200 and answer.content == whole
    assert answer.headers["Accept-Ranges"] == "bytes" and answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["Repr-Digest"] == "sha-256=:%s:" % base64.b64encode(hashlib.sha256(whole).digest()).decode()
    assert tag == '"%s"' % hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize(
    "condition, changed",
    [
        ("{tag}", False),
        ("W/{tag}", False),
        ('"x", W/"y" ,{tag}', False),
        ('"a,b", {tag}', False),
        ("*", False),
        ('"x"', True),
        ("{tag}x", True),
        ("", True),
    ],
)
def test_if_none_match(daemon, artifact, condition, changed):
    path, whole, tag = artifact
    for method in "GET", "HEAD":
        answer = daemon.request(method, path, headers={"If-None-Match": condition.format(tag=tag)})
        assert answer.status_code == (200 if changed else 304)
        assert answer.headers["ETag"] == tag and answer.content == (whole if changed and method == "GET" else b"")
        if not changed:
            assert "Content-Disposition" not in answer.headers and "Content-Range" not in answer.headers


@pytest.mark.parametrize("condition, meant", [("{tag}", True), ('"x", {tag}', True), ("*", True), ('"x"', False), ("W/{tag}", False)])
def test_if_match(daemon, artifact, condition, meant):
    path, whole, tag = artifact
    answer = daemon.get(path, headers={"If-Match": condition.format(tag=tag)})
    if meant:
        assert answer.status_code == 200 and answer.content == whole
    else:
        assert (answer.status_code, answer.json()["code"]) == (412, "PRECONDITION_FAILED") and "ETag" not in answer.headers


@pytest.mark.parametrize(
    "asked, first, last",
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-99", 10, 99),
        ("bytes=100-", 100, -1),
        ("bytes=-7", -7, -1),
        ("Bytes=5-6", 5, 6),
        ("bytes= 5-6 ", 5, 6),
        ("bytes=10-999999999999", 10, -1),
        ("bytes=0-99999999999999999999999999", 0, -1),
        ("bytes=-999999999999", 0, -1),
    ],
)
def test_one_range(daemon, artifact, asked, first, last):
    path, whole, tag = artifact
    first, last = first % len(whole), last % len(whole)
    answer = daemon.get(path, headers={"Range": asked})
    assert answer.status_code == 206 and answer.content == whole[first : last + 1]
    assert answer.headers["Content-Range"] == "bytes %d-%d/%d" % (first, last, len(whole))
    assert answer.headers["ETag"] == tag and answer.headers["Repr-Digest"] == daemon.get(path).headers["Repr-Digest"]


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "lines=0-1", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-1", "bytes=1--2", "0-1", ""])
def test_ranges_that_are_ignored(daemon, artifact, asked):
    path, whole, _ = artifact
    answer = daemon.get(path, headers={"Range": asked})
    assert answer.status_code == 200 and answer.content == whole and "Content-Range" not in answer.headers


@pytest.mark.parametrize("asked", ["bytes={size}-", "bytes={size}-{size}", "bytes=99999999999999999999999999-", "bytes=-0"])
def test_ranges_outside(daemon, artifact, asked):
    path, whole, _ = artifact
    answer = daemon.get(path, headers={"Range": asked.format(size=len(whole))})
    assert (answer.status_code, answer.json()["code"]) == (416, "RANGE_NOT_SATISFIABLE")
    assert answer.headers["Content-Range"] == "bytes */%d" % len(whole) and "ETag" not in answer.headers


def test_if_range(daemon, artifact):
    path, whole, tag = artifact
    ask = lambda condition: daemon.get(path, headers={"Range": "bytes=3-5", "If-Range": condition})
    assert ask(tag).status_code == 206 and ask(tag).content == whole[3:6]
    for other in '"x"', "W/" + tag, "*", "Wed, 21 Oct 2015 07:28:00 GMT":
        assert ask(other).status_code == 200 and ask(other).content == whole
    # A condition that ends the matter comes before the range.
    assert daemon.get(path, headers={"Range": "bytes=3-5", "If-None-Match": tag}).status_code == 304


def test_a_download_is_resumed(daemon, artifact):
    path, whole, tag = artifact
    got, step = b"", len(whole) // 3
    while len(got) < len(whole):
        answer = daemon.get(path, headers={"Range": "bytes=%d-%d" % (len(got), len(got) + step - 1), "If-Range": tag})
        assert answer.status_code == 206
        got += answer.content
    assert got == whole


def test_everything_in_one_archive_has_a_tag_and_no_ranges(daemon, job):
    path = "/v1/conversions/%s/artifacts/all.zip" % job["id"]
    whole = daemon.get(path)
    assert whole.status_code == 200 and whole.headers["Accept-Ranges"] == "none"
    assert int(whole.headers["Content-Length"]) == len(whole.content)
    answer = daemon.get(path, headers={"Range": "bytes=0-9"})
    assert answer.status_code == 200 and answer.content == whole.content
    assert daemon.get(path, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304


def test_head_is_get_without_the_body(daemon, job):
    paths = [entry["href"] for entry in job["artifacts"]]
    paths += ["/v1/conversions/%s/artifacts/all.zip" % job["id"], "/v1/conversions/" + job["id"], "/v1/conversions?limit=1"]
    paths += ["/v1/conversions/%s/events" % job["id"], "/v1/capabilities", "/openapi.yaml", "/livez", "/readyz", "/nothing"]
    for path in paths:
        get, head = daemon.get(path), daemon.request("HEAD", path)
        assert head.status_code == get.status_code and head.content == b"", path
        differ = {"Date", "X-Request-ID"}
        if path == "/nothing":
            differ.add("Content-Length")  # a problem names the request
        if path.endswith("/events"):
            differ |= {"Transfer-Encoding", "Connection"}
        described = lambda answer: {name: value for name, value in answer.headers.items() if name not in differ}
        assert described(head) == described(get), path
    # Ranges are a matter of GET.
    assert daemon.request("HEAD", paths[0], headers={"Range": "bytes=0-1"}).status_code == 200


def test_nothing_follows_the_head(daemon, job):
    for path in "/v1/conversions/%s/events" % job["id"], "/v1/conversions/%s/artifacts/all.zip" % job["id"], "/livez":
        with socket.create_connection(daemon.address) as connection:
            connection.sendall(b"HEAD %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % path.encode())
            data = b""
            while part := connection.recv(65536):
                data += part
        assert data.startswith(b"HTTP/1.1 200 ") and data.index(b"\r\n\r\n") == len(data) - 4


def test_conditions_are_a_matter_of_reading(start_daemon, model):
    daemon = start_daemon(reuse="on")
    answer = daemon.post("/v1/convert", model)
    again = daemon.post("/v1/convert", model, headers={"If-None-Match": answer.headers["ETag"], "Range": "bytes=0-1"})
    assert again.status_code == 200 and again.content == answer.content and "Accept-Ranges" not in again.headers


def test_job_documents_have_tags(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker)
    path = "/v1/conversions/" + daemon.post("/v1/conversions", model).json()["id"]
    daemon.wait_for(path.rsplit("/", 1)[1], "running")
    tag = daemon.get(path).headers["ETag"]
    same = daemon.get(path, headers={"If-None-Match": tag})
    assert same.status_code == 304 and same.headers["ETag"] == tag and int(same.headers["Retry-After"]) >= 1
    gate.open()
    daemon.wait_for(path.rsplit("/", 1)[1], "succeeded")
    done = daemon.get(path, headers={"If-None-Match": tag})
    assert done.status_code == 200 and done.headers["ETag"] != tag
    assert daemon.get(path, headers={"If-None-Match": done.headers["ETag"]}).status_code == 304
    daemon.kill()
    daemon.start()
    assert daemon.get(path).headers["ETag"] == done.headers["ETag"]


def test_the_place_in_the_queue_is_part_of_the_tag(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1)
    running, second, third = (daemon.post("/v1/conversions", model).json()["id"] for _ in range(3))
    daemon.wait_for(running, "running")
    path = "/v1/conversions/" + third
    before = daemon.get(path)
    assert before.json()["queue_place"] == 2
    assert daemon.get(path, headers={"If-None-Match": before.headers["ETag"]}).status_code == 304
    assert daemon.request("DELETE", "/v1/conversions/" + second).status_code == 204
    after = daemon.get(path, headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200 and after.json()["queue_place"] == 1


def test_a_client_that_never_reads_is_closed(start_daemon, model):
    daemon = start_daemon(idle_timeout="1s")
    daemon.session.headers["Connection"] = "close"  # or it may end just when it is used again
    answer = daemon.post("/v1/convert", model)
    path = "/v1/conversions/%s/artifacts/model.pt" % answer.headers["H5PT-Conversion"]
    # A large file in the place of the artifact: more than the buffers of a connection hold.
    os.truncate(os.path.join(daemon.data_dir, "outputs", answer.headers["H5PT-Conversion"], "model.pt"), 64 << 20)
    with socket.create_connection(daemon.address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % path.encode())
        ended = lambda: any(line.get("path") == path and line.get("aborted") for line in daemon.log())
        until(ended, "the connection is closed")
    daemon.session.close()  # its connection has been idle for as long, and may be closed at any moment
    assert daemon.get("/livez").status_code == 200
