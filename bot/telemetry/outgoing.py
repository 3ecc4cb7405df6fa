"""Puts one filter around every port through which text leaves us or is kept.

The texts were made inert where they were composed (`bot.domain.inert`); this is the last line. It
knows our own secrets in every spelling, and what looks like a secret of anybody's. Comments, check
runs, commit messages, artifacts, runs, the audit trail and what is remembered pass through it; logs
and error reports have a filter of the same kind (`redact.py`). A diff is never altered: one that
would commit a secret of ours is refused.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from bot.domain.errors import NeedsPerson
from bot.domain.inert import Clean, scrubbed
from bot.domain.leaks import REDACTED, Known
from bot.domain.leaks import redact as without_formats
from bot.domain.ports import Ports
from bot.domain.runs import Run
from bot.domain.values import Remote, Secret, Sha

# A local model's "key" may be `ollama`, which is also a word; what is kept must not change by it.
SHORTEST = 16
FILTERED = {  # port: the methods whose arguments leave us or are kept
    "comments": ("post", "edit"),
    "checks": ("show",),
    "gatekeeper": ("record",),
    "history": ("remember",),
    "audit": ("append",),
}


def guarded(ports: Ports, secrets: Callable[[], Sequence[Secret]]) -> Ports:
    """Return *ports* behind the filter; *secrets* are asked for anew each time, as they change."""

    @lru_cache(maxsize=1)  # their spellings are many, and they seldom change
    def spelled(held: tuple[Secret, ...]) -> Known:
        return Known(one for one in held if len(one.reveal()) >= SHORTEST)

    def known() -> Known:
        return spelled(tuple(secrets()))

    def clean(text: str) -> str:
        return without_formats(known().hidden(text, REDACTED))

    def ours(text: str) -> bool:
        return known().within(text)

    filtered: dict[str, Any] = {
        name: Filtered(getattr(ports, name), methods, clean) for name, methods in FILTERED.items()
    }
    return replace(
        ports,
        **filtered,
        trees=FilteredTrees(ports.trees, clean, ours),
        runs=FilteredRuns(ports.runs, clean),
    )


class Filtered:
    """A port; what the named methods are given is cleaned, all else goes through."""

    def __init__(self, port: Any, methods: Collection[str], clean: Clean) -> None:
        self._port = port
        self._methods = methods
        self._clean = clean

    def __getattr__(self, name: str) -> Any:
        """Return a method of the port, or what else it has."""
        found = getattr(self._port, name)
        if name not in self._methods:
            return found

        def call(*words: Any, **named: Any) -> Any:
            return found(*scrubbed(words, self._clean), **scrubbed(named, self._clean))

        return call


class FilteredRuns(Filtered):
    """Runs are kept clean, but for a change that waits for its proof or at a gate.

    It goes out as proved; and where it only touches what looks like a secret, a cleaned one would
    not even apply.
    """

    def __init__(self, port: Any, clean: Clean) -> None:
        super().__init__(port, ("advance", "bump"), clean)

    def save(self, run: Run) -> None:
        """Store a run."""
        kept = scrubbed(run, self._clean)
        gates = tuple(
            msgspec.structs.replace(new, diff=old.diff)
            for new, old in zip(kept.gates, run.gates, strict=True)
        )
        scratch = kept.scratch
        if scratch is not None and run.scratch is not None:
            scratch = msgspec.structs.replace(scratch, diff=run.scratch.diff)
        self._port.save(msgspec.structs.replace(kept, gates=gates, scratch=scratch))


class FilteredTrees(Filtered):
    """Commits have clean messages, and none holds a secret of ours."""

    def __init__(self, port: Any, clean: Clean, ours: Callable[[str], bool]) -> None:
        super().__init__(port, (), clean)
        self._ours = ours

    def commit(  # as the port has it
        self, repo: str, parent: Sha, diff: str, message: str, at: datetime, remote: Remote
    ) -> Sha:
        """Make a commit; raise NeedsPerson when it would hold one of our secrets."""
        if self._ours(diff):
            raise NeedsPerson("The change holds a secret of this server, so nothing was committed.")
        found: Sha = self._port.commit(repo, parent, diff, self._clean(message), at, remote)
        return found

    def restore(  # as the port has it
        self, repo: str, parent: Sha, like: Sha, message: str, at: datetime, remote: Remote
    ) -> Sha:
        """Make a commit that takes one back."""
        found: Sha = self._port.restore(repo, parent, like, self._clean(message), at, remote)
        return found
