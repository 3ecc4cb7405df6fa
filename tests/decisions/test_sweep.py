"""Which open pull requests the periodic look takes in."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from bot.domain.events import Swept
from bot.domain.models import Call, Origin, Tokens
from bot.domain.runs import RunState
from bot.runtime.sweep import CHARGED, LOOKS, Sweeper
from bot.store.memory import MemoryDeliveries, MemoryHistory, MemoryLanes, MemoryLedger, MemoryRuns
from tests.support.pulls import OTHER, REF, a_pull, a_run

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def a_sweeper(
    pulls: list[Any], runs: MemoryRuns, ledger: MemoryLedger | None = None
) -> tuple[Sweeper, list[Swept]]:
    taken: list[Swept] = []

    async def take(event: Any, _: str) -> None:
        taken.append(event)

    async def nothing(*_: object) -> int:
        return 0

    clock = SimpleNamespace(now=lambda: NOW)
    ports: Any = SimpleNamespace(
        clock=clock,
        repos=SimpleNamespace(installed=lambda: [REF.repo]),
        pulls=SimpleNamespace(open=lambda _: pulls),
        runs=runs,
        deliveries=MemoryDeliveries(),
        history=MemoryHistory(),
        ledger=ledger or MemoryLedger(),
        lanes=MemoryLanes(clock),
    )
    sweeper = Sweeper(
        ports,
        take=take,
        rescue=nothing,
        forget=nothing,
        tidy=lambda _: None,
        every_s=900.0,
        rescue_s=15.0,
    )
    return sweeper, taken


def test_a_head_without_work_is_looked_at_a_few_times_and_a_new_one_again():
    pulls = [a_pull()]
    sweeper, taken = a_sweeper(pulls, MemoryRuns())
    for _ in range(LOOKS + 3):
        asyncio.run(sweeper.look())
    assert taken == [Swept(REF)] * LOOKS
    pulls[0] = a_pull(head=OTHER)
    asyncio.run(sweeper.look())
    assert len(taken) == LOOKS + 1


def test_work_under_way_is_always_looked_at():
    runs = MemoryRuns()
    runs.save(a_run(state=RunState.WAITING_CI))
    sweeper, taken = a_sweeper([a_pull()], runs)
    for _ in range(LOOKS + 3):
        asyncio.run(sweeper.look())
    assert len(taken) == LOOKS + 3


def test_the_ledger_forgets_calls_that_nobody_counts_any_more():
    ledger = MemoryLedger()
    for name, age in (("old", CHARGED + timedelta(days=1)), ("new", timedelta(days=1))):
        call = Call(name, Origin("run", 1, REF, "acme", "primary"), NOW - age, "m", Tokens(), 5)
        assert ledger.reserve(call, ()) is None
        ledger.settle(call)
    sweeper, _ = a_sweeper([], MemoryRuns(), ledger)
    asyncio.run(sweeper.look())
    assert [call.id for call in ledger.calls("run")] == ["new"]
