# ruff: noqa: E501 (patterns are quoted whole)
"""Which commands prove a mend.

First the repository's own word (`.github/regreen.toml` of the base branch, else `autocoder.yaml`);
a file that cannot be understood stops everything, because a gate that guesses is none. Without
either: what the failing jobs ran; without that, what the project's own files suggest. Nothing known
gives no commands, and nothing is proved.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from bot.domain.errors import ConfigError
from bot.domain.values import Command

REGREEN = ".github/regreen.toml"
AUTOCODER = "autocoder.yaml"
MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_TIMEOUT_S = 6 * 3600.0
ORDER = ("setup", "test", "lint", "typecheck", "format", "build", "acceptance")
KEYS = frozenset({"command", "run", "timeout", "allow_fail"})

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

INSTALL = re.compile(
    r"^(sudo )?("
    r"(python[\d.]* -m )?pip[\d.]* (install|cache|--version)\b|uv (sync|pip install|venv|python install|tool install)\b|pipx? install\b|poetry (install|config)\b|pdm (sync|install)\b"
    r"|(npm|yarn|pnpm|bun) (ci|install|i|add|cache|config)( |$)|yarn( --\S+)*$|corepack \w+|npx playwright install\b"
    r"|(apt|apt-get|aptitude|yum|dnf|apk|brew|choco|snap|pacman)( -\S+)* (install|update|upgrade|add)\b"
    r"|go (mod download|install|get)\b|cargo (install|fetch)\b|rustup\b|bundle (install|config)\b|gem install\b|composer install\b|dotnet (restore|tool)\b"
    r"|git (clone|checkout|fetch|config|submodule)\b|python[\d.]* -m venv\b|(source|\.) \S*activate\b|mkdir\b|echo\b|export PATH\b|curl\b|wget\b|set -\w+$|docker login\b|node --version$|python --version$)"
)
SHELL_WORDS = re.compile(
    r"^\s*(if|then|else|elif|fi|for|while|until|do|done|case|esac|function)\b|<<|\\$|^\s*[{}]|\(\)\s*\{",
    re.MULTILINE,
)


def commands_for(
    repository_config: str, manifests: Mapping[str, str], run_lines: Sequence[str]
) -> tuple[Command, ...]:
    """Return the commands that prove a mend, in the order in which they run; maybe none.

    `run_lines` are the `run:` texts of the failing steps. Raises ConfigError naming file, line, key.
    """
    if repository_config.strip():
        found = _regreen(repository_config)
        if found is not None:
            return found
    if manifests.get(AUTOCODER, "").strip():
        return _autocoder(manifests[AUTOCODER])
    return _guessed(manifests, run_lines)


# --- the repository's own word ------------------------------------------------------------------


def _regreen(text: str) -> tuple[Command, ...] | None:
    """Read `.github/regreen.toml`; None when it says nothing about commands."""
    _check_size(REGREEN, text)
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{REGREEN}: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{REGREEN}: nested too deeply") from error
    _check_depth(REGREEN, read)
    if "commands" not in read:
        return None
    table = _mapping(REGREEN, text, "commands", read["commands"])
    return _ordered(REGREEN, text, table)


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases (they can grow without bound) and without repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias; otherwise compose as usual."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(problem="aliases are not allowed")
        return super().compose_node(parent, index)


def _autocoder(text: str) -> tuple[Command, ...]:
    _check_size(AUTOCODER, text)
    try:
        read = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 (a SafeLoader with less)
    except RecursionError as error:
        raise ConfigError(f"{AUTOCODER}: nested too deeply") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "it is not YAML"
        raise ConfigError(f"{AUTOCODER}: {where}{problem}") from error
    _check_depth(AUTOCODER, read)
    read = _mapping(AUTOCODER, text, "the file", read)
    preset = read.get("preset")
    if preset is not None and (not isinstance(preset, str) or preset not in PRESETS):
        known = ", ".join(PRESETS)
        raise _wrong(AUTOCODER, text, "preset", f"must be one of {known}, not {preset!r}")
    own = _mapping(AUTOCODER, text, "commands", read.get("commands") or {})
    table = {**(PRESETS[preset] if preset else {}), **own}
    return _ordered(AUTOCODER, text, {name: to for name, to in table.items() if to is not None})


def _ordered(file: str, text: str, table: Mapping[str, Any]) -> tuple[Command, ...]:
    rank = {name: position for position, name in enumerate(ORDER)}
    names = sorted(table, key=lambda name: (rank.get(name, len(rank)), name))
    return tuple(_command(file, text, name, table[name]) for name in names)


def _command(file: str, text: str, name: str, value: Any) -> Command:
    key = f"commands.{name}"
    if isinstance(value, str):
        value = {"command": value}
    value = _mapping(file, text, key, value)
    unknown = sorted(set(value) - KEYS)
    if unknown:
        raise _wrong(
            file, text, f"{key}.{unknown[0]}", f"is unknown; known are {', '.join(sorted(KEYS))}"
        )
    run = value.get("command", value.get("run"))
    if not isinstance(run, str) or not run.strip() or "\0" in run:
        raise _wrong(file, text, key, "needs a command, a text that is not empty")
    timeout = value.get("timeout", 600.0)
    if (
        isinstance(timeout, bool)
        or not isinstance(timeout, int | float)
        or not 0 < timeout <= MAX_TIMEOUT_S
    ):
        raise _wrong(
            file, text, f"{key}.timeout", f"must be seconds between 0 and {MAX_TIMEOUT_S:.0f}"
        )
    allow_fail = value.get("allow_fail", False)
    if not isinstance(allow_fail, bool):
        raise _wrong(file, text, f"{key}.allow_fail", "must be true or false")
    return Command(name, run.strip(), float(timeout), allow_fail)


def _mapping(file: str, text: str, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise _wrong(file, text, key, "must be a table of names")
    return value


def _wrong(file: str, text: str, key: str, message: str) -> ConfigError:
    """Return an error that names file, line and key; the line is where the key's last part stands."""
    last = re.escape(key.rsplit(".", 1)[-1])
    pattern = re.compile(rf"^[^#]*?[\"']?\b{last}\b[\"']?\s*[:=\]]")
    line = next((n for n, one in enumerate(text.splitlines(), 1) if pattern.match(one[:500])), 1)
    return ConfigError(f"{file}: line {line}: {key} {message}")


