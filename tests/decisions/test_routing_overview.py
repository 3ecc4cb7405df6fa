"""What `regreen routing` tells, worked out of what is stored."""

from bot.config.schema import RoutingPolicy, Strategy
from bot.domain.answers import Ending
from bot.domain.health import Known, Standing
from bot.routing.overview import overview
from tests.support.lanes import NOW, A, B, after, at, well


def told(known: Known, **changes):
    return overview(RoutingPolicy(**changes), {"primary": ((A, B), known)}, [], at(1))


def test_a_lane_that_rests_is_told_with_its_reason_and_who_works_instead():
    known = Known({"a": after(Ending.AUTH), "b": well()}, Standing("a"))
    (tier,) = told(known).tiers
    first, second = tier.lanes
    assert (first.fitness, first.report.health, first.report.available) == ("resting", 0.0, False)
    assert "auth (its key is refused: give it another)" in first.why
    assert (second.fitness, second.calls) == ("ready", 10)
    assert (tier.standing, tier.next) == ("a", "b")
    assert any("a was left: rests until" in reason for reason in tier.reasons)


def test_with_none_to_use_it_tells_when_there_may_be_news():
    known = Known({"a": after(Ending.USAGE_LIMIT), "b": after(Ending.USAGE_LIMIT)})
    (tier,) = told(known).tiers
    assert (tier.next, tier.wait_until) == ("", at(60))


def test_a_comparison_is_told_with_how_sure_it_is():
    found = told(Known(), compare=(Strategy.COST, Strategy.ROUND_ROBIN))
    assert found.at == at(1) > NOW
    assert found.comparison is not None
    assert found.comparison.better is None
    assert "0 of 0 green" in found.comparison.said
    assert told(Known()).comparison is None
