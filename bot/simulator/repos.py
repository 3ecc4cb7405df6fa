"""Real bare git repositories, read and written by plumbing.

Every fact about code (commits, diffs, files, branches) is asked of git each time; only what never
changes is remembered: commits, and what lies between two of them. No working tree exists: commits
are made through a temporary index.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from bot.simulator import clock

NO_SHA = "0" * 40
_SHA = re.compile("[0-9a-f]{40}")
_FORMAT = "%H%x00%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B%x00%x01"
_STATUS = {"A": "added", "D": "removed", "M": "modified", "T": "changed", "R": "renamed"}


@dataclass(frozen=True, slots=True)
class Person:
    """The author or committer written into a commit."""

    name: str
    email: str
    at: str


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit as git holds it."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    message: str


@dataclass(frozen=True, slots=True)
class Change:
    """One file of a diff; `patch` holds the hunks only and is None for binary files."""

    path: str
    status: str
    blob: str
    additions: int
    deletions: int
    patch: str | None
    previous: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tree: `kind` is file, dir, symlink or submodule."""

    path: str
    kind: str
    sha: str
    size: int


class GitRepo:
    """One bare repository on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._git = shutil.which("git") or "git"
        self._commits: dict[str, Commit] = {}
        self._remembered = lru_cache(maxsize=512)(self.run)

    def run(
        self,
        *args: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> bytes:
        """Run git and return its output; raise CalledProcessError when it fails."""
        command = [self._git, "--git-dir", str(self.path), *args]
        done = subprocess.run(  # noqa: S603 - git itself, arguments are separate, no shell
            command, input=stdin, capture_output=True, check=True, env=_environment(env), cwd=cwd
        )
        return done.stdout

    def _between(self, one: str, other: str, *args: str) -> bytes:
        """Run git on two commits; its answer is remembered where both are named by their SHA."""
        fixed = _SHA.fullmatch(one) and _SHA.fullmatch(other)
        return (self._remembered if fixed else self.run)(*args)

    def ask(self, *args: str) -> bytes | None:
        """Run git and return its output, or None when git says no."""
        try:
            return self.run(*args)
        except subprocess.CalledProcessError:
            return None

    def word(self, *args: str) -> str | None:
        """Run git and return its output as one stripped word, or None when git says no."""
        out = self.ask(*args)
        return None if out is None else out.decode().strip()

    def branch(self, name: str) -> str | None:
        """Return the commit of a branch, or None."""
        return self.word("rev-parse", "--verify", "--quiet", f"refs/heads/{name}^{{commit}}")

    def resolve(self, ref: str) -> str | None:
        """Return the commit that *ref* (SHA, branch, tag, `heads/x`) names, or None."""
        if ref.startswith("-"):
            return None
        if ref in self._commits:
            return ref
        for candidate in (f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}", ref):
            if re.search(r"\s|\.\.|[~^:?*\[\\]", candidate):
                return None
            sha = self.word("rev-parse", "--verify", "--quiet", f"{candidate}^{{commit}}")
            if sha:
                return sha
        return None

    def default_branch(self) -> str:
        """Return the branch that HEAD names."""
        return self.word("symbolic-ref", "--short", "HEAD") or "main"

    def commit(self, sha: str) -> Commit:
        """Read one commit by its full SHA."""
        if sha not in self._commits:
            self._commits[sha] = self._log("--no-walk", sha)[0]
        return self._commits[sha]

    def between(self, base: str, head: str) -> list[Commit]:
        """List the commits that *head* has and *base* has not, oldest first."""
        return self._log("--reverse", "--topo-order", f"{base}..{head}")

    def _log(self, *args: str) -> list[Commit]:
        out = self.run("log", f"--format={_FORMAT}", *args, "--").decode(errors="replace")
        return [_commit(record.lstrip("\n")) for record in out.split("\x00\x01") if record.strip()]

    def paths_pushed(self, new: str, known: Sequence[str]) -> set[str]:
        """List the paths that commits of *new*, not reachable from *known*, touch."""
        shas = self.run("rev-list", new, "--not", *known).decode().split()
        flags = ("--root", "-r", "-m", "--no-commit-id", "--name-only", "-z", "--stdin")
        out = self.run("diff-tree", *flags, stdin="\n".join(shas).encode() + b"\n")
        return {path for path in out.decode(errors="replace").split("\0") if path}

    def refs(self) -> dict[str, str]:
        """Return every ref and what it points at."""
        lines = self.run("for-each-ref", "--format=%(objectname) %(refname)").decode().splitlines()
        return {ref: sha for sha, _, ref in (line.partition(" ") for line in lines)}

    def merge_base(self, one: str, other: str) -> str | None:
        """Return the best common ancestor, or None."""
        with suppress(subprocess.CalledProcessError):
            return self._between(one, other, "merge-base", one, other).decode().strip()
        return None

    def changes(self, old: str, new: str) -> list[Change]:
        """List the files that differ between two trees, with their hunks."""
        pair = ("-M", "--no-color", "--no-ext-diff", "--no-abbrev", old, new, "--")
        raw, counts, text = (
            self._between(old, new, "diff", *form, *pair).decode(errors="replace")
            for form in (("--raw", "-z"), ("--numstat", "-z"), ("--patch",))
        )
        patches = re.split(r"^diff --git .*\n", text, flags=re.MULTILINE)[1:]
        return [
            Change(path, status, blob, *count, _hunks(patch), previous)
            for (path, status, blob, previous), count, patch in zip(
                _raw(raw), _numstat(counts), patches, strict=True
            )
        ]

    def diff(self, old: str, new: str) -> str:
        """Return the unified diff between two trees."""
        return self.run("diff", "-M", "--no-color", old, new, "--").decode(errors="replace")

    def file(self, sha: str, path: str) -> bytes | None:
        """Return a file's bytes at a commit, or None."""
        return self.ask("cat-file", "blob", f"{sha}:{path}")

    def entry(self, sha: str, path: str) -> Entry | None:
        """Return the tree entry at *path*, or None."""
        found = self._entries(sha, "--", path.strip("/"))
        return found[0] if found else None

    def listing(self, sha: str, path: str) -> list[Entry]:
        """List the entries of a directory; the root is the empty path."""
        folder = path.strip("/")
        return self._entries(f"{sha}:{folder}", prefix=f"{folder}/" if folder else "")

    def _entries(self, *args: str, prefix: str = "") -> list[Entry]:
        out = self.ask("ls-tree", "-z", "--long", *args) or b""
        return [_entry(line, prefix) for line in out.decode(errors="replace").split("\0") if line]

    def write(
        self, parent: str, files: Mapping[str, str | None], message: str, author: tuple[str, str]
    ) -> str:
        """Commit *files* (None deletes) on top of *parent* and return the new SHA; no ref moves."""
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": f"{folder}/index"}
            self.run("read-tree", parent, env=index)
            lines = [self._index_line(path, text) for path, text in files.items()]
            self.run("update-index", "-z", "--index-info", stdin=b"".join(lines), env=index)
            tree = self.run("write-tree", env=index).decode().strip()
        return self.seal(tree, (parent,), message, author)

    def _index_line(self, path: str, text: str | None) -> bytes:
        if text is None:
            return f"0 {NO_SHA}\t{path}\0".encode()
        blob = self.run("hash-object", "-w", "--stdin", stdin=text.encode()).decode().strip()
        return f"100644 {blob}\t{path}\0".encode()

    def seal(self, tree: str, parents: Sequence[str], message: str, author: tuple[str, str]) -> str:
        """Make a commit object from a tree."""
        at = clock.stamp(clock.now())
        who = {
            f"GIT_{role}_{field}": value
            for role in ("AUTHOR", "COMMITTER")
            for field, value in (("NAME", author[0]), ("EMAIL", author[1]), ("DATE", at))
        }
        flags = [flag for parent in parents for flag in ("-p", parent)]
        return (
            self.run("commit-tree", tree, *flags, stdin=message.encode(), env=who).decode().strip()
        )

    def move(self, ref: str, sha: str | None) -> None:
        """Point a full ref name at *sha*; None deletes it."""
        if sha is None:
            self.run("update-ref", "-d", ref)
        else:
            self.run("update-ref", ref, sha)

    def take(self, other: "GitRepo", sha: str, ref: str) -> None:
        """Bring a commit of another repository here, under *ref*."""
        if other.path != self.path:
            self.run("fetch", "--quiet", "--no-tags", str(other.path), f"+{sha}:{ref}")
        else:
            self.move(ref, sha)

    def merged_tree(self, base: str, head: str) -> str | None:
        """Return the tree of merging *head* into *base*, or None when they conflict."""
        with suppress(subprocess.CalledProcessError):
            return (
                self._between(base, head, "merge-tree", "--write-tree", base, head).decode().strip()
            )
        return None

    def checkout(self, sha: str, folder: Path) -> None:
        """Make a working copy of *sha*, with a `.git` of its own as `actions/checkout` does."""
        source = str(self.path)
        self.run("clone", "--quiet", "--shared", "--no-checkout", source, str(folder))
        tree = GitRepo(folder / ".git")
        tree.run("--work-tree", str(folder), "checkout", "--quiet", "--detach", sha)


