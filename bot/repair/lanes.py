"""What becomes of the knowledge of lanes when a backend is chosen, called and judged.

Each function takes what is known and returns what is to be known from then on; the shell does that
under the store's lock. A chain's standing is kept for each tier of the fix drain, whatever the
repository: all of them learn from each other.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from bot.config.schema import Lane, Policy
from bot.domain import effects
from bot.domain.health import Health, Known, Observation
from bot.routing import health
from bot.routing.chain import Route, lanes, route
from bot.routing.choice import settled
from bot.routing.compare import assigned
from bot.routing.meaning import MEANINGS, Fault
from bot.routing.scene import Scene


def standing_of(*, fallback: bool) -> str:
    """Return the name of a tier's standing."""
    return f"fix/{'fallback' if fallback else 'primary'}"


def tier(policy: Policy, *, fallback: bool) -> tuple[Lane, ...]:
    """Return the lanes of a tier of the fix drain, in the chain's order."""
    return lanes(policy, policy.fallback if fallback else policy.primary, fallback=fallback)


def on_fallback(ask: effects.ChooseBackend, policy: Policy) -> bool:
    """Tell whether a choice is made among the fallback's lanes."""
    return route(policy, ask.count, ask.pull.number).fallback


def everyone(policy: Policy) -> Sequence[tuple[Lane, bool]]:
    """Return the lanes of both tiers, each once, and whether it is the fallback's."""
    found = {lane.key: (lane, False) for lane in tier(policy, fallback=False)}
    for lane in tier(policy, fallback=True):
        found.setdefault(lane.key, (lane, True))
    return tuple(found.values())


def chosen(
    ask: effects.ChooseBackend, policy: Policy, known: Known, now: datetime
) -> tuple[Known, Route]:
    """Choose who works next; a lane that is left by its own fault may cost it the standing."""
    scene = Scene(
        now,
        known.healths,
        known.standing,
        repo=ask.pull.repo,
        number=ask.pull.number,
        kinds=ask.kinds,
        tried=ask.tried,
    )
    if ask.left:
        standing = settled(known.standing, ask.left, scene, policy.routing, well=False)
        scene = replace(scene, standing=standing)
    found = route(policy, ask.count, ask.pull.number, scene)
    choice = found.choice
    assert choice is not None
    if choice.lane is None:  # nobody works: the chain stands where it stood
        return replace(known, standing=scene.standing), found
    healths = known.healths
    if choice.trial:
        key = choice.lane.key
        healths = {**healths, key: health.tried(scene.health(key), now)}
    return Known(healths, choice.standing), found


def told(
    ask: effects.ChooseBackend, policy: Policy, found: Route, now: datetime
) -> effects.BackendChosen:
    """Return a choice as the machine hears of it."""
    choice = found.choice
    assert choice is not None
    side = assigned(policy.routing, ask.pull.repo, ask.pull.number)
    told = effects.BackendChosen(
        now,
        side=side.value if side is not None and policy.routing.enabled else "",
        reasons=choice.reasons,
        skipped=choice.skipped,
        wait_until=choice.wait_until,
    )
    lane = choice.lane
    if lane is None:
        return told
    return replace(told, lane=lane.key, backend=lane.backend, provider=lane.provider)


def heard(key: str, seen: Observation, policy: Policy, known: Known, now: datetime) -> Known:
    """Note how a call or a probe of a lane ended; one that went well proves the standing."""
    after = health.observe(known.healths.get(key, Health()), seen, now, policy.routing)
    known = replace(known, healths={**known.healths, key: after})
    if seen.probe or MEANINGS[seen.ending].fault is Fault.LANE:
        return known
    scene = Scene(now, known.healths, known.standing)
    standing = settled(known.standing, key, scene, policy.routing, well=True)
    return replace(known, standing=standing)


def judged(key: str, known: Known, *, approved: bool) -> Known:
    """Note the gatekeeper's verdict on a lane's edit."""
    after = health.judged(known.healths.get(key, Health()), approved=approved)
    return replace(known, healths={**known.healths, key: after})
