"""One tree without `.git`, and what its files became.

Beside the tree, in its holder, lie its index and the objects of its changed files. The diff is
worked out from there, tree against tree, so that no attribute or configuration of the untrusted
tree takes part. The index itself stays as git wrote it: it says what the tree held.
"""

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bot.domain.errors import Broken
from bot.domain.values import Sha
from bot.workspace.cleanup import remove_all
from bot.workspace.disk import writing
from bot.workspace.git import Damaged, Extra, Git
from bot.workspace.pool import Holder
from bot.workspace.recycle import DEEPEST, Entry, Look, entries, seal, touch

_DIFF_BYTES = 32 * 1024 * 1024
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
_NO_OBJECT = re.compile(r"unable to read|cannot read the current|is corrupt|not a git repository")

Carry = Callable[[Path, Path, Sequence[Entry], Look], int]


class WorkTree:
    """One tree at one commit; see the module's theory for what lies beside it."""

    def __init__(self, git: Git, mirror: Path, holder: Holder) -> None:
        self._git = git
        self._mirror = mirror
        self._holder = holder
        assert holder.head is not None
        self._head = holder.head

    @property
    def path(self) -> Path:
        """Return the tree itself, which holds no `.git`."""
        return self._holder.tree

    def fill(self) -> None:
        """Write the files of the commit."""
        self.path.mkdir()
        (self._holder.path / "objects").mkdir()
        (self._holder.path / "junk").write_text(_JUNK)
        self._must("read-tree", "-m", "-u", self._head)

    def turn(self, head: Sha) -> bool:
        """Make a spare tree one of another commit; False when that takes a new one."""
        if head == self._head:
            return True
        words = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", self._head, head)
        names = self._git.must(self._mirror, *words).split(b"\0")
        if any(name.rpartition(b"/")[2] == b".gitattributes" for name in names):
            return False  # they may ask for another form of files that are the same
        self._must("read-tree", "-m", "-u", head)
        self._head = self._holder.head = head
        return True

    def hand_over(self, *, spare: bool) -> None:
        """Let the next user have the tree: what changes from now on is not ours."""
        if spare:
            touch(self.path)
        self._holder.look = seal(self._holder.path)

    def renew(self, carry: Carry, discard: Callable[[Path, str], None]) -> bool:
        """Make a used tree as good as new with what *carry* proves of it; tell whether it is.

        The index stayed out of sight, so git can say what is missing and, in the end, that nothing
        is missing, changed or there besides.
        """
        look, fresh = self._holder.look, self._holder.path / "fresh"
        words = ("ls-files", "--stage", "-z")
        index = entries(self._git.must(self._mirror, *words, extra=self._beside()))
        if look is None or any(entry.path.count("/") > DEEPEST for entry in index):
            return False
        carry(self.path, fresh, index, look)
        discard(self.path, "tree")
        fresh.rename(self.path)
        for beside in ("objects", "index.now", "attributes"):
            discard(self._holder.path / beside, "tree")
        (self._holder.path / "objects").mkdir()
        self._git.call(self._mirror, "update-index", "-q", "--refresh", extra=self._inside())
        self._must("checkout-index", "--all", "--index", "--quiet")
        return not self._must("ls-files", "-z", "--others", "--modified", "--deleted")

    def diff(self) -> str:
        """Return what has changed since the commit, new and deleted files included."""
        try:
            _forget_nested(self.path)
        except OSError as error:
            raise Broken(f"the changed tree cannot be read: {error.strerror}") from error
        with writing("the index of a tree"):
            # With its time: by that git knows of which files it cannot trust the times.
            shutil.copy2(self._holder.path / "index", self._holder.path / "index.now")
        now = self._inside("index.now")
        self._git.must(self._mirror, "add", "--all", "--", ".", extra=now)
        tree = self._git.must(self._mirror, "write-tree", extra=now).decode().strip()
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
        called = self._git.call(self._mirror, *words, stdin=diff.encode(), extra=self._inside())
        if called.exit_code != 0:
            raise unfit(called.stderr)

    def _must(self, *words: str) -> bytes:
        return self._git.must(self._mirror, *words, extra=self._inside())

    def _beside(self, index: str = "index") -> Extra:
        """Return what git needs to find the tree's index and objects."""
        holder = self._holder.path
        env = {
            "GIT_INDEX_FILE": str(holder / index),
            "GIT_OBJECT_DIRECTORY": str(holder / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self._mirror / "objects"),
        }
        settings = {
            "core.excludesFile": str(holder / "junk"),
            "core.attributesFile": str(holder / "attributes"),
        }
        return Extra(env, settings)

    def _inside(self, index: str = "index") -> Extra:
        """Return the same for what reads or writes the files."""
        return replace(self._beside(index), tree=self.path)

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
        raw = self._git.must(self._mirror, *words, tree, extra=self._beside()).splitlines()
        blobs = b"\n".join(line.split()[3] for line in raw) + b"\n" if raw else b""
        ask = ("cat-file", "--batch-check=%(objectsize)")
        sizes = self._git.must(self._mirror, *ask, stdin=blobs, extra=self._beside()).split()
        if sum(int(size) for size in sizes if size.isdigit()) > _DIFF_BYTES:
            raise Broken(f"the change holds more than {_DIFF_BYTES // 1024 // 1024} MB")

    def _between(self, tree: str, *paths: str) -> bytes:
        """Return the diff from the commit; without a work tree, so none of its attributes count."""
        words = (*_DIFF, f"{self._head}^{{tree}}", tree, "--", *paths)
        return self._git.must(self._mirror, *words, extra=self._beside())

    def _mark_odd(self, tree: str) -> None:
        """Have files that are not UTF-8 shown as binary, so that their change survives as text."""
        words = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", f"{self._head}^{{tree}}")
        names = self._git.must(self._mirror, *words, tree, extra=self._beside()).split(b"\0")[:-1]
        odd = [name for name in names if not _is_text(self._between(tree, os.fsdecode(name)))]
        rules = b"".join(b'"/' + _pattern(name) + b'" -diff\n' for name in odd)
        with writing("the attributes of a tree"):
            (self._holder.path / "attributes").write_bytes(rules)


def unfit(stderr: str) -> Broken:
    """Return the error for a patch that git does not apply; it may be for want of the objects."""
    lines = [line.removeprefix("error: ") for line in stderr.splitlines() if line.strip()]
    told = "; ".join(lines[:5])[:600] or "git gave no reason"
    kind = Damaged if _NO_OBJECT.search(stderr) else Broken
    return kind(f"the patch does not apply: {told}")


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
    folders = [tree]
    while folders:
        folder = folders.pop()
        try:
            found = list(os.scandir(folder))
        except PermissionError:  # nor can git look into it
            continue
        for entry in found:
            if entry.name.lower() == ".git":
                remove_all(Path(entry.path))
            elif entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
