"""Lanes' health and chains' standings: one contract for the twin, SQLite and PostgreSQL."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from bot.config.schema import BackendName, Lane, Policy, RoutingPolicy
from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.health import Health, Known, Observation, Standing
from bot.domain.models import Call, Origin, Tokens
from bot.domain.ports import Lanes
from bot.domain.values import Purpose, Question, RunId, Sha, Task
from bot.routing.health import observe
from bot.runtime.lanes import Keeper, healths
from bot.runtime.prober import Prober
from bot.store.database import connect
from bot.store.lanes import SqlLanes
from bot.store.memory import MemoryLanes, MemoryLedger
from bot.store.migrate import migrate
from bot.telemetry.metrics import PrometheusTelemetry
from tests.support.lanes import NOW
from tests.support.postgres import postgres, postgres_url
from tests.support.stories import PULL

__all__ = ["postgres", "postgres_url"]

CHAIN = "fix/primary"
DOWN, UP = Observation(Ending.UNAVAILABLE), Observation(Ending.EDITED, 2.0)


class Clock:
    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at

    def later(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


Opening = Callable[[], Lanes]


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def opening(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Opening]:
    """Open the store, as one more process would; the twin lives in one process only."""
    if request.param == "memory":
        twin = MemoryLanes(clock)
        yield lambda: twin
        return
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    opened = [connect(url, tmp_path)]
    migrate(opened[0])

    def another() -> Lanes:
        opened.append(connect(url, tmp_path))
        return SqlLanes(opened[-1], clock)

    yield another
    for database in opened:
        database.close()


@pytest.fixture
def store(opening: Opening) -> Lanes:
    return opening()


def seen(key: str, one: Observation, at: datetime = NOW) -> Callable[[Known], Known]:
    def change(known: Known) -> Known:
        after = observe(known.healths.get(key, Health()), one, at)
        return msgspec.structs.replace(known, healths={**known.healths, key: after})

    return change


def test_of_a_lane_that_nobody_used_nothing_is_known(store: Lanes):
    known = store.known(["a", "b"], CHAIN)
    assert [known.healths.get(key, Health()) for key in "ab"] == [Health(), Health()]
    assert known.standing == Standing()
    assert store.known([]).healths == {}


def test_what_was_learnt_is_known_to_all_and_after_a_restart(opening: Opening):
    one = opening()
    for _ in range(3):
        one.update(["a", "b"], CHAIN, seen("a", DOWN))
    standing = Standing("b", since=NOW, former="a", proved=False)
    after = one.update(
        ["b"], CHAIN, lambda known: msgspec.structs.replace(known, standing=standing)
    )
    assert after.standing == standing
    known = opening().known(["a", "b"], CHAIN)
    assert known.standing == standing
    assert known.healths["a"].consecutive == 3
    assert known.healths["a"].rest is not None
    assert known.healths["a"].samples[0].at == NOW
    assert known.healths.get("b", Health()) == Health()


def test_chains_do_not_share_their_standing(store: Lanes):
    store.update([], CHAIN, lambda _: Known(standing=Standing("a")))
    assert store.known([], "fix/fallback").standing == Standing()


def test_the_same_call_is_heard_of_once(store: Lanes):
    for _ in range(3):
        known = store.update(["a"], CHAIN, seen("a", DOWN), once="run/1/0")
        assert known.healths["a"].calls == 1
    assert store.update(["a"], CHAIN, seen("a", DOWN), once="run/1/1").healths["a"].calls == 2
    assert store.update(["b"], CHAIN, seen("b", DOWN), once="run/1/0").healths == (
        store.known(["b"]).healths
    )


def test_workers_do_not_undo_what_others_have_seen(opening: Opening):
    """Each reads, waits for the others, and writes; two lanes in opposite orders do not lock up."""
    workers, each = 4, 5
    stores, begin = [opening() for _ in range(workers)], threading.Barrier(workers)

    def work(number: int) -> None:
        begin.wait()
        for _ in range(each):
            keys = ["a", "b"] if number % 2 else ["b", "a"]
            stores[number].update(keys, CHAIN, seen("a", UP))
            stores[number].update(keys, CHAIN, seen("b", DOWN))

    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(work, number) for number in range(workers)]:
            done.result()
    known = stores[0].known(["a", "b"])
    assert (known.healths["a"].calls, known.healths["b"].calls) == (workers * each,) * 2


def test_a_change_that_fails_changes_nothing(store: Lanes):
    def broken(_: Known) -> Known:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.update(["a"], CHAIN, broken, once="run/1/0")
    assert store.update(["a"], CHAIN, seen("a", DOWN), once="run/1/0").healths["a"].calls == 1


def test_one_caller_at_a_time_has_the_right_to_probe(opening: Opening):
    one, other = opening(), opening()
    until = NOW + timedelta(seconds=15)
    assert one.claim("a", NOW, until)
    assert not other.claim("a", NOW + timedelta(seconds=1), until)
    assert other.claim("b", NOW, until)
    assert other.claim("a", until, until + timedelta(seconds=15))
    one.update(["a"], CHAIN, seen("a", UP))
    assert not one.claim("a", until, until + timedelta(seconds=9)), "a call does not let go of it"


def test_what_nobody_touches_is_forgotten(store: Lanes, clock: Clock):
    store.update(["old"], CHAIN, seen("old", DOWN), once="run/1/0")
    clock.later(3600)
    store.update(["new"], CHAIN, seen("new", DOWN))
    assert store.forget(clock.at - timedelta(seconds=60)) == 2
    known = store.known(["old", "new"])
    assert known.healths.get("old", Health()) == Health()
    assert known.healths["new"].calls == 1


def test_a_record_of_another_version_is_forgotten(tmp_path: Path, clock: Clock):
    database = connect("", tmp_path)
    migrate(database)
    store = SqlLanes(database, clock)
    store.update(["a"], CHAIN, seen("a", DOWN))
    with database.write() as connection:
        connection.exec_driver_sql("""UPDATE lanes SET record = '{"samples": "many"}'""")
    assert store.known(["a"]).healths == {"a": Health()}
    database.close()


# --- the keeper, and the prober -----------------------------------------------------------------

POLICY = Policy(
    primary=(BackendName("a", "m"), BackendName("b", "m")),
    routing=RoutingPolicy(
        lanes=(Lane("a", "a", probed=True), Lane("b", "b", probed=True)), health_check_timeout_s=4.0
    ),
)
OFF = msgspec.structs.replace(
    POLICY, routing=msgspec.structs.replace(POLICY.routing, enabled=False)
)


@dataclass
class Probes:
    """Answers by backend; `asked` are the probes so far."""

    ends: dict[str, Ending | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    during: Callable[[], object] = lambda: None

    def probe(
        self, backend: str, provider: str, *, fallback: bool, timeout_s: float
    ) -> Observation | None:
        assert timeout_s == 4.0
        self.asked.append(backend)
        self.during()
        end = self.ends.get(backend, Ending.NO_CHANGE)
        return None if end is None else Observation(end, probe=True)


def over(store: Lanes, clock: Clock) -> Any:
    telemetry = PrometheusTelemetry()
    return SimpleNamespace(
        lanes=store, clock=clock, probes=Probes(), ledger=MemoryLedger(), telemetry=telemetry
    )


@pytest.fixture
def ports(clock: Clock) -> Any:
    return over(MemoryLanes(clock), clock)


@pytest.fixture
def shared(store: Lanes, clock: Clock) -> Any:
    """The ports over each of the stores, where several workers meet in it."""
    return over(store, clock)


def a_call(lane: str = "a", call: int = 0) -> effects.RunBackend:
    task = Task(PULL, "t", (), ())
    return effects.RunBackend(
        lane,
        fallback=False,
        head=Sha("a" * 40),
        task=task,
        run=RunId("run"),
        attempt=1,
        lane=lane,
        call=call,
    )


def test_a_failure_that_may_pass_is_confirmed_by_a_probe(ports: Any):
    keeper, down = Keeper(ports), Answer(Ending.UNAVAILABLE)
    assert keeper.heard(a_call(), down, NOW, POLICY) == (True, True)
    ports.probes.ends["a"] = Ending.UNAVAILABLE
    assert keeper.heard(a_call(call=1), down, NOW, POLICY) == (False, False)
    assert ports.probes.asked == ["a", "a"]
    assert ports.lanes.known(["a"]).healths["a"].rest is not None


def test_what_a_probe_cannot_change_is_not_asked_after(ports: Any):
    for ending in (Ending.EDITED, Ending.NO_CHANGE, Ending.RATE_LIMITED, Ending.AUTH):
        Keeper(ports).heard(a_call(call=len(ending)), Answer(ending), NOW, POLICY)
    assert ports.probes.asked == []


def test_a_call_heard_of_twice_counts_once(ports: Any):
    for _ in range(2):
        Keeper(ports).heard(a_call(), Answer(Ending.EDITED), NOW, POLICY)
    assert ports.lanes.known(["a"]).healths["a"].calls == 1


def test_the_gateway_s_account_tells_how_long_the_model_took(ports: Any):
    origin, before = Origin("run", 1, PULL, "octo", "a"), NOW - timedelta(seconds=60)
    calls = [
        Call("1", origin, NOW, "m", Tokens(), 0, seconds=2.0),
        Call("2", origin, NOW, "m", Tokens(), 0, seconds=6.0),
        Call("failed", origin, NOW, "m", Tokens(), 0, seconds=300.0, ending=Ending.TIMEOUT),
        Call("older", origin, before, "m", Tokens(), 0, seconds=40.0),
    ]
    for call in calls:
        ports.ledger.reserve(call, ())
        ports.ledger.settle(call)
    Keeper(ports).heard(a_call(), Answer(Ending.EDITED), NOW, POLICY)
    assert ports.lanes.known(["a"]).healths["a"].response_s == 4.0


def test_who_plans_is_heard_of_if_it_mends_as_well(ports: Any):
    question = Question(Purpose.PLAN, a_call().task)
    consult = effects.Consult(("b", "c"), Sha("a" * 40), question, 5.0, RunId("run"), 1)
    for backend in consult.backends:
        Keeper(ports).opinion(consult, backend, Answer(Ending.USAGE_LIMIT), POLICY)
    assert ports.lanes.known(["b"]).healths["b"].rest is not None
    assert ports.lanes.known(["c"]).healths == {}


def test_the_gatekeeper_s_verdict_is_kept_once(ports: Any):
    verify = effects.Verify("run", PULL, Sha("a" * 40), "", (), lane="a", key="run/1/1")
    for _ in range(2):
        Keeper(ports).judged(verify, approved=False)
    assert ports.lanes.known(["a"]).healths["a"].judged == (False,)


def test_two_workers_do_not_both_try_a_lane_that_is_on_trial(shared: Any, clock: Clock):
    keeper = Keeper(shared)
    for number in range(2):
        gone = Answer(Ending.RATE_LIMITED)
        keeper.heard(a_call("ab"[number], number), gone, NOW, POLICY)
    clock.later(5.5)
    first = keeper.choose(effects.ChooseBackend(PULL, 0), POLICY)
    second = keeper.choose(effects.ChooseBackend(PULL, 0), POLICY)
    third = keeper.choose(effects.ChooseBackend(PULL, 0), POLICY)
    assert {first.lane, second.lane} == {"a", "b"}
    assert (third.lane, third.wait_until is not None) == ("", True)


def test_a_switch_is_counted_and_one_that_fails_is_taken_back(ports: Any, clock: Clock):
    keeper, ask = Keeper(ports), effects.ChooseBackend(PULL, 0)
    assert keeper.choose(ask, POLICY).lane == "a"
    limited = Answer(Ending.RATE_LIMITED, retry_after_s=60.0)
    keeper.heard(a_call(), limited, NOW, POLICY)
    assert keeper.choose(ask, POLICY).lane == "b"
    page = ports.telemetry.render()[0].decode()
    assert 'backend_switches_total{trigger="immediate"} 1.0' in page
    clock.later(61)
    left = effects.ChooseBackend(PULL, 0, tried=("b",), left="b")
    assert keeper.choose(left, POLICY).lane == "a"
    assert ports.lanes.known(["a"], CHAIN).standing.lane == "a"


def test_metrics_tell_the_health_of_every_lane(ports: Any):
    Keeper(ports).heard(a_call(), Answer(Ending.RATE_LIMITED), NOW, POLICY)
    assert healths(ports.lanes, NOW, POLICY) == {"a": (0.0, False), "b": (1.0, True)}


def look(prober: Prober) -> None:
    async def once() -> None:
        await prober.look()
        await prober.finished()

    asyncio.run(once())


def test_the_prober_asks_when_it_is_time_and_not_before(ports: Any, clock: Clock):
    prober = Prober(ports, lambda: POLICY)
    look(prober)
    assert sorted(ports.probes.asked) == ["a", "b"]
    clock.later(29)
    look(prober)
    assert len(ports.probes.asked) == 2
    clock.later(2)
    look(prober)
    assert len(ports.probes.asked) == 4


def test_a_lane_that_rests_is_asked_sooner_and_comes_back_by_a_probe(ports: Any, clock: Clock):
    keeper, prober = Keeper(ports), Prober(ports, lambda: POLICY)
    ports.probes.ends["a"] = Ending.UNAVAILABLE
    for call in range(3):
        keeper.heard(a_call(call=call), Answer(Ending.UNAVAILABLE), clock.at, POLICY)
    assert ports.lanes.known(["a"]).healths["a"].rest is not None
    ports.probes.ends.clear()
    clock.later(10)
    look(prober)
    assert ports.lanes.known(["a"]).healths["a"].rest is None


def test_it_does_nothing_where_routing_by_health_is_off(ports: Any):
    look(Prober(ports, lambda: OFF))
    assert ports.probes.asked == []


def test_of_two_processes_one_probes_a_lane(shared: Any):
    other = Prober(shared, lambda: POLICY)
    shared.probes.during = lambda: asyncio.run(_look_meanwhile(other))
    look(Prober(shared, lambda: POLICY))
    assert sorted(shared.probes.asked) == ["a", "b"]


async def _look_meanwhile(other: Prober) -> None:
    await other.look()
    await other.finished()


def test_what_cannot_be_asked_is_left_alone_for_a_while(ports: Any, clock: Clock):
    ports.probes.ends = {"a": None, "b": None}
    prober = Prober(ports, lambda: POLICY)
    for _ in range(3):
        look(prober)
        clock.later(1)
    assert sorted(ports.probes.asked) == ["a", "b"]
    assert ports.lanes.known(["a"]).healths.get("a", Health()) == Health()


def test_a_key_that_may_not_list_models_is_not_a_refused_one(ports: Any, clock: Clock):
    ports.probes.ends["a"] = Ending.AUTH
    prober = Prober(ports, lambda: POLICY)
    look(prober)
    known = ports.lanes.known(["a"]).healths["a"]
    assert (known.rest, known.probes) == (None, (True,))
    Keeper(ports).heard(a_call(), Answer(Ending.AUTH), NOW, POLICY)
    clock.later(11)
    look(prober)
    known = ports.lanes.known(["a"]).healths["a"]
    assert (known.rest is not None, known.probes[-1]) == (True, False)


def test_a_prober_stops_when_it_is_told(ports: Any):
    async def life() -> None:
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()
        ports.probes.during = partial(loop.call_soon_threadsafe, begun.set)
        prober = Prober(ports, lambda: POLICY)
        prober.start()
        await begun.wait()
        await prober.stop()

    asyncio.run(life())
    asked = len(ports.probes.asked)
    assert asked
    assert sum(bool(one.probes) for one in ports.lanes.known(["a", "b"]).healths.values()) == asked
