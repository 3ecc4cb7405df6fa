"""Puts what would steer an agent out of its sight while it runs.

A pull request can bring settings for the agent that is to mend it: hooks, servers to start, rules
to obey. They are moved away before the agent starts and put back afterwards, so that the diff knows
nothing of it; what the agent made in their place is dropped. Nothing is mounted over them: no
mount point may lie in a tree that somebody else can write.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from bot.backends.tree import remove

# Compared without regard to case, as some file systems do.
NAMES = frozenset(
    {".claude", ".mcp.json", "claude.md", "claude.local.md", ".claude.json", ".clauderules"}
    | {".codex", "agents.md", "agents.override.md", ".agents"}
    | {".gemini", "gemini.md", ".geminiignore", ".qwen", "qwen.md", ".qwenignore"}
    | {".opencode", "opencode.json", "opencode.jsonc"}
    | {".env"}  # several take their settings from it, the address of the model among them
)
BEGINNINGS = (".aider",)


@contextmanager
def put_aside(tree: Path) -> Iterator[None]:
    """Keep everything of these names out of *tree* while the block lasts."""
    found = tuple(_found(tree))
    if not found:
        yield
        return
    holder = Path(tempfile.mkdtemp(prefix=".regreen-", dir=tree.parent))
    held: list[tuple[PurePath, Path]] = []
    try:
        for path in found:
            place = holder / str(len(held))
            (tree / path).rename(place)
            held.append((path, place))
        yield
    finally:
        for path, place in held:
            _put_back(tree, path, place)
        remove(holder)


def _found(tree: Path) -> Iterator[PurePath]:
    for folder, folders, files in os.walk(tree):
        for name in (*folders, *files):
            if _steers(name):
                yield PurePath(folder, name).relative_to(tree)
        folders[:] = [name for name in folders if not _steers(name)]


def _steers(name: str) -> bool:
    plain = name.casefold()
    return plain in NAMES or plain.startswith(BEGINNINGS)


def _put_back(tree: Path, path: PurePath, place: Path) -> None:
    """Put one back, unless the folder that held it is gone: then the agent removed it all."""
    parents = [tree / parent for parent in path.parents]
    if any(parent.is_symlink() or not parent.is_dir() for parent in parents):
        return
    with suppress(FileNotFoundError):  # what the agent made there
        (tree / path).rename(place.with_name(f"{place.name}-made"))
    place.rename(tree / path)
