"""Are we getting anywhere? Streaks, the day's limit, what was made worse, and what to undo."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config.schema import RetryPolicy
from bot.domain.runs import Attempt, Result
from bot.domain.values import FailureType, Record, Sha
from bot.repair.progress import last_pushes, same_errors, stuck, undo_to, worse
from bot.repair.retry import spent
from tests.support.pulls import HEAD, NOW, a_run
from tests.support.stories import a_step

SEED = RetryPolicy(jitter=False)
FIRST, SECOND, THIRD, THEIRS = (Sha(letter * 40) for letter in "1239")


def an_attempt(**changes: Any) -> Attempt:
    values = {"number": 1, "trigger": "t", "head": HEAD, "started_at": NOW}
    return Attempt(**{**values, **changes})


def errors(keys: str, **changes: Any) -> list[Attempt]:
    """Return an attempt for each letter; a dot is an attempt without an error's key."""
    return [an_attempt(error_key=key.strip("."), **changes) for key in keys]


def diffs(keys: str) -> list[Attempt]:
    return [an_attempt(diff_fingerprint=key.strip(".")) for key in keys]


# --- streaks ------------------------------------------------------------------------------------

STREAKS = [
    ("", ""),
    ("aa", ""),
    ("aaa", "3 times"),
    ("aaaa", "3 times"),
    ("baaa", "3 times"),
    ("aaba", ""),
    ("aabaa", ""),
    ("...", ""),
    ("aa.", ""),
    ("a.aa", ""),
]


@pytest.mark.parametrize(("keys", "said"), STREAKS)
def test_the_same_error_three_times_is_no_progress(keys, said):
    reason = stuck(errors(keys), fallback=False, recent=0, retry=SEED)
    assert reason == (said and f"the same error came back {said}")


@pytest.mark.parametrize(("keys", "said"), STREAKS)
def test_the_same_change_three_times_is_no_progress(keys, said):
    reason = stuck(diffs(keys), fallback=False, recent=0, retry=SEED)
    assert reason == (said and f"the same change was proposed {said}")


def test_each_tier_has_a_streak_of_its_own():
    primary, fallback = errors("aa"), errors("a", fallback=True)
    assert not stuck([*primary, *fallback], fallback=False, recent=0, retry=SEED)
    assert not stuck([*primary, *fallback], fallback=True, recent=0, retry=SEED)
    assert stuck([*primary, *fallback, *errors("a")], fallback=False, recent=0, retry=SEED)


@given(keys=st.lists(st.sampled_from(["", "a", "b"]), max_size=8))
def test_the_law_of_streaks(keys):
    attempts = [an_attempt(error_key=key) for key in keys]
    count = same_errors(attempts)
    tail = keys[len(keys) - count :]
    assert all(key and key == keys[-1] for key in tail)
    longer = keys[max(len(keys) - count - 1, 0) :]
    assert len(longer) == count or not keys[-1] or longer[0] != keys[-1]


# --- the day's limit ----------------------------------------------------------------------------


@pytest.mark.parametrize(("recent", "ended"), [(0, False), (11, False), (12, True), (40, True)])
def test_a_day_has_a_limit_whatever_the_runs(recent, ended):
    reason = stuck([], fallback=False, recent=recent, retry=SEED)
    assert bool(reason) is ended
    assert reason.startswith(f"{recent} attempts were made") is ended


# --- limits of a run ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempts", "fallback", "said"),
    [
        ([("test", False)] * 2, False, ""),
        ([("test", False)] * 3, False, "`test` was tried 3 times by the primary backends"),
        ([("test", False)] * 3, True, ""),
        (
            [("test", False)] * 2 + [("test", True)] * 3,
            True,
            "`test` was tried 3 times by the fallback backends",
        ),
        ([("lint", False)] * 3, False, ""),
        ([("test", False)] * 3 + [("test", True)] * 3, True, "all 6 attempts of this run"),
        ([("lint", False)] * 3 + [("e2e", False)] * 3, False, "all 6 attempts of this run"),
    ],
)
def test_limits_per_run_and_per_check_and_tier(attempts, fallback, said):
    made = tuple(an_attempt(failing=(name,), fallback=tier) for name, tier in attempts)
    reason = spent(a_run(attempts=made), ["test"], fallback=fallback, retry=SEED)
    assert reason.startswith(said) if said else reason == ""


