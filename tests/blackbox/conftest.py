# SPDX-License-Identifier: Apache-2.0
"""A real h5ptd for the tests: started from $H5PT_BUILD_DIR on free ports, with a data directory of its own.

Every answer that a test gets is checked against api/openapi.yaml on the way (contract.py)."""
import glob
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import requests

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
GOLDEN = os.path.join(ROOT, "tests", "golden")
CASES = os.path.join(GOLDEN, "cases")
sys.path[:0] = [HERE, GOLDEN]

import contract  # noqa: E402

# Nothing that a test waits for takes longer on a slow machine; what passes is over much sooner.
PATIENCE = 60


def program(name):
    folder = os.environ.get("H5PT_BUILD_DIR")
    if not folder:
        raise SystemExit("H5PT_BUILD_DIR must name the folder in which h5pt was built")
    return os.path.join(os.path.abspath(folder), name)


def case(name):
    with open(os.path.join(CASES, name + ".h5"), "rb") as file:
        return file.read()


def until(condition, what):
    """The first true value of condition(), which is called again and again."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError("did not happen: " + what)


class Key(str):
    """A new key, and its line for the keys file: Key("NAME[:SCOPES[:OPTIONS]]")."""

    def __new__(cls, spec):
        key, line = subprocess.run([program("h5ptd"), "--new-key", spec], env={"HOME": "/"}, capture_output=True, text=True, check=True).stdout.splitlines()
        self = super().__new__(cls, key)
        self.line = line
        return self

    @property
    def header(self):
        return {"Authorization": "Bearer " + self}


def process_name(pid):
    """None when it is gone, or only waits to be seen off."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            name, fields = file.read().split("(", 1)[1].rsplit(")", 1)
    except OSError:
        return None
    return name if fields.split()[0] != "Z" else None


def children(pid):
    """Process ids of the children of all its threads."""
    found = []
    for path in glob.glob("/proc/%d/task/*/children" % pid):
        try:
            with open(path) as file:
                found += map(int, file.read().split())
        except OSError:  # the thread has ended
            pass
    return [child for child in found if process_name(child)]


class Daemon:
    def __init__(self, folder, **options):
        os.makedirs(folder, exist_ok=True)
        self.data_dir = os.path.join(str(folder), "data")
        self.log_path = os.path.join(str(folder), "log")
        self.options = {
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "data_dir": self.data_dir,
            "workers": 2,
            "reuse": "off",
            "probe_interval": 0,
            **({"worker_runs": 1} if "worker" in options else {}),
            **options,
        }
        self.environment = {}
        self.process = None
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy, no certificates of others
        self.session.hooks["response"].append(contract.check)
        self.start()

    def start(self):
        log = open(self.log_path, "ab")
        seen = log.tell()
        arguments = [program("h5ptd")]
        for name, value in self.options.items():
            arguments += ["--" + name.replace("_", "-"), str(value)]
        self.process = subprocess.Popen(self.command(arguments), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env=self.environment)
        log.close()
        started = until(lambda: self._started(seen), "the daemon starts")
        self.url = ("https://" if started["tls"] else "http://") + started["listen"]
        self.admin = "http://" + started["admin_listen"]
        self.address = tuple(f(part) for f, part in zip((str, int), started["listen"].rsplit(":", 1)))
        return started

    def command(self, arguments):
        return arguments

    def _started(self, seen):
        assert self.process.poll() is None, open(self.log_path).read()
        return next((line for line in self.log(seen) if line["event"] == "started"), None)

    def log(self, seen=0):
        with open(self.log_path) as file:
            file.seek(seen)
            return [json.loads(line) for line in file if line.endswith("\n")]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def request(self, method, path, **arguments):
        return self.session.request(method, self.url + path, timeout=PATIENCE, **arguments)

    def get(self, path, **arguments):
        return self.request("GET", path, **arguments)

    def post(self, path, data, **arguments):
        return self.request("POST", path, data=data, **arguments)

    def job(self, job_id):
        answer = self.get("/v1/conversions/" + job_id)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait_for(self, job_id, *states):
        return until(lambda: (lambda job: job if job["state"] in states else None)(self.job(job_id)), "the job is " + " or ".join(states))

    def unfinished(self):
        answer = self.get("/v1/conversions?state=queued,running&limit=500")
        assert answer.status_code == 200, answer.text
        return len(answer.json()["conversions"])

    def files(self, room):
        return sorted(os.listdir(os.path.join(self.data_dir, room)))

    def loaded(self):
        """Process ids of the loaded workers, whether they have a conversion or not."""
        return [pid for pid in children(self.process.pid) if process_name(pid) not in (None, "h5ptd")]  # that is not yet another program

    def workers(self):
        """Process ids of the workers that have a conversion: those that have a child, or were started for one."""
        return [pid for pid in self.loaded() if self.options.get("worker_runs") == 1 or children(pid)]

    def sanitized(self):
        """Whether it was built with a sanitizer, which takes memory as it likes."""
        with open("/proc/%d/maps" % self.process.pid) as file:
            maps = file.read()
        return "libtsan" in maps or "libasan" in maps

    def conversions(self):
        """Process ids of the processes that convert."""
        return [pid for worker in self.loaded() for pid in children(worker)]


@pytest.fixture
def start_daemon(tmp_path):
    """start_daemon(option=value…) starts one; they are stopped after the test and must have stopped well."""
    daemons = []

    def start(**options):
        daemons.append(Daemon(tmp_path if not daemons else tmp_path / str(len(daemons)), **options))
        return daemons[-1]

    yield start
    statuses = [daemon.stop() for daemon in daemons if daemon.process.poll() is None]
    assert statuses == [0] * len(statuses)


@pytest.fixture(scope="session")
def daemon(tmp_path_factory):
    """One for all the tests that leave it as it is."""
    shared = Daemon(tmp_path_factory.mktemp("daemon"))
    yield shared
    assert shared.stop() == 0


class Gate:
    """The real worker behind a gate: it takes a conversion when the gate is open."""

    def __init__(self, folder):
        self.closed = os.path.join(str(folder), "closed")
        self.worker = os.path.join(str(folder), "worker")
        with open(self.worker, "w") as file:
            file.write(
                "#!%s -IS\n"
                "import os, socket, time\n"
                "requests = socket.socket(fileno=8)\n"
                "request = requests.recv(4096, socket.MSG_PEEK)\n"
                "while b'--describe' not in request and os.path.exists(%r):\n"
                "    time.sleep(0.01)\n"
                "os.execv(%r, ['h5pt-worker'])\n" % (sys.executable, self.closed, program("h5pt-worker"))
            )
        os.chmod(self.worker, 0o755)
        self.close()

    def close(self):
        open(self.closed, "w").close()

    def open(self):
        os.unlink(self.closed)


@pytest.fixture
def gate(tmp_path):
    gate = Gate(tmp_path)
    yield gate
    if os.path.exists(gate.closed):  # a worker whose daemon was killed still waits there
        gate.open()


CLASSIC = "tfkeras/compose/classic_cnn_03"


@pytest.fixture(scope="session")
def model():
    return case(CLASSIC)


@pytest.fixture(scope="session")
def refused_model():
    return case("tfkeras/made/several_reasons")
