"""Who works, over whole passes: health decides, what passes is waited out, nothing is lost."""

from datetime import timedelta

import msgspec
import pytest

from bot.config.schema import BackendName, Drains, Lane, RoutingPolicy, Strategy
from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.runs import Result, RunState, Wish
from bot.repair import attempts
from bot.repair.backends import PATIENCE, PATIENCE_BEFORE_FALLBACK
from bot.repair.explain import explain_text
from bot.routing.compare import assigned
from tests.support.stories import NOON, ONE_PASS, PULL, World, a_policy

FIRST, SECOND = BackendName("first", "model-1"), BackendName("second", "model-2")
FALLBACK = BackendName("backend_for_failed_pr", "model-3")
CHAIN = (FIRST, SECOND)
EDITED = Answer(Ending.EDITED)
DOWN = Answer(Ending.UNAVAILABLE, detail="503")
BAD_KEY = Answer(Ending.AUTH, detail="first: the endpoint answered 401")


def limited(seconds: float) -> Answer:
    return Answer(Ending.RATE_LIMITED, detail="429", retry_after_s=seconds)


def a_world(*chain: BackendName, **changes) -> World:
    answers = changes.pop("answers", {})
    return World(policy=a_policy(primary=chain or CHAIN, **changes), answers=answers)


def asked(world: World) -> list[str]:
    return [effect.backend for effect in world.made(effects.RunBackend)]


def told(world: World) -> str:
    return world.comments[-1].body


def test_a_limited_backend_gives_way_to_the_next_and_the_attempt_counts_once():
    world = a_world(answers={"first": limited(600)})
    world.play()
    assert asked(world) == ["first", "second"]
    (attempt,) = world.run.attempts
    assert (attempt.number, attempt.backend, attempt.result) == (1, "second", Result.PATCH_APPLIED)
    assert attempt.tried == (("first", "rate limited: 429"),)
    assert attempts.count(world.comments) == 1
    assert world.pauses == []


def test_the_next_task_does_not_even_ask_a_backend_that_rests():
    world = a_world(answers={"first": limited(600)})
    world.play()
    later = a_world()
    later.known, later.now = world.known, world.now + timedelta(seconds=60)
    later.play()
    assert asked(later) == ["second"]
    assert "first does not: rests until 12:10:00: rate limited" in told(later)
    assert "first was left: rests until 12:10:00" in explain_text(world.run)


def test_once_the_limit_is_over_the_first_is_come_back_to():
    world = a_world(answers={"first": limited(600)})
    world.play()
    later = a_world()
    later.known, later.now = world.known, world.now + timedelta(seconds=601)
    later.play()
    assert asked(later) == ["first"]


@pytest.mark.parametrize(
    ("ending", "pauses"),
    [
        (Ending.UNAVAILABLE, [3.0]),
        (Ending.NETWORK, [2.0]),
        (Ending.TIMEOUT, [1.0]),
        (Ending.INVALID, [0.5]),
    ],
)
def test_what_passes_by_itself_is_tried_again_on_the_same_backend(ending, pauses):
    world = a_world(answers={"first": [Answer(ending), EDITED]})
    world.play()
    assert (asked(world), world.pauses) == (["first", "first"], pauses)
    assert world.run.attempts[0].result is Result.PATCH_APPLIED
    calls = [effect.call for effect in world.made(effects.RunBackend)]
    assert calls == [0, 1], "each call is heard of by a key of its own"


def test_a_backend_that_a_probe_finds_up_is_asked_again_at_once():
    world = a_world(answers={"first": DOWN})
    world.up = True
    world.play()
    assert (asked(world), world.pauses) == (["first"] * 3 + ["second"], [])


def test_a_backend_that_does_not_come_back_is_left_after_three_failures():
    world = a_world(answers={"first": DOWN})
    world.play()
    assert asked(world) == ["first"] * 3 + ["second"]
    assert world.pauses == [3.0, 3.0]


