"""One contract for the ledger in memory, in SQLite and in PostgreSQL."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.domain.models import Account, Call, Origin, Spend, Tokens
from bot.domain.ports import Ledger
from bot.domain.values import PullRef
from bot.store.database import Database, connect
from bot.store.ledger import SqlLedger
from bot.store.memory import MemoryLedger
from bot.store.migrate import migrate
from tests.support.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ORIGIN = Origin("run-1", 1, PullRef("octo/hello", 7), "42", "codex", "main")
PROCESSES, CALLS, CAP = 3, 12, 20


def a_database(request: pytest.FixtureRequest, folder: Path) -> Database:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    database = connect(url, folder)
    migrate(database)
    return database


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "memory":
        yield MemoryLedger()
        return
    database = a_database(request, tmp_path)
    yield SqlLedger(database)
    database.close()


def a_call(name: str = "c-1", cost: int | None = 10, *, after_s: int = 0, **changes: Any) -> Call:
    at = NOW + timedelta(seconds=after_s)
    values = {"model": "m", "tokens": Tokens(100, 10), "cost_nano": cost, **changes}
    return Call(**{"id": name, "origin": ORIGIN, "at": at, **values})


def an_account(name: str = "pull", cap: int | None = None) -> Account:
    return Account(name, f"per_{name}_usd", cap)


def test_a_call_is_held_back_for_and_then_settled(ledger: Ledger):
    counted = (an_account("pull"), an_account("day"))
    assert ledger.reserve(a_call(cost=10), counted) is None
    assert ledger.spent("pull") == ledger.spent("day") == Spend(0, 10)
    assert ledger.calls("run-1") == []

    settled = a_call(cost=7, tokens=Tokens(90, 5, 3, 2), status=200, estimated=False, seconds=1.5)
    ledger.settle(settled)
    assert ledger.spent("pull") == ledger.spent("day") == Spend(7, 0)
    assert list(ledger.calls("run-1")) == [settled]
    assert ledger.spent("repo") == Spend()


def test_a_call_is_settled_once(ledger: Ledger):
    ledger.reserve(a_call(), [an_account()])
    ledger.settle(a_call(cost=7))
    ledger.settle(a_call(cost=8))
    ledger.settle(a_call("never reserved"))
    assert ledger.spent("pull") == Spend(7, 0)
    assert len(ledger.calls("run-1")) == 1


@pytest.mark.parametrize("full", ["attempt", "repo"])
def test_one_account_at_its_cap_refuses_and_changes_nothing(ledger: Ledger, full: str):
    ledger.reserve(a_call(cost=6), [an_account(full, 10)])
    counted = [an_account(name, 10) for name in ("attempt", "day", "repo")]
    refused = ledger.reserve(a_call("c-2", 5), counted)
    assert refused == an_account(full, 10)
    assert {name: ledger.spent(name).held_nano for name in ("attempt", "day", "repo")} == {
        "attempt": 0,
        "day": 0,
        "repo": 0,
        full: 6,
    }
    ledger.settle(a_call("c-2", 5))
    assert ledger.spent("day") == Spend()
    assert ledger.reserve(a_call("c-3", 4), counted) is None


def test_a_cap_holds_from_the_first_call_on(ledger: Ledger):
    assert ledger.reserve(a_call(cost=11), [an_account("pull", 10)]) == an_account("pull", 10)
    assert ledger.reserve(a_call(cost=10), [an_account("pull", 10)]) is None


def test_what_was_spent_too_much_counts(ledger: Ledger):
    ledger.reserve(a_call(cost=10), [an_account("pull", 10)])
    ledger.settle(a_call(cost=25))
    assert ledger.spent("pull") == Spend(25, 0)
    assert ledger.reserve(a_call("c-2", 1), [an_account("pull", 10)]) is not None
    assert ledger.reserve(a_call("c-3", 1), [an_account("pull", 26)]) is None  # a cap may be raised


@pytest.mark.parametrize("cost", [0, None])
def test_what_costs_nothing_breaks_no_cap(ledger: Ledger, cost: int | None):
    ledger.reserve(a_call(cost=10), [an_account("pull", 10)])
    ledger.settle(a_call(cost=11))
    assert ledger.reserve(a_call("c-2", cost), [an_account("pull", 10)]) is None
    ledger.settle(a_call("c-2", cost))
    assert ledger.spent("pull") == Spend(11, 0)
    assert [call.cost_nano for call in ledger.calls("run-1")] == [11, cost]


def test_large_sums_stay_exact(ledger: Ledger):
    large = 10**15 + 1  # a million dollars
    for number in range(3):
        ledger.reserve(a_call(f"c-{number}", large), [an_account()])
        ledger.settle(a_call(f"c-{number}", large))
    assert ledger.spent("pull") == Spend(3 * large, 0)


def test_calls_come_oldest_first_and_of_one_run(ledger: Ledger):
    other = msgspec.structs.replace(ORIGIN, run="run-2")
    calls = [a_call("b"), a_call("a", after_s=5), a_call("c"), a_call("d", origin=other)]
    for call in calls:
        ledger.reserve(call, [an_account()])
        ledger.settle(call)
    assert [call.id for call in ledger.calls("run-1")] == ["b", "c", "a"]
    assert ledger.calls("run-3") == []


def test_what_nobody_settles_is_counted_as_held_back(ledger: Ledger):
    ledger.reserve(a_call("old", 10), [an_account(), an_account("day")])
    ledger.reserve(a_call("older", 3, after_s=-5), [an_account()])
    ledger.reserve(a_call("new", 20, after_s=60), [an_account()])
    assert ledger.abandon(NOW + timedelta(seconds=30)) == 2
    assert ledger.spent("pull") == Spend(13, 20)
    assert ledger.spent("day") == Spend(10, 0)
    ledger.settle(a_call("old", 1))  # too late
    assert ledger.spent("pull") == Spend(13, 20)
    assert [call.id for call in ledger.calls("run-1")] == ["older", "old"]
    assert ledger.abandon(NOW + timedelta(seconds=30)) == 0


def test_old_calls_and_idle_accounts_can_be_forgotten(ledger: Ledger):
    ledger.reserve(a_call("old", 10), [an_account("idle"), an_account("used")])
    ledger.settle(a_call("old", 10))
    ledger.reserve(a_call("open", 5, after_s=-9), [an_account("held")])
    ledger.reserve(a_call("new", 1, after_s=60), [an_account("used")])
    ledger.settle(a_call("new", 1, after_s=60))
    assert ledger.forget(NOW + timedelta(seconds=30)) == 1
    assert [call.id for call in ledger.calls("run-1")] == ["new"]
    assert ledger.spent("idle") == Spend()
    assert (ledger.spent("used"), ledger.spent("held")) == (Spend(11, 0), Spend(0, 5))


def test_two_who_reserve_at_once_cannot_both_have_the_last(ledger: Ledger):
    threads = 4
    start = threading.Barrier(threads)
    # Each names the accounts in another order, so that a careless ledger would lock itself up.
    names = ["attempt", "day", "pull", "repo"]

    def reserve(worker: int) -> list[str]:
        start.wait()
        counted = [an_account(name, CAP) for name in names[worker:] + names[:worker]]
        calls = [a_call(f"{worker}-{number}", 1) for number in range(10)]
        return [call.id for call in calls if ledger.reserve(call, counted) is None]

    with ThreadPoolExecutor(threads) as pool:
        made = [name for some in pool.map(reserve, range(threads)) for name in some]
    assert len(made) == CAP
    assert [ledger.spent(name) for name in names] == [Spend(0, CAP)] * 4


WORKER = """
import sys
from pathlib import Path
from bot.store.database import connect
from bot.store.ledger import SqlLedger
from tests.adapters.test_gateway_ledger import CALLS, CAP, a_call, an_account
ledger = SqlLedger(connect(sys.argv[1], Path(sys.argv[2])))
counted = [an_account("pull", CAP), an_account("day")]
for number in range(CALLS):
    call = a_call(f"{sys.argv[3]}-{number}", 2)
    if ledger.reserve(call, counted) is None and number % 3:
        ledger.settle(call)
