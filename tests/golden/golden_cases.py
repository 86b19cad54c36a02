# SPDX-License-Identifier: Apache-2.0
"""The golden cases, and `h5pt convert` of one: what needs neither torch nor Keras."""
import json
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = os.path.join(HERE, "cases")

MODEL_ENDINGS = (".weights.h5", ".h5", ".keras")

# Exit codes of `h5pt convert`.
CONVERTED, REFUSED = 0, 3


def find_program():
    folder = os.environ.get("H5PT_BUILD_DIR")
    if not folder:
        raise SystemExit("H5PT_BUILD_DIR must name the folder in which h5pt was built")
    program = os.path.join(os.path.abspath(folder), "h5pt")
    if not os.access(program, os.X_OK):
        raise SystemExit("there is no program " + program)
    return program


def stem_of(name):
    """The name of a case from the name of its model file; None for other files."""
    return next((name[: -len(ending)] for ending in MODEL_ENDINGS if name.endswith(ending)), None)


def model_of(stem):
    """The model file of a case."""
    return next(stem + ending for ending in MODEL_ENDINGS if os.path.exists(stem + ending))


def read_report(folder):
    with open(os.path.join(folder, "report.json")) as file:
        return json.load(file)


def read_index():
    with open(os.path.join(HERE, "INDEX.tsv")) as file:
        header, *rows = [line.rstrip("\n").split("\t") for line in file]
    assert header == ["case", "flavour", "classes", "expect"]
    return [dict(zip(header, row, strict=True)) for row in rows]


INDEX = read_index()
TO_CONVERT = [row["case"] for row in INDEX if row["expect"] == "convert"]
# What is slow is tried with one case of each family, or, when asked for, with all of them.
OF_EACH_FAMILY = list({os.path.dirname(case): case for case in reversed(TO_CONVERT)}.values())[::-1]
FORM_CASES = TO_CONVERT if os.environ.get("H5PT_TEST_EVERY_FORM") else OF_EACH_FAMILY
TO_REFUSE = [row["case"] for row in INDEX if row["expect"] == "refuse"]


def convert(h5pt, case, folder, expected, *options):
    stem = os.path.join(CASES, case)
    architecture = ["--architecture", stem + ".json"] if os.path.exists(stem + ".json") else []
    command = [h5pt, "convert", model_of(stem), *architecture, *options, "-o", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == expected, "exit %d\n%s\n%s" % (done.returncode, done.stdout, done.stderr)
    return read_report(folder)
