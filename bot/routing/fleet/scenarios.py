"""The built-in scenarios: what befalls a fleet of backends in three hours."""

from bot.config.schema import Lane
from bot.routing.fleet.world import Member, Scenario, Spell, Trouble

MINUTE = 60.0


def _member(key: str, host: str, price: float, response_s: float, noise: float = 0.01) -> Member:
    lane = Lane(key, key.partition("/")[0], key.partition("/")[2], host, price, probed=True)
    return Member(lane, response_s, noise)


CLAUDE = _member("claude", "anthropic", 0.30, 6.0)
CODEX = _member("codex", "openai", 0.25, 7.0)
GEMINI = _member("gemini", "google", 0.10, 5.0)
QWEN = _member("qwen", "alibaba", 0.04, 8.0)
OPUS = _member("opencode/opus", "anthropic", 0.45, 9.0)
POOR = _member("cheap", "cheap", 0.02, 14.0, noise=0.15)
SUBSCRIBED = Member(Lane("aider", "aider", host="local", price_usd=0.08), 7.0)  # cannot be probed
THREE = (CLAUDE, CODEX, GEMINI)


def _spell(
    member: Member,
    trouble: Trouble,
    from_min: float,
    for_min: float,
    depth: float = 1.0,
    *,
    slower: float = 1.0,
    tells: bool = True,
) -> Spell:
    key = member.lane.key
    return Spell(key, trouble, from_min * MINUTE, for_min * MINUTE, depth, slower, tells)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("calm", "nothing but the odd failure", THREE),
    Scenario(
        "outage",
        "the first backend answers 503, for 25 minutes and again for 5",
        THREE,
        (
            _spell(CLAUDE, Trouble.OUTAGE, 30, 25),
            _spell(CLAUDE, Trouble.OUTAGE, 110, 5),
        ),
    ),
    Scenario(
        "shared_host",
        "two backends are of one provider, whose network goes down",
        (CLAUDE, OPUS, CODEX),
        tuple(_spell(one, Trouble.UNREACHABLE, 40, 30) for one in (CLAUDE, OPUS)),
    ),
    Scenario(
        "brown_out",
        "two calls of five fail on the first backend for 40 minutes",
        THREE,
        (_spell(CLAUDE, Trouble.BROWN_OUT, 50, 40, 0.4),),
    ),
    Scenario(
        "rate_limits",
        "the first two backends take two calls a minute, the second does not say when it opens",
        THREE,
        (
            _spell(CLAUDE, Trouble.LIMIT, 20, 140, 2),
            _spell(CODEX, Trouble.LIMIT, 20, 140, 2, tells=False),
        ),
    ),
    Scenario(
        "spent_quota",
        "the first backend's credit is gone for an hour, unannounced; then the second's, announced",
        THREE,
        (
            _spell(CLAUDE, Trouble.QUOTA, 25, 60, tells=False),
            _spell(CODEX, Trouble.QUOTA, 60, 45),
        ),
    ),
    Scenario(
        "slow_drift",
        "the first backend grows eight times slower in 70 minutes, and half its calls fail",
        THREE,
        (_spell(CLAUDE, Trouble.DRIFT, 40, 70, 0.5, slower=8),),
    ),
    Scenario(
        "creep",
        "the first backend's answers come to take four times as long, beyond no limit",
        THREE,
        (_spell(CLAUDE, Trouble.DRIFT, 30, 120, 0.0, slower=4),),
    ),
    Scenario(
        "bad_key",
        "the first backend's key is revoked, and replaced 50 minutes later",
        THREE,
        (_spell(CLAUDE, Trouble.KEY, 45, 50),),
    ),
    Scenario(
        "hang",
        "the first backend takes calls and never answers, for 15 minutes",
        THREE,
        (_spell(CLAUDE, Trouble.HANG, 60, 15),),
    ),
    Scenario(
        "flapping",
        "the first backend is down for 2 minutes of every 5, for an hour",
        THREE,
        tuple(_spell(CLAUDE, Trouble.OUTAGE, 40 + 5 * turn, 2) for turn in range(12)),
    ),
    Scenario(
        "rolling",
        "an outage goes from one backend to the next",
        (CLAUDE, CODEX, GEMINI, QWEN),
        tuple(
            _spell(one, Trouble.OUTAGE, 30 + 20 * place, 30)
            for place, one in enumerate((CLAUDE, CODEX, GEMINI))
        ),
    ),
    Scenario(
        "last_one",
        "for an hour only one backend is left, and one call of five fails there",
        THREE,
        (
            _spell(CLAUDE, Trouble.OUTAGE, 40, 70),
            _spell(CODEX, Trouble.KEY, 45, 65),
            _spell(GEMINI, Trouble.BROWN_OUT, 50, 60, 0.2),
        ),
    ),
    Scenario(
        "blackout",
        "all backends are down for 5 minutes, and come back one after the other",
        THREE,
        tuple(
            _spell(one, Trouble.UNREACHABLE, 60, 5 + 10 * place)
            for place, one in enumerate((GEMINI, CODEX, CLAUDE))
        ),
    ),
    Scenario(
        "unprobed",
        "the first backend cannot be probed; it is down for 30 minutes",
        (SUBSCRIBED, CODEX, GEMINI),
        (_spell(SUBSCRIBED, Trouble.OUTAGE, 45, 30),),
    ),
    Scenario(
        "gone",
        "the first backend's model is taken out of service and does not come back",
        THREE,
        (_spell(CLAUDE, Trouble.GONE, 70, 200),),
    ),
    Scenario(
        "uneven",
        "the first backend of the order is slow and fails one call in seven, for ever",
        (POOR, CODEX, GEMINI),
    ),
)


def named(name: str) -> tuple[Scenario, ...]:
    """Return the scenario of that name, every one for `all`, and none for an unknown name."""
    return tuple(one for one in SCENARIOS if name in {"all", one.name})
