"""A run as rows: which outcome a choice had, where the limits stand, who was asked."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from bot.domain.history import (
    OUTCOMES,
    Escalation,
    RetryState,
    escalations,
    history,
    retry_state,
    step_id,
)
from bot.domain.runs import (
    Attempt,
    Choice,
    Gate,
    Judged,
    Result,
    Run,
    RunState,
    Strategy,
)
from bot.domain.values import FailureType, PullRef, RunId, Sha

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
A, B = Sha("a" * 40), Sha("b" * 40)
LINT = Judged("lint", FailureType.LINT, 0.9, "F401 unused")
TEST = Judged("test", FailureType.TEST_ASSERT, 0.8, "1 failed")
LIMITS = (("total attempts allowed", "10"), ("attempts allowed per check", "5"))


def at(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)


def a_run(**changes) -> Run:
    run = Run(RunId("r1"), PullRef("o/r", 7), RunState.WORKING, A, 1, NOW, NOW)
    return msgspec.structs.replace(run, **changes)


def a_choice(number: int = 1, minutes: int = 0, **changes) -> Choice:
    choice = Choice(number, at(minutes), A, Strategy.PATCH, "why", judged=(LINT,))
    return msgspec.structs.replace(choice, **changes)


def an_attempt(number: int = 1, minutes: int = 0, **changes) -> Attempt:
    attempt = Attempt(number, "pr-7-aaa", A, at(minutes), failing=("lint",))
    return msgspec.structs.replace(attempt, **changes)


def a_gate(name: str, minutes: int, head: Sha = A) -> Gate:
    return Gate(name, ("security",), head, "why", "", at(minutes), at(99), at(999))


# --- The history ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (Result.WORKING, ""),
        (Result.RETRIED, "retried"),
        (Result.REJECTED, "retried"),
        (Result.PATCH_APPLIED, "patch_applied"),
        (Result.PATCH_POSTED, "escalated"),
        (Result.REPLANNED, "replanned"),
        (Result.ESCALATED, "escalated"),
        (Result.ROLLED_BACK, "rolled_back"),
        (Result.GAVE_UP, "gave_up"),
        (Result.BLOCKED, "blocked"),
        (Result.SUPERSEDED, "superseded"),
    ],
)
def test_results_read_as_the_outcomes_of_the_design(result: Result, outcome: str):
    of_its_own = a_run(choices=(a_choice(result=result),))
    of_its_attempt = a_run(choices=(a_choice(attempt=1),), attempts=(an_attempt(result=result),))
    assert [history(run)[0].outcome for run in (of_its_own, of_its_attempt)] == [outcome, outcome]


def test_every_result_has_its_word():
    assert set(OUTCOMES) == set(Result)


def test_a_choice_has_a_row_for_each_failing_check():
    choices = (
        a_choice(1, judged=(LINT, TEST), attempt=1),
        a_choice(2, 9, strategy=Strategy.RETRY, result=Result.RETRIED, backoff_s=2.5),
    )
    attempts = (an_attempt(result=Result.PATCH_APPLIED, ended_at=at(3)),)
    first, second, third = history(a_run(choices=choices, attempts=attempts))
    assert (first.id, first.run, first.step, first.check) == ("r1.1.1", "r1", "r1/lint", "lint")
    assert (first.signal_type, first.strategy, first.attempt) == ("lint", Strategy.PATCH, 1)
    assert (first.created_at, first.updated_at, first.backoff_s) == (NOW, at(3), None)
    assert (second.id, second.signal_type) == ("r1.1.2", "test_assert")
    assert (third.id, third.strategy, third.outcome) == ("r1.2.1", Strategy.RETRY, "retried")
    assert (third.created_at, third.updated_at, third.backoff_s) == (at(9), at(9), 2.5)


def test_checks_of_one_name_have_rows_of_their_own():
    rows = history(a_run(choices=(a_choice(judged=(LINT, LINT)),)))
    assert [row.id for row in rows] == ["r1.1.1", "r1.1.2"]
    assert {row.step for row in rows} == {step_id(RunId("r1"), "lint")}


def test_a_choice_about_no_check_is_told_as_well():
    (row,) = history(a_run(choices=(a_choice(judged=(), result=Result.BLOCKED),)))
    assert (row.step, row.check, row.signal_type, row.outcome) == ("", "", "", "blocked")


def test_a_number_that_comes_again_after_a_reset_is_another_attempt():
    attempts = (
        an_attempt(1, 0, result=Result.REJECTED),
        an_attempt(2, 10, result=Result.REJECTED),
        an_attempt(1, 20, result=Result.PATCH_APPLIED),
    )
    choices = (a_choice(1, 0, attempt=1), a_choice(2, 10, attempt=2), a_choice(3, 20, attempt=1))
    rows = history(a_run(choices=choices, attempts=attempts))
    assert [row.outcome for row in rows] == ["retried", "retried", "patch_applied"]


def test_without_choices_there_is_no_history():
    assert history(a_run(attempts=(an_attempt(),))) == ()


# --- Limits -----------------------------------------------------------------------------------


def test_what_was_tried_is_counted_by_check():
    attempts = (
        an_attempt(1, failing=("lint", "test")),
        an_attempt(2, failing=("test", "test")),  # two checks of one name are one step
    )
    choices = (
        a_choice(1, backoff_s=10.0, inputs=(*LIMITS[:1], ("attempts allowed per check", "3"))),
        a_choice(2, inputs=LIMITS),
    )
    assert retry_state(a_run(attempts=attempts, choices=choices)) == RetryState(
        counter=2,
        per_step={"lint": 1, "test": 2},
        total=2,
        last_backoff_s=10.0,
        total_allowed=10,
        per_step_allowed=5,
    )


def test_a_reset_forgives_what_was_before():
    attempts = (an_attempt(1), an_attempt(2), an_attempt(1, failing=("test",)))
    state = retry_state(a_run(attempts=attempts, since=2))
    assert (state.counter, state.per_step, state.total) == (1, {"test": 1}, 1)


def test_a_run_without_choices_has_the_limits_of_the_seed():
    assert retry_state(a_run()) == RetryState(0, {}, 0, None, 6, 3)


# --- Escalations ------------------------------------------------------------------------------


def test_only_choices_that_asked_a_person_are_escalations():
    asked = a_choice(2, 5, strategy=Strategy.ESCALATE, reason="a secret", judged=(TEST, LINT, TEST))
    run = a_run(choices=(a_choice(1), asked, a_choice(3, 9)))
    assert escalations(run) == (
        Escalation("r1.2", RunId("r1"), "a secret", ("test_assert", "lint"), "", at(5)),
    )


def test_a_gate_belongs_to_the_last_escalation_before_it_on_its_head():
    choices = tuple(
        a_choice(number, minutes, head=head, strategy=Strategy.ESCALATE)
        for number, minutes, head in ((1, 0, A), (2, 5, A), (3, 7, B), (4, 9, A))
    )
    gates = (a_gate("early", -1), a_gate("first", 8), a_gate("last", 9))
    asked = escalations(a_run(choices=choices, gates=gates))
    assert [one.gate for one in asked] == ["", "first", "", "last"]
