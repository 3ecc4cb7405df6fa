"""One bare mirror for each repository: a cache of commits, fetched by SHA and shared by all runs.

Whatever somebody uses is named `refs/regreen/<sha>`, a file whose time is that of its last use;
what was not used for `KEPT` is dropped, and so is a mirror of which nothing is left. A mirror that
turns out to be broken is thrown away and fetched anew. Locks keep writers apart, among threads and
among processes; readers need none, for git's files appear whole, and objects that a reader may
still want are kept by their name and by their age.
"""

import fcntl
import os
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

from bot.domain.errors import Broken, TryLater
from bot.domain.values import Remote, Sha
from bot.workspace.disk import writing
from bot.workspace.git import LONG_S, Damaged, Extra, Git

KEPT = timedelta(days=30)  # longer than any answer at a gate is waited for
_GRACE = timedelta(days=1)  # objects without a name: a commit may just be in the making
_EVERY = timedelta(days=1)
_CROWDED_EVERY = timedelta(hours=1)
_PACKS, _LOOSE = 20, 2000  # more than these are a crowd
_TRIES = 4
_TIDIED = "regreen.tidied"  # its time is that of the last tidying
_REPO = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_STALE = ("refs/regreen/*.lock", "packed-refs.lock", "HEAD.lock")

Result = TypeVar("Result")


