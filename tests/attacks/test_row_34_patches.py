"""Row 34: a patch that writes outside the tree, by its paths or through a link.

Controls: `git apply` checks every path; no commit of ours has a file of mode 120000 (`LINKS` of
`bot.workspace.worktree`, besides the guard on diffs).
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.config.schema import GuardPolicy
from bot.domain.errors import Broken
from bot.repair.guard import examine
from bot.workspace.git import Git
from bot.workspace.worktree import GitTrees
from tests.support.origins import Origin

AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def origin(tmp_path) -> Origin:
    """Return a repository with a link that leads out of it."""
    found = Origin(tmp_path)
    (tmp_path / "outside").mkdir()
    (found.clone / "link").symlink_to(tmp_path / "outside")
    return found


def adding(path: str, mode: str = "100644", content: str = "x") -> str:
    return (
        f"diff --git a/{path} b/{path}\nnew file mode {mode}\n--- /dev/null\n+++ b/{path}\n"
        f"@@ -0,0 +1 @@\n+{content}\n\\ No newline at end of file\n"
    )


PATHS = [
    *("../x", "a/../../x", "//x", "/x", ".git/hooks/pre-commit", ".GIT/config", "git~1/config"),
    *("link/x", ".git", "sub/.git/config", "./x/../../x", ".g\u200cit/config"),
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out(origin, tmp_path, path):
    head = origin.commit({"a": "1\n"})
    trees = GitTrees(tmp_path / "state", git=Git(protocols=("file",)))
    with trees.open("o/r", head, origin.remote) as tree, pytest.raises(Broken):
        tree.apply(adding(path))
    with pytest.raises(Broken):
        trees.commit("o/r", head, adding(path), "m", AT, origin.remote)
    trees.close()
    assert [*(tmp_path / "outside").iterdir()] == []
    assert not (tmp_path / "state" / "trees" / "x").exists()


def test_a_careless_writer_would_go_through_the_link(origin, tmp_path):
    head = origin.commit({"a": "1\n"})
    trees = GitTrees(tmp_path / "state", git=Git(protocols=("file",)))
    with trees.open("o/r", head, origin.remote) as tree:
        (tree.path / "link" / "x").write_text("x")
    trees.close()
    assert (tmp_path / "outside" / "x").exists()


LINKS = ["/etc/passwd", "../../../regreen.db", "a", "."]


@pytest.mark.parametrize("target", LINKS)
def test_a_patch_that_makes_a_link_is_refused_twice(origin, tmp_path, target):
    head = origin.commit({"a": "1\n"})
    patch = adding("new", "120000", target)
    assert "symlink" in {one.rule for one in examine(patch, GuardPolicy()).findings}
    trees = GitTrees(tmp_path / "state", git=Git(protocols=("file",)))
    with pytest.raises(Broken, match="120000, which is refused"):
        trees.commit("o/r", head, patch, "m", AT, origin.remote)


def test_a_link_that_is_led_elsewhere_is_refused(origin, tmp_path):
    head = origin.commit({"a": "1\n"})
    outside = tmp_path / "outside"
    patch = (
        "diff --git a/link b/link\n--- a/link\n+++ b/link\n@@ -1 +1 @@\n"
        f"-{outside}\n\\ No newline at end of file\n+/etc\n\\ No newline at end of file\n"
    )
    trees = GitTrees(tmp_path / "state", git=Git(protocols=("file",)))
    with pytest.raises(Broken, match="120000, which is refused"):
        trees.commit("o/r", head, patch, "m", AT, origin.remote)


def test_a_file_that_becomes_a_link_is_refused(origin, tmp_path):
    head = origin.commit({"a": "/etc"})
    patch = "diff --git a/a b/a\nold mode 100644\nnew mode 120000\n"
    trees = GitTrees(tmp_path / "state", git=Git(protocols=("file",)))
    with pytest.raises(Broken):
        trees.commit("o/r", head, patch, "m", AT, origin.remote)


def test_a_link_would_be_committed(origin, tmp_path):
    head = origin.commit({"a": "1\n"})
    git = Git(protocols=("file",))
    trees = GitTrees(tmp_path / "state", git=git, refused=frozenset())
    commit = trees.commit("o/r", head, adding("new", "120000", "/etc"), "m", AT, origin.remote)
    mirror = tmp_path / "state" / "mirrors" / "o" / "r.git"
    assert "120000 blob" in origin.git("ls-tree", commit, "new", where=mirror)


def test_a_person_s_links_stay(origin, tmp_path):
    """What was there before, and is not touched, is no reason to refuse."""
    head = origin.commit({"a": "1\n"})
    trees = GitTrees(tmp_path / "state", git=Git(protocols=("file",)))
    patch = "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+2\n"
    commit = trees.commit("o/r", head, patch, "m", AT, origin.remote)
    assert trees.push("o/r", "main", commit, head, origin.remote) == "pushed"
    assert Path(origin.git("cat-file", "-p", "main:link", where=origin.bare)).name == "outside"
