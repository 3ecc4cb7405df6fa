"""The fleet in virtual time: fair to every router, measured as documented, good enough."""

from itertools import islice

import pytest

from bot.config.schema import Lane, RoutingPolicy, Strategy
from bot.domain.answers import Ending
from bot.routing.fleet.measure import TARGETS, Measures, measure, told, total
from bot.routing.fleet.play import Call, Log, play
from bot.routing.fleet.routers import Plain, Routed
from bot.routing.fleet.scenarios import SCENARIOS, named
from bot.routing.fleet.world import Errand, Member, Scenario, Spell, Trouble, World

A, B = (Member(Lane(key, key, price_usd=0.6, probed=True), response_s=4.0, noise=0) for key in "ab")
CALM = Scenario("test", "nothing", (A, B))
TASK = Errand(1, 0.0, size=6)


def with_(*spells, **more):
    return Scenario("test", "trouble", (A, B), spells, **more)


def moved(scenario, seed=0):
    """Return by how much the seed moves the scenario's spells."""
    return World(scenario, seed).spells[0].from_s - scenario.spells[0].from_s


def spell(trouble, **more):
    return with_(Spell("a", trouble, 1_000.0, 500.0, **more))


def call_at(scenario, at_s, nth=1):
    return World(scenario, 0).call("a", TASK, nth, at_s)


# --- the world -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "ending"),
    [
        (Trouble.OUTAGE, Ending.UNAVAILABLE),
        (Trouble.UNREACHABLE, Ending.NETWORK),
        (Trouble.HANG, Ending.TIMEOUT),
        (Trouble.KEY, Ending.AUTH),
        (Trouble.GONE, Ending.NOT_FOUND),
        (Trouble.QUOTA, Ending.USAGE_LIMIT),
    ],
)
def test_a_spell_holds_from_its_beginning_to_its_end(trouble, ending):
    scenario = spell(trouble)
    start = 1_000 + moved(scenario)
    assert call_at(scenario, start + 1).ending is ending
    assert call_at(scenario, start - 200).ending is Ending.EDITED
    assert call_at(scenario, start + 501).ending is Ending.EDITED


def test_an_outage_breaks_the_calls_that_are_under_way():
    scenario = spell(Trouble.OUTAGE)
    start = 1_000 + moved(scenario)
    reply = call_at(scenario, start - 2)
    assert (reply.ending, reply.took_s) == (Ending.UNAVAILABLE, pytest.approx(3.0))
    assert 0 < reply.cost_usd < 0.6


def test_a_limit_counts_the_calls_of_a_minute():
    scenario = spell(Trouble.LIMIT, depth=2)
    world, start = World(scenario, 0), 1_000 + moved(scenario)
    endings = [world.call("a", TASK, nth, start + nth).ending for nth in (1, 2, 3)]
    assert endings == [Ending.EDITED, Ending.EDITED, Ending.RATE_LIMITED]
    assert world.call("a", TASK, 4, start + 11).retry_after_s == pytest.approx(50.0)
    assert world.call("a", TASK, 5, start + 62).ending is Ending.EDITED


def test_a_drift_grows():
    scenario = spell(Trouble.DRIFT, depth=0.5, slower=8)
    world, start = World(scenario, 0), 1_000 + moved(scenario)
    failing = [world.failing("a", start + share * 499.9) for share in (0, 0.5, 1)]
    assert failing == pytest.approx([0.0, 0.25, 0.5], abs=0.01)
    usual, late = (call_at(scenario, start + s).response_s for s in (-300, 499))
    assert late == pytest.approx(8 * usual, rel=0.02)
    assert world.well("a", start + 5)
    assert not world.well("a", start + 250)


def test_a_probe_sees_no_limit_and_no_quota():
    for trouble in (Trouble.LIMIT, Trouble.QUOTA):
        scenario = spell(trouble, depth=1)
        at_s = 1_001 + moved(scenario)
        assert World(scenario, 0).probe("a", "1", at_s, 10).ending is Ending.EDITED


def test_it_is_lit_while_a_backend_serves():
    both = with_(
        Spell("a", Trouble.OUTAGE, 1_000.0, 500.0), Spell("b", Trouble.KEY, 1_200.0, 900.0)
    )
    by = moved(both)
    dark = [1_200 + by, 1_500 + by]
    (_, dusk), (dawn, _) = _merged(World(both, 0).lit())
    assert [dusk, dawn] == pytest.approx(dark)


def _merged(stretches):
    merged: list[tuple[float, float]] = []
    for start, end in stretches:
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def test_every_router_meets_the_same_tasks_and_the_same_luck():
    (scenario,) = named("outage")
    plain = play(scenario, 1, Plain(scenario.lanes))
    routed = play(scenario, 1, Routed(scenario.lanes, RoutingPolicy()))
    assert plain.errands == routed.errands
    firsts = {call.task: call for call in plain.calls if call.lane == "claude"}
    same = [
        (call, firsts[call.task])
        for call in routed.calls
        if call.lane == "claude" and call.from_s == firsts[call.task].from_s
    ]
    assert len(same) > 100
    assert all(one.to_s == other.to_s for one, other in same)


def test_a_seed_has_a_luck_of_its_own():
    took = {World(CALM, seed).call("a", TASK, 1, 0.0).took_s for seed in range(9)}
    assert len(took) == 9


