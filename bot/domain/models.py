"""Calls to models: on whose behalf, at what price, against which caps, and how each one went.

Money is counted in whole billionths of a dollar, so that sums are exact: a ledger of fractions does
not add up.
"""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum

from bot.domain.answers import Ending
from bot.domain.values import PullRef, Secret, Value

NANO = 1_000_000_000  # of a dollar


class Api(StrEnum):
    """The family of an API; it decides paths, the key's header and the shape of errors."""

    OPENAI = "openai"  # chat completions and responses, by whoever serves them
    ANTHROPIC = "anthropic"  # messages
    GEMINI = "gemini"  # generateContent


class Price(Value, frozen=True):
    """USD per million tokens; a cached read or write without a price costs what input costs."""

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None


class PriceOf(Value, frozen=True):
    """`[prices.X]`: the price of the models that a pattern (as in file names) names."""

    pattern: str
    price: Price


class Tokens(Value, frozen=True):
    """What a call used; `cached` (read) and `written` to a cache are parts of `input`."""

    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0


class Caps(Value, frozen=True):
    """`[budget]`: the most that may be spent, in USD; None means without bound.

    An attempt and a pull request are counted for as long as they live; a repository, a tenant and
    the whole (`per_day_usd`) for one day in UTC.
    """

    per_attempt_usd: float | None = None
    per_pull_usd: float | None = None
    per_repo_usd: float | None = None
    per_tenant_usd: float | None = None
    per_day_usd: float | None = None


class Origin(Value, frozen=True):
    """On whose behalf a call is made; `tenant` names the installation of the App by its owner."""

    run: str
    attempt: int
    pull: PullRef
    tenant: str
    backend: str
    provider: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to call one API through the gateway.

    `base_url` is what the vendor's own client would be given. `models` are the patterns (as in
    file names) of the models that may be asked for; none means any. `price` is that of `model`,
    the configured one, and of whatever `prices` do not name.
    """

    origin: Origin
    api: Api
    base_url: str
    key: Secret | None
    price: Price | None = None
    caps: Caps = field(default_factory=Caps)
    models: tuple[str, ...] = ()
    model: str = ""
    prices: tuple[PriceOf, ...] = ()

    def price_of(self, model: str) -> Price | None:
        """Return what a call of *model* costs, None when no price is known."""
        if model == self.model and self.price is not None:
            return self.price
        return listed(self.prices, model) or self.price


class Call(Value, frozen=True):
    """One call of a model, as the gateway saw it; before its end an estimate.

    `ending` is None when it went well. `status` is what the agent was answered, 0 when it got
    nothing. `cost_nano` is None without a price. `estimated`: the API did not tell the tokens.
    `cap` names the setting that refused the call. Times are seconds from the request's arrival.
    """

    id: str
    origin: Origin
    at: datetime
    model: str
    tokens: Tokens
    cost_nano: int | None
    estimated: bool = True
    status: int = 0
    ending: Ending | None = None
    detail: str = ""
    retry_after_s: float | None = None
    cap: str = ""
    seconds: float = 0.0
    first_byte_s: float | None = None


class Account(Value, frozen=True):
    """What is counted together; `setting` is the key in `[budget]` that caps it.

    `until` is when it begins anew, None for what lives as long as its attempt or pull request.
    """

    name: str
    setting: str
    cap_nano: int | None = None
    until: datetime | None = None


class Spend(Value, frozen=True):
    """The state of an account: what was spent, and what calls under way hold back."""

    spent_nano: int = 0
    held_nano: int = 0


def nano(usd: float) -> int:
    """Return dollars as whole billionths."""
    return round(usd * NANO)


def cost_nano(tokens: Tokens, price: Price | None) -> int | None:
    """Return what *tokens* cost, None without a price."""
    if price is None:
        return None
    cached = price.input if price.cached is None else price.cached
    written = price.input if price.cache_write is None else price.cache_write
    fresh = max(0, tokens.input - tokens.cached - tokens.written)
    usd_per_million = (
        fresh * price.input
        + tokens.cached * cached
        + tokens.written * written
        + tokens.output * price.output
    )
    return nano(usd_per_million / 1_000_000)


def listed(prices: Sequence[PriceOf], model: str) -> Price | None:
    """Return the price of *model* in a table: the longest pattern that fits knows it best."""
    fitting = [one for one in prices if fnmatch.fnmatchcase(model, one.pattern)]
    return max(fitting, key=lambda one: len(one.pattern)).price if fitting else None


def accounts(origin: Origin, caps: Caps, at: datetime) -> tuple[Account, ...]:
    """Return the accounts that a call at that time is counted in."""
    day = at.astimezone(UTC).date()
    tomorrow = datetime.combine(day + timedelta(days=1), time(), UTC)
    named = (
        (f"attempt {origin.run}/{origin.attempt}", "per_attempt_usd", None),
        (f"pull {origin.pull}", "per_pull_usd", None),
        (f"repo {origin.pull.repo} on {day}", "per_repo_usd", tomorrow),
        (f"tenant {origin.tenant} on {day}", "per_tenant_usd", tomorrow),
        (f"all on {day}", "per_day_usd", tomorrow),
    )
    found = []
    for name, setting, until in named:
        cap: float | None = getattr(caps, setting)
        found.append(Account(name, setting, None if cap is None else nano(cap), until))
    return tuple(found)


def decisive(calls: Sequence[Call]) -> Call | None:
    """Return the call that says how an agent's run ended: the last that the agent did not cut off.

    An agent that was refused gives up or tries again, so what it met last is what it ended on.
    """
    return next((call for call in reversed(calls) if call.ending is not Ending.KILLED), None)


def ending_of(calls: Sequence[Call]) -> Ending | None:
    """Return how an agent's run ended as the gateway saw it, None when nothing was wrong there.

    A cap of ours is `BUDGET`, a vendor's `USAGE_LIMIT`; `decisive(calls).cap` names ours, and its
    `retry_after_s` is None where that budget never begins anew.
    """
    call = decisive(calls)
    return None if call is None else call.ending
