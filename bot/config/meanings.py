"""What each key of `llm_config.toml` means, in the words of `docs/configuration.md`.

The tables of that page are the one place that says it; the page is shipped beside this module, and
lies in `docs` where Regreen runs from its sources. What a key may hold is read from its shape.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from bot.config import shapes
from bot.domain.errors import Broken
from bot.domain.values import Value

PAGE = "configuration.md"
DRAINS = "agent_drains"
# The sections that stand for many: how the page calls each of them.
FRAMEWORK, BACKEND, PRICE = "frameworks.X", "backends.X", "prices.X"
FALLBACK = "backend_for_failed_pr"
# Sections whose keys are free, or that have no table.
_FREE = {
    "agent_chains": "a chain: backends in the order of trying",
    "task_routing": "the backend for this kind of task, where the strategy is task_specific",
}
_ENDS = {"_s": "seconds", "_ms": "milliseconds", "_mb": "MB", "_usd": "USD", "_days": "days"}
_UNITS = {
    "health_check_timeout": "seconds",
    "hysteresis_time": "seconds",
    "monitoring_interval": "seconds",
    "response_time_threshold": "seconds",
    "timeout": "seconds",
    "usage_limit_retry_wait_seconds": "seconds",
    **dict.fromkeys(
        ("price_in", "price_out", "price_cached", "price_cache_write"), "USD per million tokens"
    ),
    **dict.fromkeys(("in", "out", "cache_read", "cache_write"), "USD per million tokens"),
}
_HEADING = re.compile(r"^### (?P<title>.*)$")
_NAME = re.compile(r"`\[+(?P<name>[\w.]+)\]+`")
_BOLD = re.compile(r"\*\*([^*`]+)\*\*")
_ASIDE = re.compile(r" ?\(\[(?:how|which)\]\([^)]*\)\)")  # says nothing without its link
_OPENING = re.compile(r" ?[^.]*:\Z")  # a sentence that only begins what follows on the page
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a key is for, and what holds without it; both in plain words."""

    text: str
    default: str = ""


@cache
def meanings() -> Mapping[tuple[str, str], Meaning]:
    """Return the meaning of each key by section and name, as the page writes them."""
    return dict(_rows(_page()))


def meaning(section: str, key: str) -> Meaning | None:
    """Return the meaning of a key; that of a key within a table is the table's."""
    found = meanings()
    name = key.partition(".")[0]
    own = found.get((section, key)) or found.get((section, name))
    if own is None and section == FALLBACK:
        own = found.get((BACKEND, name))
    if own is None and name in shapes.UNUSED_KEYS | shapes.WRITTEN_KEYS:
        return Meaning("accepted, because auto-coder's files hold it, and without effect")
    if own is None and section in _FREE:
        return Meaning(_FREE[section])
    return own


@cache
def sections() -> Mapping[str, str]:
    """Return what the page says of each section: its title, and its first words below it."""
    return dict(_titled(_page()))


def unit(key: str) -> str:
    """Return what a key's number counts, empty when it is no quantity."""
    return _UNITS.get(key) or next((one for end, one in _ENDS.items() if key.endswith(end)), "")


def allowed(shape: type[Value], key: str) -> str:
    """Say what a key of a section may hold; a key within a table, what the table's values may."""
    name, _, inner = key.partition(".")
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(shape)}
    kind = inspect.type_info(fields[name])
    if inner:
        kind = _plain(kind)
        kind = kind.value_type if isinstance(kind, inspect.DictType) else kind
    return _words(kind)


def _words(kind: inspect.Type) -> str:
    kind = _plain(kind)
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            whole = isinstance(kind, inspect.IntType)
            return f"{'a whole number' if whole else 'a number'}{_bounds(kind)}"
        case inspect.StrType():
            return "text"
        case inspect.LiteralType():
            return "one of " + ", ".join(str(one) for one in kind.values)
        case inspect.EnumType():
            return "one of " + ", ".join(str(one.value) for one in kind.cls)
        case inspect.VarTupleType():
            return f"a list, each {_words(kind.item_type)}"
        case inspect.DictType():
            return f"a table, each value {_words(kind.value_type)}"
        case _:
            return "any value"


def _plain(kind: inspect.Type) -> inspect.Type:
    """Return the type without its "or nothing"."""
    if isinstance(kind, inspect.Metadata):
        return _plain(kind.type)
    if isinstance(kind, inspect.UnionType):
        return _plain(next(one for one in kind.types if not isinstance(one, inspect.NoneType)))
    return kind


def _bounds(kind: inspect.IntType | inspect.FloatType) -> str:
    least = f" from {kind.ge:,.9g}" if kind.ge is not None else ""
    above = f" above {kind.gt:,.9g}" if kind.gt is not None else ""
    most = f" to {kind.le:,.9g}" if kind.le is not None and kind.le < shapes.MOST else ""
    return least + above + most


def _page() -> str:
    here = Path(__file__).parent
    for place in (here / PAGE, here.parents[1] / "docs" / PAGE):
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise Broken(f"{PAGE}, which says what each key means, is missing: install Regreen again")


def _rows(page: str) -> Iterator[tuple[tuple[str, str], Meaning]]:
    """Yield each row of the tables below a heading that names a section."""
    section, columns = "", list[str]()
    for line in page.splitlines():
        if heading := _HEADING.match(line):
            named = [found["name"] for found in _NAME.finditer(heading["title"])]
            section = BACKEND if BACKEND in named else named[-1] if named else ""
        if not section or not line.startswith("|"):
            columns = []
        elif not columns:
            columns = _cells(line)
        elif not set(line) <= set("|- "):
            yield from _row(section, dict(zip(columns, _cells(line), strict=False)))


def _titled(page: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^#+ ", page, flags=re.MULTILINE):
        title, *paragraphs = part.split("\n\n")
        prose = next((one for one in paragraphs if one[:1].strip() not in {"", "|"}), "")
        told = (title.partition("]`: ")[2], _OPENING.sub("", " ".join(prose.split())))
        for named in _NAME.finditer(title):
            yield named["name"], _spoken(". ".join(one for one in told if one))


def _row(section: str, row: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Meaning]]:
    place = DRAINS if "drain" in row else section
    keys = row.get("key") or row.get("drain") or ""
    text = row.get("meaning") or row.get("what its chain does") or ""
    found = Meaning(_spoken(text), _spoken(row.get("default", "")))
    for key in re.findall(r"`([^`]+)`", keys):
        yield (place, key.partition(".")[0]), found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def _spoken(text: str) -> str:
    """Return text of the page without its marks."""
    text = _LINK.sub(r"\1", _ASIDE.sub("", text))
    return _BOLD.sub(r"\1", text).replace("`", "").strip()
