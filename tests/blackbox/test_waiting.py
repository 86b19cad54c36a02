# SPDX-License-Identifier: Apache-2.0
"""Clients that wait for a conversion: Prefer, events, Retry-After, the limit of the queue, pages that go on."""
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import PATIENCE, until


def create(daemon, model, **headers):
    answer = daemon.post("/v1/conversions", model, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


# ---- Prefer ----


def test_create_and_wait(start_daemon, gate, model, refused_model):
    daemon = start_daemon(worker=gate.worker)
    late = daemon.post("/v1/conversions", model, headers={"Prefer": "wait=1"})
    assert late.status_code == 202 and late.headers["Preference-Applied"] == "wait=1" and late.json()["state"] == "running"
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(daemon.post, "/v1/conversions", model, headers={"Prefer": 'foo; bar, wait="60"'})
        until(lambda: daemon.unfinished() == 2, "the second conversion is there")
        gate.open()
        done = waiting.result()
    assert done.status_code == 201 and done.json()["state"] == "succeeded" and "Retry-After" not in done.headers
    assert done.headers["Location"] == "/v1/conversions/" + done.json()["id"] and done.headers["Preference-Applied"] == "wait=60"
    failed = daemon.post("/v1/conversions", refused_model, headers={"Prefer": "wait=60"})
    assert failed.status_code == 201 and failed.json()["state"] == "failed" and failed.json()["error"]["refusals"]


def test_convert_and_prefer(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, max_wait="1s")
    send = lambda query, prefer: daemon.post("/v1/convert" + query, model, headers={"Prefer": prefer})
    for prefer in "respond-async", "wait=0":
        answer = send("", prefer)
        assert answer.status_code == 202 and answer.headers["Preference-Applied"] == prefer
    started = time.monotonic()
    answer = send("", "respond-async, wait=9999999999999999999999")
    assert answer.status_code == 202 and answer.headers["Preference-Applied"] == "respond-async, wait=1"
    assert 1 <= time.monotonic() - started
    answer = send("?wait=0", "wait=60")  # what the address says counts
    assert answer.status_code == 202 and "Preference-Applied" not in answer.headers
    gate.open()
    for prefer in "wait=soon", "wait", "handling=strict":
        answer = send("?wait=60", prefer)
        assert answer.status_code in (200, 202) and "Preference-Applied" not in answer.headers


def test_long_poll(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker)
    path = "/v1/conversions/" + create(daemon, model)
    started = time.monotonic()
    answer = daemon.get(path, headers={"Prefer": "wait=1"})
    assert answer.status_code == 200 and answer.json()["state"] == "running" and time.monotonic() - started >= 1
    assert answer.headers["Preference-Applied"] == "wait=1" and int(answer.headers["Retry-After"]) >= 1
    assert daemon.get(path, headers={"Prefer": "wait=1", "If-None-Match": answer.headers["ETag"]}).status_code == 304
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(daemon.get, path, headers={"Prefer": "wait=60"}) for _ in range(5)]
        time.sleep(0.2)
        assert not any(task.done() for task in waiting)
        gate.open()
        answers = [task.result() for task in waiting]
    assert {answer.json()["state"] for answer in answers} == {"succeeded"}
    assert daemon.get(path, headers={"Prefer": "wait=60"}).json()["state"] == "succeeded"  # at once
    assert daemon.get("/v1/conversions/" + "0" * 26, headers={"Prefer": "wait=60"}).status_code == 404


def test_a_long_poll_hears_of_the_removal(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker)
    path = "/v1/conversions/" + create(daemon, model)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(daemon.get, path, headers={"Prefer": "wait=60"})
        time.sleep(0.1)
        assert daemon.request("DELETE", path).status_code == 204
        assert waiting.result().json()["state"] == "canceled"


# ---- events ----


class Events:
    """A stream of events, read line by line."""

    def __init__(self, daemon, job_id, last=None):
        headers = {} if last is None else {"Last-Event-ID": str(last)}
        self.answer = daemon.get("/v1/conversions/%s/events" % job_id, headers=headers, stream=True)
        self.lines = self.answer.iter_lines(chunk_size=1) if self.answer.status_code == 200 else iter(())

    def next(self):
        """The next event as (id, name, data), ":" for a comment, "retry" for that field; None at the end."""
        event = {}
        for line in self.lines:
            line = line.decode()
            if not line:
                if "comment" in event:
                    return ":"
                if "retry" in event:
                    assert event["retry"] == "2000"
                    return "retry"
                return int(event["id"]), event["event"], json.loads(event["data"])
            name, _, value = line.partition(": ")
            event["comment" if line.startswith(":") else name] = value
        return None

    def rest(self):
        events = []
        while (event := self.next()) is not None:
            if isinstance(event, tuple):
                events.append(event)
        return events


