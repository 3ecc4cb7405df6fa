"""The dashboard, the alerts and the documents name metrics and labels that there are."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from bot.telemetry.metrics import COUNTERS, TIMES, PrometheusTelemetry

ROOT = Path(__file__).parents[2]
OURS = re.compile(r"(?!process_|python_)")
WORDS = {"by", "histogram_quantile", "increase", "max", "min", "rate", "sum"}


@pytest.fixture(scope="module")
def labels() -> dict[str, set[str]]:
    """Return the labels of every sample that there is once everything has happened."""
    telemetry = PrometheusTelemetry(lambda: {"green": 1}, lambda: {"primary": (1.0, True)})
    telemetry.event("other")
    telemetry.took("verify", timedelta(seconds=1))
    for kind in COUNTERS:
        telemetry.event(kind)
    for kind in TIMES:
        telemetry.took(kind, timedelta(seconds=1))
    families = telemetry.registry.collect()
    return {one.name: set(one.labels) for each in families for one in each.samples}


def dashboard() -> Iterator[tuple[str, str]]:
    text = (ROOT / "deploy" / "grafana-dashboard.json").read_text(encoding="utf-8")
    for panel in json.loads(text)["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
            for label in re.findall(r"{{(\w+)}}", target.get("legendFormat", "")):
                assert f"by ({label}" in target["expr"], panel["title"]


def alerts() -> Iterator[tuple[str, str]]:
    text = (ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8")
    for group in yaml.safe_load(text)["groups"]:
        for rule in group["rules"]:
            assert set(rule["annotations"]) == {"summary", "description"}
            yield rule["alert"], rule["expr"]


def names(expression: str) -> set[str]:
    """Return the metrics of an expression: what is no label, range, text, number or function."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)", " ", expression)
    return set(re.findall(r"[a-z_]\w*", bare)) - WORDS


def asked_labels(expression: str) -> set[str]:
    grouped = ", ".join(re.findall(r"\bby \(([^)]*)\)", expression))
    matched = re.findall(r"(\w+)(?:=~|=)\"", expression)
    return {*matched, *filter(None, re.split(r", *", grouped))}


@pytest.mark.parametrize(("title", "expression"), [*dashboard(), *alerts()])
def test_an_expression_names_metrics_and_labels_that_there_are(title, expression, labels):
    found = names(expression)
    assert found
    assert found <= labels.keys()
    for name in found:
        assert asked_labels(expression) <= labels[name]
    assert expression.count("(") == expression.count(")")


def test_the_dashboard_has_the_panels_of_the_seed():
    assert {title for title, _ in dashboard()} >= {
        "Auto-Fix Attempts by Signal Type",
        "Auto-Fix Success Ratio",
        "Backoff Delay Distribution",
        "Re-Plans Triggered",
        "Approval Requests",
        "Auto-Fix Outcomes",
        "Processing Time by Operation",
    }


def test_the_alerts_have_the_bounds_of_the_seed():
    bounds = {name: expression.rsplit(" ", 2)[1:] for name, expression in alerts()}
    assert bounds == {
        "RegreenSuccessRatioLow": ["<", "0.7"],
        "RegreenReplansMany": [">", "10"],
        "RegreenApprovalsRejected": [">", "0.5"],
        "RegreenBackoffLong": [">", "60"],
    }


def test_every_metric_is_documented_with_its_labels(labels):
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*)\|", text, re.MULTILINE)
    told = {name: set(re.findall(r"`(\w+)`", listed)) for name, listed in rows}
    there = {
        re.sub(r"_(bucket|sum|count|created)$", "", name): found - {"le"}
        for name, found in labels.items()
        if OURS.match(name) and not name.endswith("_created")
    }
    assert told == there
