"""A TOML file as plain values, and the line on which each key stands.

The parser does not tell where a key stood, so the lines are found by reading the text statement by
statement: a statement ends where what was gathered so far is TOML by itself.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import tomlkit
from tomlkit.exceptions import ParseError, TOMLKitError

from bot.domain.errors import ConfigError

KeyPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The values of a file; `name` is how errors call it."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def where(self, path: KeyPath) -> str:
        """Return `file:line` of a key, or of the nearest table around it."""
        for end in range(len(path), 0, -1):
            if (line := self.lines.get(path[:end])) is not None:
                return f"{self.name}:{line}"
        return self.name


def parse(text: str, name: str) -> Document:
    """Return the document, or raise `ConfigError` with the line of the first fault."""
    try:
        values = tomlkit.parse(text).unwrap()
    except ParseError as error:
        fault = str(error).rpartition(" at line ")[0]
        if "\\x00" in fault:  # tomlkit's sign for the end of the text
            fault = "the file ends within a value or a table's name"
        raise ConfigError(f"{name}:{error.line}: not valid TOML: {fault}") from error
    except TOMLKitError as error:
        raise ConfigError(f"{name}{_line_of_fault(text)}: not valid TOML: {error}") from error
    return Document(name, values, _lines(text))


def _line_of_fault(text: str) -> str:
    """Return `:line` for a fault, such as a key given twice, that tomlkit tells no line of."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        return f":{found[1]}" if found else ""
    return ""


def _lines(text: str) -> dict[KeyPath, int]:
    lines: dict[KeyPath, int] = {}
    entries: dict[KeyPath, int] = {}
    table: KeyPath = ()
    of: KeyPath
    gathered, start = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        gathered += line + "\n"
        try:
            paths = list(_paths(tomlkit.parse(gathered).unwrap()))
        except TOMLKitError:
            continue
        if gathered.lstrip().startswith("["):
            table = max(paths, key=len)
            if gathered.lstrip().startswith("[["):
                entries[table] = entries.get(table, -1) + 1
                table = (*table, str(entries[table]))
            paths, of = [table[:end] for end in range(1, len(table) + 1)], ()
        else:
            of = table
        for path in paths:
            lines.setdefault(of + path, start)
        gathered, start = "", number + 1
    return lines


def _paths(values: Mapping[str, Any]) -> Iterator[KeyPath]:
    for key, value in values.items():
        yield (key,)
        inner = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(inner, Mapping):
            yield from ((key, *path) for path in _paths(inner))