def import_repo(source: Path, target: Path) -> GitRepo:
    """Copy a local repository (working or bare) to the bare repository *target*.

    A folder without git becomes a repository with one commit. Raise ValueError when there is none.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    repo = GitRepo(target)
    if not source.is_dir():
        raise ValueError(f"{source} is not a folder")
    if target.exists():
        raise ValueError(f"{target} is already there: name another data folder")
    try:
        _copy(repo, source)
    except subprocess.CalledProcessError as error:
        raise ValueError(f"{source}: {error.stderr.decode(errors='replace').strip()}") from error
    repo.run("config", "gc.auto", "0")
    return repo


def _copy(repo: GitRepo, source: Path) -> None:
    if (source / ".git").exists() or (source / "HEAD").exists():
        words = ("clone", "--quiet", "--bare", "--no-hardlinks")
        repo.run(*words, "--", str(source), str(repo.path))
        repo.ask("remote", "remove", "origin")
    else:
        _begin_from(repo, source)
    if repo.branch(repo.default_branch()) is None:  # a detached HEAD, as CI leaves behind
        _adopt_head(repo, source)


def _begin_from(repo: GitRepo, folder: Path) -> None:
    repo.run("init", "--quiet", "--bare", "--initial-branch=main")
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": f"{scratch}/index"}
        repo.run("--work-tree", str(folder), "add", "--all", cwd=folder, env=index)
        tree = repo.run("write-tree", env=index).decode().strip()
    sha = repo.seal(tree, (), "Begin", ("owner", "owner@users.noreply.github.com"))
    repo.move("refs/heads/main", sha)


def _adopt_head(repo: GitRepo, source: Path) -> None:
    git_dir = source / ".git" if (source / ".git").exists() else source
    head = GitRepo(git_dir).word("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head is None:
        raise ValueError(f"{source} has no commit")
    repo.run("symbolic-ref", "HEAD", "refs/heads/main")
    repo.take(GitRepo(git_dir), head, "refs/heads/main")


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "GIT_CONFIG_KEY_1": "uploadpack.allowAnySHA1InWant",
        "GIT_CONFIG_VALUE_1": "true",
        **(extra or {}),
    }


def _commit(record: str) -> Commit:
    sha, tree, parents, an, ae, at, cn, ce, ct, message = record.split("\x00", 9)
    return Commit(
        sha,
        tree,
        tuple(parents.split()),
        Person(an, ae, clock.stamp(datetime.fromisoformat(at))),
        Person(cn, ce, clock.stamp(datetime.fromisoformat(ct))),
        message.rstrip("\n"),
    )


def _raw(text: str) -> list[tuple[str, str, str, str | None]]:
    """Parse `diff --raw -z`: path, status, blob after (before when removed), previous path."""
    fields, found = iter(text.split("\0")), []
    for head in fields:
        if not head:
            break
        _, _, before, after, status = head.split()
        first = next(fields)
        renamed = status[0] in "RC"
        path, previous = (next(fields), first) if renamed else (first, None)
        blob = before if status[0] == "D" else after
        found.append((path, _STATUS.get(status[0], "modified"), blob, previous))
    return found


def _numstat(text: str) -> list[tuple[int, int]]:
    """Parse `diff --numstat -z`: added and deleted lines; binary files count 0."""
    fields, found = iter(text.split("\0")), []
    for record in fields:
        if not record:
            break
        added, deleted, path = record.split("\t", 2)
        if not path:  # a rename: its two names follow as fields of their own
            next(fields), next(fields)
        found.append((int(added.replace("-", "0")), int(deleted.replace("-", "0"))))
    return found


def _hunks(patch: str) -> str | None:
    start = patch.find("@@ ")
    return None if start < 0 else patch[start:].rstrip("\n")


def _entry(line: str, prefix: str) -> Entry:
    meta, path = line.split("\t", 1)
    mode, kind, sha, size = meta.split()
    kinds = {"tree": "dir", "commit": "submodule"}
    shown = "symlink" if mode == "120000" else kinds.get(kind, "file")
    return Entry(prefix + path, shown, sha, 0 if size == "-" else int(size))
