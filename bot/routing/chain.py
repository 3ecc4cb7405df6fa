"""Which backends the fix drain tries, and in what order.

Until `fallback_after` attempts have been counted it is the primary chain; from then on it is the
fallback chain, when there is one, and nothing else. The fallback never joins the primary rotation,
and without a fallback nothing changes. The deterministic fixers are no part of a chain: they cost
nothing and go first wherever they apply.
"""

from bot.config.schema import BackendName, Policy
from bot.domain.values import Value


class Route(Value, frozen=True):
    """The backends to try in their order, and why each of the others is passed over.

    `notices` are lines for the log, in auto-coder's words.
    """

    chain: tuple[BackendName, ...]
    fallback: bool
    notices: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


def route(policy: Policy, count: int, number: int) -> Route:
    """Choose the chain for pull request *number* after *count* attempts."""
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
