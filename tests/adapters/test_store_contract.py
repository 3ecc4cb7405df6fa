"""One contract for the in-memory twin, SQLite and PostgreSQL."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.domain.errors import Broken, ConfigError, Gone, NeedsPerson, TryLater
from bot.domain.ports import Audit, Deliveries, Delivery, Runs
from bot.domain.runs import Attempt, Gate, Run, RunState
from bot.domain.values import Observation, PullRef, Record, RunId, Sha
from bot.store.audit import SqlAudit
from bot.store.database import Database, connect
from bot.store.deliveries import SqlDeliveries
from bot.store.history import FlakyTest, SqlHistory
from bot.store.memory import MemoryAudit, MemoryDeliveries, MemoryHistory, MemoryRuns
from bot.store.migrate import migrate
from bot.store.runs import SqlRuns
from tests.support.postgres import Postgres, postgres, postgres_url

__all__ = ["postgres", "postgres_url"]

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
PULL = PullRef("octo/hello", 7)
OTHER = PullRef("octo/hello", 8)


class StoppedClock:
    def now(self) -> datetime:
        return NOW


@dataclass
class Store:
    deliveries: Deliveries
    runs: Runs
    audit: Audit
    history: SqlHistory | MemoryHistory
    count: Callable[[], object]
    by_gate: Callable[[str], Run | None]


def on(database: Database) -> Store:
    migrate(database)
    runs, audit = SqlRuns(database), SqlAudit(database, StoppedClock())
    deliveries, history = SqlDeliveries(database), SqlHistory(database)
    return Store(deliveries, runs, audit, history, runs.count, runs.by_gate)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        runs, audit = MemoryRuns(), MemoryAudit(StoppedClock())
        yield Store(MemoryDeliveries(), runs, audit, MemoryHistory(), runs.count, runs.by_gate)
        return
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    database = connect(url, tmp_path)
    yield on(database)
    database.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    database = connect("", tmp_path)
    migrate(database)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    opened = connect(url, tmp_path)
    migrate(opened)
    yield opened
    opened.close()


def a_delivery(
    guid: str = "g-1", *, body: bytes = b'{"zen":"\xc3\xa9"}', after_s: int = 0
) -> Delivery:
    return Delivery(guid, "check_run", "completed", body, NOW + timedelta(seconds=after_s))


def a_run(name: str = "run-1", *, pull: PullRef = PULL, after_s: int = 0, **changes: object) -> Run:
    at = NOW + timedelta(seconds=after_s)
    values = {
        "id": RunId(name),
        "pull": pull,
        "state": RunState.WORKING,
        "head": Sha("a" * 40),
        "generation": 1,
        "started_at": at,
        "updated_at": at,
    }
    return Run(**{**values, **changes})  # type: ignore[arg-type]  # each key is a field of Run


class TestDeliveries:
    def test_what_was_accepted_is_read_back(self, store: Store):
        delivery = a_delivery(body=b"\x00\xff" * 5000)
        assert store.deliveries.accept([delivery]) == 1
        assert store.deliveries.read("g-1") == delivery
        assert store.deliveries.waiting(10) == [delivery]

    def test_a_batch_counts_the_new_ones_only(self, store: Store):
        assert store.deliveries.accept([a_delivery("a"), a_delivery("b"), a_delivery("a")]) == 2
        assert store.deliveries.accept([a_delivery("b"), a_delivery("c")]) == 1
        assert store.deliveries.accept([]) == 0

    def test_the_first_body_of_a_guid_stays(self, store: Store):
        store.deliveries.accept([a_delivery(body=b"first")])
        store.deliveries.accept([a_delivery(body=b"second")])
        assert store.deliveries.read("g-1").body == b"first"

    def test_a_batch_may_be_larger_than_one_statement(self, store: Store):
        batch = [a_delivery(f"g-{number}") for number in range(1201)]
        assert store.deliveries.accept(batch) == 1201

    def test_an_empty_body_survives(self, store: Store):
        assert store.deliveries.accept([a_delivery("a", body=b""), a_delivery("b")]) == 2
        assert store.deliveries.read("a").body == b""

    def test_the_oldest_wait_first(self, store: Store):
        store.deliveries.accept([a_delivery("late", after_s=9), a_delivery("soon", after_s=1)])
        store.deliveries.accept([a_delivery("now")])
        assert [delivery.guid for delivery in store.deliveries.waiting(2)] == ["now", "soon"]

    @pytest.mark.parametrize("state", ["done", "ignored", "malformed", "failed"])
    def test_a_settled_delivery_waits_no_more(self, store: Store, state: str):
        store.deliveries.accept([a_delivery()])
        store.deliveries.settle("g-1", state, "because \x00")
        store.deliveries.settle("g-1", state, "twice is fine")
        assert store.deliveries.waiting(10) == []
        assert store.deliveries.read("g-1") == a_delivery()

    def test_a_settled_delivery_sent_again_does_not_come_back(self, store: Store):
        store.deliveries.accept([a_delivery()])
        store.deliveries.settle("g-1", "done")
        assert store.deliveries.accept([a_delivery()]) == 0
        assert store.deliveries.waiting(10) == []

    def test_only_known_states_and_guids_are_settled(self, store: Store):
        with pytest.raises(Gone):
            store.deliveries.settle("g-1", "done")
        with pytest.raises(Broken):
            store.deliveries.settle("g-1", "new")
        with pytest.raises(Gone):
            store.deliveries.read("g-1")

    def test_a_malformed_one_is_kept_and_not_worked_on(self, store: Store):
        store.deliveries.keep_malformed(a_delivery(body=b"{"))
        store.deliveries.keep_malformed(a_delivery(body=b"{"))
        assert store.deliveries.read("g-1").body == b"{"
        assert store.deliveries.waiting(10) == []

    def test_old_settled_deliveries_can_be_forgotten(self, store: Store):
        store.deliveries.accept(
            [a_delivery("old"), a_delivery("waits"), a_delivery("new", after_s=60)]
        )
        store.deliveries.settle("old", "done")
        store.deliveries.settle("new", "done")
        assert store.deliveries.forget(NOW + timedelta(seconds=30)) == 1
        assert [delivery.guid for delivery in store.deliveries.waiting(10)] == ["waits"]
        assert store.deliveries.read("new").guid == "new"
        with pytest.raises(Gone):
            store.deliveries.read("old")


class TestFences:
    def test_an_unknown_pull_request_has_generation_zero(self, store: Store):
        assert (store.runs.fence(PULL).generation, store.runs.fence(PULL).head) == (0, "")

    def test_a_new_head_raises_the_generation_and_the_same_head_does_not(self, store: Store):
        first = store.runs.advance(PULL, Sha("a"), "opened")
        again = store.runs.advance(PULL, Sha("a"), "told twice")
        second = store.runs.advance(PULL, Sha("b"), "pushed")
        assert (first.generation, again, second.generation) == (1, first, 2)
        assert store.runs.fence(PULL) == second
        assert (second.head, second.reason) == ("b", "pushed")

    def test_a_bump_raises_it_once_for_each_key_and_keeps_the_head(self, store: Store):
        store.runs.advance(PULL, Sha("a"), "opened")
        first = store.runs.bump(PULL, "stopped", key="k1")
        assert (first.generation, first.head, first.reason) == (2, "a", "stopped")
        assert store.runs.bump(PULL, "stopped again", key="k1") == first
        assert store.runs.bump(PULL, "closed", key="k2").generation == 3
        assert store.runs.advance(PULL, Sha("a"), "same head").generation == 3

    def test_a_bump_may_come_first(self, store: Store):
        assert store.runs.bump(PULL, "closed", key="k").generation == 1
        assert store.runs.advance(PULL, Sha("a"), "reopened").generation == 2

    def test_a_stop_is_remembered_by_the_generation_that_it_began(self, store: Store):
        store.runs.advance(PULL, Sha("a"), "opened")
        assert store.runs.bump(PULL, "closed", key="k1").stopped == 0
        assert store.runs.bump(PULL, "stop", key="k2", stop=True).stopped == 3
        assert store.runs.bump(PULL, "closed", key="k3").stopped == 3
        assert store.runs.advance(PULL, Sha("b"), "pushed").stopped == 3
        assert store.runs.bump(OTHER, "stop", key="k4", stop=True).stopped == 1

    def test_pull_requests_do_not_share_a_fence(self, store: Store):
        store.runs.advance(PULL, Sha("a"), "opened")
        assert store.runs.fence(OTHER).generation == 0

    def test_no_generation_is_given_out_twice(self, store: Store):
        threads = 4
        start = threading.Barrier(threads)

        def bump(worker: int) -> list[int]:
            start.wait()
            keys = [f"{worker}-{number}" for number in range(5)]
            return [store.runs.bump(PULL, "race", key=key).generation for key in keys]

        with ThreadPoolExecutor(threads) as pool:
            given = [generation for some in pool.map(bump, range(threads)) for generation in some]
        assert sorted(given) == list(range(1, 21))


class TestRuns:
    def test_a_run_is_read_back_whole(self, store: Store):
        attempt = Attempt(number=1, trigger="pr-7-abc", head=Sha("a" * 40), started_at=NOW)
        run = a_run(attempts=(attempt,), reruns=(("test", 2),), reason="päuse", wake_at=NOW)
        store.runs.save(run)
        assert store.runs.read(RunId("run-1")) == run
        assert store.runs.read(RunId("run-2")) is None

    def test_the_last_save_counts(self, store: Store):
        store.runs.save(a_run())
        green = a_run(state=RunState.GREEN, updated_at=NOW + timedelta(hours=1))
        store.runs.save(green)
        assert store.runs.read(RunId("run-1")) == green
        assert store.count() == {"green": 1}

    def test_the_newest_run_is_the_one_that_began_last(self, store: Store):
        store.runs.save(a_run("second", after_s=5))
        store.runs.save(a_run("first", updated_at=NOW + timedelta(days=1)))
        store.runs.save(a_run("other", pull=OTHER, after_s=9))
        newest = store.runs.newest(PULL)
        assert newest is not None
        assert newest.id == "second"
        assert store.runs.newest(PullRef("octo/hello", 9)) is None

    def test_the_list_begins_with_the_last_change(self, store: Store):
        for number in range(4):
            store.runs.save(a_run(f"run-{number}", after_s=number))
        assert [run.id for run in store.runs.list(limit=2)] == ["run-3", "run-2"]
        assert len(store.runs.list()) == 4

    def test_attempts_are_counted_over_all_runs_of_the_pull_request(self, store: Store):
        store.runs.save(a_run("old", attempts=attempts_at(0, 10)))
        store.runs.save(a_run("new", after_s=15, attempts=attempts_at(15, 20), state=GREEN))
        store.runs.save(a_run("other", pull=OTHER, attempts=attempts_at(15)))
        counted = [
            store.runs.attempts_since(PULL, NOW + timedelta(seconds=since))
            for since in (-1, 0, 10, 11, 20, 21)
        ]
        assert counted == [4, 4, 3, 2, 1, 0]

    def test_an_attempt_of_a_run_that_began_long_ago_counts(self, store: Store):
        begun = 9 * 86_400
        later = NOW + timedelta(seconds=begun)
        store.runs.save(a_run("long", attempts=attempts_at(0, begun), updated_at=later))
        store.runs.save(a_run("over", attempts=attempts_at(0)))
        assert store.runs.attempts_since(PULL, later) == 1

    def test_only_newest_runs_wait_for_the_base(self, store: Store):
        for number, after_s, state in (
            (3, 0, WAITING),  # waits
            (1, 0, GREEN),
            (1, 5, WAITING),  # waits
            (2, 0, WAITING),
            (2, 5, GREEN),  # was overtaken
            (4, 0, RunState.WAITING_CI),
        ):
            pull = PullRef("octo/hello", number)
            store.runs.save(a_run(f"{number}-{after_s}", pull=pull, after_s=after_s, state=state))
        store.runs.save(a_run("elsewhere", pull=PullRef("octo/other", 5), state=WAITING))
        assert store.runs.waiting_for_base("octo/hello") == [
            PullRef("octo/hello", 1),
            PullRef("octo/hello", 3),
        ]
        assert store.runs.waiting_for_base("octo/none") == []

    def test_of_two_runs_that_began_at_once_one_is_the_newest(self, store: Store):
        for pull, first, second in ((PULL, GREEN, WAITING), (OTHER, WAITING, GREEN)):
            store.runs.save(a_run(f"a-{pull}", pull=pull, state=first))
            store.runs.save(a_run(f"b-{pull}", pull=pull, state=second))
        newest = store.runs.newest(PULL)
        assert newest is not None
        assert newest.state is WAITING
        assert store.runs.waiting_for_base(PULL.repo) == [PULL]

    def test_a_run_is_found_by_its_gate(self, store: Store):
        run = a_run(gates=(a_gate("run-1-1"), a_gate("run-1-2")))
        store.runs.save(run)
        store.runs.save(a_run("run-2", gates=(a_gate("run-2-1"),)))
        assert store.by_gate("run-1-2") == run
        assert store.by_gate("run-3-1") is None
        assert store.by_gate("\x00") is None


GREEN, WAITING = RunState.GREEN, RunState.WAITING_BASE


def attempts_at(*seconds: int) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(
            number=number,
            trigger="t",
            head=Sha("a" * 40),
            started_at=NOW + timedelta(seconds=after_s),
        )
        for number, after_s in enumerate(seconds, start=1)
    )


def a_gate(name: str) -> Gate:
    return Gate(name, ("security",), Sha("a" * 40), "why", "", NOW, NOW, NOW)


def observed(key: str, *, flaked: bool = True, check: str = "ci", fingerprint: str = "f"):
    return Observation(key, check, fingerprint, "test_a", flaked)


class TestHistory:
    def test_what_was_observed_is_summed_up_by_check_and_fingerprint(self, store: Store):
        later = NOW + timedelta(hours=1)
        one, two = observed("1"), observed("2", flaked=False)
        store.history.remember("o/r", [one, two], NOW)
        store.history.remember("o/r", [observed("3"), observed("4", check="lint")], later)
        store.history.remember("o/r", [observed("5", fingerprint="g")], NOW)
        store.history.remember("o/other", [observed("1")], NOW)
        asked = [("ci", "f"), ("lint", "f"), ("lint", "g"), ("ci", "f")]
        assert store.history.records("o/r", asked, NOW) == {
            ("ci", "f"): Record(3, 2, later),
            ("lint", "f"): Record(1, 1, later),
            ("lint", "g"): Record(),
        }
        assert store.history.records("o/r", [], NOW) == {}

    def test_the_same_observation_is_kept_once_and_as_it_was(self, store: Store):
        store.history.remember("o/r", [observed("1"), observed("1", flaked=False)], NOW)
        store.history.remember("o/r", [observed("1", flaked=False)], NOW + timedelta(days=1))
        store.history.remember("o/r", [], NOW)
        assert store.history.records("o/r", [("ci", "f")], NOW)["ci", "f"] == Record(1, 1, NOW)

    def test_what_was_seen_before_counts_no_more(self, store: Store):
        later = NOW + timedelta(seconds=1)
        store.history.remember("o/r", [observed("1")], NOW)
        store.history.remember("o/r", [observed("2")], later)
        assert store.history.records("o/r", [("ci", "f")], later)["ci", "f"] == Record(1, 1, later)

    def test_old_observations_can_be_forgotten(self, store: Store):
        store.history.remember("o/r", [observed("1")], NOW)
        store.history.remember("o/r", [observed("2")], NOW + timedelta(days=1))
        assert store.history.forget(NOW + timedelta(seconds=1)) == 1
        assert store.history.forget(NOW + timedelta(seconds=1)) == 0
        assert store.history.records("o/r", [("ci", "f")], NOW)["ci", "f"].seen == 1

    def test_any_text_can_be_looked_for(self, store: Store):
        odd = observed("k\x00", check="c\x00'; --", fingerprint="\x00é")
        store.history.remember("o/r", [odd], NOW)
        failure = (odd.check, odd.fingerprint)
        assert store.history.records("o/r", [failure], NOW) == {failure: Record(1, 1, NOW)}


class TestFlaky:
    def test_the_worst_come_first_and_the_reliable_not_at_all(self, database: Database):
        history, later = SqlHistory(database), NOW + timedelta(hours=1)
        for repo, test, verdicts in (
            ("o/a", "often", [True, True, False]),
            ("o/a", "once", [False, True, False]),
            ("o/a", "real", [False, False]),
            ("o/b", "twice", [True, True]),
        ):
            seen = [
                Observation(f"{test}-{n}", "ci", str(n), test, flaked)
                for n, flaked in enumerate(verdicts)
            ]
            history.remember(repo, seen[:-1], later)
            history.remember(repo, seen[-1:], NOW)
        twice = FlakyTest("o/b", "ci", "twice", 2, 2, 1.0, later)
        often = FlakyTest("o/a", "ci", "often", 3, 2, 0.667, later)
        once = FlakyTest("o/a", "ci", "once", 3, 1, 0.333, later)
        assert history.flaky() == [twice, often, once]
        assert history.flaky(limit=1) == [twice]
        assert history.flaky("o/a") == [often, once]
        assert history.flaky("o/none") == []


class TestAudit:
    def test_events_come_back_in_order_and_once(self, store: Store):
        store.audit.append("k2", "pushed", "octo/hello#7", {"commit": "abc", "lines": [1, 2]})
        store.audit.append("k1", "decided", "octo/hello#7", {"text": "nul \x00 é"})
        store.audit.append("k2", "pushed", "octo/hello#7", {"commit": "other"})
        store.audit.append("k3", "decided", "octo/hello#8", {})
        events = list(store.audit.of("octo/hello#7"))
        assert [(event["key"], event["kind"]) for event in events] == [
            ("k2", "pushed"),
            ("k1", "decided"),
        ]
        assert events[0]["detail"] == {"commit": "abc", "lines": [1, 2]}
        assert events[1]["detail"] == {"text": "nul \x00 é"}
        assert events[0]["at"] == NOW


class TestTrouble:
    def test_a_full_disk_loses_nothing_and_says_so(self, sqlite: Database):
        deliveries = SqlDeliveries(sqlite)
        deliveries.accept([a_delivery("before")])
        with sqlite.read() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
        noise = random.Random(1).randbytes(100_000)
        big = [a_delivery(f"big-{number}", body=noise) for number in range(8)]
        with pytest.raises(TryLater, match="disk is full"):
            deliveries.accept(big)
        with sqlite.read() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=1000000")
        assert [delivery.guid for delivery in deliveries.waiting(10)] == ["before"]
        assert deliveries.accept(big) == 8

    def test_a_database_that_is_down_is_met_with_try_later(
        self, postgres: Postgres, postgres_url: str, tmp_path: Path
    ):
        database = connect(postgres_url, tmp_path)
        migrate(database)
        deliveries = SqlDeliveries(database)
        deliveries.accept([a_delivery("before")])
        postgres.stop()
        try:
            with pytest.raises(TryLater, match="database"):
                deliveries.accept([a_delivery("lost?")])
            assert "database" in database.reach()
        finally:
            postgres.start()
        assert deliveries.accept([a_delivery("lost?")]) == 1
        assert database.reach() == ""
        database.close()

    def test_missing_tables_name_the_mend(self, tmp_path: Path):
        database = connect("", tmp_path)
        with pytest.raises(NeedsPerson, match="regreen migrate"):
            SqlRuns(database).fence(PULL)
        database.close()

    def test_one_process_holds_a_sqlite_file(self, sqlite: Database, tmp_path: Path):
        sqlite.lock()
        sqlite.lock()
        second = connect("", tmp_path)
        assert SqlRuns(second).fence(PULL).generation == 0  # reading needs no lock
        with pytest.raises(NeedsPerson, match=r"regreen\.db is in use .* REGREEN_DATABASE_URL"):
            second.lock()
        sqlite.close()
        second.lock()
        second.close()

    def test_sqlite_is_durable_and_its_second_engine_as_well(self, sqlite: Database):
        durable = sqlite.durable_engine()
        for engine in (sqlite.engine, durable):
            with engine.connect() as connection:
                names = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
                pragmas = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]
                assert pragmas == ["wal", 2, 30000, 1]
        durable.dispose()

    def test_a_write_takes_the_lock_before_it_reads(self, sqlite: Database, tmp_path: Path):
        second = connect("", tmp_path)
        with sqlite.write() as connection:
            connection.execute(sa.text("SELECT 1"))
            with second.engine.connect() as other:
                driver = other.connection.driver_connection
                assert driver is not None
                with pytest.raises(Exception, match="locked"):
                    driver.execute("PRAGMA busy_timeout=0").connection.execute("BEGIN IMMEDIATE")
        second.close()

    @pytest.mark.parametrize(
        "url",
        ["mysql://h/d", "sqlite:///:memory:", "nonsense"],
        ids=["another engine", "no file", "no url"],
    )
    def test_an_unusable_url_is_refused_by_name(self, url: str, tmp_path: Path):
        with pytest.raises(ConfigError, match="REGREEN_DATABASE_URL"):
            connect(url, tmp_path)

    def test_a_password_is_not_shown(self, tmp_path: Path):
        database = connect("postgresql://me:geheim@127.0.0.1:1/db", tmp_path)
        assert "geheim" not in database.reach()
        assert "127.0.0.1" in database.reach()
        database.close()
