"""Row 11: a command is put into somebody's comment after it was written.

Controls: only `created` comments are read, and the comment is fetched again and must still say the
same. Off (a comment that was left alone), the command counts.
"""

import json

import pytest

import handlers
from bot.domain.decisions import Ignore, Settle
from bot.domain.events import CommandGiven, Unused
from bot.domain.facts import EventFacts, Need
from handlers import payloads
from tests.support.pulls import NOW, REF, a_comment, a_pull

GIVEN = CommandGiven(REF, 33, "owner", 1, "/regreen fix")


def decided(comment) -> object:
    facts = EventFacts(now=NOW, pull=a_pull(), permission="admin", comment=comment)
    return handlers.decide(GIVEN, facts).verdict


@pytest.mark.parametrize(
    "body", ["nice work", "/regreen fix ", "/regreen stop", "", "> /regreen fix"]
)
def test_what_was_edited_since_does_nothing(body):
    assert Need.COMMENT in handlers.needs(GIVEN)
    assert decided(a_comment(body, author="owner")) == Ignore("the comment was edited since")


def test_what_was_deleted_since_does_nothing():
    assert decided(None) == Ignore("the comment was deleted since")


@pytest.mark.parametrize("action", ["edited", "deleted", "pinned"])
def test_only_a_new_comment_is_read(action):
    person = {"login": "owner", "id": 1, "type": "User"}
    body = {
        "action": action,
        "issue": {"number": 7, "pull_request": {"url": "x"}},
        "comment": {"id": 33, "body": "/regreen fix", "user": person},
        "repository": {"id": 1, "full_name": "octo/app"},
        "sender": person,
    }
    assert isinstance(payloads.parse("issue_comment", json.dumps(body).encode()), Unused)
    body["action"] = "created"
    assert payloads.parse("issue_comment", json.dumps(body).encode()) == GIVEN


def test_a_comment_that_was_left_alone_counts():
    assert isinstance(decided(a_comment("/regreen fix", author="owner")), Settle)
