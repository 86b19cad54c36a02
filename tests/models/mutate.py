#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Post damaged model files to a running h5ptd: each must get a clear answer, and the daemon must stay up.

    mutate.py [--url URL] [--admin-url URL] [--count 20000] [--seed 20] [--threads 4] [FILE|DIR ...]
    mutate.py --corpus DIR [--url URL] ...         every file of DIR as it is; none may be converted
    mutate.py --write INDEX OUT [--seed 20] ...    write the mutation with this number to a file, to look at it

Mutations are made from small .h5 files (default: the golden cases): flipped bytes, truncation, swapped blocks, zeroed ranges, inserted
bytes.  Mutation number I of a seed is the same in each run.  A clear answer is a result whose parity is ok (a mutation may have hit
nothing but weights), or problem+json with a `code` and one of the documented statuses.  Exit 1 when one was not clear, or at the
end the daemon is not alive.
"""
import argparse
import collections
import glob
import http.client
import json
import os
import random
import sys
import threading
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, os.pardir, "golden", "cases")
MEDIA_TYPE = "application/x-hdf5"
BUSY = (429, 503)  # asked to come again, with Retry-After
REFUSALS = (400, 413, 415, 422)  # 422 WORKER_CRASHED among them: the child that read the file died, and the answer says so
PARITY_HEADER = "h5pt-parity-ok"


# -- mutations: each takes the bytes (a bytearray, changed in place) and a random.Random


def flip_bytes(data, rng):
    for _ in range(rng.choice((1, 1, 2, 4, 16, 64))):
        data[rng.randrange(len(data))] = rng.randrange(256)


def flip_header_bytes(data, rng):
    """Most of a file is weights; the structures that a parser must survive are near its start."""
    for _ in range(rng.choice((1, 2, 4, 8))):
        data[rng.randrange(min(len(data), 2048))] = rng.randrange(256)


def extreme_integers(data, rng):
    """Sizes, counts and addresses at their extremes."""
    for _ in range(rng.choice((1, 2))):
        width = rng.choice((2, 4, 8))
        value = rng.choice((0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), 2 ** (8 * width - 1) - 1, len(data), len(data) + 1))
        at = rng.randrange(max(1, len(data) - width)) & ~(width - 1)
        data[at : at + width] = value.to_bytes(width, "little")


def truncate(data, rng):
    del data[rng.randrange(len(data)) :]


def zero_range(data, rng):
    at = rng.randrange(len(data))
    length = min(rng.choice((1, 8, 64, 512, 4096)), len(data) - at)
    data[at : at + length] = bytes(length)


def swap_blocks(data, rng):
    length = min(rng.choice((8, 64, 512)), len(data) // 2)
    a, b = rng.randrange(len(data) - length + 1), rng.randrange(len(data) - length + 1)
    data[a : a + length], data[b : b + length] = data[b : b + length], data[a : a + length]


def insert_bytes(data, rng):
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.choice((1, 2, 8, 100)))


def edit_config(data, rng):
    """Change one character of the JSON configuration: the file stays sound, the model does not."""
    start = data.find(b'{"class_name"')
    if start < 0:
        return flip_bytes(data, rng)
    at = start + rng.randrange(min(4000, len(data) - start))
    data[at] = rng.choice(b'0123456789-.eE"{}[],: truefalsenull\\')


MUTATIONS = (flip_bytes, flip_header_bytes, extreme_integers, truncate, zero_range, swap_blocks, insert_bytes, edit_config)


def mutate(sources, seed, index):
    """(description, bytes) of mutation number `index`."""
    rng = random.Random("%d:%d" % (seed, index))
    path = rng.choice(sources)
    with open(path, "rb") as file:
        data = bytearray(file.read())
    names = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        mutation = rng.choice(MUTATIONS)
        if len(data) > 1:
            mutation(data, rng)
            names.append(mutation.__name__)
    return "%d: %s %s" % (index, os.path.relpath(path, GOLDEN), "+".join(names)), bytes(data)


# -- talking to the daemon


class Client:
    """One keep-alive connection."""

    def __init__(self, url, timeout):
        parts = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout)

    def request(self, method, path, body=None, headers=None):
        reused = self.connection.sock is not None
        try:
            return self._once(method, path, body, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.connection.close()
            if not reused:  # an idle connection may be closed at any time; a fresh one must be answered
                raise
            return self._once(method, path, body, headers)

    def _once(self, method, path, body, headers):
        try:
            self.connection.request(method, path, body, headers or {})
            response = self.connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        except BaseException:
            self.connection.close()
            raise

    def convert(self, data):
        """The final (status, headers, body): waits out a full queue and follows a job that takes longer than the request."""
        deadline = time.monotonic() + 300
        while True:
            status, headers, body = self.request("POST", "/v1/convert", data, {"Content-Type": MEDIA_TYPE})
            if status not in BUSY or time.monotonic() > deadline:
                break
            time.sleep(min(5, float(headers.get("retry-after", 1))))
        while status == 202 and time.monotonic() < deadline:
            location = urllib.parse.urlsplit(headers["location"]).path
            poll, _, job = self.request("GET", location, headers={"Prefer": "wait=10"})
            job = json.loads(job)
            if poll != 200 or job["state"] not in ("queued", "running"):
                return job_answer(poll, job)
        return status, headers, body


def job_answer(status, job):
    """A finished job in the terms of a synchronous answer."""
    if job.get("state") == "succeeded":
        return 200, {PARITY_HEADER: "true" if job["parity"]["ok"] is True else "false"}, b""
    error = job.get("error") or {}
    return error.get("status", status), {"content-type": "application/problem+json"}, json.dumps(error).encode()


def judge(status, headers, body):
    """(what to count the answer as, what is wrong with it or None)."""
    if status == 200:
        parity = headers.get(PARITY_HEADER, "")
        return "200 converted", None if parity == "true" else "converted, but parity is %r" % parity
    if status not in REFUSALS:
        return str(status), "status %d is not documented for this" % status
    try:
        problem = json.loads(body)
        code = problem["code"]
        sound = headers["content-type"].startswith("application/problem+json") and problem["status"] == status and problem["title"]
    except (ValueError, KeyError, TypeError):
        return str(status), "no problem+json with a code: %r" % body[:200]
    answer = "%d %s" % (status, code)
    if not sound:
        return answer, "problem+json is not sound: %r" % body[:200]
    return answer, None


class Tally:
    def __init__(self):
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.failures = []
        self.slowest = (0, "")

    def add(self, name, answer, wrong, seconds):
        with self.lock:
            self.counts[answer] += 1
            self.slowest = max(self.slowest, (seconds, name))
            if wrong:
                self.failures.append("%s: %s" % (name, wrong))

    def print(self):
        for answer, n in sorted(self.counts.items()):
            print("%8d  %s" % (n, answer))
        print("slowest: %.2f s, %s" % self.slowest)
        for failure in self.failures[:50]:
            print("FAILED " + failure)


def alive(args):
    try:
        status, _, _ = Client(args.admin_url, 10).request("GET", "/livez")
        return status == 200
    except OSError:
        return False


def post_all(args, tally, total, get, converted_is_wrong):
    """Post get(0) .. get(total - 1) from several threads."""
    numbers = iter(range(total))
    lock = threading.Lock()
    dead = threading.Event()

    def work():
        client = Client(args.url, args.timeout)
        while not dead.is_set():
            with lock:
                index = next(numbers, None)
            if index is None:
                return
            name, data = get(index)
            start = time.monotonic()
            try:
                answer, wrong = judge(*client.convert(data))
                if answer.startswith("200") and converted_is_wrong:
                    wrong = "a hostile file was converted"
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                answer, wrong = "no answer", "%s: %s" % (type(error).__name__, error)
            tally.add(name, answer, wrong, time.monotonic() - start)
            if (wrong or index % 500 == 499) and not alive(args):
                dead.set()
            if index % 2000 == 1999:
                print("%d of %d" % (index + 1, total), flush=True)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(args.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def find_sources(paths, largest):
    files = []
    for path in paths:
        files += sorted(glob.glob(os.path.join(path, "**", "*.h5"), recursive=True)) if os.path.isdir(path) else [path]
    files = [f for f in files if os.path.getsize(f) <= largest]
    if not files:
        sys.exit("mutate.py: no .h5 files of at most %d bytes in %s" % (largest, " ".join(paths)))
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--admin-url", default="http://127.0.0.1:8081")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--timeout", type=float, default=120, help="seconds that an answer may take")
    parser.add_argument("--largest", type=int, default=64 * 1024, help="leave out source files of more bytes")
    parser.add_argument("--corpus", help="post the files of this folder as they are")
    parser.add_argument("--write", nargs=2, metavar=("INDEX", "OUT"))
    parser.add_argument("sources", nargs="*", default=[GOLDEN])
    args = parser.parse_args()
    sources = None if args.corpus else find_sources(args.sources, args.largest)
    if args.write:
        name, data = mutate(sources, args.seed, int(args.write[0]))
        with open(args.write[1], "wb") as file:
            file.write(data)
        print(name)
        return
    if not alive(args):
        sys.exit("mutate.py: nothing answers at %s/livez" % args.admin_url)
    tally = Tally()
    start = time.monotonic()
    if args.corpus:
        files = sorted(f for f in glob.glob(os.path.join(args.corpus, "**"), recursive=True) if os.path.isfile(f))

        def read(index):
            with open(files[index], "rb") as file:
                return os.path.relpath(files[index], args.corpus), file.read()

        total, get = len(files), read
    else:
        total, get = args.count, lambda index: mutate(sources, args.seed, args.first + index)
    post_all(args, tally, total, get, converted_is_wrong=bool(args.corpus))
    tally.print()
    posted, up = sum(tally.counts.values()), alive(args)
    print("daemon is %s; %.0f s" % ("up" if up else "DOWN", time.monotonic() - start))
    failed = len(tally.failures) + (total - posted) + (not up)
    print("%d passed, %d failed" % (posted - len(tally.failures), failed))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
