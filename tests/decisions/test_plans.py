"""The plan of a run: its goals, when it is made anew, and what a backend is told of it."""

from typing import Any

import msgspec
import pytest

from bot.domain.runs import Attempt, PlanDelta, Result, Run
from bot.domain.values import FailureType
from bot.repair.plans import planned, told, written
from tests.support.pulls import HEAD, NOW, a_run
from tests.support.stories import a_step

TEST, LINT = a_step(), a_step(FailureType.LINT, "lint")
MEND_TEST, MEND_LINT = "mend test (test_assert): test broke", "mend lint (lint): lint broke"


def an_attempt(**changes: Any) -> Attempt:
    values = {"number": 1, "trigger": "t", "head": HEAD, "started_at": NOW}
    return Attempt(**{**values, **changes})


def tried(run: Run, **changes: Any) -> Run:
    return msgspec.structs.replace(run, attempts=(*run.attempts, an_attempt(**changes)))


def test_the_goals_are_the_failures_to_mend():
    run = planned(a_run(), (TEST, LINT), NOW)
    assert [(plan.id, plan.goals, plan.at) for plan in run.plans] == [
        ("r1.plan1", (MEND_TEST, MEND_LINT), NOW)
    ]
    assert run.deltas == ()


def test_the_unknown_is_to_be_found_out():
    (goal,) = planned(a_run(), (a_step(FailureType.UNKNOWN, "ci"),), NOW).plans[-1].goals
    assert goal == "find out why ci fails, for its log does not say, and mend that"


def test_a_plan_that_still_fits_is_kept_with_its_text():
    run = written(planned(a_run(), (TEST,), NOW), "1. do it", ("first",))
    assert planned(run, (TEST,), NOW) is run
    assert (run.plans[-1].text, run.plans[-1].by) == ("1. do it", ("first",))


def test_other_failures_take_another_plan_without_a_delta():
    run = planned(planned(a_run(), (TEST,), NOW), (LINT,), NOW)
    assert [plan.goals for plan in run.plans] == [(MEND_TEST,), (MEND_LINT,)]
    assert run.deltas == ()


def test_a_new_plan_keeps_what_made_it_necessary_and_how_it_differs():
    before = tried(planned(a_run(), (TEST, LINT), NOW), result=Result.REJECTED, reason="no good")
    run = planned(before, (TEST,), NOW, "same_error")
    lesson = "go another way than attempt 1: no good"
    assert run.plans[-1].goals == (MEND_TEST, lesson)
    assert run.deltas == (
        PlanDelta(
            id="r1.delta1",
            original="r1.plan1",
            new="r1.plan2",
            added=(lesson,),
            removed=(MEND_LINT,),
            triggered_by="same_error",
            at=NOW,
        ),
    )


def test_a_first_plan_may_have_been_made_necessary_too():
    (delta,) = planned(a_run(), (TEST,), NOW, "unknown_signals").deltas
    assert (delta.original, delta.new, delta.added) == ("", "r1.plan1", (MEND_TEST,))


def test_with_many_kinds_the_rest_is_left_for_later():
    goals = planned(a_run(), (LINT,), NOW, "many_types").plans[-1].goals
    assert goals == (MEND_LINT, "leave the other failing checks until these pass")


@pytest.mark.parametrize(
    ("attempt", "lesson"),
    [
        ({"result": Result.REJECTED, "reason": "tests failed"}, "tests failed"),
        ({"result": Result.GAVE_UP, "reason": "nothing left"}, "nothing left"),
        ({"result": Result.PATCH_APPLIED}, "CI stayed red"),
        ({"result": Result.PATCH_APPLIED, "worse": ("lint", "e2e")}, "it turned lint, e2e red"),
        ({"result": Result.ROLLED_BACK, "worse": ("lint",)}, "it turned lint red"),
        ({"result": Result.SUPERSEDED, "reason": "a new head"}, None),
        ({"result": Result.ESCALATED, "reason": "a secret"}, None),
        ({"result": Result.WORKING}, None),
    ],
)
def test_what_was_tried_is_a_lesson(attempt, lesson):
    goals = planned(tried(a_run(), **attempt), (TEST,), NOW, "same_error").plans[-1].goals
    told_so = () if lesson is None else (f"go another way than attempt 1: {lesson}",)
    assert goals == (MEND_TEST, *told_so)


def test_the_same_goals_are_no_new_plan_whatever_the_trigger():
    run = planned(a_run(), (TEST,), NOW, "unknown_persists")
    assert planned(run, (TEST,), NOW, "unknown_persists") is run


# --- what a backend reads -----------------------------------------------------------------------


def test_nothing_is_told_before_there_is_a_plan_or_when_it_only_repeats_the_failures():
    assert told(a_run()) == ""
    assert told(planned(a_run(), (TEST,), NOW)) == ""


def test_a_model_s_plan_is_told():
    assert told(written(planned(a_run(), (TEST,), NOW), "1. do it", ("first",))) == "1. do it"


def test_revised_goals_are_told_before_the_model_s_plan():
    run = tried(planned(a_run(), (TEST,), NOW), result=Result.REJECTED, reason="no good")
    run = planned(run, (TEST,), NOW, "same_error")
    goals = f"- {MEND_TEST}\n- go another way than attempt 1: no good"
    assert told(run) == goals
    assert told(written(run, "1. do it", ("first",))) == f"{goals}\n1. do it"
