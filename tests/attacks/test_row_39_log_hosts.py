"""Row 39: the link to a log leads into the network that we run in.

Controls: `logs.is_log_link`, GitHub's own hosts of logs alone; no redirect is followed; the link is
asked without our token. Off (any link will do), a host within our network is asked.
"""

from collections.abc import Iterator

import pytest

from bot.domain.errors import Broken
from bot.domain.values import Check, CheckKind, CheckState, Secret
from bot.github import logs
from bot.github.connect import GitHub, connect
from tests.support.controls import switched_off
from tests.support.model_api import ModelApi, model_api, reply, says
from tests.support.scripted_github import Answer, FixedClock, ScriptedGitHub, a_server
from tests.support.simulated import app_key

JOB = Check(name="test", kind=CheckKind.JOB, state=CheckState.FAILED, id=31, workflow_run=8)
LOGS = "/repos/o/r/actions/jobs/31/logs"


@pytest.fixture
def github() -> Iterator[ScriptedGitHub]:
    server = ScriptedGitHub()
    yield server
    server.close()


@pytest.fixture
def bot(github: ScriptedGitHub) -> Iterator[GitHub]:
    server = a_server(github.url, Secret(app_key()))
    connected = connect(server, FixedClock(), seconds_between_writes=0)
    yield connected
    connected.close()


@pytest.fixture
def inside() -> Iterator[ModelApi]:
    """Return a server of our own network, which says something in confidence."""
    with model_api(says(reply(200, b"<confidential>"))) as api:
        yield api


def to(link: str) -> Answer:
    return Answer(302, None, {"Location": link})


@pytest.mark.parametrize(
    "link",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:1/other-port",
        "http://localhost/other-name",
        "https://evil.example/log",
        "file:///etc/passwd",
        "//evil.example/log",
    ],
)
def test_a_link_to_a_foreign_host_is_refused(github, bot, link: str) -> None:
    github.on("GET", LOGS, to(link))
    with pytest.raises(Broken, match="not a log host"):
        bot.checks.log("o/r", JOB)


def test_a_link_into_our_network_is_not_asked(github, bot, inside) -> None:
    github.on("GET", LOGS, to(inside.url))
    with pytest.raises(Broken, match="not a log host"):
        bot.checks.log("o/r", JOB)
    assert inside.seen == []


def test_a_log_host_that_sends_us_on_is_refused(github, bot, inside) -> None:
    github.on("GET", LOGS, to(f"{github.url}/hop"))
    github.on("GET", "/hop", to(inside.url))
    with pytest.raises(Broken):
        bot.checks.log("o/r", JOB)
    assert inside.seen == []


def test_a_log_host_is_not_shown_our_token(github, bot) -> None:
    github.on("GET", LOGS, to(f"{github.url}/log"))
    github.on("GET", "/log", Answer(200, b"a log"))
    assert bot.checks.log("o/r", JOB) == b"a log"
    (asked,) = github.sent("GET", "/log")
    assert "authorization" not in asked.headers


def test_without_the_list_it_would_be_asked(github, bot, inside) -> None:
    github.on("GET", LOGS, to(inside.url))
    with switched_off(logs, "is_log_link", lambda *_: True):
        assert bot.checks.log("o/r", JOB) == b"<confidential>"
    assert len(inside.seen) == 1