def test_events_from_the_queue_to_the_end(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1)
    first = create(daemon, model)
    daemon.wait_for(first, "running")
    job_id = create(daemon, model)
    stream = Events(daemon, job_id)
    assert stream.answer.headers["Content-Type"] == "text/event-stream" and stream.answer.headers["Cache-Control"] == "no-store"
    assert stream.next() == "retry"
    number, name, job = stream.next()
    assert (name, job["id"], job["state"]) == ("state", job_id, "queued") and job == daemon.job(job_id)
    gate.open()
    events = stream.rest()
    numbers = [number] + [event[0] for event in events]
    assert numbers == sorted(set(numbers))
    states = [data["state"] for _, name, data in events if name == "state"]
    assert states == ["running", "succeeded"]
    stages = [data["stage"] for _, name, data in events if name == "progress"]
    assert all(set(data) == {"stage", "progress"} and 0 <= data["progress"] <= 1 for _, name, data in events if name == "progress")
    order = ["read", "graph", "lower", "write", "parity", "report"]
    assert [order.index(stage) for stage in stages] == sorted(order.index(stage) for stage in stages)
    last = events[-1]
    assert last[1] == "state" and last[2] == daemon.job(job_id)

    # Afterwards: the last event once more, or nothing for whoever has it.
    again = Events(daemon, job_id)
    assert again.rest() == [last]
    assert Events(daemon, job_id, last[0]).answer.status_code == 204
    assert Events(daemon, job_id, last[0] - 1).rest() == [last]
    assert Events(daemon, job_id, "nonsense").rest() == [last]
    assert Events(daemon, "0" * 26).answer.status_code == 404
    assert daemon.request("DELETE", "/v1/conversions/" + job_id).status_code == 204
    assert Events(daemon, job_id).answer.status_code == 404


def test_events_are_resumed_without_a_repetition(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1, heartbeat="200ms")
    job_id = create(daemon, model)
    daemon.wait_for(job_id, "running")
    stream = Events(daemon, job_id)
    assert stream.next() == "retry"
    number, _, job = stream.next()
    assert job["state"] == "running"
    stream.answer.close()
    resumed = Events(daemon, job_id, number)
    assert [resumed.next() for _ in range(3)] == ["retry", ":", ":"]  # nothing has happened
    gate.open()
    events = resumed.rest()
    assert events[-1][2]["state"] == "succeeded" and all(event[0] > number for event in events)


def test_events_number_on_after_a_crash(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1)
    first = create(daemon, model)
    daemon.wait_for(first, "running")
    stream = Events(daemon, first)
    assert stream.next() == "retry"
    running = stream.next()
    assert running[2]["state"] == "running"
    daemon.kill()
    daemon.start()
    events = Events(daemon, first, running[0])
    gate.open()
    events = events.rest()
    assert all(event[0] > running[0] for event in events)
    assert events[-1][2]["state"] == "succeeded" and events[0][1] == "state"


def test_events_of_a_canceled_conversion(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker)
    job_id = create(daemon, model)
    stream = Events(daemon, job_id)
    stream.next(), stream.next()
    assert daemon.request("DELETE", "/v1/conversions/" + job_id).status_code == 204
    assert stream.rest()[-1][2]["state"] == "canceled"


def threads(daemon):
    return len(os.listdir("/proc/%d/task" % daemon.process.pid))


def memory(daemon):
    with open("/proc/%d/status" % daemon.process.pid) as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))


def test_many_streams_need_no_threads_and_little_memory(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1, heartbeat="300ms", max_connections=2000)
    jobs = [create(daemon, model) for _ in range(20)]
    daemon.wait_for(jobs[0], "running")
    before = threads(daemon), memory(daemon)
    connections = []
    for i in range(800):
        connection = socket.create_connection(daemon.address)
        connection.settimeout(PATIENCE)
        connection.sendall(b"GET /v1/conversions/%s/events HTTP/1.1\r\nHost: h\r\n\r\n" % jobs[i % 20].encode())
        connections.append(connection)
    heads = [connection.recv(4096) for connection in connections]
    assert all(head.startswith(b"HTTP/1.1 200 ") for head in heads)
    time.sleep(1)  # some heartbeats
    assert threads(daemon) == before[0]
    if not daemon.sanitized():
        assert memory(daemon) - before[1] < 800 * (128 + 32 << 10)  # a connection has a pool of 128 KiB
    started = time.monotonic()
    assert daemon.get("/livez").status_code == 200 and time.monotonic() - started < 1
    gate.open()

    def read(connection):
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            part = connection.recv(65536)
            assert part
            data += part
        return data

    for connection in connections:
        assert b'"state":"succeeded"' in read(connection)
        connection.close()


def test_a_stream_lives_as_long_as_its_client(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, heartbeat="100ms", idle_timeout="1s")
    daemon.session.headers["Connection"] = "close"  # or it may end just when it is used again
    job_id = create(daemon, model)
    ended = lambda: [line for line in daemon.log() if line.get("route") == "/v1/conversions/{id}/events"]
    left = Events(daemon, job_id)
    left.next()
    left.answer.close()
    until(lambda: len(ended()) == 1, "the daemon sees that the client has left")
    # A client that is only silent is not idle.
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.connect(daemon.address)
        connection.sendall(b"GET /v1/conversions/%s/events HTTP/1.1\r\nHost: h\r\n\r\n" % job_id.encode())
        time.sleep(1.5)
        assert daemon.get("/livez").status_code == 200 and len(ended()) == 1
    until(lambda: len(ended()) == 2, "the stream ends")


