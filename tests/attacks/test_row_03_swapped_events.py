"""Row 3: a genuine body is sent under the name of another event; no signature covers the name.

Control: `bot.web.envelopes`, the keys that a body of each event must have. Off (any body passes),
it is stored under the wrong name.
"""

import json

import pytest

from bot.domain.errors import Broken
from bot.web import webhooks
from bot.web.envelopes import ENVELOPES, action
from tests.support.controls import switched_off
from tests.support.intake import Server, server, store

__all__ = ["server", "store"]

BODIES: dict[str, dict[str, object]] = {
    "ping": {"zen": "Keep it logically awesome.", "hook_id": 1, "hook": {}},
    "pull_request": {"action": "opened", "number": 1, "pull_request": {}, "repository": {}},
    "check_run": {"action": "requested_action", "check_run": {}, "repository": {}},
    "check_suite": {"action": "completed", "check_suite": {}, "repository": {}},
    "workflow_run": {"action": "completed", "workflow_run": {}, "workflow": {}, "repository": {}},
    "status": {"id": 1, "sha": "a", "state": "failure", "context": "ci", "repository": {}},
    "issue_comment": {"action": "created", "issue": {}, "comment": {}, "repository": {}},
    "installation": {"action": "created", "installation": {}, "repositories": []},
    "installation_repositories": {
        "action": "added",
        "installation": {},
        "repositories_added": [{}],
        "repositories_removed": [],
    },
}
SWAPS = [(name, sent) for name in ENVELOPES for sent in BODIES if name != sent]


def test_every_event_has_a_body_here():
    assert set(BODIES) == set(ENVELOPES)


@pytest.mark.parametrize("event", BODIES)
def test_an_event_says_its_action(event: str):
    body = BODIES[event]
    assert action(event, json.dumps(body).encode()) == body.get("action", "")


@pytest.mark.parametrize(("event", "sent"), SWAPS, ids=[f"{b} as {a}" for a, b in SWAPS])
def test_a_body_under_another_name_is_refused(event: str, sent: str):
    with pytest.raises(Broken):
        action(event, json.dumps(BODIES[sent]).encode())


def test_over_http_it_is_400_and_waits_for_nobody(server: Server):
    body = json.dumps(BODIES["issue_comment"]).encode()
    answer = server.post(body, x_github_event="pull_request")
    assert answer.status == 400
    assert "this is not a pull_request event" in answer.text
    assert server.store.waiting(10) == []


def test_without_the_keys_it_would_be_stored(server: Server):
    body = json.dumps(BODIES["issue_comment"]).encode()
    with switched_off(webhooks, "action", lambda *_: ""):
        assert server.post(body, x_github_event="pull_request").status == 202
    assert [one.event for one in server.store.waiting(10)] == ["pull_request"]
