"""What each family of APIs looks like: its paths, how its key travels, the shape of its errors.

Only these paths lead through the gateway: what an agent may reach with a real key is a list, not
whatever the vendor serves. A path is put together again from what was matched, so what was checked
is what is sent. Errors are the vendor's own, because each agent's command line understands those.

Paths: https://platform.openai.com/docs/api-reference, https://docs.claude.com/en/api,
https://ai.google.dev/api/generate-content. Errors: https://docs.claude.com/en/api/errors,
https://platform.openai.com/docs/guides/error-codes, https://google.aip.dev/193
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from bot.domain.models import Api
from bot.domain.values import Secret

Made = dict[str, Any]


class Dialect(StrEnum):
    """How requests, replies and streams of a path are written."""

    CHAT = "chat"
    RESPONSES = "responses"
    MESSAGES = "messages"
    GENERATE = "generate"


@dataclass(frozen=True, slots=True)
class Route:
    """A path that is let through, as the agent asks for it.

    The pattern's group is what comes below the base URL. `paid` tells whether a call costs money.
    """

    method: str
    path: re.Pattern[str]
    dialect: Dialect
    paid: bool


@dataclass(frozen=True, slots=True)
class Match:
    """A request's way: where it leads below the base URL, and what stands in the path itself."""

    route: Route
    below: str
    model: str = ""
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """Everything that differs from vendor to vendor."""

    routes: tuple[Route, ...]
    key: Callable[[str], tuple[str, str]]
    error: Callable[[int, str], Made]


def _route(method: str, path: str, dialect: Dialect, *, paid: bool = True) -> Route:
    return Route(method, re.compile(path), dialect, paid)


def _openai(status: int, message: str) -> Made:
    codes = {
        401: "invalid_api_key",
        402: "insufficient_quota",
        404: "model_not_found",
        413: "context_length_exceeded",
    }
    code = codes.get(status)
    kind = "invalid_request_error" if code else "server_error"
    kind = code if code == "insufficient_quota" else kind
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _anthropic(status: int, message: str) -> Made:
    kinds = {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        404: "not_found_error",
        413: "request_too_large",
        504: "timeout_error",
    }
    error = {"type": kinds.get(status, "api_error"), "message": message}
    return {"type": "error", "error": error}


def _gemini(status: int, message: str) -> Made:
    kinds = {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        402: "FAILED_PRECONDITION",
        404: "NOT_FOUND",
        413: "INVALID_ARGUMENT",
        504: "DEADLINE_EXCEEDED",
    }
    kind = kinds.get(status, "UNAVAILABLE")
    return {"error": {"code": status, "message": message, "status": kind}}


FAMILIES: Mapping[Api, Family] = {
    # An OpenAI client's base URL ends with the version, so it is no part of what comes below.
    Api.OPENAI: Family(
        (
            _route("POST", r"(?:/v1)?(/chat/completions)", Dialect.CHAT),
            _route("POST", r"(?:/v1)?(/responses)", Dialect.RESPONSES),
            _route("GET", r"(?:/v1)?(/models)", Dialect.CHAT, paid=False),
        ),
        lambda key: ("Authorization", f"Bearer {key}"),
        _openai,
    ),
    Api.ANTHROPIC: Family(
        (
            _route("POST", r"(/v1/messages)", Dialect.MESSAGES),
            _route("POST", r"(/v1/messages/count_tokens)", Dialect.MESSAGES, paid=False),
            _route("GET", r"(/v1/models)", Dialect.MESSAGES, paid=False),
        ),
        lambda key: ("x-api-key", key),
        _anthropic,
    ),
    Api.GEMINI: Family(
        (
            _route(
                "POST",
                r"(/v1(?:beta)?/models/(?P<model>[\w.-]+):(?P<stream>streamG|g)enerateContent)",
                Dialect.GENERATE,
            ),
            _route(
                "POST",
                r"(/v1(?:beta)?/models/(?P<model>[\w.-]+):countTokens)",
                Dialect.GENERATE,
                paid=False,
            ),
            _route("GET", r"(/v1(?:beta)?/models)", Dialect.GENERATE, paid=False),
        ),
        lambda key: ("x-goog-api-key", key),
        _gemini,
    ),
}
# Where each lists its models, and how Anthropic wants to be asked:
# https://platform.openai.com/docs/api-reference/models/list, https://docs.claude.com/en/api/models-list,
# https://docs.claude.com/en/api/versioning, https://ai.google.dev/api/models#method:-models.list
_LISTS = {Api.OPENAI: "/models", Api.ANTHROPIC: "/v1/models", Api.GEMINI: "/v1beta/models"}
_ASKED_WITH = {Api.ANTHROPIC: {"anthropic-version": "2023-06-01"}}
_VERSION = re.compile(r"/v1(?:beta)?$")


def match(api: Api, method: str, path: str) -> Match | None:
    """Return where a request leads, None when it is not let through."""
    for route in FAMILIES[api].routes:
        found = route.path.fullmatch(path) if route.method == method else None
        if found is not None:
            named = found.groupdict()
            model, stream = named.get("model") or "", named.get("stream") == "streamG"
            return Match(route, found[1], model, stream)
    return None


def address(base_url: str, below: str) -> str:
    """Return the upstream URL; a version that ends the base and begins the path stands once."""
    base = base_url.rstrip("/")
    version = _VERSION.search(base)
    if version and below.startswith(f"{version[0]}/"):
        base = base[: version.start()]
    return base + below


def models(api: Api, base_url: str, key: Secret | None) -> tuple[str, dict[str, str]]:
    """Return where an endpoint lists its models, and the headers to ask with."""
    headers = {"accept-encoding": "identity", **_ASKED_WITH.get(api, {})}
    if key is not None:
        name, value = FAMILIES[api].key(key.reveal())
        headers[name] = value
    return address(base_url, _LISTS[api]), headers


def error(api: Api, status: int, message: str) -> bytes:
    """Return an error as the vendor would write it."""
    return msgspec.json.encode(FAMILIES[api].error(status, message))


def last_words(api: Api, dialect: Dialect, status: int, message: str) -> bytes:
    """Return the event that ends a stream with an error."""
    said = FAMILIES[api].error(status, message)
    name = b""
    if dialect is Dialect.MESSAGES:
        name = b"event: error\n"
    elif dialect is Dialect.RESPONSES:
        name = b"event: response.failed\n"
        failed = {"code": said["error"]["code"] or "server_error", "message": message}
        said = {
            "type": "response.failed",
            "response": {"object": "response", "status": "failed", "output": [], "error": failed},
        }
    return name + b"data: " + msgspec.json.encode(said) + b"\n\n"
