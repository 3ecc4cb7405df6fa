"""How long logs and the gatekeeper's artifacts are kept (seed 1): by age, then number, then size.

The limits hold for each kind by itself. Artifacts are evidence; they go only when asked for.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bot.config.schema import RetentionConfig
from bot.workspace.cleanup import parent

LOGS, ARTIFACTS = "logs", "features"
_DAY_S = 86400
_BUSY_S = 3600  # what was written within the hour may still be
_EVERY = timedelta(hours=1)
_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """One file: its size in bytes, and when it was written, in seconds since 1970."""

    path: str
    size: int
    written: float


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed of one kind, or would be, and what is left of it."""

    kind: str
    removed: tuple[Kept, ...]
    files: int
    size: int


def surplus(files: Sequence[Kept], limits: RetentionConfig, now: float) -> tuple[Kept, ...]:
    """Return what is over the limits, oldest first; a limit of 0 is none."""
    out: list[Kept] = []
    size = 0
    newest = sorted(files, key=lambda one: (-one.written, one.path))
    for place, one in enumerate(newest):
        age = now - one.written
        size += one.size
        old = 0 < limits.keep_days * _DAY_S < age
        many = 0 < limits.keep_files <= place
        large = 0 < limits.max_total_mb * _MB < size
        if (old or many or large) and age > _BUSY_S:
            out.append(one)
    return tuple(reversed(out))


class Retention:
    """Prunes below the data folder *root*; *limits* gives the limits that are in force."""

    def __init__(self, root: Path, limits: Callable[[], RetentionConfig]) -> None:
        self._root = root.absolute()
        self._limits = limits
        self._pruned: datetime | None = None

    def round(self, now: datetime) -> Sequence[Pruned]:
        """Prune once an hour, artifacts only where the configuration says so."""
        if self._pruned is not None and now - self._pruned < _EVERY:
            return ()
        self._pruned = now
        return self.prune(now, artifacts=self._limits().prune_artifacts)

    def prune(self, now: datetime, *, artifacts: bool, dry: bool = False) -> Sequence[Pruned]:
        """Prune now; *dry* only tells what would go. Raise OSError when a file stays."""
        kinds = (LOGS, ARTIFACTS) if artifacts else (LOGS,)
        return tuple(self._kind(kind, now.timestamp(), dry=dry) for kind in kinds)

    def _kind(self, kind: str, now: float, *, dry: bool) -> Pruned:
        files = tuple(_files(self._root, kind))
        out = surplus(files, self._limits(), now)
        if not dry:
            for one in out:
                _unlink(self._root, Path(one.path))
        gone = set(out)  # there may be very many
        left = [one for one in files if one not in gone]
        return Pruned(kind, out, len(left), sum(one.size for one in left))


def _files(root: Path, kind: str) -> Iterator[Kept]:
    """Yield the files of a kind; links are neither files nor followed."""
    if (root / kind).is_symlink():
        return
    for folder, _, names in os.walk(root / kind):
        for name in names:
            path = Path(folder, name)
            if kind == ARTIFACTS and (path.parent.name != "gatekeeper" or path.suffix != ".json"):
                continue
            if kind == LOGS and ".log" not in path.suffixes:  # also those that were rotated
                continue
            told = path.lstat()
            if stat.S_ISREG(told.st_mode):
                yield Kept(str(path), told.st_size, told.st_mtime)


def _unlink(root: Path, path: Path) -> None:
    """Remove a file, and the folders that are empty then; a link on the way leads nowhere."""
    try:
        with parent(root, path, frozenset({LOGS, ARTIFACTS})) as folder:
            os.unlink(path.name, dir_fd=folder)
        for above in path.parents:
            if above.parent == root:
                break
            with parent(root, above, frozenset({LOGS, ARTIFACTS})) as folder:
                os.rmdir(above.name, dir_fd=folder)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
            raise
