# SPDX-License-Identifier: Apache-2.0
"""File forms that are made from other cases here: older namings of numbered variables, re-packed and damaged archives, bare weights."""
import os
import re
import shutil
import struct
import subprocess
import zipfile

import h5py
import numpy as np
import pytest
import torch
import torch_check

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = os.path.join(HERE, "cases")
ARCHIVE = os.path.join(CASES, "tfkeras", "keras_zip", "zip_16")  # several Dense layers, a nested model
WEIGHTS = os.path.join(CASES, "tfkeras", "weights_h5", "wh5_07")  # a nested model with Dense and BatchNormalization


@pytest.fixture(scope="session")
def h5pt():
    return torch_check.find_program()


def convert(h5pt, folder, model, *options):
    done = subprocess.run([h5pt, "convert", str(model), *options, "-o", str(folder / "out")], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def check(folder, stem):
    inputs, outputs, _ = torch_check.read_case(stem)
    report = torch_check.read_report(folder / "out")
    net, _ = torch_check.load(str(folder / "out"))
    for _, relative in torch_check.compare(torch_check.run(net, inputs, report), outputs):
        assert relative <= torch_check.TOLERANCE


def rename(source, target, twice):
    """Copies a file of numbered variables as Keras 2.12 and 2.13 (`twice`: layers with weights are counted twice) or 2.14 name them."""

    def number(name):
        stem, count = re.fullmatch(r"(.*?)(?:_(\d+))?", name).groups()
        count = int(count or 0) * (2 if twice else 1)
        return stem + ("_%d" % count if count else "")

    def copy(old, new):
        for name, item in old.items():
            if name == "layers":
                inner = new.create_group("_layer_checkpoint_dependencies")
                for layer in item:
                    copy(item[layer], inner.create_group(number(layer)))
            elif isinstance(item, h5py.Dataset):
                new[name] = item[()]
            else:
                copy(item, new.create_group(name))

    with h5py.File(source) as old, h5py.File(target, "w") as new:
        copy(old, new)


@pytest.mark.parametrize("twice", [False, True], ids=["2.14", "2.12"])
def test_older_names_of_numbered_variables(twice, h5pt, tmp_path):
    rename(WEIGHTS + ".weights.h5", tmp_path / "old.weights.h5", twice)
    code, text = convert(h5pt, tmp_path, tmp_path / "old.weights.h5", "--architecture", WEIGHTS + ".json")
    assert code == 0, text
    check(tmp_path, WEIGHTS)


def test_every_variable_must_have_a_layer(h5pt, tmp_path):
    model = tmp_path / "more.weights.h5"
    shutil.copy(WEIGHTS + ".weights.h5", model)
    with h5py.File(model, "r+") as file:
        file["layers/dense_7/vars/0"] = np.ones((4, 4), "f4")
    code, _ = convert(h5pt, tmp_path, model, "--architecture", WEIGHTS + ".json")
    report = torch_check.read_report(tmp_path / "out")
    assert code == 3 and [(r["code"], r["layer"]) for r in report["refusals"]] == [("WEIGHTS_UNUSED", "layers/dense_7")]


def test_a_variable_must_not_be_missing(h5pt, tmp_path):
    model = tmp_path / "less.weights.h5"
    shutil.copy(WEIGHTS + ".weights.h5", model)
    with h5py.File(model, "r+") as file:
        del file["layers/functional/layers/dense_1/vars/1"]
    code, _ = convert(h5pt, tmp_path, model, "--architecture", WEIGHTS + ".json")
    report = torch_check.read_report(tmp_path / "out")
    assert code == 3 and {r["code"] for r in report["refusals"]} == {"WEIGHTS_MISSING"}


def test_weights_without_architecture(h5pt, tmp_path):
    code, _ = convert(h5pt, tmp_path, WEIGHTS + ".weights.h5")
    report = torch_check.read_report(tmp_path / "out")
    assert code == 3 and [r["code"] for r in report["refusals"]] == ["WEIGHTS_WITHOUT_ARCHITECTURE"]
    with h5py.File(WEIGHTS + ".weights.h5") as file:
        stored = {}
        file.visititems(lambda name, item: stored.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    listed = {row["keras"].lstrip("/"): (row["shape"], row["dtype"]) for row in report["weights"]}
    assert listed == {name: (list(array.shape), array.dtype.name) for name, array in stored.items()}

    code, _ = convert(h5pt, tmp_path, WEIGHTS + ".weights.h5", "--weights-only")
    report = torch_check.read_report(tmp_path / "out")
    assert code == 0 and [w["code"] for w in report["warnings"]] == ["WEIGHTS_ONLY"] and report["parity"] is None
    assert sorted(os.listdir(tmp_path / "out")) == ["model.pt", "report.json"]
    state = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    assert state.keys() == stored.keys()
    assert all(np.array_equal(state[name].numpy(), stored[name]) for name in stored)


def repack(target, compression, **replaced):
    with zipfile.ZipFile(ARCHIVE + ".keras") as old, zipfile.ZipFile(target, "w", compression) as new:
        for item in old.namelist():
            new.writestr(item, replaced.get(item.replace(".", "_"), old.read(item)))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_packed_again(compression, h5pt, tmp_path):
    repack(tmp_path / "again.keras", compression)
    code, text = convert(h5pt, tmp_path, tmp_path / "again.keras")
    assert code == 0, text
    check(tmp_path, ARCHIVE)


def test_bytes_before_and_a_comment_behind(h5pt, tmp_path):
    with zipfile.ZipFile(tmp_path / "padded.keras", "w") as new, zipfile.ZipFile(ARCHIVE + ".keras") as old:
        new.comment = b"PK\x05\x06 a comment that looks like the end of an archive"
        for name in old.namelist():
            info = zipfile.ZipInfo(name)
            info.extra = struct.pack("<HH", 0xD935, 60) + bytes(60)  # as alignment tools add
            new.writestr(info, old.read(name))
    code, text = convert(h5pt, tmp_path, tmp_path / "padded.keras")
    assert code == 0, text
    check(tmp_path, ARCHIVE)


def flip(path, needle, offset, value):
    data = bytearray(path.read_bytes())
    at = data.rindex(needle) + offset
    data[at : at + len(value)] = value
    path.write_bytes(bytes(data))


# Changes to the central directory entry of the weights: its signature stands 46 bytes before the name.
DAMAGE = {
    "checksum": (-46 + 16, b"\0\0\0\0"),
    "size beyond the file": (-46 + 20, b"\xf0\xff\xff\x7f\xf0\xff\xff\x7f"),
    "header beyond the file": (-46 + 42, b"\xf0\xff\xff\x7f"),
    "header in the middle": (-46 + 42, b"\x07\0\0\0"),
    "name longer than the directory": (-46 + 28, b"\xff\xff"),
    "wide sizes without their field": (-46 + 20, b"\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_archives(damage, compression, h5pt, tmp_path):
    model = tmp_path / "bad.keras"
    repack(model, compression)
    flip(model, b"model.weights.h5", *DAMAGE[damage])
    code, text = convert(h5pt, tmp_path, model)
    assert code == 5 and "ARCHIVE_CORRUPT" in text


def test_cut_archives(h5pt, tmp_path):
    data = open(ARCHIVE + ".keras", "rb").read()
    for length in (4, 21, 22, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.keras").write_bytes(data[:length])
        code, text = convert(h5pt, tmp_path, tmp_path / "cut.keras")
        assert code == 5, (length, text)


def test_an_archive_that_unpacks_to_too_much(h5pt, tmp_path):
    repack(tmp_path / "bomb.keras", zipfile.ZIP_DEFLATED, model_weights_h5=bytes(300 << 20))
    code, text = convert(h5pt, tmp_path, tmp_path / "bomb.keras")
    assert code == 5, text


def test_archives_of_other_things(h5pt, tmp_path):
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as new:
        new.writestr("readme.txt", "nothing")
    code, text = convert(h5pt, tmp_path, tmp_path / "other.keras")
    assert code == 5 and "NOT_KERAS" in text


def test_classes_of_the_user_are_refused(h5pt, tmp_path):
    with zipfile.ZipFile(ARCHIVE + ".keras") as old:
        config = old.read("config.json").decode()
    mine = re.sub(r'("class_name": "Dense".*?"registered_name": )null(, "build_config")', r'\1"mine>Dense"\2', config, count=1)
    assert mine != config
    repack(tmp_path / "mine.keras", zipfile.ZIP_STORED, config_json=mine)
    code, _ = convert(h5pt, tmp_path, tmp_path / "mine.keras")
    refusals = torch_check.read_report(tmp_path / "out")["refusals"]
    assert code == 3 and [(r["code"], r["key"]) for r in refusals] == [("UNSUPPORTED_LAYER", "registered_name")]


def test_one_file_is_complete(h5pt, tmp_path):
    """model.pt has model.py and the report in it; what is in it alone loads."""
    code, said = convert(h5pt, tmp_path, ARCHIVE + ".keras")
    assert code == 0, said
    alone = tmp_path / "alone"
    alone.mkdir()
    with zipfile.ZipFile(tmp_path / "out" / "model.pt") as archive:
        assert archive.testzip() is None
        for name in ("model.py", "report.json"):
            (alone / name).write_bytes(archive.read("archive/" + name))
    assert (alone / "model.py").read_text() == (tmp_path / "out" / "model.py").read_text()
    inner, outer = torch_check.read_report(alone), torch_check.read_report(tmp_path / "out")
    assert inner["verdict"] == "converted" and inner["parity"] == outer["parity"] and inner["layers"] == outer["layers"]
    shutil.copy(tmp_path / "out" / "model.pt", alone)
    (tmp_path / "out").rename(tmp_path / "before")
    alone.rename(tmp_path / "out")
    check(tmp_path, ARCHIVE)
    mapped = torch.load(tmp_path / "out" / "model.pt", mmap=True, weights_only=True)
    assert mapped and all(torch.isfinite(t).all() for t in mapped.values())
