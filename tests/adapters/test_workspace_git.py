"""Mirrors, trees, commits and pushes, with a real git; remotes are files and loopback HTTP."""

import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.domain.errors import Broken, Gone, NeedsPerson, TryLater
from bot.domain.values import Remote, Sha
from bot.simulator.git import Access, git_app
from bot.simulator.loopback import served
from bot.workspace.git import Git, version
from bot.workspace.worktree import GitTrees
from tests.support.origins import Origin

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOKEN = "canary-token-of-this-test"
LARGE = 40 * 1024 * 1024


@pytest.fixture
def origin(tmp_path) -> Origin:
    return Origin(tmp_path)


@pytest.fixture
def trees(tmp_path) -> Iterator[GitTrees]:
    found = made(tmp_path / "state")
    yield found
    found.close()


def made(root: Path) -> GitTrees:
    git = Git(protocols=("file", "http"))
    return GitTrees(root, name="regreen[bot]", email="1+regreen[bot]@example.org", git=git)


def held(tmp_path: Path) -> list[Path]:
    folders = (tmp_path / "state" / name for name in ("trees", "trash"))
    return [path for folder in folders if folder.exists() for path in folder.iterdir()]


# --- Trees ------------------------------------------------------------------------------------


def test_a_tree_holds_the_files_of_exactly_that_commit(origin, trees, tmp_path):
    old = origin.commit({"a.txt": "one\n", "run.sh": "#!/bin/sh\n"})
    origin.commit({"a.txt": "two\n"})
    with trees.open("o/r", old, origin.remote) as tree:
        assert (tree.path / "a.txt").read_text() == "one\n"
        assert sorted(path.name for path in tree.path.iterdir()) == ["a.txt", "run.sh"]
        assert tree.diff() == ""
    trees.close()
    assert held(tmp_path) == []


def test_a_diff_tells_of_changed_new_and_deleted_files(origin, trees):
    head = origin.commit({"a.txt": "one\n", "b.txt": "gone\n", "c d/é.txt": "x\n"})
    with trees.open("o/r", head, origin.remote) as tree:
        (tree.path / "a.txt").write_text("two\n")
        (tree.path / "b.txt").unlink()
        (tree.path / "new").mkdir()
        (tree.path / "new" / "n.txt").write_text("no newline")
        (tree.path / "c d" / "é.txt").write_text("y\r\n")
        diff = tree.diff()
    with trees.open("o/r", head, origin.remote) as fresh:
        fresh.apply(diff)
        assert (fresh.path / "a.txt").read_text() == "two\n"
        assert (fresh.path / "new" / "n.txt").read_text() == "no newline"
        assert (fresh.path / "c d" / "é.txt").read_bytes() == b"y\r\n"
        assert not (fresh.path / "b.txt").exists()
        assert fresh.diff() == diff
    assert "-one\n+two\n" in diff
    assert "deleted file mode 100644" in diff


def test_a_change_of_the_same_size_within_the_same_second_is_told(origin, trees):
    """Git compares times by the second; the second after is when it might be led astray."""
    head = origin.commit({"a.txt": "one\n"})
    with trees.open("o/r", head, origin.remote) as tree:
        (tree.path / "a.txt").write_text("two\n")
        last = int(time.time()) + 1
        while int(time.time()) <= last:
            assert "+two\n" in tree.diff()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x00\x01binary\xff", id="binary"),
        pytest.param("caf\u00e9\n".encode("latin-1"), id="Latin-1"),
        pytest.param(b"", id="empty"),
    ],
)
def test_any_content_survives_the_way_through_a_diff(origin, trees, content):
    head = origin.commit({"f": b"\xff old\n", "t": "text\n"})
    with trees.open("o/r", head, origin.remote) as tree:
        (tree.path / "f").write_bytes(content)
        (tree.path / "new [x]").write_bytes(content)
        (tree.path / "t").write_text("other\n")
        diff = tree.diff()
    with trees.open("o/r", head, origin.remote) as fresh:
        fresh.apply(diff)
        assert (fresh.path / "f").read_bytes() == content
        assert (fresh.path / "new [x]").read_bytes() == content
    assert "-text\n+other\n" in diff


