"""Which tables of `llm_config.toml` are backends, and which are unknown.

A backend stands under `[backends.X]`, or as `[X]` when it holds a backend's key. A name with dots
that was not quoted, `[grok-4.1-fast]`, arrives as nested tables and is put together again.
"""

from collections.abc import Mapping
from typing import Any

from bot.config import patterns, prices, shapes
from bot.config.document import Document, KeyPath

FALLBACK_SECTIONS = ("backend_with_high_score", "backend_for_failed_pr")  # the newer name first
FIXED_SECTIONS = frozenset(
    {
        "backend",
        "backends",
        patterns.SECTION,
        prices.SECTION,
        *shapes.DRAIN_SECTIONS,
        *FALLBACK_SECTIONS,
        *shapes.OWN_SECTIONS,
        *shapes.NOEDIT_SECTIONS,
        *shapes.ROUTING_TABLES,
        *shapes.UNUSED_SECTIONS,
    }
)
# "environment" or "attempts" alone make no table a backend.
_BACKEND_KEYS = (
    frozenset(shapes.keys_of(shapes.BackendKeys))
    - shapes.WRITTEN_KEYS
    - {*("attempts", "env_id", "environment", "environment_id")}
)
_TABLE_KEYS = frozenset({"extra_args"})  # tables that belong to a backend, not to its name

Found = dict[str, KeyPath]


def find(file: Document, warnings: list[str]) -> Found:
    """Return where each backend stands, by name."""
    found: Found = {}
    for name, table in shapes.table(file, ("backends",)).items():
        _gather(file, ("backends", name), table, found, warnings)
    for name, table in file.values.items():
        if name in shapes.UNUSED_SECTIONS:
            warnings.append(f"{file.where((name,))}: [{name}] has no effect yet")
        written = name in shapes.WRITTEN_NAMES and not isinstance(table, Mapping)
        if name not in FIXED_SECTIONS and not written:
            _gather(file, (name,), table, found, warnings)
    for framework in shapes.table(file, ("frameworks",)).values():
        named = framework.get("name") if isinstance(framework, Mapping) else None
        if isinstance(named, str):  # an agent needs no section of its own
            found.setdefault(named, ("backends", named))
    return found


def keys_at(file: Document, path: KeyPath) -> dict[str, Any]:
    """Return the own keys of the section at *path*, without the tables of other sections in it."""
    table: Mapping[str, Any] = file.values
    for key in path:
        table = table.get(key, {})
    return {key: one for key, one in table.items() if not _is_section(key, one)}


def _is_section(key: str, value: Any) -> bool:
    return isinstance(value, Mapping) and key not in _TABLE_KEYS


def _gather(file: Document, path: KeyPath, table: Any, found: Found, warnings: list[str]) -> None:
    """Add the backend at *path*, if it is one, and those in the tables within it."""
    listed = path[0] == "backends"
    parts = path[1:] if listed else path
    if not isinstance(table, Mapping):
        if listed:
            shapes.table(file, path)
        warnings += shapes.unknown(file, path[:-1], path[-1:], FIXED_SECTIONS)
        return
    keys = keys_at(file, path)
    known = bool(_BACKEND_KEYS & keys.keys())
    if known or (listed and (not table or (keys and len(parts) == 1))):
        name = ".".join(parts)
        if name in found:
            warnings.append(f"{file.where(path)}: [{name}] is ignored beside [backends.{name}]")
        found.setdefault(name, path)
    elif keys or not table:
        warnings += shapes.unknown(file, path[:-1], path[-1:], FIXED_SECTIONS)
    for key, one in table.items():
        if key not in keys:
            _gather(file, (*path, key), one, found, warnings)