def test_tasks_come_as_often_as_they_should():
    errands = list(World(CALM, 3).errands())
    assert len(errands) == pytest.approx(10_800 / 30, rel=0.2)
    assert all(0 < errand.at_s < 10_800 and 2 <= errand.size < 12 for errand in errands)


# --- the measures --------------------------------------------------------------------------------


def test_the_measures_of_a_play_that_can_be_worked_out_by_hand():
    scenario = Scenario("test", "nothing", (A, B), span_s=1_000.0)
    errands = (Errand(1, 0.0, 6), Errand(2, 100.0, 6), Errand(3, 150.0, 6))
    ok, bad = Ending.EDITED, Ending.UNAVAILABLE
    calls = (
        Call(1, "a", 0.0, 20.0, ok, 0.5),
        Call(2, "a", 100.0, 110.0, bad, 0.1),  # fails from 110 …
        Call(2, "a", 113.0, 120.0, bad, 0.1),
        Call(2, "b", 120.0, 150.0, ok, 0.3, left="a", left_well=True),  # … to 120
        Call(3, "b", 150.0, 160.0, bad, 0.1),  # fails from 160 …
        Call(3, "a", 165.0, 170.0, bad, 0.1, left="b", hopeless=True),
        Call(3, "a", 180.0, 190.0, bad, 0.1, left="b", comes_back=True),
        Call(3, "a", 190.0, 195.0, bad, 0.0, trial=True),  # … to 200, and is given up
    )
    ends = {1: (20.0, True), 2: (150.0, True), 3: (200.0, False)}
    got = measure(scenario, 0, Log(errands, calls, ends))
    assert (got.tasks, got.done) == (3, 2)
    assert got.completion == pytest.approx(2 / 3)
    assert got.availability == pytest.approx(1 - (10 + 40) / 1_000)
    assert got.recoveries == 1
    assert got.mean_recovery_s == pytest.approx(10.0)
    assert (got.switches, got.hopeless_switches) == (3, 1)
    assert got.switch_success == pytest.approx(1 / 2)
    assert got.needless_switches == pytest.approx(1 / 2)
    assert (got.trials, got.good_trials) == (1, 0)
    assert got.cost_per_task_usd == pytest.approx(1.3 / 2)
    assert got.took_s == pytest.approx(20 + 50 + 50)


def test_time_without_any_backend_is_no_routers_fault():
    dark = with_(
        Spell("a", Trouble.OUTAGE, 1_000.0, 500.0), Spell("b", Trouble.OUTAGE, 1_000.0, 500.0)
    )
    start = 1_000 + moved(dark)
    errands = (Errand(1, start + 10, 6),)
    calls = (
        Call(1, "a", start + 10, start + 11, Ending.UNAVAILABLE, 0.0),
        Call(1, "a", start + 520, start + 560, Ending.EDITED, 0.1),
    )
    got = measure(dark, 0, Log(errands, calls, {1: (start + 560, True)}))
    assert got.mean_recovery_s == pytest.approx(20.0)
    assert got.failing_s == pytest.approx(20.0)
    assert got.whole_failing_s == pytest.approx(509.0)


def test_measures_add_up():
    one, other = Measures(tasks=2, done=1, slowest_recovery_s=3), Measures(tasks=3, done=3)
    assert total([one, other]) == Measures(tasks=5, done=4, slowest_recovery_s=3)


# --- the proof -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played():
    """Return the measures of production's routing and of plain retries, by scenario."""
    return {
        scenario.name: tuple(
            total(measure(scenario, seed, play(scenario, seed, make())) for seed in (1, 2))
            for make in (
                lambda scenario=scenario: Routed(scenario.lanes, RoutingPolicy()),
                lambda scenario=scenario: Plain(scenario.lanes),
            )
        )
        for scenario in SCENARIOS
    }


@pytest.mark.xdist_group("fleet")  # it is played once
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.measure)
def test_the_routing_meets_its_targets_over_the_built_in_scenarios(played, target):
    sums = total(ours for ours, _ in played.values())
    assert target.met(sums), told(sums)


def test_plain_retries_do_not():
    (scenario,) = named("rate_limits")
    plain = measure(scenario, 1, play(scenario, 1, Plain(scenario.lanes)))
    assert not TARGETS[0].met(plain)


@pytest.mark.xdist_group("fleet")
@pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])
def test_nothing_is_lost_and_less_time_than_by_plain_retries(played, name):
    ours, plain = played[name]
    assert ours.done == ours.tasks
    assert ours.completion >= plain.completion
    assert ours.lost_s_per_1000 <= plain.lost_s_per_1000


def test_prevention_pays_where_a_backend_grows_slower():
    (scenario,) = named("creep")

    def added(preventive):
        router = Routed(scenario.lanes, RoutingPolicy(preventive=preventive))
        return measure(scenario, 1, play(scenario, 1, router)).added_time

    assert added(preventive=True) < added(preventive=False) / 2


@pytest.mark.parametrize("strategy", Strategy)
def test_every_strategy_survives_everything(strategy):
    for scenario in islice(SCENARIOS, 1, None, 4):
        router = Routed(scenario.lanes, RoutingPolicy(strategy=strategy))
        got = measure(scenario, 5, play(scenario, 5, router))
        assert got.done == got.tasks
        assert got.availability > 0.97


def test_a_play_is_the_same_for_the_same_seed_and_another_for_another():
    (scenario,) = named("flapping")
    one, again, other = (
        play(scenario, seed, Routed(scenario.lanes, RoutingPolicy())) for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other
