"""eslint --fix, where the repository uses eslint."""

from collections.abc import Sequence

from bot.backends.fixers import node
from bot.backends.fixers.base import Fix, Skip, Subject
from bot.backends.tree import TreeView
from bot.domain.values import Task

_SUBJECT = Subject(("eslint",), (".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".vue"))


def plan(view: TreeView, task: Task) -> Sequence[Fix] | Skip:
    """Return eslint's command for the task."""
    used = node.configured(view, ".eslintrc", "eslint.config.") or node.depends(view, "eslint")
    targets = _SUBJECT.targets(view, task, used=used)
    if isinstance(targets, Skip):
        return targets
    arguments = ("--fix", "--", *(targets or (".",)))
    return [Fix("eslint --fix", node.programs("eslint"), arguments, ends=(0, 1))]
