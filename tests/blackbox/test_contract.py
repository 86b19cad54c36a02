# SPDX-License-Identifier: Apache-2.0
"""Requests that are generated from api/openapi.yaml, right ones and wrong ones, with real keys, models and conversions among them: whatever
comes back must be described there (contract.py), and nothing may be an error of the service.

$H5PT_CONTRACT_REQUESTS says how many; the same ones in each run but for the ids of conversions."""
import base64
import hashlib
import os
import random
import warnings
from urllib.parse import parse_qsl, quote

import contract
import hypothesis
import pytest
import requests
from conftest import CLASSIC, PATIENCE, Key, case
from hypothesis import strategies

warnings.filterwarnings("ignore", category=DeprecationWarning)
import schemathesis  # noqa: E402

REQUESTS = int(os.environ.get("H5PT_CONTRACT_REQUESTS", "1200"))
# Where there is the most to get wrong, the most is asked.
WEIGHTS = {"convert": 4, "convertPut": 4, "createConversion": 5, "inspect": 3, "listConversions": 2, "getConversion": 3, "getArtifact": 4, "headArtifact": 2}
MODELS = [case(CLASSIC), case(CLASSIC), case("tfkeras/made/several_reasons"), b"\x89HDF\r\n\x1a\n" + bytes(1000)]
QUERIES = {
    "formats": ["pt", "py,pt", "pt,py,pt2,svg", "safetensors", "", "pt,pt"],
    "format": ["pt", "py", "pt2", "svg", "report"],
    "parity": ["full", "quick", "off"],
    "layout": ["torch", "keras"],
    "dtype": ["keep", "float32", "float16"],
    "backend": ["tensorflow", "theano"],
    "weights_only": ["true", "false"],
    "wait": ["0", "1", "60"],
    "verbose": ["", "true"],
    "webhook": ["https://example.org/", "http://127.0.0.1/", "ftp://example.org"],
    "state": ["succeeded", "queued,running", "expired"],
    "limit": ["1", "500"],
}
HEADERS = {
    "Prefer": ["wait=1", "respond-async", "wait=0, respond-async", "return=minimal"],
    "Idempotency-Key": ["one", '"two"', "three", ""],
    "Cache-Control": ["no-cache", "max-age=0"],
    "Accept": ["text/x-python", "application/zip", "image/svg+xml", "application/json;q=0.1", "text/nothing"],
    "Range": ["bytes=0-0", "bytes=-5", "bytes=99999999-", "bytes=5-1", "lines=1-2"],
    "If-None-Match": ["*", '"no"'],
    "If-Match": ["*", '"no"'],
    "Last-Event-ID": ["0", "1", "99999999", "x"],
    "Origin": ["https://example.org", "https://example.com", "null"],
    "Content-Encoding": ["gzip", "identity"],
    "Content-Digest": ["sha-256=:AAAA:", "md5=:AAAA:", "sha-256"],
    "Expect": ["100-continue"],
}


