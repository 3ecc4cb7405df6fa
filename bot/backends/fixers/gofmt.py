"""gofmt -w, where a failing step runs gofmt or a linter that includes it."""

from collections.abc import Sequence

from bot.backends.fixers.base import Fix, Skip, Subject
from bot.backends.tree import TreeView
from bot.domain.values import Task

_SUBJECT = Subject(("gofmt", "gofumpt", "goimports", "golangci-lint"), (".go",))


def plan(view: TreeView, task: Task) -> Sequence[Fix] | Skip:
    """Return gofmt's command for the task; it takes no `--`, so names begin with `./`."""
    if not _SUBJECT.named(task):
        return Skip("nothing failing concerns it")
    paths = [f"./{path}" for path in _SUBJECT.files(view, task)] or ["."]
    return [Fix("gofmt -w", ("gofmt",), ("-w", *paths))]