"""


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_several_processes_keep_one_cap(database: Database, tmp_path: Path):
    ran = [
        subprocess.Popen([sys.executable, "-c", WORKER, database.url, str(tmp_path), str(number)])
        for number in range(PROCESSES)
    ]
    assert [process.wait(60) for process in ran] == [0] * PROCESSES
    ledger = SqlLedger(database)
    spend = ledger.spent("pull")
    assert spend.spent_nano + spend.held_nano == CAP
    assert spend.spent_nano == sum(call.cost_nano or 0 for call in ledger.calls("run-1"))
    assert ledger.spent("day") == spend


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    database = a_database(request, tmp_path)
    yield database
    database.close()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_what_a_killed_process_reserved_is_still_held_back(database: Database, tmp_path: Path):
    """The commit does not wait for the disk, but it does not need the process either."""
    script = WORKER + "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    command = [sys.executable, "-c", script, database.url, str(tmp_path), "0"]
    subprocess.run(command, check=False, timeout=60)
    ledger = SqlLedger(database)
    spend = ledger.spent("pull")
    assert spend.spent_nano + spend.held_nano == CAP
    assert ledger.abandon(NOW + timedelta(days=1)) > 0
    assert ledger.spent("pull") == Spend(CAP, 0)


@dataclass
class Kept:
    """What the law needs to know: each open call's estimate, and by how much others exceeded."""

    open: dict[str, int] = field(default_factory=dict)
    spent: int = 0
    exceeded: int = 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 12)),
        st.tuples(st.just("settle"), st.integers(0, 20)),
        st.tuples(st.just("abandon"), st.just(0)),
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = connect("", tmp_path_factory.mktemp("ledger"))
    migrate(database)
    yield database
    database.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_the_ledger_always_adds_up(kind: str, sqlite: Database, steps: list[Any]):
    """What is spent and held exceeds the cap by no more than calls exceeded their estimates."""
    run = uuid4().hex  # the database outlives the example
    ledger: Ledger = MemoryLedger() if kind == "memory" else SqlLedger(sqlite)
    name, kept = f"account {run}", Kept()
    for number, (step, amount) in enumerate(steps):
        call = a_call(f"{run}-{number}", amount)
        if step == "reserve":
            free = kept.spent + sum(kept.open.values()) + amount <= CAP
            reserved = ledger.reserve(call, [an_account(name, CAP)]) is None
            assert reserved == (free or not amount)
            if reserved:
                kept.open[call.id] = amount
        elif step == "settle" and kept.open:
            oldest = next(iter(kept.open))
            ledger.settle(a_call(oldest, amount))
            kept.exceeded += max(0, amount - kept.open.pop(oldest))
            kept.spent += amount
        elif step == "abandon":
            ledger.abandon(NOW + timedelta(days=1))
            kept.spent += sum(kept.open.values())
            kept.open.clear()
        assert ledger.spent(name) == Spend(kept.spent, sum(kept.open.values()))
        assert kept.spent + sum(kept.open.values()) <= CAP + kept.exceeded
