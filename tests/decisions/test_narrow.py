# ruff: noqa: ISC004 (commands are quoted whole)
"""The narrowest proof comes first: the failing test alone, its command, then the rest."""

import pytest

from bot.domain.values import Check, CheckKind, CheckState, Command, FailingStep, FailureType
from bot.failures.classify import classify
from bot.repair.narrow import ALONE_S, first

LOGS = {
    "pytest": """\
tests/test_area.py:5: AssertionError
=========================== short test summary info ============================
FAILED tests/test_area.py::TestA::test_area[3-9] - assert 6 == 9
FAILED tests/test_area.py::test_b
2 failed, 3 passed in 0.12s
""",
    "unittest": """\
FAIL: test_a_square (test_area.AreaTest.test_a_square)
ERROR: test_old (test_area.AreaTest)
AssertionError: 6 != 9
FAILED (failures=1, errors=1)
""",
    "go test": "--- FAIL: TestArea (0.00s)\nFAIL\nFAIL\texample.com/area\t0.002s\n",
    "cargo test": "test tests::area ... FAILED\ntest result: FAILED. 0 passed; 1 failed\n",
    "jest": "FAIL src/area.test.js\nTests:       1 failed, 1 total\n",
    "vitest": " FAIL  src/area.test.ts > area > squares\n Tests  1 failed (1)\n",
}


def a_step(log: str, kind: FailureType = FailureType.TEST_ASSERT) -> FailingStep:
    signal = classify(log.encode(), step="test")
    assert signal.type is kind
    return FailingStep(Check("test", CheckKind.JOB, CheckState.FAILED), signal)


def runs(commands, *logs: str) -> list[str]:
    return [one.run for one in first(commands, [a_step(LOGS[log]) for log in logs])]


@pytest.mark.parametrize(
    ("command", "log", "alone"),
    [
        (
            "pytest -q -n 2 tests",
            "pytest",
            "pytest -q -n 2 'tests/test_area.py::TestA::test_area[3-9]' tests/test_area.py::test_b",
        ),
        (
            "set -e\nexport A=1\ncd x\n.venv/bin/python -m pytest",
            "pytest",
            "set -e\nexport A=1\ncd x\n.venv/bin/python -m pytest"
            " 'tests/test_area.py::TestA::test_area[3-9]' tests/test_area.py::test_b",
        ),
        (
            "python -B -m unittest discover -s tests",
            "unittest",
            "python -B -m unittest discover -s tests -k AreaTest.test_a_square "
            "-k AreaTest.test_old",
        ),
        ("go test ./...", "go test", "go test ./... -run '^(TestArea)$'"),
        ("cargo test --locked", "cargo test", "cargo test --locked -- --exact tests::area"),
        ("npx jest --ci", "jest", "npx jest --ci --passWithNoTests src/area.test.js"),
        ("npx vitest run", "vitest", "npx vitest run --passWithNoTests src/area.test.ts"),
    ],
)
def test_the_failing_test_runs_alone_first(command, log, alone):
    proof = Command("test", command)
    part, whole = first([proof], [a_step(LOGS[log])])
    assert (part.run, part.part_of, part.timeout_s) == (alone, "test", ALONE_S)
    assert part.telling
    assert whole == proof


@pytest.mark.parametrize(
    "command",
    [
        "make test",
        "pytest | tee log",
        "pytest --cov src",  # is `src` a value or a folder?
        "pip install x\npytest",
        "pytest 'unfinished",
        "npm test",
    ],
)
def test_what_cannot_be_told_is_not_guessed(command):
    assert runs([Command("test", command)], "pytest") == [command]


@pytest.mark.parametrize(
    ("command", "log"),
    [
        ("go test -run X ./...", "go test"),
        ("cargo test -- --nocapture", "cargo test"),
        ("python -m pytest", "unittest"),
    ],
)
def test_a_command_that_chooses_already_is_left_alone(command, log):
    assert runs([Command("test", command)], log) == [command]


def test_a_hostile_log_names_no_option_and_no_command():
    log = "FAILED --rootdir=/x.py::test\nFAILED a.py::b;touch${IFS}x\n1 failed in 0.1s\n"
    proof = Command("test", "pytest")
    found = first([proof], [a_step(LOGS["pytest"].partition("FAILED")[0] + log)])
    assert found == (proof,)


def test_set_up_comes_first_then_what_failed_then_the_rest():
    commands = [
        Command("setup", "make env"),
        Command("test", "pytest"),
        Command("lint", "flake8 ."),
        Command("typecheck", "mypy ."),
        Command("zeta", "make zeta"),
    ]
    lint = a_step("a.py:1:1: F401 'os' imported but unused\n", FailureType.LINT)
    assert [one.name for one in first(commands, [lint])] == [
        "setup",
        "lint",
        "test",
        "typecheck",
        "zeta",
    ]
    assert [one.name for one in first(commands, [a_step(LOGS["pytest"])])] == [
        "setup",
        "test: failing tests",
        "test",
        "lint",
        "typecheck",
        "zeta",
    ]


def test_a_command_that_may_fail_is_not_narrowed():
    assert len(first([Command("test", "pytest", allow_fail=True)], [a_step(LOGS["pytest"])])) == 1
