#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Convert each model of a folder with h5pt, run it in the real torch, and compare with what Keras computed.

    H5PT_BUILD_DIR=build/release check_models.py [options] DIR [NAME ...]

DIR holds NAME.h5 and NAME.io.npz as make_models.py writes them.  A table, one row a model: did it convert, does h5pt's own parity check
hold and what is its largest error, the largest error of each form in torch against Keras (--forms), the seconds and the peak memory of h5pt, how often the size
of a copy with fsync that is, and the permutes in model.py.  Exit 1 when anything is wrong.
"""
import argparse
import glob
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "golden"))
import torch_check
from torch_check import torch

CLASSIC_TOLERANCE = 1e-6  # absolute, on probabilities; two convolutions and a Dense add up a few thousand terms at most
MIB = 2**20


# A process counts the peak of the one that started it as its own; this small one stands between.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:], stderr=subprocess.STDOUT)
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def measured(command):
    """(exit code, output, seconds, peak resident bytes) of a command."""
    with tempfile.NamedTemporaryFile("r") as peak:
        start = time.monotonic()
        done = subprocess.run([sys.executable, "-c", MEASURE, peak.name] + command, stdout=subprocess.PIPE)
        seconds = time.monotonic() - start
        return done.returncode, done.stdout.decode(errors="replace"), seconds, int(peak.read()) * 1024


def copy_seconds(path, folder):
    target = os.path.join(folder, "copy")
    start = time.monotonic()
    with open(path, "rb") as source, open(target, "wb") as copy:
        shutil.copyfileobj(source, copy, MIB)
        copy.flush()
        os.fsync(copy.fileno())
    seconds = time.monotonic() - start
    os.unlink(target)
    return seconds


def classic_problems(net, max_abs, permutes):
    count = lambda kind: sum(type(part) is kind for part in net.modules())
    wanted = {torch.nn.Conv2d: 2, torch.nn.MaxPool2d: 2, torch.nn.Linear: 1}
    problems = ["%d %s, not %d" % (count(kind), kind.__name__, n) for kind, n in wanted.items() if count(kind) != n]
    if not max_abs <= CLASSIC_TOLERANCE:
        problems.append("max abs error %.3g > %g" % (max_abs, CLASSIC_TOLERANCE))
    if permutes:
        problems.append("%d permutes in model.py" % permutes)
    return problems


def check(stem, program, args, folder):
    """One model's row of the table, and what is wrong with it."""
    name = os.path.basename(stem)
    row = {"name": name}
    copied = copy_seconds(stem + ".h5", folder)
    forms = args.forms.split(",")
    formats = ",".join(dict.fromkeys(["pt", "py", *forms]))
    command = [program, "convert", stem + ".h5", "--formats", formats, *shlex.split(args.convert_args), "-o", folder]
    code, output, row["seconds"], peak = measured(command)
    row.update(copies=row["seconds"] / copied, rss=peak / MIB, converted="yes" if code == 0 else "exit %d" % code)
    if code != 0:
        return row, [output[-1500:] or "h5pt said nothing"]
    report = torch_check.read_report(folder)
    inputs, outputs, _ = torch_check.read_case(stem)
    row.update(permutes=torch_check.count_permutes(folder), parameters=report["model"]["parameters"])
    problems = []
    for form in forms:
        net = torch_check.FORMS[form](folder)
        differences = torch_check.compare(torch_check.run(net, inputs, report), outputs)
        max_abs, row[form] = (max(column) for column in zip(*differences))
        if not row[form] <= torch_check.TOLERANCE:
            problems.append("%s in torch and Keras differ by %.3g, relative" % (form, row[form]))
    parity = report["parity"]
    if not args.no_parity:
        row["parity"] = "ok" if parity and parity["ok"] is True else "FAILED"
        row["parity_error"] = parity["max_rel"] if parity else float("nan")
        if row["parity"] != "ok":
            problems.append("parity: %s" % parity)
    if args.max_rss and row["rss"] > args.max_rss:
        problems.append("peak memory %.0f MiB > %.0f MiB" % (row["rss"], args.max_rss))
    if args.max_copies and row["copies"] > args.max_copies:
        problems.append("took %.1f times as long as a copy with fsync (%.2f s)" % (row["copies"], copied))
    if name == "classic" and forms == ["py"]:
        problems += classic_problems(net, max_abs, row["permutes"])
    return row, problems


# key, heading, width (negative: to the left), number format
COLUMNS = [
    ("name", "model", -15, "%s"),
    ("converted", "converted", -9, "%s"),
    ("parity", "parity", -6, "%s"),
    ("parity_error", "its max", 8, "%.1e"),
    ("py", "py", 9, "%.2e"),
    ("pt2", "pt2", 9, "%.2e"),
    ("torchscript", "script", 9, "%.2e"),
    ("seconds", "seconds", 8, "%.2f"),
    ("copies", "copies", 6, "%.1f"),
    ("rss", "RSS MiB", 7, "%.0f"),
    ("permutes", "permutes", 8, "%d"),
]


def print_row(cells):
    print("  ".join("%*s" % (width, cell) for cell, (_, _, width, _) in zip(cells, COLUMNS)), flush=True)


def make_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--convert-args", default="", help="further arguments of `h5pt convert`, in one string")
    parser.add_argument("--forms", default="py", metavar="LIST", help="which are checked, with commas between, of %s (default: %%(default)s)" % " ".join(torch_check.FORMS))
    parser.add_argument("--no-parity", action="store_true", help="do not ask for parity.ok (for --convert-args='--parity off')")
    parser.add_argument("--max-rss", type=float, help="fail when h5pt takes more MiB of memory")
    parser.add_argument("--max-copies", type=float, help="fail when h5pt takes more time than so many copies of the file with fsync")
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("names", nargs="*", metavar="NAME")
    return parser


def check_safely(stem, program, args):
    """check() in a folder of its own; whatever goes wrong is a problem of this model, so that it does not hide the others."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return check(stem, program, args, folder)
        except Exception as error:
            return {"name": os.path.basename(stem)}, ["%s: %s" % (type(error).__name__, error)]


def main():
    parser = make_parser()
    args = parser.parse_args()
    program = torch_check.find_program()
    stems = [os.path.join(args.folder, n) for n in args.names] or [p[: -len(".io.npz")] for p in sorted(glob.glob(os.path.join(args.folder, "*.io.npz")))]
    if not stems:
        parser.error("no models in " + args.folder)
    torch.set_num_threads(os.cpu_count())
    print_row([heading for _, heading, _, _ in COLUMNS])
    failed = 0
    for stem in stems:
        row, problems = check_safely(stem, program, args)
        print_row([form % row[key] if key in row else "-" for key, _, _, form in COLUMNS])
        for problem in problems:
            print("    " + problem.strip().replace("\n", "\n    "))
        failed += bool(problems)
    print("%d passed, %d failed" % (len(stems) - failed, failed))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
