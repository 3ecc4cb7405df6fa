"""A model's API on loopback that answers byte for byte what a test says, and may do so slowly."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_S = 30.0  # for what a test is sure will happen


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


Script = Callable[[Request], Iterator[bytes]]


@dataclass
class ModelApi:
    """`seen` are the requests; `left` is set when a caller hangs up while it is being answered."""

    url: str
    script: Script
    seen: list[Request] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)


def reply(status: int, body: bytes | Mapping[str, Any], **headers: str) -> bytes:
    """Return a whole HTTP reply; a mapping is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "text/html" if content.startswith(b"<") else "application/json"
    named = {"content-type": kind, "content-length": str(len(content))}
    return _head(status, named | {name.replace("_", "-"): one for name, one in headers.items()}) + (
        content
    )


def stream(**headers: str) -> bytes:
    """Return the head of a stream."""
    named = {name.replace("_", "-"): one for name, one in headers.items()}
    kind = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
    return _head(200, kind | named)


def piece(data: bytes) -> bytes:
    """Return one chunk of a stream; an empty one is its end."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(data: Mapping[str, Any], name: str = "") -> bytes:
    """Return one event."""
    return (f"event: {name}\n" if name else "").encode() + f"data: {json.dumps(data)}\n\n".encode()


def says(*parts: bytes) -> Script:
    """Return a script that sends the same bytes to everybody."""
    return lambda _request: iter(parts)


@contextmanager
def model_api(script: Script) -> Iterator[ModelApi]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    api = ModelApi(f"http://127.0.0.1:{server.server_address[1]}/v1", script)
    server.RequestHandlerClass = _handler(api)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    headers = {"connection": "close", **headers}  # which it does, after each
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {one}" for name, one in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _handler(api: ModelApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = json.loads(raw) if raw else None
            request = Request(self.command, self.path, headers, body)
            api.seen.append(request)
            try:
                for part in api.script(request):
                    self.wfile.write(part)
                    self.wfile.flush()
            except OSError:
                api.left.set()
            self.close_connection = True

        do_GET = do_POST  # noqa: N815  # the base class looks for this name

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
            """Say nothing."""

    return Handler