class Generator:
    """Makes the requests of one operation more like those that clients send, and sends them."""

    def __init__(self, daemon, keys):
        self.daemon, self.keys = daemon, keys
        self.random = random.Random(5)
        self.session = requests.Session()
        self.session.trust_env = False
        self.ids, self.etags = [], ["W/\"1\""]
        self.seen, self.wrong = {}, []

    def often(self, share):
        return self.random.random() < share

    def path(self, request, operation):
        if "{" not in operation.path or not self.often(0.8):
            return
        values = {"id": self.random.choice(self.ids or ["0" * 26])}
        values["name"] = self.random.choice(["model.pt", "model.py", "report.json", "all.zip", "model.pt2", "nothing", "LICENSES.txt", "model.svg"])
        path = operation.path
        for name, value in values.items():
            path = path.replace("{%s}" % name, quote(value))
        request["url"] = self.daemon.url + path

    def query(self, request, operation):
        """Known values for known parameters, or none: what is wrong with one hides what is wrong with the next."""
        query = request.get("params") or {}
        query = dict(parse_qsl(query, keep_blank_values=True) if isinstance(query, str) else query)
        for parameter in operation.definition.raw.get("parameters", []):
            name = contract.follow(parameter)["name"]
            if name in QUERIES and self.often(0.85):
                query.pop(name, None)
                if self.often(0.25):
                    query[name] = self.random.choice(QUERIES[name])
        request["params"] = query

    def headers(self, request):
        headers = request["headers"]
        headers["Authorization"] = self.random.choice(self.keys)
        for name, values in HEADERS.items():
            if self.often(0.6):
                headers.pop(name, None)
            if self.often(0.07 if name != "Prefer" else 0.3):
                headers[name] = self.random.choice(values)
        if self.often(0.1):
            headers[self.random.choice(["If-None-Match", "If-Match", "If-Range"])] = self.random.choice(self.etags)

    def body(self, request, operation):
        if "requestBody" not in operation.definition.raw or self.often(0.25):
            return
        for name in "json", "data", "files":
            request.pop(name, None)
        headers = request["headers"]
        headers.pop("Content-Type", None)
        model = self.random.choice(MODELS)
        if self.often(0.7):
            request["data"] = model
            if self.often(0.2):
                digest = hashlib.sha256(model).digest()
                headers["Content-Digest"] = "sha-256=:%s:" % base64.b64encode(digest).decode()
            return
        request["files"] = {"model": ("model.h5", model)}
        for name in "architecture", "reference", "webhook", "other":
            if self.often(0.1):
                request["files"][name] = self.random.choice(["{}", "nonsense", "https://example.org/"])

    def make(self, operation, generated):
        base = self.daemon.admin if "servers" in contract.document()["paths"][operation.path] or (self.often(0.5) and operation.path in ("/livez", "/readyz")) else self.daemon.url
        request = generated.as_transport_kwargs(base_url=base)
        request["headers"] = dict(request["headers"])
        self.path(request, operation)
        self.query(request, operation)
        self.headers(request)
        self.body(request, operation)
        if operation.method == "get" and self.often(0.1):
            request["method"] = "HEAD"
        elif base == self.daemon.url and self.often(0.03):
            request["method"] = self.random.choice(["PATCH", "OPTIONS", "DELETE", "TRACE", "PUT", "MKCOL"])
        return request

    def send(self, operation, request):
        try:
            answer = self.session.request(timeout=PATIENCE, allow_redirects=False, **request)
        except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeError):
            return  # not even a request
        self.seen[operation.label, answer.status_code] = self.seen.get((operation.label, answer.status_code), 0) + 1
        try:
            contract.check(answer)
            assert answer.status_code < 500, answer.text
        except Exception as error:
            text = {name: value if name != "data" else "%d bytes" % len(value or "") for name, value in request.items() if name != "files"}
            self.wrong.append(((operation.label, answer.status_code, str(error)[-60:]), "%s\n  %s\n  %d %s\n  %s" % (error, text, answer.status_code, dict(answer.headers), answer.content[:300])))
        self.learn(answer)

    def learn(self, answer):
        for found in answer.headers.get("H5PT-Conversion"), answer.headers.get("Location", "").rpartition("/")[2]:
            if found:
                self.ids = self.ids[-30:] + [found]
        if "ETag" in answer.headers:
            self.etags = self.etags[-10:] + [answer.headers["ETag"]]


def operations():
    return [result.ok() for result in schemathesis.openapi.from_path(contract.PATH).get_all_operations()]


def weight(operation):
    return WEIGHTS.get(operation.definition.raw["operationId"], 1)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    from conftest import Daemon

    folder = tmp_path_factory.mktemp("contract")
    keys = [Key("all:read,convert:rate=0"), Key("reader:read:rate=0"), Key("little:read,convert:rate=60")]
    (folder / "keys").write_text("".join(key.line + "\n" for key in keys))
    daemon = Daemon(folder, keys_file=folder / "keys", max_wait="2s", reuse="on", cors_origins="https://example.org", max_upload="1MiB")
    headers = [key.header["Authorization"] for key in keys]
    yield Generator(daemon, 12 * headers[:1] + headers[1:] + ["Bearer h5pt_unknown", "Basic eDp5"])
    assert daemon.stop() == 0


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_generated_requests(generator, mode):
    every = operations()
    unit = REQUESTS / 4 / sum(map(weight, every))
    generator.seen.clear()
    generator.wrong.clear()
    for operation in every:
        if mode is schemathesis.GenerationMode.NEGATIVE and not (operation.query or operation.headers or operation.path_parameters or operation.body):
            continue

        @hypothesis.settings(
            max_examples=max(1, round(unit * weight(operation))),
            derandomize=True,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(strategies.data())
        def run(data):
            generated = data.draw(operation.as_strategy(generation_mode=mode))
            for _ in range(2):  # little of what is asked depends on each other: the same again, with other keys, models and fields
                generator.send(operation, generator.make(operation, generated))

        run()
    count = sum(generator.seen.values())
    for (label, status), times in sorted(generator.seen.items()):
        print("%-45s %d  %d" % (label, status, times))
    kinds = dict(generator.wrong)
    if kinds:
        pytest.fail("%d wrong of %d:\n%s" % (len(generator.wrong), count, "\n".join(list(kinds.values())[:20])), pytrace=False)
    assert count >= 0.4 * REQUESTS
    assert {200, 201, 202, 400, 401, 403, 404, 405, 415, 422} <= {status for _, status in generator.seen}
