import shutil
from pathlib import Path

import pytest

from bot.backends import fixers
from bot.backends.base import Job
from bot.backends.fixers.base import Skip
from bot.backends.registry import Registry
from bot.backends.tree import TreeView
from bot.config.schema import BackendConfig, Configuration
from bot.domain.answers import Ending
from bot.domain.values import FailureType
from bot.gateway.chat import Chat
from tests.support.sandboxes import PlainSandbox
from tests.support.tasks import a_failing_step, a_task, fill, texts

LINT = FailureType.LINT
UGLY = "import os\nx = {'a':1}\n"


def mend(tree: Path, *steps, commands=(), stop=lambda: False):
    sandbox = PlainSandbox()
    registry = Registry(Configuration, sandbox, Chat())
    task = a_task(*steps, commands=commands)
    answer = registry.run("fixers", fallback=False, task=task, tree=tree, stop=stop)
    return answer, [command for command, _ in sandbox.ran]


def test_ruff_mends_the_files_that_the_log_names(tmp_path):
    fill(tmp_path, {"ruff.toml": "", "a.py": UGLY, "b.py": UGLY})
    step = a_failing_step(LINT, at=("a.py",), run=("ruff check .",))
    answer, _ = mend(tmp_path, step)

    assert answer.ending is Ending.EDITED
    assert answer.text == "Ran `ruff check --fix`."
    assert texts(tmp_path) == {"ruff.toml": "", "a.py": "x = {'a':1}\n", "b.py": UGLY}
    assert answer.usage.cost_usd == 0
    assert answer.usage.seconds > 0


def test_ruff_lays_out_only_where_the_checks_do(tmp_path):
    fill(tmp_path, {"pyproject.toml": "[tool.ruff]\n", "a.py": UGLY})
    step = a_failing_step(LINT, at=("a.py",), run=("ruff check .",))
    answer, _ = mend(tmp_path, step, commands=("ruff check . && ruff format --check .",))

    assert answer.text == "Ran `ruff check --fix`, `ruff format`."
    assert texts(tmp_path)["a.py"] == 'x = {"a": 1}\n'


def test_ruff_looks_for_what_the_check_looks_for(tmp_path):
    fill(tmp_path, {"a.py": "import sys\nimport os\n\nprint(os, sys)\n"})
    answer, commands = mend(
        tmp_path,
        a_failing_step(
            LINT, tool="ruff", run=("ruff check --select I --output-format github src",)
        ),
    )

    assert answer.ending is Ending.EDITED
    assert commands[0][-4:] == ("--select", "I", "--", ".")
    assert texts(tmp_path)["a.py"].startswith("import os\nimport sys\n")


def test_what_ruff_cannot_mend_is_said(tmp_path):
    fill(tmp_path, {"ruff.toml": "", "a.py": "print(missing)\n", "b.py": "def f(:\n"})
    answer, _ = mend(tmp_path, a_failing_step(LINT, tool="ruff"))

    assert answer.ending is Ending.EDITED
    assert "left something" in answer.detail
    assert "F821" in answer.detail


def test_broken_settings_are_a_failed_tool(tmp_path):
    fill(tmp_path, {"ruff.toml": "line-length = 'x'\n", "a.py": UGLY})
    answer, _ = mend(tmp_path, a_failing_step(LINT, at=("a.py",)))

    assert answer.ending is Ending.TOOL_FAILED
    assert "exit code 2" in answer.detail


@pytest.mark.parametrize(
    ("files", "step", "reason"),
    [
        pytest.param(
            {"ruff.toml": "", "a.py": UGLY},
            a_failing_step(at=("a.py",), run=("ruff check . && pytest",)),
            "ruff: nothing failing concerns it",
            id="a test failed",
        ),
        pytest.param(
            {"ruff.toml": "", "a.ts": "x"},
            a_failing_step(LINT, tool="tslint", at=("a.ts",)),
            "ruff: the log names none of its files",
            id="another language",
        ),
        pytest.param(
            {"a.py": UGLY},
            a_failing_step(LINT, tool="pylint", at=("a.py",)),
            "ruff: the repository does not use it",
            id="another linter",
        ),
        pytest.param(
            {"package.json": '{"devDependencies": {"prettier": "3"}}', "a.ts": "x"},
            a_failing_step(LINT, tool="tslint", at=("a.ts",)),
            "prettier: nothing failing concerns it",
            id="a layout is not a rule",
        ),
    ],
)
def test_a_fixer_that_does_not_apply_says_why(tmp_path, files, step, reason):
    fill(tmp_path, files)
    answer, commands = mend(tmp_path, step)

    assert answer.ending is Ending.NO_CHANGE
    assert reason in answer.detail
    assert commands == []
    assert texts(tmp_path) == files


