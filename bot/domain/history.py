"""A run as seed 4 tells it: its repairs, its retry state and its escalations, row by row.

The store keeps these rows as tables and the API answers with them, so both say the same. Ids depend
on the run alone: the same run gives the same rows.
"""

from collections.abc import Mapping
from datetime import datetime

from bot.domain.runs import Attempt, Choice, Result, Run, Strategy
from bot.domain.values import RunId, Value

OUTCOMES: Mapping[Result, str] = {
    Result.WORKING: "",  # not known yet
    Result.RETRIED: "retried",
    Result.PATCH_APPLIED: "patch_applied",
    Result.PATCH_POSTED: "escalated",  # a person must take it over
    Result.REPLANNED: "replanned",
    Result.REJECTED: "retried",  # the next attempt follows
    Result.ESCALATED: "escalated",
    Result.ROLLED_BACK: "rolled_back",
    Result.GAVE_UP: "gave_up",
    Result.BLOCKED: "blocked",
    Result.SUPERSEDED: "superseded",
}
# Names among a choice's inputs, and seed 4's limits where a run has no choice yet.
TOTAL_ALLOWED, TOTAL_DEFAULT = "total attempts allowed", 6
PER_STEP_ALLOWED, PER_STEP_DEFAULT = "attempts allowed per check", 3


class HistoryRow(Value, frozen=True):
    """What one choice did about one failing check; `outcome` is empty while it is not known.

    A choice about no check in particular has one row, without a step and a signal type.
    """

    id: str
    run: RunId
    step: str
    check: str
    signal_type: str
    strategy: Strategy
    outcome: str
    attempt: int
    backoff_s: float | None
    created_at: datetime
    updated_at: datetime


class RetryState(Value, frozen=True):
    """How often was tried since the last reset, and how often is allowed.

    `counter` is the number of the newest attempt, as the pull request's comments count them;
    `per_step` counts by check.
    """

    counter: int
    per_step: dict[str, int]
    total: int
    last_backoff_s: float | None
    total_allowed: int
    per_step_allowed: int


class Escalation(Value, frozen=True):
    """A person was asked; `gate` is where an answer is awaited, empty when there is none."""

    id: str
    run: RunId
    reason: str
    signal_types: tuple[str, ...]
    gate: str
    at: datetime


def step_id(run: RunId, check: str) -> str:
    """Return the id of a step: one failing check of a run."""
    return f"{run}/{check}"


def history(run: Run) -> tuple[HistoryRow, ...]:
    """Return a row for each choice and failing check, oldest first."""
    return tuple(row for choice in run.choices for row in _rows(run, choice))


def retry_state(run: Run) -> RetryState:
    """Return where the run stands with its limits, which its newest choice went by."""
    counted = run.attempts[run.since :]
    names = [name for attempt in counted for name in dict.fromkeys(attempt.failing)]
    waits = [choice.backoff_s for choice in run.choices if choice.backoff_s is not None]
    limits = dict(run.choices[-1].inputs) if run.choices else {}
    return RetryState(
        counter=counted[-1].number if counted else 0,
        per_step={name: names.count(name) for name in sorted(set(names))},
        total=len(counted),
        last_backoff_s=waits[-1] if waits else None,
        total_allowed=int(limits.get(TOTAL_ALLOWED, TOTAL_DEFAULT)),
        per_step_allowed=int(limits.get(PER_STEP_ALLOWED, PER_STEP_DEFAULT)),
    )


def escalations(run: Run) -> tuple[Escalation, ...]:
    """Return the choices that asked a person, oldest first."""
    asked = [choice for choice in run.choices if choice.strategy is Strategy.ESCALATE]
    gates = {}
    for gate in run.gates:  # belongs to the last choice before it on the same head
        before = [c.number for c in asked if c.head == gate.head and c.at <= gate.asked_at]
        gates[max(before, default=0)] = gate.id
    return tuple(
        Escalation(
            id=_id(run, choice),
            run=run.id,
            reason=choice.reason,
            signal_types=tuple(dict.fromkeys(one.type.value for one in choice.judged)),
            gate=gates.get(choice.number, ""),
            at=choice.at,
        )
        for choice in asked
    )


def _rows(run: Run, choice: Choice) -> list[HistoryRow]:
    attempt = _attempt(run, choice)
    result = attempt.result if attempt else choice.result
    seen = [(one.check, one.type.value) for one in choice.judged] or [("", "")]
    return [
        HistoryRow(
            id=f"{_id(run, choice)}.{place}",
            run=run.id,
            step=step_id(run.id, check) if check else "",
            check=check,
            signal_type=kind,
            strategy=choice.strategy,
            outcome=OUTCOMES[result],
            attempt=choice.attempt,
            backoff_s=choice.backoff_s,
            created_at=choice.at,
            updated_at=(attempt and attempt.ended_at) or choice.at,
        )
        for place, (check, kind) in enumerate(seen, start=1)
    ]


def _attempt(run: Run, choice: Choice) -> Attempt | None:
    """Return the attempt that the choice led to; after a reset a number may come again."""
    of_number = [one for one in run.attempts if one.number == choice.attempt]
    return min(of_number, key=lambda one: abs(one.started_at - choice.at), default=None)


def _id(run: Run, choice: Choice) -> str:
    return f"{run.id}.{choice.number}"
