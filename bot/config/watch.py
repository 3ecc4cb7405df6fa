"""The configuration in force, swapped whole when its file changes.

Whoever asks gets a snapshot; a run keeps the one that it began with. The file, and that of the
providers, is looked at when somebody asks, at most once a second: its place, time, size and inode
tell of a change, also when an editor replaces it. A broken file keeps the old snapshot and is
reported once.
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bot.config import load
from bot.config.schema import Configuration
from bot.domain.errors import ConfigError

CHECK_EVERY_S = 1.0

Look = tuple[str, int, int, int] | None
Looks = tuple[Look, Look]


class Watched:
    """Holds the newest configuration that is valid; raises `ConfigError` when the first is not."""

    def __init__(
        self,
        path: Path | None = None,
        environ: Mapping[str, str] | None = None,
        *,
        report: Callable[[str], None],
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._environ = load.environment() if environ is None else environ
        self._report = report
        self._seconds = seconds
        self._lock = threading.Lock()
        self._looked_at = seconds()
        self._seen = self._look()
        self._current = load.configuration(path, self._environ)

    def current(self) -> Configuration:
        """Return the snapshot in force; safe to call from any thread."""
        with self._lock:
            if self._seconds() - self._looked_at >= CHECK_EVERY_S:
                self._looked_at = self._seconds()
                self._refresh()
            return self._current

    def _refresh(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._current = load.configuration(self._path, self._environ)
        except ConfigError as error:
            self._report(f"{error}; the settings read before stay in force")

    def _look(self) -> Looks:
        """Return what tells one state of the two files from another."""
        source = load.locate(self._path, self._environ)
        return _state(source), _state(load.metadata(source, self._environ))


def _state(source: Path | None) -> Look:
    try:
        found = source.stat() if source else None
    except OSError:
        return None
    return found and (str(source), found.st_mtime_ns, found.st_size, found.st_ino)
