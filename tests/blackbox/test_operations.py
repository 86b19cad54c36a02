# SPDX-License-Identifier: Apache-2.0
"""What operators rely on: readiness that tells the truth, metrics, drain, the reserve of the disk, --check, the service manager."""
import os
import re
import signal
import socket
import subprocess
import time

import requests
from conftest import PATIENCE, program, until

SAMPLE = re.compile(r'([a-z_0-9]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? ([-+0-9.e]+|\+Inf|NaN)')


def metrics(daemon):
    """{(name, labels as they are printed): value}, each line checked."""
    answer = daemon.session.get(daemon.admin + "/metrics", timeout=PATIENCE)
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    values, typed = {}, set()
    for line in answer.text.splitlines():
        if line.startswith("#"):
            _, kind, name, rest = line.split(" ", 3)
            assert kind in ("HELP", "TYPE") and rest
            typed.add(name)
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        assert re.sub(r"_(bucket|sum|count)$", "", name) in typed or name in typed, line
        assert (name, labels) not in values, line
        values[name, labels] = float(value)
    return values


def readiness(daemon):
    answer = daemon.session.get(daemon.admin + "/readyz?verbose", timeout=PATIENCE)
    return answer.status_code, {check["name"]: check for check in answer.json()["checks"]}


def test_metrics_count_what_happens(start_daemon, model, refused_model):
    daemon = start_daemon()
    assert daemon.post("/v1/convert", model).status_code == 200
    assert daemon.post("/v1/convert", refused_model).status_code == 422
    assert daemon.get("/v1/nothing").status_code == 404
    assert daemon.request("BREW", "/" + "x" * 100).status_code in (404, 405)
    until(lambda: metrics(daemon)["h5pt_http_requests_in_flight", None] == 0, "all have ended")
    seen = metrics(daemon)
    assert seen["h5pt_http_requests_total", 'route="/v1/convert",method="POST",status="200"'] == 1
    assert seen["h5pt_http_requests_total", 'route="/v1/convert",method="POST",status="422"'] == 1
    assert seen["h5pt_http_requests_total", 'route="none",method="other",status="404"'] == 1
    assert seen["h5pt_problems_total", 'code="NOT_FOUND"'] == 2
    assert seen["h5pt_jobs_accepted_total", None] == 2
    assert seen["h5pt_jobs_finished_total", 'state="succeeded",code=""'] == 1
    failed = {key[1]: value for key, value in seen.items() if key[0] == "h5pt_jobs_finished_total" and "failed" in key[1]}
    assert list(failed.values()) == [1] and "UNSUPPORTED" in list(failed)[0]
    assert seen["h5pt_worker_exits_total", 'reason="reported"'] == 2
    assert seen["h5pt_http_upload_bytes_total", None] == len(model) + len(refused_model)
    for histogram in ("job_queue_seconds", "job_run_seconds", "job_input_bytes"):
        assert seen["h5pt_%s_count" % histogram, None] == seen["h5pt_%s_bucket" % histogram, 'le="+Inf"'] == 2
    assert seen["h5pt_parity_error_count", None] == 1
    stages = {key[1] for key in seen if key[0] == "h5pt_job_stage_seconds_count"}
    assert {'stage="read"', 'stage="parity"', 'stage="write"'} <= stages
    buckets = [value for key, value in seen.items() if key[0] == "h5pt_job_run_seconds_bucket"]
    assert buckets == sorted(buckets)
    assert 1 << 20 < seen["h5pt_process_resident_memory_bytes", None] < 1 << 30
    assert seen["h5pt_build_info", 'version="0.1.0"'] == 1
    assert 0 <= time.time() - seen["h5pt_process_start_time_seconds", None] < 600


