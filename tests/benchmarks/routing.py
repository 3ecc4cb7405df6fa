"""What does a choice of backend cost, and how does the routing compare with others?

The fleet's scenarios are played with the same luck through production's routing, through a plain
loop of retries, and through LiteLLM's Router where there is one: `routing_litellm.py` says how. It
is looked for in this interpreter, else in the one that LITELLM_PYTHON names.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles

import msgspec
from rich.console import Console
from rich.table import Table

from bot.config.schema import Lane, RoutingPolicy, Strategy
from bot.domain.answers import Ending
from bot.domain.health import Health, Observation
from bot.routing.choice import choose
from bot.routing.fleet.measure import Measures, measure, total
from bot.routing.fleet.play import Router, play
from bot.routing.fleet.routers import Plain, Routed
from bot.routing.fleet.scenarios import SCENARIOS
from bot.routing.fleet.world import Scenario
from bot.routing.health import observe
from bot.routing.scene import Scene
from bot.routing.strategies import chance

BACKENDS, CALLS, ROUNDS = 20, 120, 2_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SEEDS = (101,)


def run(console: Console) -> None:
    """Measure both and print the tables."""
    with console.status("choosing"):
        console.print(_costs())
    with console.status("playing"):
        console.print(_compared())


def _costs() -> Table:
    lanes = tuple(Lane(f"b{at}", f"b{at}", price_usd=0.1 + at / 100) for at in range(BACKENDS))
    healths = {lane.key: _health(lane.key) for lane in lanes}
    scene = Scene(NOW, healths, repo="a/b", number=7)
    table = Table("", "median", "99 of 100", title=f"one choice among {BACKENDS} backends")
    for strategy in Strategy:
        policy = RoutingPolicy(strategy=strategy)
        _row(table, strategy.value, lambda policy=policy: choose(lanes, scene, policy))  # type: ignore[misc]
    health, seen = healths["b0"], Observation(Ending.EDITED, 6.0)
    _row(table, f"note a call among {CALLS}", lambda: observe(health, seen, NOW))
    encoded = msgspec.json.encode(health)
    _row(
        table,
        f"health to JSON ({len(encoded) / 1000:.1f} kB) and back",
        lambda: msgspec.json.decode(msgspec.json.encode(health), type=Health),
    )
    return table


def _health(key: str) -> Health:
    """Return a health with full windows, some of it bad."""
    health = Health()
    for nth in range(CALLS):
        luck = chance(f"{key}:{nth}")
        ending = Ending.UNAVAILABLE if luck < 0.05 else Ending.EDITED
        at = NOW - timedelta(seconds=30 * (CALLS - nth))
        health = observe(health, Observation(ending, 3 + 6 * luck), at)
    return health


def _row(table: Table, name: str, do: Callable[[], object]) -> None:
    times = []
    for _ in range(ROUNDS):
        begun = time.thread_time_ns()  # others' work on the same cores is not ours
        do()
        times.append((time.thread_time_ns() - begun) / 1e3)
    table.add_row(name, f"{median(times):.0f} µs", f"{quantiles(times, n=100)[98]:.0f} µs")


def _compared() -> Table:
    rows = _others()
    for scenario in SCENARIOS:
        policy = RoutingPolicy()
        rows["regreen", scenario.name] = _played(
            scenario,
            lambda scenario=scenario, policy=policy: Routed(scenario.lanes, policy),  # type: ignore[misc]
        )
        rows["plain retries", scenario.name] = _played(
            scenario,
            lambda scenario=scenario: Plain(scenario.lanes),  # type: ignore[misc]
        )
    routers = sorted({router for router, _ in rows}, key=lambda name: name != "regreen")
    table = Table(
        "scenario", title="available · done · lost seconds per 1,000 tasks · mean recovery"
    )
    for router in routers:
        table.add_column(router, justify="right")
    for scenario in SCENARIOS:
        table.add_row(scenario.name, *(_shown(rows[one, scenario.name]) for one in routers))
    sums = [total(rows[one, scenario.name] for scenario in SCENARIOS) for one in routers]
    table.add_section()
    table.add_row("all", *(_shown(one) for one in sums))
    return table


def _played(scenario: Scenario, router: Callable[[], Router]) -> Measures:
    return total(measure(scenario, seed, play(scenario, seed, router())) for seed in SEEDS)


def _shown(row: Measures) -> str:
    return (
        f"{row.availability:.2%} · {row.completion:.1%} · "
        f"{row.lost_s_per_1000:,.0f} s · {row.mean_recovery_s:.1f} s"
    )


def _others() -> dict[tuple[str, str], Measures]:
    """Return what LiteLLM's Router does, nothing where it is not installed."""
    python = os.environ.get("LITELLM_PYTHON", "")  # noqa: TID251 -- where it may lie
    if not python and all(map(importlib.util.find_spec, ("litellm", "time_machine"))):
        python = sys.executable
    if not python:
        return {}
    done = subprocess.run(
        [python, "-m", "tests.benchmarks.routing_litellm", *map(str, SEEDS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    by: dict[tuple[str, str], list[Measures]] = {}
    for row in json.loads(done.stdout):
        measures = msgspec.convert(row["measures"], Measures)
        by.setdefault(("litellm", row["scenario"]), []).append(measures)
    return {key: total(rows) for key, rows in by.items()}


if __name__ == "__main__":
    run(Console())
