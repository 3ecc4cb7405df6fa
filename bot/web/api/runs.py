"""`/api/meta/v3/runs/{run_id}/…`: what a run did, what it asked people, and another try.

The shapes are those of Meta-Builder v3; what goes beyond them is added, nothing is renamed. A retry
is stored and answered with 202: whether the run may be tried again is the worker's to say.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
from starlette.routing import Route

from bot.domain import history
from bot.domain.events import RetryAsked
from bot.domain.leaks import redact
from bot.domain.ports import Clock
from bot.domain.runs import Gate, Plan, PlanDelta, Run, RunState
from bot.domain.values import RunId, Secret
from bot.web.api.endpoints import Call, Login, Refused, endpoint, hand_over, read
from bot.web.webhooks import Inbox

PATH = "/api/meta/v3/runs/{run_id}"
EXAMPLE = '{"requested_by": "GitHub login"}'

# A retry of these could only be a retry of something else.
DONE = {
    RunState.GREEN: "the run has ended green: there is nothing to try again",
    RunState.SUPERSEDED: "a newer run has taken its place: ask for that one",
    RunState.CLOSED: "the pull request was closed",
}


class Repair(msgspec.Struct, frozen=True):
    """What one choice did about one failing check; `backoff` is seconds."""

    id: str
    step_id: str
    step_name: str
    signal_type: str
    strategy: str
    outcome: str
    attempt: int
    backoff: float | None
    created_at: datetime
    updated_at: datetime


class RetryState(msgspec.Struct, frozen=True):
    """How often was tried since the last reset, in all and by check, and how often is allowed."""

    total_attempts: int
    max_total_attempts: int
    per_step_attempts: dict[str, int]
    max_per_step_attempts: int
    last_backoff_seconds: float | None


class Autofix(msgspec.Struct, frozen=True):
    """The history of a run."""

    run_id: str
    history: list[Repair]
    retry_state: RetryState


class Escalation(msgspec.Struct, frozen=True):
    """A person was asked; `gate_id` is where an answer is awaited, null where a look is enough."""

    id: str
    reason: str
    signal_types: tuple[str, ...]
    gate_id: str | None
    created_at: datetime


class GateRow(msgspec.Struct, frozen=True):
    """A gate without its change, which stands on the pull request; `sha` is what it is bound to."""

    gate_id: str
    gate_types: tuple[str, ...]
    status: str
    sha: str
    reason: str
    required_role: str
    requested_by: str | None
    created_at: datetime
    expires_at: datetime
    answered_by: str | None
    answered_at: datetime | None
    answer_reason: str | None


class Escalations(msgspec.Struct, frozen=True):
    """What a run asked people."""

    run_id: str
    escalations: list[Escalation]
    gates: list[GateRow]


class PlanRow(msgspec.Struct, frozen=True):
    """A plan; `text` is a model's own words, `by` which models' they are."""

    id: str
    goals: list[str]
    text: str
    by: tuple[str, ...]
    created_at: datetime


class DeltaRow(msgspec.Struct, frozen=True):
    """How a plan differs from the one before; `delta_data` has the goals `added` and `removed`."""

    id: str
    original_plan_id: str | None
    new_plan_id: str
    delta_data: dict[str, list[str]]
    triggered_by: str
    created_at: datetime


class PlanDeltas(msgspec.Struct, frozen=True):
    """How the plans of a run changed."""

    run_id: str
    plan_deltas: list[DeltaRow]
    plans: list[PlanRow]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In whose name another try is asked for."""

    requested_by: Login


class Accepted(msgspec.Struct, frozen=True):
    """The wish is stored; the worker judges it."""

    run_id: str
    status: str = "accepted"


