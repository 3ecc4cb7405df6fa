"""Row 29: a run leaves something in a tree for the next run, of another author, to fall for.

Control: `bot.workspace.recycle.carry` proves every file before a tree is used again, and git finds
the rest exact. Switched off here by a `carry` that believes the tree to be clean.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.workspace.git import Git
from bot.workspace.worktree import GitTrees, Reuse
from tests.support.origins import Origin, seen

FILES = {".gitignore": "build/\n", ".gitattributes": "*.sh text eol=crlf\n", "run.sh": "echo\n"}


def believing(old: Path, new: Path, *_: object) -> int:
    old.rename(new)
    return 0


def line_ends(tree: Path) -> None:
    (tree / "run.sh").write_bytes(b"echo\n")


def rights(tree: Path) -> None:
    (tree / "run.sh").chmod(0o666)


def note(tree: Path) -> None:
    os.setxattr(tree / "run.sh", "user.note", b"from the run before")


def empty_folder(tree: Path) -> None:
    (tree / "conftest").mkdir(exist_ok=True)


def rights_of_a_folder(tree: Path) -> None:
    tree.chmod(0o1777)


def poison(tree: Path) -> None:
    (tree / "build").mkdir()
    (tree / "build" / "cache").write_text("poison")


def untracked(tree: Path) -> None:
    (tree / "sitecustomize.py").write_text("import os")


UNSEEN_BY_GIT = [rights, note, empty_folder, rights_of_a_folder]
ACTS = [*UNSEEN_BY_GIT, line_ends, poison, untracked]


def passed_on(act: Callable[[Path], None], reuse: Reuse, root: Path) -> bool:
    """Tell whether the run after the one that does *act* sees a difference."""
    origin = Origin(root)
    head = origin.commit(FILES)
    trees = GitTrees(root / "state", git=Git(protocols=("file",)), reuse=reuse)
    looks = []
    for _ in range(2):
        with trees.open("o/r", head, origin.remote) as tree:
            looks.append(seen(tree.path))
            act(tree.path)
    trees.close()
    return looks[0] != looks[1]


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_the_next_run_sees_nothing_of_it(tmp_path, act):
    assert not passed_on(act, Reuse(), tmp_path)


@pytest.mark.parametrize("act", UNSEEN_BY_GIT, ids=lambda act: act.__name__)
def test_it_would_if_a_tree_were_believed_to_be_clean(tmp_path, act):
    assert passed_on(act, Reuse(carry=believing), tmp_path)


def test_a_tree_is_never_used_for_another_repository(tmp_path):
    ours, theirs = Origin(tmp_path, "ours"), Origin(tmp_path, "theirs")
    heads = ours.commit({"a": "1\n"}), theirs.commit({"a": "1\n"})
    trees = GitTrees(tmp_path / "state", git=Git(protocols=("file",)))
    with trees.open("o/ours", heads[0], ours.remote) as tree:
        used = tree.path
    with trees.open("o/theirs", heads[1], theirs.remote) as tree:
        assert tree.path != used
    trees.close()


def test_nothing_is_taken_from_another_tree_by_a_link(tmp_path):
    """A run that guesses where another's tree is has its own tree renewed with nothing of that."""
    origin = Origin(tmp_path)
    head = origin.commit({"src/a": "1\n", "src/b": "2\n"})
    trees = GitTrees(tmp_path / "state", git=Git(protocols=("file",)))
    with trees.open("o/r", head, origin.remote) as victim:
        before = seen(victim.path)
        with trees.open("o/r", head, origin.remote) as tree:
            (tree.path / "src").rename(tree.path / "gone")
            (tree.path / "src").symlink_to(victim.path / "src")
        assert seen(victim.path) == before
    trees.close()
