"""cargo fmt, in Rust projects whose checks run it."""

from collections.abc import Sequence

from bot.backends.fixers.base import Fix, Skip, Subject
from bot.backends.tree import TreeView
from bot.domain.values import Task

_SUBJECT = Subject(("cargo fmt", "cargo-fmt", "rustfmt"), (".rs",))


def plan(view: TreeView, task: Task) -> Sequence[Fix] | Skip:
    """Return the command, over all packages: rustfmt alone would not know the edition."""
    if "Cargo.toml" not in view:
        return Skip("the repository does not use it")
    if not _SUBJECT.named(task):
        return Skip("nothing failing concerns it")
    return [Fix("cargo fmt", ("cargo",), ("fmt", "--all"))]
