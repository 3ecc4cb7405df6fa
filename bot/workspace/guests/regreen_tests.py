"""Tells which tests there are; runs inside the sandbox, by the project's own Python.

Imported by pytest it is a plugin (`-p regreen_tests`, with `--collect-only`); run as a program it
is `python -m unittest` that runs nothing. Either way each test becomes a line of JSON in
`counted.jsonl`, beside this file's folder: its id, whether it is skipped or expected to fail, and
how many assertions its source holds (null when its source cannot be read). It imports nothing of
ours and works with Python 3.8 and newer, for it is the project's version that runs it.
"""

import ast
import inspect
import json
import sys
import textwrap
import unittest
from pathlib import Path
from typing import Any, Iterable, Iterator, Optional, Tuple  # noqa: UP035  # also for Python 3.8

if __name__ != "__main__":  # unittest alone needs no pytest, which takes long to import
    from _pytest import outcomes, skipping

Told = Tuple[str, bool, Optional[int]]  # noqa: UP006, UP045

ASSERTING = ("assert", "fail", "raises", "warns", "expect", "verify", "check")


def pytest_collection_finish(session: Any) -> None:
    """Tell of every test that pytest would run."""
    _tell((one.nodeid, _marked(one), _count(getattr(one, "obj", None))) for one in session.items)


def _marked(item: Any) -> bool:
    try:
        return bool(skipping.evaluate_skip_marks(item) or skipping.evaluate_xfail_marks(item))
    except outcomes.OutcomeException:  # a condition that makes no sense: the test itself will fail
        return False
    except AttributeError:  # an old pytest, which keeps them elsewhere
        return any(True for name in ("skip", "xfail") for _ in item.iter_markers(name))


def _count(function: Any) -> Optional[int]:  # noqa: UP045
    """Count the assertions in a function's source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    return sum(isinstance(node, ast.Assert) or _asserts(node) for node in ast.walk(tree))


def _asserts(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = str(getattr(node.func, "attr", getattr(node.func, "id", "")))
    return name.lower().startswith(ASSERTING)


class _Lister:
    """In place of unittest's runner: tells of the tests and runs none."""

    def run(self, suite: Any) -> unittest.TestResult:
        """Tell of the tests of a suite, but those that only say that a module cannot be read."""
        _tell(_of(case) for case in _cases(suite) if type(case).__name__ != "_FailedTest")
        return unittest.TestResult()


def _cases(suite: Any) -> Iterator[unittest.TestCase]:
    if isinstance(suite, unittest.TestCase):
        yield suite
        return
    for one in suite:
        yield from _cases(one)


def _of(case: unittest.TestCase) -> Told:
    method = getattr(case, getattr(case, "_testMethodName", ""), None)
    marks = ("__unittest_skip__", "__unittest_expecting_failure__")
    skipped = any(getattr(one, mark, False) for one in (case, method) for mark in marks)
    return case.id(), skipped, _count(method)


def _tell(tests: Iterable[Told]) -> None:
    with (Path(__file__).resolve().parents[1] / "counted.jsonl").open(
        "a", encoding="utf-8"
    ) as file:
        for identity, skipped, asserts in tests:
            json.dump({"id": identity, "skipped": skipped, "asserts": asserts}, file)
            file.write("\n")


if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())  # as `python -m` has it
    unittest.main(
        module=None, argv=["python -m unittest", *sys.argv[1:]], testRunner=_Lister(), exit=False
    )