def routes(
    token: Secret | None, *, read_run: Callable[[RunId], Run | None], inbox: Inbox, clock: Clock
) -> Sequence[Route]:
    """Return the routes, or none without a *token* that callers must bear.

    *read_run* finds a run by its id; it may block.
    """
    if token is None:
        return ()

    async def found(call: Call) -> Run:
        run_id = call.names["run_id"]
        known = run_id.isprintable()  # PostgreSQL refuses to be asked for a NUL
        run = await asyncio.to_thread(read_run, RunId(run_id)) if known else None
        if run is None:
            raise Refused(404, f"there is no run {run_id}")
        return run

    async def told_autofix(call: Call) -> object:
        return autofix(await found(call))

    async def told_escalations(call: Call) -> object:
        return escalations(await found(call))

    async def told_plan_deltas(call: Call) -> object:
        return plan_deltas(await found(call))

    async def retry(call: Call) -> object:
        wanted = read(call.body, Wanted, example=EXAMPLE)
        run = await found(call)
        if run.state in DONE:
            raise Refused(409, DONE[run.state], run_id=run.id, state=run.state)
        await hand_over(RetryAsked(run.pull, run.id, wanted.requested_by), inbox, clock)
        return Accepted(run.id)

    return (
        endpoint(f"{PATH}/autofix", told_autofix, token=token, method="GET"),
        endpoint(f"{PATH}/escalations", told_escalations, token=token, method="GET"),
        endpoint(f"{PATH}/plan-deltas", told_plan_deltas, token=token, method="GET"),
        endpoint(f"{PATH}/retry", retry, token=token, method="POST", status=202),
    )


def autofix(run: Run) -> Autofix:
    """Return what the run did, a row for each choice and failing check, oldest first."""
    state = history.retry_state(run)
    return Autofix(
        run_id=run.id,
        history=[
            Repair(
                id=row.id,
                step_id=row.step,
                step_name=row.check,
                signal_type=row.signal_type,
                strategy=row.strategy,
                outcome=row.outcome,
                attempt=row.attempt,
                backoff=row.backoff_s,
                created_at=row.created_at,
                updated_at=row.updated_at,
            )
            for row in history.history(run)
        ],
        retry_state=RetryState(
            total_attempts=state.total,
            max_total_attempts=state.total_allowed,
            per_step_attempts=state.per_step,
            max_per_step_attempts=state.per_step_allowed,
            last_backoff_seconds=state.last_backoff_s,
        ),
    )


def escalations(run: Run) -> Escalations:
    """Return what the run asked people, and every gate it came to, oldest first."""
    asked = [
        Escalation(row.id, redact(row.reason), row.signal_types, row.gate or None, row.at)
        for row in history.escalations(run)
    ]
    return Escalations(run.id, asked, [_gate(gate) for gate in run.gates])


def plan_deltas(run: Run) -> PlanDeltas:
    """Return how the run's plans changed, oldest first."""
    return PlanDeltas(
        run.id, [_delta(delta) for delta in run.deltas], [_plan(plan) for plan in run.plans]
    )


def _gate(gate: Gate) -> GateRow:
    return GateRow(
        gate_id=gate.id,
        gate_types=gate.types,
        status=gate.state,
        sha=gate.head,
        reason=redact(gate.reason),
        required_role=gate.role,
        requested_by=gate.asked_by or None,
        created_at=gate.asked_at,
        expires_at=gate.expires_at,
        answered_by=gate.by or None,
        answered_at=gate.at,
        answer_reason=redact(gate.note) or None,
    )


def _plan(plan: Plan) -> PlanRow:
    return PlanRow(plan.id, _redacted(plan.goals), redact(plan.text), plan.by, plan.at)


def _delta(delta: PlanDelta) -> DeltaRow:
    return DeltaRow(
        id=delta.id,
        original_plan_id=delta.original or None,
        new_plan_id=delta.new,
        delta_data={"added": _redacted(delta.added), "removed": _redacted(delta.removed)},
        triggered_by=delta.triggered_by,
        created_at=delta.at,
    )


def _redacted(texts: Sequence[str]) -> list[str]:
    return [redact(text) for text in texts]