def _check_size(file: str, text: str) -> None:
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise ConfigError(f"{file}: larger than {MAX_BYTES // 1024} KB")


def _check_depth(file: str, read: Any) -> None:
    """Refuse what is nested deeper than any honest file, without recursion of our own."""
    level = [read]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    if level:
        raise ConfigError(f"{file}: nested deeper than {MAX_DEPTH} levels")


# --- guesses ------------------------------------------------------------------------------------


def _guessed(manifests: Mapping[str, str], run_lines: Sequence[str]) -> tuple[Command, ...]:
    found: list[Command] = []
    for script in run_lines:
        proof = proving(script)
        if proof and all(proof != known.run for known in found):
            number = f" {len(found) + 1}" if found else ""
            found.append(Command(f"failing step{number}", proof))
    if found:  # what CI runs is the truth; a guess may ask for more than the project keeps
        return tuple(found)
    told: set[str] = set()
    for name, run in _inferred(manifests):
        if run not in told:
            told.add(run)
            same = sum(known.name.split(" ")[0] == name for known in found)
            found.append(Command(f"{name} {same + 1}" if same else name, run))
    return tuple(found)


def proving(script: str) -> str:
    """Return what is left of a step's script without installations; empty when nothing proves."""
    if "${{" in script:  # only GitHub can fill that in
        return ""
    lines = [line.rstrip() for line in script.strip().splitlines() if line.strip()]
    if all(_installs(line) or line.startswith(("export ", "cd ")) for line in lines):
        return ""
    if SHELL_WORDS.search(script):
        return "set -e\n" + "\n".join(lines)
    kept = [line for line in lines if not _installs(line)]
    return kept[0].strip() if len(kept) == 1 else "set -e\n" + "\n".join(kept)


def _installs(line: str) -> bool:
    parts = re.split(r"\s*(?:&&|;)\s*", line.strip())
    return all(not part or part.startswith("#") or INSTALL.match(part) for part in parts)


def _inferred(manifests: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield from _python(manifests)
    yield from _node(manifests)
    if "go.mod" in manifests:
        yield "test", "go test ./..."
    if "Cargo.toml" in manifests:
        yield "test", "cargo test"


def _python(manifests: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    text = manifests.get("pyproject.toml", "")
    try:
        read = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):  # it may be what is to be mended
        read = {}
    tool = read.get("tool")
    tool = tool if isinstance(tool, dict) else {}
    tested = "pytest" in tool or "pytest" in text or "pytest.ini" in manifests
    if tested or "[tool:pytest]" in manifests.get("setup.cfg", ""):
        yield "test", "python -m pytest -q"
    ruff = tool.get("ruff")
    if isinstance(ruff, dict) or "ruff.toml" in manifests or ".ruff.toml" in manifests:
        yield "lint", "ruff check ."
    if isinstance(ruff, dict) and "format" in ruff:
        yield "format", "ruff format --check ."
    if "black" in tool:
        yield "format", "black --check ."
    if "mypy" in tool or "mypy.ini" in manifests:
        yield "typecheck", "mypy ."


def _node(manifests: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    try:
        read = json.loads(manifests.get("package.json", "{}"))
    except (ValueError, RecursionError):
        return
    scripts = read.get("scripts") if isinstance(read, dict) else None
    if not isinstance(scripts, dict):
        return
    tests = scripts.get("test")
    if isinstance(tests, str) and "no test specified" not in tests:
        yield "test", "npm test"
    for name, scripts_named in (
        ("lint", ("lint",)),
        ("typecheck", ("typecheck", "type-check", "check-types")),
        ("format", ("format:check", "format-check", "check-format")),
    ):
        script = next((one for one in scripts_named if isinstance(scripts.get(one), str)), None)
        if script:
            yield name, f"npm run {script}"
