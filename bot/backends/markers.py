"""Finds a backend's `usage_markers` in what it said (auto-coder's rule).

A text is searched without regard to case, for an agent in its own words alone: what its tools print
is the repository's. An object or a list is looked for in every JSON of the output, first the output
as a whole, then line by line: it fits when all that it holds is there.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec


def found(markers: Sequence[object], text: str, output: str | None = None) -> str | None:
    """Return the first marker that *text* holds, as people would write it, or None.

    JSON is looked for in *output*, which is *text* where it is left out.
    """
    folded = text.casefold()
    values: list[Any] | None = None
    for marker in markers:
        if isinstance(marker, str):
            if marker.strip() and marker.casefold() in folded:
                return marker
            marker = _structure(marker)  # noqa: PLW2901  # the same marker, read as JSON
        if not isinstance(marker, dict | list) or not marker:
            continue
        values = list(_documents(text if output is None else output)) if values is None else values
        if any(_holds(value, marker) for value in values):
            return msgspec.json.encode(marker).decode()
    return None


def _structure(text: str) -> Any:
    """Return the object or list that a marker's text is, None when it is plain text."""
    return _decoded(text) if text.lstrip()[:1] in {"{", "["} else None


def _documents(text: str) -> Iterator[Any]:
    for part in (text, *text.splitlines()):
        if part.strip()[:1] in {"{", "["} and (value := _decoded(part)) is not None:
            yield value


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode(errors="replace"))
    except (ValueError, RecursionError):
        return None


def _holds(value: Any, marker: Any) -> bool:
    """Tell whether *marker* is part of *value*: objects by key, lists by element."""
    if isinstance(marker, dict):
        return isinstance(value, dict) and all(
            key in value and _holds(value[key], part) for key, part in marker.items()
        )
    if isinstance(marker, list):
        return isinstance(value, list) and all(
            any(_holds(element, part) for element in value) for part in marker
        )
    return bool(type(value) is type(marker) and value == marker)
