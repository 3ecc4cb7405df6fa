# ruff: noqa: E501 (diffs and lines are quoted whole)
"""The guard's finer rules: hooks, settings, thresholds, expectations, lock files, modes, encodings."""

import base64
import string
from urllib.parse import quote

import pytest

from bot.config.schema import GuardPolicy
from bot.domain.values import FailureType, Task
from bot.repair.guard import Verdict, examine
from tests.support.stories import PULL, a_step

POLICY = GuardPolicy()
TOKEN = "gh" + "p_" + (string.ascii_letters + string.digits)[:36]


def change(path: str, old: str, new: str) -> str:
    before, after = old.splitlines(), new.splitlines()
    return (
        f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n"
        f"@@ -1,{len(before)} +1,{len(after)} @@\n"
        + "".join(f"-{line}\n" for line in before)
        + "".join(f"+{line}\n" for line in after)
    )


def rules(diff: str, *steps) -> set[str]:
    task = Task(PULL, "t", tuple(steps))
    return {one.rule for one in examine(diff, POLICY, task=task).findings}


CODE = change("app.py", "x = 1", "x = 2")
WEAKER = {
    "hook of pytest": change("conftest.py", "x", "x\ndef pytest_collection_modifyitems(items):"),
    "judging hook": change("src/plugin.py", "x", "def pytest_runtest_makereport(item, call):"),
    "addopts": change("pyproject.toml", 'addopts = "-ra"', "addopts = \"-ra -k 'not slow'\""),
    "testpaths": change("pytest.ini", "testpaths = tests e2e", "testpaths = tests"),
    "script": change("package.json", '"test": "pytest"', '"test": "pytest -k fast"'),
    "jest ignores": change(
        "package.json", '"jest": {', '"jest": {"testPathIgnorePatterns": ["a"],'
    ),
    "vitest chooses": change("vite.config.ts", "  roots: ['a', 'b'],", "  roots: ['a'],"),
    "coverage": change("pyproject.toml", "fail_under = 90", "fail_under = 60"),
    "coverage gone": change("setup.cfg", "fail_under = 90", "precision = 2"),
    "jest coverage": change("jest.config.js", "branches: 80,", "branches: 8,"),
    "flag": change("tox.ini", "pytest --cov-fail-under=90", "pytest --cov-fail-under=9"),
    "ends early": change("tests/conftest.py", "import os", "import os\nos._exit(0)"),
    "hidden skip": change("app.py", "x", "Base.__unittest_skip__ = True"),
}


@pytest.mark.parametrize("diff", WEAKER.values(), ids=WEAKER)
def test_fewer_tests_is_for_a_person(diff):
    assert "tests-deselected" in rules(diff)


SOUND = {
    "higher threshold": change("pyproject.toml", "fail_under = 80", "fail_under = 85"),
    "another tool": change("pyproject.toml", "line-length = 80", "line-length = 100"),
    "new settings": change("pytest.ini", "[pytest]", "[pytest]\ntestpaths = tests"),
    "exit in code": change("app.py", "x", "def exit_code() -> int:"),
}


@pytest.mark.parametrize("diff", SOUND.values(), ids=SOUND)
def test_honest_settings_pass(diff):
    assert rules(diff) == set()


EXPECTED = {
    "number": ("assert area(3) == 9", "assert area(3) == 6"),
    "comparison": ("assert area(3) == 9", "assert area(3) >= 9"),
    "method": ("self.assertEqual(f(), 2)", "self.assertIn(f(), 2)"),
    "text": ("expect(f()).toBe('a')", "expect(f()).toBe('b')"),
    "exception": ("with pytest.raises(ValueError, match='x'):", "with pytest.raises(ValueError):"),
}


