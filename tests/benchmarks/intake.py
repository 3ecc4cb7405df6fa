"""How fast is the intake? Beside a bare uvicorn in the same run, since only ratios carry over.

Each variant gets a fresh server process; the rounds are interleaved and the medians shown, so that
a busy moment of the machine hits all variants alike.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

ROUNDS = 3
SECONDS = 2.5
CONNECTIONS = (64, 1)
KINDS = ("hello", "product")
SECRET = "only for this benchmark"  # the servers live on loopback, for seconds

Results = dict[tuple[str, int], list[dict[str, float]]]


def run(console: Console) -> None:
    """Measure all variants and print the table."""
    results: Results = {(kind, number): [] for number in CONNECTIONS for kind in KINDS}
    total = ROUNDS * len(results)
    with console.status("measuring the intake") as status:
        for done in range(total):
            kind, connections = list(results)[done % len(results)]
            status.update(f"{done + 1} of {total}: {kind}, {connections} connections")
            results[kind, connections].append(_once(kind, connections))
    console.print(_table(results))


def _once(kind: str, connections: int) -> dict[str, float]:
    with (
        tempfile.TemporaryDirectory(prefix="regreen-bench-") as folder,
        _server(kind, Path(folder)) as (port, process),
    ):
        load = [sys.executable, "-m", "tests.benchmarks.load"]
        arguments = [port, str(connections), str(SECONDS), SECRET]
        before = _cpu_s(process)
        finished = subprocess.run(
            [*load, *arguments], check=True, stdout=subprocess.PIPE, text=True
        )
        result: dict[str, float] = json.loads(finished.stdout)
        result["cpu_us"] = (_cpu_s(process) - before) * 1e6 / result["answered"]
        result["rss_mb"] = process.memory_info().rss / 2**20
        return result


@contextmanager
def _server(kind: str, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    command = [sys.executable, "-m", "tests.benchmarks.server", kind, str(folder), SECRET]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip(), psutil.Process(server.pid)
        finally:
            server.terminate()


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _table(results: Results) -> Table:
    title = "Intake beside a bare uvicorn: signed 15-20 KB bodies, stored on disk before the 202"
    caption = "medians of three interleaved runs; only ratios carry over"
    table = Table(title=title, caption=caption, box=SIMPLE, padding=(0, 0))
    table.add_column("server", no_wrap=True)
    for name in ("conns", "req/s", "of bare", "p50 ms", "p99 ms", "CPU us", "RSS MB", "refused"):
        table.add_column(name, justify="right", no_wrap=True)
    for (kind, connections), runs in results.items():
        bare = _median(results["hello", connections], "rate")
        rate = _median(runs, "rate")
        table.add_row(
            {"hello": "bare", "product": "regreen"}[kind],
            str(connections),
            f"{rate:,.0f}",
            f"{rate / bare:.2f}",
            f"{_median(runs, 'p50_ms'):.2f}",
            f"{_median(runs, 'p99_ms'):.2f}",
            f"{_median(runs, 'cpu_us'):.0f}",
            f"{_median(runs, 'rss_mb'):.0f}",
            f"{sum(run['refused'] for run in runs):.0f}",
        )
    return table


def _median(runs: list[dict[str, float]], key: str) -> float:
    return median(run[key] for run in runs)
