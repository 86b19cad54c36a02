#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lets a daemon work for a long time and fails when its memory or its descriptors grow:  tests/blackbox/soak.py [--minutes N] [--rate N]

$H5PT_BUILD_DIR names the build. The load is everything that clients do, good and bad, in random order: conversions, refused and hostile files,
jobs that are canceled, streams of events, parts of artifacts, webhooks, uploads that break off. Each answer must be one that api/openapi.yaml
describes. At the end nothing may be left over: no connection, no claim on the disk, no descriptor.
"""
import argparse
import glob
import itertools
import os
import random
import re
import socket
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import requests
from conftest import CLASSIC, ROOT, Daemon, case, until
from test_webhooks import SECRET, Receiver, secret_line

CLIENTS = 4
SAMPLE_S = 5
# The heap keeps what was taken and given back in pieces; it does not keep more and more.
GROWTH, GROWTH_BYTES = 1.05, 2 << 20


def described(session, daemon, method, path, *statuses, **arguments):
    answer = session.request(method, daemon.url + path, timeout=60, **arguments)
    assert answer.status_code in statuses, "%s %s: %d %s" % (method, path, answer.status_code, answer.text[:500])
    return answer


class Client:
    """One of the clients: a session and the things that it does."""

    def __init__(self, daemon, receiver, seed):
        self.daemon, self.receiver = daemon, receiver
        self.random = random.Random(seed)
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.hooks["response"] += daemon.session.hooks["response"]
        self.model, self.refused = case(CLASSIC), case("tfkeras/made/several_reasons")
        self.hostile = sorted(glob.glob(os.path.join(ROOT, os.pardir, "shared", "hostile", "cve", "*.h5")))
        self.actions = [getattr(self, name) for name in dir(self) if name.startswith("do_")]

    def step(self):
        self.random.choice(self.actions)()

    def send(self, method, path, *statuses, **arguments):
        return described(self.session, self.daemon, method, path, *statuses, **arguments)

    def create(self, model=None, **arguments):
        return self.send("POST", "/v1/conversions", 201, 202, data=model or self.model, **arguments).json()

    def do_convert(self):
        self.send("POST", "/v1/convert", 200, data=self.model, headers={"Cache-Control": "no-cache"})

    def do_convert_again(self):
        self.send("PUT", "/v1/convert?format=report", 200, data=self.model)

    def do_convert_form(self):
        self.send("POST", "/v1/convert?formats=pt,py,safetensors&layout=keras", 200, files={"model": ("a.h5", self.model)})

    def do_download(self):
        job = self.create(headers={"Prefer": "wait=30"})
        for artifact in job["artifacts"]:
            part = self.send("GET", artifact["href"], 206, headers={"Range": "bytes=0-99"})
            assert len(part.content) == 100
            self.send("HEAD", artifact["href"], 200)
            assert len(self.send("GET", artifact["href"], 200).content) == artifact["bytes"]
        self.send("GET", "/v1/conversions/%s/artifacts/all.zip" % job["id"], 200)
        self.send("DELETE", "/v1/conversions/" + job["id"], 204)

    def do_refused(self):
        self.send("POST", "/v1/convert", 422, data=self.refused)

    def do_hostile(self):
        if self.hostile:
            with open(self.random.choice(self.hostile), "rb") as file:
                self.send("POST", "/v1/convert", 415, 422, data=file.read() or b"-")

    def do_damaged(self):
        damaged = bytearray(self.model)
        for _ in range(20):
            damaged[self.random.randrange(8, len(damaged))] = self.random.randrange(256)
        self.send("POST", "/v1/convert", 200, 422, data=bytes(damaged))

    def do_nonsense(self):
        self.send("POST", "/v1/convert", 415, data=b"no model")
        self.send("GET", "/v1/conversions/" + 26 * "0", 404)
        self.send("GET", "/v1/conversions?limit=0", 400)

    def do_inspect(self):
        assert self.send("POST", "/v1/inspect", 200, data=self.model).json()["verdict"] == "converted"

    def do_cancel(self):
        job = self.create(headers={"Cache-Control": "no-cache"})
        time.sleep(self.random.uniform(0, 0.1))
        self.send("DELETE", "/v1/conversions/" + job["id"], 204)

    def do_events(self):
        job = self.create(headers={"Cache-Control": "no-cache"})
        events = self.send("GET", "/v1/conversions/%s/events" % job["id"], 200)
        assert "event: state" in events.text

    def do_events_and_leave(self):
        job = self.create(headers={"Cache-Control": "no-cache"})
        with socket.create_connection(self.daemon.address) as connection:
            connection.sendall(b"GET /v1/conversions/%s/events HTTP/1.1\r\nHost: h5pt\r\n\r\n" % job["id"].encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")

    def do_repeat(self):
        headers = {"Idempotency-Key": "soak-%d" % self.random.randrange(1 << 60)}
        assert self.create(headers=headers)["id"] == self.create(headers=headers)["id"]

    def do_webhook(self):
        self.create(params={"webhook": self.receiver.url})

    def do_break_off(self):
        with socket.create_connection(self.daemon.address) as connection:
            connection.sendall(b"PUT /v1/convert HTTP/1.1\r\nHost: h5pt\r\nContent-Length: 10000000\r\n\r\n" + self.model[: self.random.randrange(len(self.model))])

    def do_leave_while_waiting(self):
        with socket.create_connection(self.daemon.address) as connection:
            head = b"PUT /v1/convert HTTP/1.1\r\nHost: h5pt\r\nCache-Control: no-cache\r\nContent-Length: %d\r\n\r\n" % len(self.model)
            connection.sendall(head + self.model)

    def do_look_around(self):
        for path in "/", "/openapi.yaml", "/v1/capabilities", "/v1/conversions?limit=100":
            self.send("GET", path, 200)


def sample(daemon):
    text = requests.get(daemon.admin + "/metrics", timeout=10).text
    return {name: float(value) for name, value in re.findall(r"^h5pt_(\w+) (\S+)$", text, re.MULTILINE)}


def drive(client, rate, deadline):
    """Acts `rate` times a second until the deadline; the number of acts."""
    for count in itertools.count():
        if time.monotonic() >= deadline:
            return count
        time.sleep(client.random.expovariate(rate))
        client.step()


def watch(daemon, deadline, running):
    samples = []
    while time.monotonic() < deadline and not any(task.done() for task in running):
        samples.append(sample(daemon))
        if len(samples) % 12 == 1:
            print("%6.0f s left: %.1f MiB, %d descriptors" % (deadline - time.monotonic(), samples[-1]["process_resident_memory_bytes"] / 2**20, samples[-1]["process_open_fds"]), flush=True)
        time.sleep(SAMPLE_S)
    return samples


def middle(samples, name):
    return statistics.median(sample[name] for sample in samples)


def judge(samples, before, after):
    """Everything that is wrong."""
    wrong = []
    fifth = len(samples) // 5 or 1
    early, late = samples[fifth : 2 * fifth] or samples, samples[-fifth:]
    figures = [(name, middle(early, name), middle(late, name)) for name in ("process_resident_memory_bytes", "process_open_fds")]
    print("memory       %8.1f MiB in the second fifth of the time, %.1f MiB in the last" % tuple(value / 2**20 for value in figures[0][1:]))
    print("descriptors  %8.0f in the second fifth, %.0f in the last; %d before the load, %d after it" % (*figures[1][1:], before["process_open_fds"], after["process_open_fds"]))
    if figures[0][2] > figures[0][1] * GROWTH + GROWTH_BYTES:
        wrong.append("memory grows")
    if figures[1][2] > figures[1][1] + CLIENTS or after["process_open_fds"] > before["process_open_fds"]:
        wrong.append("descriptors grow")
    wrong += [name + " is left" for name in ("http_requests_in_flight", "http_connections", "disk_reserved_bytes", "queue_depth") if after[name]]
    return wrong


def settle(daemon):
    def quiet():
        now = sample(daemon)
        return now if not any(now[name] for name in ("http_connections", "queue_depth")) and not daemon.workers() else None

    time.sleep(2)
    try:
        return until(quiet, "the daemon comes to rest")
    except AssertionError:
        return sample(daemon)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=5, help="acts in a second")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    receiver = Receiver()
    with tempfile.TemporaryDirectory() as folder:
        secret = os.path.join(folder, "secret")
        with open(secret, "w") as file:
            file.write(secret_line(SECRET))
        daemon = Daemon(folder, reuse="on", retention="1min", idle_timeout="10s", upload_idle_timeout="2s", webhook_secret_file=secret,
                        webhook_allow_http="yes", webhook_allow_private="yes", probe_interval="10s")
        clients = [Client(daemon, receiver, args.seed * CLIENTS + i) for i in range(CLIENTS)]
        for act in clients[0].actions:  # what is made once is there before it is counted
            act()
        clients[0].session.close()
        before = settle(daemon)
        deadline = time.monotonic() + 60 * args.minutes
        with ThreadPoolExecutor() as pool:
            running = [pool.submit(drive, client, args.rate / CLIENTS, deadline) for client in clients]
            samples = watch(daemon, deadline, running)
            acts = sum(task.result() for task in running)
        for client in clients:
            client.session.close()
        daemon.session.close()
        wrong = judge(samples, before, settle(daemon))
        print("%d acts in %.1f minutes, %d webhooks called" % (acts, args.minutes, len(receiver.calls)))
        if daemon.stop() != 0:
            wrong.append("it does not stop well")
    receiver.close()
    sys.exit("soak: " + "; ".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
