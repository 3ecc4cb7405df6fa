"""Look again for what webhooks missed, and clean up after what is over.

GitHub sends a delivery once. What was lost on the way is found by reading the open pull requests of
every installation now and then; each becomes an event like any other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from bot.domain.errors import BotError
from bot.domain.events import Event, Swept
from bot.domain.ports import Ports
from bot.domain.values import PullRef, Sha
from bot.runtime.facts import REMEMBERED

FIRST_LOOK_S = 5.0
KEPT = timedelta(days=7)
CHARGED = timedelta(days=90)  # how long a pull request's money counts after its last call
LOOKS = 4  # at one head without a run: each costs some seven requests of the hourly 5,000

log = structlog.get_logger("regreen")


class Sweeper:
    """Runs until stopped: rescue and upkeep every `rescue_s`, the wide look every `every_s`."""

    def __init__(
        self,
        ports: Ports,
        *,
        take: Callable[[Event, str], Awaitable[None]],
        rescue: Callable[[], Awaitable[int]],
        forget: Callable[[str], Awaitable[int]],
        tidy: Callable[[datetime], None],
        every_s: float,
        rescue_s: float,
    ) -> None:
        self._ports = ports
        self._take = take
        self._rescue = rescue
        self._forget = forget
        self._tidy = tidy
        self._every_s = every_s
        self._rescue_s = rescue_s
        self._looks: dict[PullRef, tuple[Sha, int]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin all rounds; the first wide look is due soon: some were missed while down."""
        self._tasks = [
            asyncio.create_task(
                self._round(self._rescue_all, self._rescue_s, first_s=self._rescue_s)
            ),
            asyncio.create_task(
                self._round(self.look, self._every_s, first_s=min(FIRST_LOOK_S, self._every_s))
            ),
            asyncio.create_task(
                self._round(self._tidy_all, self._rescue_s, first_s=self._rescue_s)
            ),
        ]

    async def stop(self) -> None:
        """End all rounds."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _round(
        self, work: Callable[[], Awaitable[object]], every_s: float, *, first_s: float
    ) -> None:
        await asyncio.sleep(first_s)
        while True:
            try:
                await work()
            except BotError as error:
                log.warning("sweep_waits", reason=str(error))
            except Exception:  # the shell's boundary: the next round tries again
                log.exception("sweep_failed")
            await asyncio.sleep(every_s)

    async def _rescue_all(self) -> None:
        await self._rescue()

    async def _tidy_all(self) -> None:
        await asyncio.to_thread(self._tidy, self._ports.clock.now())

    async def look(self) -> int:
        """Take in every open pull request once, then forget what ended long ago."""
        now = self._ports.clock.now()
        pulls = await asyncio.to_thread(self._open_pulls)
        for pull in pulls:
            await self._take(Swept(pull), f"sweep:{pull}:{now.isoformat()}")
        before = now - KEPT
        await self._forget(before.isoformat())
        await asyncio.to_thread(self._ports.deliveries.forget, before)
        await asyncio.to_thread(self._ports.history.forget, now - REMEMBERED)
        await asyncio.to_thread(self._ports.ledger.forget, now - CHARGED)
        await asyncio.to_thread(self._ports.lanes.forget, before)
        return len(pulls)

    def _open_pulls(self) -> list[PullRef]:
        """Return the open pull requests with work under way, or whose head is still rather new."""
        repos = self._ports.repos.installed()
        found = [pull for repo in repos for pull in self._ports.pulls.open(repo)]
        looks = {
            pull.ref: (pull.head, count + 1 if head == pull.head else 1)
            for pull in found
            for head, count in [self._looks.get(pull.ref, (pull.head, 0))]
        }
        self._looks = looks
        return [ref for ref, (_, count) in looks.items() if count <= LOOKS or self._working(ref)]

    def _working(self, pull: PullRef) -> bool:
        run = self._ports.runs.newest(pull)
        return run is not None and not run.ended
