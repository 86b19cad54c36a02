# SPDX-License-Identifier: Apache-2.0
"""The page as a person uses it."""
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import requests
from conftest import CASES, CLASSIC, PATIENCE_MS, REFUSED, blackbox, choose, convert, path_of, until, verdict, wait_for

WEIGHTS = os.path.join(CASES, "keras3/weights_h5")


def downloaded(page, name):
    with page.expect_download() as download:
        page.locator(".downloads a, #files a", has_text=name).first.click()
    assert download.value.suggested_filename == name
    with open(download.value.path(), "rb") as file:
        return file.read()


def artifact(daemon, job_id, name):
    answer = daemon.get("/v1/conversions/%s/artifacts/%s" % (job_id, name))
    assert answer.status_code == 200, answer.text
    return answer.content


def rows(page):
    return [[cell.strip() for cell in row.locator("th, td").all_inner_texts()] for row in page.locator(".layers tbody tr").all()]


def painted(page):
    """How many pixels of the plot are not empty."""
    return page.evaluate(
        """() => {
            const canvas = document.querySelector(".plot canvas");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let i = 3; i < data.length; i += 4) count += data[i] > 0;
            return count;
        }"""
    )


def test_a_model_from_the_file_to_the_verdict(daemon, open_page):
    page = open_page(daemon)
    job_id = convert(page, path_of(CLASSIC))
    assert verdict(page) == "Converted. Both compute the same."
    assert page.title().startswith("✓ classic_cnn_03.h5") and page.locator("h1").inner_text() == "classic_cnn_03.h5"
    report = json.loads(artifact(daemon, job_id, "report.json"))
    number = lambda value: ("%.1e" % value).replace("e-0", "e-").replace(".0e", "e") if value else "0"
    assert number(report["parity"]["max_abs"]) in page.locator(".verdict").inner_text()

    shown = rows(page)
    assert len(shown) == len(report["layers"]) == 11
    for row, layer in zip(shown, report["layers"]):
        assert row[1] == layer["path"] and row[2] == layer["class"] and row[3] in (layer["torch"], "nothing left of it")
        assert row[4].replace(" ", "") == "×".join(map(str, layer["output_shape"][1:]))
        assert row[5].replace(",", "") == str(layer["parameters"] or "") and row[6] == number(layer["parity"]["max_abs"])

    assert painted(page) > 500
    assert page.locator(".code-block code").first.inner_text() == artifact(daemon, job_id, "model.py").decode()
    assert page.locator("#code .hljs-keyword").count() > 5
    wait_for(page, "document.querySelector('.picture img')?.naturalWidth > 100")


def test_files_are_downloaded_as_they_are(daemon, open_page):
    page = open_page(daemon)
    job_id = convert(page, path_of(CLASSIC))
    for name in "model.pt", "model.py", "model.svg", "report.json":
        assert downloaded(page, name) == artifact(daemon, job_id, name)
    archive = zipfile.ZipFile(io.BytesIO(downloaded(page, "all.zip")))
    assert sorted(archive.namelist()) == ["model.pt", "model.py", "model.svg", "report.json"]
    assert archive.read("model.pt") == artifact(daemon, job_id, "model.pt")


def test_a_refused_model_has_its_reasons_in_words(daemon, open_page):
    page = open_page(daemon)
    job_id = convert(page, path_of(REFUSED))
    assert verdict(page) == "Not convertible" and page.title().startswith("✗")
    refusals = daemon.job(job_id)["error"]["refusals"]
    reasons = page.locator("#reasons li").all_inner_texts()
    assert len(reasons) == len(refusals) == 2
    for text, refusal in zip(reasons, refusals):
        assert all(refusal[key] in text for key in ("message", "layer", "key", "code"))
    assert page.locator("#files").count() == 0 and page.locator(".plot").count() == 0
    assert page.locator(".layers .bad").all_inner_texts() == ["not convertible"] * 2


def test_results_that_differ(daemon, open_page, tmp_path):
    random = np.random.default_rng(1)
    np.savez(tmp_path / "vectors.npz", in0=random.normal(size=(2, 9, 12, 3)).astype("f4"), out0=np.full((2, 4), 0.25, "f4"))
    page = open_page(daemon)
    convert(page, path_of(CLASSIC), tmp_path / "vectors.npz")
    assert verdict(page) == "The results differ"
    assert "your own Keras" in page.locator(".verdict").inner_text() and page.locator("#files").count() == 0
    assert painted(page) > 500


