"""The same failure has the same key; a different one has not."""

from datetime import UTC, datetime
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.failures.classify import classify
from bot.failures.fingerprint import fingerprint, normal, of_lines

FAILED = "FAILED tests/test_{a}.py::test_{a} - assert {n} == 4\n"
NUMBER = st.integers(0, 10**6)

LOG = """\
{time} ============ FAILURES ============
____ test_a ____
E       assert 3 == 4 at 0x{address:x}
tests/test_a.py:{line}: AssertionError
E       AssertionError: /tmp/pytest-of-runner/pytest-{run}/x is not {sha}
FAILED tests/test_a.py::test_a - assert 3 == 4
==== 1 failed, 2 passed in {seconds}.{run}s ====
"""

TIMES = (
    st.integers(10**9, 2 * 10**9)
    .map(lambda at: datetime.fromtimestamp(at, UTC))
    .map(lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.1234567Z"))
)
SHAS = st.text("0123456789abcdef", min_size=40, max_size=40)


@given(TIMES, NUMBER, NUMBER, NUMBER, NUMBER, SHAS)
def test_what_changes_from_run_to_run_does_not_count(time, address, line, run, seconds, sha):
    def told(**changed):
        values = {
            "time": "2026-01-01T00:00:00Z",
            "address": 1,
            "line": 1,
            "run": 1,
            "seconds": 1,
            "sha": "0" * 40,
        }
        return LOG.format(**(values | changed))

    other = told(time=time, address=address, line=line, run=run, seconds=seconds, sha=sha)
    assert classify(told()).fingerprint == classify(other).fingerprint
    assert fingerprint(told()) == fingerprint(other)


@given(st.permutations(["one", "two", "three", "four"]))
def test_the_order_of_tests_does_not_count(names):
    log = "".join(FAILED.format(a=name, n=3) for name in names)
    usual = "".join(FAILED.format(a=name, n=3) for name in ("one", "two", "three", "four"))
    assert classify(log).fingerprint == classify(usual).fingerprint


class Alike(str):
    """Text of which a set tells the order of coming, as it may in another process."""

    __slots__ = ()

    def __hash__(self):
        return 1


def test_of_too_many_lines_the_same_ones_count_in_any_order():
    lines = [Alike(f"error E{number}") for number in range(300)]
    assert of_lines(lines) == of_lines(reversed(lines))


@given(st.text())
def test_any_text_has_a_key(text):
    assert len(fingerprint(text)) == 16
    assert normal(normal(text)) == normal(text) or len(text) > 5


DIFFERENT = (
    "FAILED tests/test_a.py::test_a - assert 3 == 4",
    "FAILED tests/test_a.py::test_b - assert 3 == 4",
    "FAILED tests/test_b.py::test_a - assert 3 == 4",
    "FAILED tests/test_a.py::test_a - assert 'x' == 'y'",
    "app.py:1:8: F401 `os` imported but unused",
    "app.py:1:8: F401 `sys` imported but unused",
    "app.py:1:8: F841 local variable `os` is assigned to but never used",
    "a.py:1: error: Incompatible types in assignment  [assignment]",
    "error[E0425]: cannot find value `x` in this scope",
    "error[E0425]: cannot find value `y` in this scope",
)


@pytest.mark.parametrize(("one", "other"), list(combinations(DIFFERENT, 2)))
def test_different_failures_differ(one, other):
    assert classify(one).fingerprint != classify(other).fingerprint


def test_a_signal_keeps_its_key_and_a_bare_one_gets_one():
    signal = classify(DIFFERENT[0])
    assert fingerprint(signal) == signal.fingerprint
