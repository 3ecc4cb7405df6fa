"""The programming interface called over HTTP, with a real inbox before a real store."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.routing import Route

from bot.domain.ports import Deliveries, Delivery
from bot.domain.values import Secret
from bot.runtime.inbox import Inbox

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
