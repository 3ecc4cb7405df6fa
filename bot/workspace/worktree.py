"""Trees without `.git` for one use each, and the commits that are made of what was found in them.

A tree lies in a holder, a folder with what belongs to it and must not be seen by what runs in it:
the list of files as they were, and the objects of what they became. The diff is worked out from
there, tree against tree, so that no attribute or configuration of the untrusted tree takes part.
A holder is locked while it is in use; `sweep` removes those whose process is no more.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from secrets import token_hex

from bot.domain.errors import Broken, Gone, TryLater
from bot.domain.values import Remote, Sha
from bot.workspace.git import Extra, Git, meaning

_DIFF_BYTES = 32 * 1024 * 1024
_FILE_BYTES = 1024 * 1024
_JUNK = """
.aider*
.agents/
.aws/
.codex/
.claude/
.gemini/
.qwen/
.opencode/
__pycache__/
*.pyc
node_modules/
.pytest_cache/
.ruff_cache/
.mypy_cache/
.hypothesis/
.tox/
.nox/
.venv/
.coverage
.eslintcache
.DS_Store
*.orig
*.rej
"""
_DIFF = (
    *("diff-tree", "-r", "-p", "--binary", "--full-index", "--no-renames", "--no-ext-diff"),
    *("--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/"),
)
_MOVED = ("stale info", "fetch first", "non-fast-forward", "incorrect old value", "cannot lock ref")


class WorkTree:
    """One tree at one commit; see the module's theory for what lies beside it."""

    def __init__(self, git: Git, repo: str, head: Sha, holder: Path) -> None:
        self._git = git
        self._repo = repo
        self._head = head
        self._holder = holder
        env = {
            "GIT_INDEX_FILE": str(holder / "index"),
            "GIT_OBJECT_DIRECTORY": str(holder / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(git.mirror(repo) / "objects"),
        }
        settings = {
            "core.excludesFile": str(holder / "junk"),
            "core.attributesFile": str(holder / "attributes"),
        }
        self._bare = Extra(env, settings)
        self._inside = Extra(env, settings, self.path)

    @property
    def path(self) -> Path:
        """Return the tree itself, which holds no `.git`."""
        return self._holder / "tree"

    def fill(self) -> None:
        """Write the files of the commit."""
        self.path.mkdir()
        (self._holder / "objects").mkdir()
        (self._holder / "junk").write_text(_JUNK)
        self._must("read-tree", self._head)
        self._must("checkout-index", "--all", "--force", "--quiet")

    def diff(self) -> str:
        """Return what has changed since the commit, new and deleted files included."""
        _forget_nested(self.path)
        self._must("add", "--all", "--", ".")
        tree = self._must("write-tree").decode().strip()
        self._weigh(tree)
        diff = self._between(tree)
        try:
            return diff.decode()
        except UnicodeDecodeError:
            self._mark_odd(tree)
            return self._between(tree).decode()

    def apply(self, diff: str) -> None:
        """Apply a diff to the files, whole or not at all; raise Broken when it does not fit."""
        if not diff.strip():
            return
        words = ("apply", "--whitespace=nowarn", "-")
        called = self._git.call(self._repo, *words, stdin=diff.encode(), extra=self._inside)
        if called.exit_code != 0:
            raise Broken(f"the patch does not apply: {_complaint(called.stderr)}")

    def _must(self, *words: str) -> bytes:
        return self._git.must(self._repo, *words, extra=self._inside)

    def _weigh(self, tree: str) -> None:
        """Refuse a change that is too large to be looked at."""
        words = (
            "diff-tree",
            "-r",
            "--raw",
            "--no-abbrev",
            "--no-renames",
            f"{self._head}^{{tree}}",
        )
        raw = self._git.must(self._repo, *words, tree, extra=self._bare).splitlines()
        blobs = b"\n".join(line.split()[3] for line in raw) + b"\n" if raw else b""
        ask = ("cat-file", "--batch-check=%(objectsize)")
        sizes = self._git.must(self._repo, *ask, stdin=blobs, extra=self._bare).split()
        if sum(int(size) for size in sizes if size.isdigit()) > _DIFF_BYTES:
            raise Broken(f"the change holds more than {_DIFF_BYTES // 1024 // 1024} MB")

    def _between(self, tree: str, *paths: str) -> bytes:
        """Return the diff from the commit; without a work tree, so none of its attributes count."""
        words = (*_DIFF, f"{self._head}^{{tree}}", tree, "--", *paths)
        return self._git.must(self._repo, *words, extra=self._bare)

    def _mark_odd(self, tree: str) -> None:
        """Have files that are not UTF-8 shown as binary, so that their change survives as text."""
        words = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", f"{self._head}^{{tree}}")
        names = self._git.must(self._repo, *words, tree, extra=self._bare).split(b"\0")[:-1]
        odd = [name for name in names if not _is_text(self._between(tree, os.fsdecode(name)))]
        rules = b"".join(b'"/' + _pattern(name) + b'" -diff\n' for name in odd)
        (self._holder / "attributes").write_bytes(rules)


class GitTrees:
    """Mirrors, trees and commits under one folder; commits are made as `name <email>`."""

    def __init__(
        self,
        root: Path,
        *,
        name: str = "regreen[bot]",
        email: str = "regreen[bot]@users.noreply.github.com",
        protocols: Sequence[str] = ("http", "https"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Use *environment* for what git needs to reach the net here, such as a proxy's address."""
        root = root.absolute()
        self._git = Git(root, protocols=protocols, environment=environment or {})
        self._trees = root / "trees"
        self._name = name
        self._email = email

    @contextmanager
    def open(self, repo: str, head: Sha, remote: Remote) -> Iterator[WorkTree]:
        """Fetch the commit and yield a tree of it, which is removed in the end."""
        self._git.fetch(repo, head, remote)
        with self._holder() as holder:
            tree = WorkTree(self._git, repo, head, holder)
            tree.fill()
            yield tree

    def files(
        self, repo: str, commit: Sha, remote: Remote, paths: Sequence[str]
    ) -> Mapping[str, str]:
        """Return those of *paths* that are ordinary text files of at most 1 MB at the commit."""
        if not paths:
            return {}
        self._git.fetch(repo, commit, remote)
        listed = self._git.must(repo, "ls-tree", "-z", "-l", commit, "--", *paths)
        found = {}
        for entry in listed.split(b"\0")[:-1]:
            about, _, name = entry.partition(b"\t")
            mode, _, blob, size = about.decode().split()
            if mode in {"100644", "100755"} and int(size) <= _FILE_BYTES:
                content = self._git.must(repo, "cat-file", "blob", blob)
                found[os.fsdecode(name)] = content.decode(errors="replace")
        return found

    def commit(
        self, repo: str, parent: Sha, diff: str, message: str, at: datetime, remote: Remote
    ) -> Sha:
        """Build the commit of *diff* on *parent* in the mirror; the same input, the same commit."""
        self._git.fetch(repo, parent, remote)
        with self._holder() as holder:
            private = Extra({"GIT_INDEX_FILE": str(holder / "index")})
            self._git.must(repo, "read-tree", parent, extra=private)
            words = ("apply", "--cached", "--whitespace=nowarn", "-")
            called = self._git.call(repo, *words, stdin=diff.encode(), extra=private)
            if called.exit_code != 0:
                raise Broken(f"the patch does not apply: {_complaint(called.stderr)}")
            tree = self._git.must(repo, "write-tree", extra=private).decode().strip()
        return self._committed(repo, tree, parent, message, at)

    def restore(
        self, repo: str, parent: Sha, like: Sha, message: str, at: datetime, remote: Remote
    ) -> Sha:
        """Build a commit on *parent* with the files of *like*; the same input, the same commit."""
        for commit in (parent, like):
            self._git.fetch(repo, commit, remote)
        return self._committed(repo, f"{like}^{{tree}}", parent, message, at)

    def _committed(self, repo: str, tree: str, parent: Sha, message: str, at: datetime) -> Sha:
        made = self._git.must(
            repo,
            *("commit-tree", tree, "-p", parent, "-F", "-"),
            stdin=message.encode(),
            extra=Extra(self._signature(at)),
        )
        commit = Sha(made.decode().strip())
        self._git.keep(repo, commit)
        return commit

    def push(self, repo: str, branch: str, commit: Sha, lease: Sha, remote: Remote) -> str:
        """Move the branch from *lease* to *commit*: "pushed", "moved" or "refused: <reason>".

        A branch that is at *commit* already counts as pushed; one that is gone has moved.
        """
        ref = f"refs/heads/{branch}"
        if not self._git.has(repo, commit):
            raise Gone(f"the commit {commit} is not in the mirror of {repo}")
        self._git.fetch(repo, lease, remote)
        if self._git.call(repo, "check-ref-format", ref).exit_code != 0:
            return f"refused: {branch!r} is no name for a branch"
        ancestor = self._git.call(repo, "merge-base", "--is-ancestor", lease, commit)
        if ancestor.exit_code != 0:
            return f"refused: {lease} is not an ancestor of {commit}"
        called = self._git.call(
            repo,
            *("push", "--porcelain", "--no-verify", "--no-follow-tags", "--no-signed"),
            *("--recurse-submodules=no", f"--force-with-lease={ref}:{lease}", "--"),
            *(remote.url, f"{commit}:{ref}"),
            extra=Extra(remote=remote),
        )
        return _pushed(called.stdout.decode(errors="replace"), called.stderr, ref, repo)

    def sweep(self) -> None:
        """Remove the trees that a crash left behind; those in use anywhere stay."""
        for holder in self._trees.glob("*"):
            with (holder / "lock").open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                _remove(holder)

    def _signature(self, at: datetime) -> dict[str, str]:
        date = f"{int(at.timestamp())} +0000"
        return {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", self._name), ("EMAIL", self._email), ("DATE", date))
        }

    @contextmanager
    def _holder(self) -> Iterator[Path]:
        holder = self._trees / token_hex(8)
        try:
            holder.mkdir(parents=True, mode=0o700)
            lock = (holder / "lock").open("w")
        except OSError as error:
            raise TryLater(f"no tree can be made: {error.strerror}") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield holder
            finally:
                _remove(holder)


def _pushed(report: str, stderr: str, ref: str, repo: str) -> str:
    """Read the porcelain report of a push of one ref: `flag TAB from:to TAB summary`."""
    for line in report.splitlines():
        flag, _, rest = line.partition("\t")
        names, _, summary = rest.partition("\t")
        if not names.endswith(f":{ref}"):
            continue
        if flag in {" ", "=", "*", "+"}:
            return "pushed"
        if any(sign in summary for sign in _MOVED):
            return "moved"
        said = [part.removeprefix("remote:").strip() for part in stderr.splitlines()]
        reasons = [part for part in said if part.lower().startswith(("error:", "refus"))]
        return f"refused: {' '.join([summary, *reasons])}"
    raise meaning(f"git push to {repo}", stderr)


def _complaint(stderr: str) -> str:
    lines = [line.removeprefix("error: ") for line in stderr.splitlines() if line.strip()]
    return "; ".join(lines[:5])[:600] or "git gave no reason"


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _pattern(name: bytes) -> bytes:
    r"""Write a path as a quoted pattern of a gitattributes file: first a glob, then C-quoted."""
    glob = re.sub(rb"([*?\[\]\\])", rb"\\\1", name)
    return b"".join(
        b"\\%03o" % sign if sign < 32 or sign in b'"\\' else bytes([sign])  # noqa: PLR2004  # control characters
        for sign in glob
    )


def _forget_nested(tree: Path) -> None:
    """Remove every `.git` that was made in the tree: git would read its configuration."""
    for folder, names, files in os.walk(tree):
        for name in [name for name in names + files if name.lower() == ".git"]:
            path = Path(folder, name)
            if path.is_dir() and not path.is_symlink():
                _remove(path)
            else:
                path.unlink(missing_ok=True)
        names[:] = [name for name in names if name.lower() != ".git"]


def _remove(folder: Path) -> None:
    """Remove a folder, also when what ran in it took its own rights away."""
    for parent, names, _ in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
