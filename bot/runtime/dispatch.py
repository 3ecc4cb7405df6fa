"""From stored deliveries to events: the few that matter become durable reactions.

The reaction's id is the delivery's, so a delivery dispatched twice (a crash between the two lines
that hand over and settle) reacts once. Deliveries that cannot be read are kept, marked as failed.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from bot.domain.errors import BotError, Broken
from bot.domain.events import ChecksChanged, CommandGiven, Event, Unused
from bot.domain.ports import Audit, Deliveries, Delivery, Telemetry

BATCH = 100
PAUSE_S = 5.0  # after a failure of the store or the engine
LOOK_S = 0.5  # another process may have stored a delivery

log = structlog.get_logger("regreen")

Parse = Callable[[str, bytes], Event | Unused]
Take = Callable[[Event, str], Awaitable[None]]


class Dispatcher:
    """Reads the inbox until it is stopped; `arrived` wakes it at once, from any thread."""

    def __init__(
        self,
        deliveries: Deliveries,
        parse: Parse,
        take: Take,
        telemetry: Telemetry,
        audit: Audit | None = None,
    ) -> None:
        self._deliveries = deliveries
        self._parse = parse
        self._take = take
        self._telemetry = telemetry
        self._audit = audit
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to read, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name="dispatcher")

    async def stop(self) -> None:
        """End after the delivery in hand."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def arrived(self) -> None:
        """Say that a delivery was stored."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._woken.set)

    @property
    def alive(self) -> bool:
        """Whether it reads."""
        return self._task is not None and not self._task.done()

    async def _run(self) -> None:
        while True:
            try:
                waiting = await asyncio.to_thread(self._deliveries.waiting, BATCH)
            except BotError as error:
                log.warning("inbox_waits", reason=str(error))
                await asyncio.sleep(PAUSE_S)
                continue
            seen: set[Event] = set()
            taken = [await self._taken(delivery, seen) for delivery in waiting]
            if not all(taken):
                await asyncio.sleep(PAUSE_S)
            elif len(waiting) < BATCH:
                await self._rest()

    async def _taken(self, delivery: Delivery, seen: set[Event]) -> bool:
        """Dispatch a delivery; one that fails stays for another turn and holds up no other."""
        try:
            await self._dispatch(delivery, seen)
        except BotError as error:
            log.warning("delivery_waits", guid=delivery.guid, reason=str(error))
        except Exception:  # the shell's boundary: one bad delivery must not end the reading
            log.exception("dispatch_failed", guid=delivery.guid)
        else:
            return True
        return False

    async def _rest(self) -> None:
        try:
            await asyncio.wait_for(self._woken.wait(), LOOK_S)
        except TimeoutError:
            return
        self._woken.clear()

    async def _dispatch(self, delivery: Delivery, seen: set[Event]) -> None:
        """Hand over one delivery; *seen* are the hints already handed over in this turn.

        The facts are read after the whole turn was stored, so a second equal hint adds nothing.
        """
        state, note = "done", ""
        try:
            event = self._parse(delivery.event, delivery.body)
        except Broken as error:
            state, note = "failed", str(error)
            log.warning("delivery_unreadable", guid=delivery.guid, reason=note)
        else:
            if isinstance(event, Unused):
                state, note = "ignored", event.reason
                if event.refused and self._audit is not None:
                    detail = {"event": delivery.event, "reason": note}
                    key = f"{delivery.guid}:refused"
                    await asyncio.to_thread(
                        self._audit.append, key, "command.refused", delivery.guid, detail
                    )
            elif (hint := _hint(event)) in seen:
                state, note = "ignored", "an equal event is being looked at"
            else:
                await self._take(event, _key(event, delivery.guid))
                seen |= {hint} if isinstance(event, ChecksChanged) else set()
                note = type(event).__name__
        await asyncio.to_thread(self._deliveries.settle, delivery.guid, state, note)
        self._telemetry.event("dispatched", event=delivery.event, outcome=state)


def _hint(event: Event) -> Event:
    """Return the event without what makes no difference: which check of a head it was."""
    return msgspec.structs.replace(event, name="") if isinstance(event, ChecksChanged) else event


def _key(event: Event, guid: str) -> str:
    """Return what an event is done once for; a comment's command once, whoever sends it again."""
    if isinstance(event, CommandGiven):
        return f"command:{event.pull.repo}:{event.comment}"
    return guid
