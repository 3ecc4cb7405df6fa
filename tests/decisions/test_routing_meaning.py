"""What each ending means: Ralph's table, row by row, and the rests that double."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.answers import Ending
from bot.domain.health import RestKind
from bot.routing.meaning import (
    MEANINGS,
    RESTS,
    Again,
    Fault,
    Halt,
    Onward,
    Then,
    Through,
    after,
    rest_for,
)

# ending, what follows, the wait before the same lane, whether the attempt counts, whose fault
TABLE = [
    (Ending.EDITED, Then.GO_ON, 0, True, Fault.NONE),
    (Ending.NO_CHANGE, Then.NEXT, 0, True, Fault.TASK),
    (Ending.REFUSED, Then.NEXT, 0, True, Fault.TASK),
    (Ending.CONTEXT_EXCEEDED, Then.NEXT, 0, True, Fault.TASK),
    (Ending.RATE_LIMITED, Then.NEXT, 0, False, Fault.LANE),
    (Ending.USAGE_LIMIT, Then.NEXT, 0, False, Fault.LANE),
    (Ending.AUTH, Then.NEXT, 0, False, Fault.LANE),
    (Ending.NOT_FOUND, Then.NEXT, 0, False, Fault.LANE),
    (Ending.KILLED, Then.NEXT, 0, True, Fault.LANE),
    (Ending.TOOL_FAILED, Then.NEXT, 0, True, Fault.LANE),
    (Ending.UNAVAILABLE, Then.SAME, 3_000, False, Fault.LANE),
    (Ending.NETWORK, Then.SAME, 2_000, False, Fault.LANE),
    (Ending.TIMEOUT, Then.SAME, 1_000, True, Fault.LANE),
    (Ending.INVALID, Then.SAME, 500, True, Fault.LANE),
    (Ending.BUDGET, Then.STOP, 0, False, Fault.HERE),
    (Ending.DISK_FULL, Then.STOP, 0, False, Fault.HERE),
]


def test_every_ending_has_a_row_here_and_there():
    assert {row[0] for row in TABLE} == set(Ending) == set(MEANINGS)


@pytest.mark.parametrize(("ending", "then", "after_ms", "counts", "fault"), TABLE)
def test_the_table(ending, then, after_ms, counts, fault):
    meaning = MEANINGS[ending]
    assert (meaning.then, meaning.after_ms) == (then, after_ms)
    assert (meaning.counts, meaning.fault) == (counts, fault)


def test_only_a_lanes_own_fault_starts_a_rest():
    assert {ending for ending, one in MEANINGS.items() if one.rest} == {
        ending for ending, one in MEANINGS.items() if one.fault is Fault.LANE
    }


def test_a_person_is_asked_where_nothing_else_helps():
    asked = {ending for ending, one in MEANINGS.items() if one.person}
    assert asked == {Ending.AUTH, Ending.NOT_FOUND, Ending.BUDGET, Ending.DISK_FULL}


@pytest.mark.parametrize(
    ("kind", "lengths"),
    [
        (RestKind.CREDITS, [60, 120, 240, 480, 960, 1800, 1800]),
        (RestKind.BROKEN, [5, 10, 20, 40, 60, 60]),
        (RestKind.SILENT, [5, 10, 20, 30, 30]),
    ],
)
def test_rests_double_up_to_their_longest(kind, lengths):
    assert [rest_for(kind, nth).total_seconds() for nth in range(len(lengths))] == lengths


@given(st.sampled_from(RestKind), st.integers(0, 10_000))
def test_a_rest_never_shrinks_nor_passes_its_longest(kind, nth):
    first, longest = RESTS[kind]
    one, other = (rest_for(kind, n).total_seconds() for n in (nth, nth + 1))
    assert first <= one <= other <= longest


@pytest.mark.parametrize("ending", [row[0] for row in TABLE if row[1] is Then.SAME])
def test_what_passes_by_itself_is_tried_again_three_times(ending):
    steps = [after(ending, failures=nth, fit=True) for nth in range(1, 6)]
    assert [type(step) for step in steps] == [Again, Again, Again, Onward, Onward]
    assert steps[0] == Again(MEANINGS[ending].after_ms / 1000)


def test_a_lane_that_is_not_fit_any_more_is_not_asked_again():
    assert isinstance(after(Ending.UNAVAILABLE, failures=1, fit=False), Onward)


def test_a_short_retry_after_is_waited_for():
    assert after(Ending.UNAVAILABLE, failures=1, fit=True, retry_after_s=7.0) == Again(7.0)
    assert after(Ending.UNAVAILABLE, failures=1, fit=True, retry_after_s=1.0) == Again(3.0)


@pytest.mark.parametrize("ending", [row[0] for row in TABLE if row[1] is Then.NEXT])
def test_what_does_not_pass_is_left_at_once(ending):
    assert isinstance(after(ending, failures=1, fit=True), Onward)


def test_an_edit_goes_on_and_a_full_disk_stops():
    assert after(Ending.EDITED, failures=1, fit=True) == Through()
    assert after(Ending.DISK_FULL, failures=1, fit=True) == Halt(MEANINGS[Ending.DISK_FULL].person)


@given(st.sampled_from(Ending), st.integers(1, 9), st.integers(0, 9))
def test_no_lane_is_asked_more_often_than_it_may(ending, failures, most):
    step = after(ending, failures=failures, fit=True, max_retries=most)
    assert not isinstance(step, Again) or failures <= most
