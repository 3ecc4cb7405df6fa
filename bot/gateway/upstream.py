"""How calls leave for a vendor, and what it means when they do not arrive."""

import ssl
from collections.abc import Mapping
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from bot.domain.answers import Ending
from bot.domain.chat import Failed

CONNECT_S = 15.0
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
        self._transports: dict[str | None, httpx.AsyncHTTPTransport] = {}

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> httpx.Response:
        """Send a request and return the reply, of which the body is still to be read."""
        request = httpx.Request(
            method, url, headers=headers, content=body or None, extensions=self._extensions
        )
        return await self._transport(request.url).handle_async_request(request)

    async def close(self) -> None:
        """Close all connections."""
        for transport in self._transports.values():
            await transport.aclose()

    def _transport(self, url: httpx.URL) -> httpx.AsyncHTTPTransport:
        proxy = proxy_of(url.scheme, url.host)
        if proxy not in self._transports:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
            transport = httpx.AsyncHTTPTransport(verify=tls(), limits=limits, proxy=proxy)
            self._transports[proxy] = transport
        return self._transports[proxy]


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
