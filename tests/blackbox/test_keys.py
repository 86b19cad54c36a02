# SPDX-License-Identifier: Apache-2.0
"""Keys: who may do what, whose conversions are whose, and how much of it."""
import hashlib
import re
import signal
import subprocess
import time

import contract
import pytest
import requests
from conftest import PATIENCE, Key, program, until


def expect(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return answer


@pytest.fixture
def start_with_keys(start_daemon, tmp_path):
    """start_with_keys(key, …, option=value): a daemon that knows these keys."""

    def start(*keys, **options):
        write_keys(tmp_path, *keys)
        return start_daemon(keys_file=tmp_path / "keys", **options)

    return start


def write_keys(folder, *keys):
    (folder / "keys").write_text("# name:scopes:sha256:options\n\n" + "".join(key.line + "\n" for key in keys))


def reload(daemon, event="reloaded"):
    """SIGHUP, and what the daemon says of it."""
    count = lambda: [line for line in daemon.log() if line["event"] in ("reloaded", "not_reloaded")]
    before = len(count())
    daemon.process.send_signal(signal.SIGHUP)
    line = until(lambda: count()[before:], "it is read again")[0]
    assert line["event"] == event, line
    return line


def create(daemon, model, key):
    answer = daemon.post("/v1/conversions", model, headers=key.header)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


SCOPED = {"/v1/convert": "POST", "/v1/conversions": "GET", "/v1/conversions/" + "0" * 26: "DELETE", "/v1/inspect": "POST"}


def test_nothing_without_a_key_but_what_tells_of_the_service(start_with_keys, model):
    alice = Key("alice")
    daemon = start_with_keys(alice)
    for path in "/livez", "/readyz", "/openapi.yaml", "/v1/capabilities":
        assert daemon.get(path).status_code == 200
    for operation, description in contract.operations().items():
        if not description.get("security"):
            continue
        path = operation[1].format(id="0" * 26, name="model.pt")
        answer = daemon.request(operation[0].upper(), path)
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == 'Bearer realm="h5pt"', operation
    expect(daemon.post("/v1/conversions", model), 401, "UNAUTHORIZED")
    assert daemon.files("inputs") == [] and daemon.files("tmp") == []
    # Whether there is such a path or method is no secret.
    expect(daemon.get("/nothing"), 404, "NOT_FOUND")
    expect(daemon.request("DELETE", "/v1/convert"), 405, "METHOD_NOT_ALLOWED")

    almost = alice[:-1] + ("0" if alice[-1] != "0" else "1")
    for header in "Bearer " + almost, "Bearer " + alice + "0", "Bearer " + alice[:-1], "Bearer", "Bearer ", "Basic " + alice, alice, "Bearer x":
        answer = expect(daemon.get("/v1/conversions", headers={"Authorization": header}), 401, "UNAUTHORIZED")
        assert ("invalid_token" in answer.headers["WWW-Authenticate"]) == header.startswith("Bearer ")
        assert alice not in answer.text
    for header in "Bearer " + alice, "bearer   " + alice:
        assert daemon.get("/v1/conversions", headers={"Authorization": header}).json() == {"conversions": [], "next": None}
    assert daemon.post("/v1/convert", model, headers=alice.header).status_code == 200
    with open(daemon.log_path) as log:
        text = log.read()
    assert alice not in text and '"key": "alice"' in text.replace('":"', '": "')


def test_scopes(start_with_keys, model):
    reader, sender, admin = Key("ci:read"), Key("ci:convert"), Key("boss:admin")
    daemon = start_with_keys(reader, sender, admin)
    for method, path in ("POST", "/v1/convert"), ("POST", "/v1/conversions"), ("POST", "/v1/inspect"), ("DELETE", "/v1/conversions/" + "0" * 26):
        answer = expect(daemon.request(method, path, data=model, headers=reader.header), 403, "FORBIDDEN")
        assert answer.json()["where"] == "convert" and 'scope="convert"' in answer.headers["WWW-Authenticate"]
    job_id = create(daemon, model, sender)
    for key in reader, sender, admin:  # the first has the same owner, the last one may see everything
        job = until(lambda: (lambda job: job if job["state"] == "succeeded" else None)(daemon.get("/v1/conversions/" + job_id, headers=key.header).json()), "it succeeds")
        assert job["owner"] == "ci"
        assert daemon.get(job["artifacts"][0]["href"], headers=key.header).status_code == 200
        assert daemon.get(job["artifacts"][0]["href"]).status_code == 401


def test_conversions_of_others_are_not_there(start_with_keys, model):
    alice, bob, admin = Key("alice"), Key("bob"), Key("boss:admin")
    daemon = start_with_keys(alice, bob, admin)
    of = {key: [create(daemon, model, key) for _ in range(3)] for key in (alice, bob)}
    listed = lambda key, query="": daemon.get("/v1/conversions" + query, headers=key.header).json()
    until(lambda: not listed(admin, "?state=queued,running")["conversions"], "all have finished")
    for key, other in (alice, bob), (bob, alice):
        assert [job["id"] for job in listed(key)["conversions"]] == sorted(of[key], reverse=True)
        page = listed(key, "?limit=2")
        rest = listed(key, "?limit=2&cursor=" + page["next"])
        assert [job["id"] for job in page["conversions"] + rest["conversions"]] == sorted(of[key], reverse=True) and rest["next"] is None
        path = "/v1/conversions/" + of[other][0]
        for method, suffix in ("GET", ""), ("GET", "/artifacts/model.pt"), ("HEAD", "/artifacts/model.pt"), ("DELETE", ""):
            answer = daemon.request(method, path + suffix, headers=key.header)
            assert answer.status_code == 404
        # In no way different from what was never there.
        nowhere = "/v1/conversions/" + "0" * 26
        seen, unseen = (daemon.get(p, headers=key.header).json() for p in (path, nowhere))
        assert {**seen, "request_id": None} == {
            name: value.replace("0" * 26, of[other][0]) if isinstance(value, str) else value for name, value in {**unseen, "request_id": None}.items()
        }
    assert len(listed(admin)["conversions"]) == 6
    assert daemon.request("DELETE", "/v1/conversions/" + of[alice][0], headers=admin.header).status_code == 204
    assert len(listed(alice)["conversions"]) == 2


def test_keys_are_read_again(start_with_keys, tmp_path, model):
    old, new, other = Key("alice"), Key("alice"), Key("bob")
    daemon = start_with_keys(old)
    job_id = create(daemon, model, old)
    status = lambda key: daemon.get("/v1/conversions/" + job_id, headers=key.header).status_code
    assert (status(old), status(new), status(other)) == (200, 401, 401)
    write_keys(tmp_path, old, new, other)
    assert reload(daemon)["keys"] == 3
    assert (status(old), status(new), status(other)) == (200, 200, 404)
    write_keys(tmp_path, new)
    reload(daemon)
    assert (status(old), status(new), status(other)) == (401, 200, 401)
    for bad in "alice:convert:12\n", "", new.line + "\n" + new.line + "\n":
        (tmp_path / "keys").write_text(bad)
        reload(daemon, "not_reloaded")
        assert (status(old), status(new)) == (401, 200)
    (tmp_path / "keys").unlink()
    reload(daemon, "not_reloaded")
    assert status(new) == 200


def test_the_log_says_who_it_was(start_with_keys):
    alice = Key("alice.of-ci_2")
    daemon = start_with_keys(alice)
    daemon.get("/v1/conversions", headers={**alice.header, "X-Request-ID": "known"})
    daemon.get("/v1/conversions", headers={"X-Request-ID": "unknown"})
    lines = until(lambda: (lambda found: found if len(found) == 2 else None)({line["request_id"]: line for line in daemon.log() if line["event"] == "request"}), "both are logged")
    assert lines["known"]["key"] == "alice.of-ci_2" and "key" not in lines["unknown"]


def test_conversions_at_once(start_with_keys, gate, model):
    alice, second, bob, free = Key("alice:convert:jobs=2"), Key("alice:convert:jobs=3"), Key("bob"), Key("free:convert:jobs=0")
    daemon = start_with_keys(alice, second, bob, free, worker=gate.worker, workers=1, quota_jobs=1)
    for path in "/v1/conversions", "/v1/convert?wait=0":
        assert daemon.post(path, model, headers=alice.header).status_code == 202
    for path in "/v1/conversions", "/v1/convert", "/v1/inspect":
        answer = expect(daemon.post(path, model, headers=alice.header), 429, "QUOTA_EXCEEDED")
        assert answer.json()["where"] == "jobs" and int(answer.headers["Retry-After"]) >= 1
    create(daemon, model, bob)
    expect(daemon.post("/v1/conversions", model, headers=bob.header), 429, "QUOTA_EXCEEDED")
    create(daemon, model, second)  # another key of the same owner counts what the owner has
    expect(daemon.post("/v1/conversions", model, headers=second.header), 429, "QUOTA_EXCEEDED")
    for _ in range(5):
        create(daemon, model, free)
    # What is canceled counts no more.
    queued = daemon.get("/v1/conversions?state=queued", headers=bob.header).json()["conversions"][0]["id"]
    assert daemon.request("DELETE", "/v1/conversions/" + queued, headers=bob.header).status_code == 204
    last = create(daemon, model, bob)
    # A restart does not make it forget.
    daemon.kill()
    daemon.start()
    expect(daemon.post("/v1/conversions", model, headers=bob.header), 429, "QUOTA_EXCEEDED")
    gate.open()
    until(lambda: daemon.get("/v1/conversions/" + last, headers=bob.header).json()["state"] == "succeeded", "it is done")
    assert daemon.post("/v1/convert", model, headers=bob.header).status_code == 200
    assert daemon.post("/v1/inspect", model, headers=bob.header).status_code == 200
    assert daemon.post("/v1/convert", model, headers=bob.header).status_code == 200


def test_an_inspection_that_nobody_waits_for_counts_no_more(start_with_keys, gate, model):
    bob = Key("bob:convert:jobs=1")
    daemon = start_with_keys(bob, worker=gate.worker, workers=1)
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(daemon.url + "/v1/inspect", data=model, headers=bob.header, timeout=0.5)
    gate.open()
    until(lambda: daemon.post("/v1/conversions", model, headers=bob.header).status_code == 202, "there is room again")


def test_results_and_idempotency_keys_are_their_owners(start_with_keys, model):
    alice, bob = Key("alice:convert:jobs=1"), Key("bob")
    daemon = start_with_keys(alice, bob, reuse="on")
    send = lambda key: daemon.post("/v1/conversions", model, headers={**key.header, "Idempotency-Key": "one", "Prefer": "wait=60"})
    first = send(alice).json()
    assert first["state"] == "succeeded" and first["reused_from"] is None
    other = send(bob)
    assert "Idempotent-Replayed" not in other.headers and other.json()["id"] != first["id"] and other.json()["reused_from"] is None
    replayed = send(alice)
    assert replayed.headers["Idempotent-Replayed"] == "true" and replayed.json()["id"] == first["id"]
    again = daemon.post("/v1/conversions", model, headers=alice.header).json()
    assert (again["reused_from"], again["owner"]) == (first["id"], "alice")


def test_requests_per_minute(start_with_keys):
    alice, bob, free = Key("alice:read:rate=3"), Key("bob:read"), Key("free:read:rate=0")
    daemon = start_with_keys(alice, bob, free, quota_rate=600)
    began = time.monotonic()
    left = []
    for _ in range(3):
        answer = daemon.get("/v1/conversions", headers=alice.header)
        assert answer.status_code == 200 and answer.headers["RateLimit-Policy"] == '"requests";q=3;w=60'
        left.append(int(re.fullmatch(r'"requests";r=(\d+);t=\d+', answer.headers["RateLimit"])[1]))
    answer = expect(daemon.get("/v1/conversions", headers=alice.header), 429, "QUOTA_EXCEEDED")
    assert time.monotonic() - began < 20, "too slow to tell"
    assert left == [2, 1, 0] and answer.json()["where"] == "rate"
    # The next one comes back after a third of a minute, and that is what it says.
    assert 20 - (time.monotonic() - began) <= int(answer.headers["Retry-After"]) <= 21
    assert daemon.get("/livez", headers=alice.header).status_code == 200
    assert daemon.get("/v1/conversions", headers=bob.header).headers["RateLimit-Policy"] == '"requests";q=600;w=60'
    for _ in range(20):
        assert "RateLimit" not in daemon.get("/v1/conversions", headers=free.header).headers
    reload(daemon)
    expect(daemon.get("/v1/conversions", headers=alice.header), 429, "QUOTA_EXCEEDED")


def run(*arguments, **environment):
    return subprocess.run([program("h5ptd"), *arguments], env={"HOME": "/", **environment}, capture_output=True, text=True, timeout=PATIENCE)


def test_new_keys():
    seen = set()
    for spec, scopes in ("alice", "convert"), ("a.B-9_:read", "read"), ("x:read,admin:jobs=3,rate=9", "read,admin"):
        done = run("--new-key", spec)
        key, line = done.stdout.splitlines()
        assert done.returncode == 0 and re.fullmatch("h5pt_[0-9a-hjkmnp-tv-z]{52}", key)
        name, has, sha256, *options = line.split(":")
        assert (name, has, sha256) == (spec.split(":")[0], scopes, hashlib.sha256(key.encode()).hexdigest())
        assert options == spec.split(":")[2:]
        seen.add(key)
    assert run("--new-key=bob").stdout.splitlines()[1].startswith("bob:convert:")
    assert len(seen) == 3
    for bad in "", "a b", "ä", "x" * 64, "a:", "a:write", "a:read,", "a:read:jobs", "a:read:jobs=many", "a:read:size=3", "a:read:rate=-1", "a\nb":
        done = run("--new-key", bad)
        assert done.returncode == 2 and not done.stdout and done.stderr, bad
    assert run("--new-key").returncode == 2


GOOD = "alice:convert:" + "0" * 64


@pytest.mark.parametrize(
    "text, named",
    [
        ("", "no key"),
        ("# nothing\n\n", "no key"),
        ("alice\n", "Line 1"),
        (GOOD + "\nbob:convert:" + "0" * 63 + "\n", "Line 2"),
        (GOOD + "\nbob:convert:" + "0" * 64 + "\n", "two lines"),
        ("alice:convert:" + "A" * 64 + "\n", "lower-case"),
        ("alice:everything:" + "0" * 64 + "\n", "everything"),
        (GOOD + ":jobs=1,disk=3\n", "disk=3"),
        ("a/b:convert:" + "0" * 64 + "\n", "a/b"),
        ("alice:convert:\0" + "0" * 64 + "\n", "no text"),
    ],
)
def test_a_malformed_file_of_keys_is_fatal(tmp_path, text, named):
    (tmp_path / "keys").write_text(text)
    done = run("--listen", "127.0.0.1:0", "--admin-listen", "off", "--data-dir", str(tmp_path / "data"), "--keys-file", str(tmp_path / "keys"))
    assert done.returncode == 2 and named in done.stderr, done.stderr


def test_a_file_of_keys_that_is_not_there_is_fatal(tmp_path):
    done = run("--listen", "127.0.0.1:0", "--admin-listen", "off", "--data-dir", str(tmp_path), "--keys-file", str(tmp_path / "keys"))
    assert done.returncode == 2 and "cannot be opened" in done.stderr


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_it_is_not_open_to_others_by_mistake(start_daemon, tmp_path, listen):
    refused = run("--listen", listen, "--admin-listen", "off", "--data-dir", str(tmp_path))
    assert refused.returncode == 2 and "--keys-file" in refused.stderr and "--allow-unauthenticated" in refused.stderr
    warned = lambda daemon: [line["level"] for line in daemon.log() if line["event"] == "unauthenticated"]
    if listen.startswith("["):
        return  # not every machine has IPv6
    assert warned(start_daemon(listen=listen, allow_unauthenticated="yes")) == ["warning"]
    key = Key("alice")
    write_keys(tmp_path, key)
    with_keys = start_daemon(listen=listen, keys_file=tmp_path / "keys", allow_unauthenticated="yes")
    assert warned(with_keys) == [] and with_keys.get("/v1/conversions").status_code == 401
    assert warned(start_daemon()) == ["info"]
