"""A GitHub that answers from a script, for faults that a working one never shows.

Each route holds answers in order; the last one stays. Installation and token requests have working
answers from the start.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.config.schema import Server
from bot.domain.values import Secret

APP_ID = 4242
START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@dataclass
class FixedClock:
    """A clock that stands still until a test moves it."""

    at: datetime = START

    def now(self) -> datetime:
        return self.at


@dataclass(frozen=True)
class Answer:
    """One scripted answer; `fault` is "drop" (no answer) or "half" (cut in the body)."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    fault: str = ""
    then: Callable[[Any], None] | None = None  # called with the request's body


@dataclass(frozen=True)
class Request:
    """A request as it arrived; header names in lower case."""

    verb: str
    path: str
    query: str
    headers: dict[str, str]
    body: Any


class ScriptedGitHub:
    """The server; `sent` filters what arrived."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._routes: dict[tuple[str, str], list[Answer]] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.on("GET", "/repos/o/r/installation", Answer(body={"id": 7, "suspended_at": None}))
        self.mint()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def on(self, verb: str, path: str, *answers: Answer) -> None:
        """Script a route anew."""
        self._routes[verb, path] = list(answers)

    def mint(self, *, token: str = "ghs_first", lives: timedelta = timedelta(hours=1)) -> None:
        """Script the token that is minted from now on."""
        body = {"token": token, "expires_at": (START + lives).isoformat()}
        self.on("POST", "/app/installations/7/access_tokens", Answer(201, body))

    def sent(self, verb: str, path: str) -> list[Request]:
        return [r for r in self.requests if (r.verb, r.path) == (verb, path)]

    def take(self, request: Request) -> Answer:
        """Record a request and return its next answer."""
        with self._lock:
            self.requests.append(request)
            answers = self._routes.get((request.verb, request.path))
            if not answers:
                return Answer(404, {"message": "Not Found"})
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer.then:
            answer.then(request.body)
        return answer


def _handler(github: ScriptedGitHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def handle_any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            url = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = json.loads(raw) if raw else None
            self._give(github.take(Request(self.command, url.path, url.query, headers, body)))

        def _give(self, answer: Answer) -> None:
            self.close_connection = True
            if answer.fault == "drop":
                return
            kind, raw = _encoded(answer.body)
            self.send_response_only(answer.status)
            for name, value in {"Content-Type": kind, **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw[: len(raw) // 2] if answer.fault == "half" else raw)

        do_GET = do_POST = do_PATCH = handle_any  # noqa: N815 - the base class wants these names

    return Handler


def _encoded(body: Any) -> tuple[str, bytes]:
    if body is None:
        return "text/plain", b""
    if isinstance(body, bytes):
        return "text/html", body
    return "application/json; charset=utf-8", json.dumps(body).encode()


def a_private_key() -> Secret:
    """Make the key of an App."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return Secret(pem.decode())


def a_server(url: str, key: Secret, app_id: int = APP_ID) -> Server:
    """Return the settings of a server whose GitHub is at *url*."""
    return Server(
        app_id=app_id,
        private_key=key,
        webhook_secrets=(Secret("not used here"),),
        database_url="sqlite://",
        data_dir=Path("not-used-here"),
        github_url=url,
    )
