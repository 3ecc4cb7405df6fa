# ruff: noqa: E501 (samples are quoted whole)
"""Which commands prove a mend: the repository's word, the failing step's, or what files suggest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config.schema import ReviewMode
from bot.domain.errors import ConfigError
from bot.domain.values import Command
from bot.repair.commands import commands_for, proving
from bot.repair.repository import asked


def named(commands: tuple[Command, ...]) -> list[tuple[str, str]]:
    return [(command.name, command.run) for command in commands]


def test_the_repository_says_what_proves_a_mend():
    config = """
[commands]
zeta = "make zeta"
lint = "ruff check ."
test = { run = "pytest -q", timeout = 30, allow_fail = false }
setup = { command = "pip install -e ." }
format = { command = "ruff format --check .", allow_fail = true }
alpha = "make alpha"
"""
    found = commands_for(config, {"go.mod": "module x"}, ["npm test"])
    assert [command.name for command in found] == [
        "setup",
        "test",
        "lint",
        "format",
        "alpha",
        "zeta",
    ]
    assert found[1] == Command("test", "pytest -q", 30.0)
    assert found[3].allow_fail
    assert found[0].timeout_s == 600.0


def test_an_autocoder_file_is_read_the_same():
    text = "preset: python\ncommands:\n  test: tox\n  lint: null\n  build:\n    command: make\n    timeout: 9\n"
    found = commands_for("", {"autocoder.yaml": text}, ["npm test"])
    assert found == (Command("test", "tox"), Command("build", "make", 9.0))


def test_placeholders_presets_and_switches_are_those_of_autocoder():
    text = """
preset: python-uv
worker: {provider: codex_cli}
commands:
  setup:
    command: "{PY} -m venv .venv && {VENV_PY} -m pip install -r requirements.txt"
    timeout: 900
  test: "{VENV_PY} -m pytest -q {unknown}"
  lint: null
  acceptance: {command: npx playwright test, allow_fail: true}
review:
  enabled: true
  mode: gate
  type: multi_cli
  agents: [codex, gemini]
  consensus: majority