@pytest.mark.parametrize(("retries", "calls"), [(0, 1), (1, 2), (2, 3)])
def test_the_file_says_how_often_a_backend_is_asked_again(retries, calls):
    world = a_world(drains=Drains(max_retries=retries), answers={"first": DOWN})
    world.play()
    assert asked(world) == ["first"] * calls + ["second"]


def cycled(**changes) -> Drains:
    return Drains(max_retries=0, own_rounds=True, **changes)


def test_a_chain_is_gone_through_so_many_times_and_then_the_attempt_has_failed():
    down = Answer(Ending.UNAVAILABLE, detail="503", retry_after_s=1.0)
    world = a_world(drains=cycled(max_cycles=2), answers={"first": down, "second": down})
    world.play()
    assert asked(world) == ["first", "second"] * 2
    assert world.pauses == [1.0]
    (attempt,) = world.run.attempts
    assert attempt.result is Result.REJECTED
    assert attempt.reason.startswith("no backend could be used in 2 trips through the chain: ")


def test_trips_are_as_far_apart_as_the_file_says():
    drains = cycled(retry_delay_ms=20_000, multiplier_hundredths=300, max_cycles=4)
    world = a_world(drains=drains, answers={"first": DOWN, "second": DOWN})
    for _ in range(4):
        world.play()
        world.later(world.wakes[-1])
    assert world.wakes[:3] == [20.0, 60.0, 60.0]
    assert sorted(asked(world)) == ["first"] * 4 + ["second"] * 4
    assert world.run.attempts[0].result is Result.REJECTED


def test_an_answer_that_counts_begins_the_trips_anew():
    drains = cycled(max_cycles=2)
    world = a_world(FIRST, drains=drains, answers={"first": [DOWN, Answer(Ending.EDITED)]})
    world.play()
    assert world.run.attempts[0].result is Result.PATCH_APPLIED
    assert world.run.attempts[0].outages == 0


def test_a_refused_key_is_told_with_how_to_mend_it_and_the_next_one_mends():
    world = a_world(answers={"first": BAD_KEY})
    world.play()
    assert asked(world) == ["first", "second"]
    assert "auth (its key is refused: give it another): first: the endpoint" in told(world)
    assert world.state() is RunState.WAITING_CI


def test_with_no_other_backend_it_waits_and_says_which_and_how_to_mend_it():
    world = a_world(FIRST, answers={"first": BAD_KEY})
    world.play()
    assert world.state() is RunState.WAITING_DELAY
    assert "no backend can be used now, I try again at" in told(world)
    assert "; rests until" in told(world)
    assert "its key is refused: give it another" in told(world)
    assert attempts.count(world.comments) == 1
    world.answers = {}
    world.later(world.wakes[-1])
    world.play()
    (attempt,) = world.run.attempts
    assert (attempt.number, attempt.result) == (1, Result.PATCH_APPLIED)
    assert "no backend can be used" not in told(world)


def test_a_full_disk_is_a_person_s_and_no_other_backend_is_asked():
    world = a_world(answers={"first": Answer(Ending.DISK_FULL, detail="first: no space left")})
    world.play()
    assert asked(world) == ["first"]
    assert world.state() is RunState.WAITING_PERSON
    assert "the disk of this machine is full: first: no space left" in told(world)
    assert attempts.count(world.comments) == 0
    world.answers = {}
    world.play(Wish.FIX, by="mona")
    assert [one.number for one in world.run.attempts] == [1]


def test_while_all_are_down_it_waits_longer_and_longer_and_goes_on_when_one_is_back():
    world = a_world(answers={"first": DOWN, "second": DOWN})
    for _ in range(8):
        world.play()
        world.later(world.wakes[-1])
    assert world.wakes[0] < 60
    assert world.wakes == sorted(world.wakes)
    assert world.wakes[-1] == 300.0
    assert (len(world.comments), attempts.count(world.comments)) == (1, 1)
    world.answers = {"first": DOWN}
    world.play()
    (attempt,) = world.run.attempts
    assert (attempt.backend, attempt.result) == ("second", Result.PATCH_APPLIED)


