# SPDX-License-Identifier: Apache-2.0
"""Checks an answer of the daemon against api/openapi.yaml: status, media type, headers and body must be described there."""
import functools
import os
import re

import jsonschema
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "api", "openapi.yaml")
# What HTTP itself needs, and no description lists.
OF_HTTP = {"connection", "content-length", "content-type", "date", "keep-alive", "transfer-encoding"}
METHODS = ("get", "put", "post", "delete", "head", "patch", "options", "trace")


@functools.lru_cache(maxsize=None)
def document():
    with open(PATH) as file:
        return yaml.safe_load(file)


@functools.lru_cache(maxsize=None)
def registry():
    return Registry().with_resource("urn:openapi", Resource.from_contents(document(), default_specification=DRAFT202012))


def operations():
    """{(method, path): operation}"""
    return {(method, path): item[method] for path, item in document()["paths"].items() for method in METHODS if method in item}


def follow(node):
    while "$ref" in node:
        target = document()
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def template_of(path):
    for template in document()["paths"]:
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path):
            return template
    return None


def validate(value, schema):
    # The schemas refer to each other from the root of the document.
    absolute = lambda node: (
        {key: "urn:openapi" + item if key == "$ref" else absolute(item) for key, item in node.items()}
        if isinstance(node, dict)
        else [absolute(item) for item in node]
        if isinstance(node, list)
        else node
    )
    validator = jsonschema.Draft202012Validator(absolute(schema), registry=registry(), format_checker=jsonschema.FormatChecker())
    validator.validate(value)


def check(response, *_, **__):
    method = response.request.method.lower()
    path = response.request.path_url.split("?")[0]
    template = template_of(path)
    media_type = response.headers.get("Content-Type", "").split(";")[0]
    assert response.headers["X-Request-ID"]
    operation = operations().get((method, template)) or operations().get(("get" if method == "head" else method, template))
    if method == "options" and response.status_code == 204:  # what is asked for a page of another origin, of any path
        assert template and response.headers["Access-Control-Allow-Methods"] and not response.content
        return
    if operation is None:
        assert response.status_code == (404 if template is None else 405), response.text
        described = document()["components"]["responses"]["MethodNotAllowed" if template else "Problem"]
    else:
        described = operation["responses"].get(str(response.status_code))
        assert described, "%s %s answers %d, which is not described: %s" % (method, path, response.status_code, response.text)
        described = follow(described)
    headers = {**document()["x-headers-of-every-response"], **described.get("headers", {})}
    unknown = {name.lower() for name in response.headers} - {name.lower() for name in headers} - OF_HTTP
    assert not unknown, "%s %s answers %d with headers that are not described: %s" % (method, path, response.status_code, sorted(unknown))
    for name, header in headers.items():
        if name in response.headers and follow(header)["schema"].get("type") == "string":
            validate(response.headers[name], follow(header)["schema"])
    content = described.get("content")
    if content is None:
        assert not response.content
        return
    assert media_type in content, "%s %s answers %s" % (method, path, media_type)
    if media_type.endswith("json") and response.content and response.status_code != 206:  # a part of a text of JSON is none
        validate(response.json(), content[media_type]["schema"])
    if media_type == "application/problem+json" and response.content:
        assert response.json()["status"] == response.status_code
