"""Seed 3's measures of a play. `docs/routing.md` defines each of them in words."""

from collections.abc import Iterable, Sequence

from msgspec.structs import asdict

from bot.domain.values import Value
from bot.routing.fleet.play import Call, Log
from bot.routing.fleet.world import Scenario, World
from bot.routing.meaning import MEANINGS, Fault

Stretch = tuple[float, float]


class Measures(Value, frozen=True):
    """Sums, so that several plays add up; the shares are worked out from them.

    Times are seconds, money is USD. `lit_s` is the time in which a backend was up, `failing_s` how
    much of it the service was failing.
    """

    tasks: int = 0
    reachable: int = 0
    done: int = 0
    reachable_done: int = 0
    lit_s: float = 0.0
    failing_s: float = 0.0
    whole_s: float = 0.0
    whole_failing_s: float = 0.0
    recoveries: int = 0
    recovery_s: float = 0.0
    slowest_recovery_s: float = 0.0
    switches: int = 0
    good_switches: int = 0
    hopeless_switches: int = 0
    trials: int = 0
    good_trials: int = 0
    leaving: int = 0
    needless: int = 0
    took_s: float = 0.0
    ideal_s: float = 0.0
    cost_usd: float = 0.0

    @property
    def availability(self) -> float:
        """The share of the time with a backend up in which the service was not failing."""
        return 1 - self.failing_s / self.lit_s if self.lit_s else 1.0

    @property
    def whole_availability(self) -> float:
        """The same over all of the time."""
        return 1 - self.whole_failing_s / self.whole_s if self.whole_s else 1.0

    @property
    def completion(self) -> float:
        """The share of the tasks with a backend up during their patience that were done."""
        return self.reachable_done / self.reachable if self.reachable else 1.0

    @property
    def switch_success(self) -> float:
        """The share that went well of the switches at which another backend was up."""
        hopeful = self.switches - self.hopeless_switches
        return self.good_switches / hopeful if hopeful else 1.0

    @property
    def mean_recovery_s(self) -> float:
        """Seconds from a task's first error to the call that served it."""
        return self.recovery_s / self.recoveries if self.recoveries else 0.0

    @property
    def lost_s_per_1000(self) -> float:
        """Seconds that tasks stood failing, for a thousand tasks."""
        return 1_000 * self.recovery_s / self.tasks if self.tasks else 0.0

    @property
    def needless_switches(self) -> float:
        """The share of the switches that left a lane with which nothing was wrong."""
        return self.needless / self.leaving if self.leaving else 0.0

    @property
    def added_time(self) -> float:
        """How much longer tasks took than without any trouble, as a share."""
        return self.took_s / self.ideal_s - 1 if self.ideal_s else 0.0

    @property
    def cost_per_task_usd(self) -> float:
        """What a task that was done cost."""
        return self.cost_usd / self.done if self.done else 0.0


class Target(Value, frozen=True):
    """A bound that a share or a time has to keep over the built-in scenarios."""

    measure: str
    at_least: float | None = None
    below: float | None = None

    def met(self, measures: Measures) -> bool:
        """Tell whether the measures keep the bound."""
        value = float(getattr(measures, self.measure))
        least, most = self.at_least, self.below
        return (least is None or value >= least) and (most is None or value < most)


TARGETS = (
    Target("availability", at_least=0.995),
    Target("completion", at_least=0.99),
    Target("switch_success", at_least=0.95),
    Target("mean_recovery_s", below=30.0),
    Target("needless_switches", below=0.05),
)
DERIVED = (
    "availability",
    "whole_availability",
    "completion",
    "switch_success",
    "mean_recovery_s",
    "lost_s_per_1000",
    "needless_switches",
    "added_time",
    "cost_per_task_usd",
)


def told(measures: Measures) -> dict[str, float]:
    """Return the measures with what is worked out from them, rounded to a millionth."""
    derived = {name: getattr(measures, name) for name in DERIVED}
    return {name: round(value, 6) for name, value in (derived | asdict(measures)).items()}


def measure(scenario: Scenario, seed: int, log: Log) -> Measures:
    """Return the measures of one play."""
    world = World(scenario, seed)
    lit = world.lit()
    calls: dict[int, list[Call]] = {errand.number: [] for errand in log.errands}
    for call in log.calls:
        calls[call.task].append(call)
    gaps = {number: _gap(made, log.ends[number]) for number, made in calls.items()}
    failing = _union(gap for gap in gaps.values() if gap is not None)
    done = {number for number, (_, well) in log.ends.items() if well}
    recoveries = [
        _overlap([gap], lit) for number, gap in gaps.items() if gap is not None and number in done
    ]
    reachable = {
        errand.number
        for errand in log.errands
        if _overlap([(errand.at_s, errand.at_s + scenario.patience_s)], lit) > 0
    }
    switches = [call for call in log.calls if call.left]
    leaving = [call for call in switches if not call.comes_back]
    trials = [call for call in log.calls if call.trial]
    return Measures(
        tasks=len(log.errands),
        reachable=len(reachable),
        done=len(done),
        reachable_done=len(done & reachable),
        lit_s=_overlap([(0.0, scenario.span_s)], lit),
        failing_s=_overlap(_clipped(failing, scenario.span_s), lit),
        whole_s=scenario.span_s,
        whole_failing_s=sum(end - start for start, end in _clipped(failing, scenario.span_s)),
        recoveries=len(recoveries),
        recovery_s=sum(recoveries),
        slowest_recovery_s=max(recoveries, default=0.0),
        switches=len(switches),
        good_switches=sum(_well(call) and not call.hopeless for call in switches),
        hopeless_switches=sum(call.hopeless for call in switches),
        trials=len(trials),
        good_trials=sum(_well(call) for call in trials),
        leaving=len(leaving),
        needless=sum(call.left_well for call in leaving),
        took_s=sum(log.ends[errand.number][0] - errand.at_s for errand in log.errands),
        ideal_s=sum(world.ideal_s(errand) for errand in log.errands),
        cost_usd=sum(call.cost_usd for call in log.calls),
    )


def total(measures: Iterable[Measures]) -> Measures:
    """Add measures up; of the slowest recovery the slowest is kept."""
    rows = list(measures)
    sums = {name: sum(getattr(row, name) for row in rows) for name in Measures.__struct_fields__}
    slowest = max((row.slowest_recovery_s for row in rows), default=0.0)
    return Measures(**{**sums, "slowest_recovery_s": slowest})


def _well(call: Call) -> bool:
    return MEANINGS[call.ending].fault is not Fault.LANE


def _gap(calls: Sequence[Call], end: tuple[float, bool]) -> Stretch | None:
    """Return from when to when a task was failing: its first error, the call that served it."""
    ended_s, well = end
    errors = [call.to_s for call in calls if not _well(call)]
    if not errors:
        return None
    return errors[0], calls[-1].from_s if well else ended_s


def _union(stretches: Iterable[Stretch]) -> list[Stretch]:
    merged: list[Stretch] = []
    for start, end in sorted(stretches):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _clipped(stretches: Iterable[Stretch], end_s: float) -> list[Stretch]:
    return [(start, min(end, end_s)) for start, end in stretches if start < end_s]


def _overlap(stretches: Sequence[Stretch], within: Sequence[Stretch]) -> float:
    """Return how long both are at once; the stretches of each do not overlap one another."""
    return sum(
        max(0.0, min(end, last) - max(start, first))
        for start, end in stretches
        for first, last in within
    )
