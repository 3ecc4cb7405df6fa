"""Plays a scenario through a router in virtual time, and keeps the log that is measured.

The loop below stands for what the shell does in production: ask for a lane, call it, tell how it
ended, wait where the answer says so. Everything else is the router's.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Protocol

from msgspec.structs import replace

from bot.domain.answers import Ending
from bot.domain.values import Value
from bot.routing.fleet.world import Errand, Reply, Scenario, World


class Use(Value, frozen=True):
    """Call this lane after a moment; `left` is the lane that the router moves away from by this.

    `comes_back` tells that the move is a return to a lane that is well again, `trial` that the call
    is to show whether the lane is back.
    """

    lane: str
    after_s: float = 0.0
    left: str = ""
    comes_back: bool = False
    trial: bool = False


class Wait(Value, frozen=True):
    """Ask again after this time."""

    after_s: float


class GiveUp(Value, frozen=True):
    """The task has failed."""


Move = Use | Wait | GiveUp


@dataclass(slots=True)
class Job:
    """An errand under way, the lane that it was last given to, and how many calls it has had."""

    errand: Errand
    lane: str = ""
    calls: int = 0


class Router(Protocol):
    """What is played. `now_s` never goes backwards."""

    def next(self, job: Job, now_s: float) -> Move:
        """Say what to do with a job that has no call under way."""
        ...

    def ended(self, job: Job, reply: Reply, now_s: float) -> bool:
        """Take in how the job's call on `job.lane` went; say whether to probe it before `next`."""
        ...

    def probe_at(self, key: str, now_s: float) -> float | None:
        """Return when a lane is to be probed, None for never."""
        ...

    def probed(self, key: str, reply: Reply, now_s: float) -> None:
        """Take in how a probe went."""
        ...


class Call(Value, frozen=True):
    """One call of the log. `left` is set where it is a switch: the lane that was left for it.

    `left_well` tells whether nothing was wrong with that lane at that moment, `hopeless` that no
    other lane was up.
    """

    task: int
    lane: str
    from_s: float
    to_s: float = 0.0
    ending: Ending = Ending.EDITED
    cost_usd: float = 0.0
    left: str = ""
    left_well: bool = False
    hopeless: bool = False
    comes_back: bool = False
    trial: bool = False


class Log(Value, frozen=True):
    """What happened; `ends` holds, by task, when it ended and whether it was done."""

    errands: tuple[Errand, ...]
    calls: tuple[Call, ...]
    ends: dict[int, tuple[float, bool]]


Event = Callable[[float], None]  # is told the time


@dataclass(slots=True)
class _Play:
    world: World
    router: Router
    timeout_s: float
    events: list[tuple[float, int, Event]] = field(default_factory=list)
    order: Iterator[int] = field(default_factory=count)
    calls: list[Call] = field(default_factory=list)
    ends: dict[int, tuple[float, bool]] = field(default_factory=dict)

    def at(self, when_s: float, event: Event) -> None:
        """Have something happen at a moment, after what was to happen then already."""
        heapq.heappush(self.events, (when_s, next(self.order), event))

    def task(self, errand: Errand) -> None:
        """Have a task come."""
        self.at(errand.at_s, partial(self._go_on, Job(errand)))

    def probes(self, key: str) -> None:
        """Have a lane probed from the beginning on."""
        self.at(0.0, partial(self._probe, key, 0))

    def _go_on(self, job: Job, now_s: float) -> None:
        late_s = job.errand.at_s + self.world.scenario.patience_s
        move = self.router.next(job, now_s) if now_s < late_s else GiveUp()
        match move:
            case Use():
                self.at(now_s + move.after_s, partial(self._call, job, move))
            case Wait():
                self.at(now_s + max(move.after_s, 0.1), partial(self._go_on, job))
            case GiveUp():
                self.ends[job.errand.number] = (now_s, False)

    def _call(self, job: Job, use: Use, now_s: float) -> None:
        left = "" if use.trial else use.left or (job.lane if job.lane != use.lane else "")
        others = [lane.key for lane in self.world.scenario.lanes if lane.key != left]
        job.lane, job.calls = use.lane, job.calls + 1
        call = Call(
            job.errand.number,
            use.lane,
            now_s,
            left=left,
            left_well=bool(left) and self.world.well(left, now_s),
            hopeless=bool(left) and not any(self.world.serves(one, now_s) for one in others),
            comes_back=use.comes_back,
            trial=use.trial,
        )
        reply = self.world.call(use.lane, job.errand, job.calls, now_s)
        end_s = now_s + reply.took_s
        self.calls.append(replace(call, to_s=end_s, ending=reply.ending, cost_usd=reply.cost_usd))
        self.at(end_s, partial(self._ended, job, reply))

    def _ended(self, job: Job, reply: Reply, now_s: float) -> None:
        confirm = self.router.ended(job, reply, now_s)
        if reply.ending is Ending.EDITED:
            self.ends[job.errand.number] = (now_s, True)
        elif confirm:
            said = self.world.probe(
                job.lane, f"{job.errand.number}:{job.calls}", now_s, self.timeout_s
            )
            self.at(now_s + said.took_s, partial(self._confirmed, job, said))
        else:
            self._go_on(job, now_s)

    def _confirmed(self, job: Job, said: Reply, now_s: float) -> None:
        self.router.probed(job.lane, said, now_s)
        self._go_on(job, now_s)

    def _probe(self, key: str, nth: int, now_s: float) -> None:
        due_s = self.router.probe_at(key, now_s)
        if due_s is None or now_s >= self.world.scenario.span_s:
            return
        if due_s > now_s:
            self.at(due_s, partial(self._probe, key, nth))
            return
        reply = self.world.probe(key, str(nth), now_s, self.timeout_s)
        self.at(now_s + reply.took_s, partial(self._probed, key, nth, reply))

    def _probed(self, key: str, nth: int, reply: Reply, now_s: float) -> None:
        self.router.probed(key, reply, now_s)
        self.at(now_s + 0.1, partial(self._probe, key, nth + 1))


def play(scenario: Scenario, seed: int, router: Router, *, timeout_s: float = 10.0) -> Log:
    """Play a scenario; `timeout_s` bounds a probe."""
    world = World(scenario, seed)
    errands = tuple(world.errands())
    this = _Play(world, router, timeout_s)
    for errand in errands:
        this.task(errand)
    for lane in scenario.lanes:
        this.probes(lane.key)
    while this.events:
        now_s, _, event = heapq.heappop(this.events)
        event(now_s)
    return Log(errands, tuple(this.calls), this.ends)
