"""Trouble on request: answers nobody meant, work that is done and then denied, cut lines.

It stands outside everything else, so what goes wrong here is what a client really meets.
"""

import asyncio
import re
from dataclasses import dataclass, field
from enum import Enum

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol


class Kind(Enum):
    """What a fault does."""

    ANSWER = "answer"  # the request is not carried out
    AFTER = "after"  # it is carried out, and the answer hides that
    CUT = "cut"  # it is not carried out and the connection breaks
    CUT_AFTER = "cut-after"  # it is carried out and the connection breaks


@dataclass(slots=True)
class Fault:
    """What happens to the next *times* requests of *method* whose path matches *path*."""

    method: str
    path: str
    times: int = 1
    kind: Kind = Kind.ANSWER
    status: int = 502
    headers: dict[str, str] = field(default_factory=dict)
    body: str = '{"message": "Server Error"}'

    def meets(self, method: str, path: str) -> bool:
        """Tell whether a request is one of those."""
        fits = self.method in {"*", method} and re.search(self.path, path) is not None
        return fits and self.times > 0


_connections: dict[tuple[str, int], asyncio.Transport] = {}


class CuttableProtocol(H11Protocol):
    """HTTP over connections that a fault can find by the client's address."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if self.client is not None:
            _connections[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        if self.client is not None:
            _connections.pop(self.client, None)


class Faults:
    """The ASGI application *app* with trouble in front of it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.planned: list[Fault] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._due(scope)
        if fault is None:
            await self.app(scope, receive, send)
            return
        if fault.kind in {Kind.AFTER, Kind.CUT_AFTER}:
            await self.app(scope, receive, _nowhere)
        if fault.kind in {Kind.CUT, Kind.CUT_AFTER}:
            _connections[scope["client"]].abort()
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        headers = {"Content-Type": "application/json", **fault.headers}
        await Response(fault.body, fault.status, headers=headers)(scope, receive, send)

    def _due(self, scope: Scope) -> Fault | None:
        if scope["type"] != "http" or scope["path"].startswith("/_sim/"):
            return None
        for fault in list(self.planned):
            if fault.meets(scope["method"], scope["path"]):
                fault.times -= 1
                return fault
        return None


async def _nowhere(_message: Message) -> None:
    """Swallow an answer."""
