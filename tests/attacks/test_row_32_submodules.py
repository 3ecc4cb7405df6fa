"""Row 32: a submodule makes git fetch from, or write to, where a stranger says.

Controls: no recursion, protocols by an allow-list, and no commit of ours with a file of mode 160000
(`LINKS` of `bot.workspace.worktree`, besides the guard on diffs).
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.config.schema import GuardPolicy
from bot.domain.errors import Broken
from bot.domain.values import Sha
from bot.repair.guard import examine
from bot.workspace.git import Git
from bot.workspace.worktree import LINKS, GitTrees
from tests.support.origins import Origin

AT = datetime(2026, 1, 2, tzinfo=UTC)
GITLINK = (
    "diff --git a/sub b/sub\nnew file mode 160000\nindex 0000000..1111111\n"
    f"--- /dev/null\n+++ b/sub\n@@ -0,0 +1 @@\n+Subproject commit {'1' * 40}\n"
)
SUBMODULE = (
    '[submodule "sub"]\n\tpath = sub\n\turl = ext::sh -c touch% {mark}\n\tupdate = !touch {mark}\n'
)


@pytest.fixture
def origin(tmp_path) -> Origin:
    return Origin(tmp_path)


def made(root: Path, refused: frozenset[str] = LINKS) -> GitTrees:
    return GitTrees(root / "state", git=Git(protocols=("file",)), refused=refused)


def test_a_submodule_is_an_empty_folder(origin, tmp_path):
    mark = tmp_path / "fired"
    origin.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    (origin.clone / ".gitmodules").write_text(SUBMODULE.format(mark=mark))
    origin.git("add", ".gitmodules")
    origin.git("commit", "-q", "-m", "Link")
    origin.git("push", "-q", str(origin.bare), "HEAD:refs/heads/main")
    trees = made(tmp_path)
    with (
        pytest.raises(Broken, match="gitmodules"),
        trees.open("o/r", Sha(origin.at()), origin.remote),
    ):
        pass
    assert not mark.exists()


def test_a_harmless_one_too(origin, tmp_path):
    other = Origin(tmp_path, "other")
    inside = other.commit({"inside": "1\n"})
    origin.git("update-index", "--add", "--cacheinfo", f"160000,{inside},sub")
    (origin.clone / ".gitmodules").write_text(
        f'[submodule "sub"]\n\tpath = sub\n\turl = {other.bare}\n'
    )
    origin.git("add", ".gitmodules")
    origin.git("commit", "-q", "-m", "Link")
    origin.git("push", "-q", str(origin.bare), "HEAD:refs/heads/main")
    trees = made(tmp_path)
    for _ in range(2):  # a new tree, and a used one
        with trees.open("o/r", Sha(origin.at()), origin.remote) as tree:
            assert [*(tree.path / "sub").iterdir()] == []
            (tree.path / "sub" / "made").touch()
            assert "Subproject" not in tree.diff()
    trees.close()


def test_a_repository_made_in_the_tree_does_not_become_one(origin, tmp_path):
    head = origin.commit({"a": "1\n"})
    trees = made(tmp_path)
    with trees.open("o/r", head, origin.remote) as tree:
        origin.git("init", "-q", str(tree.path / "sub"))
        (tree.path / "sub" / "f").write_text("1\n")
        origin.git("add", "f", where=tree.path / "sub")
        origin.git("commit", "-q", "-m", "m", where=tree.path / "sub")
        diff = tree.diff()
    trees.close()
    assert "160000" not in diff
    assert "b/sub/f" in diff


def test_a_patch_that_makes_one_is_refused_twice(origin, tmp_path):
    head = origin.commit({"a": "1\n"})
    assert "gitlink" in {one.rule for one in examine(GITLINK, GuardPolicy()).findings}
    with pytest.raises(Broken, match="160000, which is refused"):
        made(tmp_path).commit("o/r", head, GITLINK, "m", AT, origin.remote)


def test_it_would_be_committed(origin, tmp_path):
    head = origin.commit({"a": "1\n"})
    trees = made(tmp_path, frozenset())
    commit = trees.commit("o/r", head, GITLINK, "m", AT, origin.remote)
    mirror = tmp_path / "state" / "mirrors" / "o" / "r.git"
    assert "160000 commit" in origin.git("ls-tree", commit, where=mirror)
