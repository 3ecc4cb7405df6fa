"""The classifier against the labelled corpus of real logs, when it is at hand."""

import gzip
import json
import os
from pathlib import Path

import pytest

from bot.failures.classify import classify

SHARED = os.environ.get("REGREEN_SHARED", "")  # noqa: TID251 (a test reads where its material lies)
STRICT = 0.95
ALSO_OK = 0.98
CALIBRATION_ERROR = 0.08


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
