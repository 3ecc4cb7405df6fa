"""`[[failure_patterns]]`: the project's own evidence, refused here when RE2 would refuse it later.

RE2 matches in linear time, so no pattern of a user can stop the server.
"""

from typing import Annotated, Any

import re2  # type: ignore[import-untyped]  # the package has no stubs
from msgspec import Meta

from bot.config import shapes
from bot.config.document import Document
from bot.domain.errors import ConfigError
from bot.domain.values import FailurePattern, FailureType, Value

SECTION = "failure_patterns"
MAX_PATTERNS = 200
MAX_LENGTH = 1000
MEMORY = 8 << 20  # bytes for the automaton of one pattern


class PatternKeys(Value, frozen=True):
    """One `[[failure_patterns]]`."""

    type: FailureType
    pattern: Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH)]
    confidence: Annotated[float, Meta(gt=0, lt=1)] = 0.9
    tool: str = ""
    name: str = ""


def read(file: Document, warnings: list[str]) -> tuple[FailurePattern, ...]:
    """Return the patterns of *file*, or raise `ConfigError` naming file, line and position."""
    entries: Any = file.values.get(SECTION, [])
    if not isinstance(entries, list) or len(entries) > MAX_PATTERNS:
        where = file.where((SECTION,))
        raise ConfigError(f"{where}: write [[{SECTION}]] for each pattern, at most {MAX_PATTERNS}")
    found: list[FailurePattern] = []
    for number, values in enumerate(entries):
        path = (SECTION, str(number))
        one = shapes.fit(file, path, values, PatternKeys)
        warnings += shapes.unknown(file, path, values, shapes.keys_of(PatternKeys))
        if one.type is FailureType.UNKNOWN:
            raise ConfigError(f"{file.where((*path, 'type'))}: a pattern cannot speak for unknown")
        _check(file.where((*path, "pattern")), one.pattern)
        name = one.name or f"custom-{number + 1}"
        if name in {other.name for other in found}:
            raise ConfigError(
                f'{file.where((*path, "name"))}: "{name}" is the name of two patterns'
            )
        found.append(FailurePattern(one.type, one.pattern, one.confidence, one.tool, name))
    return tuple(found)


def _check(where: str, pattern: str) -> None:
    """Raise `ConfigError` with the position of the fault when RE2 refuses *pattern*."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY
    try:
        compiled = re2.compile(f"(?m){pattern}", options)
    except re2.error as error:
        said = error.args[0].decode("utf-8", "replace") if error.args else "not valid"
        fault, _, part = said.rpartition(": ")
        at = pattern.find(part.removeprefix("(?m)")) if part else -1
        position = len(pattern) if at < 0 or part.removeprefix("(?m)") == pattern else at
        raise ConfigError(
            f"{where}: {SECTION}.pattern is not a valid RE2 pattern at character {position + 1}:"
            f" {fault or said}"
        ) from error
    if compiled.search(b"") is not None:
        raise ConfigError(f"{where}: {SECTION}.pattern matches every line: it says nothing")