PLANS = [
    pytest.param(
        "eslint",
        {"eslint.config.js": "", "src/a.ts": ""},
        a_failing_step(LINT, at=("src/a.ts",)),
        ("--fix", "--", "src/a.ts"),
        id="eslint by its settings",
    ),
    pytest.param(
        "eslint",
        {"package.json": '{"devDependencies": {"eslint": "9"}}', "a.js": ""},
        a_failing_step(LINT, at=("a.js",)),
        ("--fix", "--", "a.js"),
        id="eslint by its dependency",
    ),
    pytest.param(
        "eslint",
        {"a.js": ""},
        a_failing_step(LINT, run=("npx eslint .",)),
        ("--fix", "--", "."),
        id="eslint by the step",
    ),
    pytest.param(
        "prettier",
        {".prettierrc": "{}", "a.css": ""},
        a_failing_step(LINT, at=("a.css",), run=("npx prettier --check .",)),
        ("--write", "--ignore-unknown", "--", "a.css"),
        id="prettier",
    ),
    pytest.param(
        "gofmt",
        {"go.mod": "module x\n", "-a.go": ""},
        a_failing_step(LINT, at=("-a.go",), run=('test -z "$(gofmt -l .)"',)),
        ("-w", "./-a.go"),
        id="gofmt",
    ),
    pytest.param(
        "cargo fmt",
        {"Cargo.toml": ""},
        a_failing_step(LINT, run=("cargo fmt --check",)),
        ("fmt", "--all"),
        id="cargo fmt",
    ),
    pytest.param(
        "clippy",
        {"Cargo.toml": ""},
        a_failing_step(LINT, run=("cargo clippy -- -D warnings",)),
        ("clippy", "--fix", "--allow-no-vcs", "--allow-dirty", "--all-targets", "--offline"),
        id="clippy",
    ),
]


@pytest.mark.parametrize(("name", "files", "step", "arguments"), PLANS)
def test_a_fixer_knows_its_command(tmp_path, name, files, step, arguments):
    planned = fixers.FIXERS[name].plan(TreeView(fill(tmp_path, files)), a_task(step))

    assert not isinstance(planned, Skip)
    assert [fix.arguments for fix in planned] == [arguments]


def test_every_fixer_has_a_proof():
    assert {case.values[0] for case in PLANS} | {"ruff"} == set(fixers.FIXERS)


def test_a_missing_tool_is_passed_over_and_said(tmp_path):
    fill(tmp_path, {"eslint.config.js": "", "a.js": "x"})

    class Bare(PlainSandbox):
        def run(self, command, tree, **named):
            return super().run((f"/nowhere/{command[0]}",), tree, **named)

    job = Job(
        config=BackendConfig("fixers", "fixers", ""),
        task=a_task(a_failing_step(LINT, at=("a.js",), tool="eslint")),
        tree=tmp_path,
        sandbox=Bare(),
        chat=Chat(),
        stop=lambda: False,
    )
    answer = fixers.work(job)

    assert answer.ending is Ending.NO_CHANGE
    assert "eslint --fix: eslint is not installed in the sandbox" in answer.detail


def test_the_projects_own_tool_goes_first(tmp_path):
    fill(tmp_path, {"node_modules/.bin/eslint": "#!/bin/sh\necho fixed > a.js\n", "a.js": "x\n"})
    (tmp_path / "node_modules/.bin/eslint").chmod(0o755)
    answer, _ = mend(tmp_path, a_failing_step(LINT, at=("a.js",), tool="eslint"))

    assert answer.ending is Ending.EDITED
    assert texts(tmp_path)["a.js"] == "fixed\n"


def test_a_stop_ends_the_whole_job(tmp_path):
    fill(tmp_path, {"ruff.toml": "", "a.py": UGLY})
    answer, commands = mend(tmp_path, a_failing_step(LINT, at=("a.py",)), stop=lambda: True)

    assert answer.ending is Ending.KILLED
    assert len(commands) == 1


@pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed")
def test_cargo_fmt_really_lays_out(tmp_path):
    fill(
        tmp_path,
        {
            "Cargo.toml": '[package]\nname = "a"\nversion = "0.1.0"\nedition = "2021"\n',
            "src/main.rs": 'fn main(){println!("x");}\n',
        },
    )
    answer, _ = mend(tmp_path, a_failing_step(LINT, run=("cargo fmt --check",)))
    if "not installed" in answer.detail or "rustup" in answer.detail:
        pytest.skip(f"cargo fmt is not usable here: {answer.detail}")

    assert answer.ending is Ending.EDITED
    assert texts(tmp_path)["src/main.rs"] == 'fn main() {\n    println!("x");\n}\n'


@pytest.mark.skipif(shutil.which("gofmt") is None, reason="gofmt is not installed")
def test_gofmt_really_lays_out(tmp_path):
    fill(tmp_path, {"go.mod": "module a\n", "a.go": "package a\nfunc  f( ) { }\n"})
    answer, _ = mend(tmp_path, a_failing_step(LINT, at=("a.go",), tool="gofmt"))

    assert answer.ending is Ending.EDITED
    assert texts(tmp_path)["a.go"] == "package a\n\nfunc f() {}\n"


@pytest.mark.skipif(shutil.which("prettier") is None, reason="prettier is not installed")
def test_prettier_really_lays_out(tmp_path):
    fill(tmp_path, {"a.json": '{"a":1}'})
    answer, _ = mend(tmp_path, a_failing_step(LINT, at=("a.json",), tool="prettier"))

    assert answer.ending is Ending.EDITED
    assert texts(tmp_path)["a.json"] == '{ "a": 1 }\n'
