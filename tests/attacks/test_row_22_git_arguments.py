"""Row 22: a manipulated model, or a stranger, names things so that git takes them for flags.

Control: fixed words, full names of refs, `--` before what is not ours, an allow-list of protocols.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.domain.errors import BotError, Broken
from bot.domain.values import Remote, Sha
from bot.workspace.git import Git
from bot.workspace.worktree import GitTrees
from tests.support.origins import Origin

AT = datetime(2026, 1, 2, tzinfo=UTC)
FILE_ONLY = Git(protocols=("file",))


@pytest.fixture
def origin(tmp_path) -> Origin:
    return Origin(tmp_path)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Return the file that every attack here tries to make."""
    return tmp_path / "fired"


def fetched(git: Git, remote: Remote, root: Path, commit: Sha) -> None:
    with GitTrees(root / "state", git=git).open("o/r", commit, remote):
        pass


def test_a_remote_that_is_a_program_is_refused(tmp_path, mark):
    remote = Remote(f"ext::sh -c touch% {mark}", "")
    with pytest.raises(Broken, match="not allowed"):
        fetched(FILE_ONLY, remote, tmp_path, Sha("1" * 40))
    assert not mark.exists()


def test_it_runs_without_the_allow_list(tmp_path, mark):
    remote = Remote(f"ext::sh -c touch% {mark}", "")
    with pytest.raises(BotError):
        fetched(Git(protocols=("ext",)), remote, tmp_path, Sha("1" * 40))
    assert mark.exists()


@pytest.mark.parametrize("url", ["--upload-pack={}", "-u{}", "--recurse-submodules=yes"])
def test_a_remote_that_is_a_flag_is_only_a_name(tmp_path, mark, url):
    remote = Remote(url.format(f"touch {mark};"), "")
    with pytest.raises(BotError):
        fetched(FILE_ONLY, remote, tmp_path, Sha("1" * 40))
    assert not mark.exists()


@pytest.mark.parametrize(
    "commit", ["--upload-pack=touch x", "main", "HEAD", "refs/heads/main", "1"]
)
def test_what_is_no_full_name_of_a_commit_is_refused(origin, tmp_path, commit):
    origin.commit({"a": "1\n"})
    with pytest.raises(Broken, match="not a commit's full name"):
        fetched(FILE_ONLY, origin.remote, tmp_path, Sha(commit))


BRANCHES = [
    "--receive-pack=touch {}",
    "-o{}",
    "--exec=touch {}",
    "$(touch${{IFS}}{})",
    "a;touch${{IFS}}{}",
]


@pytest.mark.parametrize("pattern", BRANCHES)
def test_a_branch_that_is_a_flag_or_a_command_is_only_a_name(origin, tmp_path, mark, pattern):
    head = origin.commit({"a": "1\n"})
    branch = pattern.format(mark.name).replace(" ", "=")
    origin.git("update-ref", f"refs/heads/{branch}", head, where=origin.bare)
    trees = GitTrees(tmp_path / "state", git=FILE_ONLY)
    patch = "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+2\n"
    commit = trees.commit("o/r", head, patch, "m", AT, origin.remote)
    assert trees.push("o/r", branch, commit, head, origin.remote) == "pushed"
    assert origin.at(branch) == commit
    assert not [*tmp_path.rglob(mark.name)]


@pytest.mark.parametrize(
    "words",
    [
        ("push", "{url}", "--receive-pack=touch {mark};git-receive-pack", "main:x"),
        ("fetch", "{url}", "--upload-pack=touch {mark};git-upload-pack"),
    ],
    ids=["push", "fetch"],
)
def test_the_same_words_run_without_full_names_and_dashes(origin, tmp_path, mark, words):
    origin.commit({"a": "1\n"})
    said = [word.format(url=origin.remote.url, mark=mark) for word in words]
    FILE_ONLY.call(origin.clone / ".git", *said)
    assert mark.exists()
