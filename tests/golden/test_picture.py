# SPDX-License-Identifier: Apache-2.0
"""model.svg: a picture that stands alone, with every layer in it."""
import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
import torch_check

CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases")
SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"


def existing(prefix):
    folder, start = os.path.split(prefix)
    names = sorted(n[: -len(".io.npz")] for n in os.listdir(os.path.join(CASES, folder)) if n.startswith(start) and n.endswith(".io.npz"))
    return os.path.join(CASES, folder, names[0])


def draw(stem, folder, *options):
    command = [torch_check.find_program(), "convert", torch_check.model_of(stem), "--formats", "svg", *options, "-o", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, "the layout library must not speak"
    assert sorted(os.listdir(folder)) == ["model.svg", "report.json"]
    with open(os.path.join(folder, "model.svg")) as file:
        return file.read(), torch_check.read_report(folder)


@pytest.mark.parametrize("prefix", ["keras3/compose/classic_cnn", "keras3/compose/siamese", "tfkeras/compose/unet", "k1-theano/nested/", "tfkeras/mask/"])
def test_every_layer_is_there(prefix, tmp_path):
    text, report = draw(existing(prefix), tmp_path)
    root = ElementTree.fromstring(text)
    assert root.tag == SVG + "svg"
    words = {t.text for t in root.iter(SVG + "text")}
    for layer in report["layers"]:
        assert layer["path"].rsplit("/", 1)[-1] in words, layer["path"]
    for scope in {part for layer in report["layers"] for part in layer["path"].split("/")[:-1]}:
        assert scope in words, "the frame of " + scope
    edges = [g for g in root.iter(SVG + "g") if g.get("class") == "edge"]
    assert edges, "a network has connections"


def test_nothing_is_fetched(tmp_path):
    text, _ = draw(existing("keras3/compose/classic_cnn"), tmp_path)
    assert text.startswith("<svg")
    addresses = set(re.findall(r"https?://[^\"'\s<]+", text))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, "names of namespaces only"
    assert not re.search(r"<(?:script|image|foreignObject|use)\b|\bon\w+=", text)
    root = ElementTree.fromstring(text)
    assert not [a for a in root.iter() if a.get(XLINK + "href") or a.get("href")]


def test_the_colours_tell_the_error(tmp_path):
    checked, _ = draw(existing("keras3/compose/classic_cnn"), tmp_path / "a")
    unchecked, _ = draw(existing("keras3/compose/classic_cnn"), tmp_path / "b", "--parity", "off")
    assert "#f2f2f2" in unchecked and "#f2f2f2" not in checked.split("relative error", 1)[-1].split("</g>", 1)[-1]
    assert "relative error" in checked and "relative error" not in unchecked


def test_the_same_model_gives_the_same_picture(tmp_path):
    stem = existing("tfkeras/compose/unet")
    assert draw(stem, tmp_path / "a")[0] == draw(stem, tmp_path / "b")[0]
