"""Row 33: a commit whose files have names that lead out of the tree, or into a `.git`.

Control: `transfer.fsckObjects`, so that such a commit never gets into a mirror. It is switched off
through the settings that `Git` is made with; then git's check of each path is all that is left.
"""

from pathlib import Path

import pytest

from bot.domain.errors import BotError, Broken
from bot.domain.values import Sha
from bot.workspace.git import Git
from bot.workspace.worktree import GitTrees
from tests.support.origins import Origin

NAMES = [".git", ".GIT", "git~1", "..", ".gitmodules", ".g\u200cit", ".", ".git/x"]


def hostile(origin: Origin, name: str) -> Sha:
    """Push a commit with a folder of this name, as only plumbing can make it."""
    blob = origin.git("hash-object", "-w", "--stdin", where=origin.bare, stdin=b"x\n")
    inner = tree(origin, b"100644 config", blob)
    outer = tree(origin, f"40000 {name}".encode(), inner)
    return Sha(origin.git("commit-tree", outer, "-m", "x", where=origin.bare))


def tree(origin: Origin, entry: bytes, child: str) -> str:
    data = entry + b"\0" + bytes.fromhex(child)
    words = ("hash-object", "-w", "-t", "tree", "--literally", "--stdin")
    return origin.git(*words, where=origin.bare, stdin=data)


def held(root: Path, commit: Sha) -> bool:
    path = root / "state" / "mirrors" / "o" / "r.git" / "refs" / "regreen" / commit
    return path.exists()


@pytest.mark.parametrize("name", NAMES)
def test_it_does_not_get_into_a_mirror(tmp_path, name):
    origin = Origin(tmp_path)
    commit = hostile(origin, name)
    trees = GitTrees(tmp_path / "state", git=Git(protocols=("file",)))
    with pytest.raises(Broken, match="fsck"), trees.open("o/r", commit, origin.remote):
        pass
    assert not held(tmp_path, commit)


@pytest.mark.parametrize("name", NAMES)
def test_it_would_and_then_its_files_are_still_not_written(tmp_path, name):
    origin = Origin(tmp_path)
    commit = hostile(origin, name)
    git = Git(protocols=("file",), settings={"transfer.fsckObjects": "false"})
    trees = GitTrees(tmp_path / "state", git=git)
    if name != ".gitmodules":  # a folder of that name is odd, but leads nowhere
        with pytest.raises(BotError), trees.open("o/r", commit, origin.remote):
            pass
    else:
        trees.files("o/r", commit, origin.remote, ["x"])
    assert held(tmp_path, commit)
    trees.close()
    assert [*(tmp_path / "state").rglob("config")] == [
        tmp_path / "state" / "mirrors" / "o" / "r.git" / "config"
    ]
