"""The excerpt keeps what matters within its budget, and says what it cut."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.failures.classify import classify
from bot.failures.excerpt import BUDGET

DECIDING = "app.py:17:1: F401 `os` imported but unused"


def log_of(size: int, at: int) -> str:
    """Return a log of *size* lines of chatter with the deciding line at *at*."""
    lines = [f"chatter {number} " + "x" * 60 for number in range(size)]
    lines[at] = DECIDING
    return "\n".join(lines)


@given(st.integers(1, 4000), st.data())
@settings(max_examples=40)
def test_the_deciding_line_is_kept_with_its_neighbours(size, data):
    at = data.draw(st.integers(0, size - 1))
    log = log_of(size, at)
    told = classify(log).excerpt
    lines = log.splitlines()
    assert len(told) <= BUDGET
    for near in lines[max(0, at - 4) : at + 9]:
        assert near in told


def test_cuts_are_counted_and_add_up():
    log = log_of(5000, 2500)
    told = classify(log).excerpt
    cut = sum(int(number) for number in re.findall(r"\[… (\d+) lines cut …\]", told))
    kept = len([line for line in told.splitlines() if "lines cut" not in line])
    assert cut + kept == 5000
    assert cut > 0


def test_a_short_log_is_kept_whole():
    log = log_of(20, 10)
    assert classify(log).excerpt == log


def test_the_end_of_the_region_is_kept_where_tools_sum_up():
    log = log_of(3000, 10) + "\nFound 1 error."
    assert "Found 1 error." in classify(log).excerpt


@given(st.text(max_size=500), st.integers(1, 200))
@settings(max_examples=30)
def test_the_budget_holds_for_any_text(text, times):
    log = (text + "\nError: boom\n") * times
    assert len(classify(log).excerpt) <= BUDGET
