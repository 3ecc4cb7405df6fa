"""Which lane works next: triggers, hysteresis, returns, rollbacks, strategies, overrides."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.config.schema import BackendName, Lane, Policy, RoutingPolicy, Strategy
from bot.domain.answers import Ending
from bot.domain.health import Health, Observation, Standing
from bot.routing import health as conditions
from bot.routing.chain import route
from bot.routing.choice import Choice, choose, settled
from bot.routing.health import Fitness, Trigger, judge, observe
from bot.routing.scene import Scene
from tests.support.lanes import HISTORIES, NOW, A, B, C, after, at, lived, well

LANES = (A, B, C)
EDITED, UNAVAILABLE, AUTH = Ending.EDITED, Ending.UNAVAILABLE, Ending.AUTH
SMART = RoutingPolicy()
DEAD = after(AUTH)
POOR = after(*[UNAVAILABLE, EDITED] * 5)
ON_A = Standing("a")


def by(strategy, **more):
    return RoutingPolicy(strategy=strategy, **more)


def scene(seconds=1.0, standing=None, **healths):
    return Scene(at(seconds), healths, standing or Standing(), repo="o/r", number=7)


def on(lane, since_s, **more):
    return Standing(lane, since=at(since_s), **more)


def key(choice):
    return choice.lane and choice.lane.key


# --- laws ----------------------------------------------------------------------------------------

POLICIES = st.builds(
    RoutingPolicy,
    strategy=st.sampled_from(Strategy),
    enabled=st.booleans(),
    overrides=st.sampled_from([{}, {"o/*": "b"}]),
)
STANDINGS = st.builds(
    Standing,
    lane=st.sampled_from(["", "a", "b", "gone"]),
    since=st.none() | st.integers(-2_000, 0).map(at),
    turn=st.integers(0, 50),
    relapses=st.integers(0, 9),
)


@st.composite
def scenes(draw):
    healths, now = {}, NOW
    for lane in LANES:
        healths[lane.key], end = lived(draw(HISTORIES), SMART)
        now = max(now, end)
    return Scene(
        now,
        healths,
        draw(STANDINGS),
        repo="o/r",
        number=draw(st.integers(1, 99)),
        wanted=draw(st.sampled_from(["", "a", "c", "nobody"])),
        tried=draw(st.sampled_from([(), ("a",), ("a", "b"), ("a", "b", "c")])),
    )


@given(scenes(), POLICIES)
def test_a_lane_that_rests_is_never_chosen(seen, policy):
    for lane in choose(LANES, seen, policy).order:
        assert judge(seen.health(lane.key), seen.now, policy).fitness is not Fitness.RESTING


@given(scenes(), POLICIES)
def test_an_unproved_lane_is_only_chosen_as_its_one_trial(seen, policy):
    choice = choose(LANES, seen, policy)
    if choice.lane is None:
        return
    fitness = judge(seen.health(key(choice)), seen.now, policy).fitness
    assert choice.trial is (fitness is Fitness.TRIAL)
    if choice.trial:
        assert conditions.open_to_trial(seen.health(key(choice)), seen.now)


@given(scenes(), POLICIES)
def test_a_poor_lane_leads_only_where_none_is_ready_or_it_is_held(seen, policy):
    choice = choose(LANES, replace(seen, wanted=""), replace(policy, overrides={}))
    ready = [
        lane
        for lane in LANES
        if lane.key not in seen.tried
        and judge(seen.health(lane.key), seen.now, policy).fitness is Fitness.READY
    ]
    if ready and not choice.trial and choice.strategy is not Strategy.INTELLIGENT:
        assert choice.lane in ready


@given(scenes(), POLICIES)
def test_the_order_holds_each_lane_once_and_none_that_failed(seen, policy):
    order = [lane.key for lane in choose(LANES, seen, policy).order]
    assert len({*order}) == len(order)
    assert not {*order} & {*seen.tried}


@given(scenes(), POLICIES)
def test_the_same_input_gives_the_same_choice_also_after_storing(seen, policy):
    stored = msgspec.json.decode(msgspec.json.encode(seen), type=Scene)
    choice = choose(LANES, seen, policy)
    assert choose(LANES, stored, policy) == choice
    assert msgspec.json.decode(msgspec.json.encode(choice), type=Choice) == choice


@given(scenes(), POLICIES)
def test_every_lane_is_offered_or_passed_over_with_a_reason(seen, policy):
    choice = choose(LANES, seen, policy)
    told = {lane.key for lane in choice.order} | {lane for lane, _ in choice.skipped}
    assert told == {lane.key for lane in LANES}
    assert all(choice.reasons)


@given(scenes(), POLICIES)
def test_without_a_lane_it_is_said_when_there_may_be_news(seen, policy):
    choice = choose(LANES, replace(seen, tried=()), policy)
    assert (choice.lane is None) is (choice.wait_until is not None)
    assert choice.wait_until is None or choice.wait_until > seen.now


STEPS = st.lists(
    st.tuples(
        st.sampled_from([lane.key for lane in LANES]),
        st.floats(0.1, 200),
        st.sampled_from([*[EDITED] * 4, UNAVAILABLE, AUTH, Ending.INVALID]),
        st.sampled_from([2.0, 40.0]),
    ),
    max_size=30,
)


@given(STEPS)
def test_switches_that_can_wait_are_apart_by_the_hysteresis(steps):
    healths: dict[str, Health] = {}
    standing, now = Standing(), NOW
    for lane, apart_s, ending, response_s in steps:
        now += timedelta(seconds=apart_s)
        seen = Observation(ending, response_s)
        healths[lane] = observe(healths.get(lane, Health()), seen, now, SMART)
        before = standing
        choice = choose(LANES, Scene(now, healths, standing), SMART)
        standing = choice.standing
        if choice.trigger in {Trigger.THRESHOLD, Trigger.PREVENTIVE, Trigger.RETURN}:
            assert before.since is None or now - before.since >= timedelta(seconds=300)
        assert (choice.trigger is None) is (standing.lane == (before.lane or "a"))


# --- triggers ------------------------------------------------------------------------------------


def test_the_first_of_the_order_is_used_while_it_is_well():
    choice = choose(LANES, scene(a=well()), SMART)
    assert (key(choice), choice.trigger) == ("a", None)


@pytest.mark.parametrize("ending", [AUTH, Ending.USAGE_LIMIT, Ending.RATE_LIMITED])
def test_what_cannot_be_used_is_left_at_once_whenever_the_last_switch_was(ending):
    choice = choose(LANES, scene(1, on("a", 0), a=after(ending)), SMART)
    assert (key(choice), choice.trigger) == ("b", Trigger.IMMEDIATE)
    assert choice.standing == Standing("b", since=at(1), former="a", proved=False, turn=1)
    assert "a was left" in choice.reasons[1]


def test_a_limit_makes_one_leave_but_not_right_after_a_switch():
    assert choose(LANES, scene(1, on("a", -298), a=POOR), SMART).trigger is None
    choice = choose(LANES, scene(1, on("a", -298), a=POOR), SMART)
    assert key(choice) == "a"
    assert "the last switch was just now" in choice.reasons[1]
    left = choose(LANES, scene(1, on("a", -299), a=POOR), SMART)
    assert (key(left), left.trigger) == ("b", Trigger.THRESHOLD)


def test_a_poor_lane_is_not_left_for_a_poor_one():
    choice = choose((A, B), scene(1, ON_A, a=POOR, b=POOR), SMART)
    assert key(choice) == "a"
    assert "no other lane is well" in choice.reasons[1]


def test_the_healthiest_of_the_others_is_switched_to():
    slow = after(*[EDITED] * 5, response_s=20.0)
    assert key(choose(LANES, scene(a=DEAD, b=slow, c=well()), SMART)) == "c"


def test_a_weight_counts_where_lanes_are_compared():
    light = replace(C, weight=0.7)
    slow = after(*[EDITED] * 5, response_s=20.0)
    assert key(choose((A, B, light), scene(a=DEAD, b=slow, c=well()), SMART)) == "b"


def test_an_earlier_lane_is_come_back_to_after_the_hysteresis():
    early = choose(LANES, scene(1, on("b", -298)), SMART)
    assert (key(early), early.trigger) == ("b", None)
    late = choose(LANES, scene(1, on("b", -299)), SMART)
    assert (key(late), late.trigger) == ("a", Trigger.RETURN)


def test_and_only_once_it_has_been_well_for_that_long():
    back = replace(well(), back_at=at(-200))
    assert key(choose(LANES, scene(1, on("b", -900), a=back), SMART)) == "b"
    assert key(choose(LANES, scene(101, on("b", -900), a=back), SMART)) == "a"


def test_a_return_that_did_not_last_doubles_the_time_before_the_next():
    returned = on("a", 0, returned=True, relapses=1)
    left = choose(LANES, scene(10, returned, a=after(AUTH)), SMART).standing
    assert (left.lane, left.relapses) == ("b", 2)
    seen = {"a": well()}
    assert key(choose(LANES, Scene(at(10 + 1199), seen, left), SMART)) == "b"
    assert key(choose(LANES, Scene(at(10 + 1201), seen, left), SMART)) == "a"


def test_a_return_that_lasted_forgets_those_that_did_not():
    returned = on("a", -1_000, returned=True, relapses=3)
    assert choose(LANES, scene(1, returned, a=DEAD), SMART).standing.relapses == 0


def test_a_switch_that_fails_at_once_is_taken_back():
    moved = choose(LANES, scene(1, ON_A, a=POOR), SMART).standing
    assert moved.lane == "b"
    rolled = settled(moved, "b", scene(2, a=POOR), SMART, well=False)
    assert (rolled.lane, rolled.former) == ("a", "b")
    assert key(choose(LANES, scene(3, rolled, a=POOR), SMART)) == "a"


def test_but_not_to_a_lane_that_cannot_be_used_nor_once_it_went_well():
    moved = choose(LANES, scene(1, ON_A, a=DEAD), SMART).standing
    assert settled(moved, "b", scene(2, a=DEAD), SMART, well=False) == moved
    proved = settled(moved, "b", scene(2), SMART, well=True)
    assert settled(proved, "b", scene(3), SMART, well=False) == proved
    assert settled(moved, "c", scene(2), SMART, well=False) == moved


def test_a_task_goes_on_with_another_lane_and_the_chain_stays():
    choice = choose(LANES, replace(scene(1, ON_A), tried=("a",)), SMART)
    assert key(choice) == "b"
    assert choice.standing.lane == "a"


# --- what is left --------------------------------------------------------------------------------


def test_the_last_lane_is_used_however_poor_it_is():
    choice = choose(LANES, scene(a=DEAD, b=DEAD, c=POOR), SMART)
    assert key(choice) == "c"


def test_where_all_rest_it_is_said_until_when():
    limited = observe(Health(), Observation(Ending.RATE_LIMITED, retry_after_s=90.0), NOW)
    spent = after(Ending.USAGE_LIMIT)
    choice = choose((A, B), scene(1, a=limited, b=spent), SMART)
    assert (choice.lane, choice.wait_until) == (None, at(60))
    assert [lane for lane, _ in choice.skipped] == ["a", "b"]


def test_where_a_lane_that_failed_could_go_on_another_round_is_as_good_as_waiting():
    spent = after(Ending.USAGE_LIMIT)
    choice = choose((A, B), replace(scene(1, a=well(), b=spent), tried=("a",)), SMART)
    assert (choice.lane, choice.wait_until) == (None, None)


def test_where_all_rested_long_enough_one_task_is_the_trial_and_others_wait():
    spent = after(Ending.USAGE_LIMIT)
    first = choose((A,), scene(61, a=spent), SMART)
    assert (key(first), first.trial) == ("a", True)
    begun = conditions.tried(spent, at(61))
    assert choose((A,), scene(62, a=begun), SMART).lane is None


def test_a_lane_on_a_host_that_cannot_be_reached_comes_last():
    one, other = (replace(lane, host="api.example.com") for lane in (A, B))
    down = after(*[Ending.NETWORK] * 3)
    assert key(choose((one, other, C), scene(a=down), SMART)) == "c"
    assert key(choose((one, other), scene(a=down), SMART)) == "b"
    refused = after(AUTH)
    assert key(choose((one, other, C), scene(a=refused), SMART)) == "b"


def test_a_spent_quota_is_tried_again_by_a_task_as_seldom_as_switches():
    spent = after(Ending.USAGE_LIMIT)
    assert not choose(LANES, scene(61, on("b", -400), a=spent), SMART).trial
    choice = choose(LANES, scene(301, on("b", -400), a=spent), SMART)
    assert (key(choice), choice.trial, choice.standing.lane) == ("a", True, "b")


# --- the other strategies ------------------------------------------------------------------------


def test_primary_secondary_comes_back_at_once():
    policy = by(Strategy.PRIMARY_SECONDARY)
    assert key(choose(LANES, scene(a=DEAD), policy)) == "b"
    assert key(choose(LANES, scene(1, on("b", 0), a=well()), policy)) == "a"


def test_round_robin_takes_turns_among_those_that_are_well():
    standing, seen = Standing(), []
    for _ in range(6):
        choice = choose(LANES, scene(1, standing, b=DEAD), by(Strategy.ROUND_ROBIN))
        standing = choice.standing
        seen.append(key(choice))
    assert seen == ["a", "c"] * 3


def test_round_robin_gives_a_backend_one_turn_however_many_providers_it_has():
    lanes = (Lane("a:x", "a"), Lane("a:y", "a"), Lane("a:z", "a"), B)
    policy = by(Strategy.ROUND_ROBIN)
    standing, seen = Standing(), []
    for _ in range(4):
        choice = choose(lanes, scene(1, standing), policy)
        standing = choice.standing
        seen.append(key(choice))
    assert seen == ["a:x", "b"] * 2
    dead = Scene(at(1), {"a:x": DEAD}, repo="o/r", number=7)
    assert key(choose(lanes, dead, policy)) == "a:y", "its next provider has its turn"


def chosen(policy, healths, times=400):
    counts = dict.fromkeys("abc", 0)
    for number in range(times):
        seen = Scene(at(1), healths, repo="o/r", number=number)
        counts[key(choose(LANES, seen, policy))] += 1
    return counts


def test_performance_prefers_what_succeeds_and_still_learns_about_the_new():
    flaky = after(*[UNAVAILABLE, EDITED, EDITED, EDITED, EDITED] * 8)
    counts = chosen(by(Strategy.PERFORMANCE), {"a": flaky, "b": well(40)})
    assert counts["b"] > counts["c"] > counts["a"]
    assert counts["c"] > 10


def test_performance_prefers_what_is_fast_among_equals():
    slow = after(*[EDITED] * 40, response_s=25.0)
    assert chosen(by(Strategy.PERFORMANCE), {"a": slow, "b": well(40)})["a"] < 10


def test_performance_heeds_the_gatekeeper():
    rejected = well(40)
    for _ in range(20):
        rejected = conditions.judged(rejected, approved=False)
    counts = chosen(by(Strategy.PERFORMANCE), {"a": rejected, "b": well(40)})
    assert counts["a"] < 10 < counts["b"]


def test_cost_takes_the_cheapest_success_not_the_cheapest_call():
    lanes = (replace(A, price_usd=0.5), replace(B, price_usd=0.2), replace(C, price_usd=0.19))
    policy = by(Strategy.COST)
    assert [one.key for one in choose(lanes, scene(), policy).order] == ["c", "b", "a"]
    flaky = after(*[UNAVAILABLE, EDITED, EDITED, EDITED] * 10)
    assert key(choose(lanes, scene(c=flaky, b=well(40)), policy)) == "b"


def test_cost_puts_lanes_without_a_price_last():
    lanes = (A, replace(B, price_usd=9.0))
    assert key(choose(lanes, scene(), by(Strategy.COST))) == "b"
    assert "no price is known" in choose((A,), scene(), by(Strategy.COST)).reasons[1]


def test_task_specific_follows_the_closest_kind_that_is_routed():
    policy = by(Strategy.TASK_SPECIFIC, tasks={"simple_tasks": "c", "lint": "b"})
    lint = replace(scene(), kinds=("lint", "simple_tasks"))
    assert key(choose(LANES, lint, policy)) == "b"
    assert key(choose(LANES, replace(lint, healths={"b": DEAD}), policy)) == "c"
    assert key(choose(LANES, replace(lint, kinds=("complex_tasks",)), policy)) == "a"


def test_without_the_system_the_order_decides():
    choice = choose(LANES, scene(1, on("b", 0)), RoutingPolicy(enabled=False))
    assert (key(choice), choice.strategy) == ("a", Strategy.PRIMARY_SECONDARY)


# --- people --------------------------------------------------------------------------------------


def test_a_person_who_asks_for_a_backend_gets_it_even_poor():
    choice = choose(LANES, replace(scene(1, ON_A, c=POOR), wanted="c"), SMART)
    assert key(choice) == "c"
    assert choice.standing.lane == "a" or choice.trigger is None
    assert "a person asked for it" in choice.reasons


def test_but_not_while_it_rests():
    choice = choose(LANES, replace(scene(1, ON_A, c=DEAD), wanted="c"), SMART)
    assert key(choice) == "a"
    assert dict(choice.skipped)["c"].startswith("rests until 12:00:05")


def test_an_override_holds_where_its_pattern_fits_and_a_person_beats_it():
    policy = RoutingPolicy(overrides={"o/*": "c"})
    assert key(choose(LANES, scene(), policy)) == "c"
    assert key(choose(LANES, replace(scene(), repo="other/r"), policy)) == "a"
    assert key(choose(LANES, replace(scene(), wanted="b"), policy)) == "b"


# --- the chain -----------------------------------------------------------------------------------

NAMES = tuple(BackendName(name, f"model-{name}") for name in "abc")


def test_a_route_is_the_chain_in_the_order_of_the_choice():
    policy = Policy(primary=NAMES[:2], fallback=NAMES[2:])
    routed = route(policy, 0, 7, scene(a=DEAD))
    assert [one.name for one in routed.chain] == ["b"]
    assert [name for name, _ in routed.skipped] == ["a", "c"]
    assert routed.choice is not None


def test_from_three_attempts_on_only_the_fallback_is_chosen_from():
    policy = Policy(primary=NAMES[:2], fallback=NAMES[2:])
    routed = route(policy, 3, 7, scene(a=well()))
    assert [one.name for one in routed.chain] == ["c"]
    assert routed.notices[0] == "Switched to fallback backend for PR #7 (attempt 3)"
    waiting = route(policy, 3, 7, scene(c=after(Ending.USAGE_LIMIT)))
    assert (waiting.chain, waiting.wait_until) == ((), at(60))


def test_a_backend_with_several_providers_has_a_lane_for_each():
    lanes = tuple(Lane(f"a/{name}", "a", name) for name in ("x", "y"))
    policy = Policy(primary=NAMES[:2], routing=RoutingPolicy(lanes=lanes))
    routed = route(policy, 0, 7, Scene(at(1), {"a/x": DEAD}))
    assert [one.name for one in routed.chain] == ["a", "b"]
    assert routed.choice is not None
    assert [lane.key for lane in routed.choice.order] == ["a/y", "b"]


def test_a_fallback_of_its_own_has_a_health_of_its_own():
    routing = RoutingPolicy(lanes=(A,), fallback_lanes=(Lane("a (fallback)", "a"),))
    policy = Policy(primary=NAMES[:1], fallback=NAMES[:1], routing=routing)
    for count, lane in ((0, "a"), (3, "a (fallback)")):
        choice = route(policy, count, 7, scene()).choice
        assert choice is not None
        assert key(choice) == lane
