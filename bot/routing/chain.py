"""Which backends the fix drain tries, and in what order.

Until `fallback_after` attempts have been counted it is the primary chain; from then on it is the
fallback chain, when there is one, and nothing else. The fallback never joins the primary rotation,
and without a fallback nothing changes. The deterministic fixers are no part of a chain: they cost
nothing and go first wherever they apply.

Within the chain the health of its lanes and the strategy decide (`choice.py`).
"""

from collections.abc import Sequence
from datetime import datetime

from bot.config.schema import BackendName, Lane, Policy
from bot.domain.values import Value
from bot.routing.choice import Choice, choose
from bot.routing.scene import Scene


class Route(Value, frozen=True):
    """The backends to try in their order, and why each of the others is passed over.

    `notices` are lines for the log, in auto-coder's words. `choice` is what health and strategy
    said, None where nobody asked them; it names the lanes behind the chain and why the first leads.
    An empty chain waits until `wait_until`.
    """

    chain: tuple[BackendName, ...]
    fallback: bool
    notices: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    choice: Choice | None = None

    @property
    def wait_until(self) -> datetime | None:
        """When there may be news of a backend that rests, where none can be used."""
        return self.choice.wait_until if self.choice is not None else None


def route(policy: Policy, count: int, number: int, scene: Scene | None = None) -> Route:
    """Choose the chain for pull request *number* after *count* attempts; *scene* orders it."""
    tier = _tier(policy, count, number)
    if scene is None:
        return tier
    choice = choose(lanes(policy, tier.chain, fallback=tier.fallback), scene, policy.routing)
    names = {name.name: name for name in tier.chain}
    chain = tuple(names[backend] for backend in dict.fromkeys(one.backend for one in choice.order))
    return Route(chain, tier.fallback, tier.notices, (*choice.skipped, *tier.skipped), choice)


def lanes(policy: Policy, chain: Sequence[BackendName], *, fallback: bool) -> tuple[Lane, ...]:
    """Return the lanes of a chain: of each backend one for each of its providers."""
    known = policy.routing.lanes
    if fallback and policy.routing.fallback_lanes:
        known = policy.routing.fallback_lanes
    found = []
    for backend in chain:
        own = [lane for lane in known if lane.backend == backend.name]
        found += own or [Lane(backend.name, backend.name)]
    return tuple(found)


def _tier(policy: Policy, count: int, number: int) -> Route:
    """Return the primary or the fallback chain, as it is configured."""
    if not policy.fallback:
        return Route(policy.primary, fallback=False)
    if count < policy.fallback_after:
        why = f"kept as the fallback until attempt {policy.fallback_after} has failed"
        return Route(policy.primary, fallback=False, skipped=_each(policy.fallback, why))
    notices = (
        f"Switched to fallback backend for PR #{number} (attempt {count})",
        f"Using fallback backend: {policy.fallback[0].model}",
    )
    why = f"the pull request is still red after {count} attempts"
    skipped = _each(policy.primary, why)
    return Route(policy.fallback, fallback=True, notices=notices, skipped=skipped)


def _each(backends: tuple[BackendName, ...], why: str) -> tuple[tuple[str, str], ...]:
    return tuple((backend.name, why) for backend in backends)
