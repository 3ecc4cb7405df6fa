"""Metrics for Prometheus, in a registry of the application's own.

`COUNTERS` and `TIMES` are what the shells report by name. Anything else is counted in
`regreen_events_total` or timed as an operation, so that nothing is lost and no label grows without
end; the log line carries the rest. Collectors read the store when somebody looks.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from bot.domain.errors import BotError

COUNTERS = {
    "delivery": (
        "deliveries_total",
        "Webhook deliveries, by what was answered.",
        ("event", "outcome"),
    ),
    "autofix_attempt": (
        "autofix_attempts_total",
        "Attempts to mend, by what failed and how the attempt ended.",
        ("signal_type", "outcome"),
    ),
    "autofix_replan": ("autofix_replans_total", "New plans, since the one before led nowhere.", ()),
    "approval_request": (
        "approval_requests_total",
        "Approvals, by what asked for them and how far they are.",
        ("gate_type", "status"),
    ),
    "backend_switch": (
        "backend_switches_total",
        "Moves of a chain from one backend to another, by what caused them.",
        ("trigger",),
    ),
}
QUIET = frozenset({"delivery"})  # one per webhook: metrics say enough
RENAMED = {"event": "delivery"}
TIMES = {
    "intake": (
        "intake_seconds",
        "From the first byte of a delivery to its answer.",
        (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    ),
    "autofix_backoff": (
        "autofix_backoff_seconds",
        "How long runs wait before they try again.",
        (1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 3600),
    ),
}
BUCKETS_S = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
SUCCESS, FAILURES = "green", ("gave_up", "blocked", "waiting_person")

RunsByState = Callable[[], Mapping[str, int]]
Healths = Callable[[], Mapping[str, tuple[float, bool]]]  # by lane: from 0 to 1, and available


class PrometheusTelemetry:
    """The port `Telemetry`: one call counts and logs."""

    def __init__(self, runs_by_state: RunsByState = dict, healths: Healths = dict) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(RunsCollector(runs_by_state))
        self.registry.register(LanesCollector(healths))
        self._log = structlog.stdlib.get_logger("regreen")
        self._counters = {
            kind: Counter(name, text, labels, registry=self.registry)
            for kind, (name, text, labels) in COUNTERS.items()
        }
        self._events = Counter(
            "regreen_events_total",
            "Everything else that happened.",
            ("kind",),
            registry=self.registry,
        )
        self._times = {
            kind: Histogram(name, text, buckets=buckets, registry=self.registry)
            for kind, (name, text, buckets) in TIMES.items()
        }
        self._operations = Histogram(
            "autofix_processing_seconds",
            "How long the operations of a repair take.",
            ("operation_type",),
            buckets=BUCKETS_S,
            registry=self.registry,
        )

    def event(self, kind: str, **labels: str) -> None:
        """Count *kind* and log it with its labels; a sentence is only logged."""
        if kind in COUNTERS:
            counter, names = self._counters[kind], COUNTERS[kind][2]
            values = [labels.get(name, "") for name in names]
            (counter.labels(*values) if names else counter).inc()
        elif kind.isidentifier():
            self._events.labels(kind).inc()
        if kind not in QUIET:  # structlog's own word for the message is `event`
            self._log.info(kind, **{RENAMED.get(name, name): text for name, text in labels.items()})

    def took(self, kind: str, duration: timedelta, **labels: str) -> None:
        """Record how long *kind* took; log it, unless it is the intake."""
        seconds = duration.total_seconds()
        if kind in TIMES:
            self._times[kind].observe(seconds)
        else:
            self._operations.labels(labels.get("operation_type", kind)).observe(seconds)
        if kind != "intake":
            self._log.debug(kind, seconds=round(seconds, 3), **labels)

    def render(self) -> tuple[bytes, str]:
        """Return the page for Prometheus and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class RunsCollector(Collector):
    """Counts the stored runs when somebody looks."""

    def __init__(self, runs_by_state: RunsByState) -> None:
        self._runs_by_state = runs_by_state

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield `runs` by state and the share of successes; nothing while the store is away."""
        try:
            counts = self._runs_by_state()
        except BotError:
            return
        gauge = GaugeMetricFamily("runs", "Runs, by where they stand.", labels=("state",))
        for state, number in counts.items():
            gauge.add_metric((state,), number)
        yield gauge
        if judged := sum(counts.get(state, 0) for state in (SUCCESS, *FAILURES)):
            text = "Green runs among those that are green, gave up, blocked or wait for a person."
            ratio = counts.get(SUCCESS, 0) / judged
            yield GaugeMetricFamily("autofix_success_ratio", text, value=ratio)


class LanesCollector(Collector):
    """Tells the health of each lane, as the store has it, when somebody looks."""

    def __init__(self, healths: Healths) -> None:
        self._healths = healths

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the health of each lane and whether it can be used; nothing without the store."""
        try:
            healths = self._healths()
        except BotError:
            return
        health = GaugeMetricFamily("backend_health", "Health, from 0 to 1.", labels=("lane",))
        text = "Whether the backend can be given work now: it does not rest."
        available = GaugeMetricFamily("backend_available", text, labels=("lane",))
        for lane, (score, usable) in healths.items():
            health.add_metric((lane,), score)
            available.add_metric((lane,), float(usable))
        yield health
        yield available
