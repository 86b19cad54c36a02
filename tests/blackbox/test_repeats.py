# SPDX-License-Identifier: Apache-2.0
"""The same request again: idempotency keys, and results that are used again."""
import os
import random
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Key, case, until
from test_webhooks import receiver, start_calling  # noqa: F401

KEY = {"Idempotency-Key": "key 1"}


def create(daemon, model, path="/v1/conversions", **headers):
    answer = daemon.post(path, model, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert answer.status_code in (201, 202), answer.text
    return answer


def ids(daemon):
    return {job["id"] for job in daemon.get("/v1/conversions?limit=500").json()["conversions"]}


# ---- idempotency keys ----


def test_a_key_makes_one_conversion(start_daemon, gate, model, refused_model):
    daemon = start_daemon(worker=gate.worker)
    first = daemon.post("/v1/conversions", model, headers=KEY)
    assert first.status_code == 202 and "Idempotent-Replayed" not in first.headers
    replayed = daemon.post("/v1/conversions", model, headers={"Idempotency-Key": '"key 1"'})
    assert replayed.status_code == 202 and replayed.headers["Idempotent-Replayed"] == "true"
    assert replayed.json()["id"] == first.json()["id"] and replayed.headers["Location"] == first.headers["Location"]
    for path, body in ("/v1/conversions", refused_model), ("/v1/conversions?parity=quick", model), ("/v1/convert", refused_model):
        answer = daemon.post(path, body, headers=KEY)
        assert (answer.status_code, answer.json()["code"]) == (422, "IDEMPOTENCY_MISMATCH")
    other = daemon.post("/v1/conversions", model, headers={"Idempotency-Key": "key 2"})
    assert ids(daemon) == {first.json()["id"], other.json()["id"]}
    gate.open()
    daemon.wait_for(first.json()["id"], "succeeded")
    done = daemon.post("/v1/conversions", model, headers=KEY)
    assert done.status_code == 201 and done.json()["state"] == "succeeded" and done.json()["id"] == first.json()["id"]
    # The other route too: it answers with the artifact.
    convert = daemon.post("/v1/convert", model, headers=KEY)
    assert convert.status_code == 200 and convert.headers["H5PT-Conversion"] == first.json()["id"]
    assert convert.headers["Idempotent-Replayed"] == "true"
    until(lambda: daemon.files("tmp") == [] and daemon.files("inputs") == [], "nothing is left over")


def test_all_parts_belong_to_the_request(start_daemon, model):
    daemon = start_daemon()
    reference = lambda data: daemon.post("/v1/conversions", None, files={"model": model, "reference": data}, headers=KEY)
    first = reference(b"PK\x03\x04one")
    assert first.status_code == 202
    assert reference(b"PK\x03\x04one").json()["id"] == first.json()["id"]
    assert reference(b"PK\x03\x04two").json()["code"] == "IDEMPOTENCY_MISMATCH"
    assert daemon.post("/v1/conversions", model, headers=KEY).json()["code"] == "IDEMPOTENCY_MISMATCH"


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "a\tb", "ä".encode()])
def test_keys_that_are_none(daemon, model, key):
    answer = daemon.post("/v1/conversions", model, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"], answer.json()["where"]) == (400, "USAGE", "Idempotency-Key")
    assert daemon.post("/v1/conversions", model, headers={"Idempotency-Key": "x" * 255}).status_code in (201, 202)


def test_failed_canceled_and_expired_conversions_are_replayed_too(start_daemon, gate, model, refused_model):
    daemon = start_daemon(worker=gate.worker, workers=1, retention="2s")
    canceled = create(daemon, model, Idempotency_Key="c").json()["id"]
    assert daemon.request("DELETE", "/v1/conversions/" + canceled).status_code == 204
    answer = daemon.post("/v1/convert", model, headers={"Idempotency-Key": "c"})
    assert (answer.status_code, answer.json()["code"]) == (409, "CANCELED")
    gate.open()
    failed = daemon.post("/v1/convert", refused_model, headers={"Idempotency-Key": "f"})
    assert failed.status_code == 422 and failed.headers["H5PT-Verdict"] == "refused"
    again = daemon.post("/v1/convert", refused_model, headers={"Idempotency-Key": "f"})
    assert again.status_code == 422 and again.headers["H5PT-Conversion"] == failed.headers["H5PT-Conversion"]
    done = create(daemon, model, Prefer="wait=60", Idempotency_Key="s").json()
    for job_id in failed.headers["H5PT-Conversion"], done["id"]:
        daemon.wait_for(job_id, "expired")
    gone = daemon.post("/v1/convert", model, headers={"Idempotency-Key": "s"})
    assert (gone.status_code, gone.json()["code"]) == (410, "EXPIRED")
    gone = daemon.post("/v1/convert", refused_model, headers={"Idempotency-Key": "f"})  # why it failed is known still
    assert gone.status_code == 422 and gone.json()["refusals"] and "report" not in gone.json()


def test_a_key_lives_as_long_as_its_conversion(start_daemon, model):
    daemon = start_daemon()
    first = create(daemon, model, Prefer="wait=60", **{"Idempotency_Key": "k"}).json()["id"]
    assert daemon.request("DELETE", "/v1/conversions/" + first).status_code == 204
    second = create(daemon, model, Idempotency_Key="k")
    assert second.json()["id"] != first and "Idempotent-Replayed" not in second.headers


def test_keys_survive_restart_and_kill(start_daemon, model, refused_model):
    daemon = start_daemon()
    first = create(daemon, model, Idempotency_Key="k").json()["id"]
    for end in daemon.kill, daemon.stop:
        end()
        daemon.start()
        again = create(daemon, model, Idempotency_Key="k")
        assert again.json()["id"] == first and again.headers["Idempotent-Replayed"] == "true"
        assert daemon.post("/v1/conversions", refused_model, headers={"Idempotency-Key": "k"}).status_code == 422
    assert daemon.wait_for(first, "succeeded")["attempts"] == 1 and ids(daemon) == {first}


def test_the_same_key_at_once_makes_one_conversion(start_daemon, model):
    daemon = start_daemon()
    for round_ in range(5):
        send = lambda _: create(daemon, model, Prefer="wait=60", Idempotency_Key="round %d" % round_)
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(send, range(16)))
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert {answer.json()["state"] for answer in answers} == {"succeeded"}
        assert [answer.headers.get("Idempotent-Replayed") for answer in answers].count(None) == 1
    assert len(ids(daemon)) == 5
    until(lambda: daemon.files("tmp") == [] and daemon.files("inputs") == [], "nothing is left over")
    assert set(daemon.files("outputs")) == ids(daemon)


