"""Recorded deliveries of real GitHub, of many years and of Enterprise Server, get a clear answer.

The recordings are the npm package `@octokit/webhooks-examples`, unpacked where REGREEN_PAYLOADS
says: folders that each hold an `index.json`, a list of `{"name": event, "examples": [payload]}`.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.simulator.serve import SimOptions, Simulator
from tests.support.running import Regreen, running
from tests.support.signed import post
from tests.support.simulated import app_key

EVENTS = frozenset(
    {
        "check_run",
        "check_suite",
        "installation",
        "installation_repositories",
        "issue_comment",
        "ping",
        "pull_request",
        "status",
        "workflow_run",
    }
)


def recordings() -> list[Any]:
    """Return each folder's recordings as one row, or a row that says why there are none."""
    root = os.environ.get("REGREEN_PAYLOADS")  # noqa: TID251 - where the recordings are, if anywhere
    if not root:
        reason = "no recorded deliveries: set REGREEN_PAYLOADS to the unpacked package"
        return [pytest.param(Path(), marks=pytest.mark.skip(reason=reason), id="none")]
    found = sorted(Path(root).rglob("index.json"))
    assert found, f"REGREEN_PAYLOADS={root} holds no index.json"
    return [pytest.param(path, id=path.parent.name) for path in found]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Regreen]:
    with (
        Simulator(SimOptions(repos={}, private_key=app_key())) as github,
        running(tmp_path_factory.mktemp("server"), github) as started,
    ):
        yield started


@pytest.mark.xdist_group("payloads")  # one server for all
@pytest.mark.parametrize("path", recordings())
def test_a_recorded_delivery_is_answered(server: Regreen, path: Path):
    answers: dict[str, list[int]] = {}
    refused = []
    with httpx.Client(timeout=20) as client:
        for recorded in json.loads(path.read_text()):
            event = recorded["name"]
            for payload in recorded["examples"]:
                answer = post(client, server.url, server.github.webhook_secret, event, payload)
                answers.setdefault(event, []).append(answer.status_code)
                if answer.status_code != 202:
                    refused.append((event, payload.get("action"), answer.text))

    assert refused == []
    assert EVENTS - answers.keys() == set(), "recordings of our events are missing"
    server.wait_for(lambda: all_read(server), 60, "every delivery to be read")
    failed = server.rows("SELECT event, action, note FROM deliveries WHERE state = 'failed'")
    assert failed == []
    assert "internal_error" not in server.log
    assert "dispatch_failed" not in server.log


def all_read(server: Regreen) -> bool:
    return not server.rows("SELECT 1 FROM deliveries WHERE state = 'new' LIMIT 1")
