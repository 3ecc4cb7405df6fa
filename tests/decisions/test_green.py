"""What a green CI says of the work before it."""

from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.runs import Result, RunState, Wish
from bot.domain.values import CheckState
from tests.support.stories import World, a_check, a_policy


def turns_green(world: World) -> list[str]:
    world.checks = (a_check(state=CheckState.PASSED),)
    return world.play()


def test_an_attempt_at_work_ends_with_its_run():
    world = World()
    world.answers["first"] = Answer(Ending.UNAVAILABLE, detail="503")
    world.play()
    turns_green(world)
    assert (world.run.state, world.run.attempts[0].result) == (RunState.GREEN, Result.SUPERSEDED)
    assert "green again without it" in world.comments[0].body.partition("\n")[0]


def test_what_passes_by_itself_after_we_gave_up_is_known_as_flaky():
    world = World(policy=a_policy(primary=()))
    world.play()
    assert world.run.state is RunState.GAVE_UP
    assert turns_green(world) == ["ReadFacts", "Remember", "RetireMarkers"]
    (kept,) = world.made(effects.Remember)
    assert [(one.check, one.flaked) for one in kept.observations] == [("test", True)]
    assert world.run.state is RunState.GAVE_UP, "it stays ended"


def test_what_passes_by_itself_after_a_stop_is_known_as_flaky():
    world = World()
    world.answers["first"] = Answer(Ending.UNAVAILABLE, detail="503")
    world.play()
    world.play(Wish.STOP)
    assert "Remember" in turns_green(world)


def test_a_green_run_tells_once():
    world = World()
    world.answers["first"] = Answer(Ending.UNAVAILABLE, detail="503")
    world.play()
    assert "Remember" in turns_green(world)
    assert "Remember" not in world.play()
