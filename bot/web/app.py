"""The web application: the webhook endpoint in front, Starlette's router for the rest.

/healthz   the process answers
/readyz    it can do its work: every check passed in gives no reason against it
/metrics   for Prometheus
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from bot.web.webhooks import PATH, Webhooks

HealthCheck = Callable[[], str]  # why this part is not ready, or nothing; may block
CHECK_DEADLINE_S = 5.0


class Application:
    """The ASGI application."""

    def __init__(self, webhooks: Webhooks, rest: ASGIApp) -> None:
        self._webhooks = webhooks
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand webhooks to their endpoint and everything else to the router."""
        if scope["type"] == "http" and scope["path"] == PATH:
            await self._webhooks(scope, receive, send)
        else:
            await self._rest(scope, receive, send)


def application(
    webhooks: Webhooks,
    *,
    health: Mapping[str, HealthCheck],
    metrics: Callable[[], tuple[bytes, str]],
    lifespan: Lifespan[Starlette] | None = None,
    routes: Sequence[BaseRoute] = (),
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
    return Application(webhooks, Starlette(routes=[*ours, *routes], lifespan=lifespan))


async def _reason(check: HealthCheck) -> str:
    try:
        return await asyncio.wait_for(asyncio.to_thread(check), CHECK_DEADLINE_S)
    except TimeoutError:
        return f"no answer within {CHECK_DEADLINE_S:.0f} s"
