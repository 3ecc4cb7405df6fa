"""What an attempt sets out to do, and how that changes when it did not work.

Without a planning drain the plan is ours: its goals are the failures to mend. A model's plan, where
one is asked for, stands beside the goals. A new plan for the same run keeps its difference.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from bot.domain.runs import Attempt, Plan, PlanDelta, Result, Run
from bot.domain.values import FailingStep, FailureType, Verification

_TRIED = (Result.REJECTED, Result.PATCH_APPLIED, Result.ROLLED_BACK, Result.GAVE_UP)


def planned(run: Run, steps: Sequence[FailingStep], at: datetime, trigger: str = "") -> Run:
    """Return the run with a plan for these failures, the one it has when that still fits."""
    goals = _goals(run, steps, trigger)
    last = run.plans[-1] if run.plans else None
    if last is not None and last.goals == goals:
        return run
    number = len(run.plans) + 1
    plan = Plan(f"{run.id}.plan{number}", at, goals)
    run = msgspec.structs.replace(run, plans=(*run.plans, plan))
    if not trigger:
        return run
    before = last.goals if last else ()
    delta = PlanDelta(
        id=f"{run.id}.delta{len(run.deltas) + 1}",
        original=last.id if last else "",
        new=plan.id,
        added=tuple(goal for goal in goals if goal not in before),
        removed=tuple(goal for goal in before if goal not in goals),
        triggered_by=trigger,
        at=at,
    )
    return msgspec.structs.replace(run, deltas=(*run.deltas, delta))


def written(run: Run, text: str, by: tuple[str, ...]) -> Run:
    """Return the run with a model's text in its newest plan."""
    plan = msgspec.structs.replace(run.plans[-1], text=text, by=by)
    return msgspec.structs.replace(run, plans=(*run.plans[:-1], plan))


def told(run: Run) -> str:
    """Return the newest plan as a backend reads it; goals alone only when they were revised."""
    if not run.plans:
        return ""
    plan = run.plans[-1]
    revised = any(delta.new == plan.id for delta in run.deltas)
    goals = [f"- {goal}" for goal in plan.goals] if revised else []
    return "\n".join([*goals, plan.text] if plan.text else goals)


def feedback(run: Run) -> str:
    """Tell the next backend what has been tried on this head and why it did not do."""
    return "\n\n".join(
        f"Attempt {attempt.number} by {attempt.backend} proposed:\n{attempt.diff[:4_000]}\n"
        f"It was rejected: {attempt.reason}\n{shown(attempt.ci or attempt.verification)}"
        for attempt in run.attempts[-3:]
        if attempt.head == run.head
        and (attempt.ci or attempt.verification) is not None
        and not attempt.commit
    )


def shown(verdict: Verification | None) -> str:
    """Return what the first command that failed wrote at its end."""
    results = verdict.results if verdict else ()
    failed = [one for one in results if not one.passed and not one.allow_fail]
    return failed[0].output[-3_000:] if failed else ""


def _goals(run: Run, steps: Sequence[FailingStep], trigger: str) -> tuple[str, ...]:
    goals = [_goal(step) for step in steps]
    if trigger == "many_types":
        goals.append("leave the other failing checks until these pass")
    if trigger:
        goals += [_lesson(attempt) for attempt in run.attempts if attempt.result in _TRIED]
    return tuple(goals)


def _goal(step: FailingStep) -> str:
    name, signal = step.check.name, step.signal
    if signal.type is FailureType.UNKNOWN:
        return f"find out why {name} fails, for its log does not say, and mend that"
    return f"mend {name} ({signal.type.value}): {signal.message}"


def _lesson(attempt: Attempt) -> str:
    if attempt.worse:
        why = f"it turned {', '.join(attempt.worse)} red"
    elif attempt.result is Result.PATCH_APPLIED:
        why = "CI stayed red"
    else:
        why = attempt.reason
    return f"go another way than attempt {attempt.number}: {why}"
