"""Keeps the ledger for one grant: holds money back before a call, and settles after it.

The ledger blocks, so it is asked from threads. A call waits for the settlements of those before it,
lest it be refused for money that is about to be let go of. A settlement is its own task: whatever
becomes of the call, it ends.
"""

import asyncio

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from bot.domain.errors import BotError, TryLater
from bot.domain.models import Account, Call, Grant, accounts
from bot.domain.ports import Ledger, Telemetry

_TRIES = 6
_PAUSES = wait_exponential(multiplier=0.25, max=4)


class Books:
    """The calls of one grant, in the ledger and as witness."""

    def __init__(self, grant: Grant, ledger: Ledger, telemetry: Telemetry) -> None:
        self._grant = grant
        self._ledger = ledger
        self._telemetry = telemetry
        self._ended: list[Call] = []
        self._reserving: dict[str, asyncio.Task[Account | None]] = {}
        self._settling: set[asyncio.Task[None]] = set()

    @property
    def ended(self) -> tuple[Call, ...]:
        """The calls that have ended, in that order; may be read from any thread."""
        return tuple(self._ended)

    async def reserve(self, call: Call) -> Account | None:
        """Hold the call's cost back, or return the account that is at its cap."""
        await self.settled()
        counted = accounts(call.origin, self._grant.caps, call.at)
        asking = asyncio.to_thread(self._ledger.reserve, call, counted)
        self._reserving[call.id] = asyncio.create_task(asking)
        # Whoever gives up here leaves the thread at work: the settlement waits for it.
        return await asyncio.shield(self._reserving[call.id])

    def end(self, call: Call) -> None:
        """Remember how a call ended, and begin to settle what was held back for it."""
        self._ended.append(call)
        self._report(call)
        if (reserving := self._reserving.pop(call.id, None)) is not None:
            task = asyncio.create_task(self._settle(call, reserving))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def settled(self) -> None:
        """Wait until nothing is being settled."""
        if self._settling:
            await asyncio.wait(set(self._settling))

    async def _settle(self, call: Call, reserving: asyncio.Task[Account | None]) -> None:
        """Settle, with patience: what cannot be settled stays held back, and counts as spent."""
        await asyncio.wait({reserving})
        if reserving.exception() is not None or reserving.result() is not None:
            return
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TryLater),
            stop=stop_after_attempt(_TRIES),
            wait=_PAUSES,
            reraise=True,
        )
        try:
            await retrying(asyncio.to_thread, self._ledger.settle, call)
        except BotError as error:
            self._telemetry.event("model_call_unsettled", call=call.id, detail=str(error))

    def _report(self, call: Call) -> None:
        origin = call.origin
        self._telemetry.event(
            "model_call",
            run=origin.run,
            pull=str(origin.pull),
            backend=origin.backend,
            provider=origin.provider,
            model=call.model,
            status=str(call.status),
            ending=call.ending.value if call.ending else "",
            detail=call.detail,
            cap=call.cap,
            tokens=f"{call.tokens.input}+{call.tokens.output}",
        )
