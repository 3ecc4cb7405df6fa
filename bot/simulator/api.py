"""Puts the addresses together: REST at the root and under `/api/v3`, git, log links, control.

The order of the table decides: an address with a free path inside comes after those that end in
a word of their own.
"""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.simulator import (
    auth,
    control,
    pulls,
    rest_actions,
    rest_app,
    rest_checks,
    rest_pulls,
    rest_repos,
)
from bot.simulator.clock import now
from bot.simulator.faults import Faults
from bot.simulator.git import Access, RefUpdate, git_app, pusher
from bot.simulator.hub import Hub
from bot.simulator.problems import Problem
from bot.simulator.repos import NO_SHA
from bot.simulator.rest import route
from bot.simulator.state import EffectRecord

ENTERPRISE = "/api/v3"
Wrap = Callable[[ASGIApp], ASGIApp]
_GIT = re.compile(r"/[^/]+/[^/]+\.git/(info/refs|git-upload-pack|git-receive-pack)$")
OPERATIONS = (
    *rest_app.OPERATIONS,
    *rest_pulls.OPERATIONS,
    *rest_checks.OPERATIONS,
    *rest_actions.OPERATIONS,
    *rest_repos.OPERATIONS,
    *rest_repos.LAST,
)
_CODE = auth.Need(("contents",))
_PUSH = auth.Need(("contents",), "write", person="write")


def rest_application(hub: Hub) -> Starlette:
    """Build the application that answers REST, `/_logs` and errors."""
    operations: list[BaseRoute] = [route(hub, operation) for operation in OPERATIONS]
    links = Route("/_logs/{key}", _log_link(hub))
    handlers = {404: _no_such_operation, 405: _no_such_operation}
    return Starlette(
        routes=[links, Mount(ENTERPRISE, routes=operations), *operations],
        exception_handlers=handlers,  # type: ignore[arg-type]  # narrower than Exception on purpose
    )


async def _no_such_operation(_request: Request, _error: HTTPException) -> Response:
    return JSONResponse(Problem(404, "Not Found").body(), 404)


def _log_link(hub: Hub) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        link = hub.state.links.get(request.path_params["key"])
        if link is None:
            return PlainTextResponse("The specified resource does not exist.", 404)
        if "authorization" in request.headers:  # a signed link refuses a second way to sign
            return PlainTextResponse("InvalidAuthenticationInfo", 400)
        if link.expires_at <= now():
            return PlainTextResponse("AuthenticationFailed: the signature has expired.", 403)
        return Response(link.log, media_type="text/plain; charset=utf-8")

    return endpoint


def git_application(hub: Hub, root: Path) -> ASGIApp:
    """Build the application that answers git, with the same tokens and permissions as REST."""
    state = hub.state

    def authorize(full_name: str, token: str | None, write: bool) -> Access:  # noqa: FBT001 - git.py's signature
        with state.lock:
            repo = state.repos.get(full_name)
            try:
                who = auth.identify(hub, token)
                if repo is None:
                    return Access.NOT_FOUND if who is not None else Access.UNAUTHORIZED
                auth.permit(hub, who, repo, _PUSH if write else _CODE)
            except Problem as problem:
                return _refusal(problem, token)
        return Access.GRANTED

    def refuse(full_name: str, updates: list[RefUpdate]) -> str | None:
        token = state.tokens.get(pusher.get() or "")
        if token is None or auth.allows(token, "workflows", "write"):
            return None
        return _workflow_refusal(hub, full_name, updates)

    def pushed(full_name: str, updates: list[RefUpdate]) -> None:
        with state.lock:
            text = pusher.get()
            if text in state.tokens:  # were it to expire just now, the push has still happened
                by = hub.app.bot
                state.effects += [
                    EffectRecord("PUSH", f"/{full_name}/{u.ref}", 200, now()) for u in updates
                ]
            else:
                by = auth.actor(hub, auth.identify(hub, text))
            pulls.pushed(hub, state.repos[full_name], updates, by)

    return git_app(root, authorize, pushed, refuse)


def _refusal(problem: Problem, token: str | None) -> Access:
    if problem.status == 401 or token is None:  # noqa: PLR2004 - HTTP's own number
        return Access.UNAUTHORIZED
    return Access.FORBIDDEN if problem.status == 403 else Access.NOT_FOUND  # noqa: PLR2004


def _workflow_refusal(hub: Hub, full_name: str, updates: list[RefUpdate]) -> str | None:
    git = hub.state.repos[full_name].git
    moved = {update.ref for update in updates}
    known = [sha for ref, sha in git.refs().items() if ref not in moved]
    known += [update.old for update in updates if update.old != NO_SHA]
    for update in updates:
        touched = set() if update.new == NO_SHA else git.paths_pushed(update.new, known)
        for path in sorted(touched):
            if path.startswith(".github/workflows/"):
                return (
                    f"refusing to allow a GitHub App to create or update workflow `{path}` "
                    "without `workflows` permission"
                )
    return None


class Door:
    """Sends each request to git, to the control addresses or to REST, with trouble in front."""

    def __init__(self, hub: Hub, root: Path, wrap: Wrap | None) -> None:
        rest: ASGIApp = rest_application(hub)
        self.faults = Faults(self._inside)
        self._rest = rest if wrap is None else wrap(rest)
        self._git = git_application(hub, root)
        self._control = Starlette(routes=control.routes(hub, self.faults))

    async def _inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path.startswith("/_sim/"):
            await self._control(scope, receive, send)
        elif _GIT.match(path):
            await self._git(scope, receive, send)
        else:
            await self._rest(scope, receive, send)
