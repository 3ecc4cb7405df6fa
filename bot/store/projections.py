"""Seed 4's tables, worked out of a run and written in the transaction that stores it.

The run is the truth; these rows are for those who read the database. Their ids depend on the run
alone, so a run that is saved again changes only what has changed. A row stays when the run forgets
its oldest choices.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from bot.domain.history import escalations, history, retry_state
from bot.domain.runs import Run
from bot.store.tables import (
    APPROVALS,
    AUTO_FIX_RUNS,
    ESCALATIONS,
    PLAN_DELTAS,
    RETRY_STATES,
    insert,
    plain,
)

Rows = list[dict[str, Any]]


def project(connection: sa.Connection, run: Run) -> None:
    """Bring the tables to what *run* says."""
    for table, rows in rows_of(run).items():
        if rows:
            new = insert(connection, table)
            changed = {c.name: new.excluded[c.name] for c in table.columns if not c.primary_key}
            connection.execute(new.on_conflict_do_update(index_elements=["id"], set_=changed), rows)


def rows_of(run: Run) -> Mapping[sa.Table, Rows]:
    """Return the rows of each table."""
    return {
        table: [{"run_id": run.id, **_storable(row)} for row in rows]
        for table, rows in (
            (AUTO_FIX_RUNS, _auto_fix_runs(run)),
            (RETRY_STATES, _retry_states(run)),
            (PLAN_DELTAS, _plan_deltas(run)),
            (ESCALATIONS, _escalations(run)),
            (APPROVALS, _approvals(run)),
        )
    }


def _auto_fix_runs(run: Run) -> Iterator[dict[str, Any]]:
    for row in history(run):
        yield {
            "id": row.id,
            "step_id": row.step,
            "step_name": row.check,
            "signal_type": row.signal_type,
            "strategy": row.strategy.value,
            "outcome": row.outcome,
            "attempt": row.attempt,
            "backoff": row.backoff_s,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
        }


def _retry_states(run: Run) -> Iterator[dict[str, Any]]:
    state = retry_state(run)
    yield {
        "id": run.id,
        "attempt_counter": state.counter,
        "per_step_attempts": state.per_step,
        "total_attempts": state.total,
        "last_backoff_seconds": state.last_backoff_s,
        "max_total_attempts": state.total_allowed,
        "max_per_step_attempts": state.per_step_allowed,
        "created_at": run.started_at,
        "updated_at": run.updated_at,
    }


def _plan_deltas(run: Run) -> Iterator[dict[str, Any]]:
    for delta in run.deltas:
        yield {
            "id": delta.id,
            "original_plan_id": delta.original,
            "new_plan_id": delta.new,
            "delta_data": {"added": delta.added, "removed": delta.removed},
            "triggered_by": delta.triggered_by,
            "created_at": delta.at,
        }


def _escalations(run: Run) -> Iterator[dict[str, Any]]:
    for one in escalations(run):
        yield {
            "id": one.id,
            "reason": one.reason,
            "signal_types": one.signal_types,
            "gate_id": one.gate,
            "created_at": one.at,
        }


def _approvals(run: Run) -> Iterator[dict[str, Any]]:
    for gate in run.gates:
        yield {
            "id": gate.id,
            "repo": run.pull.repo,
            "number": run.pull.number,
            "types": gate.types,
            "head": gate.head,
            "reason": gate.reason,
            "state": gate.state.value,
            "asked_by": gate.asked_by,
            "asked_at": gate.asked_at,
            "expires_at": gate.expires_at,
            "answered_by": gate.by,
            "answered_at": gate.at,
            "note": gate.note,
        }


def _storable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with lists and maps as JSON, and with texts that every engine can keep."""
    stored = dict(row)
    for name, value in row.items():
        if isinstance(value, tuple | dict):
            stored[name] = msgspec.json.encode(value).decode()
        elif isinstance(value, str):
            stored[name] = plain(value)
    return stored