def test_a_damaged_file(daemon, open_page, tmp_path):
    (tmp_path / "half.h5").write_bytes(blackbox.case(CLASSIC)[:9000])
    page = open_page(daemon)
    job = daemon.job(convert(page, tmp_path / "half.h5"))
    shown = page.locator(".verdict").inner_text()
    assert job["state"] == "failed" and all(job["error"][key] in shown for key in ("title", "detail", "code"))


def test_options_reach_the_service_and_the_snippets(daemon, open_page, tmp_path):
    page = open_page(daemon)
    page.get_by_text("Options").click()
    page.get_by_label("model.safetensors").check()
    page.get_by_label("model.svg").uncheck()
    page.get_by_label("Inputs and outputs").select_option("keras")
    page.get_by_label("Floating-point type").select_option("float16")
    page.get_by_label("Comparison").select_option("quick")
    model = tmp_path / "it's a model.h5"
    model.write_bytes(blackbox.case(CLASSIC))
    job = daemon.job(convert(page, model))
    assert {name: value for name, value in job["options"].items() if value} == {
        "formats": "pt,py,safetensors",
        "layout": "keras",
        "dtype": "float16",
        "parity": "quick",
    }
    assert [artifact["name"] for artifact in job["artifacts"]] == ["model.pt", "model.py", "model.safetensors", "report.json"]

    # What the page offers to copy works as it stands.
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=daemon.url)
    for kind, command in ("curl", ["bash", "-e"]), ("Python", [sys.executable, "-"]):
        page.locator("#use").get_by_label(kind, exact=True).check()
        page.locator("#use").get_by_role("button", name="Copy").click()
        page.locator("#use").get_by_text("Copied").wait_for()
        snippet = page.evaluate("navigator.clipboard.readText()")
        assert daemon.url in snippet and snippet == page.locator("#use code").inner_text()
        folder = tmp_path / kind
        folder.mkdir()
        os.link(model, folder / model.name)
        subprocess.run(command, input=snippet, text=True, cwd=folder, check=True, capture_output=True, timeout=blackbox.PATIENCE)
        assert "model.safetensors" in zipfile.ZipFile(folder / "all.zip").namelist()
        report = json.loads(zipfile.ZipFile(folder / "all.zip").read("report.json"))
        assert report["outputs"][0]["dtype"] == "float16"


