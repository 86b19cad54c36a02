# SPDX-License-Identifier: Apache-2.0
"""The compose file and the systemd unit: settings that the daemon takes, limits that fit it, walls that stay."""
import shutil
import subprocess

import pytest
from conftest import SECONDS, UNITS, documents, measure, path, program, read, room_for_workers, settings, time_to_stop

UNIT = "deploy/systemd/h5ptd.service"


@pytest.fixture(scope="module")
def compose():
    (document,) = documents("deploy/compose.yaml")
    return document


def test_compose_fits_the_daemon(compose):
    service = compose["services"]["h5pt"]
    values = settings(service["environment"])
    assert measure(service["mem_limit"], UNITS) >= room_for_workers(values)
    assert service["memswap_limit"] == service["mem_limit"] and service["cpus"] == int(values["workers"])
    assert measure(service["stop_grace_period"], SECONDS) > time_to_stop(values)
    assert values["keys_file"] == "/run/secrets/" + service["secrets"][0] and service["secrets"] == list(compose["secrets"])
    (volume,) = service["volumes"]
    assert volume.split(":")[1] == "/var/lib/h5pt" and "VOLUME /var/lib/h5pt" in read("Dockerfile")


def test_compose_keeps_the_walls(compose):
    service = compose["services"]["h5pt"]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"]
    assert service["pids_limit"] <= 256 and service["ulimits"]["core"] == 0
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def unit():
    """{key: [values]} of the unit."""
    found = {}
    for line in read(UNIT).splitlines():
        if "=" in line and line[0] not in "#;":
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def test_the_unit_fits_the_daemon():
    keys = unit()
    environment = dict(pair.split("=", 1) for pair in keys["Environment"][0].split())
    values = settings(environment)
    assert values["sandbox"] == "require" and values["data_dir"] == "/var/lib/" + keys["StateDirectory"][0]
    assert measure(keys["TimeoutStopSec"][0], SECONDS) > time_to_stop(values)
    assert keys["Type"] == ["notify"] and keys["WatchdogSec"] and keys["KillMode"] == ["mixed"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_takes_the_unit(tmp_path):
    text = read(UNIT).replace("/usr/bin/h5ptd", program("h5ptd"))
    copy = tmp_path / "h5ptd.service"
    copy.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True)
    assert done.returncode == 0 and "h5ptd" not in done.stderr, done.stderr
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15", path(UNIT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr
