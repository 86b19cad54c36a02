# SPDX-License-Identifier: Apache-2.0
"""Webhooks: who is called, with what, how often, and who is not."""
import base64
import hashlib
import hmac
import http.server
import json
import signal
import socket
import ssl
import subprocess
import threading
import time

import contract
import pytest
from conftest import PATIENCE, Key, program, until
from test_tls import make_certificate

SECRET, OTHER_SECRET = (b"%d-this-is-a-secret-of-a-test" % i for i in range(2))


def expect(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return answer


class Receiver:
    """Takes calls, and answers with the next of `answers`: (status, headers); with 204 when there is none left."""

    def __init__(self, certificate=None, port=0):
        self.calls, self.answers, self.delay, self.endless = [], [], 0, False
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.calls.append((time.monotonic(), self.path, dict(self.headers), body))
                status, headers = receiver.answers.pop(0) if receiver.answers else (204, {})
                time.sleep(receiver.delay)
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    while receiver.endless:
                        self.wfile.write(bytes(65536))
                except OSError:
                    pass

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate["tls_cert"], certificate["tls_key"])
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.scheme = "https"
        self.port = self.server.server_address[1]
        self.url = "%s://127.0.0.1:%d/hook?of=test" % (self.scheme, self.port)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def secret_line(secret):
    return "whsec_" + base64.b64encode(secret).decode() + "\n"


@pytest.fixture
def start_calling(start_daemon, tmp_path):
    """start_calling(option=value…): a daemon that calls receivers on this machine, and soon again."""
    (tmp_path / "secret").write_text("# of the test\n" + secret_line(SECRET))

    def start(**options):
        return start_daemon(
            **{"webhook_secret_file": tmp_path / "secret", "webhook_allow_http": "yes", "webhook_allow_private": "yes", "webhook_pause": "20ms", **options}
        )

    return start


def create(daemon, model, url, status=202, **arguments):
    answer = daemon.request("POST", "/v1/conversions", params={"webhook": url}, data=model, **arguments)
    assert answer.status_code == status, answer.text
    return answer.json()["id"]


def settled(daemon, job_id):
    """The webhook when it is not called any more."""
    return until(lambda: (lambda hook: hook if hook["state"] != "pending" else None)(daemon.job(job_id)["webhook"]), "the webhook is done with")


def signature(secret, headers, body):
    text = b"%s.%s.%s" % (headers["Webhook-Id"].encode(), headers["Webhook-Timestamp"].encode(), body)
    return "v1," + base64.b64encode(hmac.new(secret, text, hashlib.sha256).digest()).decode()


@pytest.mark.parametrize("as_field", [False, True])
def test_the_call(start_calling, receiver, model, refused_model, as_field):
    daemon = start_calling()
    for upload in model, refused_model:
        receiver.calls.clear()
        if as_field:
            answer = daemon.post("/v1/conversions", {"webhook": receiver.url}, files={"model": upload})
            assert answer.status_code == 202, answer.text
            job_id = answer.json()["id"]
        else:
            job_id = create(daemon, upload, receiver.url)
        hook = settled(daemon, job_id)
        assert hook == {"url": receiver.url, "state": "delivered", "attempts": 1, "next_at": None, "status": 204, "problem": None}
        ((_, path, headers, body),) = receiver.calls
        assert path == "/hook?of=test" and headers["Content-Type"] == "application/json" and headers["User-Agent"].startswith("h5pt/")
        assert headers["Webhook-Id"] == job_id and abs(int(headers["Webhook-Timestamp"]) - time.time()) < PATIENCE
        assert headers["Webhook-Signature"] == signature(SECRET, headers, body)
        sent, job = json.loads(body), daemon.job(job_id)
        contract.validate(sent, {"$ref": "#/components/schemas/Conversion"})
        assert sent["state"] in ("succeeded", "failed") and sent["webhook"]["state"] == "pending"
        assert {**sent, "webhook": None} == {**job, "webhook": None}


def test_a_conversion_without_one_calls_nobody(start_calling, model):
    daemon = start_calling()
    assert daemon.job(daemon.post("/v1/conversions", model).json()["id"])["webhook"] is None


