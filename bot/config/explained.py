"""What there is to say of one setting: its value, who set it, what it means, what else sets it.

A key is that of the file, such as `retry.cap_s` or `backends.qwen.timeout`; a name that several
keys begin with stands for all of them; a variable of the environment for the key that it sets.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from bot.config import backends, build, meanings, prices, routing, sections, shapes
from bot.config.document import Document
from bot.config.layers import Said, Settings
from bot.config.schema import Configuration, Drain
from bot.domain.values import FailureType, Secret, Value

_INHERITED = re.compile(r"(?P<by>.+) \((?P<from>.+)\.[^.]+\)\Z")
_SECRET = re.compile(r"api_?key|token|secret|password", re.IGNORECASE)
_LOGIN = re.compile(r"//[^/@\s]+@")  # the name and password of an address
_PATTERN_KEYS = ("type", "pattern", "confidence", "tool", "name")


@dataclass(frozen=True, slots=True)
class Explained:
    """One setting. `origin` is empty when nobody set it; `over` is what it won over, newest first.

    `inherited` is the backend that it was taken over from. `unit` is what a number counts,
    `allowed` what may stand there, `variables` what else sets it, `notes` warnings about it.
    """

    key: str
    value: Any = None
    origin: str = ""
    inherited: str = ""
    over: tuple[tuple[Any, str], ...] = ()
    meaning: str = ""
    unit: str = ""
    allowed: str = ""
    default: str = ""
    variables: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key belongs: its section as the page calls it, its name there, and its shape."""

    section: str
    name: str
    shape: type[Value] | None = None


