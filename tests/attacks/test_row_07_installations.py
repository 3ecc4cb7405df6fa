"""Row 7: a delivery names an installation, or a repository, that is not the other's.

Control: the installation in a payload is read by nobody. `Tokens` asks GitHub, as the App, which
installation a repository has, and a token is for that repository alone. Off (a number is believed),
the token is asked of another tenant's installation.
"""

import json
from collections.abc import Iterator

import pytest

from bot.domain.errors import Gone, NeedsPerson
from bot.domain.events import CommandGiven
from bot.domain.values import PullRef, Secret
from bot.github.auth import Tokens
from bot.github.connect import connect
from handlers import payloads
from tests.support.controls import switched_off
from tests.support.scripted_github import Answer, FixedClock, ScriptedGitHub, a_server
from tests.support.simulated import app_key

OURS, THEIRS = 7, 666


@pytest.fixture
def github() -> Iterator[ScriptedGitHub]:
    """Return a GitHub where o/r belongs to installation 7, and nothing to 666."""
    server = ScriptedGitHub()
    server.on("GET", "/repos/o/r/collaborators/mona/permission", Answer(body={"permission": "x"}))
    yield server
    server.close()


def named(repo: str) -> PullRef:
    """Return the pull request of a comment that comes with another tenant's installation."""
    person = {"login": "mona", "id": 1, "type": "User"}
    body = {
        "action": "created",
        "issue": {"number": 5, "pull_request": {"url": "x"}},
        "comment": {"id": 33, "body": "/regreen fix", "user": person},
        "repository": {"id": 1, "full_name": repo},
        "installation": {"id": THEIRS},
        "sender": person,
    }
    event = payloads.parse("issue_comment", json.dumps(body).encode())
    assert isinstance(event, CommandGiven)
    return event.pull


def asked_for_tokens(github: ScriptedGitHub, repo: str) -> list[tuple[str, object]]:
    """Look up who gave the command; return of which installations tokens were asked, for what."""
    server = a_server(github.url, Secret(app_key()))
    bot = connect(server, FixedClock(), seconds_between_writes=0)
    try:
        bot.repos.permission(named(repo).repo, "mona")
    except (Gone, NeedsPerson):
        pass
    finally:
        bot.close()
    return [
        (one.path.split("/")[3], one.body["repositories"])
        for one in github.requests
        if one.path.endswith("/access_tokens")
    ]


def test_the_installation_is_the_one_that_github_names(github):
    assert asked_for_tokens(github, "o/r") == [(str(OURS), ["r"])]


def test_a_repository_without_the_app_gets_nothing(github):
    assert asked_for_tokens(github, "victim/private") == []


def test_without_asking_it_would_be_the_one_in_the_payload(github):
    with switched_off(Tokens, "_installation", lambda *_: THEIRS):
        assert (str(THEIRS), ["private"]) in asked_for_tokens(github, "victim/private")