def test_it_is_called_again_until_it_takes_it(start_calling, receiver, model):
    daemon = start_calling()
    elsewhere = "http://127.0.0.1:%d/elsewhere" % receiver.port
    receiver.answers += [(500, {}), (503, {"Retry-After": "2"}), (302, {"Location": elsewhere}), (404, {})]
    job_id = create(daemon, model, receiver.url)
    assert settled(daemon, job_id) == {"url": receiver.url, "state": "delivered", "attempts": 5, "next_at": None, "status": 204, "problem": None}
    times, paths, headers, bodies = zip(*receiver.calls)
    assert set(paths) == {"/hook?of=test"} and {h["Webhook-Id"] for h in headers} == {job_id}
    assert all(h["Webhook-Signature"] == signature(SECRET, h, body) for h, body in zip(headers, bodies))
    assert times[2] - times[1] >= 1.9  # as asked for
    for at, least in (0, 0.02), (2, 0.18), (3, 0.54):  # three times as long each time
        assert times[at + 1] - times[at] >= least * 0.9
    assert [json.loads(body)["webhook"]["attempts"] for body in bodies] == [0, 1, 2, 3, 4]
    assert json.loads(bodies[1])["webhook"]["problem"] == "The answer has status 500"


def test_it_is_given_up(start_calling, receiver, model):
    daemon = start_calling(webhook_attempts=3)
    receiver.answers += [(500, {})] * 9
    hook = settled(daemon, create(daemon, model, receiver.url))
    assert (hook["state"], hook["attempts"], hook["status"], hook["next_at"]) == ("failed", 3, 500, None)
    assert len(receiver.calls) == 3


def test_gone_means_never_again(start_calling, receiver, model):
    daemon = start_calling()
    receiver.answers += [(410, {})]
    hook = settled(daemon, create(daemon, model, receiver.url))
    assert (hook["state"], hook["attempts"], hook["status"]) == ("failed", 1, 410) and len(receiver.calls) == 1


def test_one_that_does_not_answer(start_calling, receiver, model):
    daemon = start_calling(webhook_timeout="200ms", webhook_attempts=2)
    receiver.delay = 1
    hook = settled(daemon, create(daemon, model, receiver.url))
    assert (hook["state"], hook["attempts"], hook["status"]) == ("failed", 2, None) and "Timeout" in hook["problem"]


def test_one_whose_answer_does_not_end(start_calling, receiver, model):
    daemon = start_calling()
    receiver.endless, receiver.answers = True, [(200, {})]
    hook = settled(daemon, create(daemon, model, receiver.url))
    assert (hook["state"], hook["attempts"], hook["status"]) == ("delivered", 1, 200)
    receiver.endless = False


def test_one_that_is_not_there_yet(start_calling, model):
    daemon = start_calling(webhook_attempts=100)
    early = Receiver()
    early.close()
    job_id = create(daemon, model, early.url)
    hook = until(lambda: (lambda hook: hook if hook["attempts"] >= 2 else None)(daemon.job(job_id)["webhook"]), "it is tried")
    assert hook["state"] == "pending" and hook["status"] is None and "connect" in hook["problem"] and hook["next_at"]
    late = Receiver(port=early.port)
    assert settled(daemon, job_id)["state"] == "delivered" and len(late.calls) == 1
    late.close()


def test_many_at_once(start_calling, receiver, model):
    daemon = start_calling()
    receiver.delay = 0.05
    ids = [create(daemon, model, receiver.url) for _ in range(80)]
    assert {settled(daemon, job_id)["attempts"] for job_id in ids} == {1}
    assert sorted(headers["Webhook-Id"] for _, _, headers, _ in receiver.calls) == sorted(ids)


def test_nothing_is_forgotten(start_calling, gate, receiver, model):
    daemon = start_calling(worker=gate.worker)
    receiver.answers += [(503, {"Retry-After": "3"})]
    gate.open()
    called = create(daemon, model, receiver.url)
    until(lambda: daemon.job(called)["webhook"]["attempts"] == 1, "it is called once")
    gate.close()
    queued = create(daemon, model, receiver.url)
    until(daemon.workers, "the worker runs")
    daemon.kill()
    gate.open()
    daemon.start()
    assert settled(daemon, called)["attempts"] == 2 and settled(daemon, queued)["attempts"] == 1
    assert [headers["Webhook-Id"] for _, _, headers, _ in receiver.calls].count(called) == 2


def test_killed_while_calls_are_made(start_calling, receiver, model):
    """What was delivered stands in the record or is delivered again; what was not is delivered."""
    daemon = start_calling()
    receiver.delay = 0.02
    ids = [create(daemon, model, receiver.url) for _ in range(40)]
    for _ in range(5):
        before = len(receiver.calls)
        until(lambda: len(receiver.calls) > before or daemon.unfinished() == 0, "calls are made")
        daemon.kill()
        daemon.start()
    assert {settled(daemon, job_id)["state"] for job_id in ids} == {"delivered"}
    assert {headers["Webhook-Id"] for _, _, headers, _ in receiver.calls} == set(ids)


def test_canceling_is_an_end_too(start_calling, gate, receiver, model):
    daemon = start_calling(worker=gate.worker, workers=1)
    running, queued = (create(daemon, model, receiver.url) for _ in range(2))
    until(daemon.workers, "the worker runs")
    for job_id in queued, running:
        assert receiver.calls == [] or job_id == running
        assert daemon.request("DELETE", "/v1/conversions/" + job_id).status_code == 204
        assert settled(daemon, job_id)["state"] == "delivered"
    assert [json.loads(body)["state"] for _, _, _, body in receiver.calls] == ["canceled"] * 2