def test_dropped_files_are_told_apart(daemon, open_page):
    name = sorted(n for n in os.listdir(WEIGHTS) if n.endswith(".json"))[0].removesuffix(".json")
    model = next(name + suffix for suffix in (".weights.h5", ".h5") if os.path.exists(os.path.join(WEIGHTS, name + suffix)))
    page = open_page(daemon)
    files = []
    for file in model, name + ".json", name + ".io.npz":
        with open(os.path.join(WEIGHTS, file), "rb") as content:
            files.append([file, list(content.read())])
    transfer = page.evaluate_handle(
        """(files) => {
            const transfer = new DataTransfer();
            for (const [name, bytes] of files) transfer.items.add(new File([new Uint8Array(bytes)], name));
            return transfer;
        }""",
        files,
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": transfer})
    chosen = page.locator(".files li").all_inner_texts()
    assert len(chosen) == 3 and "architecture" in chosen[1] and "reference" in chosen[2]
    page.get_by_role("button", name="Convert", exact=True).click()
    page.wait_for_selector("#use")
    assert "your own Keras" in page.locator(".verdict").inner_text()


def test_would_it_convert(start_daemon, open_page):
    daemon = start_daemon()
    page = open_page(daemon)
    choose(page, path_of(CLASSIC))
    page.get_by_role("button", name="Would it convert?").click()
    page.wait_for_selector(".inspection")
    assert verdict(page) == "It would convert" and len(rows(page)) == 11
    choose(page, path_of(REFUSED))
    assert page.locator(".inspection").count() == 0
    page.get_by_role("button", name="Would it convert?").click()
    page.wait_for_selector("#reasons")
    assert verdict(page) == "It would not convert"
    assert daemon.get("/v1/conversions").json()["conversions"] == []


def test_a_file_that_is_no_model(daemon, open_page, tmp_path):
    page = open_page(daemon)
    page.expected.add(415)
    (tmp_path / "cat.h5").write_bytes(b"meow" * 1000)
    choose(page, tmp_path / "cat.h5")
    page.get_by_role("button", name="Convert", exact=True).click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "NOT_HDF5" in alert.inner_text()
    assert page.get_by_role("button", name="Convert", exact=True).is_enabled()


def test_a_file_that_is_too_large_is_not_sent(start_daemon, open_page, tmp_path):
    daemon = start_daemon(max_upload="64KiB")
    (tmp_path / "large.h5").write_bytes(bytes(100000))
    page = open_page(daemon)
    choose(page, tmp_path / "large.h5")
    page.get_by_text("this service takes 64 KiB at most").wait_for()
    assert page.get_by_role("button", name="Convert", exact=True).is_disabled()


def test_the_queue_the_stages_and_cancelling(start_daemon, gate, open_page):
    daemon = start_daemon(worker=gate.worker, workers=1)
    page, other = open_page(daemon), open_page(daemon)
    for each, heading in (page, "Converting"), (other, "Next in the queue"):
        choose(each, path_of(CLASSIC))
        each.get_by_role("button", name="Convert", exact=True).click()
        until(daemon.workers, "the worker runs")
        each.get_by_role("heading", name=heading).wait_for()
    assert other.get_by_role("status").all_inner_texts()  # said to screen readers
    assert page.locator("[aria-current=step]").inner_text().startswith("Read the file")
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector(".verdict")
    assert verdict(page) == "Canceled"
    gate.open()
    other.wait_for_selector("#use")
    assert verdict(other) == "Converted. Both compute the same."


def test_conversions_are_found_again(start_daemon, open_page):
    daemon = start_daemon()
    page = open_page(daemon)
    page.expected.add(404)
    job_id = convert(page, path_of(CLASSIC))
    page.get_by_role("link", name="h5pt", exact=True).click()
    recent = page.get_by_role("link", name="classic_cnn_03.h5")
    assert "converted" in recent.inner_text()
    recent.click()
    page.wait_for_selector(".verdict")

    # By its address, in a browser that has not seen it.
    fresh = open_page(daemon, "/#%s/layers" % job_id)
    wait_for(fresh, "document.activeElement.id === 'layers-title'")
    fresh.get_by_role("button", name="Delete").click()
    fresh.wait_for_selector(".drop")
    assert daemon.get("/v1/conversions").json()["conversions"] == []

    page.reload()
    page.get_by_text("There is no such conversion").wait_for()
    page.get_by_role("link", name="Convert a model").click()
    page.wait_for_selector(".drop")
    assert page.locator(".recent").count() == 0


def test_without_storage(daemon, chromium, open_page):
    page = open_page(daemon)
    page.add_init_script(
        """for (const name of ["localStorage", "sessionStorage"])
            Object.defineProperty(window, name, { get() { throw new DOMException("denied", "SecurityError"); } });"""
    )
    page.reload()
    convert(page, path_of(CLASSIC))
    page.get_by_role("link", name="h5pt", exact=True).click()
    page.get_by_role("link", name="classic_cnn_03.h5").wait_for()


def deep_model(path, layers):
    """A Sequential of so many activations, as tf.keras writes it."""
    inside = [{"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4], "dtype": "float32", "name": "input"}}]
    inside += [{"class_name": "Activation", "config": {"name": "activation_%d" % i, "dtype": "float32", "activation": "tanh"}} for i in range(layers)]
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"name": "deep", "layers": inside}})
        weights = file.create_group("model_weights")
        names = [layer["config"]["name"] for layer in inside]
        weights.attrs["layer_names"] = [name.encode() for name in names]
        weights.attrs["backend"] = b"tensorflow"
        weights.attrs["keras_version"] = b"2.15.0"
        for name in names:
            weights.create_group(name).attrs.create("weight_names", [], dtype="S1")


