"""Lanes and healths for tests of the routing, and hypothesis's histories of them."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from bot.config.schema import Lane, RoutingPolicy
from bot.domain.answers import Ending
from bot.domain.health import Health, Observation
from bot.routing.health import observe

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
A, B, C = (Lane(key, key, probed=True) for key in "abc")


def at(seconds: float) -> datetime:
    """Return a moment so many seconds after `NOW`."""
    return NOW + timedelta(seconds=seconds)


def after(*endings: Ending, apart_s: float = 1.0, response_s: float | None = 2.0) -> Health:
    """Return the health after these calls, the last of which ended at `NOW`."""
    health = Health()
    for place, ending in enumerate(endings, 1 - len(endings)):
        health = observe(health, Observation(ending, response_s), at(apart_s * place))
    return health


def well(times: int = 10) -> Health:
    """Return the health after so many good calls."""
    return after(*[Ending.EDITED] * times)


# Seconds since the one before, and what was seen.
SEEN = st.tuples(
    st.floats(0, 400),
    st.builds(
        Observation,
        st.sampled_from(Ending),
        st.none() | st.floats(0, 120),
        st.none() | st.floats(0, 3_000),
        st.booleans(),
    ),
)
HISTORIES = st.lists(SEEN, max_size=20)


def lived(
    history: list[tuple[float, Observation]], policy: RoutingPolicy
) -> tuple[Health, datetime]:
    """Return a health after a history, and the moment of its end."""
    health, now = Health(), NOW
    for apart_s, seen in history:
        now += timedelta(seconds=apart_s)
        health = observe(health, seen, now, policy)
    return health, now
