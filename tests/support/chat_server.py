"""A chat endpoint on loopback that answers what a test tells it to, byte for byte."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Sent:
    """One reply; `hang` keeps it back until the server ends, `cut` breaks it off."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    cut: bool = False


def says(text: str | None, *, finish: str = "stop", **message: Any) -> Sent:
    """Return a completion as endpoints send it."""
    choice = {"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 1000, "completion_tokens": 200}
    return Sent(body=json.dumps({"choices": [choice], "usage": usage}).encode())


def fails(status: int, error: Any, **headers: str) -> Sent:
    """Return an error in OpenAI's shape."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Sent(status, json.dumps({"error": error}).encode(), named)


@dataclass
class ChatServer:
    """Answers one reply after another, the last one again; `seen` are (path, headers, body)."""

    url: str
    replies: list[Sent]
    seen: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(*replies: Sent) -> Iterator[ChatServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    chat = ChatServer(f"http://127.0.0.1:{server.server_address[1]}/v1", list(replies))
    server.RequestHandlerClass = _handler(chat)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield chat
    finally:
        chat.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(chat: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            chat.seen.append((self.path, headers, body))
            chat.arrived.set()
            reply = chat.replies[min(len(chat.seen), len(chat.replies)) - 1]
            if reply.hang:
                chat.over.wait(30)
                return
            self.send_response(reply.status)
            length = len(reply.body) + (10 if reply.cut else 0)
            for name, value in {"Content-Length": str(length), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(reply.body)
            except OSError:  # the client has had enough, which may be what the test is about
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
            """Say nothing."""

    return Handler
