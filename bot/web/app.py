"""The web application: the webhook endpoint in front, Starlette's router for the rest.

/healthz   the process answers
/readyz    it can do its work: every check passed in gives no reason against it
/metrics   for Prometheus

There is no page for a browser and no cookie. Every answer says so in its headers all the same, and
nothing is ever redirected.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from bot.web.refusals import Refusals
from bot.web.webhooks import PATH, Webhooks

HealthCheck = Callable[[], str]  # why this part is not ready, or nothing; may block
CHECK_DEADLINE_S = 5.0
UNAUTHORIZED = 401
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


class Application:
    """The ASGI application."""

    def __init__(
        self, webhooks: Webhooks, rest: Starlette, refusals: Refusals | None = None
    ) -> None:
        self._webhooks = webhooks
        self._rest: ASGIApp = rest
        self._refusals = refusals
        self.routes = tuple(rest.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand webhooks to their endpoint and everything else to the router."""
        if scope["type"] == "http" and scope["path"] == PATH:
            await self._webhooks(scope, receive, send)
        elif scope["type"] == "http":
            await self._dressed(scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    async def _dressed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with our headers; a call without the token is an audit event."""
        status = 0

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        await self._rest(scope, receive, dressed)
        if status == UNAUTHORIZED and self._refusals is not None:
            detail = {"path": scope["path"], "method": scope["method"]}
            await self._refusals.note("api.refused", "/api", "unauthorized", detail)


def application(
    webhooks: Webhooks,
    *,
    health: Mapping[str, HealthCheck],
    metrics: Callable[[], tuple[bytes, str]],
    lifespan: Lifespan[Starlette] | None = None,
    routes: Sequence[BaseRoute] = (),
    refusals: Refusals | None = None,
) -> Application:
    """Put the application together; *metrics* renders a page and its content type."""

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        reasons = await asyncio.gather(*(_reason(check) for check in health.values()))
        checks = {name: reason or "ok" for name, reason in zip(health, reasons, strict=True)}
        ready = not any(reasons)
        return JSONResponse({"ready": ready, "checks": checks}, status_code=200 if ready else 503)

    async def metrics_page(_request: Request) -> Response:
        page, content_type = await asyncio.to_thread(metrics)
        return Response(page, headers={"content-type": content_type})

    ours = [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics_page),
    ]
    rest = Starlette(routes=[*ours, *routes], lifespan=lifespan)
    rest.router.redirect_slashes = False  # it would redirect to whatever host was asked for
    return Application(webhooks, rest, refusals)


async def _reason(check: HealthCheck) -> str:
    try:
        return await asyncio.wait_for(asyncio.to_thread(check), CHECK_DEADLINE_S)
    except TimeoutError:
        return f"no answer within {CHECK_DEADLINE_S:.0f} s"
