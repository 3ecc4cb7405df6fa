"""An HTTP server on loopback that notes what it is asked, and a client of the fetch proxy."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Web:
    """Pages by path, `redirects` by path; `asked` is each request as it came."""

    pages: Mapping[str, bytes] = field(default_factory=dict)
    redirects: Mapping[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    port: int = 0

    @contextmanager
    def served(self) -> Iterator["Web"]:
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                web.asked.append((self.command, self.path, dict(self.headers.items())))
                place, page = web.redirects.get(self.path), web.pages.get(self.path)
                self.send_response(302 if place else 200 if page is not None else 404)
                if place:
                    self.send_header("Location", place)
                body = page or b""
                kind = "text/html" if self.path.endswith("/") else "application/octet-stream"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_POST = do_GET  # noqa: N815  # the server's names

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def say(at: Path, said: bytes) -> bytes:
    """Say *said* to the socket and return all that comes back until it closes."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(at))
        client.sendall(said)
        return read(client)


def read(client: socket.socket) -> bytes:
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except ConnectionError:  # a cut is an end as well
        pass
    return b"".join(parts)


def get(at: Path, url: str, method: str = "GET", *headers: str) -> bytes:
    """Ask a proxy for *url* and return the whole answer."""
    lines = [f"{method} {url} HTTP/1.1", "Host: ignored", *headers, "", ""]
    return say(at, "\r\n".join(lines).encode("utf-8"))


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])
