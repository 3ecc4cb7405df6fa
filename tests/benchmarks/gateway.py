"""What does the gateway add to a call of a model? Direct calls in the same run are the measure.

A scripted model, the gateway and the agent are three processes, as they are in life; the gateway
has its ledger in SQLite on disk, with all five caps set. Direct calls and calls through the gateway
take turns, so that a busy moment of the machine hits both alike. A short pause between calls stands
for the agent's own work. Streams are measured at the pace of models (each piece is a few words),
and as fast as everything goes, which no model does.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median, quantiles

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

WARM_UP, CALLS = 10, 200
PAUSE_S = 0.002  # long enough for a call to be settled
ROUNDS = 3
PROMPT = "The test fails because add() subtracts. " * 1000  # 40 KB, as agents send
# What is streamed: how many streams at one time, pieces of each, whether at a model's pace.
STREAMS = (("one, a model's pace", 1, 400, True), ("eight, a model's pace", 8, 400, True))
FLOOD = ("one, unpaced", 1, 20_000, False)

Wires = dict[str, tuple[str, str]]  # "direct" and "gateway": the kind of address, and the address


def run(console: Console) -> None:
    """Measure and print both tables."""
    with (
        tempfile.TemporaryDirectory(prefix="regreen-bench-") as folder,
        _started("model") as port,
        _started("gateway", folder, f"http://127.0.0.1:{port}/v1") as socket,
        console.status("measuring the gateway"),
    ):
        wires = {"direct": ("tcp", port), "gateway": ("unix", socket)}
        waits = asyncio.run(_waits(wires))
        rates = {stream[0]: asyncio.run(_rates(wires, *stream[1:])) for stream in (*STREAMS, FLOOD)}
    console.print(_calls_table(waits))
    console.print(_streams_table(rates))


@contextmanager
def _started(*arguments: str) -> Iterator[str]:
    """Run a server and yield the address that it prints."""
    command = [sys.executable, "-m", "tests.benchmarks.model_server", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
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


async def _waits(wires: Wires) -> dict[str, list[float]]:
    """Return how long calls took, in milliseconds, direct and through the gateway by turns."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": PROMPT}]}).encode()
    connections = {name: await _Connection.open(*wire) for name, wire in wires.items()}
    waits: dict[str, list[float]] = {name: [] for name in wires}
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


async def _rates(wires: Wires, streams: int, pieces: int, paced: bool) -> dict[str, list[float]]:  # noqa: FBT001
    """Return the throughput of all streams together in KB/s, round by round."""
    asked = {"model": "m", "stream": True, "messages": [], "pieces": pieces, "paced": paced}
    body = json.dumps(asked).encode()
    rates: dict[str, list[float]] = {name: [] for name in wires}
    for _ in range(ROUNDS):
        for name, wire in wires.items():
            connections = [await _Connection.open(*wire) for _ in range(streams)]
            started = time.perf_counter()
            received = await asyncio.gather(*(one.call(body) for one in connections))
            rates[name].append(sum(received) / (time.perf_counter() - started) / 1e3)
            for connection in connections:
                connection.close()
    return rates


def _calls_table(waits: dict[str, list[float]]) -> Table:
    added = median(waits["gateway"]) - median(waits["direct"])
    title = "A call of a model with 40 KB, direct and through the gateway"
    caption = f"the gateway adds {added:.2f} ms at the median (target: 3); {CALLS} calls by turns"
    table = Table(title=title, caption=caption, box=SIMPLE, padding=(0, 0))
    table.add_column("way", no_wrap=True)
    for name in ("p50 ms", "p90 ms", "p99 ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, times in waits.items():
        marks = quantiles(times, n=100)
        table.add_row(name, *(f"{marks[mark - 1]:.2f}" for mark in (50, 90, 99)))
    return table


def _streams_table(rates: dict[str, dict[str, list[float]]]) -> Table:
    title = "Streams: throughput, direct and through the gateway"
    caption = f"medians of {ROUNDS} rounds by turns; target at a model's pace: 0.95 of direct"
    table = Table(title=title, caption=caption, box=SIMPLE, padding=(0, 0))
    table.add_column("streams", no_wrap=True)
    for name in ("direct KB/s", "gateway KB/s", "of direct"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, rate in rates.items():
        direct, gateway = median(rate["direct"]), median(rate["gateway"])
        table.add_row(name, f"{direct:,.0f}", f"{gateway:,.0f}", f"{gateway / direct:.2f}")
    return table