def test_a_thousand_layers(daemon, open_page, tmp_path):
    deep_model(tmp_path / "deep.h5", 1000)
    page = open_page(daemon)
    convert(page, tmp_path / "deep.h5")
    assert page.locator(".layers tbody tr").count() == 1001
    page.get_by_label("Filter the layers").fill("activation_77 tanh")
    wait_for(page, "document.querySelectorAll('.layers tbody tr').length === 11")  # 77, 770 … 779
    assert "11 layers" in page.locator("#layers [role=status]").inner_text()
    page.get_by_label("Filter the layers").fill("nothing like it")
    page.get_by_text("No layer has that").wait_for()


def test_with_the_keyboard_alone(daemon, open_page):
    page = open_page(daemon)
    keys = page.keyboard
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    tab_to = lambda condition: until(lambda: keys.press("Tab") or page.evaluate("(() => { const e = document.activeElement; return %s })()" % condition), condition)
    tab_to("e.type === 'file'")
    keys.press("Enter")
    until(lambda: page.evaluate("1") and choosers, "a file can be chosen")
    choosers[0].set_files(path_of(CLASSIC))
    page.wait_for_selector(".files")
    tab_to("e.textContent === 'Convert' && e.tagName === 'BUTTON'")
    keys.press("Enter")
    page.wait_for_selector("#use")
    assert page.evaluate("document.activeElement.tagName") == "H1"

    # Through the plot to the table.
    tab_to("e.getAttribute('role') === 'slider'")
    plot = page.get_by_role("slider")
    for _ in range(3):
        keys.press("ArrowRight")
    assert plot.get_attribute("aria-valuetext").startswith("conv2d_1, Conv2D: ") and plot.get_attribute("aria-valuenow") == "4"
    assert page.locator(".reading strong").inner_text() == "conv2d_1"
    keys.press("End")
    assert plot.get_attribute("aria-valuetext").startswith("dense_1, ")
    keys.press("Home")
    keys.press("ArrowRight")
    keys.press("Enter")
    wait_for(page, "document.activeElement.id === 'layer-1'")
    assert page.locator("tr.selected th").inner_text() == "conv2d"

    # A section by its link, a file by its link.
    page.locator(".sections a").first.focus()
    keys.press("Enter")
    wait_for(page, "document.activeElement.id === 'files-title'")
    tab_to("e.textContent.includes('model.py')")
    with page.expect_download() as download:
        keys.press("Enter")
    assert download.value.suggested_filename == "model.py"


def test_a_service_that_wants_a_key(start_daemon, open_page, tmp_path):
    key = blackbox.Key("alice")
    (tmp_path / "keys").write_text(key.line + "\n")
    daemon = start_daemon(keys_file=tmp_path / "keys")
    page = open_page(daemon)
    page.expected.add(401)
    choose(page, path_of(CLASSIC))
    page.get_by_role("button", name="Convert", exact=True).click()
    page.get_by_label("Key", exact=True).fill("h5pt_wrong")
    page.get_by_role("button", name="Use this key").click()
    page.get_by_text("The key was not accepted").wait_for()
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Use this key").click()
    page.wait_for_selector("#use")
    assert verdict(page) == "Converted. Both compute the same."
    content = downloaded(page, "model.pt")
    job_id = page.evaluate("location.hash.slice(1)")
    answer = requests.get("%s/v1/conversions/%s/artifacts/model.pt" % (daemon.url, job_id), headers=key.header, timeout=PATIENCE_MS / 1000)
    assert hashlib.sha256(content).digest() == hashlib.sha256(answer.content).digest()
    wait_for(page, "document.querySelector('.picture img')?.naturalWidth > 100")
    page.locator("#use").get_by_label("curl", exact=True).check()
    assert "$H5PT_KEY" in page.locator("#use code").inner_text() and key not in page.content()
    assert page.evaluate("localStorage.getItem('h5pt.key')") is None

    # Whoever does not give one is told, and can try again.
    other = open_page(daemon)
    other.expected.add(401)
    choose(other, path_of(CLASSIC))
    other.get_by_role("button", name="Convert", exact=True).click()
    other.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    other.get_by_role("alert").wait_for()
    assert other.get_by_role("button", name="Convert", exact=True).is_enabled()
