"""The inbox's reader, when a delivery cannot be handed over."""

import asyncio
from datetime import UTC, datetime

from bot.domain.events import Pinged
from bot.domain.ports import Delivery
from bot.runtime.dispatch import Dispatcher
from bot.store.memory import MemoryDeliveries
from bot.telemetry.metrics import PrometheusTelemetry

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_delivery_that_nobody_can_take_holds_up_no_other():
    deliveries = MemoryDeliveries()
    deliveries.accept([Delivery(guid, "ping", "", b"{}", NOW) for guid in ("bad", "good")])
    taken = asyncio.run(_taken_until(deliveries, "good"))
    assert taken == ["good"]
    assert [delivery.guid for delivery in deliveries.waiting(9)] == ["bad"]


async def _taken_until(deliveries: MemoryDeliveries, last: str) -> list[str]:
    taken: list[str] = []
    seen = asyncio.Event()

    async def take(_: object, guid: str) -> None:
        if guid == "bad":
            raise RuntimeError("no room for this one")
        taken.append(guid)

    def settled(*_: object, **__: object) -> None:
        seen.set()

    class Telemetry(PrometheusTelemetry):
        def event(self, kind: str, **labels: str) -> None:
            super().event(kind, **labels)
            settled()

    reader = Dispatcher(deliveries, lambda *_: Pinged(), take, Telemetry(dict))
    reader.start()
    await asyncio.wait_for(seen.wait(), 5)
    await reader.stop()
    return taken
