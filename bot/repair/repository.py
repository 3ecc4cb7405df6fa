"""What a repository says of its own proof: `.github/regreen.toml`, else `autocoder.yaml`.

Both come from the base branch, so that a change cannot choose its own judge. A file that cannot be
understood stops everything, for a gate that guesses is none: each error names file, line and key.
"""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from bot.config.schema import ReviewMode
from bot.domain.errors import ConfigError
from bot.domain.values import Command, Value

REGREEN = ".github/regreen.toml"
AUTOCODER = "autocoder.yaml"
MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_TIMEOUT_S = 6 * 3600.0
ORDER = ("setup", "test", "lint", "typecheck", "format", "build", "acceptance")
KEYS = frozenset({"command", "run", "timeout", "allow_fail"})
# What autocoder's files hold besides; none of it is for us.
FOREIGN = frozenset({"worker", "initializer", "version"})
REVIEW_KEYS = frozenset({"enabled", "mode"})
FOREIGN_REVIEW_KEYS = frozenset(
    "type agents engines consensus timeout command codex_model codex_reasoning_effort "  # noqa: SIM905
    "gemini_model claude_model".split()
)
# The Python that makes an environment, and the one in it; the tree's root is the folder.
PLACEHOLDERS: Mapping[str, str] = {"{PY}": "python3", "{VENV_PY}": ".venv/bin/python"}

PRESETS: Mapping[str, Mapping[str, str]] = {
    "python": {"test": "python -m pytest -q", "lint": "ruff check ."},
    "python-uv": {
        "setup": "uv sync --frozen",
        "test": "uv run pytest -q",
        "lint": "uv run ruff check .",
    },
    "node-npm": {
        "setup": "npm ci",
        "test": "npm test",
        "lint": "npm run lint --if-present",
        "typecheck": "npm run typecheck --if-present",
        "build": "npm run build --if-present",
    },
    "go": {"test": "go test ./...", "lint": "go vet ./...", "build": "go build ./..."},
    "rust": {
        "test": "cargo test",
        "lint": "cargo clippy --all-targets -- -D warnings",
        "format": "cargo fmt --check",
        "build": "cargo build",
    },
}


class Asked(Value, frozen=True):
    """What the repository asks for; `commands` is None when it says nothing about them."""

    commands: tuple[Command, ...] | None = None
    review: ReviewMode = ReviewMode.OFF


@dataclass(frozen=True, slots=True)
class Own:
    """A file that was read: its values, the line of each dotted key, what it may hold besides."""

    file: str
    values: dict[str, Any]
    lines: Mapping[str, int]
    foreign: Collection[str] = ()
    foreign_review: Collection[str] = ()

    def wrong(self, key: str, message: str) -> ConfigError:
        """Return an error that names file, line and key; within a value it is the value's line."""
        place = key
        while place and place not in self.lines:
            place = place.rpartition(".")[0]
        return ConfigError(f"{self.file}: line {self.lines.get(place, 1)}: {key} {message}")

    def table(self, key: str, value: Any) -> dict[str, Any]:
        """Return a value that must be a table with names."""
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise self.wrong(key, "must be a table of names")
        return value

    def only(self, key: str, table: Mapping[str, Any], known: Collection[str]) -> None:
        """Refuse a name that is not known: a word that is misspelt would have no effect."""
        unknown = next((name for name in table if name not in known), None)
        if unknown is not None:
            whole = f"{key}.{unknown}" if key else unknown
            raise self.wrong(whole, f"is unknown; known are {', '.join(sorted(known))}")


def asked(repository_config: str, manifests: Mapping[str, str]) -> Asked:
    """Return what the repository asks for, or raise ConfigError naming file, line and key.

    Where `.github/regreen.toml` names commands, `autocoder.yaml` is not looked at.
    """
    said = Asked()
    if repository_config.strip():
        said = _asked(_toml(repository_config))
    text = manifests.get(AUTOCODER, "")
    if said.commands is not None or not text.strip():
        return said
    other = _asked(_yaml(text))
    review = other.review if said.review is ReviewMode.OFF else said.review
    return Asked(other.commands, review)


def _asked(own: Own) -> Asked:
    own.only("", own.values, {"preset", "commands", "review", *own.foreign})
    review = _review(own)
    if not {"preset", "commands"} & own.values.keys():
        return Asked(None, review)
    preset = own.values.get("preset")
    if preset is not None and (not isinstance(preset, str) or preset not in PRESETS):
        raise own.wrong("preset", f"must be one of {', '.join(PRESETS)}, not {preset!r}")
    said = own.values.get("commands")
    table = own.table("commands", {} if said is None else said)
    return Asked(_ordered(own, {**(PRESETS[preset] if preset else {}), **table}), review)


def _review(own: Own) -> ReviewMode:
    """Return the review that is asked for, off when none is."""
    table = own.table("review", own.values.get("review") or {})
    own.only("review", table, {*REVIEW_KEYS, *own.foreign_review})
    enabled = table.get("enabled", True)
    if not isinstance(enabled, bool):
        raise own.wrong("review.enabled", "must be true or false")
    mode = table.get("mode", "advisory" if table else "off")
    if mode is False:  # YAML reads `off` as a switch
        mode = "off"
    if mode not in list(ReviewMode):
        raise own.wrong("review.mode", f"must be one of {', '.join(ReviewMode)}, not {mode!r}")
    if mode == ReviewMode.GATE and table.get("consensus") == "majority":
        mode = ReviewMode.CONSENSUS
    return ReviewMode(mode) if enabled else ReviewMode.OFF


