"""What a set-up may fetch: an HTTP proxy on a Unix socket, for the hosts of a list.

The sandbox of a set-up has no network. It is shown this socket, as an agent is shown the gateway's,
and told of it by the variables that package managers know (`variables`). HTTPS goes through by
CONNECT, unread; plain HTTP is read and written anew, GET and HEAD only, one request for each
connection. A redirect is the client's to follow, and comes back here as a request of its own.

A thread for each connection, since a set-up has few. `Visit.log` says what was asked for: a host
that is refused is there with the reason, one that broke the limit of size as well.
"""

import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import h11

from bot.domain.values import Fetched
from bot.workspace.allowed import Place, Refused, Resolve, addresses, place, read, resolved

_CHUNK = 64 * 1024
_HEAD = 32 * 1024  # bytes of a request's or reply's head
_CONNECT_S = 10.0
_IDLE_S = 60.0
_CONNECTIONS = 64  # at one time
_LOGGED = 200  # different lines of the log
_MB = 1024 * 1024
_HTTP = 80
_OF_THE_HOP = frozenset(
    {b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"proxy-connection"}
    | {b"proxy-authorization", b"proxy-authenticate"}
)
_OF_BODIES = frozenset({b"content-length", b"transfer-encoding"})


def variables(url: str) -> Mapping[str, str]:
    """Return the environment that leads package managers to the proxy at *url*."""
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "CARGO_HTTP_PROXY")
    return {**dict.fromkeys(names, url), "npm_config_proxy": url, "npm_config_https_proxy": url}


class FetchProxy:
    """Fetches from the hosts that *allowed* lists, as `sandbox.fetch` does, and no others.

    One visit may carry `most_mb` megabytes, both ways together.
    """

    def __init__(
        self, allowed: Sequence[str], most_mb: int = 2048, *, resolve: Resolve = resolved
    ) -> None:
        self._allowed = read(allowed)
        self._most = most_mb * _MB
        self._resolve = resolve

    @contextmanager
    def open(self) -> Iterator["Visit"]:
        """Yield a new visit; at the end of the block its connections are cut."""
        with tempfile.TemporaryDirectory(prefix="regreen-fetch-") as folder:
            visit = Visit(Path(folder) / "socket", self._allowed, self._most, self._resolve)
            try:
                yield visit
            finally:
                visit.close()


