"""Which lane works next, and why not the others.

Every choice goes through the same steps: who may work (`health.py`), what the strategy prefers
(`strategies.py`), what a person wants. A lane that rests is never chosen; a poor one only where
none is ready; one that has not shown that it is back only where nothing else is left, or as its
trial.

`intelligent_primary_secondary` stays with a lane, its standing, until a trigger makes it leave: at
once when the lane cannot be used; for a limit or a trend only when another one is well, and not
within `hysteresis_s` of the last switch. It comes back to a lane that is earlier in the order and
has been well for that time; a return that does not last doubles the time before the next one.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

import msgspec
from msgspec.structs import replace

from bot.config.schema import Lane, RoutingPolicy, Strategy
from bot.domain.answers import Ending
from bot.domain.health import Standing
from bot.domain.values import Value
from bot.routing.compare import assigned
from bot.routing.health import (
    Fitness,
    Trigger,
    Verdict,
    judge,
    news_at,
    open_to_trial,
    shown_by_task,
)
from bot.routing.scene import Scene
from bot.routing.strategies import points, rank

UNREACHED = frozenset({Ending.UNAVAILABLE, Ending.NETWORK, Ending.TIMEOUT})

MOST_RELAPSES = 4  # a return is put off for at most 2^4 times the hysteresis


class Choice(Value, frozen=True):
    """The lane to use and, in `order`, those to go on with; why it; why not the others.

    Without a lane, `wait_until` is when there may be news of one that rests; it is None where all
    were tried, and only another round is left. `trial` asks that the choice be noted in the lane's
    health (`health.tried`). `standing` is to be kept; `trigger` is set where it has moved.
    """

    lane: Lane | None
    order: tuple[Lane, ...]
    strategy: Strategy
    standing: Standing
    reasons: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    trigger: Trigger | None = None
    trial: bool = False
    wait_until: datetime | None = None


class _Field(msgspec.Struct, frozen=True):
    """Who may be given this task, by fitness.

    `ready` and `trials`, the lanes of which a task may be the trial now, are in the chain's order;
    `poor` in that of their health, those with a dead neighbour last.
    """

    verdicts: dict[str, Verdict]
    ready: list[Lane]
    poor: list[Lane]
    trials: list[Lane]


class _Move(msgspec.Struct, frozen=True):
    """The standing from now on, and what moved it."""

    standing: Standing
    trigger: Trigger | None = None
    why: str = ""


def choose(lanes: Sequence[Lane], scene: Scene, policy: RoutingPolicy) -> Choice:
    """Choose among *lanes*, given in the chain's order."""
    strategy, why_strategy = _strategy(scene, policy)
    field = _field(lanes, scene, policy)
    order, why = _order(field, scene, policy, strategy)
    stay = _Move(replace(scene.standing, turn=scene.standing.turn + 1))
    move = stay
    if strategy is Strategy.INTELLIGENT and lanes:
        move = _stand(lanes, field, scene, policy)
        order, why = _lead(order, move.standing.lane), move.why or why
        if comeback := _comeback(lanes, field, scene, policy):
            order, why = _lead(order, comeback.key), "its rest is over, and this task is its trial"
            move = stay
    if wanted := _wanted(order, scene, policy):
        order, why = _lead(order, wanted[0].key), wanted[1]
        move = stay
    first = order[0] if order else None
    return Choice(
        first,
        tuple(order),
        strategy,
        move.standing,
        reasons=(why_strategy, why) if first else (why_strategy,),
        skipped=tuple(_skipped(lanes, field, scene)),
        trigger=move.trigger,
        trial=first in field.trials,
        wait_until=None if first else _news(lanes, scene, policy),
    )


def settled(
    standing: Standing, key: str, scene: Scene, policy: RoutingPolicy, *, well: bool
) -> Standing:
    """Return the standing after a call of lane *key* ended well, or made its task leave the lane.

    A switch whose first call fails is taken back, if the former lane can still be used.
    """
    if key != standing.lane or standing.proved:
        return standing
    if well:
        return replace(standing, proved=True)
    former = judge(scene.health(standing.former), scene.now, policy)
    if not standing.former or former.fitness > Fitness.POOR:
        return standing
    relapses = standing.relapses + standing.returned
    turn = standing.turn
    return Standing(standing.former, scene.now, former=key, relapses=relapses, turn=turn)


