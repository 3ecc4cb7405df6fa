"""How calls leave for a vendor, and what it means when they do not arrive."""

import ssl
from functools import cache
from urllib.parse import urlsplit

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


def client(silence_s: float) -> httpx.AsyncClient:
    """Return a client for every vendor; *silence_s* bounds each wait for the next bytes.

    It follows no redirect: a key must not go where a vendor's reply says.
    """
    return httpx.AsyncClient(
        verify=tls(),
        timeout=httpx.Timeout(silence_s, connect=CONNECT_S),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
        follow_redirects=False,
    )


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