def test_modes_and_links_are_part_of_a_diff(origin, trees):
    head = origin.commit({"run": "#!/bin/sh\n"})
    with trees.open("o/r", head, origin.remote) as tree:
        (tree.path / "run").chmod(0o755)
        (tree.path / "link").symlink_to("/etc/passwd")
        diff = tree.diff()
    assert "new mode 100755" in diff
    assert "new file mode 120000" in diff
    assert "+/etc/passwd\n" in diff
    assert "root:" not in diff


@pytest.mark.parametrize(
    "name", [".aider.chat.history.md", "pkg/__pycache__/a.pyc", "node_modules/x/i.js", "build/out"]
)
def test_what_agents_and_builds_leave_is_no_change(origin, trees, name):
    head = origin.commit({".gitignore": "build/\n", "a.txt": "one\n"})
    with trees.open("o/r", head, origin.remote) as tree:
        path = tree.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        assert tree.diff() == ""


def test_what_is_tracked_counts_even_where_junk_would_lie(origin, trees):
    head = origin.commit({".gitignore": "build/\n", "build/kept": "1\n", "node_modules/k": "1\n"})
    with trees.open("o/r", head, origin.remote) as tree:
        for name in ("build/kept", "node_modules/k"):
            (tree.path / name).write_text("2\n")
        assert tree.diff().count("diff --git") == 2


def test_line_ends_as_the_repository_wants_them_are_no_change(origin, trees):
    head = origin.commit({".gitattributes": "*.txt text eol=crlf\n", "a.txt": "one\n"})
    with trees.open("o/r", head, origin.remote) as tree:
        assert (tree.path / "a.txt").read_bytes() == b"one\r\n"
        assert tree.diff() == ""
        (tree.path / "a.txt").write_bytes(b"two\r\n")
        assert "-one\n+two\n" in tree.diff()


def test_a_change_that_is_too_large_is_refused(origin, trees):
    head = origin.commit({"a.txt": "one\n"})
    with trees.open("o/r", head, origin.remote) as tree:
        with (tree.path / "big").open("wb") as big:
            big.truncate(LARGE)
        with pytest.raises(Broken, match="more than 32 MB"):
            tree.diff()


def test_a_tree_is_removed_even_when_it_took_its_rights_away(origin, trees, tmp_path):
    head = origin.commit({"a.txt": "one\n"})
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o500)
    with trees.open("o/r", head, origin.remote) as tree:
        (tree.path / "locked" / "in").mkdir(parents=True)
        (tree.path / "locked").chmod(0)
        (tree.path / "link").symlink_to(outside)
    trees.close()
    assert held(tmp_path) == []
    assert outside.stat().st_mode & 0o777 == 0o500


def test_only_trees_of_the_dead_are_swept(origin, trees, tmp_path):
    head = origin.commit({"a.txt": "one\n"})
    left = tmp_path / "state" / "trees" / "left"
    (left / "tree").mkdir(parents=True)
    with trees.open("o/r", head, origin.remote) as tree:
        other = made(tmp_path / "state")
        other.sweep()
        other.close()
        assert held(tmp_path) == [tree.path.parent]


# --- Attacks ----------------------------------------------------------------------------------


