"""Git over smart HTTP, as GitHub serves it, over the bare repositories of one folder.

Each request runs `git upload-pack` or `git receive-pack` once (`--stateless-rpc`); this module only
moves bytes, asks who may, and looks at the refs before and after a push. One push at a time works
on a repository, so that the difference is that push's own. A push that is refused is undone before
anybody is told of it, and the client reads the reason as it would read GitHub's.

Protocol: https://git-scm.com/docs/http-protocol, https://git-scm.com/docs/pack-protocol
"""

import base64
import binascii
import gzip
import os
import re
import shutil
import subprocess
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

ZERO = "0" * 40
SERVICES = ("git-upload-pack", "git-receive-pack")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_UNCACHED = {"Cache-Control": "no-cache, max-age=0, must-revalidate"}
_SIDE_BAND = 65515  # bytes of data in one side-band-64k packet

pusher: ContextVar[str | None] = ContextVar("pusher", default=None)
"""The token of the push for which `refuse` or `pushed` is being called."""


class Access(Enum):
    """What a token may do with a repository."""

    GRANTED = "granted"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not found"


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """One ref that a push moved; forty zeros stand for "does not exist"."""

    ref: str
    old: str
    new: str


Authorize = Callable[[str, str | None, bool], Access]
Pushed = Callable[[str, list[RefUpdate]], None]
Refuse = Callable[[str, list[RefUpdate]], str | None]

_DENIALS: Mapping[Access, tuple[int, str]] = {
    Access.UNAUTHORIZED: (401, "Authentication is required."),
    Access.FORBIDDEN: (403, "Write access to repository not granted."),
    Access.NOT_FOUND: (404, "Repository not found."),
}


def refuse_nothing(_repo: str, _updates: list[RefUpdate]) -> str | None:
    """Let every push stand."""
    return None


def git_app(
    root: Path, authorize: Authorize, pushed: Pushed, refuse: Refuse = refuse_nothing
) -> ASGIApp:
    """Serve the repositories `root/owner/name.git`.

    `authorize(repo, token, write)` is asked at every request, on the event loop. `refuse` and
    `pushed` are called in a worker thread, in order for each repository, with the refs that really
    changed; what `refuse` returns is the reason that the client reads, and the push is undone.
    """
    server = _Server(root, authorize, pushed, refuse)
    return Starlette(
        routes=[
            Route("/{owner}/{name}.git/info/refs", server.advertise),
            Route("/{owner}/{name}.git/git-upload-pack", server.upload, methods=["POST"]),
            Route("/{owner}/{name}.git/git-receive-pack", server.receive, methods=["POST"]),
        ]
    )


class _Server:
    def __init__(self, root: Path, authorize: Authorize, pushed: Pushed, refuse: Refuse) -> None:
        self._root = root
        self._authorize = authorize
        self._pushed = pushed
        self._refuse = refuse
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    async def advertise(self, request: Request) -> Response:
        service = request.query_params.get("service", "")
        if service not in SERVICES:
            return PlainTextResponse("Only smart HTTP is served.\n", 403)
        denied = self._denied(request, service)
        if denied is not None:
            return denied
        version = request.headers.get("git-protocol", "")
        command = (*_command(service), "--advertise-refs", str(self._path(request)))
        refs = await run_in_threadpool(_git, command, b"", version)
        if "version=2" not in version or service == "git-receive-pack":
            refs = _packet(f"# service={service}\n".encode()) + b"0000" + refs
        kind = f"application/x-{service}-advertisement"
        return Response(refs, media_type=kind, headers=_UNCACHED)

    async def upload(self, request: Request) -> Response:
        return await self._exchange(request, "git-upload-pack")

    async def receive(self, request: Request) -> Response:
        return await self._exchange(request, "git-receive-pack")

    async def _exchange(self, request: Request, service: str) -> Response:
        denied = self._denied(request, service)
        if denied is not None:
            return denied
        body = await request.body()
        if request.headers.get("content-encoding", "") in {"gzip", "x-gzip"}:
            body = await run_in_threadpool(gzip.decompress, body)
        version = request.headers.get("git-protocol", "")
        if service == "git-receive-pack":
            reply = await run_in_threadpool(self._push, request, body, version)
        else:
            command = (*_command(service), str(self._path(request)))
            reply = await run_in_threadpool(_git, command, body, version)
        kind = f"application/x-{service}-result"
        return Response(reply, media_type=kind, headers=_UNCACHED)

    def _push(self, request: Request, body: bytes, version: str) -> bytes:
        repo, path = _repo(request), self._path(request)
        pusher.set(_token(request))
        with self._locks[repo]:
            before = _refs(path)
            reply = _git((*_command("git-receive-pack"), str(path)), body, version)
            updates = _changes(before, _refs(path))
            reason = self._refuse(repo, updates) if updates else None
            if reason is not None:
                _undo(path, updates)
                return _rejection([update.ref for update in updates], reason)
            if updates:
                self._pushed(repo, updates)
        return reply

    def _denied(self, request: Request, service: str) -> Response | None:
        repo = _repo(request)
        access = self._authorize(repo, _token(request), service == "git-receive-pack")
        if access is Access.GRANTED and not self._path(request).is_dir():
            access = Access.NOT_FOUND
        if access is Access.GRANTED:
            return None
        status, text = _DENIALS[access]
        asks = {"WWW-Authenticate": 'Basic realm="GitHub"'} if status == 401 else {}  # noqa: PLR2004  # HTTP's own number
        return PlainTextResponse(text + "\n", status, headers=asks)

    def _path(self, request: Request) -> Path:
        return self._root / f"{_repo(request)}.git"


