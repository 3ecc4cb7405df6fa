"""The intake on loopback: the real one, with a store in memory that can be made to fail."""

import asyncio
import hashlib
import hmac
import http.client
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

import pytest
import uvicorn

from bot.domain.ports import Delivery
from bot.domain.values import Secret
from bot.runtime.inbox import Inbox
from bot.store.memory import MemoryDeliveries
from bot.telemetry.metrics import PrometheusTelemetry
from bot.web.app import Application, application
from bot.web.webhooks import Webhooks

SECRET = secrets.token_hex(16)
SECOND = secrets.token_hex(16)
BODY = b'{"action":"completed","check_run":{"id":1},"repository":{}}'
DEADLINE_S = 20.0


class StoppedClock:
    def now(self) -> datetime:
        return datetime(2026, 1, 2, tzinfo=UTC)


class Store(MemoryDeliveries):
    """The twin, with a switch for trouble and a count of commits."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble: Exception | None = None
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def accept(self, batch: Sequence[Delivery]) -> int:
        self.batches.append(len(batch))
        assert self.gate.wait(DEADLINE_S)
        if self.trouble is not None:
            raise self.trouble
        return super().accept(batch)

    def keep_malformed(self, delivery: Delivery) -> None:
        if self.trouble is not None:
            raise self.trouble
        super().keep_malformed(delivery)

    def guids(self) -> set[str]:
        return {delivery.guid for delivery in self.waiting(10_000)}


class Server:
    """The intake on loopback, and a client for it."""

    def __init__(
        self, store: Store, inbox: Inbox, *, reasons: dict[str, str], arrivals: list[int]
    ) -> None:
        self.store = store
        self.inbox = inbox
        self.reasons = reasons
        self.arrivals = arrivals
        self.port = 0

    def post(self, body: bytes = BODY, *, key: str = SECRET, **headers: str | None) -> "Answer":
        """Send a signed delivery; a header given as None is left out."""
        signature = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
        named: dict[str, str | None] = {
            "content_type": "application/json",
            "x_github_event": "check_run",
            "x_github_delivery": "g-1",
            "x_hub_signature_256": f"sha256={signature}",
            **headers,
        }
        sent = {name.replace("_", "-"): text for name, text in named.items() if text is not None}
        return self.ask("POST", "/webhooks/github", body, sent)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> "Answer":
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.request(method, path, body or None, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(), dict(response.headers))
        finally:
            connection.close()

    def open(self, head: Sequence[str]) -> socket.socket:
        """Send only the head of a request and leave the rest to the caller."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)
        lines = ["POST /webhooks/github HTTP/1.1", "Host: 127.0.0.1", *head, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        return connection


class Answer:
    def __init__(self, status: int, text: str, headers: dict[str, str]) -> None:
        self.status = status
        self.text = text
        self.headers = headers


@contextmanager
def serving(app: Application) -> Iterator[int]:
    """Serve on loopback in a thread until the block ends; yield the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listener])), name="intake"
    )
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)
        listener.close()


def until(true: Callable[[], object]) -> None:
    """Wait until *true*, for a while."""
    ends = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not true():
        assert time.monotonic() < ends, "waited in vain"
        pause.wait(0.005)


@contextmanager
def running(
    store: Store, *, read_deadline_s: float = 10.0, max_waiting: int = 100
) -> Iterator[Server]:
    arrivals: list[int] = []
    reasons = {"database": "", "sandbox": ""}
    inbox = Inbox(store, arrived=lambda: arrivals.append(1), max_waiting=max_waiting)
    telemetry = PrometheusTelemetry()
    webhooks = Webhooks(
        inbox,
        secrets=(Secret(SECRET), Secret(SECOND)),
        clock=StoppedClock(),
        telemetry=telemetry,
        read_deadline_s=read_deadline_s,
    )

    @asynccontextmanager
    async def lifespan(_app: object):
        await inbox.start()
        yield
        await inbox.stop()

    health = {name: (lambda name=name: reasons[name]) for name in reasons}
    app = application(webhooks, health=health, metrics=telemetry.render, lifespan=lifespan)
    server = Server(store, inbox, reasons=reasons, arrivals=arrivals)
    with serving(app) as server.port:
        yield server


def status_of(connection: socket.socket) -> int:
    with connection:
        line = connection.makefile("rb").readline()
    return int(line.split()[1])


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def server(store: Store) -> Iterator[Server]:
    with running(store) as server:
        yield server