def test_a_reset_forgives_what_came_before():
    made = tuple(an_attempt(failing=("test",)) for _ in range(5))
    assert spent(a_run(attempts=made, since=0), ["test"], fallback=False, retry=SEED)
    assert not spent(a_run(attempts=made, since=3), ["test"], fallback=False, retry=SEED)


# --- made worse ---------------------------------------------------------------------------------


def a_push(head: Sha, commit: Sha, **changes: Any) -> Attempt:
    values = {"result": Result.PATCH_APPLIED, "passed": ("lint", "types")}
    return an_attempt(head=head, commit=commit, **{**values, **changes})


def judged(*steps, **changes):
    run = a_run(head=FIRST, attempts=(a_push(HEAD, FIRST),), **changes)
    return worse(run, steps, SEED)


def test_what_was_green_and_is_red_after_our_push_was_made_worse():
    steps = [a_step(FailureType.LINT, "lint"), a_step(), a_step(FailureType.TYPECHECK, "types")]
    assert judged(*steps) == ("lint", "types")


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(a_step(), id="red before"),
        pytest.param(a_step(FailureType.LINT, "lint", upstream=True), id="the base branch's"),
        pytest.param(a_step(FailureType.TRANSIENT, "lint"), id="transient"),
        pytest.param(a_step(FailureType.INFRA, "lint"), id="infra"),
        pytest.param(a_step(FailureType.RATE_LIMIT, "lint"), id="rate limit"),
        pytest.param(a_step(FailureType.LINT, "lint", record=Record(4, 3)), id="known to be flaky"),
    ],
)
def test_what_our_code_did_not_cause_is_not_blamed_on_it(step):
    assert judged(step) == ()


def test_a_flaky_check_that_comes_back_a_third_time_is_blamed():
    step = a_step(FailureType.LINT, "lint", record=Record(4, 3))
    assert judged(step, reruns=(("lint", 2),)) == ("lint",)


@pytest.mark.parametrize(
    ("changes", "head"),
    [
        ({}, SECOND),
        ({"result": Result.REJECTED}, FIRST),
        ({"result": Result.ROLLED_BACK}, FIRST),
        ({"result": Result.ESCALATED}, FIRST),
    ],
)
def test_without_a_push_of_ours_at_the_head_there_is_nothing_to_judge(changes, head):
    run = a_run(head=head, attempts=(a_push(HEAD, FIRST, **changes),))
    assert worse(run, [a_step(FailureType.LINT, "lint")], SEED) is None
    assert worse(a_run(head=head), [a_step()], SEED) is None


# --- what to undo -------------------------------------------------------------------------------

BAD = ("lint",)
ONE, TWO = a_push(HEAD, FIRST, worse=BAD), a_push(FIRST, SECOND, worse=BAD)
REJECTED = an_attempt(head=FIRST, result=Result.REJECTED)


@pytest.mark.parametrize(
    ("attempts", "head", "good"),
    [
        pytest.param((ONE, TWO), SECOND, HEAD, id="two in a row"),
        pytest.param((ONE, REJECTED, TWO), SECOND, HEAD, id="a rejected one moved nothing"),
        pytest.param(
            (a_push(THEIRS, HEAD), ONE, TWO), SECOND, HEAD, id="only the last two are undone"
        ),
        pytest.param((), HEAD, None, id="none"),
        pytest.param((ONE,), FIRST, None, id="one"),
        pytest.param((a_push(HEAD, FIRST), TWO), SECOND, None, id="the first did no harm"),
        pytest.param((ONE, a_push(FIRST, SECOND)), SECOND, None, id="the second did no harm"),
        pytest.param(
            (ONE, a_push(THEIRS, SECOND, worse=BAD)), SECOND, None, id="a push of theirs between"
        ),
        pytest.param((ONE, TWO), THEIRS, None, id="a push of theirs since"),
        pytest.param(
            (
                a_push(HEAD, FIRST, worse=BAD, result=Result.ROLLED_BACK),
                a_push(FIRST, SECOND, worse=BAD, result=Result.ROLLED_BACK),
                a_push(THIRD, FIRST, worse=BAD),
            ),
            FIRST,
            None,
            id="what was undone counts no more",
        ),
    ],
)
def test_two_pushes_that_made_it_worse_are_undone_if_they_are_ours_to_undo(attempts, head, good):
    assert undo_to(a_run(head=head, attempts=attempts)) == good


def test_the_last_pushes_leave_out_what_moved_nothing():
    assert last_pushes(a_run(attempts=(ONE, REJECTED, TWO, REJECTED))) == (ONE, TWO)
    assert last_pushes(a_run()) == ()
