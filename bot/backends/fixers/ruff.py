"""ruff: `check --fix`, and `format` where the checks run `ruff format`.

The options of the failing command that choose rules are kept, so that what is mended is what the
check looks for.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from bot.backends.fixers.base import Fix, Skip, Subject, runs
from bot.backends.tree import TreeView
from bot.domain.values import Task

_SUBJECT = Subject(("ruff", "ruff-check", "ruff-format"), (".py", ".pyi", ".ipynb"))
_SETTINGS = ("ruff.toml", ".ruff.toml")
_OPTIONS = frozenset(
    {"--select", "--extend-select", "--ignore", "--extend-ignore", "--line-length", "--config"}
    | {"--target-version", "--extend-exclude", "--exclude"}
)
_SWITCHES = frozenset({"--preview", "--isolated"})
# Ours first: it is installed with us. A sandbox that does not show it may have another.
_PROGRAMS = (str(Path(sys.executable).with_name("ruff")), "ruff")


def plan(view: TreeView, task: Task) -> Sequence[Fix] | Skip:
    """Return ruff's commands for the task."""
    targets = _SUBJECT.targets(view, task, used=_used(view))
    if isinstance(targets, Skip):
        return targets
    paths = ("--force-exclude", "--", *targets) if targets else ("--", ".")
    formats, checks = runs(task, "ruff", "format"), runs(task, "ruff", "check")
    fixes = []
    if checks or not formats:
        chosen = _kept(checks[0]) if checks else ()
        arguments = ("check", "--fix", "--no-cache", "--quiet", *chosen, *paths)
        fixes.append(Fix("ruff check --fix", _PROGRAMS, arguments, ends=(0, 1)))
    if formats:
        arguments = ("format", "--no-cache", "--quiet", *_kept(formats[0]), *paths)
        fixes.append(Fix("ruff format", _PROGRAMS, arguments))
    return fixes


def _used(view: TreeView) -> bool:
    if any(name in view for name in _SETTINGS):
        return True
    return bool(re.search(r"^\s*\[tool\.ruff\b", view.text("pyproject.toml") or "", re.MULTILINE))


def _kept(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the options of a command that decide what is found; paths and output are ours."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        name, _, value = word.partition("=")
        if word in _SWITCHES or (name in _OPTIONS and value):
            kept.append(word)
        elif word in _OPTIONS and (value := next(words, "")):
            kept += [word, value]
    return tuple(kept)
