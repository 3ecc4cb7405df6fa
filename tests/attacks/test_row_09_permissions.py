"""Row 9: somebody without write permission gives commands.

Control: the collaborator permission that GitHub tells at that moment (`handlers.commands.WRITERS`);
`author_association` is in the payload and is read by nobody. Off (a writer), the command counts.
"""

import json

import pytest

import handlers
from bot.domain.decisions import Ignore
from bot.domain.events import ButtonPressed, CommandGiven, RetryAsked
from bot.domain.facts import EventFacts, Need
from handlers import payloads
from tests.support.pulls import HEAD, NOW, REF, a_comment, a_pull, a_run

COMMANDS = ("fix", "retry", "stop", "reset", "approve", "reject", "status", "explain", "help")
LESS = ("none", "read", "triage", "", "owner", "WRITE")


def decided(event, permission: str) -> object:
    comment = a_comment(event.body, author="mallory") if isinstance(event, CommandGiven) else None
    facts = EventFacts(now=NOW, pull=a_pull(), run=a_run(), permission=permission, comment=comment)
    assert Need.PERMISSION in handlers.needs(event)
    return handlers.decide(event, facts).verdict


@pytest.mark.parametrize("permission", LESS)
@pytest.mark.parametrize("word", COMMANDS)
def test_less_than_write_does_nothing(word, permission):
    event = CommandGiven(REF, 33, "mallory", 9, f"/regreen {word}")
    assert decided(event, permission) == Ignore("mallory may not give commands here")


@pytest.mark.parametrize("permission", LESS)
def test_neither_do_buttons_nor_the_api(permission):
    assert isinstance(decided(ButtonPressed(REF, HEAD, "fix", "mallory", 9), permission), Ignore)
    assert isinstance(decided(RetryAsked(REF, a_run().id, "mallory"), permission), Ignore)


@pytest.mark.parametrize("word", ["fix", "retry", "stop", "reset", "status", "explain", "help"])
def test_with_the_role_it_counts(word):
    event = CommandGiven(REF, 33, "mallory", 9, f"/regreen {word}")
    assert not isinstance(decided(event, "write"), Ignore)


def test_the_association_in_the_payload_says_nothing():
    person = {"login": "mallory", "id": 9, "type": "User"}
    comment = {"id": 33, "body": "/regreen fix", "user": person, "author_association": "OWNER"}
    body = {
        "action": "created",
        "issue": {"number": 7, "pull_request": {"url": "x"}},
        "comment": comment,
        "repository": {"id": 1, "full_name": "octo/app"},
        "sender": person,
    }
    event = payloads.parse("issue_comment", json.dumps(body).encode())
    assert event == CommandGiven(REF, 33, "mallory", 9, "/regreen fix")
    assert isinstance(decided(event, "none"), Ignore)


def test_a_reader_and_a_stranger_move_nothing(bot, github, model):
    pull = github.open_pull({"README.md": "# Widgets!\n"})
    bot.settle()
    given = [pull.says("/regreen fix", by=who) for who in ("reader", "stranger")]
    bot.settle()
    assert [pull.reactions(one) for one in given] == [["-1"], ["-1"]]
    assert model.calls == []