def hostile(tree: Path, mark: Path) -> None:
    """Leave in *tree* all that makes a careless git run a program."""
    git_dir = tree / "sub" / ".git"
    settings = "\n".join(
        [
            "[core]",
            f'fsmonitor = "touch {mark}; false"',
            f'[filter "x"]\nclean = "touch {mark}; cat"\nsmudge = "touch {mark}; cat"',
            f'[diff]\nexternal = "touch {mark}; true"',
            f'[diff "y"]\ntextconv = "touch {mark}; cat"',
        ]
    )
    for folder in (git_dir, tree / ".git"):
        (folder / "hooks").mkdir(parents=True)
        (folder / "objects").mkdir()
        (folder / "refs").mkdir()
        (folder / "HEAD").write_text("ref: refs/heads/main\n")
        (folder / "config").write_text(f"[core]\nrepositoryformatversion = 0\n{settings}\n")
        for hook in ("pre-commit", "post-checkout", "post-index-change", "pre-push"):
            (folder / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {mark}\n")
            (folder / "hooks" / hook).chmod(0o755)
    (tree / "sub" / "f.txt").write_text("inside\n")
    (tree / ".gitattributes").write_text("* filter=x diff=y\n")
    (tree / ".gitconfig").write_text(settings)
    (tree / "a.txt").write_text("two\n")


def test_nothing_that_a_hostile_tree_holds_is_run(origin, trees, tmp_path):
    mark = tmp_path / "fired"
    head = origin.commit({"a.txt": "one\n"})
    with trees.open("o/r", head, origin.remote) as tree:
        hostile(tree.path, mark)
        diff = tree.diff()
        tree.apply("--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-two\n+three\n")
        assert "+two\n" in diff
        assert "sub/f.txt" in diff
        assert "Subproject commit" not in diff
        assert ".git/" not in diff
    commit = trees.commit("o/r", head, diff, "Mend\n", AT, origin.remote)
    assert trees.push("o/r", "main", commit, head, origin.remote) == "pushed"
    assert not mark.exists()


def test_attributes_of_the_tree_hide_nothing_from_the_diff(origin, trees):
    head = origin.commit({"a.txt": "one\n", ".gitattributes": "*.txt -diff\n"})
    with trees.open("o/r", head, origin.remote) as tree:
        (tree.path / "a.txt").write_text("two\n")
        assert "-one\n+two\n" in tree.diff()


def test_a_git_file_that_leads_elsewhere_is_not_followed(origin, trees, tmp_path):
    head = origin.commit({"a.txt": "one\n"})
    origin.git("init", "-q", str(tmp_path / "evil"), where=tmp_path)
    mark = tmp_path / "fired"
    origin.git("config", "core.fsmonitor", f"touch {mark}; false", where=tmp_path / "evil")
    with trees.open("o/r", head, origin.remote) as tree:
        (tree.path / ".git").write_text(f"gitdir: {tmp_path / 'evil' / '.git'}\n")
        (tree.path / "a.txt").write_text("two\n")
        assert "+two" in tree.diff()
    assert not mark.exists()


def test_a_submodule_is_neither_fetched_nor_opened(origin, trees, tmp_path):
    mark = tmp_path / "fired"
    origin.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    origin.git("commit", "-q", "-m", "Link")
    origin.git("push", "-q", str(origin.bare), "HEAD:refs/heads/main")
    head = Sha(origin.at())
    with trees.open("o/r", head, origin.remote) as tree:
        hostile(tree.path, mark)
        diff = tree.diff()
    assert not mark.exists()
    assert "Subproject" not in diff


@pytest.mark.parametrize("name", [".git", ".GIT", "git~1", ".."])
def test_a_commit_with_a_hostile_name_is_refused(origin, trees, name):
    blob = origin.git("hash-object", "-w", "--stdin", where=origin.bare, stdin=b"x\n")
    listed = f"100644 blob {blob}\tconfig\n".encode()
    inner = origin.git("mktree", where=origin.bare, stdin=listed)
    outer = f"040000 tree {inner}\t{name}\n".encode()
    tree = origin.git("mktree", where=origin.bare, stdin=outer)
    head = Sha(origin.git("commit-tree", tree, "-m", "x", where=origin.bare))
    with pytest.raises(Broken, match="fsck"), trees.open("o/r", head, origin.remote):
        pass


PATCHES = [
    pytest.param("a/.git/hooks/pre-commit", id="hook"),
    pytest.param("a/.GIT/config", id="case"),
    pytest.param("a/../x", id="traversal"),
    pytest.param("a/link/x", id="through a link"),
]


@pytest.mark.parametrize("path", PATCHES)
def test_a_patch_stays_inside_the_tree(origin, trees, tmp_path, path):
    (origin.clone / "link").symlink_to(tmp_path)
    head = origin.commit({"a.txt": "one\n"})
    new = path.replace("a/", "b/", 1)
    patch = (
        f"diff --git {path} {new}\nnew file mode 100644\n"
        f"--- /dev/null\n+++ {new}\n@@ -0,0 +1 @@\n+x\n"
    )
    with trees.open("o/r", head, origin.remote) as tree, pytest.raises(Broken):
        tree.apply(patch)
    with pytest.raises(Broken):
        trees.commit("o/r", head, patch, "m", AT, origin.remote)
    assert not (tmp_path / "x").exists()


def test_a_remote_that_is_a_program_is_refused(origin, trees, tmp_path):
    mark = tmp_path / "fired"
    remote = Remote(f"ext::sh -c touch% {mark}", "")
    with pytest.raises(Broken, match="not allowed"), trees.open("o/r", Sha("1" * 40), remote):
        pass
    assert not mark.exists()


@pytest.mark.parametrize("repo", ["../r", "o/..", "o", "o/r/s", "-o/r\n", "/etc"])
def test_a_name_that_is_no_repository_is_refused(trees, origin, repo):
    with pytest.raises(Broken), trees.open(repo, Sha("1" * 40), origin.remote):
        pass


# --- Files ------------------------------------------------------------------------------------


def test_files_are_read_at_a_commit(origin, trees):
    (origin.clone / "link").symlink_to("/etc/passwd")
    old = origin.commit({"a.txt": "one\n", "d/b [c].txt": "b\n", "big": b"x" * 2_000_000})
    origin.commit({"a.txt": "two\n"})
    asked = ["a.txt", "d/b [c].txt", "missing", "link", "d", "big"]
    assert trees.files("o/r", old, origin.remote, asked) == {
        "a.txt": "one\n",
        "d/b [c].txt": "b\n",
        "big": "x" * 1024 * 1024,  # cut: left out, it would look as if there were none
    }


# --- Commits and pushes -----------------------------------------------------------------------

CHANGE = "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-one\n+two\n"


def test_the_same_commit_is_made_of_the_same_input_anywhere(origin, trees, tmp_path):
    head = origin.commit({"a.txt": "one\n"})
    message = "Mend it\n\nRegreen-Run: r1\n"
    first = trees.commit("o/r", head, CHANGE, message, AT, origin.remote)
    again = trees.commit("o/r", head, CHANGE, message, AT, origin.remote)
    elsewhere = made(tmp_path / "other").commit("o/r", head, CHANGE, message, AT, origin.remote)
    assert first == again == elsewhere
    mirror = tmp_path / "state" / "mirrors" / "o" / "r.git"
    shown = origin.git("show", "-s", "--format=%an <%ae>|%cn|%aI|%P|%B", first, where=mirror)
    assert shown == (
        "regreen[bot] <1+regreen[bot]@example.org>|regreen[bot]|2026-01-02T03:04:05+00:00"
        f"|{head}|{message.strip()}"
    )


def test_an_older_state_comes_back_as_a_commit_of_our_own(origin, trees, tmp_path):
    good = origin.commit({"a.txt": "one\n", "kept/b": b"\x00\xff"})
    (origin.clone / "kept" / "b").unlink()
    worse = origin.commit({"a.txt": "two\n", "new.txt": "x\n"})
    message = "Undo it\n\nRegreen-Run: r1\n"
    first = trees.restore("o/r", worse, good, message, AT, origin.remote)
    again = trees.restore("o/r", worse, good, message, AT, origin.remote)
    elsewhere = made(tmp_path / "other").restore("o/r", worse, good, message, AT, origin.remote)
    assert first == again == elsewhere
    mirror = tmp_path / "state" / "mirrors" / "o" / "r.git"
    shown = origin.git("show", "-s", "--format=%an <%ae>|%cn|%aI|%P|%B", first, where=mirror)
    assert shown == (
        "regreen[bot] <1+regreen[bot]@example.org>|regreen[bot]|2026-01-02T03:04:05+00:00"
        f"|{worse}|{message.strip()}"
    )
    assert origin.git("diff", "--stat", good, first, where=mirror) == ""
    assert trees.push("o/r", "main", first, worse, origin.remote) == "pushed"
    assert origin.at() == first


def test_a_state_that_another_line_holds_is_fetched(origin, trees):
    parent = origin.commit({"a.txt": "one\n"})
    origin.git("checkout", "-q", "--orphan", "aside")
    like = origin.commit({"a.txt": "other\n"}, branch="aside")
    commit = trees.restore("o/r", parent, like, "m", AT, origin.remote)
    assert trees.files("o/r", commit, origin.remote, ["a.txt"]) == {"a.txt": "other\n"}


@pytest.mark.parametrize("gone", ["parent", "like"])
def test_a_state_that_is_gone_cannot_come_back(origin, trees, gone):
    head = origin.commit({"a.txt": "one\n"})
    ends = {"parent": head, "like": head, gone: Sha("1" * 40)}
    with pytest.raises(Gone):
        trees.restore("o/r", ends["parent"], ends["like"], "m", AT, origin.remote)


def test_a_patch_that_does_not_fit_makes_no_commit(origin, trees):
    head = origin.commit({"a.txt": "other\n"})
    with pytest.raises(Broken, match=r"does not apply: .*a\.txt"):
        trees.commit("o/r", head, CHANGE, "m", AT, origin.remote)
    with trees.open("o/r", head, origin.remote) as tree, pytest.raises(Broken, match="apply"):
        tree.apply(CHANGE)


@pytest.fixture
def ready(origin, trees) -> tuple[Sha, Sha]:
    """Return a head and our commit on it."""
    head = origin.commit({"a.txt": "one\n"})
    return head, trees.commit("o/r", head, CHANGE, "Mend\n", AT, origin.remote)


def test_a_push_moves_the_branch_once(origin, trees, ready):
    head, commit = ready
    assert trees.push("o/r", "main", commit, head, origin.remote) == "pushed"
    assert origin.at() == commit
    assert trees.push("o/r", "main", commit, head, origin.remote) == "pushed"


def test_a_branch_that_moved_is_left_alone(origin, trees, ready):
    head, commit = ready
    newer = origin.commit({"b.txt": "by a person\n"})
    assert trees.push("o/r", "main", commit, head, origin.remote) == "moved"
    assert origin.at() == newer


def test_a_branch_that_is_gone_is_not_made_again(origin, trees, ready):
    head, commit = ready
    origin.git("update-ref", "-d", "refs/heads/main", where=origin.bare)
    assert trees.push("o/r", "main", commit, head, origin.remote) == "moved"
    assert origin.git("for-each-ref", where=origin.bare) == ""


def test_a_scratch_branch_comes_and_goes_and_no_other_moves(origin, trees, ready, tmp_path):
    head, commit = ready
    branch = "regreen/verify/7-1"
    for _ in range(2):  # a step that was cut is done again
        assert trees.offer("o/r", branch, commit, origin.remote) == "pushed"
    assert origin.git("rev-parse", branch, where=origin.bare).strip() == commit
    other = trees.commit("o/r", head, CHANGE, "Another try\n", AT, origin.remote)
    assert trees.offer("o/r", branch, other, origin.remote) == "pushed"
    assert origin.git("rev-parse", branch, where=origin.bare).strip() == other
    elsewhere = made(tmp_path / "another machine")
    for _ in range(2):
        assert elsewhere.withdraw("o/r", branch, origin.remote) == "gone"
    assert origin.git("for-each-ref", "--format=%(refname)", where=origin.bare).split() == [
        "refs/heads/main"
    ]
    assert origin.at() == head


@pytest.mark.parametrize("branch", ["main", "regreen", "regreen/verify/..", "x/regreen/verify/1-1"])
def test_only_scratch_branches_come_and_go(origin, trees, ready, branch):
    _, commit = ready
    before = origin.git("for-each-ref", where=origin.bare)
    assert trees.offer("o/r", branch, commit, origin.remote).startswith("refused: ")
    assert trees.withdraw("o/r", branch, origin.remote).startswith("refused: ")
    assert origin.git("for-each-ref", where=origin.bare) == before


def test_a_commit_that_is_not_here_cannot_be_tried(origin, trees, ready):
    with pytest.raises(Gone):
        trees.offer("o/r", "regreen/verify/7-1", Sha("1" * 40), origin.remote)


def test_a_lease_that_is_no_ancestor_is_refused(origin, trees, ready):
    _, commit = ready
    other = origin.commit({"b.txt": "x\n"}, branch="other")
    said = trees.push("o/r", "other", commit, other, origin.remote)
    assert said.startswith("refused: ")
    assert "not an ancestor" in said
    assert origin.at("other") == other


def test_a_refusal_is_told_with_its_reason(origin, trees, ready):
    hook = origin.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'error: GH006: Protected branch update failed' >&2\nexit 1\n")
    hook.chmod(0o755)
    head, commit = ready
    said = trees.push("o/r", "main", commit, head, origin.remote)
    assert said.startswith("refused: ")
    assert "GH006: Protected branch update failed" in said


@pytest.mark.parametrize("branch", ["--upload-pack=x", "$(id)", "a;touch${IFS}x", "refs/heads/y"])
def test_strange_but_valid_branches_are_only_names(origin, trees, ready, branch):
    head, commit = ready
    origin.git("update-ref", f"refs/heads/{branch}", head, where=origin.bare)
    assert trees.push("o/r", branch, commit, head, origin.remote) == "pushed"
    assert origin.at(branch) == commit


def test_a_branch_that_is_no_name_is_refused(origin, trees, ready):
    head, commit = ready
    assert trees.push("o/r", "a..b", commit, head, origin.remote).startswith("refused: ")


def test_a_commit_that_was_never_made_is_gone(origin, trees, ready):
    head, _ = ready
    with pytest.raises(Gone):
        trees.push("o/r", "main", Sha("2" * 40), head, origin.remote)


# --- The net ----------------------------------------------------------------------------------


@pytest.fixture
def hosted(origin) -> Iterator[str]:
    """Serve the origin over HTTP to those who have the token."""
    answers = {TOKEN: Access.GRANTED, "reader": Access.FORBIDDEN}

    def authorize(repo: str, token: str | None, write: bool) -> Access:  # noqa: FBT001  # the shape that git_app calls
        access = answers.get(token or "", Access.UNAUTHORIZED)
        return Access.GRANTED if access is Access.FORBIDDEN and not write else access

    with served(git_app(origin.root, authorize, lambda *_: None)) as url:
        yield f"{url}/o/r.git"


def test_the_token_opens_the_remote_and_is_left_nowhere(origin, trees, hosted, tmp_path):
    remote = Remote(hosted, TOKEN)
    head = origin.commit({"a.txt": "one\n"})
    with trees.open("o/r", head, remote):
        commit = trees.commit("o/r", head, CHANGE, "Mend\n", AT, remote)
        assert trees.push("o/r", "main", commit, head, remote) == "pushed"
        files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
        assert files
        assert not any(TOKEN.encode() in path.read_bytes() for path in files)


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_refused_token_is_worth_another(origin, trees, hosted, token):
    """Each use has a token minted for it: one that is refused is not known yet, or was revoked."""
    head = origin.commit({"a.txt": "one\n"})
    with pytest.raises(TryLater), trees.open("o/r", head, Remote(hosted, token)):
        pass


def test_a_push_without_permission_needs_a_person(origin, trees, hosted):
    head = origin.commit({"a.txt": "one\n"})
    remote = Remote(hosted, "reader")
    commit = trees.commit("o/r", head, CHANGE, "Mend\n", AT, remote)
    with pytest.raises(NeedsPerson):
        trees.push("o/r", "main", commit, head, remote)


def test_what_does_not_exist_is_gone(origin, trees, hosted):
    origin.commit({"a.txt": "one\n"})
    with pytest.raises(Gone), trees.open("o/r", Sha("1" * 40), Remote(hosted, TOKEN)):
        pass
    elsewhere = Remote(hosted.replace("/o/r", "/o/none"), TOKEN)
    with pytest.raises(Gone), trees.open("o/none", Sha("1" * 40), elsewhere):
        pass


def test_a_host_that_is_down_is_tried_later(origin, trees):
    head = origin.commit({"a.txt": "one\n"})
    down = Remote("http://127.0.0.1:1/o/r.git", TOKEN)
    with pytest.raises(TryLater), trees.open("o/r", head, down):
        pass


def test_many_threads_may_want_the_same_repository(origin, trees):
    heads = [origin.commit({"a.txt": f"{n}\n"}) for n in range(4)] * 2
    seen: list[str] = []

    def read(head: Sha) -> None:
        with trees.open("o/r", head, origin.remote) as tree:
            seen.append((tree.path / "a.txt").read_text())

    threads = [threading.Thread(target=read, args=(head,)) for head in heads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(seen) == sorted([f"{n}\n" for n in range(4)] * 2)


def test_the_version_of_git_is_told():
    assert re.fullmatch(r"\d+\.\d+[.\d]*\d", version())


def test_a_lock_that_a_killed_git_left_is_no_obstacle(origin, trees, tmp_path):
    first = origin.commit({"a.txt": "one\n"})
    with trees.open("o/r", first, origin.remote):
        second = origin.commit({"a.txt": "two\n"})
    mirror = tmp_path / "state" / "mirrors" / "o" / "r.git"
    (mirror / "refs" / "regreen" / f"{second}.lock").touch()
    with trees.open("o/r", second, origin.remote) as tree:
        assert (tree.path / "a.txt").read_text() == "two\n"
