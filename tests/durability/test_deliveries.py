"""What was acknowledged is not lost; what comes twice, late or never changes nothing."""

import hashlib
import hmac
import json
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from bot.simulator.model import ScriptedModel
from bot.simulator.stories import REPO
from tests.support.ends import LINT, a_shop, differences, end_of, ended_green, undisturbed
from tests.support.postgres import postgres, postgres_url  # noqa: F401 - fixtures
from tests.support.running import CONFIG, Regreen, running

BURST = 400
ENOUGH = 40  # answers before the server is killed


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request):
    return "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


def post_burst(server: Regreen, body: bytes, enough) -> set[str]:
    """Post one event under many GUIDs until the server is gone; return those it answered 202."""
    signature = hmac.new(server.github.webhook_secret.encode(), body, hashlib.sha256).hexdigest()
    acknowledged: set[str] = set()

    def post(client: httpx.Client) -> None:
        guid = str(uuid4())
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "pull_request",
            "X-GitHub-Delivery": guid,
            "X-Hub-Signature-256": f"sha256={signature}",
        }
        try:
            answer = client.post(f"{server.url}/webhooks/github", content=body, headers=headers)
        except httpx.TransportError:
            return
        if answer.status_code == 202:
            acknowledged.add(guid)
            if len(acknowledged) >= enough:
                server.kill()

    with httpx.Client(trust_env=False) as client, ThreadPoolExecutor(8) as pool:
        for _ in range(BURST):
            pool.submit(post, client)
    return acknowledged


def test_what_was_acknowledged_is_dispatched_once_though_the_server_was_killed(
    tmp_path, database_url
):
    with a_shop(tmp_path, run_workflows=False) as github:
        server = Regreen(tmp_path / "server", github, database_url=database_url)
        server.start()
        try:
            github.open_pull(REPO, {"a.txt": "1\n"}, branch="topic")
            github.wait_idle()
            opened = next(one for one in github.deliveries() if one.event == "pull_request")
            acknowledged = post_burst(server, json.dumps(opened.payload).encode(), ENOUGH)
            assert ENOUGH <= len(acknowledged) < BURST
            stored = (
                "SELECT guid, state FROM deliveries "
                f"WHERE event = 'pull_request' AND guid <> '{opened.guid}'"
            )
            undone = [row for row in server.rows(stored) if row.state == "new"]
            assert undone, "the kill came too late to show anything"
            server.start()
            server.settle()
            states = {row.guid: row.state for row in server.rows(stored)}
            reactions = server.rows(
                f"SELECT workflow_uuid, status FROM {server.workflows} WHERE name = 'react'"
            )
        finally:
            server.stop()
    assert acknowledged <= states.keys()
    assert set(states.values()) == {"done"}
    ended = [row.workflow_uuid for row in reactions if row.status == "SUCCESS"]
    assert {f"event:{guid}" for guid in states} <= set(ended)


def test_deliveries_that_come_twice_and_out_of_order_lead_to_the_same_end(tmp_path):
    with (
        a_shop(tmp_path / "twice", duplicate=1.0, reorder=0.5) as github,
        ScriptedModel() as model,
        running(tmp_path / "server", github, model=model) as server,
    ):
        number = LINT.tell(github, model)
        server.wait_for(lambda: ended_green(github, server, number), 120, "green")
        server.settle()
        guids = [attempt.guid for attempt in github.deliveries()]
        assert len(guids) == 2 * len(set(guids))
        assert differences(end_of(github, server, number), undisturbed(LINT)) == []


def test_with_half_of_the_deliveries_lost_the_sweep_brings_the_run_to_its_end(tmp_path):
    config = CONFIG.replace("settle_s = 0.2", "settle_s = 0.2\nsweep_s = 1")
    with (
        a_shop(tmp_path / "half", drop=0.5, seed=3) as github,
        ScriptedModel() as model,
        running(tmp_path / "server", github, model=model, config=config) as server,
    ):
        number = LINT.tell(github, model)
        server.wait_for(lambda: ended_green(github, server, number), 120, "green")
        lost = [attempt for attempt in github.deliveries() if not attempt.status_code]
        assert lost
        end = end_of(github, server, number)
    assert differences(end, undisturbed(LINT)) == []
