# SPDX-License-Identifier: Apache-2.0
"""The table of deliberate faults still fits the sources, the golden cases and docs/faults.md. The faults themselves: run_faults.py."""
import os
import re
import subprocess
import sys

import fault_table
import pytest

FAULTS = fault_table.read_faults()
CASES = fault_table.convertible_cases()
ALIASES = fault_table.read_aliases()


@pytest.mark.parametrize("name", FAULTS)
def test_fault_can_be_injected(name):
    fault = FAULTS[name]
    assert re.fullmatch(r"[a-z0-9-]+", name)
    assert fault["file"].startswith("core/") and fault["file"].endswith(".c")
    assert fault_table.inject(fault).count(fault["replace"]) >= 1
    assert fault["what"] and fault["classes"] and "|" not in fault["what"]


@pytest.mark.parametrize("name", FAULTS)
def test_fault_has_golden_cases(name):
    assert fault_table.cases_of(FAULTS[name], CASES, ALIASES)


def test_page_tells_of_every_fault():
    with open(os.path.join(fault_table.ROOT, "docs", "faults.md")) as file:
        rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.*?) \| \d+ \| (\d+) \|", file.read(), re.M)
    assert [(name, what) for name, what, _ in rows] == [(name, fault["what"]) for name, fault in FAULTS.items()], "run run_faults.py"
    assert all(int(caught) > 0 for _, _, caught in rows)


def test_unknown_fault_is_refused(tmp_path):
    tool = os.path.join(fault_table.HERE, "fault_table.py")
    done = subprocess.run([sys.executable, "-B", tool, "no-such-fault", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode != 0 and "no fault of this name" in done.stderr
    assert not os.listdir(tmp_path)
