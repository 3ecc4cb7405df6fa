"""Set-ups that are kept for later runs on the same repository.

    setups/<repository>/<key>/tree, home     what a set-up made, beside the files that it saw
    setups/<repository>/<key>.lock           whose time is that of the last use
    setups/<repository>/<key>.whole          it failed over these files alone: not tried for a day

A set-up is made elsewhere and moved here when it is whole, so what a killed process leaves is never
taken for one. The lock is held by many who use a set-up, or by the one who makes or removes it.
Nothing untrusted ever writes here: a sandbox is shown a set-up read-only, and copies from it. Hard
links would be quicker, but a file that two trees share is one that the first can change for the
second.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from bot.workspace.cleanup import Cleaner

FOLDER = "setups"
_UNUSED = timedelta(days=30)
_MARKED = timedelta(days=1)
_EVERY = timedelta(hours=1)
_LOOK_S = 0.2  # how often who waits looks whether another is done
_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stored:
    """A set-up that is there: its size in bytes, and when it was last used, since 1970."""

    path: Path
    size: int
    used: float


class Snapshots:
    """The stored set-ups below the data folder *root*, at most *most_mb* megabytes in all."""

    def __init__(self, root: Path, cleaner: Cleaner, most_mb: int) -> None:
        self._root = root.absolute() / FOLDER
        self._cleaner = cleaner
        self._most = most_mb * _MB
        self._looked: datetime | None = None

    @contextmanager
    def using(self, repo: str, key: str) -> Iterator[Path | None]:
        """Yield the set-up, which stays for as long as the block lasts; None when there is none."""
        path = self._path(repo, key)
        if not path.is_dir():
            yield None
            return
        with _locked(_beside(path, "lock"), fcntl.LOCK_SH) as lock:
            os.utime(lock.fileno())
            yield path if path.is_dir() else None

    @contextmanager
    def making(
        self, repo: str, key: str, *, within_s: float, stop: Callable[[], bool]
    ) -> Iterator[bool]:
        """Yield whether the caller is the one to make it; wait meanwhile for another who does."""
        path = self._path(repo, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + within_s
        while True:
            try:
                with _locked(_beside(path, "lock"), fcntl.LOCK_EX | fcntl.LOCK_NB):
                    yield not path.is_dir() and not self.whole(repo, key)
                    return
            except BlockingIOError:
                if path.is_dir() or time.monotonic() > deadline or stop():
                    break
            time.sleep(_LOOK_S)
        yield False

    def keep(self, repo: str, key: str, made: Path) -> bool:
        """Move what was made to its place; False when it is too large, or shut against a look.

        For who is `making` it.
        """
        try:
            size = _size(made)
        except PermissionError:  # a set-up may make folders that nobody may enter
            return False
        if size > self._most:
            return False
        (made / "size").write_text(str(size))
        os.sync()  # after a power cut it is whole, or not there
        made.rename(self._path(repo, key))
        self._shrink()
        return True

    def drop(self, repo: str, key: str) -> None:
        """Remove a set-up that turned out to be of no use, once nobody uses it."""
        self._remove(self._path(repo, key))

    def whole(self, repo: str, key: str) -> bool:
        """Tell whether this set-up is known to need more than the files of its key."""
        return _beside(self._path(repo, key), "whole").exists()

    def mark_whole(self, repo: str, key: str) -> None:
        """Remember that this set-up needs more than the files of its key."""
        _beside(self._path(repo, key), "whole").touch()

    def round(self, now: datetime) -> None:
        """Once an hour remove what nobody used for long, and old marks."""
        if self._looked is not None and now - self._looked < _EVERY:
            return
        self._looked = now
        for one in self.stored():
            if now.timestamp() - one.used > _UNUSED.total_seconds():
                self._remove(one.path)
        for mark in self._root.glob("*/*.whole"):
            with suppress(FileNotFoundError):
                if now.timestamp() - mark.stat().st_mtime > _MARKED.total_seconds():
                    mark.unlink()
        for lock in self._root.glob("*/*.lock"):
            if not lock.with_suffix("").is_dir():
                self._remove(lock.with_suffix(""))
        for folder in self._root.glob("*"):
            with suppress(OSError):  # there is something in it
                folder.rmdir()
        self._shrink()

    def stored(self) -> list[Stored]:
        """Return all set-ups, the one that was used last first."""
        found = []
        for file in self._root.glob("*/*/size"):
            with suppress(OSError, ValueError):
                used = _beside(file.parent, "lock").stat().st_mtime
                found.append(Stored(file.parent, int(file.read_text()), used))
        return sorted(found, key=lambda one: -one.used)

    def _shrink(self) -> None:
        """Remove those used longest ago while all together are too large."""
        total = 0
        for one in self.stored():
            total += one.size
            if total > self._most:
                self._remove(one.path)

    def _remove(self, path: Path) -> None:
        """Remove a set-up and its lock, unless it is in use."""
        lock = _beside(path, "lock")
        with suppress(BlockingIOError), _locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
            self._cleaner.discard(path, "setup")
            lock.unlink(missing_ok=True)

    def _path(self, repo: str, key: str) -> Path:
        return self._root / hashlib.sha256(repo.lower().encode()).hexdigest()[:32] / key


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


@contextmanager
def _locked(path: Path, how: int) -> Iterator[IO[str]]:
    """Hold the lock; raise BlockingIOError when that is to be had at once and is not."""
    lock = _lock(path, how)
    while lock is None:  # who had it removed it
        lock = _lock(path, how)
    with lock:
        yield lock


def _lock(path: Path, how: int) -> IO[str] | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a")
    try:
        fcntl.flock(lock, how)
        if os.fstat(lock.fileno()).st_ino == path.stat().st_ino:
            return lock
    except FileNotFoundError:
        pass
    except OSError:
        lock.close()
        raise
    lock.close()
    return None


def _size(folder: Path) -> int:
    """Return the bytes on the disk; raise OSError when something cannot be looked at."""
    total, folders = 0, [str(folder)]
    while folders:
        with os.scandir(folders.pop()) as found:
            for entry in found:
                total += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
    return total
