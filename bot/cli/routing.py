"""`regreen routing`: how the backends are, who would work next and why, from the database."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from bot.cli import stored
from bot.config import load
from bot.repair.lanes import standing_of, tier
from bot.routing.compare import Tally
from bot.routing.overview import LaneState, Overview, TierState, overview
from bot.runtime.clock import SystemClock
from bot.store.lanes import SqlLanes
from bot.store.runs import SqlRuns

RUNS = 2_000  # that a comparison looks at: the newest


def command(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="The file; by default the server's own."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Show each backend's health and rest, who works next and why, and what is compared."""
    found = _overview(config)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        _show(found, Console(highlight=False, soft_wrap=True))


def _overview(config: Path | None) -> Overview:
    policy = load.configuration(config).policy
    database, clock = stored.opened(), SystemClock()
    try:
        known = SqlLanes(database, clock)
        tiers = {}
        for name, fallback in (("primary", False), ("fallback", True)):
            if lanes := tier(policy, fallback=fallback):
                keys = [lane.key for lane in lanes]
                tiers[name] = (lanes, known.known(keys, standing_of(fallback=fallback)))
        runs = SqlRuns(database).list(limit=RUNS) if policy.routing.compare else ()
        return overview(policy.routing, tiers, runs, clock.now())
    finally:
        database.close()


def _show(found: Overview, console: Console) -> None:
    by = found.strategy if found.enabled else "the order alone ([fallback_system] is not enabled)"
    console.print(escape(f"strategy: {by}; times are UTC"))
    for one in found.tiers:
        _show_tier(one, console)
    for tally in found.tallies:
        console.print(f"\n{escape(_told(tally))}")
    if found.comparison is not None:
        console.print(f"[bold]{escape(found.comparison.said)}[/]")


def _show_tier(found: TierState, console: Console) -> None:
    console.print(f"\n[bold]{found.name}[/]")
    if found.standing:
        since = f" since {found.since:%Y-%m-%d %H:%M:%S}" if found.since else ""
        console.print(f"  works with {escape(found.standing)}{since}")
    who = found.next or "nobody"
    until = f"; news at {found.wait_until:%H:%M:%S}" if found.wait_until else ""
    why = escape("; ".join(found.reasons))
    console.print(f"  next: {escape(who)}{until}  [dim]{why}[/]")
    for lane in found.lanes:
        _show_lane(lane, console)


def _show_lane(lane: LaneState, console: Console) -> None:
    report = lane.report
    console.print(f"  {report.health:4.2f}  {lane.fitness:<8} [bold]{escape(lane.key)}[/]")
    told = [lane.why] if lane.why else []
    if report.success_rate is not None:
        told.append(f"{report.success_rate:.0%} of {lane.calls} calls went well")
    if report.response_s is not None:
        told.append(f"{report.response_s:.1f} s for an answer")
    told += [f"{count} x {kind.replace('_', ' ')}" for kind, count in report.errors.items()]
    if lane.probed_at is not None:
        told.append(f"probed at {lane.probed_at:%H:%M:%S}")
    if told:
        console.print(f"        [dim]{escape('; '.join(told))}[/]")


def _told(tally: Tally) -> str:
    each = max(tally.runs, 1)
    return (
        f"{tally.strategy.value}: {tally.green} of {tally.runs} runs green, "
        f"{tally.cost_usd / each:.3f} USD and {tally.seconds / each:.0f} s each"
    )
