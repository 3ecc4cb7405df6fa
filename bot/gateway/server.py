"""The gateway: a thread of its own, with a Unix socket for each grant.

Whatever arrives at a socket is attributed to its grant; what an agent says about itself decides
nothing. The sockets lie in a folder that only this user may enter, since whoever reaches one spends
its grant's money; a sandbox is shown its own one and no other.
"""

import asyncio
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from bot.domain.models import Call, Grant
from bot.domain.ports import Clock, Ledger, Telemetry
from bot.gateway.books import Books
from bot.gateway.proxy import Limits, Proxy
from bot.gateway.upstream import Upstream

_LINGER_S = 10.0  # for an agent that does not take what it is sent
_HEAD_BYTES = 256 * 1024  # of a request, around its body
_EVERYBODY = 0o666  # inside the sandbox the agent is another user; outside the folder is closed
_T = TypeVar("_T")


class Door:
    """A grant's socket, and what came through it."""

    def __init__(self, path: Path, proxy: Proxy, books: Books) -> None:
        self._path = path
        self._proxy = proxy
        self._books = books
        self._state = ServerState()
        self._listener: asyncio.AbstractServer | None = None

    @property
    def socket(self) -> Path:
        """The socket, which speaks HTTP/1.1."""
        return self._path

    def calls(self) -> tuple[Call, ...]:
        """Return the calls that have ended, in that order."""
        return self._books.ended

    async def listen(self, connections: int) -> None:
        """Make the socket, for at most so many *connections* at one time."""
        config = uvicorn.Config(
            self._proxy,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=75,
        )
        config.load()

        def connected() -> asyncio.Protocol:
            # Every connection is a descriptor of this process: an agent must not take them all.
            if len(self._state.connections) >= connections:
                return _Closing()
            return _Connection(config=config, server_state=self._state, app_state={})

        loop = asyncio.get_running_loop()
        self._listener = await loop.create_unix_server(connected, str(self._path))
        self._path.chmod(_EVERYBODY)

    async def close(self) -> None:
        """Take no more calls, end those under way, wait until they are settled."""
        if self._listener is not None:
            self._listener.close()
        await self._proxy.cut()
        for connection in set(self._state.connections):
            connection.transport.close()
        if answering := set(self._state.tasks):
            await asyncio.wait(answering, timeout=_LINGER_S)
        for connection in set(self._state.connections):
            connection.transport.abort()
        await self._books.settled()
        self._path.unlink(missing_ok=True)


class _Connection(HttpToolsProtocol):
    """An agent's connection, within bounds that the server does not set.

    The parser bounds no head, so an endless one would fill the memory. And of two requests on the
    wire at one time only the later one would hear that the agent has hung up: no agent sends them.
    """

    _around = 0  # bytes of the request so far that are no body

    def data_received(self, data: bytes) -> None:
        self._around += len(data)
        super().data_received(data)
        if self._around > _HEAD_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._around = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        before = self.cycle
        super().on_headers_complete()
        if self.pipeline:
            self.pipeline.clear()
            self.cycle = before
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        self._around -= len(body)
        super().on_body(body)


class _Closing(asyncio.Protocol):
    """Closes a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Gateway:
    """The port `Gateway`. It is started and stopped once; doors open and close in between."""

    def __init__(
        self, ledger: Ledger, clock: Clock, telemetry: Telemetry, *, limits: Limits | None = None
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._telemetry = telemetry
        self._limits = limits or Limits()
        self._numbers = count(1)
        self._doors: set[Door] = set()
        self._upstream = Upstream(self._limits.silence_s)
        self._running: _Running | None = None

    def start(self) -> None:
        """Start the thread."""
        self._running = _Running()

    def stop(self) -> None:
        """Close what is open, settle it, and end the thread."""
        if self._running is not None:
            self._running.do(self._close())
            self._running.end()
            self._running = None

    @contextmanager
    def open(self, grant: Grant) -> Iterator[Door]:
        """Open a door for *grant*; at the end of the block its calls are cut and settled."""
        assert self._running is not None, "the gateway has not been started"
        running = self._running
        # Nobody will settle what a process left open that died.
        self._ledger.abandon(self._clock.now() - 2 * timedelta(seconds=self._limits.call_s))
        with tempfile.TemporaryDirectory(prefix="regreen-gateway-") as folder:
            door = running.do(self._opened(grant, Path(folder)))
            try:
                yield door
            finally:
                if running is self._running:  # else the gateway was stopped, and closed its doors
                    running.do(self._closed(door))

    async def _opened(self, grant: Grant, folder: Path) -> Door:
        books = Books(grant, self._ledger, self._telemetry)
        proxy = Proxy(grant, books, self._upstream, self._clock, self._limits)
        door = Door(folder / "socket", proxy, books)
        await door.listen(self._limits.connections)
        self._doors.add(door)
        return door

    async def _closed(self, door: Door) -> None:
        self._doors.discard(door)
        await door.close()

    async def _close(self) -> None:
        for door in list(self._doors):
            await self._closed(door)
        await self._upstream.close()


class _Running:
    """A thread with an event loop."""

    def __init__(self) -> None:
        factory = uvicorn.Config("", loop="auto", log_config=None).get_loop_factory()
        self._loop = factory() if factory is not None else asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run *work* on the loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def end(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
