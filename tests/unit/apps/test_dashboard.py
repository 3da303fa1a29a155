"""The dashboard and the alerts that come with the gateway: each asks only for what is exported."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from providerrank.apps.admin.metrics import render
from providerrank.apps.admin.reader import AdminReader
from tests.fake_admin import World, make_stats

DEPLOY = Path(__file__).parents[3] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "providerrank.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
SCRAPE = DEPLOY / "prometheus" / "prometheus.yml"
REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool here: it comes with Prometheus")

OF_PROMETHEUS = {"instance", "job", "le"}
"""Labels that the scrape adds."""

Panel = dict[str, Any]
"""``Any``: Grafana's JSON."""


def read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def get_expressions() -> list[str]:
    panels: list[Panel] = read()["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def get_exported() -> dict[str, set[str]]:
    """Every sample there may be, and its labels: what this World exports, and what the reference names."""
    text = render(AdminReader(World(stats=make_stats()).get_sources()).get_snapshot()).decode()
    names: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    for match in re.finditer(r"^\| `(providerrank_\w+)` \| (\w+) \|([^|]*)\|", REFERENCE.read_text(), re.MULTILINE):
        ends = ("_bucket", "_sum", "_count") if match[2] == "histogram" else ("",)
        for end in ends:
            names.setdefault(match[1] + end, set()).update(re.findall(r"`(\w+)`", match[3]))
    return names


def check(expression: str, exported: dict[str, set[str]]) -> None:
    names = re.findall(r"\b((?:providerrank|process)_\w+)", expression)
    assert names, expression
    labels: set[str] = set()
    for name in names:
        assert name in exported, f"{name} is not exported: {expression}"
        labels |= exported[name]
    for inside in re.findall(r"\{([^}]*)\}", expression):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside):
            assert label in labels | OF_PROMETHEUS, f"{label}: {expression}"
    for inside in re.findall(r"\bby \(([^)]*)\)", expression):
        for label in inside.split(","):
            assert label.strip() in labels | OF_PROMETHEUS, f"{label}: {expression}"


def test_every_metric_of_the_dashboard_is_exported() -> None:
    exported = get_exported()
    expressions = get_expressions()
    assert len(expressions) > 25
    for expression in expressions:
        check(expression, exported)
    for one in read()["annotations"]["list"]:
        check(one["expr"], exported)
    for variable in read()["templating"]["list"]:
        if variable["type"] == "query":
            check(variable["query"]["query"].replace("label_values(", "").replace(")", ""), exported)


def test_legends_name_labels_that_are_there() -> None:
    exported = get_exported()
    for panel in read()["panels"]:
        for target in panel.get("targets", ()):
            kept = {
                label.strip() for part in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in part.split(",")
            }
            names = re.findall(r"\b((?:providerrank|process)_\w+)", target["expr"])
            known = kept or set().union(*(exported[name] for name in names)) | OF_PROMETHEUS
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert label in known, (label, target["expr"])


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    dashboard = read()
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time", "annotations"} <= set(dashboard)
    assert dashboard["schemaVersion"] >= 36
    assert "id" not in dashboard, "an id belongs to one Grafana"
    panels: list[Panel] = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["type"] in {"stat", "table", "timeseries"}
        assert panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) >= 1
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    variables = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert variables == ["datasource", "model", "endpoint"]
    used = set(re.findall(r"\$(\w+)", json.dumps(panels))) - {"__rate_interval"}
    assert used <= set(variables)


def test_every_metric_of_the_alerts_is_exported() -> None:
    exported = get_exported()
    # (Each expression is one line, or an indented block.)
    expressions = re.findall(r"expr: (?:\|\n((?: {10,}.*\n)+)|(.*)\n)", ALERTS.read_text())
    assert len(expressions) == ALERTS.read_text().count("- alert:")
    for block, line in expressions:
        expression = block or line
        if "up{" not in expression:
            check(expression, exported)
    for label in re.findall(r"\$labels\.(\w+)", ALERTS.read_text()):
        assert label in {"endpoint", "instance", "model"}


def test_the_scrape_asks_where_the_metrics_are() -> None:
    text = SCRAPE.read_text()
    assert "metrics_path: /metrics" in text
    assert '"127.0.0.1:8081"' in text
    assert "alerts.yml" in text


@needs_promtool
def test_prometheus_takes_scrape_and_alerts() -> None:
    assert PROMTOOL is not None
    for what, path in (("config", SCRAPE), ("rules", ALERTS)):
        done = subprocess.run([PROMTOOL, "check", what, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_can_read_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    rules = [
        {"record": f"a:b{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(get_expressions())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))  # JSON is YAML
    done = subprocess.run([PROMTOOL, "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
