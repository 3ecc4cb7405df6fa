"""A budget of ours that is used up: a person is asked, and the attempt is not counted."""

from datetime import UTC, datetime

import pytest

from bot.config.schema import BackendName, ReviewMode, ReviewPolicy
from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.runs import Result, RunState, Wish
from bot.domain.values import Conclusion
from bot.repair import attempts
from bot.repair.unpaid import MOST_WAITS
from tests.support.stories import NOON, OTHER, World, a_policy, a_pull

CHAIN = (BackendName("first", "model-1"), BackendName("second", "model-2"))
FULL = Answer(Ending.BUDGET, detail="first: the budget of pull octo/shop#7 is 1 USD")


def a_world(**changes) -> World:
    return World(policy=a_policy(primary=CHAIN), answers={"first": FULL}, **changes)


def asked(world: World) -> list[str]:
    return [effect.backend for effect in world.made(effects.RunBackend)]


def test_a_used_up_budget_waits_for_a_person_and_no_other_backend_is_asked():
    world = a_world()
    world.play()
    assert asked(world) == ["first"]
    assert (world.state(), world.wakes) == (RunState.WAITING_PERSON, [])
    assert world.run.attempts[-1].result is Result.ESCALATED
    assert "a budget is used up: first: the budget of pull octo/shop" in world.comments[0].body
    assert world.cards[-1].conclusion is Conclusion.ACTION_REQUIRED


def test_it_stays_so_until_somebody_asks():
    world = a_world()
    world.play()
    world.later(86_400)
    world.play()
    assert asked(world) == ["first"]
    assert world.state() is RunState.WAITING_PERSON


def test_the_attempt_is_not_counted():
    world = a_world()
    world.play()
    assert attempts.count(world.comments) == 0
    world.pull, world.answers = a_pull(head=OTHER), {}
    world.play()
    world.play()
    assert world.run.attempts[-1].number == 1


def test_the_same_attempt_goes_on_and_counts_when_somebody_asks():
    world = a_world()
    world.play()
    world.answers = {}
    world.play(Wish.FIX, by="mona")
    (attempt,) = world.run.attempts
    assert asked(world) == ["first", "first"]
    assert (attempt.number, attempt.result) == (1, Result.PATCH_APPLIED)
    assert (len(world.comments), attempts.count(world.comments)) == (1, 1)


# --- a budget of the day ------------------------------------------------------------------------

DAY = Answer(
    Ending.BUDGET, detail="first: the budget of acme today is 1 USD", retry_after_s=43_200.0
)
MIDNIGHT = datetime(2026, 3, 2, 0, 0, 1, tzinfo=UTC)


def test_a_budget_of_the_day_is_waited_for_and_the_moment_is_told():
    world = World(policy=a_policy(primary=CHAIN), answers={"first": DAY})
    world.play()
    assert (world.state(), world.wakes) == (RunState.WAITING_DELAY, [43_201.0])
    assert world.run.wake_at == MIDNIGHT
    assert "a budget is used up, I go on at 2026-03-02 00:00 UTC: first" in world.comments[0].body
    assert attempts.count(world.comments) == 0
    assert world.cards[-1].conclusion is None
    assert asked(world) == ["first"]


def test_nothing_is_asked_before_and_it_goes_on_by_itself_then():
    world = World(policy=a_policy(primary=CHAIN), answers={"first": [DAY, Answer(Ending.EDITED)]})
    world.play()
    world.later(3_600)
    world.play()
    assert asked(world) == ["first"]
    world.now = MIDNIGHT
    world.play()
    (attempt,) = world.run.attempts
    assert (attempt.number, attempt.result) == (1, Result.PATCH_APPLIED)
    assert (len(world.comments), attempts.count(world.comments)) == (1, 1)
    assert "a budget is used up" not in world.comments[0].body


def test_days_that_are_not_enough_are_a_person_s_in_the_end():
    world = World(policy=a_policy(primary=CHAIN), answers={"first": DAY})
    for _ in range(MOST_WAITS):
        world.play()
        assert world.state() is RunState.WAITING_DELAY
        world.later(world.wakes[-1])
    world.play()
    assert world.state() is RunState.WAITING_PERSON
    assert attempts.count(world.comments) == 0


# --- a budget that keeps judges silent ------------------------------------------------------------

JUDGES = (BackendName("ann", ""), BackendName("ben", ""))
DOWN = Answer(Ending.UNAVAILABLE, detail="503")


def judged(drain: str, **opinions) -> World:
    strict = ReviewPolicy(mode=ReviewMode.GATE)
    policy = a_policy(**{drain: JUDGES}, review=strict)
    world = World(policy=policy, opinions=opinions)
    world.play()
    return world


@pytest.mark.parametrize("drain", ["analysts", "reviewers"])
@pytest.mark.parametrize("other", [DAY, DOWN, FULL])
def test_judges_whom_the_day_s_budget_keeps_silent_are_waited_for(drain, other):
    world = judged(drain, ann=DAY, ben=other)
    assert world.made(effects.Push) == []
    assert (world.state(), world.run.wake_at) == (RunState.WAITING_DELAY, MIDNIGHT)
    who = drain.removesuffix("s")
    assert f"no {who} could judge the change: a budget is used up" in world.comments[0].body
    assert attempts.count(world.comments) == 0
    world.opinions = {name: Answer(Ending.NO_CHANGE, "VERDICT: yes") for name in ("ann", "ben")}
    world.now = MIDNIGHT
    world.play()
    assert len(world.made(effects.Push)) == 1
    assert world.run.attempts[-1].number == 1


@pytest.mark.parametrize(("drain", "gate"), [("analysts", "analysis"), ("reviewers", "review")])
def test_judges_whom_another_budget_keeps_silent_leave_it_to_a_person(drain, gate):
    world = judged(drain, ann=FULL, ben=DOWN)
    assert world.made(effects.Push) == []
    assert world.run.gate is not None
    assert world.run.gate.types == (gate,)
    world.play(Wish.APPROVE, by="hubot")
    assert len(world.made(effects.Push)) == 1


def test_one_analyst_s_verdict_is_enough_though_another_is_kept_silent():
    world = judged("analysts", ann=DAY, ben=Answer(Ending.NO_CHANGE, "VERDICT: yes"))
    assert len(world.made(effects.Push)) == 1
    assert world.now == NOON


def test_a_capped_reviewer_who_only_advises_holds_nothing():
    policy = a_policy(reviewers=JUDGES, review=ReviewPolicy(mode=ReviewMode.ADVISORY))
    world = World(policy=policy, opinions={"ann": FULL, "ben": FULL})
    world.play()
    assert len(world.made(effects.Push)) == 1
