"""The house keeps its own rules: what is documented exists, and each thing has one home."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bot.config import backends, build, load, sections, shapes
from handlers import payloads

pytestmark = pytest.mark.xdist_group("house")  # the sources are read once

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("bot/**/*.py"), *ROOT.glob("handlers/**/*.py")])
TESTS = sorted(ROOT.glob("tests/**/*.py"))
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
FUNCTION_LINES, FILE_LINES = 60, 500

HOMES = {
    "alembic": {"bot.store"},
    "dbos": {"bot.runtime"},
    "dotenv": {"bot.config.load"},
    "github": {"bot.github"},
    "h11": {"bot.workspace.fetch"},
    "httpcore": {"bot.gateway"},
    "httpx": {"bot.gateway", "bot.github", "bot.simulator", "bot.backends"},
    "jwt": {"bot.github", "bot.simulator"},
    "matplotlib": {"bot.cli.fleet_plot"},
    "prometheus_client": {"bot.telemetry"},
    "psycopg": {"bot.store"},
    "re2": {"bot.config.patterns", "bot.failures", "bot.repair"},
    "rich": {"bot.cli"},
    "river": {"bot.routing.drift"},
    "sentry_sdk": {"bot.telemetry"},
    "sqlalchemy": {"bot.store"},
    "starlette": {"bot.web", "bot.gateway", "bot.simulator"},
    "subprocess": {"bot.workspace", "bot.simulator"},
    "tomlkit": {"bot.config.document", "bot.config.rewrite", "bot.repair"},
    "typer": {"bot.cli"},
    "watchfiles": {"bot.config.watch"},
}
# Modules that use a library away from its home, and why.
GUESTS = {
    ("starlette", "bot.app"): "the composition root holds the application that it built",
    ("subprocess", "bot.cli.demo"): "starts the product as a user starts it",
    ("httpx", "bot.cli.demo"): "asks that server whether it is ready",
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full names of the modules and members that are imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def by_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in [*SOURCES, *TESTS]}


@pytest.mark.parametrize("library", sorted(HOMES))
def test_each_library_has_one_home(library: str, trees: dict[Path, ast.Module]) -> None:
    strangers = [
        by_name(path)
        for path in SOURCES
        if any(name == library or name.startswith(f"{library}.") for name in imports(trees[path]))
        and not any(f"{module_of(path)}.".startswith(f"{home}.") for home in HOMES[library])
        and (library, module_of(path)) not in GUESTS
    ]
    assert strangers == []


def test_no_test_mocks(trees: dict[Path, ast.Module]) -> None:
    assert [
        by_name(path)
        for path, tree in trees.items()
        if "guests" not in path.parts  # one speaks for the project's own unittest
        and any(name.startswith("unittest.mock") or name == "unittest" for name in imports(tree))
    ] == []


def long_because(lines: list[str], first: int, last: int) -> bool:
    """Tell whether these lines, counted from 1, say why they are many: `# Long: reason`."""
    return any(re.search(r"# Long: \w+", line) for line in lines[max(0, first - 2) : last])


def test_long_functions_say_why(trees: dict[Path, ast.Module]) -> None:
    silent = []
    for path in SOURCES:
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in ast.walk(trees[path]):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            last = node.end_lineno or node.lineno
            if last - node.lineno >= FUNCTION_LINES and not long_because(lines, node.lineno, last):
                silent.append(f"{by_name(path)}:{node.lineno} {node.name}")
    assert silent == []


def test_long_files_say_why() -> None:
    silent = []
    for path in SOURCES:
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > FILE_LINES and not long_because(lines, 1, 40):
            silent.append(f"{by_name(path)}: {len(lines)} lines")
    assert silent == []


def test_every_module_opens_with_its_theory(trees: dict[Path, ast.Module]) -> None:
    assert [by_name(path) for path in SOURCES if not ast.get_docstring(trees[path])] == []


def test_the_manifest_asks_for_the_events_that_have_a_parser() -> None:
    manifest = yaml.safe_load((ROOT / "app-manifest.yml").read_text(encoding="utf-8"))
    unasked = {"ping", "installation", "installation_repositories"}  # GitHub always sends these
    assert set(manifest["default_events"]) | unasked == set(payloads.PARSERS)


def test_the_example_configuration_loads() -> None:
    found = load.configuration(ROOT / "llm_config.example.toml", {})
    assert found.policy.primary
    assert found.policy.fallback


def variables() -> set[str]:
    """Return every variable that the settings are read from, as the code names them."""
    folder = ROOT / "bot" / "config"
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    named = set(re.findall(r"\"((?:REGREEN_|SENTRY_)[A-Z_]+)\"", text))
    return named | set(build.VARIABLES) | {backends.DEFAULT_VARIABLE}


@pytest.mark.parametrize("variable", sorted(variables()))
def test_every_variable_is_documented(variable: str) -> None:
    assert any(f"`{variable}`" in path.read_text(encoding="utf-8") for path in DOCUMENTS)


def test_every_variable_that_is_documented_exists() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    known = variables() | {"REGREEN_SHARED"}
    assert set(re.findall(r"\bREGREEN_[A-Z_]+\b", text)) <= known


def test_every_path_in_the_documents_exists() -> None:
    missing = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        named = re.findall(r"`((?:bot|handlers|docs|deploy|tests)/[\w./-]+)`", text)
        linked = re.findall(r"\]\((?!https?://|#)([^)#]+)\)", text)
        wanted = {ROOT / name for name in named} | {path.parent / name for name in linked}
        missing += [f"{by_name(path)}: {one}" for one in wanted if not one.exists()]
    assert missing == []


def settings() -> list[tuple[str, str]]:
    """Return every section and key of the configuration file."""
    own = {f"[{name}]": shapes.keys_of(shape) for name, shape in shapes.OWN_SECTIONS.items()}
    shown = own | {
        "[backend]": shapes.keys_of(shapes.OrderKeys),
        "[backends.X]": shapes.keys_of(shapes.BackendKeys),
        f"[{sections.FALLBACK_SECTIONS[1]}]": ("name", "order"),
    }
    return [(section, key) for section, keys in shown.items() for key in keys]


@pytest.mark.parametrize(("section", "key"), settings())
def test_every_setting_is_documented(section: str, key: str) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    part = text.split(f"### `{section}`", 1)[1].split("\n### ", 1)[0]
    assert re.search(rf"`{key}(\.<type>)?`", part)
