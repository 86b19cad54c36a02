# SPDX-License-Identifier: Apache-2.0
"""A worker is loaded once and forks for each conversion: what becomes of both when one of them dies."""
import errno
import os
import signal
import socket
import struct

import pytest
from conftest import process_name, program, until
from test_conversions import create
from test_faults import large_model


def convert(daemon, model):
    answer = daemon.post("/v1/convert", model)
    assert answer.status_code == 200, answer.text
    return daemon.job(answer.headers["H5PT-Conversion"])


@pytest.fixture
def slow_model(tmp_path):
    """One whose conversion takes long enough to be caught."""
    with open(large_model(tmp_path, 4096, 8192), "rb") as file:
        return file.read()


def gone(pid):
    until(lambda: not os.path.exists("/proc/%d" % pid), "process %d is gone" % pid)


def test_a_worker_serves_many_conversions_and_then_is_replaced(start_daemon, model):
    daemon = start_daemon(workers=1, worker_runs=3)
    seen = []
    for _ in range(7):
        convert(daemon, model)
        seen.append(daemon.loaded())
    assert seen[0] == seen[1] and len(seen[0]) == 1
    assert seen[2] == seen[5] == []  # its share is done, and the next one is loaded for the next conversion
    assert seen[3] == seen[4] and len(set(map(tuple, seen))) == 4


def test_a_worker_that_dies_while_it_waits_costs_no_attempt(start_daemon, model):
    daemon = start_daemon(workers=1)
    convert(daemon, model)
    (worker,) = daemon.loaded()
    os.kill(worker, signal.SIGKILL)
    until(lambda: process_name(worker) is None, "it is dead")
    assert convert(daemon, model)["attempts"] == 1
    assert daemon.loaded() != [worker]


def test_a_conversion_that_dies_is_tried_again_by_a_new_worker(start_daemon, slow_model):
    daemon = start_daemon(workers=1)
    job_id = create(daemon, slow_model)
    (conversion,) = until(daemon.conversions, "it converts")
    (worker,) = daemon.loaded()
    os.kill(conversion, signal.SIGKILL)
    gone(worker)
    job = daemon.wait_for(job_id, "succeeded", "failed")
    assert (job["state"], job["attempts"]) == ("succeeded", 2)
    assert daemon.loaded() != [worker]


@pytest.mark.parametrize("which", ["worker", "conversion"])
def test_one_that_stands_still_is_ended_with_all_of_it(start_daemon, slow_model, model, which):
    daemon = start_daemon(workers=1, wall_time="3s")
    job_id = create(daemon, slow_model)
    (conversion,) = until(daemon.conversions, "it converts")
    (worker,) = daemon.loaded()
    os.kill(conversion if which == "conversion" else worker, signal.SIGSTOP)
    if which == "worker":
        os.kill(conversion, signal.SIGSTOP)
    assert daemon.wait_for(job_id, "failed")["error"]["code"] == "WORKER_TIMEOUT"
    gone(worker)
    gone(conversion)
    assert convert(daemon, model)["attempts"] == 1
    assert daemon.files("tmp") == []


def test_a_canceled_conversion_ends_at_once(start_daemon, slow_model):
    daemon = start_daemon(workers=1)
    job_id = create(daemon, slow_model)
    (conversion,) = until(daemon.conversions, "it converts")
    assert daemon.request("DELETE", "/v1/conversions/" + job_id).status_code in (200, 202, 204)
    gone(conversion)
    until(lambda: daemon.files("tmp") == [] and daemon.files("inputs") == [], "nothing is left over")


def test_all_of_them_die_with_the_daemon(start_daemon, slow_model):
    daemon = start_daemon(workers=1)
    job_id = create(daemon, slow_model)
    (conversion,) = until(daemon.conversions, "it converts")
    (worker,) = daemon.loaded()
    daemon.kill()
    gone(worker)
    gone(conversion)
    daemon.start()
    assert daemon.wait_for(job_id, "succeeded", "failed")["attempts"] == 1


def test_the_files_of_an_input_are_used_again_and_empty(start_daemon, model):
    daemon = start_daemon(workers=1)
    for _ in range(3):
        convert(daemon, model)
        until(lambda: len(daemon.files("spare")) == 1 and daemon.files("inputs") == [], "it is put aside")
    (spare,) = daemon.files("spare")
    assert os.listdir(os.path.join(daemon.data_dir, "spare", spare)) == ["model"]
    assert os.path.getsize(os.path.join(daemon.data_dir, "spare", spare, "model")) == 0
    daemon.stop()
    daemon.start()
    assert daemon.files("spare") == []


def test_requests_that_are_none_are_answered_so(tmp_path):
    """The worker by itself: what the daemon never sends does not end it, and the end of the socket does."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    places = [(os.POSIX_SPAWN_DUP2, its.fileno(), 8)] + [(os.POSIX_SPAWN_CLOSE, fd) for fd in range(3, 8)]
    worker = os.posix_spawn(program("h5pt-worker"), ["h5pt-worker"], {}, file_actions=places)
    its.close()
    ours.settimeout(60)
    null = os.open("/dev/null", os.O_RDWR)

    def ask(text, fds):
        socket.send_fds(ours, [text], [null] * fds)
        error, status, peak = struct.unpack("=iiq", ours.recv(64))
        return error, status

    for text, fds in (b"--describe\0", 0), (b"--describe\0", 4), (b"--describe", 5), (b"x\0" * 100, 5), (b"x" * 5000, 5):
        assert ask(text, fds)[0] == errno.EBADMSG
    assert ask(b"--sandbox\0off\0--describe\0", 5) == (0, 0)
    ours.close()
    assert os.waitpid(worker, 0)[1] == 0
    os.close(null)
