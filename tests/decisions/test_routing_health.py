"""A lane's condition: the seed's weights, rests and trials, limits, trends, probes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config.schema import RoutingPolicy
from bot.domain.answers import Ending
from bot.domain.health import Health, Observation, RestKind
from bot.routing import health as conditions
from bot.routing.health import (
    Fitness,
    Trigger,
    judge,
    observe,
    probe_at,
    report,
    score,
    shown_by_task,
)
from bot.routing.meaning import MEANINGS, Fault
from tests.support.lanes import HISTORIES, NOW, A, after, at, lived, well

POLICY = RoutingPolicy()
EDITED, UNAVAILABLE = Ending.EDITED, Ending.UNAVAILABLE
OWN = [ending for ending, meaning in MEANINGS.items() if meaning.fault is Fault.LANE]
UP, DOWN = (Observation(ending, probe=True) for ending in (EDITED, UNAVAILABLE))


def call(health, ending, seconds, **more):
    return observe(health, Observation(ending, **more), at(seconds))


# --- the score -----------------------------------------------------------------------------------


def test_a_lane_of_which_nothing_is_known_is_healthy():
    assert score(Health(), NOW) == 1.0


@pytest.mark.parametrize(
    ("calls", "response_s", "expected"),
    [
        ([EDITED] * 4, 0.0, 1.0),
        ([EDITED] * 4, 30.0, 0.4 + 0.15 + 0.2 + 0.1),
        ([EDITED] * 4, 90.0, 0.4 + 0.2 + 0.1),
        ([UNAVAILABLE, EDITED, EDITED, EDITED], 6.0, 0.4 * 0.75 + 0.27 + 0.18 + 0.1),
        ([EDITED, EDITED, EDITED, UNAVAILABLE], 6.0, 0.4 * 0.75 + 0.27 + 0.18 + 0.08),
    ],
)
def test_the_seeds_weights(calls, response_s, expected):
    assert score(after(*calls, response_s=response_s), NOW) == pytest.approx(expected)


def test_a_lane_that_rests_has_none():
    assert score(after(Ending.AUTH), NOW) == 0.0


@given(HISTORIES)
def test_the_score_lies_between_0_and_1(history):
    health, now = lived(history, POLICY)
    assert 0.0 <= score(health, now) <= 1.0


@given(HISTORIES)
def test_a_success_never_lowers_the_score(history):
    policy = RoutingPolicy(stale_s=1e9)  # else it may end the benefit of the doubt
    health, now = lived(history, policy)
    better = observe(health, Observation(EDITED, 0.0), now, policy)
    assert score(better, now, policy) >= score(health, now, policy) - 1e-9


@given(HISTORIES, st.sampled_from(OWN))
def test_a_failure_never_raises_it_but_by_letting_an_old_one_go(history, ending):
    kept = RoutingPolicy(window_s=1e9, window_calls=1000, stale_s=1e9)
    health, now = lived(history, kept)
    worse = observe(health, Observation(ending, health.response_s), now, kept)
    assert score(worse, now, kept) <= score(health, now, kept) + 1e-9


@given(HISTORIES)
def test_a_health_goes_to_json_and_back(history):
    health, _ = lived(history, POLICY)
    assert msgspec.json.decode(msgspec.json.encode(health), type=Health) == health


@given(HISTORIES)
def test_what_is_summed_up_is_the_sum(history):
    health, _ = lived(history, POLICY)
    assert health.calls == len(health.samples) <= POLICY.window_calls
    assert health.failures == sum(sample.failed for sample in health.samples)


def test_old_calls_are_forgotten():
    old = after(*[UNAVAILABLE, EDITED] * 4)
    assert call(old, EDITED, POLICY.window_s + 1).samples[0].at == at(POLICY.window_s + 1)


@pytest.mark.parametrize("ending", [Ending.NO_CHANGE, Ending.REFUSED, Ending.CONTEXT_EXCEEDED])
def test_what_the_task_is_to_blame_for_counts_as_an_answer(ending):
    assert score(after(ending, response_s=0.0), NOW) == pytest.approx(1.0)


def test_a_full_disk_is_nothing_to_a_lanes_health():
    assert call(well(), Ending.DISK_FULL, 1) == well()


# --- rests and trials ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "kind", "seconds"),
    [
        (Ending.AUTH, RestKind.BROKEN, 5),
        (Ending.NOT_FOUND, RestKind.BROKEN, 5),
        (Ending.KILLED, RestKind.BROKEN, 5),
        (Ending.TOOL_FAILED, RestKind.BROKEN, 5),
        (Ending.RATE_LIMITED, RestKind.BROKEN, 5),
        (Ending.USAGE_LIMIT, RestKind.CREDITS, 60),
    ],
)
def test_what_makes_no_sense_to_repeat_starts_a_rest_at_once(ending, kind, seconds):
    rest = after(ending).rest
    assert rest is not None
    assert (rest.kind, rest.until) == (kind, at(seconds))


@pytest.mark.parametrize("ending", [UNAVAILABLE, Ending.NETWORK, Ending.TIMEOUT, Ending.INVALID])
def test_what_passes_by_itself_starts_one_at_the_third_time(ending):
    assert after(ending, ending).rest is None
    third = after(ending, ending, ending).rest
    assert third is not None
    assert third.until == at(5)


def test_a_success_ends_a_streak():
    assert after(UNAVAILABLE, UNAVAILABLE, EDITED, UNAVAILABLE, UNAVAILABLE).rest is None


def test_a_provider_that_says_when_is_believed():
    health = call(Health(), Ending.RATE_LIMITED, 0, retry_after_s=33.0)
    assert judge(health, at(32)).fitness is Fitness.RESTING
    assert judge(health, at(34)).fitness is Fitness.READY


def test_a_long_retry_after_is_a_rest_a_short_one_is_not():
    assert call(Health(), UNAVAILABLE, 0, retry_after_s=5.0).rest is None
    assert call(Health(), UNAVAILABLE, 0, retry_after_s=50.0).rest.until == at(50)


def test_a_failed_trial_rests_twice_as_long():
    health = after(Ending.USAGE_LIMIT)
    assert judge(health, at(61)).fitness is Fitness.TRIAL
    again = call(health, Ending.USAGE_LIMIT, 61)
    assert again.rest.until == at(61 + 120)


def test_calls_that_were_under_way_neither_double_nor_end_a_rest():
    health = after(Ending.USAGE_LIMIT)
    assert call(health, Ending.USAGE_LIMIT, 1).rest == health.rest
    assert call(health, EDITED, 1).rest == health.rest


def test_a_trial_that_goes_well_ends_the_rest_and_the_doubling():
    back = call(after(Ending.USAGE_LIMIT), EDITED, 61)
    assert back.rest is None
    assert back.back_at == at(61)
    assert call(back, Ending.USAGE_LIMIT, 70).rest.until == at(70 + 60)


def test_one_task_at_a_time_is_a_trial():
    health = after(Ending.USAGE_LIMIT)
    assert not conditions.open_to_trial(health, at(59))
    assert conditions.open_to_trial(health, at(61))
    begun = conditions.tried(health, at(61))
    assert not conditions.open_to_trial(begun, at(65))
    assert conditions.open_to_trial(begun, at(72))


def test_the_streak_of_an_outage_is_forgiven_but_not_what_was_before():
    outage = after(*[EDITED] * 5, *[UNAVAILABLE] * 3)
    assert judge(observe(outage, UP, at(6)), at(7)).fitness is Fitness.READY
    brown = after(*[EDITED, UNAVAILABLE] * 5, UNAVAILABLE, UNAVAILABLE)
    assert judge(observe(brown, UP, at(6)), at(7)).fitness is Fitness.POOR


# --- limits and trends ---------------------------------------------------------------------------


def test_an_error_rate_needs_six_calls():
    bad = [UNAVAILABLE, UNAVAILABLE, EDITED]
    assert judge(after(*bad, *bad[:2]), NOW).fitness is Fitness.READY
    assert judge(after(*bad, *bad), NOW).trigger is Trigger.THRESHOLD


def test_three_failures_of_ten_are_within_the_rate_and_four_beyond():
    some = [UNAVAILABLE, EDITED, EDITED] * 3
    assert judge(after(*some, EDITED), NOW).fitness is Fitness.READY
    assert judge(after(*some, UNAVAILABLE), NOW).trigger is Trigger.THRESHOLD


def test_three_slow_answers_in_a_row_are_too_slow():
    slow = after(EDITED, EDITED, EDITED, response_s=31.0)
    assert judge(slow, NOW).trigger is Trigger.THRESHOLD
    assert judge(call(slow, EDITED, 1, response_s=3.0), at(1)).fitness is Fitness.READY


def test_the_limits_are_settings():
    twice = after(UNAVAILABLE, UNAVAILABLE)
    strict = RoutingPolicy(consecutive_failures=2)
    assert observe(twice, Observation(UNAVAILABLE), at(1), strict).rest is not None
    slow = after(EDITED, EDITED, EDITED, response_s=31.0)
    assert judge(slow, NOW, RoutingPolicy(response_time_s=60)).fitness is Fitness.READY
    bad = after(*[UNAVAILABLE, EDITED] * 3)
    assert judge(bad, NOW, RoutingPolicy(error_rate=0.5)).fitness is Fitness.READY


def test_a_weight_lowers_what_a_lane_is_worth():
    middling = after(EDITED, EDITED, response_s=29.0)
    assert judge(middling, NOW).fitness is Fitness.READY
    assert judge(middling, NOW, weight=0.5).fitness is Fitness.POOR


def answers(*response_s):
    health = Health()
    for place, seconds in enumerate(response_s):
        health = call(health, EDITED, 30 * place, response_s=seconds)
    return health, at(30 * len(response_s))


def test_answers_that_take_ever_longer_are_seen_before_any_limit():
    health, now = answers(*[4.0, 6.0] * 8, *[5 + nth / 2 for nth in range(20)])
    verdict = judge(health, now)
    assert verdict.trigger is Trigger.PREVENTIVE
    assert verdict.why.startswith("its answers take longer: ")


def test_answers_that_only_vary_are_not():
    health, now = answers(*[3.0, 9.0, 5.0, 4.0, 7.0] * 15)
    assert judge(health, now).fitness is Fitness.READY


def test_failures_that_become_more_are_seen_before_any_limit():
    health = after(*[EDITED] * 30, *[EDITED, EDITED, EDITED, UNAVAILABLE] * 3, UNAVAILABLE)
    health = call(health, EDITED, 1)
    verdict = judge(health, at(1), RoutingPolicy(error_rate=0.9))
    assert verdict.why.startswith("its calls fail more often: ")


def test_prevention_can_be_turned_off():
    health, now = answers(*[4.0, 6.0] * 8, *[5 + nth / 2 for nth in range(20)])
    assert judge(health, now, RoutingPolicy(preventive=False)).fitness is Fitness.READY


def test_a_lane_that_was_not_used_for_long_gets_the_benefit_of_the_doubt():
    poor = after(*[UNAVAILABLE, EDITED] * 5)
    assert judge(poor, at(POLICY.stale_s - 1)).fitness is Fitness.POOR
    assert judge(poor, at(POLICY.stale_s + 1)).fitness is Fitness.READY


# --- probes --------------------------------------------------------------------------------------


def test_two_failed_probes_in_a_row_make_a_lane_rest_one_does_not():
    once = observe(well(), DOWN, at(1))
    assert judge(once, at(2)).fitness is Fitness.READY
    assert judge(observe(once, DOWN, at(11)), at(12)).fitness is Fitness.RESTING


def test_a_failed_call_and_a_failed_probe_are_two_witnesses():
    health = observe(after(EDITED, UNAVAILABLE), DOWN, at(1))
    assert judge(health, at(2)).fitness is Fitness.RESTING


def test_a_refused_key_needs_one_probe():
    health = observe(well(), Observation(Ending.AUTH, probe=True), at(1))
    assert judge(health, at(2)).fitness is Fitness.RESTING


def test_a_probe_that_goes_well_ends_a_rest_early():
    health = observe(after(Ending.NOT_FOUND), UP, at(2))
    assert health.rest is None


REFUSED = Observation(Ending.AUTH, probe=True)


def test_where_a_probe_is_refused_the_key_as_well_the_next_shows_that_it_is_mended():
    health = observe(after(Ending.AUTH), REFUSED, at(2))
    assert not shown_by_task(health, A, at(6))
    assert observe(health, UP, at(12)).rest is None
    between = observe(observe(health, DOWN, at(12)), UP, at(22))
    assert between.rest is None, "an outage in between changes nothing"


def test_where_no_probe_is_refused_the_key_only_a_task_shows_that_it_is_mended():
    health = after(Ending.AUTH)
    for second in (2, 12, 22):
        health = observe(health, UP if second != 12 else DOWN, at(second))
    assert health.rest is not None
    assert health.rest.cause is Ending.AUTH
    assert shown_by_task(health, A, at(23))
    assert call(health, EDITED, 60).rest is None


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(Observation(Ending.USAGE_LIMIT), id="credit"),
        pytest.param(Observation(Ending.RATE_LIMITED), id="rate"),
        pytest.param(Observation(UNAVAILABLE, retry_after_s=60.0), id="asked for"),
    ],
)
def test_but_none_that_a_probe_cannot_judge(seen):
    health = observe(Health(), seen, NOW)
    assert observe(health, UP, at(2)).rest == health.rest


def test_a_lane_whose_probes_fail_now_and_then_is_no_target():
    health = Health()
    for place in range(10):
        health = observe(health, DOWN if place in {2, 6} else UP, at(30 * place))
    assert judge(health, at(300)).fitness is Fitness.POOR


@given(HISTORIES)
def test_the_next_probe_is_due_after_the_last_and_within_the_interval_of_now(history):
    health, now = lived(history, POLICY)
    due = probe_at(health, now)
    assert health.probed_at is None or due > health.probed_at
    assert (due - now).total_seconds() <= POLICY.monitoring_interval_s


def test_a_lane_that_works_is_not_probed_besides():
    probed = observe(Health(), UP, NOW)
    assert probe_at(probed, NOW) == at(30)
    assert probe_at(call(probed, EDITED, 20), at(20)) == at(50)


def test_a_retry_is_confirmed_by_a_probe_where_there_is_one():
    once = after(UNAVAILABLE)
    assert conditions.confirm(UNAVAILABLE, A, once, NOW)
    assert not conditions.confirm(UNAVAILABLE, msgspec.structs.replace(A, probed=False), once, NOW)
    assert not conditions.confirm(Ending.AUTH, A, after(Ending.AUTH), NOW)


def test_where_nobody_probes_a_task_is_the_trial():
    health = after(Ending.AUTH)
    assert conditions.shown_by_task(health, A, at(6))
    probed = observe(health, DOWN, at(1))
    assert not conditions.shown_by_task(probed, A, at(6))
    assert conditions.shown_by_task(probed, A, at(1 + 4 * 30 + 1))


# --- what people read ----------------------------------------------------------------------------


def test_a_report_counts_errors_by_their_kind():
    told = report(after(EDITED, UNAVAILABLE, EDITED, Ending.INVALID, UNAVAILABLE), NOW)
    assert told.errors == {"unavailable": 2, "invalid": 1}
    assert told.success_rate == pytest.approx(0.4)
    assert told.last_error is UNAVAILABLE
    assert (told.consecutive_failures, told.available) == (2, True)
    assert not report(after(Ending.AUTH), NOW).available
