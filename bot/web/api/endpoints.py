"""What all calls of the interface share: the token, a body that fits, JSON both ways.

Without the token nothing is told, not even whether what the address names exists. Every answer is
JSON; one that is no success has `error`, a sentence for who can mend it. What is asked of us is
stored in the inbox, as webhooks are: web and worker may be processes apart.
"""

import hmac
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, TypeVar
from uuid import uuid4

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from bot.domain.errors import BotError, TryLater
from bot.domain.events import GateAnswered, RetryAsked
from bot.domain.ports import Clock, Delivery
from bot.domain.values import Secret
from bot.web.webhooks import Inbox
from handlers import payloads

SMALL_BODY = 64 << 10  # bytes; enough for a few words
MEND_S = 60.0  # what a person needs at the least

# What a person's login may look like. Never `name[bot]`: a bot's word counts for nothing.
Login = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z")]

Shape = TypeVar("Shape")
log = structlog.get_logger("regreen")


class Refused(Exception):
    """The call gets this status, the sentence as `error`, and *more* beside it."""

    def __init__(self, status: int, why: str, **more: str) -> None:
        super().__init__(why)
        self.status = status
        self.told = {"error": why, **more}


@dataclass(frozen=True, slots=True)
class Call:
    """A call by someone who bears the token; `names` are those in its address.

    `query` is what follows the address, `headers` are by lower-case name.
    """

    names: Mapping[str, str]
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """An answer with headers of its own."""

    body: object
    headers: Mapping[str, str]


Answer = Callable[[Call], Awaitable[object]]


def endpoint(
    path: str,
    answer: Answer,
    *,
    token: Secret,
    method: str,
    status: int = 200,
    max_body: int = SMALL_BODY,
) -> Route:
    """Return the route at which *answer* is given, as JSON with *status*, to who bears *token*."""
    expected = f"Bearer {token.reveal()}".encode()

    async def call(request: Request) -> Response:
        given = request.headers.get("authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, expected):
            why = "send the API token as: Authorization: Bearer TOKEN"
            return _json(401, {"error": why}, {"www-authenticate": "Bearer"})
        try:
            body = await _body(request, max_body)
            told = await answer(
                Call(request.path_params, body, request.query_params, request.headers)
            )
            if isinstance(told, Told):
                return _json(status, told.body, told.headers)
            return _json(status, told)
        except Refused as refused:
            return _json(refused.status, refused.told)
        except ClientDisconnect:
            return _json(400, {"error": "the body ended too early"})
        except BotError as error:
            log.warning("api_failed", path=request.url.path, reason=str(error))
            after_s = error.after_s if isinstance(error, TryLater) else MEND_S
            headers = {"retry-after": str(max(1, math.ceil(after_s)))}
            return _json(503, {"error": "the store does not answer: try again later"}, headers)

    return Route(path, call, methods=[method])


def read(body: bytes, shape: type[Shape], *, example: str = "") -> Shape:
    """Return what *body* says; raise `Refused` with 400 when it is not JSON of this shape."""
    hint = f"; it must look like {example}" if example else ""
    if not body.strip():
        raise Refused(400, f"the body is empty{hint or '; it must be JSON'}")
    try:
        return msgspec.json.decode(body, type=shape)
    except RecursionError as error:
        raise Refused(400, "the body does not fit: it is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, f"the body does not fit: {error}{hint}") from error


async def hand_over(event: GateAnswered | RetryAsked, inbox: Inbox, clock: Clock) -> None:
    """Return once what was asked for is durable; raise `BotError` when it could not be stored."""
    name, body = payloads.own(event)
    await inbox.put(Delivery(str(uuid4()), name, "", body, clock.now()))
    log.info("api_accepted", event_name=name, pull=str(event.pull), by=event.by)


async def _body(request: Request, limit: int) -> bytes:
    """Return the whole body; what is too much is not read."""
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > limit:
            shown = f"{limit >> 20} MB" if limit >> 20 else f"{limit >> 10} KB"
            raise Refused(413, f"the body is larger than {shown}")
    return bytes(received)


def _json(status: int, told: object, headers: Mapping[str, str] | None = None) -> Response:
    content = msgspec.json.encode(told)
    return Response(content, status, headers, media_type="application/json")