def test_the_queue_can_be_seen(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1, queue_limit=2)
    for _ in range(3):
        assert daemon.post("/v1/conversions", model).status_code == 202
        until(lambda: metrics(daemon)['h5pt_workers', 'state="busy"'] == 1, "a worker runs")
    seen = metrics(daemon)
    assert (seen["h5pt_queue_depth", None], seen["h5pt_queue_capacity", None]) == (2, 2)
    assert seen['h5pt_workers', 'state="idle"'] == 0 and seen['h5pt_ready', 'check="queue"'] == 0
    until(lambda: metrics(daemon)["h5pt_queue_oldest_seconds", None] > 0, "time passes")
    status, checks = readiness(daemon)
    assert status == 503 and not checks["queue"]["ok"] and "waiting" in checks["queue"]["detail"]
    assert [name for name, check in checks.items() if not check["ok"]] == ["queue"]
    gate.open()
    until(lambda: readiness(daemon)[0] == 200, "the queue is empty again")


def test_a_worker_that_stops_working_is_noticed(start_daemon, tmp_path):
    worker = tmp_path / "worker"
    broken = tmp_path / "broken"
    worker.write_text('#!/bin/sh\n[ -e %s ] && exit 9\nexec %s "$@"\n' % (broken, program("h5pt-worker")))
    worker.chmod(0o755)
    daemon = start_daemon(worker=str(worker), probe_interval="100ms")
    until(lambda: readiness(daemon)[1]["worker"]["probed_at"], "it was tried")
    assert readiness(daemon)[0] == 200
    broken.touch()
    until(lambda: not readiness(daemon)[1]["worker"]["ok"], "the broken worker is noticed")
    plain = daemon.session.get(daemon.url + "/readyz", timeout=PATIENCE)
    assert plain.status_code == 503 and plain.json()["where"] == "worker" and plain.json()["code"] == "NOT_READY"
    assert daemon.session.get(daemon.url + "/livez", timeout=PATIENCE).status_code == 200
    broken.unlink()
    until(lambda: readiness(daemon)[0] == 200, "it works again")
    daemon.stop()
    assert daemon.files("tmp") == []


def removed(directory):
    try:
        os.rmdir(directory)
    except OSError:
        pass
    return not os.path.exists(directory)


def test_a_spool_that_cannot_be_written_is_noticed(start_daemon):
    daemon = start_daemon(probe_interval="100ms")
    spool = os.path.join(daemon.data_dir, "tmp")
    until(lambda: readiness(daemon)[1]["spool"]["probed_at"], "it was tried")
    assert readiness(daemon)[0] == 200
    until(lambda: removed(spool), "the directory goes, between two probes")
    until(lambda: not readiness(daemon)[1]["spool"]["ok"], "it is noticed")
    assert readiness(daemon)[0] == 503


def test_uploads_leave_the_reserve_of_the_disk(start_daemon, model):
    daemon = start_daemon(disk_reserve="1048576GiB")
    answer = daemon.post("/v1/conversions", model)
    assert answer.status_code == 507 and answer.json()["code"] == "DISK_FULL"
    status, checks = readiness(daemon)
    assert status == 503 and "free" in checks["disk"]["detail"]
    assert daemon.files("tmp") == []


