"""The classifier against the labelled corpus of real logs, when it is at hand."""

import gzip
import json
import os
from itertools import combinations
from pathlib import Path

import pytest

from bot.failures.classify import classify
from bot.failures.evidence import matches
from bot.failures.region import regions

SHARED = os.environ.get("REGREEN_SHARED", "")  # noqa: TID251 (a test reads where its material lies)
pytestmark = pytest.mark.xdist_group("corpus")  # it is classified once
STRICT = 0.95
ALSO_OK = 0.98
CALIBRATION_ERROR = 0.05
KEPT = 0.97  # of the deciding lines of a log, on average
SAME_KEY = 0.0005  # of the pairs of logs of different kinds


@pytest.fixture(scope="module")
def scored():
    path = Path(SHARED) / "corpus" / "dev.jsonl.gz"
    if not SHARED or not path.exists():
        pytest.skip("REGREEN_SHARED names no folder with a corpus")
    with gzip.open(path, "rt") as lines:
        records = [json.loads(line) for line in lines]
    return [(record, classify(record["text"])) for record in records]


def test_kinds_are_right(scored):
    strict = [signal.type.name == record["type"] for record, signal in scored]
    fair = [signal.type.name in {record["type"], *record["also_ok"]} for record, signal in scored]
    assert sum(strict) / len(scored) >= STRICT
    assert sum(fair) / len(scored) >= ALSO_OK


def test_confidence_is_honest(scored):
    bins: dict[int, list[tuple[float, bool]]] = {}
    for record, signal in scored:
        right = signal.type.name == record["type"]
        bins.setdefault(min(9, int(signal.confidence * 10)), []).append((signal.confidence, right))
    error = sum(
        abs(sum(right for _, right in rows) - sum(sure for sure, _ in rows))
        for rows in bins.values()
    ) / len(scored)
    assert error <= CALIBRATION_ERROR


def test_the_deciding_lines_are_in_the_excerpt(scored):
    lost = [
        record["id"]
        for record, signal in scored
        for evidence in signal.evidence[:3]
        if evidence.text[:60] not in " ".join(signal.excerpt.split())
    ]
    assert lost == []


def test_the_excerpt_keeps_the_lines_of_the_root_cause(scored):
    """Root-cause lines are those on which the strongest rows of the true kind speak."""
    shares = []
    for record, signal in scored:
        known = {evidence.line for evidence in signal.evidence}
        found = (one for one in regions(record["text"]) if known & set(one.numbers))
        region = next(found, None)
        rows = [row for row in matches(region) if row.rule.type is signal.type] if region else []
        lines = {at for row in rows if row.score >= rows[0].score - 0.12 for at in row.at}
        kept = set(signal.excerpt.splitlines())
        if region and lines:
            told = [region.lines[at].decode("utf-8", "replace")[:500] in kept for at in lines]
            shares.append(sum(told) / len(told))
    assert len(shares) > 90
    assert sum(shares) / len(shares) >= KEPT


def test_different_failures_have_different_keys(scored):
    pairs = list(combinations(scored, 2))
    same = [
        (one["id"], other["id"])
        for (one, told), (other, told_too) in pairs
        if told.fingerprint == told_too.fingerprint and one["type"] != other["type"]
    ]
    assert len(same) / len(pairs) <= SAME_KEY
