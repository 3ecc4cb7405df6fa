"""The world that a fleet is played in: tasks that come, backends that answer, spells of trouble.

All of it follows from a scenario and a seed. The luck of a call hangs on the seed, the task, the
lane and the try alone, so every router that is played meets the same world. Seconds count from the
beginning of the play.
"""

from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise
from math import exp, log
from statistics import NormalDist

import msgspec

from bot.config.schema import Lane
from bot.domain.answers import Ending
from bot.domain.values import Value
from bot.routing.strategies import chance

ORDINARY_SIZE = 6  # requests of a call that costs a lane's price
LIMIT_S = 60.0  # a rate limit counts the calls of so many seconds
SERVES = 0.5  # a lane that fails more often than this is down
SPREAD = 0.35  # of the logarithm of response times
PROBE_SHARE = 0.1  # a probe asks for little, and takes that share of a request's time
WELL_FAILING, WELL_SLOWER = 0.05, 1.5  # up to here a lane is as well as lanes are
SHIFT_S = 600.0  # a seed moves a scenario's trouble by up to half of this, back or forth


class Trouble(StrEnum):
    """What a spell does to its lane."""

    OUTAGE = "outage"  # 503 to every call; calls under way break
    UNREACHABLE = "unreachable"  # the network is down; calls under way break
    HANG = "hang"  # no answer until the time is up
    KEY = "key"  # the key is refused
    GONE = "gone"  # the model is not served any more
    QUOTA = "quota"  # the credit is used up
    BROWN_OUT = "brown_out"  # a share of the calls fails
    DRIFT = "drift"  # ever slower, failing ever more
    LIMIT = "limit"  # so many calls a minute and no more


# How a lane that is down answers: the ending, and after how many seconds.
DOWN: dict[Trouble, tuple[Ending, float]] = {
    Trouble.OUTAGE: (Ending.UNAVAILABLE, 1.0),
    Trouble.UNREACHABLE: (Ending.NETWORK, 2.0),
    Trouble.HANG: (Ending.TIMEOUT, 30.0),
    Trouble.KEY: (Ending.AUTH, 0.3),
    Trouble.GONE: (Ending.NOT_FOUND, 0.3),
    Trouble.QUOTA: (Ending.USAGE_LIMIT, 0.4),
}
BREAKS = frozenset({Trouble.OUTAGE, Trouble.UNREACHABLE})
UNSEEN = frozenset({Trouble.QUOTA, Trouble.LIMIT})  # by a probe, which does no work
BY_CHANCE = (Ending.UNAVAILABLE, Ending.NETWORK, Ending.INVALID, Ending.TIMEOUT)


class Member(Value, frozen=True):
    """A backend of the fleet: how long a request takes it, and how often a call fails anyhow."""

    lane: Lane
    response_s: float = 6.0
    noise: float = 0.01


class Spell(Value, frozen=True):
    """A time of trouble for one lane.

    `depth` is the share of calls that fail (a drift's at its end), or a limit's calls per minute.
    `slower` is how many times as long a drift's answers take at its end. `tells` whether a quota or
    a limit comes with Retry-After.
    """

    lane: str
    trouble: Trouble
    from_s: float
    for_s: float
    depth: float = 1.0
    slower: float = 1.0
    tells: bool = True

    @property
    def to_s(self) -> float:
        """When it is over."""
        return self.from_s + self.for_s

    def share(self, at_s: float) -> float:
        """Return how far the spell has come, from 0 to 1."""
        return (at_s - self.from_s) / self.for_s


