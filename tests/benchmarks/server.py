"""The server under test, in a process of its own; it prints its port.

python -m tests.benchmarks.server hello|product FOLDER SECRET
"""

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import uvicorn
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.domain.values import Secret
from bot.runtime.clock import SystemClock
from bot.runtime.inbox import Inbox
from bot.store.database import connect
from bot.store.deliveries import SqlDeliveries
from bot.store.migrate import migrate
from bot.telemetry.metrics import PrometheusTelemetry
from bot.web.app import application
from bot.web.webhooks import Webhooks


async def hello(_scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body and say hello: what the server itself costs."""
    while (await receive()).get("more_body", False):
        pass
    head = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 202, "headers": head})
    await send({"type": "http.response.body", "body": b"hello"})


def product(folder: Path, secret: str) -> ASGIApp:
    """Return the real intake over SQLite on disk."""
    database = connect("", folder)
    database.lock()
    migrate(database)
    inbox = Inbox(SqlDeliveries(database))
    telemetry = PrometheusTelemetry()
    webhooks = Webhooks(inbox, secrets=(Secret(secret),), clock=SystemClock(), telemetry=telemetry)

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        await inbox.start()
        yield
        await inbox.stop()
        database.close()

    health = {"database": database.reach}
    return application(webhooks, health=health, metrics=telemetry.render, lifespan=lifespan)


async def serve(app: ASGIApp, lifespan: Literal["on", "off"]) -> None:
    """Serve on a free port of loopback until the process is told to end."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(
        app, lifespan=lifespan, access_log=False, log_level="warning", loop="uvloop"
    )
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    kind, folder, secret = sys.argv[1:4]
    if kind == "hello":
        uvloop.run(serve(hello, "off"))
    else:
        uvloop.run(serve(product(Path(folder), secret), "on"))
