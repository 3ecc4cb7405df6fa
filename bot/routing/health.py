"""A lane's condition from its recent calls and probes, and whether it may be given work now.

Health is seed 3's: .4 of the success rate, .3 of the speed, .2 of few errors, .1 of no streak of
them, and 0 while the lane cannot be used. The circuit breaker is a rest: it begins at once where
nothing else makes sense (a refused key, a spent quota), or after a streak of failures. Once it is
over the lane is on trial: one probe or one task decides whether it is back or rests twice as long.
A probe that goes well ends a rest early, unless the provider itself said until when, or the key was
refused where the list of models may be open to everybody.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from msgspec.structs import replace

from bot.config.schema import Lane, RoutingPolicy
from bot.domain.answers import Ending
from bot.domain.health import Health, Observation, Rest, RestKind, Sample
from bot.domain.values import Value
from bot.routing.drift import drifting
from bot.routing.meaning import MEANINGS, SHORT_S, Fault, Meaning, Then, rest_for, told
from bot.routing.scene import Scene

SLOWEST_S, MOST_ERRORS, LONGEST_STREAK = 60.0, 10, 5  # where the seed's terms reach 0
PROBES = 10  # remembered
WITNESSES = 2  # failed probes, or calls and then a probe, in a row: the lane is down
PROBE_AGAIN_S = 10.0  # after a failed one, and while a lane rests
PROBES_LOST = 4  # intervals without one: nobody probes
SLOW_CALLS = 3  # in a row make "consistently slow"
SOON_S = 2.0  # a probe that is due has answered by then
JUDGED = 50  # verdicts remembered
TRIAL_S = 10.0  # a trial that has not failed by then goes well, or died with its process


class Fitness(IntEnum):
    """Whether a lane may be given work, best first."""

    READY = 0
    POOR = 1  # only where no lane is ready
    TRIAL = 2  # its rest is over, and nothing has shown that it is back
    RESTING = 3  # never


class Trigger(StrEnum):
    """Why a lane is left or come back to (seed 3); the words say more."""

    IMMEDIATE = "immediate"
    THRESHOLD = "threshold"
    PREVENTIVE = "preventive"
    RETURN = "return"


class Verdict(Value, frozen=True):
    """A lane's fitness, what would make one leave it, and why."""

    fitness: Fitness
    why: str = ""
    trigger: Trigger | None = None


class Report(Value, frozen=True):
    """Seed 3's metrics of a lane; `errors` counts the remembered failures by their ending."""

    health: float
    verdict: Verdict
    available: bool
    success_rate: float | None
    response_s: float | None
    errors: dict[str, int]
    last_error: Ending | None
    consecutive_failures: int


_READY = Verdict(Fitness.READY)
_DEFAULT = RoutingPolicy()


def observe(
    health: Health, seen: Observation, now: datetime, policy: RoutingPolicy = _DEFAULT
) -> Health:
    """Return the health after one more call or probe."""
    meaning = MEANINGS[seen.ending]
    if meaning.fault is Fault.HERE:
        return health
    failed = meaning.fault is Fault.LANE
    if seen.probe:
        return _probed(health, seen, now, policy, failed=failed)
    if not failed:
        health = _closed(health, now, policy)
    health = _counted(health, Sample(now, seen.ending, failed, seen.response_s), policy)
    if not failed:
        return health
    reason = meaning.then is Then.NEXT or health.consecutive >= policy.consecutive_failures
    return _rested(health, seen, meaning, now, begin=reason)


def judged(health: Health, *, approved: bool) -> Health:
    """Return the health after the gatekeeper's verdict on an edit of the lane."""
    return replace(health, judged=(*health.judged, approved)[-JUDGED:])


def tried(health: Health, now: datetime) -> Health:
    """Note that a task is given to a lane that is on trial, so that no other is meanwhile."""
    return replace(health, rest=health.rest and replace(health.rest, trial_at=now))


def score(health: Health, now: datetime, policy: RoutingPolicy = _DEFAULT) -> float:
    """Return seed 3's health, from 0 to 1; a lane of which nothing is known has 1."""
    if health.rest is not None and not _over(health.rest, now):
        return 0.0
    if not _fresh(health, now, policy):
        return 1.0
    success = 1 - health.failures / health.calls
    speed = max(0.0, 1 - (health.response_s or 0.0) / SLOWEST_S)
    calm = max(0.0, 1 - health.failures / MOST_ERRORS)
    streak = max(0.0, 1 - health.consecutive / LONGEST_STREAK)
    return 0.4 * success + 0.3 * speed + 0.2 * calm + 0.1 * streak


