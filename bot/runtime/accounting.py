"""Count, log and audit what a pass decided and what ended in it: each once, whatever is replayed.

What is new is told by comparing the run with the one that is stored. Names are seed 4's.
"""

from collections.abc import Mapping
from datetime import timedelta

from bot.domain.decisions import Decision, Ignore
from bot.domain.events import ButtonPressed, CommandGiven, Event, GateAnswered, RetryAsked
from bot.domain.history import HistoryRow, history
from bot.domain.ports import Audit, Ports
from bot.domain.runs import Gate, GateState, Result, Run, Strategy

AUDITED: Mapping[str, str] = {Result.RETRIED.value: "retry"}
DECIDED: Mapping[GateState, str] = {GateState.APPROVED: "granted"}


def account(before: Run | None, run: Run, ports: Ports) -> None:
    """Account for what *run* has and *before*, the run as it is stored, has not."""
    _choices(before, run, ports)
    known = {row.id: row.outcome for row in history(before)} if before is not None else {}
    for row in history(run):
        _row(row, known.get(row.id), ports)
    _rejections(before, run, ports)
    asked = {gate.id: gate.state for gate in before.gates} if before is not None else {}
    for gate in run.gates:
        if gate.id not in asked:
            _gate(run, gate, "requested", ports)
        if gate.state is not GateState.PENDING and gate.state is not asked.get(gate.id):
            _gate(run, gate, DECIDED.get(gate.state, gate.state.value), ports)


def refused(event: Event, decision: Decision, audit: Audit, *, key: str) -> None:
    """Audit that somebody asked for something and did not get it; *key* is the event's own."""
    match event:
        case CommandGiven() | ButtonPressed():
            by = event.author
        case GateAnswered() | RetryAsked():
            by = event.by
        case _:
            return
    if isinstance(decision.verdict, Ignore):
        detail = {"event": type(event).__name__, "by": by, "reason": decision.verdict.reason}
        audit.append(f"{key}:{event.pull}:refused", "command.refused", str(event.pull), detail)


def _rejections(before: Run | None, run: Run, ports: Ports) -> None:
    """Audit each attempt that came to nothing, with what stopped its changes."""
    earlier = before.attempts if before is not None else ()
    known = {one.started_at for one in earlier if one.result is Result.REJECTED}
    for one in run.attempts:
        if one.result is not Result.REJECTED or one.started_at in known:
            continue
        tried = [f"{backend}: {why}" for backend, why in one.tried]
        detail = {"attempt": one.number, "head": one.head, "reason": one.reason, "tried": tried}
        key = f"{run.id}:{one.started_at.isoformat()}:rejected"
        ports.audit.append(key, "attempt.rejected", run.id, detail)


def _choices(before: Run | None, run: Run, ports: Ports) -> None:
    decided = before.choices[-1].number if before is not None and before.choices else 0
    for choice in run.choices:
        if choice.number <= decided:
            continue
        if choice.backoff_s is not None:
            ports.telemetry.took("autofix_backoff", timedelta(seconds=choice.backoff_s))
        if choice.strategy is Strategy.REPLAN:
            ports.telemetry.event("autofix_replan")


def _row(row: HistoryRow, before: str | None, ports: Ports) -> None:
    """Account for a failing check of a choice; *before* is its outcome so far, None when new."""
    if before is None and row.signal_type:
        _audit(row, "autofix.classified", ports)
    if before is None and row.strategy is Strategy.REPLAN:
        _audit(row, "autofix.replanned", ports)
    if not row.outcome or row.outcome == before:
        return
    ports.telemetry.event("autofix", run_id=row.run, **_fields(row))
    _audit(row, f"autofix.{AUDITED.get(row.outcome, row.outcome)}", ports)
    if row.signal_type:
        labels = {"signal_type": row.signal_type, "outcome": row.outcome}
        ports.telemetry.event("autofix_attempt", **labels)


def _audit(row: HistoryRow, kind: str, ports: Ports) -> None:
    ports.audit.append(f"{row.id}:{kind}", kind, row.run, {"check": row.check, **_fields(row)})


def _gate(run: Run, gate: Gate, status: str, ports: Ports) -> None:
    detail = {
        "gate": gate.id,
        "head": gate.head,
        "types": gate.types,
        "reason": gate.reason,
        "by": gate.by,
        "note": gate.note,
    }
    ports.audit.append(f"{gate.id}:{status}", f"approval.{status}", run.id, detail)
    for kind in gate.types:
        ports.telemetry.event("approval_request", gate_type=kind, status=status)


def _fields(row: HistoryRow) -> dict[str, str]:
    return {
        "step_id": row.step,
        "signal_type": row.signal_type,
        "strategy": row.strategy.value,
        "outcome": row.outcome,
        "attempt": str(row.attempt),
    }
