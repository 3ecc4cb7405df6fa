"""Row 23: code of the repository looks for the token that git was given.

Control: `bot.workspace.git.credential` hands it to git's HTTP helper alone, through memory, and for
the one host that it was minted for. Switched off here by a `credential` that sends it as a header,
named in the environment, as many do.
"""

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bot.domain.errors import BotError
from bot.domain.values import Remote
from bot.simulator.git import Access, git_app
from bot.simulator.loopback import served
from bot.workspace.git import Git
from bot.workspace.worktree import GitTrees
from tests.support.origins import Origin

AT = datetime(2026, 1, 2, tzinfo=UTC)
TOKEN = "ghs_canaryOfThisTest0123456789abcdefghij"
CODED = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
PATCH = "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+2\n"


@contextmanager
def by_header(remote: Remote) -> Iterator[Mapping[str, str]]:
    yield {"http.extraHeader": f"Authorization: Basic {CODED}"}


@dataclass
class Watch:
    """Looks at our processes while git waits for an answer: what they are, where the token is."""

    seen: set[str] = field(default_factory=set)
    leaks: set[str] = field(default_factory=set)

    def authorize(self, repo: str, token: str | None, write: bool) -> Access:  # noqa: FBT001  # the shape that git_app calls
        for process in psutil.Process().children(recursive=True):
            told = [*process.cmdline(), *process.environ().items()]
            self.seen.add(process.name())
            if any(secret in str(one) for one in told for secret in (TOKEN, CODED)):
                self.leaks.add(process.name())
        return Access.GRANTED if token == TOKEN else Access.UNAUTHORIZED


def repaired(git: Git, origin: Origin, state: Path) -> Watch:
    """Fetch, look at a tree, commit and push over HTTP, watched."""
    watch = Watch()
    head = origin.commit({"a": "1\n"})
    with served(git_app(origin.root, watch.authorize, lambda *_: None)) as url:
        remote = Remote(f"{url}/o/r.git", TOKEN)
        trees = GitTrees(state, git=git)
        with trees.open("o/r", head, remote):
            commit = trees.commit("o/r", head, PATCH, "m", AT, remote)
            assert trees.push("o/r", "main", commit, head, remote) == "pushed"
    return watch


def test_the_token_is_in_no_argument_environment_or_file(tmp_path):
    watch = repaired(Git(protocols=("http",)), Origin(tmp_path), tmp_path / "state")
    assert {"git-remote-http", "git"} <= watch.seen
    assert watch.leaks == set()
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert files
    assert not [
        path for path in files for one in (TOKEN, CODED) if one.encode() in path.read_bytes()
    ]


def test_it_is_in_many_environments_when_sent_as_a_header(tmp_path):
    git = Git(protocols=("http",), credential=by_header)
    watch = repaired(git, Origin(tmp_path), tmp_path / "state")
    assert {"git-remote-http", "git"} <= watch.leaks


def led_astray(git: Git, root: Path, *, asks: bool) -> list[str | None]:
    """Fetch from a host that sends us on to another; return the tokens that one is shown."""
    told: list[str | None] = []

    def authorize(repo: str, token: str | None, write: bool) -> Access:  # noqa: FBT001  # the shape that git_app calls
        told.append(token)
        return Access.UNAUTHORIZED if asks else Access.GRANTED

    origin = Origin(root)
    head = origin.commit({"a": "1\n"})
    with served(git_app(origin.root, authorize, lambda *_: None)) as elsewhere:

        async def lead(request: Request) -> Response:
            return RedirectResponse(f"{elsewhere}{request.url.path}?{request.url.query}")

        with (
            served(Starlette(routes=[Route("/{path:path}", lead)])) as url,
            suppress(BotError),
            GitTrees(root / "state", git=git).open("o/r", head, Remote(f"{url}/o/r.git", TOKEN)),
        ):
            pass
    return told


@pytest.mark.parametrize("asks", [True, False])
def test_another_host_is_not_told_the_token(tmp_path, asks):
    told = led_astray(Git(protocols=("http",)), tmp_path, asks=asks)
    assert set(told) == {None}


def test_it_would_be_told_a_header(tmp_path):
    git = Git(protocols=("http",), credential=by_header)
    assert TOKEN in led_astray(git, tmp_path, asks=False)
