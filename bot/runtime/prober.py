"""Probes lanes when their health wants it, so that tasks need not find out what a question tells.

Of all the processes that share a database one probes a lane at a time: it takes the right to do so
in the store. Agents without an endpoint of their own are
not probed; a task is their trial.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog

from bot.config.schema import Lane, Policy
from bot.domain.errors import BotError
from bot.domain.health import Health
from bot.domain.ports import Ports
from bot.repair import lanes
from bot.routing import health
from bot.runtime.lanes import Keeper

LOOK_S = 2.0  # a rest that ends is noticed that soon
MUTE_S = 30.0  # what cannot be probed, or is by somebody else, is left alone for so long
AT_ONCE = 8  # probes of this process

log = structlog.get_logger("regreen")


class Prober:
    """Runs until stopped; does nothing while `[fallback_system]` is not enabled."""

    def __init__(
        self, ports: Ports, policy: Callable[[], Policy], *, every_s: float = LOOK_S
    ) -> None:
        self._ports = ports
        self._keeper = Keeper(ports)
        self._policy = policy
        self._every_s = every_s
        self._mute: dict[str, datetime] = {}
        self._probing: dict[str, asyncio.Task[None]] = {}
        self._round: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._round = asyncio.create_task(self._rounds())

    async def stop(self) -> None:
        """Begin no more probes, and wait for those under way: each has its time limit."""
        if self._round is not None:
            self._round.cancel()
            await asyncio.gather(self._round, return_exceptions=True)
        await asyncio.gather(*self._probing.values(), return_exceptions=True)

    async def _rounds(self) -> None:
        while True:
            try:
                await self.look()
            except BotError as error:
                log.warning("prober_waits", reason=str(error))
            except Exception:  # the shell's boundary: the next round tries again
                log.exception("prober_failed")
            await asyncio.sleep(self._every_s)

    async def look(self) -> None:
        """Begin a probe of each lane that is due and that nobody else probes."""
        policy = self._policy()
        if not policy.routing.enabled:
            return
        for lane, fallback in await asyncio.to_thread(self._due, policy):
            if len(self._probing) >= AT_ONCE:
                break
            if lane.key not in self._probing:
                probe = asyncio.create_task(self._probe(lane, policy, fallback=fallback))
                self._probing[lane.key] = probe
                probe.add_done_callback(partial(self._probed, lane.key))

    def _probed(self, key: str, _probe: asyncio.Task[None]) -> None:
        self._probing.pop(key, None)

    async def finished(self) -> None:
        """Wait until the probes that were begun have ended."""
        while self._probing:
            await asyncio.gather(*self._probing.values())

    def _due(self, policy: Policy) -> list[tuple[Lane, bool]]:
        now = self._ports.clock.now()
        asked = [one for one in lanes.everyone(policy) if one[0].probed]
        asked = [one for one in asked if self._mute.get(one[0].key, now) <= now]
        known = self._ports.lanes.known([lane.key for lane, _ in asked])
        return [
            (lane, fallback)
            for lane, fallback in asked
            if health.probe_at(known.healths.get(lane.key, Health()), now, policy.routing) <= now
        ]

    async def _probe(self, lane: Lane, policy: Policy, *, fallback: bool) -> None:
        try:
            await asyncio.to_thread(self._ask, lane, policy, fallback=fallback)
        except BotError as error:
            log.warning("probe_waits", lane=lane.key, reason=str(error))
        except Exception:  # the shell's boundary: the next round tries again
            log.exception("probe_failed", lane=lane.key)

    def _ask(self, lane: Lane, policy: Policy, *, fallback: bool) -> None:
        if self._keeper.probe(lane, policy, fallback=fallback) is None:
            self._mute[lane.key] = self._ports.clock.now() + timedelta(seconds=MUTE_S)
