"""Seed 4's tables say what the stored run says, on both engines and however often it is saved."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from bot.domain.runs import (
    Attempt,
    Choice,
    Gate,
    GateState,
    Judged,
    PlanDelta,
    Result,
    Run,
    RunState,
    Strategy,
)
from bot.domain.values import FailureType, PullRef, RunId, Sha
from bot.store.database import Database, connect
from bot.store.migrate import migrate
from bot.store.runs import SqlRuns
from bot.store.tables import (
    APPROVALS,
    AUTO_FIX_RUNS,
    ESCALATIONS,
    PLAN_DELTAS,
    RETRY_STATES,
    RUNS,
)
from tests.support.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER = NOW + timedelta(minutes=3)
HEAD = Sha("a" * 40)
TABLES = (AUTO_FIX_RUNS, RETRY_STATES, PLAN_DELTAS, ESCALATIONS, APPROVALS)

RUN = Run(
    RunId("r1"),
    PullRef("o/r", 7),
    RunState.WAITING_PERSON,
    HEAD,
    1,
    NOW,
    LATER,
    attempts=(
        Attempt(1, "t", HEAD, NOW, result=Result.REJECTED, failing=("lint",), ended_at=LATER),
    ),
    choices=(
        Choice(
            1,
            NOW,
            HEAD,
            Strategy.PATCH,
            "lint: the code can be mended",
            judged=(Judged("lint", FailureType.LINT, 0.9, "F401"),),
            inputs=(("total attempts allowed", "10"), ("attempts allowed per check", "5")),
            attempt=1,
            backoff_s=9.5,
        ),
        Choice(
            2,
            LATER,
            HEAD,
            Strategy.ESCALATE,
            "a nul \x00 and an é",
            judged=(Judged("sec", FailureType.SECURITY, 0.8, "B105"),),
            inputs=(("total attempts allowed", "10"), ("attempts allowed per check", "5")),
            result=Result.ESCALATED,
        ),
    ),
    deltas=(PlanDelta("r1.delta1", "r1.plan1", "r1.plan2", ("a",), ("b",), "many_types", LATER),),
    gates=(Gate("r1-1", ("security",), HEAD, "why", "diff", LATER, LATER, LATER, asked_by="ann"),),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    opened = connect(url, tmp_path)
    migrate(opened)
    yield opened
    opened.close()


def rows(database: Database, table: sa.Table) -> list[dict[str, Any]]:
    with database.read() as connection:
        found = connection.execute(sa.select(table).order_by(table.c.id)).mappings()
        return [dict(row) for row in found]


def test_a_stored_run_is_told_by_every_table(database: Database):
    SqlRuns(database).save(RUN)

    first, second = rows(database, AUTO_FIX_RUNS)
    assert first == {
        "id": "r1.1.1",
        "run_id": "r1",
        "step_id": "r1/lint",
        "step_name": "lint",
        "signal_type": "lint",
        "strategy": "patch",
        "outcome": "retried",
        "attempt": 1,
        "backoff": 9.5,
        "created_at": NOW,
        "updated_at": LATER,
    }
    assert (second["signal_type"], second["outcome"], second["backoff"]) == (
        "security",
        "escalated",
        None,
    )
    (state,) = rows(database, RETRY_STATES)
    assert state == {
        "id": "r1",
        "run_id": "r1",
        "attempt_counter": 1,
        "per_step_attempts": '{"lint":1}',
        "total_attempts": 1,
        "last_backoff_seconds": 9.5,
        "max_total_attempts": 10,
        "max_per_step_attempts": 5,
        "created_at": NOW,
        "updated_at": LATER,
    }
    (delta,) = rows(database, PLAN_DELTAS)
    assert json.loads(delta.pop("delta_data")) == {"added": ["a"], "removed": ["b"]}
    assert delta == {
        "id": "r1.delta1",
        "original_plan_id": "r1.plan1",
        "new_plan_id": "r1.plan2",
        "run_id": "r1",
        "triggered_by": "many_types",
        "created_at": LATER,
    }
    (escalation,) = rows(database, ESCALATIONS)
    assert escalation == {
        "id": "r1.2",
        "run_id": "r1",
        "reason": "a nul \ufffd and an é",
        "signal_types": '["security"]',
        "gate_id": "r1-1",
        "created_at": LATER,
    }
    (approval,) = rows(database, APPROVALS)
    assert approval == {
        "id": "r1-1",
        "run_id": "r1",
        "repo": "o/r",
        "number": 7,
        "types": '["security"]',
        "head": HEAD,
        "reason": "why",
        "state": "pending",
        "asked_by": "ann",
        "asked_at": LATER,
        "expires_at": LATER,
        "answered_by": "",
        "answered_at": None,
        "note": "",
    }


def test_saving_twice_changes_nothing(database: Database):
    runs = SqlRuns(database)
    runs.save(RUN)
    before = {table.name: rows(database, table) for table in TABLES}
    runs.save(RUN)
    assert {table.name: rows(database, table) for table in TABLES} == before
    assert all(before.values())


def test_rows_change_with_their_run(database: Database):
    runs = SqlRuns(database)
    runs.save(RUN)
    answered = msgspec.structs.replace(
        RUN.gates[0], state=GateState.APPROVED, by="bob", at=LATER, note="fine", diff=""
    )
    mended = msgspec.structs.replace(RUN.attempts[0], result=Result.PATCH_APPLIED)
    runs.save(msgspec.structs.replace(RUN, gates=(answered,), attempts=(mended,)))

    (approval,) = rows(database, APPROVALS)
    assert (approval["state"], approval["answered_by"]) == ("approved", "bob")
    assert (approval["answered_at"], approval["note"]) == (LATER, "fine")
    assert rows(database, AUTO_FIX_RUNS)[0]["outcome"] == "patch_applied"


def test_what_a_run_forgets_stays_in_the_tables(database: Database):
    runs = SqlRuns(database)
    runs.save(RUN)
    runs.save(msgspec.structs.replace(RUN, choices=RUN.choices[1:]))
    assert [row["id"] for row in rows(database, AUTO_FIX_RUNS)] == ["r1.1.1", "r1.2.1"]


def test_a_run_and_its_rows_are_stored_together_or_not_at_all(database: Database):
    with database.write() as connection:
        connection.exec_driver_sql("DROP TABLE escalations")
    with pytest.raises(Exception, match="escalations"):
        SqlRuns(database).save(RUN)
    assert [rows(database, table) for table in (RUNS, AUTO_FIX_RUNS, RETRY_STATES)] == [[], [], []]
