"""Patterns that stay linear on any input: RE2, over UTF-8 bytes, one line at a time.

A `Scanner` answers which of many patterns occur in a text without running them all: RE2 knows
which words each pattern requires, and one automaton of those words goes over the text; only the
patterns whose words occurred are run. Patterns that require common words only are one automaton by
themselves. RE2's package carries no types.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import re2  # type: ignore[import-untyped]  # the package has no stubs

ONE = 8 << 20  # bytes of memory for the automaton of one pattern
MANY = 32 << 20
# Words that failed logs are full of: patterns that require no others are cheaper run together.
COMMON = b" Error: error: ERROR: warning Failed FAILED failed exception e: ]: "


def options(max_mem: int) -> Any:
    """Return RE2's options with a cap on the memory of its automaton in bytes."""
    chosen = re2.Options()
    chosen.max_mem = max_mem
    chosen.log_errors = False
    chosen.never_nl = True  # a pattern speaks for one line
    return chosen


class BadPattern(ValueError):
    """A pattern that RE2 refuses."""


class Pattern:
    """One compiled pattern (or one that is *compiled* already); `^` and `$` are ends of a line."""

    __slots__ = ("_compiled",)

    def __init__(self, pattern: str, compiled: Any = None) -> None:
        try:
            self._compiled = compiled or re2.compile("(?m)" + pattern, options(ONE))
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

    def lines(self, text: bytes) -> Iterator[int]:
        """Yield the indices of the lines of *text* in which the pattern occurs."""
        at = line = 0
        while found := self._compiled.search(text, at):
            start = found.start()
            line += text.count(b"\n", at, start)
            yield line
            at = text.find(b"\n", start) + 1
            if not at:
                return
            line += 1

    def without(self, line: bytes) -> bytes:
        """Return *line* without what the pattern matches."""
        return bytes(self._compiled.sub(b"", line))


class PatternSet:
    """A few patterns, matched in one pass."""

    __slots__ = ("_set", "size")

    def __init__(self, patterns: Sequence[str]) -> None:
        self._set = re2.Set.SearchSet(options(MANY))
        self.size = len(patterns)
        for pattern in patterns:
            try:
                self._set.Add("(?m)" + pattern)
            except re2.error as error:
                raise BadPattern(f"{pattern!r}: {error}") from error
        if patterns:
            self._set.Compile()

    def found(self, text: bytes) -> Sequence[int]:
        """Return the indices of the patterns that occur in *text*."""
        return (self._set.Match(text) or ()) if self.size else ()


class Scanner:
    """Many patterns, found in long texts by the words that they require."""

    __slots__ = ("_bare", "_bare_rows", "_filter", "_filtered_rows", "_patterns")

    def __init__(self, patterns: Sequence[str]) -> None:
        probe = _filter(patterns)
        bare = set(probe.Match(COMMON, True) or ())  # noqa: FBT003 (RE2's own signature)
        self._bare_rows = sorted(bare)
        self._filtered_rows = [row for row in range(len(patterns)) if row not in bare]
        self._bare = PatternSet([patterns[row] for row in self._bare_rows])
        self._patterns = {row: Pattern(patterns[row]) for row in self._bare_rows}
        self._filter = _filter([patterns[row] for row in self._filtered_rows])
        for at, row in enumerate(self._filtered_rows):
            self._patterns[row] = Pattern(patterns[row], self._filter.re(at))

    def found(self, text: bytes) -> list[tuple[int, Pattern]]:
        """Return the patterns that occur in *text* and their indices, in order."""
        rows = [self._filtered_rows[at] for at in self._filter.Match(text) or ()]
        rows += [self._bare_rows[at] for at in self._bare.found(text)]
        return [(row, self._patterns[row]) for row in sorted(rows)]


def _filter(patterns: Sequence[str]) -> Any:
    made = re2.Filter()
    for pattern in patterns:
        try:
            made.Add("(?m)" + pattern, options(ONE))
        except re2.error as error:
            raise BadPattern(f"{pattern!r}: {error}") from error
    made.Compile()
    return made