def test_what_was_removed_is_not_told(start_calling, receiver, model):
    daemon = start_calling()
    receiver.answers += [(503, {"Retry-After": "1"})]
    job_id = create(daemon, model, receiver.url)
    until(lambda: daemon.job(job_id)["webhook"]["attempts"] == 1, "it is called once")
    assert daemon.request("DELETE", "/v1/conversions/" + job_id).status_code == 204
    time.sleep(1.5)
    assert len(receiver.calls) == 1


def test_a_result_that_is_taken_over_is_told_too(start_calling, receiver, model):
    daemon = start_calling(reuse="on")
    first = create(daemon, model, receiver.url)
    settled(daemon, first)
    again = create(daemon, model, receiver.url, status=201)
    assert settled(daemon, again)["state"] == "delivered" and daemon.job(again)["reused_from"] == first
    assert [headers["Webhook-Id"] for _, _, headers, _ in receiver.calls] == [first, again]


NOT_PUBLIC = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "0.0.0.0", "10.1.2.3", "100.64.0.1", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.168.1.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "[::]", "[::1]", "[::ffff:127.0.0.1]",
    "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[::127.0.0.1]", "[fe80::1]", "[fc00::1]", "[fd12::1]", "[ff02::1]", "[2001:db8::1]",
    "[2002:7f00:1::]", "[fec0::1]", "localhost", "LOCALHOST", "a.localhost", "localhost.", "127.0.0.1.", "10.1.2.3.",
]


def test_addresses_that_are_not_public_are_refused(start_calling, model):
    daemon = start_calling(webhook_allow_private="no")
    for host in NOT_PUBLIC:
        for url in "https://%s/", "http://%s:8080/a?b":
            expect(daemon.request("POST", "/v1/conversions", params={"webhook": url % host}, data=model), 422, "WEBHOOK_REFUSED")
    assert daemon.files("tmp") == []


def private_name():
    """A name that leads to an address of this machine, though it does not look like it."""
    for name in "ip6-loopback", socket.gethostname():
        try:
            if all(entry[4][0].startswith(("127.", "10.", "172.", "192.168.", "::1")) for entry in socket.getaddrinfo(name, 80)):
                return name
        except OSError:
            pass
    pytest.skip("no such name here")


def test_names_are_looked_at_when_they_are_connected_to(start_calling, receiver, model):
    """So that a name server that gives another answer later changes nothing."""
    url = receiver.url.replace("127.0.0.1", private_name())
    daemon = start_calling(webhook_allow_private="no")
    hook = settled(daemon, create(daemon, model, url))
    assert (hook["state"], hook["attempts"], hook["status"], hook["problem"]) == ("failed", 1, None, "The host has an address that is not public")
    assert receiver.calls == []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/", "ftp://example.org/", "file:///etc/passwd", "gopher://example.org/", "https:///", "//example.org/", "example.org", "",
        "https://user:secret@example.org/", "https://user@example.org/", "https://exa mple.org/", "https://example.org/\r\nX: y", "https://example.org:99999/",
        "https://ex\u00e4mple.org/", "https://example.org/" + "x" * 512,
    ],
)
def test_urls_that_are_refused(start_calling, model, url):
    daemon = start_calling(webhook_allow_http="no", webhook_allow_private="no")
    expect(daemon.request("POST", "/v1/conversions", params={"webhook": url}, data=model), 422, "WEBHOOK_REFUSED")
    if url:
        expect(daemon.post("/v1/conversions", {"webhook": url}, files={"model": model}), 422, "WEBHOOK_REFUSED")
    assert daemon.get("/v1/conversions").json()["conversions"] == []


def test_one_webhook_and_only_where_there_is_one(start_calling, model):
    daemon = start_calling()
    url = "http://127.0.0.1:1/"
    for path in "/v1/convert", "/v1/inspect":
        expect(daemon.request("POST", path, params={"webhook": url}, data=model), 400, "USAGE")
        expect(daemon.post(path, {"webhook": url}, files={"model": model}), 400, "USAGE")
    expect(daemon.request("POST", "/v1/conversions", params={"webhook": url}, data={"webhook": url}, files={"model": model}), 400, "USAGE")
    expect(daemon.post("/v1/conversions", [("webhook", url), ("webhook", url)], files={"model": model}), 400, "USAGE")
    expect(daemon.post("/v1/conversions?webhook=%s&webhook=%s" % (url, url), model), 400, "USAGE")


