"""Two strategies on live traffic: who is on which side, which is better, and how sure that is."""

from datetime import timedelta
from math import exp, lgamma, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config.schema import RoutingPolicy, Strategy
from bot.domain.runs import Attempt, Run, RunState
from bot.domain.values import Usage
from bot.routing.compare import Tally, assigned, beats, compare, tallies
from tests.support.pulls import HEAD, NOW, a_run

OLD, NEW = Strategy.INTELLIGENT, Strategy.PERFORMANCE
POLICY = RoutingPolicy(compare=(OLD, NEW))
TALLIES = st.integers(0, 60).flatmap(
    lambda runs: st.builds(Tally, st.just(OLD), st.just(runs), st.integers(0, runs))
)


def tally(green, runs, strategy=OLD):
    return Tally(strategy, runs, green)


def sides(policy, count=2_000):
    return [assigned(policy, "o/r", number) for number in range(count)]


def test_nothing_is_compared_unless_two_are_named():
    assert assigned(RoutingPolicy(), "o/r", 1) is None


def test_a_pull_request_stays_on_its_side():
    assert sides(POLICY) == sides(POLICY)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_second_side_gets_its_share(share):
    policy = RoutingPolicy(compare=(OLD, NEW), compare_share=share)
    got = sides(policy).count(NEW) / 2_000
    assert got == pytest.approx(share, abs=0.04)


def test_comparing_others_splits_otherwise():
    other = RoutingPolicy(compare=(OLD, Strategy.COST))
    pairs = zip(sides(POLICY), sides(other), strict=True)
    same = sum((one is OLD) is (two is OLD) for one, two in pairs)
    assert 800 < same < 1_200


def by_summing_up(one, other, steps=4_000):
    """Return how likely the first rate is the higher, from both densities on a fine grid."""

    def density(tally, x):
        a, b = 1 + tally.green, 1 + tally.runs - tally.green
        return exp((a - 1) * log(x) + (b - 1) * log(1 - x) + lgamma(a + b) - lgamma(a) - lgamma(b))

    below, found = 0.0, 0.0
    for step in range(steps):
        x = (step + 0.5) / steps
        half = density(other, x) / steps / 2
        found += density(one, x) / steps * (below + half)
        below += 2 * half
    return found


@pytest.mark.parametrize(
    ("one", "other"),
    [((7, 10), (5, 10)), ((90, 100), (80, 100)), ((0, 3), (3, 3)), ((0, 0), (1, 2))],
)
def test_the_closed_form_is_what_the_densities_sum_up_to(one, other):
    assert beats(tally(*one), tally(*other)) == pytest.approx(
        by_summing_up(tally(*one), tally(*other)), abs=1e-3
    )


@given(TALLIES, TALLIES)
def test_one_of_them_is_better(one, other):
    assert beats(one, other) + beats(other, one) == pytest.approx(1.0)


def test_equals_are_even():
    assert beats(tally(5, 9), tally(5, 9)) == pytest.approx(0.5)


def test_more_green_is_surer():
    chances = [beats(tally(green, 40), tally(20, 40)) for green in range(41)]
    assert chances == sorted(chances)


def test_a_clear_lead_is_called_better():
    told = compare(tally(60, 100), tally(90, 100, NEW))
    assert (told.better, told.leading) == (NEW, NEW)
    assert told.sure > 0.99
    assert told.expected == pytest.approx(91 / 102 - 61 / 102)
    assert told.said == (
        "performance is better than intelligent_primary_secondary (100.0% sure): "
        "90 of 100 green against 60 of 100"
    )


def test_a_small_lead_is_not():
    told = compare(tally(6, 10), tally(7, 10, NEW))
    assert (told.better, told.leading) == (None, NEW)
    assert 0.5 < told.sure < 0.95
    assert "may be better" in told.said


def a_run_of(side: Strategy, state: RunState, number: int) -> Run:
    attempt = Attempt(
        1, "t", HEAD, NOW, side=side.value, usage=Usage(10, 5, cost_usd=0.5, seconds=1.0)
    )
    ends = NOW + timedelta(seconds=60)
    return a_run(id=f"r{number}", state=state, attempts=(attempt,), updated_at=ends)


def test_a_tally_counts_the_runs_that_say_something_of_their_side():
    cost, turns = Strategy.COST, Strategy.ROUND_ROBIN
    runs = [
        a_run_of(cost, RunState.GREEN, 1),
        a_run_of(cost, RunState.GAVE_UP, 2),
        a_run_of(cost, RunState.SUPERSEDED, 3),
        a_run_of(cost, RunState.WAITING_CI, 4),
        a_run_of(turns, RunState.WAITING_PERSON, 5),
        a_run(id="r6", state=RunState.GREEN, attempts=(Attempt(1, "t", HEAD, NOW),)),
    ]
    one, other = tallies(runs, RoutingPolicy(compare=(cost, turns)))
    assert one == Tally(cost, runs=2, green=1, cost_usd=1.0, seconds=120.0)
    assert other == Tally(turns, runs=1, green=0, cost_usd=0.5, seconds=60.0)


def test_nothing_is_tallied_where_nothing_is_compared():
    assert tallies([a_run_of(Strategy.COST, RunState.GREEN, 1)], RoutingPolicy()) == ()