def _strategy(scene: Scene, policy: RoutingPolicy) -> tuple[Strategy, str]:
    if not policy.enabled:
        return Strategy.PRIMARY_SECONDARY, "[fallback_system] is not enabled: the order decides"
    if (arm := assigned(policy, scene.repo, scene.number)) is not None:
        return arm, f"this pull request takes part in a comparison, with {arm.value}"
    return policy.strategy, f"the strategy is {policy.strategy.value}"


def _field(lanes: Sequence[Lane], scene: Scene, policy: RoutingPolicy) -> _Field:
    verdicts = {
        lane.key: judge(scene.health(lane.key), scene.now, policy, weight=lane.weight)
        for lane in lanes
    }
    dead = _dead_hosts(lanes, verdicts, scene)
    for lane in lanes:
        if lane.host in dead and verdicts[lane.key].fitness is Fitness.READY:
            why = f"{dead[lane.host]} cannot be reached on the same host"
            verdicts[lane.key] = Verdict(Fitness.POOR, why)
    field = _Field(verdicts, [], [], [])
    for lane in lanes:
        fitness = verdicts[lane.key].fitness
        if lane.key in scene.tried:
            continue
        if fitness is Fitness.READY:
            field.ready.append(lane)
        elif fitness is Fitness.POOR:
            field.poor.append(lane)
        elif open_to_trial(scene.health(lane.key), scene.now):
            field.trials.append(lane)
    field.poor.sort(key=lambda lane: (lane.host in dead, -points(lane, scene, policy)))
    return field


def _dead_hosts(
    lanes: Sequence[Lane], verdicts: Mapping[str, Verdict], scene: Scene
) -> dict[str, str]:
    """Return the hosts that lanes rest or were left for not reaching, each with its lane."""
    dead = {}
    for lane in lanes:
        health = scene.health(lane.key)
        causes = set()
        if health.rest is not None and verdicts[lane.key].fitness >= Fitness.TRIAL:
            causes.add(health.rest.cause)
        if lane.key in scene.tried and health.samples:
            causes.add(health.samples[-1].ending)
        if lane.host and causes & UNREACHED:
            dead[lane.host] = lane.key
    return dead


def _order(
    field: _Field, scene: Scene, policy: RoutingPolicy, strategy: Strategy
) -> tuple[list[Lane], str]:
    """Return all who may be tried: ready ones by strategy, then poor ones by health, then trials.

    Other strategies than the intelligent one, which counts its trials, give a lane that no probe
    can show to be back its place among the ready ones.
    """
    hopeful = [*field.ready]
    if strategy is not Strategy.INTELLIGENT and hopeful:
        hopeful += [
            lane
            for lane in field.trials
            if shown_by_task(scene.health(lane.key), lane, scene.now, policy)
        ]
    ranked, why = rank(strategy, hopeful, scene, policy)
    if not ranked:
        why = "no lane is well, and it is the best of the others"
    if not ranked and not field.poor:
        why = "all others rest, and its own rest is over: this task is its trial"
    return [*ranked, *field.poor, *(lane for lane in field.trials if lane not in ranked)], why


def _lead(order: Iterable[Lane], key: str) -> list[Lane]:
    """Return the lanes with one of them at the head, if it is among them."""
    return sorted(order, key=lambda lane: lane.key != key)