class Scenario(Value, frozen=True):
    """A fleet and what befalls it; a task comes every `every_s` on average.

    A task is given up `patience_s` after it came.
    """

    name: str
    about: str
    members: tuple[Member, ...]
    spells: tuple[Spell, ...] = ()
    span_s: float = 10_800.0
    every_s: float = 30.0
    patience_s: float = 600.0

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The chain, in its order."""
        return tuple(member.lane for member in self.members)


class Errand(Value, frozen=True):
    """A task of the play; its `size` is how many requests it takes a model."""

    number: int
    at_s: float
    size: int
    kinds: tuple[str, ...] = ()


class Reply(Value, frozen=True):
    """How a call went."""

    ending: Ending
    took_s: float
    response_s: float | None = None
    retry_after_s: float | None = None
    cost_usd: float = 0.0


class World:
    """What every router meets alike; it remembers only which calls count for a rate limit."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.seed = f"{seed}:{scenario.name}"
        self._members = {member.lane.key: member for member in scenario.members}
        shift_s = (chance(f"{self.seed}:shift") - 0.5) * SHIFT_S
        self._spells = {key: _of(scenario, key, shift_s) for key in self._members}
        self._calls: dict[str, deque[float]] = {key: deque() for key in self._members}

    @property
    def spells(self) -> tuple[Spell, ...]:
        """The spells at the times at which this seed has them."""
        return tuple(spell for spells in self._spells.values() for spell in spells)

    def errands(self) -> Iterator[Errand]:
        """Yield the tasks as they come."""
        at_s, number = 0.0, 0
        while True:
            number += 1
            at_s += _waiting(chance(f"{self.seed}:{number}:gap"), self.scenario.every_s)
            if at_s >= self.scenario.span_s:
                return
            size = 2 + int(10 * chance(f"{self.seed}:{number}:size") ** 2)
            kind = "simple_tasks" if size <= 3 else "complex_tasks"  # noqa: PLR2004 -- about half
            yield Errand(number, at_s, size, (kind,))

    def call(self, key: str, errand: Errand, nth: int, at_s: float) -> Reply:
        """Return how the *nth* call for an errand goes, begun on lane *key* at *at_s*."""
        member = self._members[key]
        luck = f"{self.seed}:{errand.number}:{key}:{nth}"
        if (refused := self._refused(key, at_s)) is not None:
            return refused
        response_s = self._response_s(member, luck, at_s)
        whole_s = response_s * errand.size
        price = (member.lane.price_usd or 0.0) * errand.size / ORDINARY_SIZE
        if chance(f"{luck}:fails") < self.failing(key, at_s):
            done = chance(f"{luck}:when")
            ending = BY_CHANCE[int(chance(f"{luck}:how") * len(BY_CHANCE))]
            return Reply(ending, 1 + whole_s * done, response_s, cost_usd=price * done)
        for spell in self._spells[key]:
            if spell.trouble in BREAKS and at_s < spell.from_s < at_s + whole_s:
                ending, took_s = DOWN[spell.trouble]
                done_s = spell.from_s - at_s
                return Reply(ending, done_s + took_s, response_s, cost_usd=price * done_s / whole_s)
        return Reply(Ending.EDITED, whole_s, response_s, cost_usd=price)

    def ideal_s(self, errand: Errand) -> float:
        """Return how long an errand would take the first lane if nothing ever went wrong."""
        member = self.scenario.members[0]
        luck = f"{self.seed}:{errand.number}:{member.lane.key}:1"
        return _usual_s(member, luck) * errand.size

    def probe(self, key: str, name: str, at_s: float, timeout_s: float) -> Reply:
        """Return how a probe of a lane goes; *name* tells it from the others."""
        member, luck = self._members[key], f"{self.seed}:probe:{key}:{name}"
        for spell in self._active(key, at_s):
            if spell.trouble in DOWN and spell.trouble not in UNSEEN:
                ending, took_s = DOWN[spell.trouble]
                return Reply(ending, min(took_s, timeout_s))
        response_s = PROBE_SHARE * self._response_s(member, luck, at_s)
        if response_s > timeout_s:
            return Reply(Ending.TIMEOUT, timeout_s)
        if chance(f"{luck}:fails") < self.failing(key, at_s):
            return Reply(Ending.UNAVAILABLE, 1.0)
        return Reply(Ending.EDITED, response_s, response_s)

    def failing(self, key: str, at_s: float) -> float:
        """Return the share of calls that fail on a lane that answers."""
        well = 1 - self._members[key].noise
        for spell in self._active(key, at_s):
            if spell.trouble is Trouble.BROWN_OUT:
                well *= 1 - spell.depth
            elif spell.trouble is Trouble.DRIFT:
                well *= 1 - spell.depth * spell.share(at_s)
        return 1 - well

    def serves(self, key: str, at_s: float) -> bool:
        """Tell whether a call that is begun now would more likely than not go well."""
        down = any(spell.trouble in DOWN for spell in self._active(key, at_s))
        return not down and self.failing(key, at_s) <= SERVES

    def well(self, key: str, at_s: float) -> bool:
        """Tell whether nothing is wrong with a lane that would justify leaving it."""
        down = any(spell.trouble in DOWN for spell in self._active(key, at_s))
        bad = self.failing(key, at_s) > WELL_FAILING or self._slower(key, at_s) > WELL_SLOWER
        return not down and not bad and self._full(key, at_s) is None

    def lit(self) -> list[tuple[float, float]]:
        """Return the stretches of time in which at least one lane serves; the ends are not."""
        end_s = self.scenario.span_s + self.scenario.patience_s
        cuts = {0.0, end_s}
        for spells in self._spells.values():
            for spell in spells:
                cuts |= {spell.from_s, spell.to_s}
                if spell.trouble is Trouble.DRIFT and spell.depth > SERVES:
                    cuts.add(spell.from_s + spell.for_s * SERVES / spell.depth)
        edges = sorted(cut for cut in cuts if 0 <= cut <= end_s)
        return [
            (one, other)
            for one, other in pairwise(edges)
            if any(self.serves(key, (one + other) / 2) for key in self._members)
        ]

    def _active(self, key: str, at_s: float) -> Iterator[Spell]:
        return (spell for spell in self._spells[key] if spell.from_s <= at_s < spell.to_s)

    def _refused(self, key: str, at_s: float) -> Reply | None:
        """Return the answer to a call that gets no work done at all."""
        for spell in self._active(key, at_s):
            if spell.trouble in DOWN:
                ending, took_s = DOWN[spell.trouble]
                tells = spell.trouble is Trouble.QUOTA and spell.tells
                waited_s = took_s if ending is Ending.TIMEOUT else None
                return Reply(ending, took_s, waited_s, spell.to_s - at_s if tells else None)
        full = self._full(key, at_s)
        if full is None:
            self._calls[key].append(at_s)
            return None
        after_s = self._calls[key][0] + LIMIT_S - at_s if full.tells else None
        return Reply(Ending.RATE_LIMITED, 0.3, retry_after_s=after_s)

    def _full(self, key: str, at_s: float) -> Spell | None:
        """Return the limit that the lane is at now."""
        counted = self._calls[key]
        while counted and counted[0] <= at_s - LIMIT_S:
            counted.popleft()
        for spell in self._active(key, at_s):
            if spell.trouble is Trouble.LIMIT and len(counted) >= spell.depth:
                return spell
        return None

    def _response_s(self, member: Member, luck: str, at_s: float) -> float:
        return self._slower(member.lane.key, at_s) * _usual_s(member, luck)

    def _slower(self, key: str, at_s: float) -> float:
        slower = 1.0
        for spell in self._active(key, at_s):
            if spell.trouble is Trouble.DRIFT:
                slower *= 1 + (spell.slower - 1) * spell.share(at_s)
        return slower


def _of(scenario: Scenario, key: str, shift_s: float) -> tuple[Spell, ...]:
    return tuple(
        msgspec.structs.replace(spell, from_s=spell.from_s + shift_s)
        for spell in scenario.spells
        if spell.lane == key
    )


def _usual_s(member: Member, luck: str) -> float:
    """Return how long a request takes a member with which nothing is wrong."""
    z = NormalDist().inv_cdf(0.001 + 0.998 * chance(f"{luck}:speed"))
    return member.response_s * exp(SPREAD * z)


def _waiting(luck: float, mean_s: float) -> float:
    """Return an exponential waiting time from a number between 0 and 1."""
    return -mean_s * log(1 - luck)
