"""The inbox's reader, when a delivery cannot be handed over."""

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from bot.domain.events import ChecksChanged, CommandGiven, Pinged
from bot.domain.ports import Delivery
from bot.domain.values import PullRef, Sha
from bot.runtime.dispatch import Dispatcher, Parse
from bot.store.memory import MemoryDeliveries
from bot.telemetry.metrics import PrometheusTelemetry

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_delivery_that_nobody_can_take_holds_up_no_other():
    deliveries = MemoryDeliveries()
    deliveries.accept([Delivery(guid, "ping", "", b"{}", NOW) for guid in ("bad", "good")])
    taken = asyncio.run(_taken_until(deliveries, "good"))
    assert taken == ["good"]
    assert [delivery.guid for delivery in deliveries.waiting(9)] == ["bad"]


RED = ChecksChanged("o/r", Sha("a" * 40), "lint", red=True)
PULL = PullRef("o/r", 7)
FIX = CommandGiven(PULL, 31, "mona", 7, "/regreen fix")


@pytest.mark.parametrize(
    ("events", "keys"),
    [
        pytest.param([RED, RED], ["0"], id="equal hints of one turn are one"),
        pytest.param(
            [RED, msgspec.structs.replace(RED, name="test")], ["0"], id="whichever check it was"
        ),
        pytest.param([RED, msgspec.structs.replace(RED, red=False)], ["0", "1"], id="red and not"),
        pytest.param([FIX, FIX], ["command:o/r:31"] * 2, id="a command has the key of its comment"),
    ],
)
def test_what_is_handed_over_and_under_which_key(events, keys):
    deliveries = MemoryDeliveries()
    deliveries.accept([Delivery(str(at), "x", "", b"", NOW) for at in range(len(events))])
    left = iter(events)
    taken = asyncio.run(_read_all(deliveries, lambda *_: next(left)))
    assert taken == keys
    assert deliveries.waiting(9) == []


async def _read_all(deliveries: MemoryDeliveries, parse: Parse) -> list[str]:
    taken: list[str] = []

    async def take(_: object, key: str) -> None:
        taken.append(key)

    reader = Dispatcher(deliveries, parse, take, PrometheusTelemetry(dict))
    reader.start()
    async with asyncio.timeout(5):
        while deliveries.waiting(1):  # noqa: ASYNC110 -- the store tells, nobody else
            await asyncio.sleep(0)
    await reader.stop()
    return taken


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
