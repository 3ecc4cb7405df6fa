"""The servers of the gateway's benchmark, each in its own process; each prints its address.

python -m tests.benchmarks.model_server model
python -m tests.benchmarks.model_server pipe FOLDER MODEL_URL
python -m tests.benchmarks.model_server gateway FOLDER MODEL_URL
"""

import asyncio
import json
import signal
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from starlette.types import Receive, Scope, Send

from bot.domain.models import Api, Caps, Grant, Origin, Price
from bot.domain.values import PullRef, Secret
from bot.gateway.server import Gateway
from bot.runtime.clock import SystemClock
from bot.store.database import connect
from bot.store.ledger import SqlLedger
from bot.store.migrate import migrate
from tests.benchmarks.server import serve

WORDS = "The test expects a sum and the function subtracts; the operator is wrong. "
ORIGIN = Origin("run", 1, PullRef("octo/hello", 7), "1", "codex")
PAUSE_S = 0.004  # 250 pieces in a second: several times faster than models write


def _chunk(**more: object) -> bytes:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**base, **more}).encode() + b"\n\n"


USAGE = {"prompt_tokens": 1200, "completion_tokens": 40, "total_tokens": 1240}
PIECE = _chunk(choices=[{"index": 0, "delta": {"content": WORDS}, "finish_reason": None}])
LAST = _chunk(choices=[], usage=USAGE) + b"data: [DONE]\n\n"
WHOLE = json.dumps(
    {"choices": [{"message": {"role": "assistant", "content": WORDS * 20}}], "usage": USAGE}
).encode()


async def model(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a chat call: as a whole, or with as many pieces as `n` says, at the pace it names."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    asked = json.loads(body)
    stream = asked.get("stream")
    kind = b"text/event-stream" if stream else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    if not stream:
        await send({"type": "http.response.body", "body": WHOLE})
        return
    for _ in range(asked["pieces"]):
        if asked["paced"]:
            await asyncio.sleep(PAUSE_S)
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": LAST})


class Silence:
    """Reports nothing."""

    def event(self, kind: str, **labels: str) -> None: ...
    def took(self, kind: str, duration: timedelta, **labels: str) -> None: ...


def gateway(folder: Path, url: str) -> None:
    """Open a door before the model, with all five caps over SQLite on disk, until told to end."""
    database = connect("", folder)
    migrate(database)
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    caps = Caps(1e6, 1e6, 1e6, 1e6, 1e6)
    grant = Grant(ORIGIN, Api.OPENAI, url, Secret("sk-benchmark"), Price(1.25, 10.0), caps)
    server = Gateway(SqlLedger(database), SystemClock(), Silence())
    server.start()
    with server.open(grant) as door:
        sys.stdout.write(f"{door.socket}\n")
        sys.stdout.flush()
        over.wait()
    server.stop()
    database.close()


async def pipe(folder: Path, url: str) -> None:
    """Carry bytes between a socket and the model, without a look at them: the least a proxy does.

    It stands for what any process in between costs on this machine.
    """

    async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
        sink.close()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = urlsplit(url)
        theirs, ours = await asyncio.open_connection(there.hostname, there.port)
        with suppress(OSError):
            await asyncio.gather(carry(reader, ours), carry(theirs, writer))

    server = await asyncio.start_unix_server(join, folder / "pipe")
    sys.stdout.write(f"{folder / 'pipe'}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "model":
        uvloop.run(serve(model, "off"))
    elif sys.argv[1] == "pipe":
        uvloop.run(pipe(Path(sys.argv[2]), sys.argv[3]))
    else:
        gateway(Path(sys.argv[2]), sys.argv[3])