@pytest.mark.parametrize(("old", "new"), EXPECTED.values(), ids=EXPECTED)
def test_expectations_that_change_are_for_a_person_with_the_code_or_without(old, new):
    test = change("tests/test_a.py", old, new)
    failed, lint = a_step(), a_step(FailureType.LINT, "lint")
    assert rules(CODE + test) == {"expectations-changed"}
    assert rules(CODE + test, lint) == {"expectations-changed"}
    assert rules(test) == rules(test, failed) == {"expectations-changed"}
    assert rules(test, failed, lint) == {"expectations-changed"}
    assert rules(test, lint) == set()  # how they are written is what failed


SAME = {
    "renamed": ("assert area(3) == 9", "assert surface(3) == 9"),
    "quotes": ("assert f() == 'a'", 'assert f() == "a"'),
    "laid out": ("assert f( 3 ) == 9", "assert f(3)==9"),
    "more": ("assert f(3) == 9", "assert f(3) == 9\nassert f(4) == 16"),
}


@pytest.mark.parametrize(("old", "new"), SAME.values(), ids=SAME)
def test_the_same_expectation_otherwise_put_passes(old, new):
    assert rules(CODE + change("tests/test_a.py", old, new)) == set()


LOCK = change("web/package-lock.json", '"a": "1"', '"a": "2"')
MANIFEST = change("web/package.json", '"a": "1"', '"a": "2"')


def test_a_lock_file_changes_only_where_it_must():
    assert rules(LOCK) == {"lock-file"}
    assert rules(LOCK + CODE) == {"lock-file"}
    assert rules(LOCK + MANIFEST) == set()
    assert rules(LOCK, a_step(FailureType.SECURITY, "audit")) == set()
    assert rules(LOCK, a_step(FailureType.RUNTIME, "package-lock.json is out of date")) == set()
    verdict = examine(LOCK, POLICY)
    assert (verdict.gates, verdict.approvable, verdict.another_way) == (
        ("protected_path",),
        True,
        True,
    )


MODE = "diff --git a/run.sh b/run.sh\nold mode 100644\nnew mode 100755\n"
NEW = "diff --git a/run.sh b/run.sh\nnew file mode 100755\n--- /dev/null\n+++ b/run.sh\n@@ -0,0 +1 @@\n+x\n"


@pytest.mark.parametrize(
    ("diff", "note"),
    [
        (MODE, "run.sh becomes executable"),
        (NEW, "run.sh becomes executable"),
        (
            MODE.replace("755", "6x4").replace("644", "755").replace("6x4", "644"),
            "run.sh is executable no more",
        ),
    ],
    ids=["mode", "new", "back"],
)
def test_a_change_of_mode_is_noted(diff, note):
    assert examine(diff, POLICY) == Verdict((), (note,))


DRESSED = {
    "percent": quote(TOKEN.replace("_", "%5F"), safe="%"),
    "escapes": "".join(f"\\x{ord(sign):02x}" for sign in TOKEN),
    "unicode escapes": "".join(f"\\u{ord(sign):04x}" for sign in TOKEN),
    "base64": base64.b64encode(TOKEN.encode()).decode(),
    "hex": TOKEN.encode().hex(),
    "backwards": TOKEN[::-1],
}


@pytest.mark.parametrize("text", DRESSED.values(), ids=DRESSED)
def test_a_secret_in_another_dress_is_seen(text):
    diff = change("app.py", "x", f'x = "{text}"')
    assert rules(diff) == {"secret"}
    assert text not in str(examine(diff, POLICY))


PIECES = {
    "plus": f'x = "{TOKEN[:12]}" + "{TOKEN[12:]}"',
    "lines": f'x = (\n    "{TOKEN[:12]}"\n    "{TOKEN[12:]}"\n)',
    "concatenated": f"x = '{TOKEN[:20]}'  +\n  '{TOKEN[20:]}'",
    "shell": f"x='{TOKEN[:20]}'\\\n'{TOKEN[20:]}'",
}


@pytest.mark.parametrize("text", PIECES.values(), ids=PIECES)
def test_a_secret_in_pieces_is_seen(text):
    (finding,) = examine(change("app.py", "x", text), POLICY).findings
    assert (finding.rule, finding.message) == (
        "secret",
        "looks like a secret in pieces: GitHub token",
    )
