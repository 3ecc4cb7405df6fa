"""What does it cost to run a command in the sandbox? `true`, started again and again.

Beside it, turn by turn in one run: `true` by itself, and bubblewrap with the fewest flags that
start anything in a network of its own. The self-test, which runs once, is measured too.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bot.config.schema import SandboxConfig
from bot.workspace.sandbox import Bubblewrap
from tests.support.bubblewrap import TOOLS, unavailable

ROUNDS = 40
GOAL_MS = 25
PLAIN = [
    *("bwrap", "--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin"),
    *("--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "true"),
]


def run(console: Console) -> None:
    """Measure and print the table."""
    if (reason := unavailable()) is not None:
        console.print(f"sandbox: {reason}")
        return
    with console.status("sandbox"), tempfile.TemporaryDirectory() as tree:
        times = _measured(Path(tree))
        trials = [_timed(_tried) for _ in range(5)]
    table = Table(
        title="The start of a command: milliseconds",
        caption=f"of {ROUNDS} rounds; the goal for the sandbox is {GOAL_MS} ms; "
        f"self-test, once: {median(trials):.0f} ms",
        box=SIMPLE,
        padding=(0, 1),
    )
    for name in ("", "least", "median", "ratio to plain bubblewrap", "to the command alone"):
        table.add_column(name, justify="left" if not name else "right")
    alone, plain = median(times["alone"]), median(times["bubblewrap"])
    for name, took in times.items():
        middle = median(took)
        ratios = (f"{middle / plain:.1f}x", f"{middle / alone:.0f}x")
        table.add_row(name, f"{min(took):.1f}", f"{middle:.1f}", *ratios)
    console.print(table)


def _measured(tree: Path) -> dict[str, list[float]]:
    ours = Bubblewrap(SandboxConfig(), TOOLS)
    ways: dict[str, Callable[[], object]] = {
        "alone": lambda: subprocess.run(["true"], check=True, env={"PATH": os.defpath}),
        "bubblewrap": lambda: subprocess.run(PLAIN, check=True, env={"PATH": os.defpath}),
        "sandbox": lambda: ours.run(("true",), tree, timeout_s=60),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(ROUNDS):
        for name, way in ways.items():
            times[name].append(_timed(way))
    return times


def _tried() -> None:
    assert Bubblewrap(SandboxConfig(), TOOLS).selftest() == ()


def _timed(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return (time.perf_counter() - began) * 1000
