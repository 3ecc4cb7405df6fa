"""Patterns that stay linear on any input: RE2, over UTF-8 bytes, one line at a time.

A `PatternSet` answers in one pass which of many patterns occur in a text, so the cost of the table
does not grow with its rows. RE2 is used through this module alone; its package carries no types.
"""

from collections.abc import Sequence
from typing import Any

import re2  # type: ignore[import-untyped]  # the package has no stubs


def options(max_mem: int) -> Any:
    """Return RE2's options with a cap on the memory of its automaton in bytes."""
    chosen = re2.Options()
    chosen.max_mem = max_mem
    chosen.log_errors = False
    return chosen


class BadPattern(ValueError):
    """A pattern that RE2 refuses."""


class Pattern:
    """One compiled pattern."""

    __slots__ = ("_compiled",)

    def __init__(self, pattern: str) -> None:
        try:
            self._compiled = re2.compile(pattern, options(16 << 20))
        except re2.error as error:
            raise BadPattern(f"{pattern!r}: {error}") from error

    def groups(self, line: bytes) -> tuple[str, ...] | None:
        """Return the groups of the first match in *line* as text, or None without a match."""
        found = self._compiled.search(line)
        if found is None:
            return None
        return tuple((group or b"").decode("utf-8", "replace") for group in found.groups())

    def matches(self, line: bytes) -> bool:
        """Return whether the pattern occurs in *line*."""
        return self._compiled.search(line) is not None


class PatternSet:
    """Many patterns, matched in one pass."""

    __slots__ = ("_set", "size")

    def __init__(self, patterns: Sequence[str]) -> None:
        self._set = re2.Set.SearchSet(options(256 << 20))
        self.size = len(patterns)
        for pattern in patterns:
            try:
                self._set.Add("(?m)" + pattern)
            except re2.error as error:
                raise BadPattern(f"{pattern!r}: {error}") from error
        self._set.Compile()

    def found(self, text: bytes) -> Sequence[int]:
        """Return the indices of the patterns that occur in *text*."""
        return self._set.Match(text) or ()