def judge(
    health: Health, now: datetime, policy: RoutingPolicy = _DEFAULT, *, weight: float = 1.0
) -> Verdict:
    """Say whether a lane may be given work; `weight` multiplies its score."""
    rest = health.rest
    if rest is not None and not _over(rest, now):
        cause = told(rest.cause)
        if now < rest.until:
            why = f"rests until {rest.until:%H:%M:%S}: {cause}"
            return Verdict(Fitness.RESTING, why, Trigger.IMMEDIATE)
        return Verdict(Fitness.TRIAL, f"has not shown that it is back: {cause}", Trigger.IMMEDIATE)
    if _fresh(health, now, policy):
        if why := _beyond(health, policy):
            return Verdict(Fitness.POOR, why, Trigger.THRESHOLD)
        points = score(health, now, policy) * weight
        if points < policy.min_health:
            return Verdict(Fitness.POOR, f"health {points:.2f}", Trigger.THRESHOLD)
        if health.drifting and policy.preventive:
            return Verdict(Fitness.POOR, health.drifting, Trigger.PREVENTIVE)
        if points < policy.min_target_health:
            return Verdict(Fitness.POOR, f"health {points:.2f}")
    if (failed := health.probes.count(False)) >= WITNESSES:
        return Verdict(Fitness.POOR, f"{failed} of its {len(health.probes)} newest probes failed")
    return _READY


def fit(key: str, lanes: Sequence[Lane], scene: Scene, policy: RoutingPolicy = _DEFAULT) -> bool:
    """Tell whether a lane that failed may be asked again: none is better, and it does not rest."""
    fitness = {
        lane.key: judge(scene.health(lane.key), scene.now, policy, weight=lane.weight).fitness
        for lane in lanes
    }
    return fitness[key] <= min(Fitness.POOR, *fitness.values())


def probe_at(health: Health, now: datetime, policy: RoutingPolicy = _DEFAULT) -> datetime:
    """Return when the lane should be asked next, without work, whether it is there."""
    if health.probed_at is None:
        return now
    again = health.probed_at + timedelta(seconds=PROBE_AGAIN_S)
    rest = health.rest
    if rest is not None and not _limited(rest):
        return rest.until if health.probed_at < rest.until < again else again
    if health.probes[-1:] == (False,):
        return again
    heard = health.probed_at
    if health.samples and not health.samples[-1].failed:
        heard = max(heard, health.samples[-1].at)
    return heard + timedelta(seconds=policy.monitoring_interval_s)


def confirm(ending: Ending, lane: Lane, health: Health, now: datetime) -> bool:
    """Tell whether a probe should say, before a task that failed goes on, if its lane is down.

    What passes by itself is worth another try of the same lane, and what does not is not; a probe
    tells the one from the other sooner than a second failure does.
    """
    resting = health.rest is not None and now < health.rest.until
    return lane.probed and not resting and MEANINGS[ending].then is Then.SAME


def open_to_trial(health: Health, now: datetime) -> bool:
    """Tell whether a task may be the lane's trial now: one at a time, until one has gone on."""
    rest = health.rest
    if rest is None or now < rest.until:
        return False
    return rest.trial_at is None or (now - rest.trial_at).total_seconds() > TRIAL_S


def shown_by_task(
    health: Health, lane: Lane, now: datetime, policy: RoutingPolicy = _DEFAULT
) -> bool:
    """Tell whether only a task can show that a lane is back: no probe can, or none comes."""
    if health.rest is None:
        return False
    lost = timedelta(seconds=PROBES_LOST * policy.monitoring_interval_s)
    probed_at = health.probed_at
    if not lane.probed or probed_at is None or now - probed_at > lost:
        return True
    passed = probed_at >= health.rest.since and health.probes[-1:] == (True,)
    return (passed and _unproved(health.rest)) or _limited(health.rest)


def news_at(
    health: Health, lane: Lane, now: datetime, policy: RoutingPolicy = _DEFAULT
) -> datetime | None:
    """Return when a lane that cannot be used may be usable again, None when it can be."""
    rest = health.rest
    if rest is None or _over(rest, now):
        return None
    by_task = shown_by_task(health, lane, now, policy)
    if rest.until <= now:
        return now + timedelta(seconds=TRIAL_S if by_task else SOON_S)
    if rest.asked or by_task:
        return rest.until
    return min(rest.until, now + timedelta(seconds=PROBE_AGAIN_S))


def report(health: Health, now: datetime, policy: RoutingPolicy = _DEFAULT) -> Report:
    """Return a lane's health as people and metrics read it."""
    failed = [sample for sample in health.samples if sample.failed]
    return Report(
        health=score(health, now, policy),
        verdict=judge(health, now, policy),
        available=health.rest is None or _over(health.rest, now),
        success_rate=1 - health.failures / health.calls if health.calls else None,
        response_s=health.response_s,
        errors=dict(Counter(sample.ending.value for sample in failed)),
        last_error=failed[-1].ending if failed else None,
        consecutive_failures=health.consecutive,
    )


def failed(seen: Observation) -> bool:
    """Tell whether a call or a probe failed by its lane's fault."""
    return MEANINGS[seen.ending].fault is Fault.LANE


def _over(rest: Rest, now: datetime) -> bool:
    """Tell whether a rest ended by itself: the provider said when, and that is past."""
    return rest.asked and now >= rest.until


def _limited(rest: Rest) -> bool:
    """Tell whether only work shows that the lane is back: a limit lets probes through."""
    return rest.kind is RestKind.CREDITS or rest.cause is Ending.RATE_LIMITED


def _unproved(rest: Rest) -> bool:
    """Tell whether a key was refused, and no probe: the list of models may need no key."""
    return rest.cause is Ending.AUTH and not rest.refused


