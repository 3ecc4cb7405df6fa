"""POST /webhooks/github: check, store, answer; nothing else happens in the request.

This is plain ASGI, without request objects: it stands in front of the router because every
microsecond here is paid per delivery. The order of the checks is the order of their cost, and the
signature is checked before anything in the body or the unsigned headers is believed.

    405 not a POST          415 not JSON           413 over 25 MB       408 too slow
    401 not signed by us    400 no sense           503 not stored: send it again
    202 stored (or known already, or an event that we do not use)

GitHub shows the answer's text to whoever looks at the delivery, so it says what is wrong.
"""

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Protocol, cast

import structlog
from starlette.types import Message, Receive, Scope, Send

from bot.domain.errors import BotError, Broken, ConfigError, TryLater
from bot.domain.ports import Clock, Delivery, Telemetry
from bot.domain.values import Secret
from bot.web.envelopes import ENVELOPES, action
from bot.web.refusals import Refusals
from bot.web.signature import genuine
from handlers.payloads import OWN_PREFIX

PATH = "/webhooks/github"
MAX_BODY_BYTES = 25 * 2**20  # GitHub sends no more
MAX_HELD_BYTES = 8 * MAX_BODY_BYTES  # of bodies that arrive in pieces, all requests together
READ_DEADLINE_S = 10.0  # GitHub itself gives up after ten seconds
LINGER_S = 2.0
MEND_S = 60.0  # what a person needs at the least
GUID = re.compile(rb"[A-Za-z0-9-]{1,64}")
EVENT = re.compile(rb"[a-z0-9_]{1,64}")
OWN = OWN_PREFIX.encode()

log = structlog.get_logger("regreen")


class Inbox(Protocol):
    """Where deliveries go: what the calls return is done once it is durable, or a `BotError`."""

    def put(self, delivery: Delivery) -> Awaitable[None]: ...
    def keep_malformed(self, delivery: Delivery) -> Awaitable[None]: ...


class Refused(Exception):
    """The request gets this status and text, and `outcome` is counted."""

    def __init__(
        self, status: int, outcome: str, text: str, *headers: tuple[bytes, bytes], unread: bool
    ) -> None:
        super().__init__(text)
        self.status = status
        self.outcome = outcome
        self.text = text
        self.headers = headers
        self.unread = unread


class Webhooks:
    """The endpoint, as an ASGI application."""

    def __init__(
        self,
        inbox: Inbox,
        *,
        secrets: Sequence[Secret],
        clock: Clock,
        telemetry: Telemetry,
        refusals: Refusals | None = None,
        read_deadline_s: float = READ_DEADLINE_S,
    ) -> None:
        self._secrets = tuple(secret.reveal().encode() for secret in secrets)
        if not self._secrets or not all(self._secrets):
            raise ConfigError("REGREEN_WEBHOOK_SECRET is missing or empty")
        self._inbox = inbox
        self._clock = clock
        self._telemetry = telemetry
        self._refusals = refusals
        self._read_deadline_s = read_deadline_s
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        event = headers.get(b"x-github-event", b"").decode("latin-1")
        try:
            _check_head(scope["method"], headers)
            body = await self._body(receive)
            if body is None:
                return
            text = await self._accept(headers, body)
        except Refused as refused:
            self._count(event, refused.outcome)
            await _refuse(refused, receive, send)
            await self._audited(event, refused)
            return
        self._count(event, text or "accepted")
        await _answer(send, 202, text)
        self._telemetry.took("intake", timedelta(seconds=time.perf_counter() - began))

    async def _audited(self, event: str, refused: Refused) -> None:
        if self._refusals is not None and refused.outcome != "unavailable":
            detail = {"event": event, "reason": refused.text}
            await self._refusals.note("delivery.refused", PATH, refused.outcome, detail)

    async def _accept(self, headers: dict[bytes, bytes], body: bytes) -> str:
        """Store the delivery and return what is answered, or raise `Refused`."""
        if not genuine(self._secrets, body, headers[b"x-hub-signature-256"]):
            raise Refused(401, "unsigned", "the signature does not match", unread=False)
        event, guid = _names(headers)
        if event not in ENVELOPES:
            return "ignored"
        received_at = self._clock.now()
        try:
            named = action(event, body)
        except Broken as error:
            await self._keep(Delivery(guid, event, "", body, received_at))
            text = f"this is not a {event} event: {error}"
            raise Refused(400, "malformed", text, unread=False) from error
        try:
            await self._inbox.put(Delivery(guid, event, named, body, received_at))
        except BotError as error:
            raise _unstored(error) from error
        return ""  # the status says it, and a body would cost another system call

    async def _keep(self, delivery: Delivery) -> None:
        try:
            await self._inbox.keep_malformed(delivery)
        except BotError as error:
            raise _unstored(error) from error

    async def _body(self, receive: Receive) -> bytes | None:
        """Return the whole body, or None when the client went away."""
        message = _at_once(receive)
        if message is not None and not message.get("more_body", False):
            return _whole(message)
        try:
            async with asyncio.timeout(self._read_deadline_s):
                return await self._pieces(message or await receive(), receive)
        except TimeoutError as error:
            raise Refused(408, "slow", "the body came too slowly", unread=True) from error

    async def _pieces(self, message: Message, receive: Receive) -> bytes | None:
        pieces: list[bytes] = []
        size = 0
        try:
            while message["type"] == "http.request":
                piece = message.get("body", b"")
                pieces.append(piece)
                size += len(piece)
                self._held_bytes += len(piece)
                if size > MAX_BODY_BYTES:
                    raise _too_large()
                if self._held_bytes > MAX_HELD_BYTES:
                    raise _unavailable(5.0, unread=True)
                if not message.get("more_body", False):
                    return b"".join(pieces)
                message = await receive()
            return None
        finally:
            self._held_bytes -= size

    def _count(self, event: str, outcome: str) -> None:
        # A name of the sender's making must not become a label: there is no end to those.
        known = event if event in ENVELOPES else "other"
        self._telemetry.event("delivery", event=known, outcome=outcome)