def test_streams_end_when_the_daemon_stops(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1)
    running, queued = create(daemon, model), create(daemon, model)
    daemon.wait_for(running, "running")
    streams = [Events(daemon, job_id) for job_id in (running, queued)]
    states = [[stream.next(), stream.next()][1][2]["state"] for stream in streams]
    assert states == ["running", "queued"]
    daemon.process.send_signal(signal.SIGTERM)
    assert [stream.rest() for stream in streams] == [[], []]
    late = Events(daemon, running).rest()  # the present state, and the end
    assert [event[2]["state"] for event in late] == ["running"]
    gate.open()
    assert daemon.process.wait(PATIENCE) == 0
    daemon.start()
    assert daemon.wait_for(queued, "succeeded")


# ---- the queue ----


def test_a_conversion_does_not_wait_for_ever(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1, queue_time="500ms")
    first = create(daemon, model)
    daemon.wait_for(first, "running")
    with ThreadPoolExecutor() as pool:
        convert, inspect = pool.submit(daemon.post, "/v1/convert", model), pool.submit(daemon.post, "/v1/inspect", model)
        second = create(daemon, model)
        job = daemon.wait_for(second, "failed")
        for answer in convert.result(), inspect.result():
            assert (answer.status_code, answer.json()["code"]) == (503, "QUEUE_TIMEOUT") and int(answer.headers["Retry-After"]) >= 1
    assert (job["error"]["code"], job["error"]["status"], job["attempts"]) == ("QUEUE_TIMEOUT", 503, 0)
    assert job["started_at"] is None and job["finished_at"] > job["created_at"]
    until(lambda: daemon.files("inputs") == [first] and len(daemon.files("tmp")) <= 1, "its upload is removed")
    gate.open()
    assert daemon.wait_for(first, "succeeded", "failed")["state"] == "succeeded"
    assert daemon.post("/v1/convert", model).status_code == 200


def test_retry_after_follows_the_queue(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1, queue_limit=20)
    gate.open()
    assert daemon.post("/v1/conversions", model, headers={"Prefer": "respond-async"}).headers["Retry-After"] == "1"
    until(lambda: daemon.unfinished() == 0, "it is done")
    gate.close()
    slow = create(daemon, model)
    daemon.wait_for(slow, "running")
    time.sleep(3)
    gate.open()
    daemon.wait_for(slow, "succeeded")  # the mean is some tenths of a second now
    gate.close()
    waits = [int(daemon.post("/v1/conversions", model).headers["Retry-After"]) for _ in range(21)]
    assert waits == sorted(waits) and waits[0] == 1 and 1 < waits[-1] <= 300
    full = daemon.post("/v1/conversions", model)
    assert full.status_code == 429 and int(full.headers["Retry-After"]) == waits[-1]
    polled = daemon.get("/v1/conversions/" + daemon.get("/v1/conversions?state=queued").json()["conversions"][0]["id"])
    assert int(polled.headers["Retry-After"]) == waits[-1]
    gate.open()


# ---- pages ----


def test_pages_go_on_while_conversions_come_and_go(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1)
    with ThreadPoolExecutor(8) as pool:  # several in the same millisecond
        made = list(pool.map(lambda _: create(daemon, model), range(40)))
    expected, seen, path = sorted(made, reverse=True), [], "/v1/conversions?limit=7&state=queued,running"
    canceled = set()
    while path:
        page = daemon.get(path)
        jobs = page.json()["conversions"]
        seen += [job["id"] for job in jobs]
        link = page.headers.get("Link")
        assert (link is None) == (page.json()["next"] is None)
        path = None
        if link:
            path, relation = link[1:].split(">; ")
            assert relation == 'rel="next"' and "limit=7" in path and "state=queued,running" in path
            assert path.endswith("cursor=" + page.json()["next"])
            # The last one of this page, which the cursor names, goes, and so does one that has not been seen.
            for job_id in jobs[-1]["id"], expected[len(seen) + 1]:
                assert daemon.request("DELETE", "/v1/conversions/" + job_id).status_code == 204
                canceled.add(job_id)
            create(daemon, model)  # newer than every cursor
    assert len(seen) == len(set(seen)) and seen == [job_id for job_id in expected if job_id in seen]
    assert set(expected) - set(seen) <= canceled
    gate.open()


@pytest.mark.parametrize("query", ["limit=5%00", "limit=5&%00=1", "state=queued%00x"])
def test_zero_bytes_in_queries(daemon, query):
    answer = daemon.get("/v1/conversions?" + query)
    assert (answer.status_code, answer.json()["code"]) == (400, "USAGE")
