"""Which setting wins, and who set it.

Settings are kept by dotted key as everything that was said for them, weakest first: a default, the
environment's table, the file, a variable; later tenants and runs. Laying one over another appends,
so the order in which layers are joined makes no difference, and the last word is the winner.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Said:
    """A value, and who said it."""

    value: Any
    by: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that was said for each dotted key, weakest first."""

    said: Mapping[str, tuple[Said, ...]] = field(default_factory=dict)

    def __or__(self, over: "Settings") -> "Settings":
        """Lay *over* over these settings."""
        keys = dict.fromkeys((*self.said, *over.said))
        return Settings({key: (*self.said.get(key, ()), *over.said.get(key, ())) for key in keys})

    def __contains__(self, key: str) -> bool:
        return key in self.said

    def __iter__(self) -> Iterator[str]:
        return iter(self.said)

    def value(self, key: str, default: Any = None) -> Any:
        """Return the value that wins."""
        return self.said[key][-1].value if key in self.said else default

    def origin(self, key: str) -> str:
        """Return who said the value that wins."""
        return self.said[key][-1].by

    def explain(self, key: str) -> str:
        """Say which value wins, who set it, and what it won over."""
        *lost, won = self.said[key]
        over = ", ".join(f"{one.value!r} ({one.by})" for one in reversed(lost))
        return f"{key} is {won.value!r}, set by {won.by}" + (f", over {over}" if over else "")

    def under(self, section: str) -> dict[str, Any]:
        """Return the winning values of a section as the nested table that they came from."""
        nested: dict[str, Any] = {}
        for key in self.said:
            head, *rest = key.split(".")
            if head != section:
                continue
            table = nested
            for part in rest[:-1]:
                table = table.setdefault(part, {})
            table[rest[-1]] = self.value(key)
        return nested


def layer(values: Mapping[str, Any], by: str | Mapping[str, str]) -> Settings:
    """Return one layer: what one source says, or each key its own."""
    return Settings(
        {
            key: (Said(value, by if isinstance(by, str) else by[key]),)
            for key, value in values.items()
        }
    )


def flat(prefix: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a nested table by dotted keys."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        path = f"{prefix}.{key}"
        values |= flat(path, value) if isinstance(value, Mapping) else {path: value}
    return values
