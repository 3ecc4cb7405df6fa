"""The shape of a fixer: from a tree and a task to the programs that mend it, or why there are none.

A fixer is asked only about failures of linting, or about steps that name its tool. It goes to the
files that the log names; to the whole tree only when a step runs the tool and no file is named.
"""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bot.backends.tree import TreeView
from bot.domain.values import FailingStep, FailureType, Task

_MAY_LINT = frozenset({FailureType.LINT, FailureType.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Fix:
    """One program to run: the first of `programs` that is there, with `arguments`.

    `ends` are the exit codes that mean it did its work, whether or not something is left to mend.
    """

    name: str
    programs: tuple[str, ...]
    arguments: tuple[str, ...]
    ends: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Skip:
    """Why a fixer does not apply."""

    reason: str


class Fixer(Protocol):
    """The surface of a fixer's module; pure but for reading the tree."""

    def plan(self, view: TreeView, task: Task) -> Sequence[Fix] | Skip: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """What a tool is about: the words that name it in a log or a command, and its files."""

    names: tuple[str, ...]
    suffixes: tuple[str, ...]

    def named(self, task: Task) -> bool:
        """Tell whether a failing step was reported by the tool, or runs it."""
        return any(self._names(step) for step in task.steps)

    def files(self, view: TreeView, task: Task) -> tuple[str, ...]:
        """Return the tool's files that the logs of the steps that concern it locate."""
        found = (
            view.find(place.path)
            for step in task.steps
            if self._names(step) or step.signal.type is FailureType.LINT
            for place in step.signal.locations
        )
        kept = (path for path in found if path is not None and path.endswith(self.suffixes))
        return tuple(dict.fromkeys(kept))

    def targets(self, view: TreeView, task: Task, *, used: bool) -> tuple[str, ...] | Skip:
        """Return the files to mend, `()` for the whole tree, or why the tool does not apply.

        *used* says whether the repository has settings for the tool.
        """
        named = self.named(task)
        if not used and not named:
            return Skip("the repository does not use it")
        files = self.files(view, task)
        if files or named:
            return files
        lint = any(step.signal.type is FailureType.LINT for step in task.steps)
        return Skip("the log names none of its files" if lint else "nothing failing concerns it")

    def _names(self, step: FailingStep) -> bool:
        if step.signal.tool.casefold() in self.names:
            return True
        if step.signal.type not in _MAY_LINT:
            return False  # a step may lint first and fail at its tests
        words = "|".join(re.escape(name) for name in self.names)
        pattern = re.compile(rf"(?<![\w-])(?:{words})(?![\w-])")
        return any(pattern.search(line) for line in step.run_lines)


def runs(task: Task, *words: str) -> tuple[tuple[str, ...], ...]:
    """Return the arguments after *words* of each command that the checks run with them."""
    found = []
    lines = [line for step in task.steps for line in step.run_lines]
    for line in _commands([*lines, *task.commands]):
        for at in range(len(line) - len(words) + 1):
            if tuple(line[at : at + len(words)]) == words:
                found.append(tuple(line[at + len(words) :]))
                break
    return tuple(found)


def _commands(texts: Iterable[str]) -> Iterable[list[str]]:
    """Yield the words of each simple command in *texts*, as a shell would part them."""
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
            lexer.whitespace_split = True
            try:
                words = list(lexer)
            except ValueError:  # an open quote: not for us to understand
                continue
            yield from _parted(words)


def _parted(words: Sequence[str]) -> Iterable[list[str]]:
    command: list[str] = []
    for word in words:
        if word and not word.strip(";&|"):
            yield command
            command = []
        else:
            command.append(word)
    yield command
