# SPDX-License-Identifier: Apache-2.0
"""/v1/conversions: jobs from their creation to their end."""
import hashlib
import os
import sqlite3

from conftest import until


def create(daemon, model, query=""):
    answer = daemon.post("/v1/conversions" + query, model)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == "/v1/conversions/" + answer.json()["id"] and answer.headers["Retry-After"]
    return answer.json()["id"]


def test_a_job_from_creation_to_removal(start_daemon, model):
    daemon = start_daemon()
    answer = daemon.post("/v1/conversions", None, files={"model": ("a.h5", model)})
    assert answer.status_code == 202
    job = daemon.wait_for(answer.json()["id"], "succeeded", "failed")
    assert job["state"] == "succeeded" and job["verdict"] == "converted" and job["parity"]["ok"] is True and job["error"] is None
    assert job["created_at"] <= job["started_at"] <= job["finished_at"] < job["expires_at"]
    assert [artifact["name"] for artifact in job["artifacts"]] == ["model.pt", "model.py", "report.json"]
    for artifact in job["artifacts"]:
        answer = daemon.get(artifact["href"])
        assert hashlib.sha256(answer.content).hexdigest() == artifact["sha256"]
        assert answer.headers["ETag"] == '"%s"' % artifact["sha256"] and int(answer.headers["Content-Length"]) == artifact["bytes"]
        head = daemon.request("HEAD", artifact["href"])
        assert head.status_code == 200 and not head.content
        assert all(head.headers[name] == answer.headers[name] for name in ("ETag", "Content-Length", "Content-Type"))
    assert daemon.get("/v1/conversions/%s/artifacts/model.exe" % job["id"]).status_code == 404
    assert daemon.get("/v1/conversions/%s/artifacts/.." % job["id"]).status_code == 404
    assert daemon.get("/v1/conversions/%s/artifacts/%%2e%%2e%%2f%%2e%%2e%%2flock" % job["id"]).status_code == 404
    until(lambda: daemon.files("inputs") == [] and daemon.files("tmp") == [], "nothing is left over")

    assert daemon.request("DELETE", "/v1/conversions/" + job["id"]).status_code == 204
    assert daemon.get("/v1/conversions/" + job["id"]).status_code == 404
    assert daemon.request("DELETE", "/v1/conversions/" + job["id"]).status_code == 404
    assert daemon.files("outputs") == []


def test_lists_have_pages_and_filters(start_daemon, model, refused_model):
    daemon = start_daemon()
    ids = [create(daemon, model) for _ in range(4)]
    failed = create(daemon, refused_model)
    for job_id in [*ids, failed]:
        daemon.wait_for(job_id, "succeeded", "failed")
    seen, cursor, pages = [], "", 0
    while cursor is not None:
        page = daemon.get("/v1/conversions?limit=2" + (cursor and "&cursor=" + cursor)).json()
        seen += [job["id"] for job in page["conversions"]]
        cursor = page["next"]
        pages += 1
    assert seen == sorted([*ids, failed], reverse=True) and pages == 3
    of_state = lambda state: [job["id"] for job in daemon.get("/v1/conversions?state=" + state).json()["conversions"]]
    assert of_state("failed") == [failed] and of_state("queued,running") == [] and len(of_state("succeeded,failed")) == 5


def test_cancelling(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, workers=1)
    running = create(daemon, model)
    until(daemon.workers, "the worker runs")
    queued = create(daemon, model)
    last = create(daemon, model)
    assert daemon.wait_for(running, "running") and daemon.job(queued)["state"] == "queued"
    assert [daemon.job(job_id)["queue_place"] for job_id in (running, queued, last)] == [None, 1, 2]
    assert [job["queue_place"] for job in daemon.get("/v1/conversions").json()["conversions"]] == [2, 1, None]
    assert daemon.get("/v1/conversions/%s/artifacts/model.pt" % running).json()["code"] == "CONFLICT"
    (worker,) = daemon.workers()
    for job_id in queued, running:
        assert daemon.request("DELETE", "/v1/conversions/" + job_id).status_code == 204
        assert daemon.job(job_id)["state"] == "canceled"
        assert daemon.get("/v1/conversions/%s/artifacts/model.pt" % job_id).json()["code"] == "CANCELED"
    until(lambda: not os.path.exists("/proc/%d" % worker), "the worker of the canceled job is ended")
    gate.open()
    assert daemon.wait_for(last, "succeeded", "failed")["state"] == "succeeded"
    assert daemon.job(running)["state"] == "canceled"
    until(lambda: daemon.files("outputs") == [last] and daemon.files("inputs") == [], "nothing else is kept")


def test_a_waiting_client_hears_of_the_cancelling(start_daemon, gate, model):
    from concurrent.futures import ThreadPoolExecutor

    daemon = start_daemon(worker=gate.worker)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(daemon.post, "/v1/convert", model)
        (job,) = until(lambda: daemon.get("/v1/conversions").json()["conversions"], "the conversion is there")
        assert daemon.request("DELETE", "/v1/conversions/" + job["id"]).status_code == 204
        answer = waiting.result()
    assert answer.status_code == 409 and answer.json()["code"] == "CANCELED"


def test_finished_conversions_expire(start_daemon, model):
    daemon = start_daemon(retention="1s")
    job_id = create(daemon, model)
    daemon.wait_for(job_id, "succeeded")
    daemon.wait_for(job_id, "expired")
    answer = daemon.get("/v1/conversions/%s/artifacts/model.pt" % job_id)
    assert answer.status_code == 410 and answer.json()["code"] == "EXPIRED"
    until(lambda: daemon.files("outputs") == [], "the artifacts are removed")
    until(lambda: daemon.get("/v1/conversions/" + job_id).status_code == 404, "the record is removed")


def test_one_sweep_takes_all_that_is_due(start_daemon, model):
    """However many there are: the next one comes a minute later."""
    daemon = start_daemon(reuse="on", retention="24h")
    for _ in range(600):
        assert daemon.post("/v1/convert", model).status_code == 200
    kept = daemon.post("/v1/convert", model).headers["H5PT-Conversion"]
    daemon.stop()
    with sqlite3.connect(os.path.join(daemon.data_dir, "jobs.sqlite")) as store:
        store.execute("UPDATE jobs SET finished = finished - 90000000 WHERE id <> ?", [kept])
    store.close()
    daemon.start()
    until(lambda: daemon.files("outputs") == [kept], "all that is due has expired")
    assert daemon.job(kept)["state"] == "succeeded"
