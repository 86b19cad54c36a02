# SPDX-License-Identifier: Apache-2.0
"""What was acknowledged is done, whatever dies: the daemon, the worker, at any moment."""
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from conftest import until

JOBS, KILLS = 200, 10


def create(daemon, model):
    answer = daemon.post("/v1/conversions", model)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def check_all_succeeded(daemon, ids):
    jobs = [daemon.wait_for(job_id, "succeeded", "failed", "canceled") for job_id in ids]
    assert [(job["state"], job["attempts"]) for job in jobs] == [("succeeded", 1)] * len(ids)
    for job in jobs[:: len(jobs) // 10 or 1]:
        for artifact in job["artifacts"]:
            assert len(daemon.get(artifact["href"]).content) == artifact["bytes"]
    until(lambda: daemon.files("inputs") == [] and daemon.files("tmp") == [], "nothing is left over")
    assert daemon.files("outputs") == sorted(ids)


def test_killed_ten_times_in_the_middle_of_200_jobs(start_daemon, model):
    rng = random.Random(7)
    daemon = start_daemon()
    ids = [create(daemon, model) for _ in range(JOBS)]
    left = daemon.unfinished()
    assert left > 0
    for kill in range(KILLS, 0, -1):
        goal = left * (kill - 1) // kill  # so that the kills are spread over what is left
        until(lambda: daemon.unfinished() <= max(goal, 1), "jobs go on")
        time.sleep(rng.uniform(0, 0.02))
        daemon.kill()
        daemon.start()
        left = daemon.unfinished()
    check_all_succeeded(daemon, ids)
    assert any(line["event"] == "recovered" for line in daemon.log())


def test_killed_while_uploads_arrive(start_daemon, model):
    """An upload without an answer may be lost; one that was acknowledged may not."""
    rng = random.Random(11)
    daemon = start_daemon()
    acknowledged = []

    def upload():
        try:
            for _ in range(1000):
                acknowledged.append(create(daemon, model))
        except (OSError, AssertionError):
            pass

    for _ in range(3):
        before = len(acknowledged)
        with ThreadPoolExecutor() as pool:
            uploads = [pool.submit(upload) for _ in range(4)]
            until(lambda: len(acknowledged) > before + 5, "uploads are acknowledged")
            time.sleep(rng.uniform(0, 0.05))
            daemon.kill()
        assert all(task.done() for task in uploads)
        daemon.start()
    jobs = [daemon.wait_for(job_id, "succeeded", "failed") for job_id in acknowledged]
    assert {job["state"] for job in jobs} == {"succeeded"}
    until(lambda: daemon.unfinished() == 0, "all jobs have finished")
    until(lambda: daemon.files("inputs") == [] and daemon.files("tmp") == [], "nothing is left over")


def test_a_worker_dies_with_its_daemon(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker)
    job_id = create(daemon, model)
    (worker,) = until(daemon.workers, "the worker runs")
    gate.open()
    daemon.kill()
    until(lambda: not os.path.exists("/proc/%d" % worker), "the worker ends")
    daemon.start()
    assert daemon.wait_for(job_id, "succeeded", "failed")["attempts"] == 1


def test_a_worker_that_is_killed_is_started_again(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker)
    job_id = create(daemon, model)
    dead = set()
    for _ in range(2):
        (worker,) = until(lambda: set(daemon.workers()) - dead, "a worker runs")
        os.kill(worker, signal.SIGKILL)
        dead.add(worker)
    until(lambda: set(daemon.workers()) - dead, "the third worker runs")
    gate.open()
    job = daemon.wait_for(job_id, "succeeded", "failed")
    assert (job["state"], job["attempts"]) == ("succeeded", 3)


def test_three_crashes_are_enough(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker)
    job_id = create(daemon, model)
    dead = set()
    for attempt in range(3):
        (worker,) = until(lambda: set(daemon.workers()) - dead, "a worker runs")
        if attempt == 1:  # that the daemon dies in between does not make the count start again
            until(lambda: daemon.job(job_id)["attempts"] == 1, "the crash is counted")
            daemon.kill()
            daemon.start()
            dead.add(worker)
            (worker,) = until(lambda: set(daemon.workers()) - dead, "a worker runs")
        os.kill(worker, signal.SIGSEGV)
        dead.add(worker)
    job = daemon.wait_for(job_id, "succeeded", "failed")
    assert (job["state"], job["attempts"], job["error"]["code"]) == ("failed", 3, "WORKER_CRASHED")
    assert daemon.files("inputs") == [] and daemon.files("tmp") == []


def test_a_worker_that_takes_too_long_is_ended(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, wall_time="200ms")
    answer = daemon.post("/v1/convert", model)
    assert (answer.status_code, answer.json()["code"]) == (422, "WORKER_TIMEOUT")
    answer = daemon.post("/v1/inspect", model)
    assert (answer.status_code, answer.json()["code"]) == (422, "WORKER_TIMEOUT")
    assert daemon.job(daemon.get("/v1/conversions").json()["conversions"][0]["id"])["attempts"] == 1
    until(lambda: not daemon.workers(), "the workers are ended")


def test_sigterm_lets_running_jobs_finish_and_loses_none(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(daemon.post, "/v1/convert", model)
        until(daemon.workers, "the worker runs")
        queued = pool.submit(daemon.post, "/v1/convert", model)
        until(lambda: daemon.unfinished() == 2, "a job is queued")
        job_id = create(daemon, model)
        daemon.process.send_signal(signal.SIGTERM)
        answer = queued.result()  # it cannot be done any more, but it is safe
        assert answer.status_code == 202 and answer.json()["state"] == "queued"
        refused = daemon.post("/v1/conversions", model)
        assert (refused.status_code, refused.json()["code"]) == (503, "DRAINING") and refused.headers["Retry-After"]
        assert daemon.get("/readyz").status_code == 503 and daemon.get("/livez").status_code == 200
        gate.open()
        assert running.result().status_code == 200
    assert daemon.process.wait(60) == 0
    daemon.start()
    for waiting in answer.json()["id"], job_id:
        assert daemon.wait_for(waiting, "succeeded", "failed")["state"] == "succeeded"


def test_a_second_signal_ends_it_now(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1, drain_time="1h")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(daemon.post, "/v1/convert", model)
        inspection = pool.submit(daemon.post, "/v1/inspect", model)
        until(lambda: daemon.workers() and daemon.unfinished() == 1, "the worker runs, and the conversion is accepted")
        daemon.process.send_signal(signal.SIGTERM)
        until(lambda: daemon.get("/readyz").status_code == 503, "it drains")
        daemon.process.send_signal(signal.SIGTERM)
        answer = waiting.result()
        assert answer.status_code == 202
        assert inspection.result().json()["code"] == "DRAINING"
    assert daemon.process.wait(60) == 0
    gate.open()
    daemon.start()
    job = daemon.wait_for(answer.json()["id"], "succeeded", "failed")
    assert (job["state"], job["attempts"]) == ("succeeded", 1)