def _repo(request: Request) -> str:
    owner, name = request.path_params["owner"], request.path_params["name"]
    plain = all(_NAME.fullmatch(part) and part.strip(".") for part in (owner, name))
    return f"{owner}/{name}" if plain else "-/-"  # a name that no repository has


def _token(request: Request) -> str | None:
    """Return the password of Basic authentication, or the text of a bearer header."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() in {"bearer", "token"}:
        return value.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password or user or None


def _command(service: str) -> tuple[str, ...]:
    settings = (
        "safe.directory=*",
        "uploadpack.allowAnySHA1InWant=true",
        "uploadpack.allowFilter=true",
        "receive.fsckObjects=true",
        "receive.denyDeleteCurrent=ignore",
        "receive.hideRefs=refs/pull",  # read-only at GitHub too
        "receive.autogc=false",
    )
    flags = [part for setting in settings for part in ("-c", setting)]
    return (*flags, service.removeprefix("git-"), "--stateless-rpc")


def _git(command: Sequence[str], body: bytes, version: str = "") -> bytes:
    environment = {
        "PATH": os.defpath,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_PROTOCOL": version,
    }
    program = shutil.which("git") or "git"
    ended = subprocess.run(  # noqa: S603  # fixed words, no shell
        [program, *command], input=body, capture_output=True, env=environment, check=False
    )
    return ended.stdout  # upload-pack and receive-pack tell the client what went wrong in there


def _local(path: Path, *words: str, body: str = "") -> str:
    return _git(("-c", "safe.directory=*", f"--git-dir={path}", *words), body.encode()).decode()


def _refs(path: Path) -> dict[str, str]:
    lines = _local(path, "for-each-ref", "--format=%(objectname) %(refname)").splitlines()
    return {ref: sha for sha, _, ref in (line.partition(" ") for line in lines)}


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[RefUpdate]:
    names = sorted(before.keys() | after.keys())
    pairs = [(ref, before.get(ref, ZERO), after.get(ref, ZERO)) for ref in names]
    return [RefUpdate(ref, old, new) for ref, old, new in pairs if old != new]


def _undo(path: Path, updates: Sequence[RefUpdate]) -> None:
    steps = "".join(f"update {u.ref} {u.old} {u.new}\n" for u in updates)
    _local(path, "update-ref", "--stdin", body=steps)


def _packet(data: bytes) -> bytes:
    return f"{len(data) + 4:04x}".encode() + data


def _rejection(refs: Sequence[str], reason: str) -> bytes:
    """Return the report that refuses every ref, in side band 1, as every git since 1.7 asks."""
    line = " ".join(reason.split())
    report = _packet(b"unpack ok\n") + b"".join(
        _packet(f"ng {ref} {line}\n".encode()) for ref in refs
    )
    data = report + b"0000"
    chunks = [data[at : at + _SIDE_BAND] for at in range(0, len(data), _SIDE_BAND)]
    return b"".join(_packet(b"\x01" + chunk) for chunk in chunks) + b"0000"