def _ordered(own: Own, table: Mapping[str, Any]) -> tuple[Command, ...]:
    """Return the commands in the seed's order; what is null or false is switched off."""
    rank = {name: position for position, name in enumerate(ORDER)}
    names = sorted(table, key=lambda name: (rank.get(name, len(rank)), name))
    used = [name for name in names if table[name] is not None and table[name] is not False]
    return tuple(_command(own, name, table[name]) for name in used)


def _command(own: Own, name: str, value: Any) -> Command:
    key = f"commands.{name}"
    if isinstance(value, str):
        value = {"command": value}
    value = own.table(key, value)
    own.only(key, value, KEYS)
    run = value.get("command", value.get("run"))
    if not isinstance(run, str) or not run.strip() or "\0" in run:
        raise own.wrong(key, "needs a command, a text that is not empty")
    timeout = value.get("timeout", 600.0)
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or not 0 < timeout <= MAX_TIMEOUT_S:
        raise own.wrong(f"{key}.timeout", f"must be seconds between 0 and {MAX_TIMEOUT_S:.0f}")
    allow_fail = value.get("allow_fail", False)
    if not isinstance(allow_fail, bool):
        raise own.wrong(f"{key}.allow_fail", "must be true or false")
    for sign, meant in PLACEHOLDERS.items():
        run = run.replace(sign, meant)
    return Command(name, run.strip(), float(timeout), allow_fail)


# --- reading ------------------------------------------------------------------------------------


def _toml(text: str) -> Own:
    _check_size(REGREEN, text)
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{REGREEN}: {error}") from error
    except RecursionError as error:
        raise _too_deep(REGREEN, text) from error
    if _deeper(read):
        raise _too_deep(REGREEN, text)
    return Own(REGREEN, read, dict(_toml_lines(text)))


_HEADER = re.compile(r"\s*\[+\s*([^\[\]]+?)\s*\]+\s*(?:#.*)?")
_KEY = re.compile(r"\s*([\w.\"'-]+)\s*=")


def _toml_lines(text: str) -> Iterator[tuple[str, int]]:
    """Yield the dotted keys with their lines, the last first, so that the first one stays."""
    found: list[tuple[str, int]] = []
    table = ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.fullmatch(line):
            table = _plain(header[1])
            found.append((table, number))
        elif key := _KEY.match(line):
            found.append((f"{table}.{_plain(key[1])}".removeprefix("."), number))
    yield from reversed(found)


def _plain(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, which can grow without bound, repeated keys and deep nesting."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias or too many levels; otherwise compose as usual."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # PyYAML has none here
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(problem="aliases are not allowed", problem_mark=mark)
        if self.depth > MAX_DEPTH:
            problem = f"nested deeper than {MAX_DEPTH} levels"
            raise yaml.composer.ComposerError(problem=problem, problem_mark=mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Refuse a key that stands twice."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                problem = f"{key.value} stands twice"
                raise yaml.composer.ComposerError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return node


def _yaml(text: str) -> Own:
    _check_size(AUTOCODER, text)
    try:
        loader = _PlainLoader(text)
        node = loader.get_single_node()
        read = loader.construct_document(node) if node is not None else None
    except RecursionError as error:
        raise _too_deep(AUTOCODER, text) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "it is not YAML"
        raise ConfigError(f"{AUTOCODER}: {where}{problem}") from error
    except ValueError as error:  # a date that is none, a number of too many digits
        raise ConfigError(f"{AUTOCODER}: {str(error)[:200]}") from error
    empty = Own(AUTOCODER, {}, {})
    values = empty.table("the file", read)
    lines = dict(_yaml_lines(node, ""))
    return Own(AUTOCODER, values, lines, FOREIGN, FOREIGN_REVIEW_KEYS)


def _yaml_lines(node: Any, above: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                path = f"{above}.{key.value}".removeprefix(".")
                yield path, key.start_mark.line + 1
                yield from _yaml_lines(value, path)


def _check_size(file: str, text: str) -> None:
    raw = text.encode("utf-8", "replace")
    if len(raw) > MAX_BYTES:
        line = raw[:MAX_BYTES].count(b"\n") + 1
        raise ConfigError(f"{file}: line {line}: the file is larger than {MAX_BYTES // 1024} KB")


def _deeper(read: Any) -> bool:
    """Say whether it is nested deeper than any honest file, without recursion of our own."""
    level = [read]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def _too_deep(file: str, text: str) -> ConfigError:
    """Return the error with the line on which most brackets are open."""
    depth, deepest, at = 0, 0, 1
    for number, line in enumerate(text.split("\n"), 1):
        for sign in line:
            depth += (sign in "[{") - (sign in "]}")
            if depth > deepest:
                deepest, at = depth, number
    return ConfigError(f"{file}: line {at}: nested deeper than {MAX_DEPTH} levels")