class Mirrors:
    """The mirrors under *root*; *discard* takes a folder away for good, and says why."""

    def __init__(self, root: Path, git: Git, discard: Callable[[Path, str], None]) -> None:
        self._root = root
        self._git = git
        self._discard = discard
        self._locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)

    def path(self, repo: str) -> Path:
        """Return the mirror's path, which need not exist yet."""
        if not _REPO.fullmatch(repo) or any(part.strip(".") == "" for part in repo.split("/")):
            raise Broken(f"{repo!r} is not a repository's name")
        return self._root / f"{repo}.git"

    def has(self, repo: str, commit: str) -> bool:
        """Tell whether the mirror holds this commit."""
        mirror = self.path(repo)
        if not mirror.is_dir():
            return False
        return self._git.call(mirror, "cat-file", "-e", f"{commit}^{{commit}}").exit_code == 0

    def make(self, repo: str) -> None:
        """Have a mirror of the repository, which may be empty."""
        with self._locked(repo):
            self._ensure(repo)

    def fetch(self, repo: str, commit: Sha, remote: Remote) -> None:
        """Have exactly this commit and its history in the mirror, and keep it there."""
        if not _SHA.fullmatch(commit):
            raise Broken(f"{commit!r} is not a commit's full name")
        if self._used(repo, commit):
            return
        with self._locked(repo):
            self._ensure(repo)
            if self._used(repo, commit):  # another was quicker
                return
            if self.has(repo, commit):  # as the ancestor of another
                self._name(repo, commit)
                return
            self._git.must(
                self.path(repo),
                *("fetch", "--no-tags", "--no-write-fetch-head", "--quiet", "--"),
                remote.url,
                f"+{commit}:refs/regreen/{commit}",
                extra=Extra(remote=remote),
            )

    def keep(self, repo: str, commit: str) -> None:
        """Give a commit of our own a name in the mirror."""
        with self._locked(repo):
            self._name(repo, commit)

    def mended(self, repo: str, work: Callable[[], Result]) -> Result:
        """Return what *work* returns; if a broken mirror keeps it from that, work on a new one.

        *work* has to fetch what it needs. Others may be replacing the mirror at the same time.
        """
        for _ in range(_TRIES):
            seen = self.identity(repo)
            try:
                return work()
            except Damaged:
                if not self.drop(repo, seen):
                    raise
        return work()

    def identity(self, repo: str) -> tuple[int, int]:
        """Return what is another for the mirror that replaces a broken one."""
        try:
            born = (self.path(repo) / "config").stat()  # written when it was made, and never again
        except OSError:
            return (0, 0)
        return (born.st_ino, born.st_mtime_ns)

    def drop(self, repo: str, seen: tuple[int, int]) -> bool:
        """Throw the mirror that was *seen* away if it is broken; tell whether it is gone now.

        That git failed is a mere suspicion: a stranger's tree may be the reason as well.
        """
        with self._locked(repo):
            if self.identity(repo) != seen:
                return True
            if self._sound(repo):
                return False
            self._discard(self.path(repo), "mirror")
            return True

    def _sound(self, repo: str) -> bool:
        words = ("fsck", "--full", "--no-dangling", "--no-progress", "--no-reflogs")
        patient = Extra(timeout_s=LONG_S)
        try:
            return self._git.call(self.path(repo), *words, extra=patient).exit_code == 0
        except TryLater:  # too large to be looked through: fetching it anew takes less
            return False

    def tidy(self, now: datetime) -> str:
        """Tidy the mirror that has waited longest, if one is due; return its repository's name."""
        for mirror in sorted(self._root.glob("*/*.git"), key=_tidied):
            if now - _tidied(mirror) > (_CROWDED_EVERY if _crowded(mirror) else _EVERY):
                repo = f"{mirror.parent.name}/{mirror.stem}"
                with self._locked(repo, ".tidy"):
                    self._tidy(repo, now)
                return repo
        return ""

    def _tidy(self, repo: str, now: datetime) -> None:
        """Drop what was not used for long, and pack the rest."""
        mirror = self.path(repo)
        marker = mirror / _TIDIED
        marker.touch()
        os.utime(marker, (now.timestamp(), now.timestamp()))
        try:
            dropped = self._forget(repo, now)
            if mirror.is_dir() and (dropped or _crowded(mirror)):
                self._pack(mirror, now)
        except Damaged:
            self.drop(repo, self.identity(repo))

    def _forget(self, repo: str, now: datetime) -> int:
        """Drop the names that were not used for long; with the last of them goes the mirror."""
        mirror = self.path(repo)
        with self._locked(repo):
            named = list((mirror / "refs" / "regreen").glob("*"))
            unused = [ref for ref in named if _time(ref) < now - KEPT]
            if len(unused) == len(named):
                self._discard(mirror, "mirror")
            elif unused:
                words = "".join(f"delete refs/regreen/{ref.name}\n" for ref in unused)
                self._git.must(mirror, "update-ref", "--stdin", stdin=words.encode())
        return len(unused)

    def _pack(self, mirror: Path, now: datetime) -> None:
        """Make one pack of all. Nobody waits for it, and who may want what is young still can."""
        before = (now - _GRACE).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        patient = Extra(timeout_s=LONG_S)
        words = ("repack", "-A", "-d", "-l", "-q", f"--unpack-unreachable={before}")
        self._git.must(mirror, *words, extra=patient)
        self._git.must(mirror, "prune", f"--expire={before}", extra=patient)

    def _used(self, repo: str, commit: Sha) -> bool:
        """Tell whether the commit has its name in the mirror, and note that it is in use."""
        ref = self.path(repo) / "refs" / "regreen" / commit
        try:
            if ref.read_text(encoding="ascii").strip() != commit:
                return False
            os.utime(ref)
        except (OSError, UnicodeDecodeError):
            return False
        return True

    def _name(self, repo: str, commit: str) -> None:
        self._git.must(self.path(repo), "update-ref", f"refs/regreen/{commit}", commit)

    def _ensure(self, repo: str) -> None:
        """Make the mirror when it is missing: whole or not at all."""
        mirror = self.path(repo)
        if mirror.is_dir():
            for pattern in _STALE:  # of a process that was killed: we hold the lock
                for lock in mirror.glob(pattern):
                    lock.unlink(missing_ok=True)
            return
        for left in mirror.parent.glob(f".{mirror.name}.*"):
            self._discard(left, "mirror")
        made = mirror.with_name(f".{mirror.name}.{token_hex(4)}")
        self._git.must(made, "init", "--quiet", "--bare", "--template=")
        made.rename(mirror)

    @contextmanager
    def _locked(self, repo: str, kind: str = ".lock") -> Iterator[None]:
        """Be alone with the mirror, among threads and among processes, for one kind of work."""
        lock = self.path(repo).with_suffix(kind)
        with self._locks[lock], writing(f"the mirror of {repo}"):
            lock.parent.mkdir(parents=True, exist_ok=True)
            with lock.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield


def _tidied(mirror: Path) -> datetime:
    """Return when a mirror was tidied last, or made."""
    marker = mirror / _TIDIED
    return _time(marker if marker.exists() else mirror / "config")


def _crowded(mirror: Path) -> bool:
    """Tell whether there is much to pack, as git does: one of 256 folders is counted."""
    packs = len(list(mirror.glob("objects/pack/*.pack")))
    loose = len(list(mirror.glob("objects/17/*"))) * 256
    return packs > _PACKS or loose > _LOOSE or any(mirror.glob("objects/pack/tmp_*"))


def _time(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return datetime.min.replace(tzinfo=UTC)