def test_uploads_that_arrive_together_claim_the_disk(start_daemon, model):
    """Each would fit, but not both: the second is refused at once, not when the disk is full."""
    free = os.statvfs("/tmp").f_bavail * os.statvfs("/tmp").f_frsize
    size = free * 2 // 3
    daemon = start_daemon(disk_reserve=0, max_upload=free)
    head = "POST /v1/conversions HTTP/1.1\r\nHost: h5pt\r\nContent-Length: %d\r\n\r\n" % size
    with socket.create_connection(daemon.address) as first:
        first.sendall(head.encode() + model)
        until(lambda: metrics(daemon)["h5pt_disk_reserved_bytes", None] == size, "the first claims its space")
        with socket.create_connection(daemon.address) as second:
            second.sendall(head.encode().replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
            assert second.recv(64).startswith(b"HTTP/1.1 507 ")
    until(lambda: metrics(daemon)["h5pt_disk_reserved_bytes", None] == 0, "the claim ends with the upload")


def test_leaving_is_said_before_it_is_done(start_daemon, model):
    daemon = start_daemon(drain_delay="1s")
    daemon.process.send_signal(signal.SIGTERM)
    until(lambda: readiness(daemon)[0] == 503, "readiness is withdrawn")
    assert not readiness(daemon)[1]["accepting"]["ok"]
    assert daemon.post("/v1/convert", model).status_code == 200, "work is accepted until others have noticed"
    assert daemon.process.wait(PATIENCE) == 0


def test_a_second_signal_ends_the_waiting(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1, drain_time="10min", drain_delay="10min")
    job_id = daemon.post("/v1/conversions", model).json()["id"]
    daemon.wait_for(job_id, "running")
    daemon.process.send_signal(signal.SIGTERM)
    until(lambda: any(line["event"] == "leaving" for line in daemon.log()), "it is leaving")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(PATIENCE) == 0
    gate.open()
    daemon.options["drain_delay"] = 0
    daemon.start()
    assert daemon.wait_for(job_id, "succeeded")["attempts"] == 1


def test_the_daemon_itself_holds_no_reader_of_hostile_files(daemon):
    with open("/proc/%d/maps" % daemon.process.pid) as file:
        loaded = file.read()
    assert "libmicrohttpd" in loaded
    assert [name for name in ("libhdf5", "openblas", "libcblas") if name in loaded] == []


def check(*arguments):
    return subprocess.run([program("h5ptd"), "--check", *arguments], env={}, capture_output=True, text=True, timeout=PATIENCE)


def test_check_says_whether_the_service_would_start(start_daemon, tmp_path):
    fresh = ["--listen", "127.0.0.1:0", "--admin-listen", "off", "--data-dir", str(tmp_path / "fresh")]
    good = check(*fresh)
    assert good.returncode == 0 and "FAILED" not in good.stdout and good.stdout.count("ok ") == 5
    bad = check(*fresh, "--disk-reserve", "1048576GiB")
    assert bad.returncode == 6 and "FAILED data directory" in bad.stdout
    bad = check(*fresh, "--worker", "/nowhere")
    assert bad.returncode != 0 and "FAILED worker" in bad.stdout
    bad = check(*fresh, "--listen", "0.0.0.0:0")
    assert bad.returncode == 2 and "FAILED access" in bad.stdout and "--allow-unauthenticated" in bad.stdout
    daemon = start_daemon()
    taken = check("--listen", daemon.url.removeprefix("http://"), "--data-dir", str(tmp_path / "other"))
    assert taken.returncode != 0 and "FAILED listen on" in taken.stdout
    running = check("--listen", daemon.url.removeprefix("http://"), "--data-dir", daemon.data_dir)
    assert running.returncode == 0 and "a running daemon uses" in running.stdout
    assert daemon.get("/readyz").status_code == 200


def test_the_service_manager_hears_of_it(tmp_path):
    path = str(tmp_path / "notify")
    heard = []
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(path)
    manager.settimeout(PATIENCE)
    arguments = [program("h5ptd"), "--listen", "127.0.0.1:0", "--admin-listen", "off", "--data-dir", str(tmp_path / "data")]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(arguments, env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}, stderr=log)
    try:
        while heard.count("WATCHDOG=1") < 3:
            heard.append(manager.recv(100).decode())
        assert heard[0] == "READY=1"
        process.send_signal(signal.SIGTERM)
        while heard[-1] != "STOPPING=1":
            heard.append(manager.recv(100).decode())
    finally:
        process.kill() if process.poll() is None and heard[-1:] != ["STOPPING=1"] else None
        assert process.wait(PATIENCE) == 0
        manager.close()


def test_operators_are_answered_when_the_api_is_full(start_daemon):
    daemon = start_daemon(max_connections=64)
    idle = [socket.create_connection(daemon.address) for _ in range(64)]
    try:
        until(lambda: metrics(daemon)["h5pt_http_connections", None] >= 63, "the API has all its connections")
        for path in "/livez", "/readyz?verbose", "/metrics":
            assert requests.get(daemon.admin + path, timeout=1).status_code == 200
    finally:
        for connection in idle:
            connection.close()