def _check_head(method: str, headers: dict[bytes, bytes]) -> None:
    """Refuse what the head alone shows to be useless, before the body is read."""
    if method != "POST":
        raise Refused(405, "wrong_method", "only POST", (b"allow", b"POST"), unread=True)
    if not _is_json(headers.get(b"content-type", b"")):
        text = "the content type must be application/json: choose it in the webhook's settings"
        raise Refused(415, "wrong_type", text, unread=True)
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        raise _too_large()
    if b"x-hub-signature-256" not in headers:
        text = "X-Hub-Signature-256 is missing: set the webhook's secret"
        raise Refused(401, "unsigned", text, unread=True)


def _is_json(content_type: bytes) -> bool:
    if content_type == b"application/json":
        return True
    kind, _, parameters = content_type.lower().partition(b";")
    charset = parameters.replace(b" ", b"").replace(b'"', b"")
    return kind.strip() == b"application/json" and charset in (b"", b"charset=utf-8")


def _names(headers: dict[bytes, bytes]) -> tuple[str, str]:
    """Return the event and the GUID from their headers.

    An event of our own would be taken at its word, whose word it is included: a signature by the
    webhook's secret is not enough for that.
    """
    event = headers.get(b"x-github-event", b"")
    guid = headers.get(b"x-github-delivery", b"")
    if event.startswith(OWN):
        text = "events of this name come from our own interface, never from GitHub"
        raise Refused(400, "malformed", text, unread=False)
    if not EVENT.fullmatch(event):
        raise Refused(400, "malformed", "X-GitHub-Event is missing or odd", unread=False)
    if not GUID.fullmatch(guid):
        raise Refused(400, "malformed", "X-GitHub-Delivery is missing or odd", unread=False)
    return event.decode(), guid.decode()


def _at_once(receive: Receive) -> Message | None:
    """Return the message that is there already, or None; asking and closing takes nothing away.

    Most bodies have arrived with their heads. They need no deadline, and a timer for each request
    would cost more than all the other checks of its head.
    """
    asked = receive().__await__()
    try:
        next(asked)
    except StopIteration as there:
        return cast("Message", there.value)
    asked.close()
    return None


def _whole(message: Message) -> bytes | None:
    if message["type"] != "http.request":
        return None
    body: bytes = message.get("body", b"")
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    return body


def _too_large() -> Refused:
    return Refused(413, "too_large", "the body is over 25 MB", unread=True)


def _unavailable(after_s: float, *, unread: bool = False) -> Refused:
    retry = (b"retry-after", str(max(1, math.ceil(after_s))).encode())
    text = "the delivery could not be stored: send it again later"
    return Refused(503, "unavailable", text, retry, unread=unread)


def _unstored(error: BotError) -> Refused:
    """Return the answer to a store that fails, whoever must mend it; the log says why."""
    log.error("the delivery could not be stored", reason=str(error))
    return _unavailable(error.after_s if isinstance(error, TryLater) else MEND_S)


async def _refuse(refused: Refused, receive: Receive, send: Send) -> None:
    """Answer; where the body is still on its way, read it to nowhere for a moment, then close.

    Closing at once would reset the connection, and the client would never see the answer.
    """
    if not refused.unread:
        await _answer(send, refused.status, refused.text, refused.headers)
        return
    headers = (*refused.headers, (b"connection", b"close"))
    await _answer(send, refused.status, refused.text, headers, more=True)
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            message = await receive()
            while message["type"] == "http.request" and message.get("more_body", False):
                message = await receive()
    await send({"type": "http.response.body", "body": b""})


async def _answer(
    send: Send,
    status: int,
    text: str,
    headers: Sequence[tuple[bytes, bytes]] = (),
    *,
    more: bool = False,
) -> None:
    body = f"{text}\n".encode() if text else b""
    head = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": more})
