"""One grant's proxy: an ASGI application that carries an agent's calls to a vendor and back.

A call is read whole, checked, held back for, sent with the real key, carried back and settled. What
the agent sends reaches the vendor only where it is on a list: paths, headers, query. A stream goes
through event by event as it comes; any other reply is read whole first, since half of one is of
use to nobody. Whatever breaks, the agent gets an answer in its vendor's words, and the call is
settled by what was seen of it.
"""

import asyncio
import time
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

import httpx
import msgspec
from starlette.types import Receive, Scope, Send

from bot.domain.answers import Ending
from bot.domain.chat import Failed
from bot.domain.errors import BotError
from bot.domain.models import NANO, Account, Call, Caps, Grant, Tokens, cost_nano
from bot.domain.ports import Clock
from bot.gateway import apis, asked, replies
from bot.gateway.asked import Asked
from bot.gateway.books import Books
from bot.gateway.events import Events, hidden, unspoken
from bot.gateway.reply import Left, Reply, passed
from bot.gateway.upstream import FAULTS, UNSENT, Upstream, fault, host
from bot.gateway.usage import Meter

_MB = 1024 * 1024
_SHOWN = 300  # characters of a name or a detail that are kept
_TELL_S = 5.0  # an agent that does not even take its error gets none
_QUERY = frozenset({"alt", "api-version", "beta"})
_HEADERS = (
    "anthropic-beta",
    "anthropic-version",
    "conversation",
    "openai-beta",
    "originator",
    "session",
    "user-agent",
    "x-app",
    "x-client-request-id",
    "x-codex-",
    "x-goog-api-client",
    "x-stainless-",
)
# What an agent is answered where there is no vendor's status to pass on. No agent tries a 4xx
# again, which is right where only a person can help.
_STATUSES = {
    Ending.AUTH: 401,
    Ending.INVALID: 424,
    Ending.KILLED: 503,
    Ending.NETWORK: 502,
    Ending.TIMEOUT: 504,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one grant's calls; times are seconds, `silence_s` between two pieces of a reply."""

    request_bytes: int = 16 * _MB
    reply_bytes: int = 64 * _MB
    event_bytes: int = 16 * _MB
    error_bytes: int = 256 * 1024
    silence_s: float = 600.0
    call_s: float = 1_800.0
    calls: int = 16  # at one time; more wait
    connections: int = 64


class _Gone(Exception):
    """The agent hung up before its request was whole."""


class _Refused(Exception):
    """The call ends here; the agent is told with `status`, the witness with `failed`."""

    def __init__(self, status: int, failed: Failed, cap: str = "") -> None:
        self.status = status
        self.failed = failed
        self.cap = cap


@dataclass(slots=True)
class _Seen:
    """What has been seen of a call so far."""

    arrived: float = field(default_factory=time.monotonic)
    meter: Meter = field(default_factory=Meter)
    first_byte_s: float | None = None
    spending: bool = False  # the vendor may be at work on it
    failed: Failed | None = None
    cap: str = ""


class Proxy:
    """Serves one grant; `cut` ends what is under way."""

    def __init__(
        self, grant: Grant, books: Books, upstream: Upstream, clock: Clock, limits: Limits
    ) -> None:
        self._grant = grant
        self._books = books
        self._upstream = upstream
        self._clock = clock
        self._limits = limits
        self._host = host(grant.base_url)
        self._key = grant.key.reveal().encode() if grant.key is not None else b""
        self._room = asyncio.Semaphore(limits.calls)
        self._working: set[asyncio.Task[None]] = set()
        self._open = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        match = apis.match(self._grant.api, scope["method"], scope["path"])
        if match is None:
            nowhere = f"the gateway leads to no {scope['method']} {scope['path'][:_SHOWN]}"
            failed = Failed(Ending.NOT_FOUND, nowhere)
            await _tried(Reply(send, self._grant.api, apis.Dialect.CHAT).fail(404, failed))
            return
        reply = Reply(send, self._grant.api, match.route.dialect)
        async with self._room:
            try:
                body = await _body(scope, receive, self._limits.request_bytes)
            except _Gone:
                return
            if not self._open:  # whoever waited for room comes too late
                await _tried(reply.fail(503, Failed(Ending.KILLED, "the gateway has closed")))
                return
            work = asyncio.create_task(self._answer(match, scope, body, reply))
            self._working.add(work)
            work.add_done_callback(self._working.discard)
            gone = asyncio.create_task(_disconnected(receive))
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            work.cancel()
            await asyncio.wait((work, gone))
            if not work.cancelled():
                work.result()  # so that a fault of ours does not pass in silence

    async def cut(self) -> None:
        """Take no more calls, and end those under way, each with an error for its agent."""
        self._open = False
        working = set(self._working)
        for work in working:
            work.cancel()
        if working:
            await asyncio.wait(working)

    async def _answer(
        self, match: apis.Match, scope: Scope, body: bytes | None, reply: Reply
    ) -> None:
        """See one request through, and note how it ended."""
        seen = _Seen()
        call = self._call(Asked(match, b"", match.model, match.stream, Tokens()))
        try:
            ask = self._read(match, body)
            call = self._call(ask)
            async with asyncio.timeout(self._limits.call_s):
                if match.route.paid:
                    await self._reserve(call)
                await self._carry(ask, scope, reply, seen)
        except _Refused as refused:
            seen.failed, seen.cap = refused.failed, refused.cap
            await _tried(reply.fail(refused.status, refused.failed))
        except TimeoutError:
            words = f"{self._host} did not end within {self._limits.call_s:g} s"
            seen.failed = Failed(Ending.TIMEOUT, words)
            await _tried(reply.fail(_STATUSES[Ending.TIMEOUT], seen.failed))
        except FAULTS as error:
            seen.spending = seen.spending and not isinstance(error, UNSENT)
            seen.failed = fault(error, self._host, self._limits.silence_s)
            await _tried(reply.fail(_STATUSES[seen.failed.ending], seen.failed))
        except (asyncio.CancelledError, Left):
            cut = Failed(Ending.KILLED, "the call was cut off")
            if not seen.meter.finished:  # else the agent had all it wanted
                seen.failed = seen.failed or cut
            await _tried(reply.fail(_STATUSES[Ending.KILLED], cut))
        finally:
            if match.route.paid:
                self._books.end(self._ended(call, seen, reply.status))

    def _call(self, ask: Asked) -> Call:
        """Return the call as it is before it begins: what it may use, and cost."""
        return Call(
            id=uuid4().hex,
            origin=self._grant.origin,
            at=self._clock.now(),
            model=ask.model[:_SHOWN],
            tokens=ask.estimate,
            cost_nano=cost_nano(ask.estimate, self._grant.price_of(ask.model)),
        )

    def _read(self, match: apis.Match, body: bytes | None) -> Asked:
        """Return what is asked for, or refuse it."""
        if body is None:
            words = f"the request is larger than {self._limits.request_bytes} bytes"
            raise _Refused(413, Failed(Ending.CONTEXT_EXCEEDED, words))
        if match.route.method == "GET":
            return Asked(match, b"", "", stream=False, estimate=Tokens())
        try:
            ask = asked.read(match, body)
        except asked.Unreadable as error:
            raise _Refused(400, Failed(Ending.INVALID, str(error))) from error
        if not asked.allowed(ask.model, self._grant.models):
            words = (
                f"the model {ask.model[:_SHOWN]!r} is not among those of this backend (`models`)"
            )
            raise _Refused(404, Failed(Ending.NOT_FOUND, words))
        unpriced = match.route.paid and self._grant.price_of(ask.model) is None
        if unpriced and self._grant.caps != Caps():
            words = (
                f"no price is known for the model {ask.model[:_SHOWN]!r}, and [budget] sets a cap: "
                "name it in [prices]"
            )
            raise _Refused(404, Failed(Ending.NOT_FOUND, words))
        return ask

    async def _reserve(self, call: Call) -> None:
        """Hold the call's cost back, or refuse the call."""
        try:
            full = await self._books.reserve(call)
        except BotError as error:
            words = f"the budget cannot be read now: {error}"
            raise _Refused(503, Failed(Ending.UNAVAILABLE, words)) from error
        if full is not None:
            wait = None if full.until is None else (full.until - call.at).total_seconds()
            failed = Failed(Ending.BUDGET, _full(full, call), retry_after_s=wait)
            raise _Refused(402, failed, cap=f"budget.{full.setting}")

    async def _carry(self, ask: Asked, scope: Scope, reply: Reply, seen: _Seen) -> None:
        """Carry the request to the vendor, and the reply back.

        The agent's last word is the last thing that is waited for: when it asks again, this call
        is being settled already.
        """
        address = apis.address(self._grant.base_url, ask.match.below)
        if query := _query(scope):
            address += f"?{query}"
        seen.spending = ask.match.route.paid
        response = await self._upstream.send(
            ask.match.route.method, address, self._headers(scope), ask.body
        )
        try:
            if not response.is_success:
                seen.spending = False
                await self._refusal(response, reply, seen)
            elif response.headers.get("content-encoding", "identity") != "identity":
                words = f"{self._host} compresses its replies, though it was asked not to"
                raise _Refused(424, Failed(Ending.INVALID, words))
            elif ask.stream and _kind(response) not in {"application/json", "text/html"}:
                await self._stream(response, reply, seen)
            else:
                await self._whole(response, reply, seen)
        finally:
            await response.aclose()

    def _headers(self, scope: Scope) -> dict[str, str]:
        """Return the headers to send: the agent's where they are known to be harmless, our key."""
        kept = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name.decode("latin-1").startswith(_HEADERS) and value.isascii()
        }
        # Uncompressed, so that tokens can be read in passing and nothing small unfolds.
        kept |= {"content-type": "application/json", "accept-encoding": "identity"}
        if self._key:
            name, value = apis.FAMILIES[self._grant.api].key(self._key.decode())
            kept[name] = value
        return kept

    async def _refusal(self, response: httpx.Response, reply: Reply, seen: _Seen) -> None:
        """Pass on a vendor's error, in its own words where it has any."""
        status = response.status_code
        body = hidden(await _beginning(response, self._limits.error_bytes, Meter()), self._key)
        if not response.is_error:
            words = f"{self._host} answered {status} and no reply of a model: check base_url"
            raise _Refused(424, Failed(Ending.INVALID, words))
        seen.failed = replies.refused(status, response.headers, body)
        if not Meter().read(body):  # a page of some proxy on the way
            body = apis.error(self._grant.api, status, seen.failed.detail)
        seen.first_byte_s = time.monotonic() - seen.arrived
        await response.aclose()
        await reply.whole(status, self._passed(response), body)

    async def _whole(self, response: httpx.Response, reply: Reply, seen: _Seen) -> None:
        """Carry back a reply that comes as one JSON text."""
        most = self._limits.reply_bytes
        body = hidden(await _beginning(response, most + 1, seen.meter), self._key)
        if len(body) > most:
            words = f"the reply of {self._host} is larger than {most} bytes"
            raise _Refused(424, Failed(Ending.INVALID, words))
        if not seen.meter.read(body):
            page = body.lstrip()[:1] == b"<"
            what = "a web page" if page else "something else"
            words = f"{self._host} answered with {what} instead of JSON: check base_url"
            seen.spending = not page
            raise _Refused(424, Failed(Ending.INVALID, words))
        seen.failed = seen.meter.failure
        seen.first_byte_s = time.monotonic() - seen.arrived
        await response.aclose()
        await reply.whole(response.status_code, self._passed(response), body)

    async def _stream(self, response: httpx.Response, reply: Reply, seen: _Seen) -> None:
        """Carry back a stream, event by event."""
        await reply.stream(self._passed(response))
        events, limits = Events(self._grant.key), self._limits
        async for chunk in response.aiter_raw():
            whole = events.cut(chunk)
            if whole:
                if seen.first_byte_s is None:
                    seen.first_byte_s = time.monotonic() - seen.arrived
                seen.meter.watch(whole)
                await reply.more(whole)
            if seen.meter.bytes > limits.reply_bytes or events.kept > limits.event_bytes:
                words = f"the stream of {self._host} does not end: it was cut off"
                raise _Refused(424, Failed(Ending.INVALID, words))
        if rest := events.rest():
            seen.meter.watch(rest)
            await reply.more(rest)
        seen.failed = seen.meter.failure
        await response.aclose()
        await reply.end()

    def _passed(self, response: httpx.Response) -> list[tuple[bytes, bytes]]:
        return [(name, hidden(value, self._key)) for name, value in passed(response.headers.raw)]

    def _ended(self, call: Call, seen: _Seen, status: int) -> Call:
        """Return the call as it was in the end; what was never sent used nothing."""
        tokens = seen.meter.tokens(call.tokens) if seen.spending else Tokens()
        failed = seen.failed
        return msgspec.structs.replace(
            call,
            tokens=tokens,
            cost_nano=cost_nano(tokens, self._grant.price_of(call.model)),
            estimated=seen.spending and not seen.meter.complete,
            status=status,
            ending=failed.ending if failed else None,
            detail=unspoken(failed.detail, self._grant.key)[:_SHOWN] if failed else "",
            retry_after_s=failed.retry_after_s if failed else None,
            cap=seen.cap,
            seconds=time.monotonic() - seen.arrived,
            first_byte_s=seen.first_byte_s,
        )


