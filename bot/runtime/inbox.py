"""Accept a delivery once, durably, at the price of a shared commit.

Group commit: one writer thread stores everything that waits in one transaction, while the next
deliveries gather. Nobody waits for company: a delivery that comes alone is committed alone, and
under load the batches grow by themselves. All state lives on the event loop; the thread only runs
the commit.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bot.domain.errors import TryLater
from bot.domain.ports import Deliveries, Delivery

BATCH = 256
MAX_WAITING = 4096
MAX_WAITING_BYTES = 256 * 2**20


class Inbox:
    """The queue before the store; use it from one event loop, between `start` and `stop`."""

    def __init__(
        self,
        deliveries: Deliveries,
        *,
        arrived: Callable[[], None] = lambda: None,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._deliveries = deliveries
        self._arrived = arrived
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[Delivery, asyncio.Future[None]]] = deque()
        self._waiting_bytes = 0
        self._writer: ThreadPoolExecutor | None = None
        self._open = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Begin to accept."""
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inbox")
        self._open = True

    async def stop(self) -> None:
        """Accept nothing more, store what waits, and return."""
        self._open = False
        await self._idle.wait()
        if self._writer is not None:
            self._writer.shutdown()
            self._writer = None

    def put(self, delivery: Delivery) -> asyncio.Future[None]:
        """Return what is done when the delivery is durable; raise `TryLater` when there is no room.

        A delivery that is known already is done as well: it is durable.
        """
        if not self._open:
            raise TryLater("the server is starting or stopping", after_s=5)
        size = self._waiting_bytes + len(delivery.body)
        if len(self._waiting) >= self._max_waiting or size > MAX_WAITING_BYTES:
            raise TryLater("too many deliveries wait to be stored", after_s=5)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((delivery, future))
        self._waiting_bytes = size
        if self._idle.is_set():
            self._idle.clear()
            loop.call_soon(self._commit_next)  # after the others that this turn of the loop brings
        return future

    async def keep_malformed(self, delivery: Delivery) -> None:
        """Keep a genuine delivery that makes no sense; raise `TryLater` when that fails."""
        await asyncio.to_thread(self._deliveries.keep_malformed, delivery)

    def _commit_next(self) -> None:
        if self._writer is None or not self._waiting:
            self._idle.set()
            return
        count = min(BATCH, len(self._waiting))
        batch = [self._waiting.popleft() for _ in range(count)]
        deliveries = [delivery for delivery, _ in batch]
        self._waiting_bytes -= sum(len(delivery.body) for delivery in deliveries)
        commit = asyncio.get_running_loop().run_in_executor(
            self._writer, self._deliveries.accept, deliveries
        )
        commit.add_done_callback(partial(self._committed, [future for _, future in batch]))

    def _committed(
        self, futures: Sequence[asyncio.Future[None]], commit: asyncio.Future[int]
    ) -> None:
        error = commit.exception()
        for future in futures:
            if future.done():  # who waited for it has gone
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
        self._commit_next()
        if error is None and commit.result():
            self._arrived()
