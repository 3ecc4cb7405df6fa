"""Trees for one run each, commits made of what was found in them, and pushes: the port `Trees`.

A tree is filled from the repository's mirror, or is one that an earlier run on the same repository
used, if what is left of that can be proved to be as git wrote it (`bot/workspace/recycle.py`); else
it is thrown away. A holder whose process is no more is removed by `sweep`.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from bot.domain.errors import BotError, Broken, Gone, TryLater
from bot.domain.values import SCRATCH, Remote, Sha
from bot.workspace.cleanup import Cleaner
from bot.workspace.disk import writing
from bot.workspace.git import Damaged, Extra, Git, meaning
from bot.workspace.mirrors import Mirrors
from bot.workspace.pool import Holder, Pool, hold, in_use
from bot.workspace.recycle import carry
from bot.workspace.tree import Carry, WorkTree, unfit

LINKS = frozenset({"120000", "160000"})  # git's modes of symbolic links and submodules
_FILE_BYTES = 1024 * 1024
_FREE_MB = 2048  # with less space than this no tree lies ready
_IDLE = timedelta(hours=1)
_MOVED = ("stale info", "fetch first", "non-fast-forward", "incorrect old value", "cannot lock ref")

log = structlog.get_logger("regreen")


@dataclass(frozen=True, slots=True)
class Reuse:
    """How many used trees lie ready, of one repository and of all, and what proves their files.

    For sandboxes that no process outlives; `Reuse(each=0)` is for all others.
    """

    each: int = 2
    most: int = 8
    carry: Carry = carry


class GitTrees:
    """Mirrors, trees and commits under one folder; commits are made as `name <email>`."""

    def __init__(
        self,
        root: Path,
        *,
        name: str = "regreen[bot]",
        email: str = "regreen[bot]@users.noreply.github.com",
        git: Git | None = None,
        cleaner: Cleaner | None = None,
        reuse: Reuse | None = None,
        refused: frozenset[str] = LINKS,
    ) -> None:
        """Keep no commit of ours that makes a file of a *refused* mode."""
        root = root.absolute()
        self._git = git or Git()
        self._cleaner = cleaner or Cleaner(root)
        self._mirrors = Mirrors(root / "mirrors", self._git, self._cleaner.discard)
        self._trees = root / "trees"
        self._reuse = reuse or Reuse()
        self._pool = Pool(self._reuse.each, self._reuse.most)
        self._refused = refused
        self._name = name
        self._email = email
        self._looked: datetime | None = None

    @contextmanager
    def open(self, repo: str, head: Sha, remote: Remote) -> Iterator[WorkTree]:
        """Fetch the commit and yield a tree of it, which only this caller has."""
        holder = self._mirrors.mended(repo, lambda: self._ready(repo, head, remote))
        mirror, seen = self._mirrors.path(repo), self._mirrors.identity(repo)
        try:
            yield WorkTree(self._git, mirror, holder)
        except Damaged as error:
            if self._mirrors.drop(repo, seen):
                raise TryLater(f"the mirror of {repo} was broken and is fetched anew") from error
            raise
        finally:
            self._give_back(holder)

    def files(
        self, repo: str, commit: Sha, remote: Remote, paths: Sequence[str]
    ) -> Mapping[str, str]:
        """Return those of *paths* that are ordinary text files at the commit, cut after 1 MB."""
        if not paths:
            return {}
        return self._mirrors.mended(repo, lambda: self._read(repo, commit, remote, paths))

    def commit(
        self, repo: str, parent: Sha, diff: str, message: str, at: datetime, remote: Remote
    ) -> Sha:
        """Build the commit of *diff* on *parent* in the mirror; the same input, the same commit.

        Raise Broken when the diff does not fit, or makes a link or a submodule.
        """

        def build() -> Sha:
            self._mirrors.fetch(repo, parent, remote)
            tree = self._patched(repo, parent, diff)
            return self._committed(repo, tree, parent, message, at)

        return self._mirrors.mended(repo, build)

    def restore(
        self, repo: str, parent: Sha, like: Sha, message: str, at: datetime, remote: Remote
    ) -> Sha:
        """Build a commit on *parent* with the files of *like*; the same input, the same commit."""

        def build() -> Sha:
            for commit in (parent, like):
                self._mirrors.fetch(repo, commit, remote)
            return self._committed(repo, f"{like}^{{tree}}", parent, message, at)

        return self._mirrors.mended(repo, build)

    def push(self, repo: str, branch: str, commit: Sha, lease: Sha, remote: Remote) -> str:
        """Move the branch from *lease* to *commit*: "pushed", "moved" or "refused: <reason>".

        A branch that is at *commit* already counts as pushed; one that is gone has moved.
        """
        ref, mirror = f"refs/heads/{branch}", self._mirrors.path(repo)
        if not self._mirrors.has(repo, commit):
            raise Gone(f"the commit {commit} is not in the mirror of {repo}")
        self._mirrors.fetch(repo, lease, remote)
        if self._git.call(mirror, "check-ref-format", ref).exit_code != 0:
            return f"refused: {branch!r} is no name for a branch"
        ancestor = self._git.call(mirror, "merge-base", "--is-ancestor", lease, commit)
        if ancestor.exit_code == 1:
            return f"refused: {lease} is not an ancestor of {commit}"
        if ancestor.exit_code != 0:
            raise meaning(f"git merge-base of {repo}", ancestor.stderr)
        called = self._git.call(
            mirror,
            *("push", "--porcelain", "--no-verify", "--no-follow-tags", "--no-signed"),
            *("--recurse-submodules=no", f"--force-with-lease={ref}:{lease}", "--"),
            *(remote.url, f"{commit}:{ref}"),
            extra=Extra(remote=remote),
        )
        return _pushed(called.stdout.decode(errors="replace"), called.stderr, ref, repo)

    def offer(self, repo: str, branch: str, commit: Sha, remote: Remote) -> str:
        """Put a scratch branch at *commit*, whatever it held: "pushed" or "refused: <reason>"."""
        if not self._mirrors.has(repo, commit):
            raise Gone(f"the commit {commit} is not in the mirror of {repo}")
        if not branch.startswith(SCRATCH):
            return f"refused: {branch!r} is no scratch branch"
        return self._sent(repo, f"+{commit}:refs/heads/{branch}", branch, remote)

    def withdraw(self, repo: str, branch: str, remote: Remote) -> str:
        """Delete a scratch branch: "gone", also if it was not there, or "refused: <reason>"."""
        if not branch.startswith(SCRATCH):
            return f"refused: {branch!r} is no scratch branch"
        self._mirrors.make(repo)  # another machine may have pushed it
        ended = self._sent(repo, f":refs/heads/{branch}", branch, remote)
        return "gone" if ended == "pushed" else ended

    def _sent(self, repo: str, refspec: str, branch: str, remote: Remote) -> str:
        mirror, ref = self._mirrors.path(repo), f"refs/heads/{branch}"
        if self._git.call(mirror, "check-ref-format", ref).exit_code != 0:
            return f"refused: {branch!r} is no name for a branch"
        called = self._git.call(
            mirror,
            *("push", "--porcelain", "--no-verify", "--no-follow-tags", "--no-signed"),
            *("--recurse-submodules=no", "--", remote.url, refspec),
            extra=Extra(remote=remote),
        )
        if refspec.startswith(":") and "remote ref does not exist" in called.stderr:
            return "pushed"
        return _pushed(called.stdout.decode(errors="replace"), called.stderr, ref, repo)

    def tidy(self, now: datetime) -> None:
        """Drop the spare trees that nobody wants any more, and tidy one mirror if one is due."""
        if self._looked is None or now - self._looked > _IDLE:
            self._looked = now
            for holder in self._pool.unwanted():
                self._throw_away(holder)
        self._mirrors.tidy(now)

    def sweep(self) -> None:
        """Remove what a crash left behind; trees in use anywhere stay."""
        for path in self._trees.glob("*"):
            if not in_use(path):
                self._cleaner.discard(path, "tree")
        self._cleaner.resume()

    def close(self) -> None:
        """Remove the spare trees; those in use go when their users are done."""
        self._pool.each = 0
        for holder in self._pool.emptied():
            self._throw_away(holder)
        self._cleaner.settled()

    # --- trees ---

    def _ready(self, repo: str, head: Sha, remote: Remote) -> Holder:
        """Return a holder with a tree of the commit: a spare one, or a new one."""
        self._mirrors.fetch(repo, head, remote)
        spare = self._pool.take(repo, head)
        if spare is not None:
            if self._turned(spare, head):
                return spare
            self._throw_away(spare)
        holder = self._hold()
        holder.repo, holder.head = repo, head
        try:
            with writing("a tree"):
                tree = self._tree(holder)
                tree.fill()
                tree.hand_over(spare=False)
        except BotError:
            self._throw_away(holder)
            raise
        return holder

    def _turned(self, spare: Holder, head: Sha) -> bool:
        try:
            with writing("a tree"):
                tree = self._tree(spare)
                if not tree.turn(head):
                    return False
                tree.hand_over(spare=True)
        except BotError as error:  # a new one may do, or tell what is wrong
            log.warning("spare_tree_lost", repo=spare.repo, reason=str(error))
            return False
        return True

    def _give_back(self, holder: Holder) -> None:
        """Make a spare tree of a used one, or throw it away."""
        if not self._renewed(holder):
            self._throw_away(holder)
            return
        for surplus in self._pool.put(holder):
            self._throw_away(surplus)

    def _renewed(self, holder: Holder) -> bool:
        if not self._pool.each:
            return False
        try:
            with writing("a tree"):
                if shutil.disk_usage(holder.path).free < _FREE_MB * 1024 * 1024:
                    return False
                return self._tree(holder).renew(self._reuse.carry, self._cleaner.discard)
        except BotError as error:
            log.warning("tree_not_recycled", repo=holder.repo, reason=str(error))
            return False

    def _tree(self, holder: Holder) -> WorkTree:
        return WorkTree(self._git, self._mirrors.path(holder.repo), holder)

    def _hold(self) -> Holder:
        with writing("a tree"):
            return hold(self._trees)

    def _throw_away(self, holder: Holder) -> None:
        self._cleaner.discard(holder.path, "tree")
        holder.release()

    # --- commits ---

    def _read(
        self, repo: str, commit: Sha, remote: Remote, paths: Sequence[str]
    ) -> Mapping[str, str]:
        self._mirrors.fetch(repo, commit, remote)
        mirror = self._mirrors.path(repo)
        listed = self._git.must(mirror, "ls-tree", "-z", "-l", commit, "--", *paths)
        found = {}
        for entry in listed.split(b"\0")[:-1]:
            about, _, name = entry.partition(b"\t")
            mode, _, blob, _size = about.decode().split()
            if mode in {"100644", "100755"}:
                content = self._git.must(mirror, "cat-file", "blob", blob)[:_FILE_BYTES]
                found[os.fsdecode(name)] = content.decode(errors="replace")
        return found

    def _patched(self, repo: str, parent: Sha, diff: str) -> str:
        """Return the tree object that *diff* makes of the parent's, without any file."""
        mirror, holder = self._mirrors.path(repo), self._hold()
        try:
            private = Extra({"GIT_INDEX_FILE": str(holder.path / "index")})
            self._git.must(mirror, "read-tree", parent, extra=private)
            words = ("apply", "--cached", "--whitespace=nowarn", "-")
            called = self._git.call(mirror, *words, stdin=diff.encode(), extra=private)
            if called.exit_code != 0:
                raise unfit(called.stderr)
            tree = self._git.must(mirror, "write-tree", extra=private).decode().strip()
        finally:
            self._throw_away(holder)
        self._refuse(mirror, parent, tree)
        return tree

    def _refuse(self, mirror: Path, parent: Sha, tree: str) -> None:
        """Raise Broken when git, not our reading of the diff, finds a mode that is not ours."""
        words = ("diff-tree", "-r", "--raw", "-z", "--no-renames", f"{parent}^{{tree}}", tree)
        fields = self._git.must(mirror, *words).decode(errors="replace").split("\0")
        for about, path in zip(fields[:-1:2], fields[1::2], strict=True):
            mode = about.split()[1]
            if mode in self._refused:
                raise Broken(f"the patch makes {path!r} a file of mode {mode}, which is refused")

    def _committed(self, repo: str, tree: str, parent: Sha, message: str, at: datetime) -> Sha:
        made = self._git.must(
            self._mirrors.path(repo),
            *("commit-tree", tree, "-p", parent, "-F", "-"),
            stdin=message.encode(),
            extra=Extra(self._signature(at)),
        )
        commit = Sha(made.decode().strip())
        self._mirrors.keep(repo, commit)
        return commit

    def _signature(self, at: datetime) -> dict[str, str]:
        date = f"{int(at.timestamp())} +0000"
        return {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", self._name), ("EMAIL", self._email), ("DATE", date))
        }


def _pushed(report: str, stderr: str, ref: str, repo: str) -> str:
    """Read the porcelain report of a push of one ref: `flag TAB from:to TAB summary`."""
    for line in report.splitlines():
        flag, _, rest = line.partition("\t")
        names, _, summary = rest.partition("\t")
        if not names.endswith(f":{ref}"):
            continue
        if flag in {" ", "=", "*", "+", "-"}:
            return "pushed"
        if any(sign in summary for sign in _MOVED):
            return "moved"
        said = [part.removeprefix("remote:").strip() for part in stderr.splitlines()]
        reasons = [part for part in said if part.lower().startswith(("error:", "refus"))]
        return f"refused: {' '.join([summary, *reasons])}"
    raise meaning(f"git push to {repo}", stderr)