"""
    setup, test, acceptance = commands_for("", {"autocoder.yaml": text}, [])
    python = ".venv/bin/python"
    assert setup.run == f"python3 -m venv .venv && {python} -m pip install -r requirements.txt"
    assert (setup.timeout_s, test.run) == (900.0, f"{python} -m pytest -q {{unknown}}")
    assert acceptance == Command("acceptance", "npx playwright test", allow_fail=True)
    assert asked("", {"autocoder.yaml": text}).review is ReviewMode.CONSENSUS


def test_the_repositorys_own_file_has_presets_too():
    found = commands_for('preset = "go"\n[commands]\nlint = false\ntest = "make"\n', {}, [])
    assert named(found) == [("test", "make"), ("build", "go build ./...")]


def test_an_autocoder_file_that_says_nothing_of_commands_leaves_them_to_be_told():
    manifests = {"autocoder.yaml": "worker: {provider: claude}", "go.mod": "module x"}
    assert named(commands_for("", manifests, [])) == [("test", "go test ./...")]


@pytest.mark.parametrize(
    ("config", "file", "mode"),
    [
        ("", "", "off"),
        ("[review]\nmode = 'gate'", "", "gate"),
        ("[review]\nenabled = true", "", "advisory"),
        ("[review]\nenabled = false\nmode = 'gate'", "review: {mode: advisory}", "advisory"),
        ("[review]\nmode = 'gate'", "review: {mode: advisory}", "gate"),
        ("", "review: {mode: off}", "off"),
    ],
)
def test_a_repository_may_ask_for_a_review(config, file, mode):
    assert asked(config, {"autocoder.yaml": file}).review == mode


@pytest.mark.parametrize("preset", ["python", "python-uv", "node-npm", "go", "rust"])
def test_each_preset_tests(preset):
    found = commands_for("", {"autocoder.yaml": f"preset: {preset}"}, [])
    assert "test" in [command.name for command in found]


def test_the_repositorys_file_wins_and_one_without_commands_says_nothing():
    manifests = {"autocoder.yaml": "commands: {test: tox}"}
    assert named(commands_for('[commands]\ntest = "make"', manifests, [])) == [("test", "make")]
    assert named(commands_for("[review]\nmode = 'off'", manifests, [])) == [("test", "tox")]
    assert commands_for("[commands]\n", {"go.mod": ""}, ["npm test"]) == ()


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ('[commands]\ntest = "a\n', (".github/regreen.toml", "line 2")),
        ("[commands]\n\ntest = 3\n", (".github/regreen.toml", "line 3", "commands.test")),
        ('[commands.test]\nrun = "x"\ntimeout = -1\n', ("line 3", "commands.test.timeout")),
        ('[commands.test]\nrun = "x"\ntimeout = true\n', ("commands.test.timeout",)),
        (
            '[commands.test]\nrun = "x"\nallow_fail = "yes"\n',
            ("line 3", "commands.test.allow_fail"),
        ),
        ('[commands.test]\nrun = "x"\nshell = "zsh"\n', ("line 3", "commands.test.shell")),
        ('[commands]\ntest = ""\n', ("line 2", "commands.test")),
        ('commands = "make"\n', ("line 1", "commands")),
        ("x = " + "[" * 30 + "]" * 30, ("nested",)),
        ("x = " + "[" * 20000, ("regreen.toml",)),
        ("# x\n\n# " + "x" * 70_000, ("line 3", "64 KB")),
        ("a = 1\nb = [\n" + "[" * 30 + "]" * 30 + "]", ("line 3", "nested")),
        ('[commands]\ntest = "x"\n\n[atempts]\nmax = 3\n', ("line 4", "atempts", "commands")),
        (
            '[commands.lint]\nrun = "x"\ntimeout = 5\n[commands.test]\nrun = "x"\ntimeout = 0\n',
            ("line 6", "commands.test.timeout"),
        ),
        ('preset = "cobol"\n', ("line 1", "preset", "python-uv")),
        ('[review]\nmode = "strict"\n', ("line 2", "review.mode", "gate")),
        ("[review]\nengines = []\n", ("line 2", "review.engines")),
    ],
)
def test_a_file_that_cannot_be_understood_stops_everything(config, parts):
    with pytest.raises(ConfigError) as caught:
        commands_for(config, {}, [])
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("commands: [", ("autocoder.yaml", "line 1")),
        ("- a\n- b", ("autocoder.yaml",)),
        ("preset: cobol", ("line 1", "preset", "python-uv")),
        ("commands:\n  test: 3\n", ("line 2", "commands.test")),
        ("a: &x [1]\nb: *x\n", ("line 2", "alias")),
        ("commands:\n  test: a\n  lint: b\n  test: c\n", ("line 4", "test stands twice")),
        ("comands:\n  test: a\n", ("line 1", "comands", "commands")),
        ("preset: go\nx:\n - " + "[" * 25 + "]" * 25, ("line 3", "nested")),
        ("#\n" * 40_000, ("line 32769", "64 KB")),
        ("a: 2026-13-45\n", ("autocoder.yaml",)),
        ("a: !!python/object/apply:os.system [id]", ("autocoder.yaml", "line 1")),
        ("[" * 3000, ("autocoder.yaml",)),
        ("x: " + "[" * 25 + "]" * 25, ("nested",)),
    ],
)
def test_a_broken_autocoder_file_stops_everything(text, parts):
    with pytest.raises(ConfigError) as caught:
        commands_for("", {"autocoder.yaml": text}, ["pytest"])
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("script", "proof"),
    [
        ("pytest -q", "pytest -q"),
        ("pip install -r requirements.txt\npytest -q", "pytest -q"),
        ("python -m pip install --upgrade pip\npip install .[dev] && pip install tox", ""),
        ("npm ci", ""),
        ("npm ci\nnpm run lint\nnpm test", "set -e\nnpm run lint\nnpm test"),
        ("sudo apt-get update && sudo apt-get install -y jq\nmake check", "make check"),
        ("sudo apt-get update -q && make check", "sudo apt-get update -q && make check"),
        ("yarn install --frozen-lockfile", ""),
        ("npm install-test", "npm install-test"),
        ("echo ${{ github.sha }}\npytest", ""),
        ("git checkout main", ""),
        (
            "for f in *.sh; do\n  shellcheck $f\ndone",
            "set -e\nfor f in *.sh; do\n  shellcheck $f\ndone",
        ),
        ("pytest \\\n  -q", "set -e\npytest \\\n  -q"),
        ("", ""),
    ],
)
def test_installing_proves_nothing(script, proof):
    assert proving(script) == proof


def test_what_ci_ran_is_the_proof_and_only_without_it_is_guessed():
    manifests = {
        "pyproject.toml": "[tool.pytest.ini_options]\n[tool.ruff]\n[tool.mypy]\n",
        "package.json": '{"scripts": {"test": "jest", "lint": "eslint .", "type-check": "tsc"}}',
        "go.mod": "module x",
        "Cargo.toml": "[package]",
    }
    lines = ["ruff check .", "npm ci", "ruff check .", "make"]
    assert named(commands_for("", manifests, lines)) == [
        ("failing step", "ruff check ."),
        ("failing step 2", "make"),
    ]
    assert named(commands_for("", manifests, ["export A=1\ncd x\nnpm ci"])) == [
        ("test", "python -m pytest -q"),
        ("lint", "ruff check ."),
        ("typecheck", "mypy ."),
        ("test 2", "npm test"),
        ("lint 2", "npm run lint"),
        ("typecheck 2", "npm run type-check"),
        ("test 3", "go test ./..."),
        ("test 4", "cargo test"),
    ]


@pytest.mark.parametrize(
    ("manifests", "runs"),
    [
        ({}, []),
        ({"pyproject.toml": "[project]\nname = 'x'"}, []),
        (
            {"pyproject.toml": "[tool.ruff]\n[tool.ruff.format]\n"},
            ["ruff check .", "ruff format --check ."],
        ),
        ({"pyproject.toml": "broken ["}, []),
        ({"package.json": "{"}, []),
        (
            {
                "package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'
            },
            [],
        ),
        ({"package.json": "[]"}, []),
    ],
)
def test_only_what_is_configured_is_guessed(manifests, runs):
    assert [command.run for command in commands_for("", manifests, [])] == runs


@given(st.text(max_size=300), st.text(max_size=300), st.lists(st.text(max_size=80), max_size=3))
def test_any_text_gives_commands_or_a_clear_error(config, manifest, scripts):
    manifests = {"autocoder.yaml": manifest, "pyproject.toml": manifest, "package.json": manifest}
    try:
        found = commands_for(config, manifests, scripts)
    except ConfigError as error:
        found, told = (), str(error)
    else:
        told = "autocoder.yaml"
    assert told.startswith((".github/regreen.toml", "autocoder.yaml"))
    assert all(command.run.strip() for command in found)
