# SPDX-License-Identifier: Apache-2.0
"""Dashboard and alerts ask for what /metrics has: names, labels and values are compared with the tables of the daemon."""
import json
import os
import re
import shutil
import subprocess

import promql_parser
import pytest
from conftest import ROOT, documents, path, read

HISTOGRAM = {"_bucket": {"le"}, "_sum": set(), "_count": set()}
# What a scrape adds.
TARGET = {"job", "instance", "namespace", "pod"}


def table(name, macro, *groups):
    """The rows of a .def file: the named arguments, which stand without quotes there or with."""
    rows = re.findall(r"^%s\((.*?)\)[ ]*(?:/\*[^\n]*)?$" % macro, read(name), re.M | re.S)
    split = [re.findall(r'"((?:[^"\\]|\\.)*)"|([^\s,"]+)', row) for row in rows]
    assert rows
    return [[quoted or bare for quoted, bare in (row[i] for i in groups)] for row in split]


METRICS = {"h5pt_" + name: (kind, set(labels.split(",")) - {""}) for kind, name, labels in table("server/metrics/metrics.def", "METRIC", 0, 1, 2)}

VALUES = {
    ("h5pt_ready", "check"): {name for name, in table("server/health/checks.def", "CHECK", 1)},
    ("h5pt_jobs_finished_total", "state"): {name for name, in table("server/jobs/states.def", "STATE", 1)},
    ("h5pt_jobs_finished_total", "code"): {code for code, in table("core/base/errors.def", "ERROR", 0)},
    ("h5pt_problems_total", "code"): {code for code, in table("core/base/errors.def", "ERROR", 0)},
    ("h5pt_webhook_calls_total", "state"): {name for name, in table("server/jobs/webhooks.def", "WEBHOOK", 1)},
    ("h5pt_worker_exits_total", "reason"): {"reported", "crashed", "killed", "timeout", "stopped"},
    ("h5pt_workers", "state"): {"busy", "idle"},
    ("h5pt_job_stage_seconds", "stage"): {name for name, in table("core/stages.def", "STAGE", 1)},
    ("h5pt_http_requests_total", "status"): {"200", "500"},
    ("h5pt_http_request_duration_seconds", "route"): {route for route, in table("server/routes.def", "ROUTE", 2)},
}


def panels():
    return [panel for panel in json.loads(read("deploy/grafana/dashboard.json"))["panels"] if panel["type"] != "row"]


def dashboard_queries():
    for panel in panels():
        for target in panel["targets"]:
            yield "dashboard: " + panel["title"], target["expr"].replace("$__rate_interval", "5m"), target["legendFormat"]


def alerts():
    (document,) = documents("deploy/prometheus/alerts.yaml")
    return [rule for group in document["groups"] for rule in group["rules"]]


QUERIES = [*dashboard_queries(), *(("alert: " + rule["alert"], rule["expr"], " ".join(rule["annotations"].values())) for rule in alerts())]


def children(node):
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if getattr(node, name, None) is not None:
            yield getattr(node, name)
    yield from getattr(node, "args", None) or []


def nodes(node):
    yield node
    for child in children(node):
        yield from nodes(child)


def known(name):
    """The labels of a series and the metric that it is of."""
    if name in METRICS and METRICS[name][0] != "HISTOGRAM":
        return name, METRICS[name][1]
    for suffix, labels in HISTOGRAM.items():
        base = name.removesuffix(suffix)
        if base != name and METRICS.get(base, ("",))[0] == "HISTOGRAM":
            return base, METRICS[base][1] | labels
    raise AssertionError("there is no metric " + name)


def check_selector(selector):
    """The labels that its series have."""
    if selector.name == "up":
        return TARGET
    base, labels = known(selector.name)
    for matcher in selector.matchers.matchers:
        assert matcher.name in labels | TARGET, "%s has no label %s" % (base, matcher.name)
        if matcher.name in labels and matcher.name != "le":
            pattern = matcher.value if "Re" in str(matcher.op) else re.escape(matcher.value)
            for part in pattern.split("|"):
                assert any(re.fullmatch(part, value) for value in VALUES[base, matcher.name]), "%s is never %s" % (matcher.name, part)
    return labels | TARGET


@pytest.mark.parametrize("where,query,text", QUERIES, ids=[where for where, _, _ in QUERIES])
def test_queries_ask_for_what_there_is(where, query, text):
    tree = promql_parser.parse(query)
    labels = set()
    for node in nodes(tree):
        if isinstance(node, promql_parser.VectorSelector):
            labels |= check_selector(node)
    for node in nodes(tree):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            assert set(node.modifier.labels) <= labels, "it groups by a label that nothing has"
        if isinstance(node, promql_parser.Call) and node.func.name in ("rate", "increase"):
            for selector in nodes(node):
                if isinstance(selector, promql_parser.VectorSelector):
                    assert METRICS[known(selector.name)[0]][0] != "GAUGE", "rate of a gauge"
    # What the legend or the text of an alert shows has to be left by the outermost aggregation.
    outer = tree if isinstance(tree, promql_parser.AggregateExpr) else None
    shown = set(re.findall(r"\{\{ ?(?:\$labels\.)?([a-z]+) ?\}\}", text))
    left = (set(outer.modifier.labels) if outer.modifier else set()) if outer else labels
    assert shown <= left, "%s is not among %s" % (shown, left)


def test_the_checks_of_this_test_find_mistakes():
    for query in ("h5pt_nothing", "h5pt_job_run_seconds", "h5pt_queue_depth{route='/'}", "h5pt_jobs_finished_total{code='NO_SUCH'}", "rate(h5pt_queue_depth_sum[5m])"):
        with pytest.raises(AssertionError):
            for node in nodes(promql_parser.parse(query)):
                if isinstance(node, promql_parser.VectorSelector):
                    check_selector(node)


def test_every_metric_is_on_the_dashboard():
    shown = " ".join(query for where, query, _ in QUERIES if where.startswith("dashboard"))
    missing = [name for name in METRICS if name not in shown]
    assert missing == []


def test_the_dashboard_is_well_formed():
    ids, taken = set(), set()
    for panel in json.loads(read("deploy/grafana/dashboard.json"))["panels"]:
        assert panel["id"] not in ids
        ids.add(panel["id"])
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}" and all(target["expr"].count('job="h5pt"') for target in panel["targets"])


def test_alerts_say_what_and_how_bad():
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning") and set(rule["annotations"]) == {"summary", "description"}
        assert rule["alert"] in read("deploy/prometheus/alerts_test.yaml"), "an alert that no test has seen firing"
        assert rule["alert"] in read("docs/operations.md")


def promtool():
    own = path("build/tools/usr/bin/promtool")
    return shutil.which("promtool") or (own if os.access(own, os.X_OK) else None)


@pytest.mark.skipif(not promtool(), reason="promtool is not installed")
@pytest.mark.parametrize("command", [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"], ["check", "config", "prometheus.yaml"]])
def test_prometheus_takes_them(command):
    done = subprocess.run([promtool(), *command], cwd=os.path.join(ROOT, "deploy/prometheus"), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
