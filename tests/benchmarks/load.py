"""The load, in a process of its own: keep-alive connections that each send, wait and send again.

    python -m tests.benchmarks.load PORT CONNECTIONS SECONDS SECRET

Prints JSON: requests per second, the 50th and 99th percentile in milliseconds, and refusals. The
bodies and their signatures are made beforehand; each request has a GUID of its own.
"""

import asyncio
import json
import secrets
import sys
import time
from itertools import count, cycle
from typing import cast

import uvloop

from bot.web.signature import sign
from tests.benchmarks.payloads import deliveries

WARM_UP_S = 0.4
SAMPLES = 200


class Connection(asyncio.Protocol):
    """One connection; it measures each answer from the request's first byte."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._buffer = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.writelines(self._load.request())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        self._buffer = b""
        self._load.answered(self._sent_at, head)
        self._send()


class Load:
    """The requests to send and what came of them."""

    def __init__(self, port: int, secret: str) -> None:
        self._run = secrets.token_hex(8)
        self._number = count()
        self._samples = cycle(
            [_sample(port, secret, *delivery) for delivery in deliveries(SAMPLES)]
        )
        self.measuring = False
        self.took_s: list[float] = []
        self.refused = 0
        self.answered_in_all = 0

    def request(self) -> tuple[bytes, bytes]:
        head, body = next(self._samples)
        return head % f"{self._run}-{next(self._number)}".encode(), body

    def answered(self, sent_at: float, head: bytes) -> None:
        self.answered_in_all += 1
        if not self.measuring:
            return
        self.took_s.append(time.perf_counter() - sent_at)
        self.refused += b" 202 " not in head[:20]


def _sample(port: int, secret: str, event: str, body: bytes) -> tuple[bytes, bytes]:
    head = (
        b"POST /webhooks/github HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*\r\n"
        b"User-Agent: GitHub-Hookshot/abc\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nX-GitHub-Event: %b\r\nX-Hub-Signature-256: %b\r\n"
        b"X-GitHub-Delivery: %%b\r\n\r\n"
    ) % (port, len(body), event.encode(), sign(secret.encode(), body))
    return head, body


async def measure(port: int, connections: int, seconds: float, secret: str) -> dict[str, float]:
    """Send for *seconds* after a short warm-up, and sum up."""
    load, loop = Load(port, secret), asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(load), "127.0.0.1", port)
    await asyncio.sleep(WARM_UP_S)
    load.measuring, began = True, time.perf_counter()
    await asyncio.sleep(seconds)
    load.measuring, elapsed = False, time.perf_counter() - began
    took_s = sorted(load.took_s)
    return {
        "rate": len(took_s) / elapsed,
        "p50_ms": took_s[len(took_s) // 2] * 1000,
        "p99_ms": took_s[len(took_s) * 99 // 100] * 1000,
        "refused": load.refused,
        "answered": load.answered_in_all,
    }


if __name__ == "__main__":
    port, connections, seconds, secret = sys.argv[1:5]
    result = uvloop.run(measure(int(port), int(connections), float(seconds), secret))
    sys.stdout.write(json.dumps(result))
