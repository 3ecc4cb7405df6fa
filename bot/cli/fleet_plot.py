"""The picture of a play: for each scenario its lanes over time, their trouble and their calls."""

from collections.abc import Sequence
from pathlib import Path

from bot.domain.errors import ConfigError
from bot.routing.fleet.measure import measure
from bot.routing.fleet.play import Log
from bot.routing.fleet.world import DOWN, Scenario, World
from bot.routing.meaning import MEANINGS, Fault

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise ConfigError("a plot needs matplotlib: pip install 'regreen[plot]'") from error

MINUTE = 60.0
WELL, FAILED, IS_DOWN, IS_POOR = "#2a7f62", "#c1121f", "#f4b6b6", "#fde3b4"


def draw(plays: Sequence[tuple[Scenario, Log]], seed: int, strategy: str, path: Path) -> None:
    """Write a PNG with a row for each scenario; raise `ConfigError` where it cannot be written."""
    figure = Figure(figsize=(13, 1.2 + 1.15 * len(plays)), layout="constrained")
    rows = figure.subplots(len(plays), 1, squeeze=False)[:, 0]
    figure.suptitle(f"{strategy}, seed {seed}: calls that went well and failed, over trouble")
    for axes, (scenario, log) in zip(rows, plays, strict=True):
        _row(axes, scenario, seed, log)
    rows[-1].set_xlabel("minutes")
    try:
        figure.savefig(path, format="png", dpi=110)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def _row(axes: Axes, scenario: Scenario, seed: int, log: Log) -> None:
    keys = [lane.key for lane in scenario.lanes]
    for spell in World(scenario, seed).spells:
        colour = IS_DOWN if spell.trouble in DOWN else IS_POOR
        span = (spell.from_s / MINUTE, spell.for_s / MINUTE)
        axes.broken_barh([span], (keys.index(spell.lane) - 0.45, 0.9), facecolors=colour)
    for failed, colour in ((False, WELL), (True, FAILED)):
        calls = [
            call for call in log.calls if (MEANINGS[call.ending].fault is Fault.LANE) is failed
        ]
        axes.scatter(
            [call.from_s / MINUTE for call in calls],
            [keys.index(call.lane) for call in calls],
            s=14 if failed else 5,
            c=colour,
            marker="x" if failed else "o",
            linewidths=0.8,
        )
    measures = measure(scenario, seed, log)
    axes.set_title(
        f"{scenario.name}: {measures.availability:.2%} available, recovery "
        f"{measures.mean_recovery_s:.1f} s, {measures.switches} switches",
        fontsize=8,
        loc="left",
    )
    axes.set_yticks(range(len(keys)), keys, fontsize=7)
    axes.set_ylim(len(keys) - 0.5, -0.5)
    axes.set_xlim(0, scenario.span_s / MINUTE)
    axes.tick_params(axis="x", labelsize=7)
