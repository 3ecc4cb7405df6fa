"""What does the gateway add to a call of a model? Direct calls in the same run are the measure.

A scripted model, the gateway and the agent are three processes, as they are in life; the gateway
has its ledger in SQLite on disk, with all five caps set. A pipe that carries bytes without a look
at them shows what any process in between costs here. The ways take turns, so that a busy moment of
the machine hits all alike; processor time is measured besides, which others do not lengthen. A
short pause between calls stands for the agent's own work. Streams are measured at the pace of
models (each piece is a few words), and as fast as everything goes, which no model does.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles

import psutil
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

WARM_UP, CALLS = 10, 200
PAUSE_S = 0.002  # long enough for a call to be settled
ROUNDS = 3
PROMPT = "The test fails because add() subtracts. " * 1000  # 40 KB, as agents send
# What is streamed: how many streams at one time, pieces of each, whether at a model's pace.
STREAMS = (
    ("one, 250 pieces/s", 1, 400, True),
    ("eight, 250 pieces/s each", 8, 400, True),
    ("one, unpaced", 1, 20_000, False),
)


@dataclass(frozen=True)
class Way:
    """How the agent reaches the model: an address, and the process that serves it."""

    kind: str
    address: str
    process: psutil.Process

    def busy_s(self) -> float:
        """Return the processor time that its process has taken."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


Ways = Mapping[str, Way]
Measured = dict[str, list[float]]


def run(console: Console) -> None:
    """Measure and print both tables."""
    with (
        tempfile.TemporaryDirectory(prefix="regreen-bench-") as folder,
        _started("tcp", "model") as direct,
        _started("unix", "pipe", folder, f"http://127.0.0.1:{direct.address}") as pipe,
        _started("unix", "gateway", folder, f"http://127.0.0.1:{direct.address}/v1") as gateway,
        console.status("measuring the gateway"),
    ):
        ways = {"direct": direct, "pipe": pipe, "gateway": gateway}
        before = gateway.busy_s()
        waits = asyncio.run(_waits(ways))
        busy_ms = (gateway.busy_s() - before) / (WARM_UP + CALLS) * 1e3
        rates = {one[0]: asyncio.run(_rates(ways, *one[1:])) for one in STREAMS}
    console.print(_calls_table(waits, busy_ms))
    console.print(_streams_table(rates))


@contextmanager
def _started(kind: str, *arguments: str) -> Iterator[Way]:
    """Run a server and yield the way to it, by the address that it prints."""
    command = [sys.executable, "-m", "tests.benchmarks.model_server", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield Way(kind, server.stdout.readline().strip(), psutil.Process(server.pid))
        finally:
            server.terminate()


class _Connection:
    """A keep-alive connection of an agent, as cheap as can be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, kind: str, address: str) -> "_Connection":
        if kind == "unix":
            return cls(*await asyncio.open_unix_connection(address))
        return cls(*await asyncio.open_connection("127.0.0.1", int(address)))

    async def call(self, body: bytes) -> int:
        """Make a call and return how many bytes came back."""
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: model\r\nauthorization: Bearer dummy\r\n"
        )
        self._writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        assert answer.split(b" ", 2)[1] == b"200", answer
        if b"content-length: " in answer:
            length = int(answer.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
            return len(await self._reader.readexactly(length))
        received = 0
        while size := int(await self._reader.readline(), 16):
            received += len(await self._reader.readexactly(size + 2)) - 2
        await self._reader.readexactly(2)
        return received

    def close(self) -> None:
        self._writer.close()


async def _waits(ways: Ways) -> Measured:
    """Return how long calls took, in milliseconds, one way after the other."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": PROMPT}]}).encode()
    connections = {
        name: await _Connection.open(way.kind, way.address) for name, way in ways.items()
    }
    waits: Measured = {name: [] for name in ways}
    for number in range(WARM_UP + CALLS):
        for name, connection in connections.items():
            started = time.perf_counter()
            await connection.call(body)
            if number >= WARM_UP:
                waits[name].append((time.perf_counter() - started) * 1e3)
            await asyncio.sleep(PAUSE_S)
    for connection in connections.values():
        connection.close()
    return waits


async def _rates(ways: Ways, streams: int, pieces: int, paced: bool) -> Measured:  # noqa: FBT001
    """Return the throughput of all streams together in KB/s, round by round.

    Under "busy" stands the processor time of the gateway, in seconds per MB.
    """
    asked = {"model": "m", "stream": True, "messages": [], "pieces": pieces, "paced": paced}
    body = json.dumps(asked).encode()
    rates: Measured = {name: [] for name in (*ways, "busy")}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            connections = [await _Connection.open(way.kind, way.address) for _ in range(streams)]
            started, before = time.perf_counter(), way.busy_s()
            received = sum(await asyncio.gather(*(one.call(body) for one in connections)))
            rates[name].append(received / (time.perf_counter() - started) / 1e3)
            if name == "gateway":
                rates["busy"].append((way.busy_s() - before) / received * 1e6)
            for connection in connections:
                connection.close()
    return rates


def _calls_table(waits: Measured, busy_ms: float) -> Table:
    added = median(waits["gateway"]) - median(waits["direct"])
    title = "A call of a model with 40 KB, direct and through the gateway"
    caption = (
        f"the gateway adds {added:.2f} ms at the median (target: 3), of which it works "
        f"{busy_ms:.2f} ms; {CALLS} calls by turns"
    )
    table = Table(title=title, caption=caption, box=SIMPLE, padding=(0, 0))
    table.add_column("way", no_wrap=True)
    for name in ("p50 ms", "p90 ms", "p99 ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, times in waits.items():
        marks = quantiles(times, n=100)
        table.add_row(name, *(f"{marks[mark - 1]:.2f}" for mark in (50, 90, 99)))
    return table


def _streams_table(rates: Mapping[str, Measured]) -> Table:
    title = "Streams: throughput, direct, through a bare pipe and through the gateway"
    caption = f"medians of {ROUNDS} rounds by turns; target at a model's pace: 0.95 of direct"
    table = Table(title=title, caption=caption, box=SIMPLE, padding=(0, 0))
    table.add_column("streams", no_wrap=True)
    for name in ("direct KB/s", "pipe", "gateway", "of direct", "of pipe", "ms/MB"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, rate in rates.items():
        direct, pipe, gateway = (median(rate[way]) for way in ("direct", "pipe", "gateway"))
        table.add_row(
            name,
            *(f"{one:,.0f}" for one in (direct, pipe, gateway)),
            f"{gateway / direct:.2f}",
            f"{gateway / pipe:.2f}",
            f"{median(rate['busy']) * 1e3:.0f}",
        )
    return table
