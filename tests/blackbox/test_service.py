# SPDX-License-Identifier: Apache-2.0
"""The daemon itself: its API description, its settings, its health."""
import os
import subprocess

import contract
import pytest
import requests
from conftest import PATIENCE, Daemon, program, until


def run(*arguments, **environment):
    return subprocess.run([program("h5ptd"), *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE)


def routes():
    """{(method, path): (listeners, query parameters, scope)} as the daemon has them."""
    lines = [line.split() for line in run("--print-routes").stdout.splitlines()]
    return {(method.lower(), path): (listeners.split(","), set(query), scope) for listeners, method, path, scope, *query in lines}


def test_the_api_description_has_every_route_and_no_other():
    described = {route for route in contract.operations() if route[0] != "head"}
    assert set(routes()) == described and len(described) > 10
    heads = {("get", path) for method, path in contract.operations() if method == "head"}
    assert heads <= described


def test_the_api_description_has_every_query_parameter():
    for (method, path), operation in contract.operations().items():
        parameters = operation.get("parameters", []) + contract.document()["paths"][path].get("parameters", [])
        described = {contract.follow(p)["name"] for p in parameters if contract.follow(p)["in"] == "query"}
        assert described == routes()["get" if method == "head" else method, path][1], (method, path)


def test_the_api_description_has_every_scope():
    for (method, path), operation in contract.operations().items():
        scope = routes()["get" if method == "head" else method, path][2]
        assert operation.get("security", []) == ([] if scope == "open" else [{"key": [scope]}]), (method, path)
        assert ({"401", "403", "429"} <= set(operation["responses"])) == (scope != "open"), (method, path)


def test_the_api_description_is_served(daemon):
    answer = daemon.get("/openapi.yaml")
    with open(contract.PATH) as file:
        assert answer.text == file.read()


def test_capabilities(daemon):
    body = daemon.get("/v1/capabilities").json()
    layers = {layer["class"]: layer for layer in body["layers"]}
    assert layers["Conv2D"]["torch"] == ["nn.Conv2d"] and layers["Conv2D"]["versions"] == ["1", "2", "tf", "3"]
    assert "tf.math.tanh" in {name for row in body["operations"] for name in row["functions"]}
    assert ["silu", "swish"] in [row["names"] for row in body["activations"]]
    assert {"pt", "py"} <= set(body["formats"]) and body["parity"] == ["full", "quick", "off"]
    assert body["limits"]["upload_bytes"] == 2 << 30 and body["libraries"]["hdf5"]


def test_health_on_both_listeners(daemon):
    for url in daemon.url, daemon.admin:
        assert daemon.session.get(url + "/livez", timeout=PATIENCE).json() == {"status": "alive"}
        assert daemon.session.get(url + "/readyz", timeout=PATIENCE).json()["status"] == "ready"
        assert requests.head(url + "/livez", timeout=PATIENCE).status_code == 200
    version = daemon.session.get(daemon.admin + "/version", timeout=PATIENCE).json()
    assert version["version"] == contract.document()["info"]["version"]
    for foreign in daemon.admin + "/v1/conversions", daemon.url + "/version":
        assert requests.get(foreign, timeout=PATIENCE).status_code == 404


def test_healthcheck_command(daemon, start_daemon):
    healthcheck = lambda *arguments, **environment: subprocess.run(
        [program("h5pt"), "healthcheck", *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    address = daemon.url.removeprefix("http://")
    port = address.rsplit(":", 1)[1]
    assert healthcheck(address).returncode == 0
    assert healthcheck(H5PT_LISTEN="0.0.0.0:" + port).returncode == 0
    assert healthcheck("--ready", address).returncode == 0
    other = start_daemon()
    address = other.url.removeprefix("http://")
    assert other.stop() == 0
    gone = healthcheck(address)
    assert gone.returncode == 1 and "no answer" in gone.stderr
    assert healthcheck("nowhere").returncode == 2 and healthcheck("--fast").returncode == 2


def test_uploads_are_not_held_in_memory(start_daemon):
    daemon = start_daemon()

    def peak():
        with open("/proc/%d/status" % daemon.process.pid) as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))

    def body():
        yield b"\x89HDF\r\n\x1a\n"
        for _ in range(256):
            yield bytes(1 << 20)

    before = peak()
    answer = daemon.post("/v1/convert", body())
    assert answer.status_code == 422 and answer.json()["code"] == "H5_CORRUPT"
    assert peak() - before < 16 << 20


def test_every_request_is_logged(daemon):
    daemon.get("/livez", headers={"X-Request-ID": "to-be-logged"})
    # The line comes when the answer has left, which its reader may be ahead of.
    (line,) = until(lambda: [line for line in daemon.log() if line.get("request_id") == "to-be-logged"], "the request is logged")
    assert line["event"] == "request" and line["route"] == "/livez" and line["status"] == 200 and line["method"] == "GET"


def test_settings_come_from_flags_then_the_environment_then_the_defaults():
    settings = lambda *arguments, **environment: dict(
        line.split("=", 1) for line in run("--print-config", *arguments, **environment).stdout.splitlines()
    )
    defaults = settings(HOME="/home/somebody", XDG_STATE_HOME="/home/somebody/state")
    assert defaults["H5PT_LISTEN"] == "127.0.0.1:8080" and defaults["H5PT_MAX_UPLOAD"] == "2GiB" and int(defaults["H5PT_WORKERS"]) >= 1
    assert defaults["H5PT_DATA_DIR"] == ("/var/lib/h5pt" if os.geteuid() == 0 else "/home/somebody/state/h5pt")
    changed = settings("--workers=3", "--wall-time", "90s", HOME="/", H5PT_WORKERS="7", H5PT_MEMORY="1G", H5PT_RETENTION="1500ms")
    assert (changed["H5PT_WORKERS"], changed["H5PT_WALL_TIME"]) == ("3", "90s")
    assert (changed["H5PT_MEMORY"], changed["H5PT_RETENTION"]) == ("1GiB", "1500ms")
    # What is printed can be read back.
    assert settings(**changed) == changed
    help_text = run("--help").stdout
    assert all("--" + name[5:].lower().replace("_", "-") + " " in help_text for name in defaults)


@pytest.mark.parametrize(
    "arguments, environment, named",
    [
        (["--wrokers", "2"], {}, "--wrokers"),
        (["stray"], {}, "stray"),
        (["--workers"], {}, "--workers"),
        (["--workers", "many"], {}, "--workers"),
        (["--workers", "99999"], {}, "--workers"),
        (["--memory", "1MiB"], {}, "--memory"),
        (["--max-upload", "99999999999999999999"], {}, "--max-upload"),
        (["--retention", "10parsecs"], {}, "--retention"),
        (["--sandbox", "maybe"], {}, "require|prefer|off"),
        ([], {"H5PT_WROKERS": "2"}, "H5PT_WROKERS"),
        ([], {"H5PT_WORKERS": "-1"}, "H5PT_WORKERS"),
    ],
)
def test_settings_that_make_no_sense_are_fatal(arguments, environment, named):
    done = run(*arguments, HOME="/", **environment)
    assert done.returncode == 2 and named in done.stderr and not done.stdout


def test_what_keeps_it_from_starting_is_said(daemon, tmp_path):
    taken = ["--listen", "127.0.0.1:0", "--admin-listen", "off", "--data-dir"]
    assert "Another h5ptd" in run(*taken, daemon.data_dir).stderr
    assert "cannot be run" in run(*taken, str(tmp_path / "a"), "--worker", "/nonexistent").stderr
    assert "does not run" in run(*taken, str(tmp_path / "b"), "--worker", "/bin/false").stderr
    busy = run("--listen", daemon.url.removeprefix("http://"), "--admin-listen", "off", "--data-dir", str(tmp_path / "c"))
    assert busy.returncode != 0 and "in use" in busy.stderr


@pytest.mark.parametrize("sandbox", ["require", "off"])
def test_sandbox_settings(tmp_path, model, sandbox):
    if sandbox == "require" and "offers no" in run("--listen", "bad", "--sandbox", "require", "--data-dir", str(tmp_path / "x")).stderr:
        pytest.skip("this kernel has not all of the walls")
    with_setting = Daemon(tmp_path, sandbox=sandbox)
    walls = requests.get(with_setting.admin + "/version", timeout=PATIENCE).json()["sandbox"]
    assert (walls["landlock"] > 0, walls["seccomp"], walls["no_new_privileges"]) == (sandbox == "require",) * 3
    assert with_setting.post("/v1/convert", model).status_code == 200
    assert with_setting.stop() == 0
