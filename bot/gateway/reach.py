"""Asks an endpoint the cheapest question there is: which models it has.

That tells whether it is there, speaks JSON and takes the key, and costs nothing. An endpoint need
not have such a list; one that says so in JSON was reached.
"""

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx
import msgspec

from bot.domain.answers import Ending
from bot.domain.chat import Failed
from bot.domain.models import Api
from bot.domain.values import Secret
from bot.gateway import apis, replies, upstream
from bot.gateway.events import unspoken

PATIENCE_S = 15.0
_MOST_BYTES = 4 * 1024 * 1024  # of a list of models
_WHOLE = {Api.ANTHROPIC: "?limit=1000", Api.GEMINI: "?pageSize=1000"}  # lists that come in pages
_NO_LIST = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}


@dataclass(frozen=True, slots=True)
class Reached:
    """How it went: `ending` is None when the endpoint answered as it should.

    `models` are those that it listed, None where it has no list.
    """

    seconds: float
    detail: str = ""
    ending: Ending | None = None
    models: tuple[str, ...] | None = None


def reach(
    api: Api, base_url: str, key: Secret | None, *, patience_s: float = PATIENCE_S
) -> Reached:
    """Ask the endpoint for its models; every failure is a value, and none holds the key."""
    host, began = upstream.host(base_url), time.monotonic()
    where, headers = apis.models(api, base_url, key)
    headers["accept"] = "application/json"
    try:
        with (
            httpx.Client(verify=upstream.tls(), timeout=patience_s) as client,
            client.stream("GET", where + _WHOLE.get(api, ""), headers=headers) as response,
        ):
            body = _capped(response)
    except (*upstream.FAULTS, OSError) as error:
        failed = _broken(error, host, patience_s)
        return Reached(time.monotonic() - began, failed.detail, failed.ending)
    seconds = time.monotonic() - began
    if body is None:
        return Reached(seconds, f"{host} sends more than a list of models", Ending.INVALID)
    found = _read(response, body)
    if isinstance(found, Failed):
        return Reached(seconds, unspoken(f"{host}: {found.detail}", key), found.ending)
    detail = f"{host} has no list of models" if found is None else f"{host} lists {len(found)}"
    return Reached(seconds, detail, models=found)


def _capped(response: httpx.Response) -> bytes | None:
    received = bytearray()
    for chunk in response.iter_bytes():
        received += chunk
        if len(received) > _MOST_BYTES:
            return None
    return bytes(received)


def _read(response: httpx.Response, body: bytes) -> tuple[str, ...] | Failed | None:
    """Return the names of the models, None where there is no list, or what is wrong."""
    try:
        reply = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        reply = None
    if response.is_success or response.status_code in _NO_LIST:
        if not isinstance(reply, dict | list):
            page = body.lstrip()[:1] == b"<"
            what = "a web page" if page else "no JSON"
            status = f"{response.status_code} with {what}"
            return Failed(Ending.INVALID, f"the endpoint answered {status}; check base_url")
        return tuple(_names(reply)) if response.is_success else None
    if response.is_redirect:
        return Failed(Ending.INVALID, f"the endpoint redirects to {_target(response)}")
    return replies.refused(response.status_code, response.headers, body)


def _target(response: httpx.Response) -> str:
    return upstream.host(response.headers.get("location", "")) + "; check base_url"


def _names(reply: Any) -> Iterator[str]:
    """Yield the models of a list as OpenAI and Anthropic (`data`) or Gemini (`models`) write it."""
    rows = reply.get("data") or reply.get("models") if isinstance(reply, dict) else reply
    for row in rows if isinstance(rows, list) else ():
        name = (row.get("id") or row.get("name")) if isinstance(row, dict) else row
        if isinstance(name, str):
            yield name.removeprefix("models/")


def _broken(error: Exception, host: str, patience_s: float) -> Failed:
    """Say what kept a call from arriving, as far as the causes tell."""
    for cause in _causes(error):
        match cause:
            case socket.gaierror():
                return Failed(Ending.NETWORK, f"the name {host} is not known to DNS")
            case ssl.SSLCertVerificationError():
                why = f"the certificate of {host} is not trusted: {cause.verify_message}"
                return Failed(Ending.NETWORK, f"TLS: {why}")
            case ssl.SSLError():
                why = f"{host} does not speak TLS as it should ({cause.reason or 'no reason'})"
                return Failed(Ending.NETWORK, f"TLS: {why}")
            case ConnectionRefusedError():
                return Failed(Ending.NETWORK, f"nothing listens at {host}: connection refused")
            case _:
                continue
    return upstream.fault(error, host, patience_s)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
