"""How calls leave for a vendor, and what it means when they do not arrive."""

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from bot.domain.answers import Ending
from bot.domain.chat import Failed
from bot.gateway.gather import Gathering

CONNECT_S = 15.0
_KEEP_S = 30.0  # an idle connection; vendors close them after a minute or more
FAULTS = (TimeoutError, httpx.HTTPError, httpx.InvalidURL, UnicodeError)
UNSENT = (  # those after which the vendor has surely nothing to do
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.InvalidURL,
    httpx.LocalProtocolError,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    UnicodeError,
)
_LOWER = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)


@cache
def tls() -> ssl.SSLContext:
    """Return what this machine trusts; reading its certificates takes long, so it is done once."""
    return ssl.create_default_context()


class Upstream:
    """Carries requests to vendors over connections that are kept.

    A client without a client's comforts, each of which would be a fault here: it follows no
    redirect, since a key must not go where a reply says; it keeps no cookie, since the next request
    is another pull request's; it adds no header. `silence_s` bounds each wait for the next bytes.
    """

    def __init__(self, silence_s: float) -> None:
        patience = {"read": silence_s, "write": silence_s, "pool": silence_s}
        self._extensions = {"timeout": {**patience, "connect": CONNECT_S}}
        self._pools: dict[str | None, httpcore.AsyncConnectionPool] = {}

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> httpx.Response:
        """Send a request and return the reply, of which the body is still to be read."""
        request = httpx.Request(method, url, headers=headers, content=body or None)
        target = request.url
        sent = httpcore.Request(
            method,
            httpcore.URL(
                scheme=target.raw_scheme,
                host=target.raw_host,
                port=target.port,
                target=target.raw_path,
            ),
            headers=request.headers.raw,
            content=body or None,
            extensions=self._extensions,
        )
        with _translated():
            reply = await self._pool(target).handle_async_request(sent)
        return httpx.Response(reply.status, headers=reply.headers, stream=_Body(reply))

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.aclose()

    def _pool(self, url: httpx.URL) -> httpcore.AsyncConnectionPool:
        proxy = proxy_of(url.scheme, url.host)
        if proxy not in self._pools:
            self._pools[proxy] = httpcore.AsyncConnectionPool(
                ssl_context=tls(),
                proxy=_proxy(proxy) if proxy else None,
                max_connections=None,
                max_keepalive_connections=32,
                keepalive_expiry=_KEEP_S,
                network_backend=Gathering(httpcore.AnyIOBackend()),
            )
        return self._pools[proxy]


class _Body(httpx.AsyncByteStream):
    """A reply's body, which breaks with the errors that this program knows."""

    def __init__(self, reply: httpcore.Response) -> None:
        self._reply = reply

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated():
            async for part in self._reply.aiter_stream():
                yield part

    async def aclose(self) -> None:
        with _translated():
            await self._reply.aclose()


@contextmanager
def _translated() -> Iterator[None]:
    """Raise the errors of the lower library as those of the upper one, which names them alike."""
    try:
        yield
    except _LOWER as error:
        kind: type[httpx.TransportError] = getattr(httpx, type(error).__name__)
        raise kind(str(error)) from error


def _proxy(url: str) -> httpcore.Proxy:
    """Return a proxy of the environment; its password may stand in the address."""
    told = httpx.Proxy(url)
    return httpcore.Proxy(
        httpcore.URL(
            scheme=told.url.raw_scheme,
            host=told.url.raw_host,
            port=told.url.port,
            target=told.url.raw_path,
        ),
        auth=told.raw_auth,
        ssl_context=tls() if told.url.scheme == "https" else None,
    )


@cache
def proxy_of(scheme: str, host: str) -> str | None:
    """Return the proxy that this machine's environment names for a host."""
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    return None if proxy is None or proxy_bypass(host) else proxy


def host(url: str) -> str:
    """Return the host of *url* for people; an address may hold a password, so never all of it."""
    try:
        return urlsplit(url).hostname or "an unnamed host"
    except ValueError:
        return "an unnamed host"


def fault(error: Exception, host: str, patience_s: float) -> Failed:
    """Return what one of `FAULTS` means for a call to *host*."""
    match error:
        case httpx.ConnectTimeout():
            return Failed(Ending.NETWORK, f"{host} cannot be reached: the connection timed out")
        case TimeoutError() | httpx.TimeoutException():
            return Failed(Ending.TIMEOUT, f"no answer from {host} within {patience_s:g} s")
        case httpx.InvalidURL() | httpx.UnsupportedProtocol() | UnicodeError():
            # A header cannot carry every character, an address not every text.
            return Failed(Ending.INVALID, f"base_url or api_key is malformed (host: {host})")
        case httpx.LocalProtocolError():
            return Failed(Ending.AUTH, "api_key holds characters that no header may carry")
        case _:
            return Failed(Ending.NETWORK, f"the call to {host} broke: {type(error).__name__}")