async def _body(scope: Scope, receive: Receive, most: int) -> bytes | None:
    """Return the request's body, None when it is too large."""
    length = next((one for name, one in scope["headers"] if name == b"content-length"), b"0")
    if int(length) > most:
        return None
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > most:
            return None
    return bytes(body)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _beginning(response: httpx.Response, most: int, meter: Meter) -> bytes:
    """Return the reply, or its first *most* bytes and a little more; *meter* sees them come."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        meter.bytes = len(body)
        if len(body) >= most:
            break
    return bytes(body)


async def _tried(telling: Awaitable[None]) -> None:
    """Tell the agent what happened, unless it does not listen."""
    with suppress(TimeoutError, Left):
        async with asyncio.timeout(_TELL_S):
            await telling


def _kind(response: httpx.Response) -> str:
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower()


def _query(scope: Scope) -> str:
    """Return the query's harmless part: an agent's `key` stands there as well."""
    if not scope["query_string"]:
        return ""
    pairs = parse_qsl(scope["query_string"].decode("latin-1"))
    return urlencode([(name, value) for name, value in pairs if name in _QUERY])


def _full(account: Account, call: Call) -> str:
    cap, more = (account.cap_nano or 0) / NANO, (call.cost_nano or 0) / NANO
    anew = (
        "" if account.until is None else f"; it begins anew at {account.until:%Y-%m-%d %H:%M} UTC"
    )
    return (
        f"the budget of {account.name} is {cap:g} USD (budget.{account.setting}), and this call, "
        f"which may cost {more:.4f} USD, would exceed it{anew}"
    )
