# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in production, done on purpose while clients are at work: the daemon is killed, the disk is full, workers hang, clients do not
behave. $H5PT_KILLS says how often the daemon is killed."""
import errno
import hashlib
import os
import random
import resource
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import h5py
import json
import numpy
import pytest
import requests
from conftest import PATIENCE, Daemon, case, program, until
from test_webhooks import SECRET, Receiver, secret_line

KILLS = int(os.environ.get("H5PT_KILLS", "30"))


class Uploader:
    """Sends models for as long as it may, one after the other, and knows what was acknowledged."""

    def __init__(self, daemon, seed, hook):
        self.daemon, self.hook = daemon, hook
        self.random = random.Random(seed)
        self.models = [case("tfkeras/compose/classic_cnn_03"), case("tfkeras/made/several_reasons")]
        self.acknowledged, self.keys, self.hooked = {}, {}, set()
        self.stop = threading.Event()

    def run(self):
        while not self.stop.is_set():
            try:
                self.send()
            except requests.RequestException:
                pass  # no answer, no promise
            self.stop.wait(self.random.uniform(0.02, 0.2))

    def send(self):
        index = self.random.randrange(2)
        headers, parameters = {"Cache-Control": "no-cache"} if self.random.random() < 0.5 else {}, {}
        key = "%d" % self.random.randrange(1 << 60) if self.random.random() < 0.5 else None
        if self.keys and self.random.random() < 0.3:
            key, (index, hooked) = self.random.choice(list(self.keys.items()))
        else:
            hooked = self.random.random() < 0.3
            if key:
                self.keys[key] = index, hooked
        if key:
            headers["Idempotency-Key"] = key
        if hooked:
            parameters["webhook"] = self.hook
        answer = self.daemon.post("/v1/conversions", self.models[index], headers=headers, params=parameters)
        assert answer.status_code in (201, 202), answer.text
        job_id = answer.json()["id"]
        if key:
            assert self.acknowledged.get(key, (job_id,))[0] == job_id, "another conversion for the same idempotency key"
        self.acknowledged[key or job_id] = job_id, index
        if hooked:
            self.hooked.add(job_id)


def check_artifacts(daemon, job):
    """All of it is what the list says, whole."""
    assert {artifact["name"] for artifact in job["artifacts"]} >= {"report.json"}
    for artifact in job["artifacts"]:
        content = daemon.get(artifact["href"]).content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (artifact["bytes"], artifact["sha256"]), artifact


def look_at_some(daemon, rng):
    for job in rng.sample(daemon.get("/v1/conversions?state=succeeded,failed&limit=50").json()["conversions"] or [None], 1):
        if job:
            check_artifacts(daemon, job)


def test_killed_at_random_moments(start_daemon, tmp_path):
    rng = random.Random(23)
    receiver = Receiver()
    (tmp_path / "secret").write_text(secret_line(SECRET))
    daemon = start_daemon(
        reuse="on", webhook_secret_file=tmp_path / "secret", webhook_allow_http="yes", webhook_allow_private="yes", webhook_pause="20ms", webhook_attempts=100
    )
    uploaders = [Uploader(daemon, seed, receiver.url) for seed in range(3)]
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(uploader.run) for uploader in uploaders]
        for _ in range(KILLS):
            time.sleep(rng.uniform(0, 0.4))
            daemon.kill()
            daemon.start()
            look_at_some(daemon, rng)
        for uploader in uploaders:
            uploader.stop.set()
        for task in running:
            task.result()
    promised = [pair for uploader in uploaders for pair in uploader.acknowledged.values()]
    assert len(promised) > KILLS
    for job_id, index in promised:
        job = daemon.wait_for(job_id, "succeeded", "failed")
        assert (job["state"], job["attempts"], (job["error"] or {}).get("code")) in (
            [("succeeded", 1, None), ("succeeded", 0, None)] if index == 0 else [("failed", 1, job["error"] and job["error"]["code"])]
        ), job
        if index:
            assert job["verdict"] == "refused"
        check_artifacts(daemon, job)
    for uploader in uploaders:
        for key, (job_id, index) in uploader.acknowledged.items():
            if key in uploader.keys:
                hook = {"webhook": uploader.hook} if uploader.keys[key][1] else {}
                answer = daemon.post("/v1/conversions", uploader.models[index], headers={"Idempotency-Key": key}, params=hook)
                assert (answer.status_code, answer.json()["id"], answer.headers["Idempotent-Replayed"]) == (201, job_id, "true")
        for job_id in uploader.hooked:
            until(lambda: daemon.job(job_id)["webhook"]["state"] == "delivered", "the webhook is called")
            assert job_id in {headers["Webhook-Id"] for _, _, headers, _ in receiver.calls}
    until(lambda: daemon.unfinished() == 0, "all have finished")
    until(lambda: daemon.files("inputs") == [] and daemon.files("tmp") == [], "nothing is left over")
    receiver.close()


def test_stopped_under_load_loses_nothing(start_daemon):
    """SIGTERM and the next start, again and again."""
    daemon = start_daemon(drain_time="1s")
    uploaders = [Uploader(daemon, 100 + seed, "") for seed in range(3)]
    for uploader in uploaders:
        uploader.random.random = lambda draw=random.Random(1): draw.uniform(0.3, 1)  # no webhooks
    refused = []

    def run(uploader):
        while not uploader.stop.is_set():
            try:
                uploader.send()
            except AssertionError as error:
                refused.append(str(error))
                assert "DRAINING" in str(error)
            except requests.RequestException:
                pass
            time.sleep(0.01)

    with ThreadPoolExecutor() as pool:
        running = [pool.submit(run, uploader) for uploader in uploaders]
        for _ in range(5):
            time.sleep(0.5)
            assert daemon.stop() == 0
            daemon.start()
        for uploader in uploaders:
            uploader.stop.set()
        for task in running:
            task.result()
    for uploader in uploaders:
        for job_id, index in uploader.acknowledged.values():
            job = daemon.wait_for(job_id, "succeeded", "failed")
            assert (job["state"], job["attempts"]) == (("succeeded", "failed")[index], 1)
            check_artifacts(daemon, job)


class DaemonOnSmallDisk(Daemon):
    """Its data directory is a file system of its own, of so many MiB, which nobody else sees."""

    # Root needs no user namespace, and gets none in a chroot.
    NAMESPACES = ["--mount", "--propagation=unchanged"], ["--mount", "--map-root-user"]

    def __init__(self, folder, mebibytes, **options):
        self.mebibytes = mebibytes
        super().__init__(folder, disk_reserve=0, **options)

    def command(self, arguments):
        os.makedirs(self.data_dir, exist_ok=True)
        mount = "mount -t tmpfs -o size=%dm tmpfs '%s' && exec \"$@\"" % (self.mebibytes, self.data_dir)
        commands = [["/usr/bin/unshare", *namespaces, "/bin/sh", "-c", mount, "sh"] for namespaces in self.NAMESPACES]
        able = next((command for command in commands if subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode == 0), None)
        return [*able, *arguments] if able else pytest.skip("nobody may mount a file system here")

    def place(self, *path):
        return os.path.join("/proc/%d/root" % self.process.pid, self.data_dir.lstrip("/"), *path)

    def files(self, room):
        return sorted(os.listdir(self.place(room)))

    def fill(self, leave):
        """Takes the space but for so many bytes."""
        if os.path.exists(self.place("ballast")):
            self.free()
        status = os.statvfs(self.place())
        with open(self.place("ballast"), "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(status.f_bavail * status.f_frsize - leave, 1))

    def free(self):
        os.unlink(self.place("ballast"))


@pytest.fixture
def small_disk(tmp_path):
    daemon = DaemonOnSmallDisk(tmp_path, 16)
    yield daemon
    assert daemon.stop() == 0


def test_the_disk_is_full_while_uploads_arrive(small_disk, model):
    daemon = small_disk
    kept = daemon.post("/v1/conversions", model).json()["id"]
    daemon.wait_for(kept, "succeeded")
    large = model + bytes(12 << 20)
    chunks = lambda: iter([large[at : at + 65536] for at in range(0, len(large), 65536)])  # of a length that nobody knows
    daemon.fill(leave=8 << 20)
    for body in large, chunks(), large, chunks():
        answer = daemon.post("/v1/conversions", body)
        assert (answer.status_code, answer.json()["code"]) == (507, "DISK_FULL"), answer.text
        assert daemon.files("tmp") == []
    daemon.fill(leave=0)
    for path in "/v1/conversions", "/v1/convert", "/v1/inspect":
        answer = daemon.post(path, model)
        assert (answer.status_code, answer.json()["code"]) == (507, "DISK_FULL"), answer.text
    assert daemon.get("/readyz").status_code in (200, 503) and daemon.get("/livez").status_code == 200
    check_artifacts(daemon, daemon.job(kept))
    daemon.free()
    assert daemon.files("tmp") == []
    assert daemon.post("/v1/convert", model).status_code == 200
    assert [job["id"] for job in daemon.get("/v1/conversions").json()["conversions"]][-1] == kept


def test_the_disk_is_full_while_results_are_written(tmp_path, gate, model):
    daemon = DaemonOnSmallDisk(tmp_path, 16, worker=gate.worker)
    job_id = daemon.post("/v1/conversions", model).json()["id"]
    until(daemon.workers, "the worker runs")
    daemon.fill(leave=0)
    gate.open()
    until(lambda: not daemon.workers(), "the worker has ended")
    # There is no room for what became of it either: it is not said before it is kept.
    assert daemon.job(job_id)["state"] == "running"
    assert daemon.get("/livez").status_code == 200
    daemon.free()
    job = daemon.wait_for(job_id, "succeeded", "failed")
    assert (job["state"], job["error"]["code"], job["artifacts"]) == ("failed", "DISK_FULL", [])
    until(lambda: daemon.files("tmp") == [], "what was half written is gone")
    assert job_id not in daemon.files("outputs")
    assert daemon.post("/v1/convert", model).status_code == 200
    assert daemon.stop() == 0


def test_a_disk_that_runs_full_under_load(small_disk, model):
    """Each conversion either succeeds, with all of its files, or says that the disk is full; and what was promised is kept."""
    daemon = small_disk
    promised, full = [], 0
    for _ in range(10):
        daemon.fill(leave=random.Random(len(promised)).randrange(4096, 400000))
        for _ in range(6):
            answer = daemon.post("/v1/conversions", model)
            if answer.status_code == 202:
                promised.append(answer.json()["id"])
            else:
                assert (answer.status_code, answer.json()["code"]) == (507, "DISK_FULL"), answer.text
                full += 1
        until(lambda: not daemon.workers(), "what runs has ended")
        daemon.free()
        until(lambda: daemon.unfinished() == 0, "all have ended")
    assert promised and full
    states = set()
    for job_id in promised:
        job = daemon.wait_for(job_id, "succeeded", "failed")
        states.add(job["state"])
        if job["state"] == "succeeded":
            check_artifacts(daemon, job)
        else:
            assert job["error"]["code"] == "DISK_FULL", job["error"]
    assert states == {"succeeded", "failed"}


def test_a_worker_that_is_stopped_does_not_hold_its_place(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1, wall_time="500ms")
    job_id = daemon.post("/v1/conversions", model).json()["id"]
    (worker,) = until(daemon.workers, "the worker runs")
    os.kill(worker, signal.SIGSTOP)
    assert daemon.wait_for(job_id, "failed")["error"]["code"] == "WORKER_TIMEOUT"
    gate.open()
    assert daemon.post("/v1/convert", model).status_code == 200


def large_model(folder, rows, columns):
    """A small file of a model with large weights."""
    path = os.path.join(str(folder), "large.h5")
    layer = {"name": "dense", "trainable": True, "dtype": "float32", "units": columns, "activation": "linear", "use_bias": False, "batch_input_shape": [None, rows]}
    config = {"class_name": "Sequential", "config": {"name": "large", "layers": [{"class_name": "Dense", "config": layer}]}}
    with h5py.File(path, "w") as file:
        file.attrs.update(keras_version="2.11.0", backend="tensorflow", model_config=json.dumps(config))
        weights = file.create_group("model_weights")
        weights.attrs.update(keras_version="2.11.0", backend="tensorflow", layer_names=[b"dense"])
        group = weights.create_group("dense")
        group.attrs["weight_names"] = [b"dense/kernel:0"]
        values = numpy.random.default_rng(1).integers(0, 2, (64, columns)).astype("float32")
        data = group.create_dataset("dense/kernel:0", (rows, columns), "float32", chunks=(64, columns), compression="gzip", compression_opts=1)
        for row in range(0, rows, 64):
            data[row : row + 64] = values
    return path


def test_a_worker_that_wants_too_much_memory(start_daemon, tmp_path, model):
    daemon = start_daemon(memory="512MiB")
    if daemon.sanitized():
        pytest.skip("the sanitizers do not work within a limit on the address space")
    with open(large_model(tmp_path, 8192, 16384), "rb") as file:
        answer = daemon.post("/v1/convert?parity=full", file)
    assert (answer.status_code, answer.json()["code"]) == (422, "WORKER_MEMORY"), answer.text
    assert daemon.post("/v1/convert", model).status_code == 200
    assert daemon.files("tmp") == []


def connect(daemon, text, receive_buffer=None):
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(PATIENCE)
    connection.connect(daemon.address)
    connection.sendall(text)
    return connection


def metric(daemon, name):
    text = requests.get(daemon.admin + "/metrics", timeout=PATIENCE).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("h5pt_%s " % name))


def test_clients_that_vanish_leave_nothing(start_daemon, model):
    rng = random.Random(3)
    daemon = start_daemon()
    head = b"POST /v1/conversions HTTP/1.1\r\nHost: h5pt\r\nContent-Length: %d\r\n\r\n" % (1 << 30)
    form = b"PUT /v1/convert HTTP/1.1\r\nHost: h5pt\r\nContent-Type: multipart/form-data; boundary=xx\r\nTransfer-Encoding: chunked\r\n\r\n"
    for turn in range(60):
        body = b"5000\r\n" + b'--xx\r\nContent-Disposition: form-data; name="model"; filename="m"\r\n\r\n' if turn % 2 else b""
        connection = connect(daemon, (form if turn % 2 else head) + body + model[: rng.randrange(len(model))])
        if turn % 3 == 0:  # with RST
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
    until(lambda: metric(daemon, "http_requests_in_flight") == 0 and metric(daemon, "http_connections") == 0, "they are let go")
    until(lambda: daemon.files("tmp") == [], "their uploads are gone")
    assert metric(daemon, "disk_reserved_bytes") == 0
    assert daemon.get("/v1/conversions").json()["conversions"] == []


def test_a_header_that_drips_does_not_hold_a_connection(start_daemon):
    daemon = start_daemon(idle_timeout="1s")
    connection = connect(daemon, b"GET /v1/capabilities HTTP/1.1\r\n")
    begun = time.monotonic()
    with pytest.raises(OSError):
        while time.monotonic() < begun + 20:
            connection.sendall(b"X")
            time.sleep(0.2)
    assert time.monotonic() < begun + 15
    until(lambda: metric(daemon, "http_connections") == 0, "it is let go")


def test_a_stream_of_events_that_is_not_read(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, idle_timeout="1s", heartbeat="100ms")
    job_id = daemon.post("/v1/conversions", model).json()["id"]
    request = b"GET /v1/conversions/%s/events HTTP/1.1\r\nHost: h5pt\r\n\r\n" % job_id.encode()
    connections = [connect(daemon, request, receive_buffer=1024) for _ in range(20)]
    assert daemon.get("/livez").elapsed.total_seconds() < 1
    gate.open()
    assert daemon.wait_for(job_id, "succeeded", "failed")["state"] == "succeeded"
    assert daemon.post("/v1/convert", model).status_code == 200
    for connection in connections:
        connection.close()


IDLE = 2000


def test_two_thousand_idle_connections(start_daemon, model):
    """Health and metrics answer within a second, on the admin listener always and on the API's as long as that has room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < IDLE + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(IDLE + 200, hard), hard))
    for room in 4096, 1024:
        daemon = start_daemon(max_connections=room, idle_timeout="10min")
        idle = []
        try:
            for number in range(IDLE):
                # Half of them have said nothing, half have begun a request.
                idle.append(connect(daemon, b"" if number % 2 else b"GET /livez HTTP/1.1\r\nHost:"))
        except OSError as error:
            assert error.errno in (errno.ECONNRESET, errno.EPIPE), error
        for path in "/livez", "/readyz", "/metrics", "/livez":
            begun = time.monotonic()
            answer = requests.get(daemon.admin + path, timeout=PATIENCE)
            assert answer.status_code == 200 and time.monotonic() - begun < 1, path
        if room > IDLE:
            assert len(idle) == IDLE
            until(lambda: metric(daemon, "http_connections") >= IDLE, "all are accepted")
            for path in "/livez", "/readyz":
                assert daemon.get(path).elapsed.total_seconds() < 1
            assert daemon.post("/v1/convert", model).status_code == 200
        for connection in idle:
            connection.close()
        until(lambda: metric(daemon, "http_connections") <= 2, "they are let go")
        assert daemon.get("/livez").status_code == 200
