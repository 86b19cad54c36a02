# SPDX-License-Identifier: Apache-2.0
"""The files of deploy/, and what the program itself says of its settings."""
import os
import subprocess

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "m": 1 << 20, "g": 1 << 30, "": 1}
SECONDS = {"ms": 0.001, "s": 1, "min": 60, "m": 60, "h": 3600, "": 1}


def path(*parts):
    return os.path.join(ROOT, *parts)


def read(*parts):
    with open(path(*parts)) as file:
        return file.read()


def documents(*parts):
    return [document for document in yaml.safe_load_all(read(*parts)) if document]


def program(name):
    return os.path.join(os.path.abspath(os.environ["H5PT_BUILD_DIR"]), name)


def measure(text, units):
    number = text.rstrip("".join(set("".join(units))))
    return float(number) * units[text[len(number) :]]


def settings(environment):
    """What the daemon makes of these variables of the environment: {name: value}. It takes only those that it knows."""
    done = subprocess.run([program("h5ptd"), "--print-config"], env={"HOME": "/", **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name.removeprefix("H5PT_").lower(): value for name, value in (line.split("=", 1) for line in done.stdout.splitlines())}


def room_for_workers(values):
    """Bytes that a limit on the memory of the whole service has to allow: all its workers at their largest, and 1 GiB for the daemon."""
    return int(values["workers"]) * measure(values["memory"], UNITS) + (1 << 30)


def time_to_stop(values):
    """Seconds that the daemon may take after SIGTERM: it drains, and last answers get five seconds."""
    return measure(values["drain_delay"], SECONDS) + measure(values["drain_time"], SECONDS) + 5
