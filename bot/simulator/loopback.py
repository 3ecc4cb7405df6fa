"""Serves an application on a free loopback port, from a thread, for as long as a block lasts."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

_START_S = 20.0
_STOP_S = 1  # then open connections are cut


class _Server(uvicorn.Server):
    """Tells when it listens, and on which port."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()
        self.port = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.port = self.servers[0].sockets[0].getsockname()[1]
        self.listening.set()


@contextmanager
def served(app: ASGIApp, port: int = 0) -> Iterator[str]:
    """Serve *app* on 127.0.0.1 and yield its address, such as `http://127.0.0.1:40123`."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=_STOP_S,
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, name="loopback", daemon=True)
    thread.start()
    if not server.listening.wait(_START_S) or not server.port:
        raise OSError(f"no server came up on 127.0.0.1:{port}")
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.should_exit = True
        thread.join(_START_S)
