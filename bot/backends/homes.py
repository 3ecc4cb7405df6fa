"""The home folders of agents: settings go in, a session may stay, the rest is gone afterwards.

An agent keeps its session in its home folder, so to go on is to get the same folder again. A kept
home was in the hands of whatever ran in it: it is shown to later calls of the same session and to
nothing else, and nothing of ours is ever read from it or written into it again. It is removed when
nobody has come back for a day. Homes lie on one machine: elsewhere the agent starts anew.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import IO

from bot.backends.tree import remove

_KEPT_S = 24 * 3600
_TOKEN = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9][A-Za-z0-9_-]{0,99})")


@dataclass(slots=True)
class Home:
    """A home folder in use; `resume` is the agent's session in it, "" when it is new.

    `keep` says, in the end, which session of the agent may go on; without one the home is removed.
    """

    name: str
    path: Path
    resume: str = ""
    keep: str = ""

    @property
    def token(self) -> str:
        """Return what a later call hands back to go on, "" when none can."""
        return f"{self.name}.{self.keep}" if self.name and self.keep else ""

    def fill(self, files: Mapping[str, str]) -> None:
        """Write settings into a new home; a kept one has them, and is not ours to write into."""
        for name, text in files.items() if not self.resume else ():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


class Homes:
    """Home folders below `root`; without one, every home is new and none is kept."""

    def __init__(self, root: Path | None = None) -> None:
        self._root = root

    @contextmanager
    def open(self, token: str) -> Iterator[Home]:
        """Yield the home that *token* names, else a new one."""
        if self._root is None:
            with tempfile.TemporaryDirectory(prefix="regreen-", ignore_cleanup_errors=True) as made:
                yield Home("", Path(made))
            return
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        home, lock = _kept(self._root, token) or _made(self._root)
        with lock:
            self._sweep(home.path.parent.stat().st_mtime - _KEPT_S)
            try:
                yield home
            finally:
                if home.keep:
                    os.utime(home.path.parent)
                else:
                    remove(home.path.parent)

    def _sweep(self, before: float) -> None:
        """Remove the homes that were last used before that time and are not in use."""
        assert self._root is not None
        for folder in self._root.iterdir():
            if _used_at(folder) < before and (lock := _locked(folder)) is not None:
                with lock:
                    remove(folder)


def _kept(root: Path, token: str) -> tuple[Home, IO[bytes]] | None:
    """Return a kept home and its lock; None when it is not here, or in use."""
    found = _TOKEN.fullmatch(token)
    lock = _locked(root / found[1]) if found else None
    if found is None or lock is None:
        return None
    home = root / found[1] / "home"
    if not home.is_dir():  # removed just now
        lock.close()
        return None
    os.utime(home.parent)
    return Home(found[1], home, resume=found[2]), lock


def _made(root: Path) -> tuple[Home, IO[bytes]]:
    home = Home(name := token_hex(16), root / name / "home")
    home.path.parent.mkdir(mode=0o700)
    lock = _locked(home.path.parent)
    assert lock is not None, "nobody else knows its name"
    home.path.mkdir()
    return home, lock


def _locked(folder: Path) -> IO[bytes] | None:
    """Return the lock of a home, None when somebody else has it or there is no such home."""
    try:
        lock = (folder / "lock").open("ab")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _used_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # somebody else has just removed it
        return float("inf")
