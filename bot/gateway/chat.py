"""The client of OpenAI-compatible chat endpoints.

One call is one POST, tried again within bounds: after outages as often as `max_retries` says, after
limits as often as the endpoint's settings allow. A wait that the endpoint asks for is kept when it
is short; a longer one is handed back, for whoever can wait without holding a worker. Neither a
time-out is tried again, since another backend is the better bet, nor what a cap of ours refused.
Keys travel in one header and nowhere else.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_result
from tenacity.wait import wait_exponential_jitter

from bot.domain.answers import Ending
from bot.domain.chat import Completion, Endpoint, Failed, Message
from bot.gateway import replies, upstream
from bot.gateway.events import unspoken
from bot.gateway.reply import OUR_CAP

MOST_BYTES = 4 * 1024 * 1024  # of one reply
MOST_PATIENCE_S = 60.0  # a longer Retry-After is handed back
_ASK_S = 0.5  # how often `stop` is asked
_OUTAGES = frozenset({Ending.NETWORK, Ending.UNAVAILABLE})
_LIMITS = frozenset({Ending.RATE_LIMITED, Ending.USAGE_LIMIT})
_BACKOFF = wait_exponential_jitter(initial=1, max=20, jitter=1)

Result = Completion | Failed


class Chat:
    """Calls chat endpoints over HTTP; blocking, and safe to call from any thread."""

    def __init__(self, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._sleep = sleep

    def complete(
        self,
        endpoint: Endpoint,
        messages: Sequence[Message],
        *,
        model: str,
        temperature: float | None,
        timeout_s: float,
        stop: Callable[[], bool],
    ) -> Result:
        """Return the model's answer; *timeout_s* bounds each try as a whole."""
        body: dict[str, Any] = {"model": model, "messages": messages}
        if temperature is not None:
            body["temperature"] = temperature
        return asyncio.run(
            _unless(stop, self._tried(endpoint, msgspec.json.encode(body), timeout_s))
        )

    async def _tried(self, endpoint: Endpoint, body: bytes, timeout_s: float) -> Result:
        retrying = AsyncRetrying(
            sleep=self._sleep,
            retry=retry_if_result(lambda result: isinstance(result, Failed)),
            stop=lambda state: state.attempt_number > _tries(endpoint, state),
            wait=lambda state: _pause(endpoint, state),
            retry_error_callback=_result,
        )
        result: Result = await retrying(self._post, endpoint, body, timeout_s)
        return result

    async def _post(self, endpoint: Endpoint, body: bytes, timeout_s: float) -> Result:
        """Make one try; every failure of the network is a value."""
        where = f"{endpoint.base_url.rstrip('/')}/chat/completions"
        # Uncompressed, so that a small reply cannot unfold into a large one.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if endpoint.key is not None:
            headers["Authorization"] = f"Bearer {endpoint.key.reveal()}"
        host = upstream.host(where)
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._client(endpoint, timeout_s) as client,
                client.stream("POST", where, content=body, headers=headers) as response,
            ):
                received = await _capped(response)
        except upstream.FAULTS as error:
            return upstream.fault(error, host, timeout_s)
        if received is None:
            return Failed(Ending.INVALID, f"the reply of {host} is larger than {MOST_BYTES} bytes")
        result = replies.read(response.status_code, response.headers, received)
        if endpoint.socket is not None and OUR_CAP in response.headers:
            result = Failed(Ending.BUDGET, result.detail if isinstance(result, Failed) else "")
        return _without_key(result, endpoint)

    def _client(self, endpoint: Endpoint, timeout_s: float) -> httpx.AsyncClient:
        timeout = httpx.Timeout(timeout_s, connect=upstream.CONNECT_S)
        if endpoint.socket is None:
            return httpx.AsyncClient(verify=upstream.tls(), timeout=timeout)
        through = httpx.AsyncHTTPTransport(uds=str(endpoint.socket), verify=upstream.tls())
        return httpx.AsyncClient(transport=through, timeout=timeout)


async def _capped(response: httpx.Response) -> bytes | None:
    """Return the body, None when it is too large."""
    received = bytearray()
    async for chunk in response.aiter_bytes():
        received += chunk
        if len(received) > MOST_BYTES:
            return None
    return bytes(received)


def _without_key(result: Result, endpoint: Endpoint) -> Result:
    """Take the key out of what the endpoint said: some repeat it in their errors."""
    if isinstance(result, Completion):
        return result
    return msgspec.structs.replace(result, detail=unspoken(result.detail, endpoint.key))


def _result(state: RetryCallState) -> Result:
    assert state.outcome is not None
    result: Result = state.outcome.result()
    return result


def _tries(endpoint: Endpoint, state: RetryCallState) -> int:
    """Return how many tries after the first one the last failure allows."""
    failed = _result(state)
    assert isinstance(failed, Failed)
    asked = failed.retry_after_s
    if asked is not None and asked > MOST_PATIENCE_S:
        return 0
    if failed.ending in _OUTAGES:
        return endpoint.max_retries
    if failed.ending is Ending.RATE_LIMITED and asked is not None:
        return max(endpoint.max_retries, endpoint.usage_limit_retries)
    return endpoint.usage_limit_retries if failed.ending in _LIMITS else 0


def _pause(endpoint: Endpoint, state: RetryCallState) -> float:
    failed = _result(state)
    assert isinstance(failed, Failed)
    if failed.retry_after_s is not None:
        return failed.retry_after_s
    if failed.ending in _LIMITS:
        return endpoint.usage_limit_wait_s
    return _BACKOFF(state)


async def _unless(stop: Callable[[], bool], work: Awaitable[Result]) -> Result:
    """Return what *work* does, unless *stop* says so first; it is asked all the while."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            if await asyncio.to_thread(stop):
                return Failed(Ending.KILLED, "stopped while waiting for the model")
            await asyncio.wait({task}, timeout=_ASK_S)
        return task.result()
    finally:
        task.cancel()
