"""The frame of every REST operation: who asks, about which repository, with what, and the answer.

An operation is a plain function from `Call` to JSON or a `Reply`. It runs in a worker thread with
the state's lock held, so operations happen one after another.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.simulator import auth
from bot.simulator.auth import AppItself, Need, Who
from bot.simulator.clock import now
from bot.simulator.hub import Hub
from bot.simulator.problems import Problem, forbidden, invalid, not_found
from bot.simulator.shapes import Shapes
from bot.simulator.state import EffectRecord, Json, Repo, Token, User

PER_PAGE, MOST_PER_PAGE = 30, 100
RATE_LIMIT = 5000
_WRITES = frozenset({"POST", "PATCH", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer other than 200 with JSON; `body` None sends no body."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and permitted."""

    hub: Hub
    who: Who
    found: Repo | None
    params: dict[str, Any]
    query: dict[str, str]
    body: Json
    accept: str
    path: str
    prefix: str

    @property
    def shapes(self) -> Shapes:
        """The builders that write addresses as the caller does."""
        return self.hub.shapes(self.prefix)

    @property
    def repo(self) -> Repo:
        """The repository that the address names."""
        if self.found is None:
            raise not_found()
        return self.found

    @property
    def actor(self) -> User:
        """The account that writes."""
        return auth.actor(self.hub, self.who)

    @property
    def by_app(self) -> bool:
        """Whether the App writes."""
        return isinstance(self.who, Token)

    def text(self, name: str, resource: str) -> str:
        """Return a required text of the body."""
        value = self.body.get(name)
        if not isinstance(value, str) or not value:
            raise invalid(resource, name, f"{name} is missing", "missing_field")
        return value


Handler = Callable[[Call], Any]


class Caller(Enum):
    """Who may call an operation that is not about one repository."""

    ANYONE = "anyone"
    APP = "app"
    INSTALLATION = "installation"
    PERSON = "person"


_KINDS = {
    Caller.ANYONE: object,
    Caller.APP: AppItself,
    Caller.INSTALLATION: Token,
    Caller.PERSON: User,
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table of operations."""

    method: str
    path: str
    handler: Handler
    need: Need | Caller


def route(hub: Hub, operation: Operation) -> Route:
    """Serve one operation."""

    async def endpoint(request: Request) -> Response:
        body = await request.body()
        return await run_in_threadpool(_serve, hub, operation, request, body)

    return Route(operation.path, endpoint, methods=[operation.method])


def _serve(hub: Hub, operation: Operation, request: Request, body: bytes) -> Response:
    with hub.state.lock:
        who: Who = None
        try:
            token = auth.credentials(request.headers.get("authorization", ""))
            who = auth.identify(hub, token)
            answer = operation.handler(_call(hub, operation, request, body, who))
            response = _response(answer)
        except Problem as problem:
            response = JSONResponse(problem.body(), problem.status)
        _note(hub, request, who, response.status_code)
        response.headers.update(_rate_headers(hub, who))
        return response


def _call(hub: Hub, operation: Operation, request: Request, body: bytes, who: Who) -> Call:
    params = dict(request.path_params)
    found = None
    if "owner" in params:
        found = hub.state.repos.get(f"{params['owner']}/{params['repo']}")
        if found is None:
            raise not_found()
    _permit(hub, who, found, operation.need)
    return Call(
        hub=hub,
        who=who,
        found=found,
        params=params,
        query=dict(request.query_params),
        body=_json(body),
        accept=request.headers.get("accept", ""),
        path=request.url.path,
        prefix=request.scope.get("root_path", ""),
    )


def _permit(hub: Hub, who: Who, repo: Repo | None, need: Need | Caller) -> None:
    if isinstance(need, Need):
        if repo is None:
            raise not_found()
        auth.permit(hub, who, repo, need)
    elif need is Caller.APP and not isinstance(who, AppItself):
        raise Problem(401, "A JSON web token could not be decoded")
    elif not isinstance(who, _KINDS[need]):
        raise forbidden() if who is not None else Problem(401, "Requires authentication")


def _json(body: bytes) -> Json:
    if not body.strip():
        return {}
    try:
        value = json.loads(body)
    except ValueError as error:
        raise Problem(400, "Problems parsing JSON") from error
    if isinstance(value, list):  # labels may come as a bare list
        return {"labels": value}
    if not isinstance(value, dict):
        raise Problem(400, "Body should be a JSON object")
    return value


def _response(answer: Any) -> Response:
    reply = answer if isinstance(answer, Reply) else Reply(200, answer)
    if reply.body is None:
        return Response(status_code=reply.status, headers=reply.headers)
    if reply.media_type == "application/json":
        return JSONResponse(reply.body, reply.status, headers=reply.headers)
    return Response(reply.body, reply.status, headers=reply.headers, media_type=reply.media_type)


def _note(hub: Hub, request: Request, who: Who, status: int) -> None:
    """Remember what the App wrote."""
    if request.method in _WRITES and isinstance(who, Token):
        path = request.url.path.removeprefix(request.scope.get("root_path", ""))
        hub.state.effects.append(EffectRecord(request.method, path, status, now()))


def _rate_headers(hub: Hub, who: Who) -> dict[str, str]:
    key = who.text[:24] if isinstance(who, Token) else who.login if isinstance(who, User) else ""
    hub.used[key] = hub.used.get(key, 0) + 1
    return {
        "X-GitHub-Media-Type": "github.v3; format=json",
        "X-RateLimit-Limit": str(RATE_LIMIT),
        "X-RateLimit-Remaining": str(max(RATE_LIMIT - hub.used[key], 0)),
        "X-RateLimit-Used": str(hub.used[key]),
        "X-RateLimit-Reset": str(int((now() + timedelta(hours=1)).timestamp())),
        "X-RateLimit-Resource": "core",
    }


def page(call: Call, rows: Sequence[Any]) -> tuple[list[Any], dict[str, str]]:
    """Return the rows of the page asked for, and the Link header that leads to the others."""
    size = min(max(_number(call, "per_page", PER_PAGE), 1), MOST_PER_PAGE)
    at = max(_number(call, "page", 1), 1)
    last = max((len(rows) + size - 1) // size, 1)
    links = []
    if at < last:
        links += [_link(call, at + 1, "next"), _link(call, last, "last")]
    if at > 1:
        links += [_link(call, 1, "first"), _link(call, at - 1, "prev")]
    headers = {"Link": ", ".join(links)} if links else {}
    return list(rows[(at - 1) * size : at * size]), headers


def listed(call: Call, rows: Sequence[Any], build: Callable[[Any], Json]) -> Reply:
    """Answer one page as a bare list."""
    shown, headers = page(call, rows)
    return Reply(200, [build(row) for row in shown], headers)


def counted(call: Call, rows: Sequence[Any], build: Callable[[Any], Json], name: str) -> Reply:
    """Answer one page under *name*, with the total count."""
    shown, headers = page(call, rows)
    body = {"total_count": len(rows), name: [build(row) for row in shown]}
    return Reply(200, body, headers)


def _number(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, "")
    return int(text) if text.isdigit() else default


def _link(call: Call, number: int, relation: str) -> str:
    query = urlencode({**call.query, "page": number})
    return f'<{call.hub.url}{call.path}?{query}>; rel="{relation}"'
