"""Looks at a tree that nobody vouches for: no link is followed, no size is trusted."""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

SKIPPED = frozenset(
    {".git", ".hg", ".svn", "node_modules", ".venv", "venv", "__pycache__", "target", "vendor"}
    | {".tox", ".nox", ".mypy_cache", ".ruff_cache", ".pytest_cache", "dist", "build", ".next"}
)
_MOST_FILES = 20_000
_MOST_BYTES = 1_000_000
_DEEPEST = 40


@dataclass(frozen=True)
class TreeView:
    """The regular files of a tree, by path relative to its root, read when asked for."""

    root: Path
    _texts: dict[str, str | None] = field(default_factory=dict)

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Every file, sorted; folders of tools and of dependencies are left out."""
        return tuple(sorted(_first(_walk(self.root, ""), _MOST_FILES)))

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.files)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        named: dict[str, list[str]] = {}
        for path in self.files:
            named.setdefault(PurePosixPath(path).name, []).append(path)
        return named

    def __contains__(self, path: str) -> bool:
        return path in self._known

    def text(self, path: str) -> str | None:
        """Return a file's text, None when it is missing, large or no text."""
        if path not in self._texts:
            self._texts[path] = self._read(path) if path in self else None
        return self._texts[path]

    def find(self, named: str) -> str | None:
        """Return the one file that a log means by *named*, None when it is none or several.

        Logs name files from elsewhere: `/home/runner/work/shop/shop/a.py`, `./a.py`, `pkg/a.py`
        seen from a subfolder. The longest common end decides.
        """
        wanted = [part for part in named.replace("\\", "/").split("/") if part not in {"", "."}]
        if not wanted or ".." in wanted:
            return None
        if "/".join(wanted) in self:
            return "/".join(wanted)
        shared = [
            (_common_end(path.split("/"), wanted), path)
            for path in self._by_name.get(wanted[-1], ())
        ]
        longest = max((length for length, _ in shared), default=0)
        best = [path for length, path in shared if length == longest]
        return best[0] if len(best) == 1 else None

    def _read(self, path: str) -> str | None:
        try:
            descriptor = os.open(self.root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
                return None
            content = file.read(_MOST_BYTES)
        return None if b"\0" in content else content.decode(errors="replace")


def remove(folder: Path) -> None:
    """Remove a folder, also where what ran in it took its own rights away."""
    for parent, names, _ in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in SKIPPED and prefix.count("/") < _DEEPEST:
                yield from _walk(folder / entry.name, f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            yield prefix + entry.name


def _first(paths: Iterator[str], most: int) -> Iterator[str]:
    for _, path in zip(range(most), paths, strict=False):
        yield path


def _common_end(path: Sequence[str], wanted: Sequence[str]) -> int:
    length = 0
    for mine, theirs in zip(reversed(path), reversed(wanted), strict=False):
        if mine != theirs:
            break
        length += 1
    return length
