"""Row 31: configuration, hooks, filters, LFS and attributes that make git run a program.

Controls: a git directory of our own, always named; no system's or user's configuration; hooks
nowhere. Each is switched off here through what `Git` is made with, or by calling git plainly.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from bot.domain.errors import BotError
from bot.workspace.git import Git
from bot.workspace.worktree import GitTrees, Reuse
from tests.support.origins import Origin

PLAIN = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Return the file that every attack here tries to make."""
    return tmp_path / "fired"


def settings_of(mark: Path) -> str:
    return "\n".join(
        [
            f'[core]\nfsmonitor = "touch {mark}; false"',
            f'[filter "lfs"]\nclean = "touch {mark}; cat"\nsmudge = "touch {mark}; cat"',
            f'[diff]\nexternal = "touch {mark}; true"',
            f'[diff "y"]\ntextconv = "touch {mark}; cat"',
            f'[alias]\nadd = "!touch {mark}"\n',
        ]
    )


def worked(root: Path, git: Git) -> None:
    """Do all that a run does with a tree whose attributes ask for filters."""
    origin = Origin(root)
    head = origin.commit({"a": "1\n", ".gitattributes": "* filter=lfs diff=y\n"})
    trees = GitTrees(root / "state", git=git, reuse=Reuse(each=0))
    with trees.open("o/r", head, origin.remote) as tree:
        (tree.path / "a").write_text("2\n")
        diff = tree.diff()
    with trees.open("o/r", head, origin.remote) as tree:
        tree.apply(diff)
    trees.close()


def made(environment: Mapping[str, str] | None = None, **settings: str) -> Git:
    return Git(protocols=("file",), environment=environment, settings=settings)


def test_the_settings_of_the_user_are_not_read(tmp_path, mark):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(settings_of(mark))
    worked(tmp_path, made({"HOME": str(home)}))
    assert not mark.exists()


def test_they_would_run_programs(tmp_path, mark):
    (tmp_path / "evil").write_text(settings_of(mark))
    worked(tmp_path, made({"GIT_CONFIG_GLOBAL": str(tmp_path / "evil")}))
    assert mark.exists()


def hooked(root: Path, git: Git, mark: Path) -> None:
    """Work over a mirror into which somebody wrote hooks."""
    origin = Origin(root)
    head = origin.commit({"a": "1\n"})
    trees = GitTrees(root / "state", git=git, reuse=Reuse(each=0))
    trees.files("o/r", head, origin.remote, ["a"])
    hooks = root / "state" / "mirrors" / "o" / "r.git" / "hooks"
    hooks.mkdir()
    for name in ("post-index-change", "reference-transaction", "pre-push", "post-checkout"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (hooks / name).chmod(0o755)
    with trees.open("o/r", head, origin.remote):
        pass
    trees.close()


def test_hooks_are_nowhere(tmp_path, mark):
    hooked(tmp_path, made(), mark)
    assert not mark.exists()


def test_hooks_would_run_programs(tmp_path, mark):
    where = tmp_path / "state" / "mirrors" / "o" / "r.git" / "hooks"
    hooked(tmp_path, Git(protocols=("file",), settings={"core.hooksPath": str(where)}), mark)
    assert mark.exists()


def nested(tree: Path, mark: Path) -> None:
    """Make the tree a repository whose settings run programs, and an embedded one in it."""
    for folder in (tree / ".git", tree / "sub"):
        for name in ("objects", "refs", "hooks"):
            (folder / name).mkdir(parents=True)
        (folder / "HEAD").write_text("ref: refs/heads/main\n")
        (folder / "config").write_text(
            "[core]\nrepositoryformatversion = 0\nbare = false\nworktree = ..\n" + settings_of(mark)
        )


def test_a_repository_made_in_the_tree_is_not_read(tmp_path, mark):
    origin = Origin(tmp_path)
    head = origin.commit({"a": "1\n"})
    trees = GitTrees(tmp_path / "state", git=made())
    with trees.open("o/r", head, origin.remote) as tree:
        nested(tree.path, mark)
        (tree.path / "a").write_text("2\n")
        assert "+2" in tree.diff()
    trees.close()
    assert not mark.exists()


def test_plain_git_in_the_tree_would_run_it(tmp_path, mark):
    (tmp_path / "tree").mkdir()
    nested(tmp_path / "tree", mark)
    subprocess.run(
        ["git", "status"], cwd=tmp_path / "tree", env=PLAIN, check=False, capture_output=True
    )
    assert mark.exists()


def test_a_git_directory_that_strangers_write_would_run_it(tmp_path, mark):
    """Why no mirror is ever shown to a sandbox: what stands in its settings does run."""
    origin = Origin(tmp_path)
    head = origin.commit({"a": "1\n", ".gitattributes": "* filter=lfs\n"})
    trees = GitTrees(tmp_path / "state", git=made(), reuse=Reuse(each=0))
    trees.files("o/r", head, origin.remote, ["a"])
    with (tmp_path / "state" / "mirrors" / "o" / "r.git" / "config").open("a") as config:
        config.write(settings_of(mark))
    with trees.open("o/r", head, origin.remote):
        pass
    trees.close()
    assert mark.exists()


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 1\n".format("0" * 64)


def test_a_pointer_of_lfs_stays_one(tmp_path):
    origin = Origin(tmp_path)
    (origin.clone / ".lfsconfig").write_text("[lfs]\nurl = http://127.0.0.1:1/\n")
    files = {"big": POINTER, ".gitattributes": "big filter=lfs diff=lfs merge=lfs -text\n"}
    head = origin.commit(files)
    trees = GitTrees(tmp_path / "state", git=made())
    with trees.open("o/r", head, origin.remote) as tree:
        assert (tree.path / "big").read_text() == POINTER
        assert tree.diff() == ""
    trees.close()


def test_an_address_is_not_rewritten(tmp_path):
    """`url.*.insteadOf` would send a push elsewhere, and no flag undoes it."""
    origin, thief, home = Origin(tmp_path), Origin(tmp_path, "thief"), tmp_path / "home"
    thief.commit({"theirs": "1\n"})
    head = origin.commit({"a": "1\n"})
    home.mkdir()
    evil = home / ".gitconfig"
    evil.write_text(f'[url "{thief.bare}"]\ninsteadOf = "{origin.bare}"\n')
    held = GitTrees(tmp_path / "held", git=made({"HOME": str(home)}))
    assert held.files("o/r", head, origin.remote, ["a"]) == {"a": "1\n"}
    off = GitTrees(tmp_path / "off", git=made({"GIT_CONFIG_GLOBAL": str(evil)}))
    with pytest.raises(BotError):
        off.files("o/r", head, origin.remote, ["a"])
