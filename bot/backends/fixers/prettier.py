"""prettier --write, where a failing step runs prettier."""

from collections.abc import Sequence

from bot.backends.fixers import node
from bot.backends.fixers.base import Fix, Skip, Subject
from bot.backends.tree import TreeView
from bot.domain.values import Task

_SCRIPTS = (".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".vue")
_TEXTS = (".css", ".scss", ".less", ".html", ".json", ".md", ".yaml", ".yml")
_SUBJECT = Subject(("prettier",), _SCRIPTS + _TEXTS)


def plan(view: TreeView, task: Task) -> Sequence[Fix] | Skip:
    """Return prettier's command; another linter's complaint is no reason to lay out a file."""
    if not _SUBJECT.named(task):
        return Skip("nothing failing concerns it")
    targets = _SUBJECT.files(view, task) or (".",)
    arguments = ("--write", "--ignore-unknown", "--", *targets)
    return [Fix("prettier --write", node.programs("prettier"), arguments)]
