"""A gateway for tests: the real one, with a ledger in memory and a telemetry that remembers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx

from bot.domain.models import Api, Call, Caps, Grant, Origin, Price, Spend, accounts
from bot.domain.ports import Door, Ledger
from bot.domain.values import PullRef, Secret
from bot.gateway.proxy import Limits
from bot.gateway.server import Gateway
from bot.runtime.clock import SystemClock
from bot.store.memory import MemoryLedger

KEY = "sk-real-canary-4711"
ORIGIN = Origin("run-1", 1, PullRef("octo/hello", 7), "42", "codex", "main")
PRICE = Price(input=2.0, output=10.0, cached=0.5)


@dataclass
class Heard:
    """Keeps what was reported."""

    events: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def event(self, kind: str, **labels: str) -> None:
        self.events.append((kind, labels))

    def took(self, kind: str, duration: timedelta, **labels: str) -> None:
        self.events.append((kind, labels))


@dataclass
class Opened:
    """An open door, and a client that calls through it as an agent would."""

    door: Door
    client: httpx.Client
    ledger: Ledger
    heard: Heard

    @property
    def call(self) -> Call:
        """The one call that there was."""
        (call,) = self.door.calls()
        return call

    def spent(self) -> list[Spend]:
        """What each account of the calls says."""
        day = SystemClock().now()
        return [self.ledger.spent(one.name) for one in accounts(ORIGIN, Caps(), day)]


def a_grant(url: str, api: Api = Api.OPENAI, **changes: Any) -> Grant:
    return Grant(
        **{"key": Secret(KEY), "price": PRICE, **changes}, origin=ORIGIN, api=api, base_url=url
    )


@contextmanager
def running(
    ledger: Ledger | None = None, limits: Limits | None = None
) -> Iterator[tuple[Gateway, Ledger, Heard]]:
    heard, kept = Heard(), ledger or MemoryLedger()
    gateway = Gateway(kept, SystemClock(), heard, limits=limits)
    gateway.start()
    try:
        yield gateway, kept, heard
    finally:
        gateway.stop()


@contextmanager
def opened(
    grant: Grant, ledger: Ledger | None = None, limits: Limits | None = None
) -> Iterator[Opened]:
    with (
        running(ledger, limits) as (gateway, kept, heard),
        gateway.open(grant) as door,
        agent(door) as client,
    ):
        yield Opened(door, client, kept, heard)


@contextmanager
def agent(door: Door) -> Iterator[httpx.Client]:
    """A client as agents have one: with a dummy key, which each vendor's sends in its own place."""
    dummy = {"authorization": "Bearer dummy", "x-api-key": "dummy", "x-goog-api-key": "dummy"}
    through = httpx.HTTPTransport(uds=str(door.socket), verify=False)  # it is plain HTTP
    with httpx.Client(
        transport=through, base_url="http://gateway", headers=dummy, timeout=30
    ) as client:
        yield client