class Book:
    """Every key that there is, over one configuration."""

    def __init__(self, file: Document, found: Configuration, settings: Settings) -> None:
        self._file = file
        self._found = found
        self._settings = settings
        self._fallback = next(
            (one for one in sections.FALLBACK_SECTIONS if one in file.values), meanings.FALLBACK
        )
        self._places = dict(self._known())

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that is known, those that nobody set as well."""
        return tuple(self._places)

    def look_up(self, wanted: str) -> tuple[Explained, ...]:
        """Return what there is to say of the keys that *wanted* names; none when it names none."""
        return tuple(self._explained(key) for key in self._named(wanted)[1])

    def about(self, wanted: str) -> str:
        """Return what the section that *wanted* names is for; empty where it names none."""
        label, keys = self._named(wanted)
        places = [self._places[key] for key in keys]
        whole = all(key == f"{label}.{at.name}" for key, at in zip(keys, places, strict=True))
        return meanings.sections().get(places[0].section, "") if places and whole else ""

    def _named(self, wanted: str) -> tuple[str, list[str]]:
        """Return the full name of what is wanted, and its keys."""
        wanted = build.VARIABLES.get(wanted, wanted)
        if wanted == backends.DEFAULT_VARIABLE:
            wanted = "backend.default"
        for name in (wanted, f"backends.{wanted}"):  # `[qwen]` may stand for `[backends.qwen]`
            if under := [key for key in self._places if key.startswith(f"{name}.")]:
                return name, under
            if name in self._places:
                return name, [name]
        return wanted, []

    def _explained(self, key: str) -> Explained:
        place = self._places[key]
        told = meanings.meaning(place.section, place.name) or meanings.Meaning("")
        *lost, won = self._said(key) or [Said(None, "")]
        found = _INHERITED.match(won.by)
        return Explained(
            key,
            value=shown(key, won.value),
            origin=found["by"] if found else won.by,
            inherited=found["from"] if found else "",
            over=tuple((shown(key, one.value), one.by) for one in reversed(lost)),
            meaning=told.text,
            unit=meanings.unit(place.name),
            allowed=meanings.allowed(place.shape, place.name) if place.shape else "",
            default=told.default,
            variables=tuple(self._variables(key, place)),
            notes=tuple(one for one in self._found.warnings if _names(one, key)),
        )

    def _said(self, key: str) -> list[Said]:
        """Return all that was said for a key; for what is kept elsewhere, what the file says."""
        if key in self._settings:
            return list(self._settings.said[key])
        if key.startswith(("backends.", f"{prices.SECTION}.")):
            return []
        section, *path = key.split(".", 2)
        table = self._file.values.get(section)
        if isinstance(table, list):
            value: Any = [one[path[0]] for one in table if path[0] in one] or None
        else:
            value = table
            for part in path:
                value = value.get(part) if isinstance(value, Mapping) else None
        return [] if value is None else [Said(value, self._file.where((section, *path)))]

    def _known(self) -> Iterator[tuple[str, Place]]:
        for table, kind in product(("retries", "multipliers"), FailureType):
            yield f"retry.{table}.{kind}", Place("retry", f"{table}.{kind}", shapes.RetryKeys)
        for key in self._settings:  # chains, and what stands in tables of free names
            section, _, name = key.partition(".")
            if not key.startswith("backends.") and section != self._fallback:
                yield key, Place(section, name, shapes.OWN_SECTIONS.get(section))
        for section, shape in shapes.OWN_SECTIONS.items():
            yield from _of(section, section, shape)
        yield from _of("backend", "backend", shapes.OrderKeys)
        for label, section, shape in self._tables():
            yield from _of(label, section, shape)
        yield from _of(self._fallback, meanings.FALLBACK, shapes.FallbackKeys)
        yield from _of("agent_chain", "agent_chain", shapes.AgentChainKeys)
        for drain in Drain:
            yield f"{meanings.DRAINS}.{drain}", Place(meanings.DRAINS, drain)
        for kind in (*routing.KINDS, *FailureType):
            yield f"task_routing.{kind}", Place("task_routing", kind)
        for name in _PATTERN_KEYS:
            yield f"failure_patterns.{name}", Place("failure_patterns", name)

    def _tables(self) -> Iterator[tuple[str, str, type[Value]]]:
        """Yield each table of a free name, as the file and as the page calls it, with its shape."""
        for name in self._found.backends:
            yield f"backends.{name}", meanings.BACKEND, shapes.BackendKeys
        for name in self._labels("frameworks"):
            yield f"frameworks.{name}", meanings.FRAMEWORK, shapes.FrameworkKeys
        for one in self._found.prices:
            yield f"{prices.SECTION}.{one.pattern}", meanings.PRICE, prices.PriceKeys

    def _labels(self, section: str) -> list[str]:
        table = self._file.values.get(section)
        return list(table) if isinstance(table, Mapping) else []

    def _variables(self, key: str, place: Place) -> Iterator[str]:
        yield from (one for one, sets in build.VARIABLES.items() if sets == key)
        if any(key in table for table in build.ENVIRONMENTS.values()):
            yield build.ENVIRONMENT_VARIABLE
        if key == "backend.default":
            yield backends.DEFAULT_VARIABLE
        if place.section in {meanings.BACKEND, meanings.FALLBACK}:
            label = key.removesuffix(f".{place.name}")
            name = label.removeprefix("backends.")
            if label == self._fallback:
                name = self._settings.value(f"{label}.name") or label
            if place.name in backends.OWN_VARIABLES:
                yield f"AUTO_CODER_{variable(name)}_{place.name.upper()}"
            if place.name in backends.SHARED_VARIABLES:
                yield f"AUTO_CODER_{place.name.upper()}"


def variable(name: str) -> str:
    """Return a backend's name as it stands in the names of its variables."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def shown(key: str, value: Any) -> Any:
    """Return a value for people: no secret, and no password in an address."""
    if value and (isinstance(value, Secret) or _SECRET.search(key.rpartition(".")[2])):
        return "***"
    if isinstance(value, str):
        return _LOGIN.sub("//***@", value)
    if isinstance(value, list | tuple):
        return [shown(key, one) for one in value]
    return value


def _of(label: str, section: str, shape: type[Value]) -> Iterator[tuple[str, Place]]:
    """Yield the keys of a section that is called *label* in the file."""
    for name in shapes.keys_of(shape):
        yield f"{label}.{name}", Place(section, name, shape)


def _names(warning: str, key: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.])", warning) is not None
