"""Row 10: another bot gives commands, perhaps under a login that looks like one we know.

Control: the numeric ids of `Known.bots`; a login proves nothing. Off (the id is listed), it counts.
"""

import json

import pytest

from bot.domain.events import ButtonPressed, CommandGiven, Unused
from handlers import payloads
from tests.support.pulls import HEAD

FRIEND = 41898282
EVIL = {"login": "evil[bot]", "id": 666, "type": "Bot"}
REPO = {"id": 1, "full_name": "octo/app"}


def comment(user) -> object:
    return {
        "action": "created",
        "issue": {"number": 7, "pull_request": {"url": "x"}},
        "comment": {"id": 33, "body": "/regreen approve", "user": user},
        "repository": REPO,
        "sender": user,
    }


def pressed(user) -> object:
    run = {
        "id": 5,
        "name": "regreen",
        "head_sha": HEAD,
        "status": "completed",
        "conclusion": "action_required",
        "external_id": "octo/app#7",
        "app": {"id": 12},
        "pull_requests": [{"number": 7, "base": {"repo": {"id": 1}}}],
    }
    return {
        "action": "requested_action",
        "check_run": run,
        "requested_action": {"identifier": "approve"},
        "repository": REPO,
        "sender": user,
    }


EVENTS = {"issue_comment": comment, "check_run": pressed}
FALSE = {
    "a bot": EVIL,
    "a bot by its login alone": {**EVIL, "type": "User"},
    "a bot with a friend's login": {**EVIL, "login": "friend[bot]"},
    "a bot without the ending": {**EVIL, "login": "friend"},
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("user", FALSE.values(), ids=FALSE)
def test_a_bot_is_refused_by_its_number(event, user):
    body = json.dumps(EVENTS[event](user)).encode()
    found = payloads.parse(event, body, app_id=12, bots=frozenset({FRIEND}))
    assert isinstance(found, Unused)
    assert "is a bot" in found.reason


@pytest.mark.parametrize("event", EVENTS)
def test_with_its_number_listed_it_counts(event):
    body = json.dumps(EVENTS[event](EVIL)).encode()
    found = payloads.parse(event, body, app_id=12, bots=frozenset({FRIEND, 666}))
    assert isinstance(found, CommandGiven | ButtonPressed)
