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

from bot.domain.values import Command
from bot.repair.repository import asked

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
    own = asked(repository_config, manifests).commands
    return _guessed(manifests, run_lines) if own is None else own


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
