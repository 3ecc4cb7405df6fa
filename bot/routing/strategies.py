"""Orders of trying: each strategy ranks the lanes that are ready, the best first, and says why.

Whether a lane is ready is not their business (`health.py`), nor is when one is left
(`choice.py`). Chance comes in as a seed, so the same input gives the same order.
"""

from collections.abc import Sequence
from hashlib import sha256
from math import sqrt
from statistics import NormalDist

from bot.config.schema import Lane, RoutingPolicy, Strategy
from bot.domain.health import Health
from bot.routing.health import SLOWEST_S, score
from bot.routing.scene import Scene

Ranked = tuple[list[Lane], str]


def rank(strategy: Strategy, lanes: Sequence[Lane], scene: Scene, policy: RoutingPolicy) -> Ranked:
    """Return the lanes in the strategy's order, and why the first one is first."""
    match strategy:
        case Strategy.PRIMARY_SECONDARY:
            return list(lanes), "it comes first in the order"
        case Strategy.INTELLIGENT:
            by_health = sorted(lanes, key=lambda lane: -points(lane, scene, policy))
            return by_health, "it has the best health"
        case Strategy.ROUND_ROBIN:
            return _by_turn(lanes, scene.standing.turn)
        case Strategy.PERFORMANCE:
            return _by_performance(lanes, scene)
        case Strategy.TASK_SPECIFIC:
            return _by_task(lanes, policy, scene.kinds)
        case Strategy.COST:
            return _by_cost(lanes, scene)


def points(lane: Lane, scene: Scene, policy: RoutingPolicy) -> float:
    """Return the health by which lanes are compared."""
    return lane.weight * score(scene.health(lane.key), scene.now, policy)


def chance(seed: str) -> float:
    """Return a number from 0 to 1 that looks random and is always the same for a seed."""
    return int.from_bytes(sha256(seed.encode()).digest()[:7]) / (1 << 56)


def promise(health: Health) -> tuple[float, float]:
    """Return how many edits the lane is known to have made and missed, in part calls' worth.

    An edit that the gatekeeper refuses is a miss, so the share of good verdicts scales the good
    calls. One of each is added to both (Laplace): a new lane is neither good nor bad.
    """
    good = health.calls - health.failures
    approved = (sum(health.judged) + 1) / (len(health.judged) + 1)  # unknown counts as good
    good_edits = good * min(approved, 1.0)
    return 1 + good_edits, 1 + health.calls - good_edits


def _by_turn(lanes: Sequence[Lane], turn: int) -> Ranked:
    """Rank by the turns of the backends; the lanes of one, at its providers, keep their order."""
    names = list(dict.fromkeys(lane.backend for lane in lanes))
    start = turn % len(names) if names else 0
    turns = {name: place for place, name in enumerate([*names[start:], *names[:start]])}
    return sorted(lanes, key=lambda lane: turns[lane.backend]), "it is its turn"


def _by_performance(lanes: Sequence[Lane], scene: Scene) -> Ranked:
    """Rank by Thompson sampling: by a draw from what each lane's success rate may be.

    Good lanes are drawn high often, and hardly known ones sometimes, so both are used and learnt
    about in proportion (Thompson, 1933; Chapelle and Li, 2011). The Beta posterior is drawn from as
    the normal distribution of its mean and variance. Speed counts beside success in the seed's
    proportion of .3 to .4.
    """
    seed = f"{scene.repo}#{scene.number}:{scene.standing.turn}"

    def draw(lane: Lane) -> float:
        health = scene.health(lane.key)
        made, missed = promise(health)
        calls = made + missed
        spread = sqrt(made * missed / (calls + 1)) / calls
        luck = chance(f"{seed}:{lane.key}") or 0.5
        rate = NormalDist(made / calls, spread).inv_cdf(luck)
        speed = max(0.0, 1 - (health.response_s or 0.0) / SLOWEST_S)
        return rate * (4 + 3 * speed) / 7 * lane.weight

    return sorted(lanes, key=draw, reverse=True), "it promises most, of what is known and unknown"


def _by_task(lanes: Sequence[Lane], policy: RoutingPolicy, kinds: Sequence[str]) -> Ranked:
    for kind in kinds:
        wanted = policy.tasks.get(kind)
        if any(lane.backend == wanted for lane in lanes):
            first = sorted(lanes, key=lambda lane: lane.backend != wanted)
            return first, f"[task_routing] gives it {kind}"
    return list(lanes), "no kind of this task is routed; it comes first in the order"


def _by_cost(lanes: Sequence[Lane], scene: Scene) -> Ranked:
    """Rank by what a success costs: the price of a call over its chance to succeed."""

    def cost(lane: Lane) -> tuple[bool, float]:
        made, missed = promise(scene.health(lane.key))
        return lane.price_usd is None, (lane.price_usd or 0.0) * (made + missed) / made

    ranked = sorted(lanes, key=cost)
    if not ranked or ranked[0].price_usd is None:
        return ranked, "no price is known; it comes first in the order"
    return ranked, f"a success costs least there, {cost(ranked[0])[1]:.3f} USD"
