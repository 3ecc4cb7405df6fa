"""`regreen simulate`: how well a strategy keeps a fleet of backends working, in virtual time."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from bot.config.load import configuration
from bot.config.schema import RoutingPolicy, Strategy
from bot.domain.errors import ConfigError
from bot.routing.fleet.measure import TARGETS, Measures, measure, told, total
from bot.routing.fleet.play import Log, Router, play
from bot.routing.fleet.routers import Plain, Routed
from bot.routing.fleet.scenarios import SCENARIOS, named
from bot.routing.fleet.world import Scenario

PLAIN = "plain_retries"
TASKS = {"simple_tasks": "gemini", "complex_tasks": "claude"}  # for the strategy task_specific

Results = Mapping[str, Mapping[str, Measures]]  # by strategy and scenario


class Played(StrEnum):
    """What `--strategy` takes."""

    ALL = "all"
    PLAIN = PLAIN
    PRIMARY_SECONDARY = Strategy.PRIMARY_SECONDARY.value
    INTELLIGENT = Strategy.INTELLIGENT.value
    ROUND_ROBIN = Strategy.ROUND_ROBIN.value
    PERFORMANCE = Strategy.PERFORMANCE.value
    TASK_SPECIFIC = Strategy.TASK_SPECIFIC.value
    COST = Strategy.COST.value


def command(  # noqa: PLR0913 -- its options
    strategy: Annotated[
        Played, typer.Option(help="The strategy, `plain_retries` for a loop without routing.")
    ] = Played.INTELLIGENT,
    scenario: Annotated[str, typer.Option(help="The scenario, or `all`.")] = "all",
    seed: Annotated[int, typer.Option(help="The same seed plays the same.")] = 1,
    plays: Annotated[int, typer.Option(min=1, help="How many seeds in a row to play.")] = 3,
    *,
    config: Annotated[
        Path | None, typer.Option(help="Play with the limits of this llm_config.toml.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the first play of each scenario into this PNG.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write report.json and report.txt into this folder.")
    ] = None,
) -> None:
    """Play a fleet of backends through outages, limits, drift and bad keys, and measure it."""
    scenarios = named(scenario)
    if not scenarios:
        known = ", ".join(one.name for one in SCENARIOS)
        raise ConfigError(f'there is no scenario "{scenario}": all, {known}')
    names = [one.value for one in Played if one is not Played.ALL]
    chosen = names if strategy is Played.ALL else [strategy.value]
    seeds = range(seed, seed + plays)
    settings = configuration(config).policy.routing if config else RoutingPolicy()
    console = Console()
    with Console(stderr=True).status("playing"):
        results = {name: _results(name, scenarios, seeds, settings) for name in chosen}
    report = msgspec.json.encode(_report(results, seed, plays))
    if json:
        typer.echo(report.decode())
    else:
        show(results, console)
    if plot is not None:
        from bot.cli.fleet_plot import draw  # noqa: PLC0415 -- matplotlib is an extra

        logs = [(one, _log(chosen[0], one, seed, settings)) for one in scenarios]
        draw(logs, seed, chosen[0], plot)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        out.joinpath("report.json").write_bytes(msgspec.json.format(report) + b"\n")
        with out.joinpath("report.txt").open("w", encoding="utf-8") as file:
            show(results, Console(file=file, width=140))


def show(results: Results, console: Console) -> None:
    """Print a table for each strategy, or one of all of them."""
    if len(results) > 1:
        rows = {name: total(by.values()) for name, by in results.items()}
        console.print(_table("all scenarios", "strategy", rows))
        return
    ((name, by_scenario),) = results.items()
    sums = total(by_scenario.values())
    console.print(_table(name, "scenario", {**by_scenario, "all": sums}))
    for target in TARGETS:
        bound = f"≥ {target.at_least:.1%}" if target.at_least is not None else ""
        if target.below is not None:
            share = target.below < 1
            bound = f"< {target.below:.0%}" if share else f"< {target.below:g} s"
        mark = "[green]met[/]" if target.met(sums) else "[red]missed[/]"
        console.print(f"{target.measure.replace('_', ' '):>20} {bound:>9}  {mark}")


def _table(title: str, of: str, rows: Mapping[str, Measures]) -> Table:
    table = Table(title=title, box=None, pad_edge=False)
    table.add_column(of, overflow="fold")  # figures are never cut short
    for head in ("up", "done", "recovery", "switches", "good", "needless", "time", "USD"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, row in rows.items():
        table.add_row(
            name,
            f"{row.availability:.2%}",
            f"{row.completion:.1%}",
            f"{row.mean_recovery_s:.1f} s",
            str(row.switches),
            f"{row.switch_success:.1%}",
            f"{row.needless_switches:.1%}",
            f"{row.added_time:+.0%}",
            f"{row.cost_per_task_usd:.3f}",
        )
    return table


def _results(
    name: str, scenarios: Sequence[Scenario], seeds: Sequence[int], settings: RoutingPolicy
) -> dict[str, Measures]:
    return {
        one.name: total(measure(one, seed, _log(name, one, seed, settings)) for seed in seeds)
        for one in scenarios
    }


def _log(name: str, scenario: Scenario, seed: int, settings: RoutingPolicy) -> Log:
    router: Router = Plain(scenario.lanes)
    if name != PLAIN:
        # The fleet's backends are its own, so what names the user's has no place here.
        policy = msgspec.structs.replace(
            settings, strategy=Strategy(name), tasks=TASKS, overrides={}, compare=()
        )
        router = Routed(scenario.lanes, policy)
    return play(scenario, seed, router, timeout_s=settings.health_check_timeout_s)


def _report(results: Results, seed: int, plays: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "plays": plays,
        "strategies": {
            name: {
                "scenarios": {key: told(measures) for key, measures in by_scenario.items()},
                "all": told(total(by_scenario.values())),
                "targets": {
                    target.measure: target.met(total(by_scenario.values())) for target in TARGETS
                },
            }
            for name, by_scenario in results.items()
        },
    }
