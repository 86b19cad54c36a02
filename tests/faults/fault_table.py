# SPDX-License-Identifier: Apache-2.0
"""The table of deliberate faults, faults.toml: reading it, and putting one fault into a copy of its file.

    fault_table.py NAME DIR     writes DIR/core/….c with the fault NAME in it and prints the path below DIR
"""
import fnmatch
import os
import re
import sys
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TABLE = os.path.join(HERE, "faults.toml")
CASES = os.path.join(ROOT, "tests", "golden", "cases")
LAYERS = os.path.join(ROOT, "core", "layers", "layers.def")
INDEX = os.path.join(ROOT, "tests", "golden", "INDEX.tsv")

KEYS = {"family", "name", "what", "file", "find", "replace", "classes", "cases"}


class Broken(Exception):
    """A row of the table that does not fit the sources any more."""


def read_faults():
    """The faults by name, in the order of the table."""
    with open(TABLE, "rb") as file:
        rows = tomllib.load(file)["fault"]
    faults = {}
    for row in rows:
        if set(row) != KEYS:
            raise Broken("%s: the keys of a fault are %s" % (row.get("name"), ", ".join(sorted(KEYS))))
        if row["name"] in faults:
            raise Broken("there are two faults named " + row["name"])
        faults[row["name"]] = row
    return faults


def inject(fault):
    """The text of the file with the fault in it."""
    with open(os.path.join(ROOT, fault["file"])) as file:
        text = file.read()
    count = text.count(fault["find"])
    if count != 1:
        raise Broken("%s: the text to replace occurs %d times in %s, not once" % (fault["name"], count, fault["file"]))
    if fault["find"] == fault["replace"]:
        raise Broken(fault["name"] + ": nothing is replaced")
    return text.replace(fault["find"], fault["replace"])


def convertible_cases():
    """The classes, as the files name them, of each golden case that converts, by the name of the case."""
    with open(INDEX) as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    return {case: set(classes.split(",")) for case, _, classes, expect in rows if expect == "convert"}


def read_aliases():
    """Names of layer classes in files by the class that h5pt takes them for: {"Convolution2D": "Conv2D"}."""
    with open(LAYERS) as file:
        rows = re.findall(r'^LAYER\((\w+), "([^"]*)"', file.read(), re.M)
    return {alias: name for name, aliases in rows for alias in aliases.split()}


def cases_of(fault, cases, aliases):
    """The golden cases that exercise what a fault breaks: by its patterns, each of which selects one at least, or by its classes."""
    if not fault["cases"]:
        chosen = {case for case, names in cases.items() if {aliases.get(name, name) for name in names} & set(fault["classes"])}
        if not chosen:
            raise Broken(fault["name"] + ": no golden case that converts has any of these classes")
        return sorted(chosen)
    chosen = set()
    for pattern in fault["cases"]:
        found = fnmatch.filter(cases, pattern)
        if not found:
            raise Broken("%s: no golden case that converts is named like %s" % (fault["name"], pattern))
        chosen.update(found)
    return sorted(chosen)


def write_if_changed(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path):
        with open(path) as file:
            if file.read() == text:
                return
    with open(path, "w") as file:
        file.write(text)


def main(name, folder):
    try:
        faults = read_faults()
        if name not in faults:
            sys.exit("there is no fault of this name in tests/faults/faults.toml")
        write_if_changed(os.path.join(folder, faults[name]["file"]), inject(faults[name]))
    except Broken as why:
        sys.exit(str(why))
    print(faults[name]["file"])


if __name__ == "__main__":
    main(*sys.argv[1:])