def _fresh(health: Health, now: datetime, policy: RoutingPolicy) -> bool:
    """Tell whether anything was heard of the lane lately."""
    return bool(health.samples) and (
        (now - health.samples[-1].at).total_seconds() <= policy.stale_s
    )


def _beyond(health: Health, policy: RoutingPolicy) -> str:
    """Return which of the seed's limits the lane is beyond."""
    newest = health.samples[-policy.error_rate_calls :]
    failures = sum(sample.failed for sample in newest)
    if len(newest) >= policy.error_rate_least and failures > policy.error_rate * len(newest):
        return f"{failures} of its {len(newest)} newest calls failed"
    times = [sample.response_s or 0.0 for sample in newest[-SLOW_CALLS:]]
    if len(times) == SLOW_CALLS and min(times) > policy.response_time_s:
        return f"its answers take more than {policy.response_time_s:g} s"
    return ""


def _streak(probes: Sequence[bool]) -> int:
    """Return how many of the newest probes failed in a row."""
    return next((at for at, well in enumerate(reversed(probes)) if well), len(probes))


def _closed(health: Health, now: datetime, policy: RoutingPolicy) -> Health:
    """Return the health after a call that went well; one from before a rest does not end it."""
    if health.rest is None or now < health.rest.until:
        return replace(health, consecutive=0)
    return _opened(health, now, policy)


def _opened(health: Health, now: datetime, policy: RoutingPolicy) -> Health:
    """Return the health of a lane that has shown that it is back.

    The streak of failures that its rest came from is forgiven. Those before it are not: a lane that
    fails every other call has its good moments too.
    """
    calls, probes = len(health.samples), len(health.probes)
    while calls and health.samples[calls - 1].failed:
        calls -= 1
    while probes and not health.probes[probes - 1]:
        probes -= 1
    health = replace(health, rest=None, back_at=now, consecutive=0, probes=health.probes[:probes])
    return _summed(health, health.samples[:calls], policy)


def _counted(health: Health, sample: Sample, policy: RoutingPolicy) -> Health:
    """Return the health with one more call, and without those that are too old or too many."""
    oldest = sample.at - timedelta(seconds=policy.window_s)
    kept = health.samples[-(policy.window_calls - 1) :] if policy.window_calls > 1 else ()
    if kept and kept[0].at < oldest:
        kept = tuple(one for one in kept if one.at >= oldest)
    consecutive = health.consecutive + 1 if sample.failed else 0
    return _summed(replace(health, consecutive=consecutive), (*kept, sample), policy)


def _summed(health: Health, samples: tuple[Sample, ...], policy: RoutingPolicy) -> Health:
    """Return the health with these samples and what they add up to."""
    times = [sample.response_s for sample in samples if sample.response_s is not None]
    return replace(
        health,
        samples=samples,
        calls=len(samples),
        failures=sum(sample.failed for sample in samples),
        response_s=sum(times) / len(times) if times else None,
        drifting=drifting(samples) if policy.preventive else "",
    )


def _rested(
    health: Health, seen: Observation, meaning: Meaning, now: datetime, *, begin: bool
) -> Health:
    """Return the health with the rest that a failure starts, lengthens or doubles."""
    rest, wish_s = health.rest, seen.retry_after_s or 0.0
    asked_until = now + timedelta(seconds=wish_s)
    refused = seen.probe and seen.ending is Ending.AUTH
    refused = refused or (rest is not None and rest.refused)
    if rest is not None and now < rest.until:  # a call that was under way when the rest began
        until = max(asked_until, rest.until)
        return replace(health, rest=replace(rest, until=until, refused=refused))
    ended = rest is None or _over(rest, now)
    if ended and not begin and wish_s <= SHORT_S:
        return health
    kind = meaning.rest or RestKind.BROKEN
    nth = rest.nth + 1 if rest is not None else 0
    until = asked_until if wish_s else now + rest_for(kind, nth)
    cause = seen.ending
    if rest is not None and rest.cause is Ending.AUTH and seen.probe:
        cause = rest.cause  # what else a probe meets tells nothing of the key
    pause = Rest(kind, cause, now, until, nth, asked=wish_s > 0, refused=refused)
    return replace(health, rest=pause)


def _probed(
    health: Health, seen: Observation, now: datetime, policy: RoutingPolicy, *, failed: bool
) -> Health:
    """Return the health after a probe; it is no call, and tells nothing of limits."""
    health = replace(health, probed_at=now)
    rest, meaning = health.rest, MEANINGS[seen.ending]
    if seen.ending in {Ending.RATE_LIMITED, Ending.USAGE_LIMIT}:
        return health
    proof = rest is not None and not (rest.asked or _limited(rest) or _unproved(rest))
    if proof and not failed:
        health = _opened(health, now, policy)
    health = replace(health, probes=(*health.probes, not failed)[-PROBES:])
    if not failed:
        return health
    witnesses = health.consecutive + _streak(health.probes)
    sure = meaning.then is Then.NEXT or witnesses >= WITNESSES
    return _rested(health, seen, meaning, now, begin=sure)
