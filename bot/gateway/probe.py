"""Asks a model's API whether it is there, by its list of models, which costs nothing.

The status says enough, so the list itself is not read. Servers that have no such list answer so,
which shows that they are there. What a limit of requests says is passed on; nothing is concluded
from it. The real key is used, from here: no agent is involved.
"""

import asyncio
from http import HTTPStatus
from typing import Protocol

import httpx

from bot.domain.answers import Ending
from bot.domain.health import Observation
from bot.domain.models import Grant
from bot.gateway import apis, upstream


class Granting(Protocol):
    """Says where a backend's models are, at one of its providers; None where that is unknown."""

    def __call__(self, backend: str, provider: str, *, fallback: bool) -> Grant | None: ...


class HttpProbes:
    """The port `Probes`, over HTTP."""

    def __init__(self, granting: Granting) -> None:
        self._granting = granting

    def probe(
        self, backend: str, provider: str, *, fallback: bool, timeout_s: float
    ) -> Observation | None:
        """Return whether the backend's API is there; None for one without an API."""
        grant = self._granting(backend, provider, fallback=fallback)
        if grant is None:
            return None
        return Observation(asyncio.run(_asked(grant, timeout_s)), probe=True)


async def _asked(grant: Grant, timeout_s: float) -> Ending:
    address, headers = apis.models(grant.api, grant.base_url, grant.key)
    try:
        async with (
            asyncio.timeout(timeout_s),
            httpx.AsyncClient(verify=upstream.tls(), timeout=timeout_s) as client,
            client.stream("GET", address, headers=headers) as response,
        ):
            return _meaning(response.status_code)
    except upstream.FAULTS as error:
        return upstream.fault(error, upstream.host(address), timeout_s).ending


def _meaning(status: int) -> Ending:
    """Return what a status says: only these say that no work can be done."""
    if status == HTTPStatus.UNAUTHORIZED:
        return Ending.AUTH
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Ending.RATE_LIMITED
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
        return Ending.UNAVAILABLE
    return Ending.NO_CHANGE