def test_a_client_that_sends_again_until_it_hears_gets_one_conversion_despite_kills(start_daemon, model):
    """kill -9 at any moment of a request: whoever repeats it with its key never makes a second conversion."""
    rng = random.Random(23)
    daemon = start_daemon()
    heard = {}

    def send(key):
        while key not in heard:
            try:
                heard[key] = create(daemon, model, Idempotency_Key=key).json()["id"]
            except (OSError, AssertionError):
                time.sleep(0.05)

    keys = ["key %d" % i for i in range(60)]
    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(send, key) for key in keys]
        while not all(task.done() for task in tasks):
            time.sleep(rng.uniform(0.05, 0.2))
            daemon.kill()
            daemon.start()
        assert all(task.exception() is None for task in tasks)
    until(lambda: daemon.unfinished() == 0, "all conversions have finished")
    assert ids(daemon) == set(heard.values()) and len(set(heard.values())) == len(keys)
    until(lambda: daemon.files("tmp") == [] and daemon.files("inputs") == [], "nothing is left over")


# ---- results that are used again ----


def test_the_result_is_used_again(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, reuse="on")
    gate.open()
    first = daemon.post("/v1/convert", model)
    original = daemon.job(first.headers["H5PT-Conversion"])
    assert first.status_code == 200 and original["reused_from"] is None and "H5PT-Reused-From" not in first.headers
    gate.close()  # no worker gets through any more
    again = daemon.post("/v1/conversions", None, files={"model": ("other.h5", model)})
    job = again.json()
    assert again.status_code == 201 and job["state"] == "succeeded" and job["id"] != original["id"]
    assert job["reused_from"] == original["id"] and job["attempts"] == 0 and job["model"]["filename"] == "other.h5"
    assert (job["verdict"], job["parity"]) == (original["verdict"], original["parity"])
    same = daemon.post("/v1/convert", model)
    assert same.status_code == 200 and same.content == first.content and same.headers["H5PT-Reused-From"] == original["id"]
    assert same.headers["H5PT-Parity-Max-Abs"] == first.headers["H5PT-Parity-Max-Abs"]
    # One file on the disk, and each conversion can be removed by itself.
    inode = lambda job_id: os.stat(os.path.join(daemon.data_dir, "outputs", job_id, "model.pt")).st_ino
    assert inode(original["id"]) == inode(job["id"])
    assert daemon.request("DELETE", "/v1/conversions/" + original["id"]).status_code == 204
    for entry in job["artifacts"]:
        assert job["id"] in entry["href"] and len(daemon.get(entry["href"]).content) == entry["bytes"]
    third = daemon.post("/v1/conversions", model).json()
    assert third["state"] == "succeeded" and third["reused_from"] == original["id"]  # who computed it
    until(lambda: daemon.files("tmp") == [] and daemon.files("inputs") == [], "nothing is left over")


