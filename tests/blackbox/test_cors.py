# SPDX-License-Identifier: Apache-2.0
"""Pages of other origins: which may call the API, and what they may send and read."""
import subprocess

import contract
import pytest
from conftest import PATIENCE, Key, program

PAGE, OTHER = "https://page.example", "https://other.example:8443"
# What a page may send, and read, without being told so.
SAFE = {"accept", "cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma"}


def names(answer, header):
    return {name.strip().lower() for name in answer.headers[header].split(",")}


def preflight(daemon, path, origin=PAGE, method="POST"):
    return daemon.request("OPTIONS", path, headers={"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization"})


def of_cors(answer):
    return {name for name in answer.headers if name.lower().startswith("access-control-")}


def test_off_by_default(daemon):
    answer = daemon.get("/livez", headers={"Origin": PAGE})
    assert not of_cors(answer) and "Vary" not in answer.headers
    assert preflight(daemon, "/v1/convert").status_code == 405


@pytest.fixture
def with_pages(start_daemon):
    return start_daemon(cors_origins=PAGE + ", " + OTHER)


def test_the_pages_that_are_named(with_pages, model):
    for origin in PAGE, OTHER:
        for answer in with_pages.get("/livez", headers={"Origin": origin}), with_pages.get("/nothing", headers={"Origin": origin}), with_pages.post("/v1/convert", model, headers={"Origin": origin}):
            assert answer.headers["Access-Control-Allow-Origin"] == origin and answer.headers["Vary"] == "Origin"
            assert "Access-Control-Allow-Credentials" not in answer.headers
    for origin in "https://page.example.evil.example", "https://page.exampl", "http://page.example", "null", PAGE + ":443", PAGE.upper(), PAGE + ", " + OTHER:
        for answer in with_pages.get("/livez", headers={"Origin": origin}), preflight(with_pages, "/v1/convert", origin):
            assert "Access-Control-Allow-Origin" not in answer.headers and answer.headers["Vary"] == "Origin"
    # A cache must not give the answer of one page to another one.
    assert with_pages.get("/livez").headers["Vary"] == "Origin"


def test_preflights(with_pages, daemon):
    answer = preflight(with_pages, "/v1/convert")
    assert answer.status_code == 204 and answer.headers["Access-Control-Allow-Origin"] == PAGE and int(answer.headers["Access-Control-Max-Age"]) > 0
    assert answer.headers["Access-Control-Allow-Methods"] == answer.headers["Allow"] == "POST, PUT"
    assert preflight(with_pages, "/v1/conversions/" + "0" * 26, method="DELETE").headers["Allow"] == "GET, HEAD, DELETE"
    assert preflight(with_pages, "/nothing").status_code == 404
    for operation, description in contract.operations().items():
        parameters = description.get("parameters", []) + contract.document()["paths"][operation[1]].get("parameters", [])
        sent = {contract.follow(p)["name"].lower() for p in parameters if contract.follow(p)["in"] == "header"}
        if not operation[1].startswith(("/v1/", "/livez")):
            continue
        allowed = names(preflight(with_pages, operation[1].format(id="0" * 26, name="model.pt")), "Access-Control-Allow-Headers")
        assert sent - SAFE <= allowed, operation
        assert {"authorization", "content-type", "x-request-id"} <= allowed


def test_every_header_of_the_description_can_be_read(with_pages):
    readable = names(with_pages.get("/livez", headers={"Origin": PAGE}), "Access-Control-Expose-Headers")
    described = {
        name.lower()
        for (_, path), operation in contract.operations().items()
        if path.startswith("/v1/")
        for answer in operation["responses"].values()
        for name in contract.follow(answer).get("headers", {})
    }
    assert described - SAFE <= readable and {"h5pt-verdict", "location", "etag", "retry-after", "x-request-id"} <= readable


def test_every_page(start_daemon, tmp_path):
    key = Key("alice")
    (tmp_path / "keys").write_text(key.line)
    daemon = start_daemon(cors_origins="*", keys_file=tmp_path / "keys")
    assert preflight(daemon, "/v1/convert").status_code == 204  # browsers send no key with it
    for headers in {}, key.header:
        answer = daemon.get("/v1/conversions", headers={"Origin": PAGE, **headers})
        assert answer.status_code == (200 if headers else 401)
        assert answer.headers["Access-Control-Allow-Origin"] == "*" and "Vary" not in answer.headers
    operators = daemon.session.get(daemon.admin + "/livez", headers={"Origin": PAGE}, timeout=PATIENCE)
    assert not of_cors(operators)


@pytest.mark.parametrize("origins", ["page.example", "https://", "https://page.example/", "https://Page.example", "ftp://page.example", "**", "https://*.example"])
def test_what_is_no_origin_is_fatal(tmp_path, origins):
    done = subprocess.run([program("h5ptd"), "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path), "--cors-origins", origins], env={}, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2 and "--cors-origins" in done.stderr
