"""What a run decided, and by what: every choice is kept with its inputs, to be read by people."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from bot.config.schema import Policy
from bot.domain.runs import Choice, Judged, Result, Run, Strategy
from bot.domain.values import FailingStep
from bot.repair.strategy import COURSES

KEPT = 50  # the newest: a run has few, whatever happens
MESSAGE_CHARACTERS = 300


def chosen(  # noqa: PLR0913 -- a record of many parts, all by keyword
    run: Run,
    policy: Policy,
    *,
    at: datetime,
    strategy: Strategy,
    reason: str,
    steps: Sequence[FailingStep] = (),
    inputs: Sequence[tuple[str, str]] = (),
    attempt: int = 0,
    result: Result = Result.WORKING,
    backoff_s: float | None = None,
) -> Run:
    """Return the run with one more choice, and with what it went by."""
    choice = Choice(
        number=run.choices[-1].number + 1 if run.choices else 1,
        at=at,
        head=run.head,
        strategy=strategy,
        reason=reason,
        judged=tuple(_judged(step) for step in steps),
        inputs=(*inputs, *_inputs(run, policy, steps)),
        attempt=attempt,
        result=result,
        backoff_s=backoff_s,
    )
    return msgspec.structs.replace(run, choices=(*run.choices, choice)[-KEPT:])


def _judged(step: FailingStep) -> Judged:
    signal = step.signal
    message = signal.message[:MESSAGE_CHARACTERS]
    return Judged(
        step.check.name,
        signal.type,
        signal.confidence,
        message,
        signal.fingerprint,
        upstream=step.upstream,
    )


def _inputs(run: Run, policy: Policy, steps: Sequence[FailingStep]) -> list[tuple[str, str]]:
    limits, reruns = policy.retry, dict(run.reruns)
    found = [
        ("attempts of this run", str(len(run.attempts) - run.since)),
        ("total attempts allowed", str(limits.total_attempts)),
        ("attempts allowed per check", str(limits.per_step_attempts)),
    ]
    for step in steps:
        name, kind = step.check.name, step.signal.type
        if COURSES[kind].first is Strategy.RETRY or name in reruns:
            allowed = limits.retries.get(kind.value, 0)
            found.append((f"re-runs of {name}", f"{reruns.get(name, 0)}, {allowed} allowed"))
        if step.record.seen:
            shown = f"{step.record.flaked} of {step.record.seen} times"
            found.append((f"{name} passed without a change", shown))
        if step.upstream:
            found.append((f"{name} on the base branch", "fails in the same way"))
    return found
