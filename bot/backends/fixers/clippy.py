"""cargo clippy --fix, in Rust projects whose checks run clippy."""

from collections.abc import Sequence

from bot.backends.fixers.base import Fix, Skip, Subject
from bot.backends.tree import TreeView
from bot.domain.values import Task

_SUBJECT = Subject(("clippy", "cargo-clippy"), (".rs",))


def plan(view: TreeView, task: Task) -> Sequence[Fix] | Skip:
    """Return the command; there is no repository in the tree, and no network in the sandbox."""
    if "Cargo.toml" not in view:
        return Skip("the repository does not use it")
    if not _SUBJECT.named(task):
        return Skip("nothing failing concerns it")
    arguments = ("clippy", "--fix", "--allow-no-vcs", "--allow-dirty", "--all-targets", "--offline")
    # 101: it mended what it could, and warnings that are errors are left.
    return [Fix("cargo clippy --fix", ("cargo",), arguments, ends=(0, 101))]
