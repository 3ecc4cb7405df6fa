"""How the lanes are, who would work next and why, and which strategy does better: for people."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from bot.config.schema import Lane, RoutingPolicy
from bot.domain.health import Health, Known, Rest
from bot.domain.runs import Run
from bot.domain.values import Value
from bot.routing import health
from bot.routing.choice import choose
from bot.routing.compare import Comparison, Tally, compare, tallies
from bot.routing.scene import Scene


class LaneState(Value, frozen=True):
    """One lane now: may it be given work, and seed 3's metrics of it."""

    key: str
    backend: str
    provider: str
    fitness: str
    why: str
    report: health.Report
    rest: Rest | None
    calls: int
    probed_at: datetime | None


class TierState(Value, frozen=True):
    """A chain now: its lanes, its standing, and what would be chosen for an ordinary task."""

    name: str
    standing: str
    since: datetime | None
    next: str
    reasons: tuple[str, ...]
    wait_until: datetime | None
    lanes: tuple[LaneState, ...]


class Overview(Value, frozen=True):
    """The routing now; without a comparison `tallies` is empty."""

    at: datetime
    enabled: bool
    strategy: str
    tiers: tuple[TierState, ...]
    tallies: tuple[Tally, ...] = ()
    comparison: Comparison | None = None


def overview(
    policy: RoutingPolicy,
    tiers: Mapping[str, tuple[Sequence[Lane], Known]],
    runs: Sequence[Run],
    now: datetime,
) -> Overview:
    """Return the routing now: *tiers* has by name the lanes of each and what is known of them."""
    sides = tallies(runs, policy)
    return Overview(
        now,
        policy.enabled,
        policy.strategy.value,
        tuple(_tier(name, lanes, known, now, policy) for name, (lanes, known) in tiers.items()),
        sides,
        compare(*sides) if sides else None,
    )


def _tier(
    name: str, lanes: Sequence[Lane], known: Known, now: datetime, policy: RoutingPolicy
) -> TierState:
    choice = choose(lanes, Scene(now, known.healths, known.standing), policy)
    return TierState(
        name,
        known.standing.lane,
        known.standing.since,
        next=choice.lane.key if choice.lane else "",
        reasons=choice.reasons,
        wait_until=choice.wait_until,
        lanes=tuple(_lane(lane, known, now, policy) for lane in lanes),
    )


def _lane(lane: Lane, known: Known, now: datetime, policy: RoutingPolicy) -> LaneState:
    seen = known.healths.get(lane.key, Health())
    report = health.report(seen, now, policy)
    verdict = health.judge(seen, now, policy, weight=lane.weight)
    return LaneState(
        lane.key,
        lane.backend,
        lane.provider,
        verdict.fitness.name.lower(),
        verdict.why,
        report,
        seen.rest,
        seen.calls,
        seen.probed_at,
    )
