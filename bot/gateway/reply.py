"""What goes back to an agent: a whole reply, or a stream that may have to end early."""

from collections.abc import Iterable

from starlette.types import Message, Send

from bot.domain.answers import Ending
from bot.domain.chat import Failed
from bot.domain.models import Api
from bot.gateway import apis
from bot.gateway.apis import Dialect

Headers = list[tuple[bytes, bytes]]
OUR_CAP = "x-regreen-cap"  # a 402 of ours, and no vendor's
_JSON = (b"content-type", b"application/json")
_NO_RETRY = (b"x-should-retry", b"false")  # the clients of OpenAI and Anthropic heed it
_PASSED = (
    b"anthropic-ratelimit-",
    b"openai-",
    b"request-id",
    b"retry-after",
    b"x-codex-",
    b"x-ratelimit-",
    b"x-request-id",
    b"x-should-retry",
)


class Left(Exception):
    """The agent hung up before its answer was whole."""


class Reply:
    """The answer to one request; it knows how far it got."""

    def __init__(self, send: Send, api: Api, dialect: Dialect) -> None:
        self._send = send
        self._api = api
        self._dialect = dialect
        self.status = 0
        self._done = False

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a reply that is there as a whole."""
        await self._start(status, [_JSON, (b"content-length", b"%d" % len(body)), *headers])
        self._done = True
        await self._put({"type": "http.response.body", "body": body})

    async def stream(self, headers: Headers) -> None:
        """Begin a stream of events."""
        kind = (b"content-type", b"text/event-stream; charset=utf-8")
        await self._start(200, [kind, (b"cache-control", b"no-cache"), *headers])

    async def more(self, events: bytes) -> None:
        """Send whole events."""
        await self._put({"type": "http.response.body", "body": events, "more_body": True})

    async def end(self) -> None:
        """End the stream."""
        self._done = True
        await self._put({"type": "http.response.body", "body": b""})

    async def fail(self, status: int, failed: Failed) -> None:
        """Say what failed, in the way that is still open: a status, or the stream's last event."""
        if self._done:
            return
        if self.status:
            words = apis.last_words(self._api, self._dialect, status, failed.detail)
            await self.more(words)
            await self.end()
            return
        headers: Headers = []
        if failed.ending is Ending.BUDGET:  # for a day or for ever: no agent shall wait
            headers.append((OUR_CAP.encode(), b"true"))
        elif failed.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % round(failed.retry_after_s)))
        if status < 500:  # noqa: PLR2004  # HTTP's own bound
            headers.append(_NO_RETRY)
        await self.whole(status, headers, apis.error(self._api, status, failed.detail))

    async def _start(self, status: int, headers: Headers) -> None:
        self.status = status
        await self._put({"type": "http.response.start", "status": status, "headers": headers})

    async def _put(self, message: Message) -> None:
        try:
            await self._send(message)
        except RuntimeError as error:  # the connection was closed, and nobody has heard of it yet
            raise Left from error


def passed(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return those of a vendor's headers that an agent may see and needs."""
    return [(name, one) for name, one in headers if name.lower().startswith(_PASSED)]
