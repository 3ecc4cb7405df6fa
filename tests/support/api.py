"""The programming interface called over HTTP, with a real inbox before a real store."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route

from bot.app import api_routes
from bot.config.rewrite import EngineFile
from bot.domain.ports import Deliveries, Delivery
from bot.domain.values import Secret
from bot.runtime.inbox import Inbox
from bot.store.memory import MemoryAudit, MemoryDeliveries, MemoryRuns
from bot.telemetry.metrics import PrometheusTelemetry
from bot.web.app import Application, application
from bot.web.refusals import Refusals
from bot.web.webhooks import Webhooks

TOKEN = Secret("t" * 20)
AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Stopped:
    """A clock that stands still at `AT`."""

    def now(self) -> datetime:
        return AT


class Api:
    """Some routes of the interface; each call has a loop of its own, in which the inbox runs."""

    def __init__(self, deliveries: Deliveries, routes: Callable[[Inbox], Sequence[Route]]) -> None:
        self._deliveries = deliveries
        self._routes = routes

    def get(self, path: str, token: str = TOKEN.reveal()) -> httpx.Response:
        return asyncio.run(self._call("GET", path, b"", token))

    def post(self, path: str, body: Any, token: str = TOKEN.reveal()) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return asyncio.run(self._call("POST", path, content, token))

    def stored(self) -> Sequence[Delivery]:
        """Return what waits in the inbox."""
        return self._deliveries.waiting(100)

    async def _call(self, method: str, path: str, content: bytes, token: str) -> httpx.Response:
        inbox = Inbox(self._deliveries)
        await inbox.start()
        transport = httpx.ASGITransport(Starlette(routes=list(self._routes(inbox))))
        headers = {b"authorization": f"Bearer {token}".encode()} if token else {}
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://regreen") as client:
                return await client.request(method, path, content=content, headers=headers)
        finally:
            await inbox.stop()


class Whole:
    """The application with every route that the server has, over stores in memory.

    `more` are further routes; without a *token* the server was given none.
    """

    def __init__(
        self, more: Sequence[BaseRoute] = (), *, token: Secret | None = TOKEN, path: Any = None
    ) -> None:
        clock, self.deliveries, telemetry = Stopped(), MemoryDeliveries(), PrometheusTelemetry()
        self.inbox, self.audit = Inbox(self.deliveries), MemoryAudit(clock)
        refusals = Refusals(self.audit, clock)
        routes = api_routes(
            token,
            runs=MemoryRuns(),
            inbox=self.inbox,
            clock=clock,
            file=EngineFile(path, {}),
            audit=self.audit,
        )
        self.app: Application = application(
            Webhooks(
                self.inbox,
                secrets=(Secret("s" * 20),),
                clock=clock,
                telemetry=telemetry,
                refusals=refusals,
            ),
            health={},
            metrics=telemetry.render,
            routes=(*routes, *more),
            refusals=refusals,
        )

    def call(self, method: str, path: str, content: bytes = b"", **headers: str) -> httpx.Response:
        """Send one request; `_` in the name of a header stands for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return asyncio.run(self._call(method, path, content, named))

    async def _call(
        self, method: str, path: str, content: bytes, headers: dict[str, str]
    ) -> httpx.Response:
        await self.inbox.start()
        transport = httpx.ASGITransport(self.app)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://regreen") as client:
                return await client.request(method, path, content=content, headers=headers)
        finally:
            await self.inbox.stop()
