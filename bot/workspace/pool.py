"""Trees that lie ready for the next run on the same repository.

A tree lies in a holder, a folder with what belongs to it and must not be seen by what runs in it.
The holder is locked for as long as its process lives, so that another can tell what is left over.
"""

import fcntl
import threading
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import IO

from bot.domain.values import Sha
from bot.workspace.recycle import Look


@dataclass(slots=True, eq=False)
class Holder:
    """One folder of ours; `repo`, `head` and `look` tell of the tree in it."""

    path: Path
    lock: IO[str]
    repo: str = ""
    head: Sha | None = None
    look: Look | None = None

    @property
    def tree(self) -> Path:
        """Return where the tree is, or will be."""
        return self.path / "tree"

    def release(self) -> None:
        """Let go of the lock."""
        self.lock.close()

    __del__ = release


def hold(root: Path) -> Holder:
    """Make a new holder under *root*; raise OSError when that is impossible."""
    path = root / token_hex(8)
    path.mkdir(parents=True, mode=0o700)
    lock = (path / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return Holder(path, lock)


def in_use(path: Path) -> bool:
    """Tell whether the process that made this holder still lives."""
    try:
        with (path / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no holder at all, or one that is just going
        return False
    return False


@dataclass(slots=True)
class Pool:
    """At most *each* spare trees of a repository, and *most* in all; the oldest go first."""

    each: int
    most: int
    _spare: list[Holder] = field(default_factory=list)
    _wanted: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, repo: str, head: Sha) -> Holder | None:
        """Return a spare tree of this repository, one at *head* if there is one, for one user."""
        with self._lock:
            self._wanted.add(repo)
            fitting = [one for one in self._spare if one.repo == repo]
            if not fitting:
                return None
            chosen = next((one for one in fitting if one.head == head), fitting[-1])
            self._spare.remove(chosen)
            return chosen

    def put(self, holder: Holder) -> list[Holder]:
        """Add a tree that is as good as new; return those for which there is no room now."""
        with self._lock:
            self._spare.append(holder)
            same = [one for one in self._spare if one.repo == holder.repo]
            out = same[: max(0, len(same) - self.each)]
            rest = [one for one in self._spare if one not in out]
            out += rest[: max(0, len(rest) - self.most)]
            self._spare = [one for one in self._spare if one not in out]
            return out

    def unwanted(self) -> list[Holder]:
        """Take out the trees of repositories that nobody asked for since the last such call."""
        with self._lock:
            out = [one for one in self._spare if one.repo not in self._wanted]
            self._spare = [one for one in self._spare if one.repo in self._wanted]
            self._wanted.clear()
            return out

    def emptied(self) -> list[Holder]:
        """Take out all."""
        with self._lock:
            out, self._spare = self._spare, []
            return out
