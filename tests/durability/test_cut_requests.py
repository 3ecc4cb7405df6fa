"""Killed from outside while GitHub has a write in hand: applied or not, it is made once."""

import os
import re
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.simulator.model import ScriptedModel
from tests.support.ends import LINT, Owner, a_shop, differences, end_of, ended_green, undisturbed
from tests.support.running import Regreen

WRITES = {
    ("POST", r"/issues/\d+/comments$"): "post a comment",
    ("PATCH", r"/issues/comments/\d+$"): "edit a comment",
    ("POST", r"/check-runs$"): "make a check run",
    ("PATCH", r"/check-runs/\d+$"): "edit a check run",
    ("POST", r"/git-receive-pack$"): "push",
}
TIMES = 2  # kills for each kind of write and each side of it


class Killer:
    """Kills the server before a write is carried out, or after, but before its answer."""

    def __init__(self, app: ASGIApp, pid: Path) -> None:
        self._app = app
        self._pid = pid
        self.kills: Counter[tuple[str, str]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = next(
            (
                name
                for (method, path), name in WRITES.items()
                if scope["method"] == method and re.search(path, scope["path"])
            ),
            "",
        )
        if kind and self.kills[kind, "before"] <= self.kills[kind, "after"]:
            if self._due(kind, "before"):
                return
        elif kind and self._due(kind, "after"):
            await self._app(scope, receive, nowhere)
            self._kill()
            return
        await self._app(scope, receive, send)

    def _due(self, kind: str, when: str) -> bool:
        due = self.kills[kind, when] < TIMES
        self.kills[kind, when] += due
        if due and when == "before":
            self._kill()
        return due

    def _kill(self) -> None:
        with suppress(ProcessLookupError):  # it is being forked anew already
            os.kill(int(self._pid.read_text()), signal.SIGKILL)


async def nowhere(_message: Message) -> None:
    """Swallow an answer: who asked is dead."""


def test_a_write_that_github_has_in_hand_is_made_once_whoever_dies(tmp_path):
    ledger = tmp_path / "deaths"
    program = ("tests.support.victim", str(ledger))
    with a_shop(tmp_path) as github, ScriptedModel() as model:
        killer = Killer(github.door.faults.app, Path(f"{ledger}.pid"))
        github.door.faults.app = killer
        owner = Owner(github)
        server = Regreen(tmp_path / "server", github, model, program=program)
        try:
            server.start()
            number = LINT.tell(github, model)

            def green() -> bool:
                owner.redeliver()
                return ended_green(github, server, number)

            server.wait_for(green, 120, "green")
            server.settle()
            end = end_of(github, server, number)
        finally:
            server.stop()
    print(f"{killer.kills.total()} kills")  # noqa: T201 - shown by pytest -s
    assert differences(end, undisturbed(LINT)) == []
    for kind in WRITES.values():
        assert killer.kills[kind, "before"] >= killer.kills[kind, "after"] >= 1, kind