def test_what_is_not_the_same_runs(start_daemon, model):
    daemon = start_daemon(reuse="on")
    first = daemon.post("/v1/convert", model).headers["H5PT-Conversion"]
    reused = lambda answer: answer.headers.get("H5PT-Reused-From")
    assert reused(daemon.post("/v1/convert", model)) == first
    for query in "?parity=off", "?formats=pt", "?layout=keras":
        answer = daemon.post("/v1/convert" + query, model)
        assert answer.status_code == 200 and reused(answer) is None
    assert reused(daemon.post("/v1/convert", case("keras3/compose/classic_cnn_00"))) is None
    assert reused(daemon.post("/v1/convert", None, files={"model": model, "reference": b"PK\x03\x04"})) is None
    for wish in "no-cache", "max-age=0, no-cache", "No-Cache":
        fresh = daemon.post("/v1/convert", model, headers={"Cache-Control": wish})
        assert fresh.status_code == 200 and reused(fresh) is None
    assert reused(daemon.post("/v1/convert", model)) == fresh.headers["H5PT-Conversion"]  # the newest


def test_failures_are_not_used_again(start_daemon, refused_model):
    daemon = start_daemon(reuse="on")
    for _ in range(2):
        answer = daemon.post("/v1/convert", refused_model)
        assert answer.status_code == 422 and daemon.job(answer.headers["H5PT-Conversion"])["reused_from"] is None


def test_reuse_survives_restart_and_kill_but_no_other_worker(start_daemon, gate, model):
    daemon = start_daemon(worker=gate.worker, reuse="on")
    gate.open()
    first = daemon.post("/v1/convert", model).headers["H5PT-Conversion"]
    for end in daemon.kill, daemon.stop:
        end()
        daemon.start()
        assert daemon.post("/v1/convert", model).headers["H5PT-Reused-From"] == first
    daemon.stop()
    with open(gate.worker, "a") as file:
        file.write("# another version\n")
    daemon.start()
    answer = daemon.post("/v1/convert", model)
    assert answer.status_code == 200 and "H5PT-Reused-From" not in answer.headers


