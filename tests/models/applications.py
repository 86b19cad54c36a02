#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check every model of keras.applications, of Keras 3 and of tf-keras, and write the table docs/applications.md.

    H5PT_BUILD_DIR=build/release applications.py --keras3 PYTHON --tf-keras PYTHON [--scratch DIR] [NAME ...]

Runs where torch is installed.  --keras3 and --tf-keras name Python programs that have Keras 3 and tf-keras; with one of them alone, only its
models are checked, with NAME only these, and then no table is written.  make_models.py makes a few models, check() of check_models.py
converts and compares them, then they are deleted: the largest is 1.4 GB.  The outcomes stay in DIR/results.json; a further run
takes up the models that are not in there or had something wrong, with --again all of them.  Exit 1 when anything is wrong.
"""
import argparse
import json
import os
import subprocess
import sys

import check_models
import torch_check

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(HERE, os.pardir, os.pardir, "docs", "applications.md")
FLAVOURS = {"keras3": "Keras 3", "tf_keras": "tf-keras"}
BATCH = 8  # models made by one process: TensorFlow takes seconds to start

INTRODUCTION = """# keras.applications

Made by tests/models/applications.py. Every model that `keras.applications` can build, as a legacy `.h5` file with random weights and
BatchNormalization statistics, at the smallest input that the model takes. "model.py", "pt2" and "torchscript" are
the largest difference between the outputs of that form in %s and those of the Keras named, relative to the largest output; "parity" the same between the two sides of
h5pt's own check, which also holds every layer to 1e-4. "seconds" is the whole conversion to all of them, parity included, by h5pt %s.
"""


class Maker:
    """make_models.py under one of the Pythons."""

    def __init__(self, flavour, python):
        self.flavour = flavour
        self.command = [python, os.path.join(HERE, "make_models.py")]
        self.environment = dict(os.environ, TF_USE_LEGACY_KERAS="1" if flavour == "tf_keras" else "0")
        listed = json.loads(subprocess.run(self.command + ["--list"], env=self.environment, stdout=subprocess.PIPE, check=True).stdout)
        self.versions, self.names = listed["versions"], listed["names"]

    def make(self, names, folder):
        """What it complained about; the models that it did not complain about have been made all the same."""
        command = self.command + ["-o", folder, "--vgg-size", "0", *names]
        done = subprocess.run(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        return done.stderr.decode(errors="replace") if done.returncode else ""


class Results:
    """The outcome of each model, kept in a file: {flavour: {name: {"row", "problems"}}}."""

    def __init__(self, path, again):
        self.path = path
        self.outcomes = {}
        if os.path.exists(path) and not again:
            with open(path) as file:
                self.outcomes = json.load(file)

    def of(self, flavour, name):
        return self.outcomes.get(flavour, {}).get(name)

    def passed(self, flavour, name):
        outcome = self.of(flavour, name)
        return outcome is not None and not outcome["problems"]

    def put(self, flavour, name, row, problems):
        self.outcomes.setdefault(flavour, {})[name] = {"row": row, "problems": problems}
        with open(self.path + ".new", "w") as file:
            json.dump(self.outcomes, file, indent=1)
        os.replace(self.path + ".new", self.path)


def remove(stem):
    for ending in (".h5", ".io.npz"):
        if os.path.exists(stem + ending):
            os.unlink(stem + ending)


def check_batch(maker, names, program, args, results):
    folder = os.path.join(args.scratch, maker.flavour)
    stems = {name: os.path.join(folder, name) for name in names}
    for stem in stems.values():
        remove(stem)
    complaints = maker.make(names, folder)
    for name, stem in stems.items():
        if os.path.exists(stem + ".io.npz"):
            row, problems = check_models.check_safely(stem, program, args.check)
            inputs, _, _ = torch_check.read_case(stem)
            row["pixels"] = inputs[0].shape[1]
        else:
            lines = [line for line in complaints.splitlines() if line.startswith(name + ": ")]
            row, problems = {"name": name}, lines or ["was not made: " + complaints[-500:]]
        remove(stem)
        results.put(maker.flavour, name, row, problems)
        print(maker.flavour, json.dumps(row), *problems, flush=True)


def write_table(makers, results, version):
    lines = [INTRODUCTION % ("torch " + torch_check.torch.__version__, version)]
    for maker in makers:
        outcomes = [results.of(maker.flavour, name) for name in maker.names]
        right = sum(not outcome["problems"] for outcome in outcomes)
        worst = max(outcome["row"].get(form, float("inf")) for outcome in outcomes for form in torch_check.FORMS)
        lines += [
            "## %s (%s)" % (FLAVOURS[maker.flavour], ", ".join("%s %s" % pair for pair in maker.versions.items())),
            "",
            "%d of %d right: converted, parity ok, each form in torch equals Keras to %g. The largest error is %.1e." % (right, len(outcomes), torch_check.TOLERANCE, worst),
            "",
            "| model | input | parameters | converted | parity | model.py | pt2 | torchscript | seconds |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for outcome in outcomes:
            row = outcome["row"]
            cell = lambda form, key: form % row[key] if key in row else "-"
            parity = "%s, %s" % (cell("%s", "parity"), cell("%.1e", "parity_error"))
            size = "%d x %d" % (row["pixels"], row["pixels"]) if "pixels" in row else "-"
            forms = [cell("%.1e", form) for form in torch_check.FORMS]
            cells = [row["name"], size, cell("%d", "parameters"), cell("%s", "converted"), parity, *forms, cell("%.1f", "seconds")]
            lines.append("| %s |" % " | ".join(cells))
        lines.append("")
    with open(TABLE, "w") as file:
        file.write("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flavour, title in FLAVOURS.items():
        parser.add_argument("--" + flavour.replace("_", "-"), metavar="PYTHON", help="a Python that has " + title)
    parser.add_argument("--scratch", default="/var/tmp/h5pt-applications", metavar="DIR", help="for the models and results.json (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="check those too that are known to be right")
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    makers = [Maker(flavour, getattr(args, flavour)) for flavour in FLAVOURS if getattr(args, flavour)]
    if not makers:
        parser.error("--keras3 or --tf-keras is needed")
    unknown = set(args.names).difference(*[maker.names for maker in makers])
    if unknown:
        parser.error("unknown: " + " ".join(sorted(unknown)))
    program = torch_check.find_program()
    args.check = check_models.make_parser().parse_args(["--forms", ",".join(torch_check.FORMS), args.scratch])
    os.makedirs(args.scratch, exist_ok=True)
    results = Results(os.path.join(args.scratch, "results.json"), args.again)
    failed = 0
    for maker in makers:
        wanted = [name for name in maker.names if not args.names or name in args.names]
        todo = [name for name in wanted if not results.passed(maker.flavour, name)]
        for start in range(0, len(todo), BATCH):
            check_batch(maker, todo[start : start + BATCH], program, args, results)
        wrong = [name for name in wanted if not results.passed(maker.flavour, name)]
        print("%s: %d passed, %d failed %s" % (maker.flavour, len(wanted) - len(wrong), len(wrong), " ".join(wrong)), flush=True)
        failed += len(wrong)
    if not args.names and len(makers) == len(FLAVOURS):
        version = subprocess.run([program, "--version"], stdout=subprocess.PIPE, check=True).stdout.decode().split()[1]
        write_table(makers, results, version)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