def _stand(lanes: Sequence[Lane], field: _Field, scene: Scene, policy: RoutingPolicy) -> _Move:
    """Say which lane the chain stands with from now on, and what made it leave the last one."""
    keys = [lane.key for lane in lanes]
    standing = replace(scene.standing, turn=scene.standing.turn + 1)
    if standing.lane not in keys:
        standing = Standing(keys[0], turn=standing.turn)
    verdict, place = field.verdicts[standing.lane], keys.index(standing.lane)
    best = [lane for lane in field.ready if lane.key != standing.lane]
    best.sort(key=lambda lane: -points(lane, scene, policy))
    if verdict.fitness >= Fitness.TRIAL:
        others = [*best, *field.poor]
        return _moved(standing, others, Trigger.IMMEDIATE, verdict.why, scene, policy)
    calm = _past(standing.since, scene.now, policy)
    if verdict.trigger is not None and calm and best:
        return _moved(standing, best, verdict.trigger, verdict.why, scene, policy)
    earlier = [
        lane
        for lane in field.ready
        if keys.index(lane.key) < place and _past(scene.health(lane.key).back_at, scene.now, policy)
    ]
    if earlier and _past(standing.since, scene.now, policy, standing.relapses):
        why = f"it is well and comes before {standing.lane}"
        return _moved(standing, earlier, Trigger.RETURN, why, scene, policy)
    if verdict.trigger is None:
        return _Move(standing)
    held = "no other lane is well" if calm else "the last switch was just now"
    return _Move(standing, why=f"{verdict.why}, but {held}")


def _moved(
    standing: Standing,
    targets: Sequence[Lane],
    trigger: Trigger,
    why: str,
    scene: Scene,
    policy: RoutingPolicy,
) -> _Move:
    """Return the move to the first target; without one the chain stays where it stands."""
    if not targets:
        return _Move(standing)
    returns, relapses = trigger is Trigger.RETURN, standing.relapses
    if standing.returned and standing.since is not None and not returns:
        lasted = scene.now - standing.since >= timedelta(seconds=policy.stale_s)
        relapses = 0 if lasted else relapses + 1
    moved = Standing(
        targets[0].key,
        since=scene.now,
        former=standing.lane,
        proved=False,
        returned=returns,
        relapses=relapses,
        turn=standing.turn,
    )
    return _Move(moved, trigger, why if returns else f"{standing.lane} was left: {why}")


def _past(moment: datetime | None, now: datetime, policy: RoutingPolicy, relapses: int = 0) -> bool:
    """Tell whether something is long enough ago for a switch that can wait."""
    apart_s = policy.hysteresis_s * 2 ** min(relapses, MOST_RELAPSES)
    return moment is None or (now - moment).total_seconds() >= apart_s


def _comeback(
    lanes: Sequence[Lane], field: _Field, scene: Scene, policy: RoutingPolicy
) -> Lane | None:
    """Return an earlier lane than the standing one that is back, if at all, by a task's trial.

    Each trial may cost a task some time, so they are as far apart as switches.
    """
    for lane in lanes:
        health = scene.health(lane.key)
        if lane.key == scene.standing.lane or not _past(scene.standing.since, scene.now, policy):
            return None
        if lane not in field.trials or health.rest is None:
            continue
        apart = _past(health.rest.since, scene.now, policy)
        if apart and shown_by_task(health, lane, scene.now, policy):
            return lane
    return None


def _wanted(order: Sequence[Lane], scene: Scene, policy: RoutingPolicy) -> tuple[Lane, str] | None:
    """Return the lane that a person asked for, here or in the settings, if it may work."""
    wishes = [(scene.wanted, "a person asked for it")] if scene.wanted else []
    wishes += [
        (backend, f"[fallback_system] overrides {pattern}")
        for pattern, backend in policy.overrides.items()
        if fnmatchcase(scene.repo, pattern)
    ]
    for wish, why in wishes:
        for lane in order:
            if wish in {lane.key, lane.backend}:
                return lane, why
    return None


def _skipped(lanes: Sequence[Lane], field: _Field, scene: Scene) -> Iterable[tuple[str, str]]:
    for lane in lanes:
        verdict = field.verdicts[lane.key]
        if lane.key in scene.tried:
            more = f"; {verdict.why}" if verdict.fitness >= Fitness.TRIAL else ""
            yield lane.key, f"has failed with this task{more}"
        elif verdict.why:
            yield lane.key, verdict.why


def _news(lanes: Sequence[Lane], scene: Scene, policy: RoutingPolicy) -> datetime | None:
    """Return when there may be news of the first lane, None where one was tried and could go on."""
    news = [news_at(scene.health(lane.key), lane, scene.now, policy) for lane in lanes]
    known = [at for at in news if at is not None]
    return min(known, default=None) if len(known) == len(news) else None