def test_a_spent_quota_is_waited_out_to_the_second():
    world = a_world(FIRST, answers={"first": Answer(Ending.USAGE_LIMIT, retry_after_s=7_200.0)})
    world.play()
    assert world.wakes == [7_200.0]
    assert "I try again at 14:00:00 UTC: first: has failed with this task; rests" in told(world)


def outlast(world: World, patience: timedelta) -> None:
    while world.now <= NOON + patience + timedelta(seconds=301):
        world.play()
        if world.run.attempts[-1].result is not Result.WORKING:
            return
        world.later(world.wakes[-1])


def test_it_does_not_wait_for_ever():
    world = a_world(FIRST, answers={"first": DOWN})
    outlast(world, PATIENCE)
    (attempt,) = world.run.attempts
    assert attempt.result is Result.REJECTED
    assert attempt.reason.startswith("no backend could be used since 12:00 UTC: first: has failed")


def test_where_a_fallback_follows_it_waits_for_minutes_only():
    world = a_world(FIRST, fallback=(FALLBACK,), answers={"first": DOWN})
    outlast(world, PATIENCE_BEFORE_FALLBACK)
    assert world.run.attempts[-1].result is Result.REJECTED
    assert world.now < NOON + PATIENCE_BEFORE_FALLBACK + timedelta(minutes=1)


def test_an_answer_that_counts_ends_the_attempt_though_others_rest():
    world = a_world(answers={"first": limited(600), "second": Answer(Ending.REFUSED)})
    world.play()
    assert world.run.attempts[0].result is Result.REJECTED
    assert "no usable change: refused" in told(world)


def test_the_stages_of_a_wait_keep_the_pull_request_free_but_for_moments():
    world = a_world(FIRST, answers={"first": [DOWN] * ONE_PASS})
    world.play()
    assert world.pauses == [3.0, 3.0, 5.0]
    assert world.wakes == [10.0]


def test_a_better_backend_is_chosen_by_health_and_the_explanation_says_so():
    world = a_world()
    for _ in range(6):  # other pull requests met these
        ask = effects.ChooseBackend(PULL, 0)
        world.choose(ask)
        world.heard(_a_call("first"), DOWN)
        world.heard(_a_call("second"), EDITED)
        world.later(70)
    world.play()
    assert asked(world) == ["second"]
    assert "chose: second works: the strategy is intelligent_primary_secondary" in explain_text(
        world.run
    )


def _a_call(lane: str) -> effects.RunBackend:
    work = World()
    work.play()
    call: effects.RunBackend = work.made(effects.RunBackend)[0]
    return msgspec.structs.replace(call, backend=lane, lane=lane)


def test_the_provider_of_a_lane_is_carried_to_the_call():
    lanes = (Lane("first/east", "first", "east"), Lane("first/west", "first", "west"))
    world = a_world(FIRST, routing=RoutingPolicy(lanes=lanes), answers={"first": [DOWN] * 3})
    world.answers["first"] = [limited(600), EDITED]
    world.play()
    calls = world.made(effects.RunBackend)
    assert [(call.backend, call.provider) for call in calls] == [
        ("first", "east"),
        ("first", "west"),
    ]
    assert world.run.attempts[0].tried == (("first/east", "rate limited: 429"),)


def test_the_gatekeeper_is_told_whose_change_it_judges():
    world = a_world()
    world.play()
    (verify,) = world.made(effects.Verify)
    assert verify.lane == "first"
    assert verify.key == f"{world.run.id}/1/1"


def test_a_side_of_a_comparison_is_kept_with_the_attempt():
    sides = (Strategy.PRIMARY_SECONDARY, Strategy.COST)
    policy = RoutingPolicy(compare=sides)
    world = a_world(routing=policy)
    world.play()
    arm = assigned(policy, PULL.repo, PULL.number)
    assert arm is not None
    assert world.run.attempts[0].side == arm.value
    off = a_world(routing=RoutingPolicy(compare=sides, enabled=False))
    off.play()
    assert off.run.attempts[0].side == ""
