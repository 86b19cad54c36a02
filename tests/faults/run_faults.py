#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does the parity check notice mistakes?  Builds h5pt with each deliberate fault of faults.toml and converts golden cases with it.

    run_faults.py BUILD_DIR [NAME ...]     BUILD_DIR is a build of its own; without names all faults are tried and docs/faults.md is written

A fault is caught when `h5pt convert` ends with parity_failed on a golden case and the first divergence is at a layer that the fault breaks;
a refusal (of a torch graph that cannot be built or run) does not count, and a crash fails the fault.  Where parity holds in spite of the fault, the real torch must give what the real Keras gave: else parity
missed it.  Needs what tests/requirements.txt lists.
"""
import argparse
import collections
import concurrent.futures
import os
import subprocess
import sys
import tempfile

import fault_table
from fault_table import ROOT

sys.path.insert(0, os.path.join(ROOT, "tests", "golden"))
import torch_check  # noqa: E402

PAGE = os.path.join(ROOT, "docs", "faults.md")
PREFACE = os.path.join(fault_table.HERE, "preface.md")
CONVERTED, INTERNAL, REFUSED_IT, PARITY_FAILED = 0, 1, 3, 4  # exit codes

# What became of one case under a fault.
CAUGHT, ELSEWHERE, HARMLESS, MISSED, REFUSED, BROKEN = KINDS = "caught", "elsewhere", "harmless", "missed", "refused", "broken"
Outcome = collections.namedtuple("Outcome", "kind case detail max_rel")


def build(folder, fault):
    """The path of h5pt, with this fault in it; None: without any."""
    options = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF", "-DH5PT_FAULT=" + (fault or "")]
    for command in (["cmake", "-S", ROOT, "-B", folder, *options], ["cmake", "--build", folder, "--target", "h5pt"]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit("%s: cannot be built\n%s%s" % (fault, done.stdout[-4000:], done.stderr[-4000:]))
    return os.path.join(folder, "h5pt")


def convert(program, case, folder):
    """(exit code, last words) of h5pt convert."""
    stem = os.path.join(fault_table.CASES, case)
    architecture = ["--architecture", stem + ".json"] if os.path.exists(stem + ".json") else []
    command = [program, "convert", torch_check.model_of(stem), *architecture, "-o", folder]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300)
    return done.returncode, (done.stderr or done.stdout).strip()[-1000:]


def differs_from_keras(case, folder, report):
    """How far the real torch is from the real Keras, relative to the largest value; None when that is within the tolerance."""
    inputs, outputs, _ = torch_check.read_case(os.path.join(fault_table.CASES, case))
    try:
        net, _ = torch_check.load(folder)
        worst = max(rel for _, rel in torch_check.compare(torch_check.run(net, inputs, report), outputs))
    except (torch_check.Mismatch, RuntimeError, ValueError) as why:
        return str(why)
    return None if worst <= torch_check.tolerance(report) else "%.2g" % worst


def class_of(layer, aliases):
    """Without the package that custom classes carry: Custom>LayerScale."""
    return aliases.get(layer, layer).rsplit(">", 1)[-1]


def try_case(program, fault, case, aliases):
    with tempfile.TemporaryDirectory() as folder:
        status, words = convert(program, case, folder)
        if status not in (CONVERTED, PARITY_FAILED):
            unbuildable = status == REFUSED_IT or status == INTERNAL and "INTERNAL" in words  # a crash has that exit code too
            return Outcome(REFUSED if unbuildable else BROKEN, case, "exit %d: %s" % (status, words), None)
        report = torch_check.read_report(folder)
        if status == CONVERTED:
            far = differs_from_keras(case, folder, report)
            return Outcome(MISSED if far else HARMLESS, case, far, None)
        first = report["parity"]["first_divergence"]
        if report["verdict"] != "parity_failed" or not first:
            return Outcome(BROKEN, case, "parity failed, but the report says %s" % report["verdict"], None)
        layer = class_of(first["class"], aliases)
        return Outcome(CAUGHT if layer in fault["classes"] else ELSEWHERE, case, layer, first["max_rel"])


def try_fault(program, fault, cases, aliases, jobs):
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda case: try_case(program, fault, case, aliases), cases))


def convert_all(program, cases, jobs):
    """Cases that do not convert with parity when nothing is wrong."""

    def converts(case):
        with tempfile.TemporaryDirectory() as folder:
            return convert(program, case, folder)[0] == CONVERTED

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        return [case for case, well in zip(cases, pool.map(converts, cases)) if not well]


def of_kind(outcomes, kind):
    return [o for o in outcomes if o.kind == kind]


def well(outcomes):
    return of_kind(outcomes, CAUGHT) and not of_kind(outcomes, MISSED) and not of_kind(outcomes, BROKEN)


def summary(fault, outcomes):
    counts = ", ".join("%d %s" % (len(of_kind(outcomes, k)), k) for k in KINDS if of_kind(outcomes, k))
    return "%-36s %s  %s" % (fault["name"], "ok  " if well(outcomes) else "FAIL", counts)


def number(value):
    return "not finite" if value is None or value != value or value == float("inf") else "%.1e" % value


HEAD = """| fault | what is wrong | cases | caught | refused | first one caught | there at | relative error |
|---|---|---|---|---|---|---|---|"""


def page(faults, results):
    with open(PREFACE) as file:
        lines = [file.read().rstrip("\n"), ""]
    count = lambda *kinds: sum(len(of_kind(outcomes, kind)) for outcomes in results.values() for kind in kinds)
    lines.append(
        "%d faults of %d are caught. Of %d conversions parity failed in %d, %d were refused since the torch graph cannot be built or run, and in %d the fault did not"
        " touch the result; in %d parity missed it."
        % (sum(1 for o in results.values() if of_kind(o, CAUGHT)), len(faults), count(*KINDS), count(CAUGHT, ELSEWHERE), count(REFUSED), count(HARMLESS), count(MISSED))
    )
    family = None
    for fault in faults.values():
        if fault["family"] != family:
            family = fault["family"]
            lines += ["", "### " + family, "", HEAD]
        outcomes = results[fault["name"]]
        first = next(iter(of_kind(outcomes, CAUGHT)), Outcome(None, "none", "", 0))
        caught, refused = len(of_kind(outcomes, CAUGHT)), len(of_kind(outcomes, REFUSED))
        row = (fault["name"], fault["what"], len(outcomes), caught, refused, first.case, first.detail, number(first.max_rel))
        lines.append("| `%s` | %s | %d | %d | %d | %s | %s | %s |" % row)
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build_dir")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--verbose", action="store_true", help="tell what became of every case that was not caught")
    options = parser.parse_args()

    faults, cases, aliases = fault_table.read_faults(), fault_table.convertible_cases(), fault_table.read_aliases()
    unknown = set(options.names) - set(faults)
    if unknown:
        parser.error("no such fault: " + ", ".join(sorted(unknown)))
    chosen = {name: fault for name, fault in faults.items() if not options.names or name in options.names}
    wanted = {name: fault_table.cases_of(fault, cases, aliases) for name, fault in chosen.items()}

    unwell = convert_all(build(options.build_dir, None), sorted(set().union(*wanted.values())), options.jobs)
    if unwell:
        sys.exit("without a fault these do not convert: " + ", ".join(unwell))
    results, failed = {}, []
    for name, fault in chosen.items():
        results[name] = try_fault(build(options.build_dir, name), fault, wanted[name], aliases, options.jobs)
        print(summary(fault, results[name]), flush=True)
        for outcome in results[name]:
            if outcome.kind == MISSED or (options.verbose and outcome.kind in (ELSEWHERE, REFUSED, BROKEN)):
                print("    %s %s: %s" % (outcome.kind, outcome.case, outcome.detail), flush=True)
        if not well(results[name]):
            failed.append(name)
    build(options.build_dir, None)
    if not options.names:
        with open(PAGE, "w") as file:
            file.write(page(faults, results))
    if failed:
        sys.exit("parity does not catch: " + ", ".join(failed))


if __name__ == "__main__":
    main()
