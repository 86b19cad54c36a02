# SPDX-License-Identifier: Apache-2.0
"""The files of the web page over HTTP; tests/browser looks at the page itself."""
import gzip
import re

import pytest
import requests
from conftest import PATIENCE

PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture(scope="module", autouse=True)
def page(daemon):
    answer = daemon.get("/", headers=PLAIN)
    assert answer.status_code == 200
    if answer.headers["Content-Type"].startswith("text/plain"):
        assert "/openapi.yaml" in answer.text
        assert daemon.get("/docs").json()["code"] == daemon.get("/assets/LICENSES.txt").json()["code"] == "NOT_FOUND"
        pytest.skip("built without the page")
    return answer


def assets(daemon):
    named = {name for path in ("/", "/docs") for name in re.findall(r'"(/assets/[^"]+)"', daemon.get(path).text)}
    assert {name.rsplit(".", 1)[1] for name in named} == {"js", "css", "svg"} and len(named) == 5
    return named


def raw(daemon, path, **headers):
    """Not unpacked."""
    with requests.get(daemon.url + path, headers=headers, stream=True, timeout=PATIENCE) as answer:
        return answer, answer.raw.read(decode_content=False)


def test_files_are_compressed_for_whoever_takes_it(daemon):
    for path in "/", "/docs", "/assets/LICENSES.txt", *assets(daemon):
        plain, content = raw(daemon, path, **PLAIN)
        assert plain.status_code == 200 and "Content-Encoding" not in plain.headers and plain.headers["Vary"] == "Accept-Encoding"
        packed, smaller = raw(daemon, path, **{"Accept-Encoding": "br, gzip;q=0.8"})
        if packed.headers.get("Content-Encoding") == "gzip":
            assert gzip.decompress(smaller) == content and len(smaller) < len(content)
        else:
            assert smaller == content and len(content) < 2000
        assert packed.headers["ETag"] == plain.headers["ETag"]
    script = next(name for name in assets(daemon) if name.endswith(".js"))
    coding = lambda accept: raw(daemon, script, **{"Accept-Encoding": accept})[0].headers.get("Content-Encoding")
    assert [coding(a) for a in ("gzip", "GZIP", "*", "deflate, *;q=0.1", "br,gzip ;q=1")] == ["gzip"] * 5
    assert [coding(a) for a in ("", "br", "gzip;q=0", "gzip; q=0.0, *", "*;q=0", "xgzip", "identity")] == [None] * 7


def test_what_may_be_kept(daemon):
    for path in assets(daemon):
        assert daemon.get(path).headers["Cache-Control"] == "public, max-age=31536000, immutable"
    for path in "/", "/docs", "/assets/LICENSES.txt":
        answer = daemon.get(path)
        tag = answer.headers["ETag"]
        assert answer.headers["Cache-Control"] == "no-cache" and tag.startswith('W/"')
        for sent in tag, tag.removeprefix("W/"), '"other", ' + tag, "*":
            again = daemon.get(path, headers={"If-None-Match": sent})
            assert again.status_code == 304 and not again.content and again.headers["ETag"] == tag
        assert daemon.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
        head = daemon.request("HEAD", path)
        assert head.status_code == 200 and not head.content and head.headers["ETag"] == tag


def test_the_pages_are_locked_up(daemon):
    for path in "/", "/docs":
        answer = daemon.get(path)
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Frame-Options"] == "DENY" and answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin" and answer.headers["X-Content-Type-Options"] == "nosniff"
        # Nothing inline, nothing from elsewhere.
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|\bstyle=", answer.text)
        links = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
        assert links and all(link.startswith("/") and not link.startswith("//") for link in links)


def test_the_libraries_in_it_have_their_licences(daemon):
    text = daemon.get("/assets/LICENSES.txt").text
    for name in "preact", "uplot", "lowlight", "highlight.js", "swagger-ui-dist", "devlop":
        assert re.search(r"^%s \d+\.\d+\.\d+ \([\w.-]+\)$" % re.escape(name), text, re.MULTILINE), name
    assert text.count("Permission is hereby granted") >= 3 and "Redistribution and use" in text and "Apache License" in text
    assert "node_modules" not in text


def test_other_files_are_not_there(daemon):
    for path in "/assets/", "/assets/index.html", "/assets/app.js", "/assets/../docs", "/assets/%2e%2e/docs", "/index.html", "/docs/":
        answer = requests.get(daemon.url + path, timeout=PATIENCE)
        assert answer.status_code == 404 or answer.url.endswith("/docs"), path
    assert daemon.post("/", b"").status_code == 405 and daemon.get("/?x=1").status_code == 400