def test_reuse_with_kills_serves_nothing_half(start_daemon, model):
    rng = random.Random(5)
    daemon = start_daemon(reuse="on")
    first = daemon.post("/v1/convert", model)
    acknowledged = []

    def send():
        try:
            while True:
                acknowledged.append(create(daemon, model).json())
        except (OSError, AssertionError):
            pass

    for _ in range(5):
        with ThreadPoolExecutor(4) as pool:
            before = len(acknowledged)
            tasks = [pool.submit(send) for _ in range(4)]
            until(lambda: len(acknowledged) > before + 5, "requests are answered")
            time.sleep(rng.uniform(0, 0.05))
            daemon.kill()
        assert all(task.done() for task in tasks)
        daemon.start()
    for job in acknowledged[:: len(acknowledged) // 50 or 1]:
        assert daemon.job(job["id"])["state"] == "succeeded"
        answer = daemon.get("/v1/conversions/%s/artifacts/model.pt" % job["id"])
        assert answer.content == first.content
    # What was made when the daemon died and nobody heard of is complete too, or was swept away.
    listed, cursor = set(), ""
    while cursor is not None:
        page = daemon.get("/v1/conversions?limit=500" + (cursor and "&cursor=" + cursor)).json()
        listed |= {job["id"] for job in page["conversions"]}
        cursor = page["next"]
    assert set(daemon.files("outputs")) == listed and {job["id"] for job in acknowledged} <= listed
    assert daemon.files("tmp") == [] and daemon.files("inputs") == []


def test_artifacts_that_are_gone_are_made_again(start_daemon, model):
    daemon = start_daemon(reuse="on")
    first = daemon.post("/v1/convert", model).headers["H5PT-Conversion"]
    os.unlink(os.path.join(daemon.data_dir, "outputs", first, "model.py"))
    answer = daemon.post("/v1/convert", model)
    assert answer.status_code == 200 and "H5PT-Reused-From" not in answer.headers
    assert len(daemon.job(answer.headers["H5PT-Conversion"])["artifacts"]) == 3


def test_reuse_can_be_switched_off(start_daemon, model):
    daemon = start_daemon(reuse="off")
    for _ in range(2):
        assert "H5PT-Reused-From" not in daemon.post("/v1/convert", model).headers


def test_a_store_of_the_first_version_is_taken_over(start_daemon, model):
    daemon = start_daemon()
    job = create(daemon, model, Prefer="wait=60").json()
    daemon.stop()
    # As the first version made it: one table without the newer columns.
    with sqlite3.connect(os.path.join(daemon.data_dir, "jobs.sqlite")) as store:
        store.executescript(
            "CREATE TABLE old AS SELECT id, revision, state, finished, document FROM jobs; DROP TABLE jobs;"
            "CREATE TABLE jobs (id TEXT PRIMARY KEY, revision INTEGER NOT NULL, state INTEGER NOT NULL, finished INTEGER NOT NULL,"
            " document TEXT NOT NULL) WITHOUT ROWID; INSERT INTO jobs SELECT * FROM old; DROP TABLE old; PRAGMA user_version = 0;"
        )
    store.close()
    daemon.start()
    assert daemon.job(job["id"])["artifacts"] == job["artifacts"]
    assert create(daemon, model, Idempotency_Key="k").json()["id"] == create(daemon, model, Idempotency_Key="k").json()["id"]


# ---- owners, quotas, webhooks ----


def test_events_belong_to_the_owner_of_the_conversion(start_daemon, tmp_path, model):
    ann, bob = Key("ann"), Key("bob")
    (tmp_path / "keys").write_text(ann.line + "\n" + bob.line + "\n")
    daemon = start_daemon(keys_file=tmp_path / "keys")
    job_id = daemon.post("/v1/conversions", model, headers={**ann.header, "Prefer": "wait=60"}).json()["id"]
    path = "/v1/conversions/%s/events" % job_id
    assert daemon.get(path).status_code == 401 and daemon.get(path, headers=bob.header).status_code == 404
    assert b"event: state" in daemon.get(path, headers=ann.header).content


def test_what_was_made_already_needs_no_place_in_a_quota(start_daemon, tmp_path, gate, model):
    ann = Key("ann:convert,read:jobs=1")
    (tmp_path / "keys").write_text(ann.line + "\n")
    daemon = start_daemon(reuse="on", worker=gate.worker, keys_file=tmp_path / "keys")
    send = lambda **headers: daemon.post("/v1/conversions", model, headers={**ann.header, **headers})
    gate.open()
    first = send(Prefer="wait=60", **KEY).json()
    for _ in range(3):
        assert send().json()["reused_from"] == first["id"] and send(**KEY).json()["id"] == first["id"]
    gate.close()
    running = send(**{"Cache-Control": "no-cache"})
    assert running.status_code == 202
    full = send(**{"Cache-Control": "no-cache"})
    assert (full.status_code, full.json()["code"]) == (429, "QUOTA_EXCEEDED") and 1 <= int(full.headers["Retry-After"]) <= 300
    gate.open()


def test_a_key_with_another_webhook_is_another_request(start_calling, receiver, model):
    daemon = start_calling(reuse="on")
    create(daemon, model, Prefer="wait=60")
    send = lambda url: daemon.request("POST", "/v1/conversions", params={"webhook": url}, data=model, headers=KEY)
    answer = send(receiver.url)
    assert answer.status_code == 201 and send(receiver.url).json()["id"] == answer.json()["id"]
    assert send(receiver.url + "x").json()["code"] == "IDEMPOTENCY_MISMATCH"  # it would call somebody else
    until(lambda: daemon.job(answer.json()["id"])["webhook"]["state"] == "delivered", "it has heard")
    assert len(receiver.calls) == 1