class Visit:
    """The proxy for one set-up: its socket, and what it was asked for."""

    def __init__(self, path: Path, allowed: Sequence[Place], most: int, resolve: Resolve) -> None:
        self.socket = path
        self._allowed = allowed
        self._left = most
        self._resolve = resolve
        self._log: dict[tuple[str, int, str], tuple[int, int]] = {}
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(_CONNECTIONS)
        self._closed = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(_CONNECTIONS)
        self._server = threading.Thread(target=self._accept, name="fetch", daemon=True)
        self._server.start()

    def log(self) -> tuple[Fetched, ...]:
        """Return what was asked for so far, each host once for each answer."""
        with self._lock:
            return tuple(
                Fetched(host, port, requests, size, refused)
                for (host, port, refused), (requests, size) in self._log.items()
            )

    def close(self) -> None:
        """Cut every connection."""
        with self._lock:
            self._closed = True
            cut = tuple(self._open)
        for one in (self._listener, *cut):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._server.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            self._room.acquire()
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, suppress(OSError, h11.ProtocolError), self._kept(client):
                client.settimeout(_IDLE_S)
                self._answer(client)
        finally:
            self._room.release()

    def _answer(self, client: socket.socket) -> None:
        ours = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD)
        try:
            request = _next(ours, client)
        except h11.RemoteProtocolError:
            return _refuse(ours, client, 400, "this is not a request")
        if not isinstance(request, h11.Request):
            return None
        wanted: Place | None = None
        try:
            wanted = _wanted(request)
            found = addresses(wanted, self._allowed, self._resolve)
            server = _connected(found, wanted)
        except Refused as error:
            asked = wanted or Place("", 0)
            self._note(asked, str(error), requests=1)
            return _refuse(ours, client, 403, str(error))
        self._note(wanted, "", requests=1)
        with server, self._kept(server):
            server.settimeout(_IDLE_S)
            if request.method == b"CONNECT":
                client.sendall(ours.send(h11.Response(status_code=200, headers=[])) or b"")
                self._tunnel(client, server, wanted, ours.trailing_data[0])
            else:
                self._relay(_Relay(ours, client, server), request, wanted)
        return None

    def _tunnel(
        self, client: socket.socket, server: socket.socket, wanted: Place, early: bytes
    ) -> None:
        if early and self._pays(wanted, len(early)):
            server.sendall(early)
        flow = _Flow(time.monotonic())
        ways = ((client, server), (server, client))
        threads = [
            threading.Thread(target=self._carry, args=(*way, wanted, flow), daemon=True)
            for way in ways
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _carry(
        self, source: socket.socket, sink: socket.socket, wanted: Place, flow: "_Flow"
    ) -> None:
        with suppress(OSError):
            while data := _some(source, flow):
                if not self._pays(wanted, len(data)):
                    break
                sink.sendall(data)
            else:
                sink.shutdown(socket.SHUT_WR)
                return
        for end in (source, sink):  # one end is gone, or the limit is reached: cut both
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _relay(self, relay: "_Relay", request: h11.Request, wanted: Place) -> None:
        """Ask for what a plain request asks for, and hand on the answer piece by piece."""
        relay.ask(request, wanted)
        for event in relay.events():
            size = len(event.data) if isinstance(event, h11.Data) else 0
            if not self._pays(wanted, size):
                return
            relay.tell(event)

    def _pays(self, wanted: Place, size: int) -> bool:
        """Count *size* bytes; False when the visit has used up what it may carry."""
        with self._lock:
            self._left -= size
            within = self._left >= 0
        self._note(wanted, "" if within else "more megabytes than a set-up may fetch", size=size)
        return within

    def _note(self, wanted: Place, refused: str, *, requests: int = 0, size: int = 0) -> None:
        key = (wanted.host, wanted.port, refused)
        with self._lock:
            if key not in self._log and len(self._log) >= _LOGGED:
                key = ("", 0, "and more, which are not listed")
            before = self._log.get(key, (0, 0))
            self._log[key] = (before[0] + requests, before[1] + size)

    @contextmanager
    def _kept(self, one: socket.socket) -> Iterator[None]:
        """Have a connection cut when the visit ends."""
        with self._lock:
            self._open.add(one)
            closed = self._closed
        try:
            if closed:
                raise ConnectionAbortedError
            yield
        finally:
            with self._lock:
                self._open.discard(one)


@dataclass(slots=True)
class _Flow:
    """When bytes last went through a tunnel, one way or the other."""

    newest: float


def _some(source: socket.socket, flow: _Flow) -> bytes:
    """Read what has come; raise TimeoutError when both ways were silent for too long."""
    while True:
        try:
            data = source.recv(_CHUNK)
        except TimeoutError:
            if time.monotonic() - flow.newest >= _IDLE_S:
                raise
        else:
            flow.newest = time.monotonic()
            return data


class _Relay:
    """One plain request and its answer, read and written anew on both sides."""

    def __init__(self, ours: h11.Connection, client: socket.socket, server: socket.socket) -> None:
        self._ours = ours
        self._client = client
        self._server = server
        self._theirs = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD)

    def ask(self, request: h11.Request, wanted: Place) -> None:
        """Send the request on, in our own words."""
        at = urlsplit(request.target.decode("ascii"))
        target = (at.path or "/") + (f"?{at.query}" if at.query else "")
        host = f"[{wanted.host}]" if ":" in wanted.host else wanted.host
        host = host if wanted.port == _HTTP else f"{host}:{wanted.port}"
        headers = [(b"Host", host.encode()), (b"Connection", b"close")]
        headers += _without(request.headers, _OF_THE_HOP | _OF_BODIES | {b"host"})
        asked = h11.Request(method=request.method, target=target, headers=headers)
        self._server.sendall(
            (self._theirs.send(asked) or b"") + (self._theirs.send(h11.EndOfMessage()) or b"")
        )

    def events(self) -> Iterator[h11.Response | h11.Data | h11.EndOfMessage]:
        """Yield the parts of the answer."""
        while True:
            event = _next(self._theirs, self._server)
            if isinstance(event, h11.Response | h11.Data | h11.EndOfMessage):
                yield event
            if not isinstance(event, h11.Response | h11.Data | h11.InformationalResponse):
                return

    def tell(self, event: h11.Response | h11.Data | h11.EndOfMessage) -> None:
        """Hand a part on to the client."""
        if isinstance(event, h11.Response):
            headers = [*_without(event.headers, _OF_THE_HOP), (b"Connection", b"close")]
            event = h11.Response(status_code=event.status_code, headers=headers)
        elif isinstance(event, h11.EndOfMessage):
            event = h11.EndOfMessage()
        self._client.sendall(self._ours.send(event) or b"")


def _wanted(request: h11.Request) -> Place:
    """Return where a request goes; raise Refused when it is not one that we carry."""
    target = request.target.decode("ascii", "replace")
    if request.method == b"CONNECT":
        return place(target, 443)
    try:
        at = urlsplit(target)
    except ValueError as error:  # such as a bracket that is not closed
        raise Refused(f"{target[:80]!r} names no host") from error
    if at.scheme != "http" or not at.netloc:
        raise Refused("only http:// is fetched in the open; other schemes take CONNECT")
    if "@" in at.netloc:
        raise Refused("an address with a password in it is not fetched")
    wanted = place(at.netloc, _HTTP)
    if request.method not in {b"GET", b"HEAD"}:
        raise Refused(f"{wanted.host}: plain HTTP takes GET and HEAD only")
    if any(name in _OF_BODIES and value != b"0" for name, value in request.headers):
        raise Refused(f"{wanted.host}: plain HTTP takes no request with a body")
    return wanted


def _connected(found: Sequence[str], wanted: Place) -> socket.socket:
    """Connect to one of the addresses that were looked at, and to nothing else."""
    for address in found:
        with suppress(OSError):
            return socket.create_connection((address, wanted.port), _CONNECT_S)
    raise Refused(f"{wanted.host}:{wanted.port} cannot be reached")


def _next(connection: h11.Connection, source: socket.socket) -> object:
    """Return the next event of a connection, reading as much as it takes."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(source.recv(_CHUNK))
    return event


def _refuse(ours: h11.Connection, client: socket.socket, status: int, why: str) -> None:
    """Answer with the reason, where people look: in the status line and in the body."""
    body = f"Regreen: {why}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    line = why.encode("ascii", "replace")
    parts = (
        h11.Response(status_code=status, headers=headers, reason=line),
        h11.Data(data=body),
        h11.EndOfMessage(),
    )
    client.sendall(b"".join(ours.send(part) or b"" for part in parts))


def _without(
    headers: Iterable[tuple[bytes, bytes]], names: frozenset[bytes]
) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name not in names]