def test_none_without_a_secret(daemon, model):
    answer = daemon.request("POST", "/v1/conversions", params={"webhook": "https://example.org/"}, data=model)
    assert "--webhook-secret-file" in expect(answer, 422, "WEBHOOK_REFUSED").json()["detail"]
    expect(daemon.post("/v1/conversions", {"webhook": "https://example.org/"}, files={"model": model}), 422, "WEBHOOK_REFUSED")


def test_certificates_are_checked(start_calling, tmp_path, model):
    certificate = make_certificate(tmp_path, "receiver")
    receiver = Receiver(certificate)
    trusting = start_calling(webhook_ca_file=certificate["tls_cert"], webhook_allow_http="no")
    assert settled(trusting, create(trusting, model, receiver.url))["state"] == "delivered" and len(receiver.calls) == 1
    doubting = start_calling(webhook_attempts=1)
    hook = settled(doubting, create(doubting, model, receiver.url))
    assert hook["state"] == "failed" and "certificate" in hook["problem"].lower() and len(receiver.calls) == 1
    receiver.close()


def test_proxies_of_the_environment_are_not_asked(start_calling, receiver, model):
    proxy = Receiver()
    daemon = start_calling(webhook_allow_private="no")
    daemon.stop()
    daemon.environment = {"http_proxy": "http://127.0.0.1:%d" % proxy.port, "ALL_PROXY": "http://127.0.0.1:%d" % proxy.port}
    daemon.start()
    hook = settled(daemon, create(daemon, model, "http://%s:%d/" % (private_name(), receiver.port)))
    assert hook["state"] == "failed" and proxy.calls == receiver.calls == []
    proxy.close()


def test_secrets_change(start_calling, receiver, tmp_path, model):
    daemon = start_calling()
    of = lambda: receiver.calls[-1][2]["Webhook-Signature"].split()

    def reload(text, event):
        count = lambda: [line for line in daemon.log() if line["event"] in ("reloaded", "not_reloaded")]
        before = len(count())
        (tmp_path / "secret").write_text(text)
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: [line for line in count()[before:] if line["event"] == "reloaded"], "it is read again")
        assert count()[before]["event"] == event

    reload(secret_line(SECRET) + secret_line(OTHER_SECRET), "reloaded")
    settled(daemon, create(daemon, model, receiver.url))
    assert of() == [signature(secret, receiver.calls[-1][2], receiver.calls[-1][3]) for secret in (SECRET, OTHER_SECRET)]
    reload(secret_line(OTHER_SECRET), "reloaded")
    reload("whsec_short\n", "not_reloaded")
    settled(daemon, create(daemon, model, receiver.url))
    assert of() == [signature(OTHER_SECRET, receiver.calls[-1][2], receiver.calls[-1][3])]
    with open(daemon.log_path) as log:
        text = log.read()
    assert not any(base64.b64encode(secret).decode() in text for secret in (SECRET, OTHER_SECRET))


@pytest.mark.parametrize(
    "text, named",
    [
        ("", "no secret"),
        ("# only this\n", "no secret"),
        ("secret\n", "whsec_"),
        ("whsec_" + base64.b64encode(b"x" * 23).decode(), "24 to 64"),
        ("whsec_" + base64.b64encode(b"x" * 65).decode(), "24 to 64"),
        ("whsec_" + "?" * 44, "whsec_"),
        (secret_line(SECRET) * 5, "more than 4"),
        (None, "cannot be opened"),
    ],
)
def test_a_malformed_secret_is_fatal(tmp_path, text, named):
    if text is not None:
        (tmp_path / "secret").write_text(text)
    done = subprocess.run(
        [program("h5ptd"), "--listen", "127.0.0.1:0", "--admin-listen", "off", "--data-dir", str(tmp_path / "data"), "--webhook-secret-file", str(tmp_path / "secret")],
        env={}, capture_output=True, text=True, timeout=PATIENCE,
    )
    assert done.returncode == 2 and named in done.stderr, done.stderr
    assert base64.b64encode(SECRET).decode() not in done.stderr


def test_webhooks_are_their_owners(start_calling, receiver, tmp_path, model):
    alice, bob = Key("alice"), Key("bob")
    (tmp_path / "keys").write_text(alice.line + "\n" + bob.line)
    daemon = start_calling(keys_file=tmp_path / "keys")
    job_id = create(daemon, model, receiver.url, headers=alice.header)
    until(lambda: receiver.calls, "it is called")
    assert json.loads(receiver.calls[0][3])["owner"] == "alice"
    assert "Authorization" not in receiver.calls[0][2]
    assert daemon.get("/v1/conversions/" + job_id, headers=bob.header).status_code == 404
    until(lambda: daemon.get("/v1/conversions/" + job_id, headers=alice.header).json()["webhook"]["state"] == "delivered", "it is noted")
