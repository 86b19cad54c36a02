# SPDX-License-Identifier: Apache-2.0
"""What the tables of layers, activations and operations claim, against the golden cases: no row without a case, and no case that
becomes something else than its rows say."""
import json
import os
import subprocess

import make_index
import pytest
from golden_cases import CASES, CONVERTED, INDEX, TO_CONVERT, convert

# (class, version) of which there is no case, and why the claim holds.
VERSIONS_WITHOUT_A_CASE = {
    ("InstanceNormalization", "2"): "keras-contrib's, which the case of tf.keras copies; the file differs in nothing that is read",
}

# Functions of TensorFlow that models of the stand-alone Keras 2 bring along: the name means the same in each version.
ACTIVATIONS_WITHOUT_A_CASE = {(name, "2") for name in ("relu6", "leaky_relu", "silu", "log_softmax")}

# What TimeDistributed leaves in a report, beside the layer inside; and operations that stand for no layer of a file.
TIME_DISTRIBUTED = "TimeToBatch"
OWN = {"Autocast", "BatchToTime", "ResizeLike"}

ACTIVATION_KEYS = ("activation", "recurrent_activation", "inner_activation")


@pytest.fixture(scope="session")
def tables(h5pt):
    return json.loads(subprocess.run([h5pt, "layers", "--json"], capture_output=True, check=True, timeout=60).stdout)


@pytest.fixture(scope="session")
def reported(h5pt, converted_layers, tmp_path_factory):
    """(case, class, the set of names that it became) for each call of a layer whose result is used."""
    for case in TO_CONVERT:
        if case not in converted_layers:
            converted_layers[case] = convert(h5pt, case, tmp_path_factory.mktemp("case"), CONVERTED)["layers"]
    return [
        (case, "TimeDistributed" if layer["class"] == TIME_DISTRIBUTED else layer["class"], set(layer["torch"].split(", ") if layer["torch"] else ["nothing"]))
        for case in TO_CONVERT
        for layer in converted_layers[case]
        if layer["class"] not in OWN and (layer["torch"] or layer["parity"])
    ]


def version_of(row):
    flavour = row["flavour"]
    return "tf" if flavour.startswith("tf") else {"k1": "1", "k2": "2", "ke": "3"}[flavour[:2]]


def objects_in(node):
    """Every JSON object in a configuration."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        yield from objects_in(child)


@pytest.fixture(scope="session")
def configurations():
    """(version, the objects of the configuration) of each case that converts."""
    found = []
    for row in INDEX:
        text = make_index.architecture(os.path.join(CASES, row["case"])) if row["expect"] == "convert" else None
        if text is not None:
            found.append((version_of(row), list(objects_in(json.loads(text)))))
    return found


def class_names(row):
    return [row["class"], *row.get("aliases", [])]


@pytest.fixture(scope="session")
def claims(tables):
    """What the tables say that a class becomes; layers and operations share some names."""
    activations = {name for row in tables["activations"] for name in row["torch"]}
    found = {}
    for row in tables["layers"] + tables["operations"]:
        names = activations if row["torch"] == ["activation"] else set(row["torch"])
        for name in class_names(row):
            found.setdefault(name, set()).update(names)
    return found


def test_layers_become_what_the_tables_say(reported, claims):
    others = ["%s of %s became %s" % (name, case, " ".join(sorted(names))) for case, name, names in reported if not names & claims[name]]
    assert reported and not others, "\n".join(others)


def test_the_tables_say_only_what_layers_become(tables, reported):
    became = {}
    for _, name, names in reported:
        became.setdefault(name, set()).update(names)
    unseen = [
        "%s never became %s" % (row["class"], name)
        for row in tables["layers"] + tables["operations"]
        for name in sorted(set(row["torch"]) - {"activation"} - set().union(*(became.get(alias, set()) for alias in class_names(row))))
    ]
    assert not unseen, "\n".join(unseen)


def test_every_layer_has_a_case_of_each_version(tables):
    seen = {(name, version_of(row)) for row in INDEX if row["expect"] == "convert" for name in row["classes"].split(",")}
    missing = {
        (row["class"], version)
        for row in tables["layers"]
        for version in row["versions"]
        if not any((name, version) in seen for name in class_names(row))
    }
    assert missing == set(VERSIONS_WITHOUT_A_CASE)


def is_operation(node):
    """A node of the graph of Keras 3 that is not a layer."""
    return isinstance(node.get("config"), dict) and "inbound_nodes" in node and "trainable" not in node["config"]


def test_every_operation_has_a_case(tables, reported, configurations):
    layers = {name for row in tables["layers"] for name in class_names(row)}
    seen = {name for _, name, _ in reported if name not in layers}
    seen |= {node["class_name"] for version, objects in configurations if version == "3" for node in objects if is_operation(node)}
    missing = [row["class"] for row in tables["operations"] if row["class"] not in seen]
    assert tables["operations"] and not missing


def test_every_activation_has_a_case_of_each_version(tables, configurations):
    seen = set()
    for version, objects in configurations:
        for node in objects:
            for value in (node.get(key) for key in ACTIVATION_KEYS):
                name = value.get("config") if isinstance(value, dict) else value
                if isinstance(name, str):
                    seen.add((name, "2" if version == "1" else version))
    missing = {
        (row["names"][0], version)
        for row in tables["activations"]
        for version in row["versions"]
        if not any((name, version) in seen for name in row["names"])
    }
    assert missing == ACTIVATIONS_WITHOUT_A_CASE
