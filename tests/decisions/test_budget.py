"""A budget of ours that is used up: a person is asked, and the attempt is not counted."""

from bot.config.schema import BackendName
from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.runs import Result, RunState, Wish
from bot.domain.values import Conclusion
from bot.repair import attempts
from tests.support.stories import OTHER, World, a_policy, a_pull

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
