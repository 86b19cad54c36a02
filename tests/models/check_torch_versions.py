#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Load what h5pt writes with several versions of torch: the golden cases in every form.

    check_torch_versions.py BUILD_DIR [--versions 1.13.1,2.6.0,2.13.0,newest] [--venvs DIR] [--only REGEX]

Each version gets a virtual environment DIR/venv-torch-VERSION of the Python that runs this (one that all the versions have wheels for, as
3.11 is), filled by pip; one that is there is used as it is.  A torch with its CUDA libraries takes up to 6 GB, one for the CPU alone less
than 1: to have these, tell pip where they are, as in PIP_EXTRA_INDEX_URL.  The cases are converted once; then torch_version.py checks them
in one process per version.  A table: how many cases each form passed, failed and does not exist in.  Exit 1 when one failed.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "golden"))
import golden_cases

FORMATS = "pt,py,pt2,torchscript,safetensors"
VERSIONS = "1.13.1,2.6.0,2.13.0,newest"
LAST_OF_NUMPY_1 = (2, 2)  # older ones were built against numpy 1, and what was, cannot use numpy 2


def convert_all(program, cases, folder):
    """Every form of each case, case i in FOLDER/i."""

    def convert(number):
        target = os.path.join(folder, str(number))
        golden_cases.convert(program, cases[number], target, golden_cases.CONVERTED, "--parity", "off", "--formats", FORMATS)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(convert, range(len(cases))))
    with open(os.path.join(folder, "cases.json"), "w") as file:
        json.dump(cases, file)


def environment(version, folder):
    """The Python of a virtual environment that has this torch."""
    place = os.path.join(folder, "venv-torch-" + version)
    python = os.path.join(place, "bin", "python")
    if os.path.exists(os.path.join(place, "complete")):
        return python
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place, with_pip=True, symlinks=True)
    torch = "torch" if version == "newest" else "torch==" + version
    old = version != "newest" and tuple(map(int, version.split(".")[:2])) <= LAST_OF_NUMPY_1
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-cache-dir", torch, "numpy<2" if old else "numpy"], check=True)
    open(os.path.join(place, "complete"), "w").close()
    return python


def check_version(version, args, converted):
    """{"torch": its version, "checks": their names, "outcomes": [[case, check, outcome]]}: an outcome is "", a fault, or null where the
    case has no such form."""
    results = os.path.join(converted, "results.json")
    command = [environment(version, args.venvs), os.path.join(HERE, "torch_version.py"), converted, results]
    subprocess.run(command, check=True, env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"))
    with open(results) as file:
        return json.load(file)


def print_table(found):
    checks = found[0]["checks"]
    print("%-16s" % "torch", *("%-18s" % check for check in checks))
    for version in found:
        cells = []
        for wanted in checks:
            column = [outcome for _, check, outcome in version["outcomes"] if check == wanted]
            right, absent = column.count(""), column.count(None)
            text = "%d ok" % right + (", %d FAILED" % (len(column) - right - absent) if right + absent < len(column) else "") + (", %d none" % absent if absent else "")
            cells.append("%-18s" % (text if column else "-"))
        print("%-16s" % version["torch"], *cells)


def make_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", metavar="BUILD_DIR")
    parser.add_argument("--versions", default=VERSIONS, metavar="LIST", help="with commas between (default: %(default)s)")
    parser.add_argument("--venvs", default="/var/tmp/h5pt-torch-versions", metavar="DIR", help="(default: %(default)s)")
    parser.add_argument("--only", default="", metavar="REGEX", help="cases whose name this matches")
    return parser


def main():
    args = make_parser().parse_args()
    os.environ["H5PT_BUILD_DIR"] = args.build
    cases = [case for case in golden_cases.TO_CONVERT if re.search(args.only, case)]
    if not cases:
        sys.exit("no case matches " + args.only)
    os.makedirs(args.venvs, exist_ok=True)
    with tempfile.TemporaryDirectory() as converted:
        convert_all(golden_cases.find_program(), cases, converted)
        found = [check_version(version, args, converted) for version in args.versions.split(",")]
    outcomes = [(version["torch"], *outcome) for version in found for outcome in version["outcomes"]]
    faults = [row for row in outcomes if row[-1]]
    for torch, case, check, fault in faults:
        print("torch %s: %s of %s: %s" % (torch, check, case, fault.strip().replace("\n", "\n    ")))
    print_table(found)
    print("%d passed, %d failed" % (sum(row[-1] == "" for row in outcomes), len(faults)))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
