"""Again, when, or stop: what to do about the failures of a head, by kind.

A failure that code did not cause is met by running the jobs again; one that code caused by a patch;
one that a person must judge by asking. The limits are those of `RetryPolicy`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from bot.config.schema import RetryPolicy
from bot.domain.runs import Run
from bot.domain.values import Check, CheckKind, FailingStep, FailureType, Variant

PATCHED = frozenset(
    {
        FailureType.LINT,
        FailureType.TYPECHECK,
        FailureType.TEST_ASSERT,
        FailureType.RUNTIME,
        FailureType.SCHEMA_MIGRATION,
    }
)
RERUN = frozenset(
    {FailureType.TRANSIENT, FailureType.INFRA, FailureType.RATE_LIMIT, FailureType.UNKNOWN}
)
JUDGED = frozenset({FailureType.SECURITY, FailureType.POLICY})


class Patch(Variant, frozen=True):
    """Have these failing steps mended."""

    steps: tuple[FailingStep, ...]
    reason: str


class Again(Variant, frozen=True):
    """Run the failed jobs again after `delay_s`; `counts` are the re-runs once that is done."""

    checks: tuple[Check, ...]
    delay_s: float
    counts: tuple[tuple[str, int], ...]
    reason: str


class Ask(Variant, frozen=True):
    """Stop and ask a person."""

    reason: str


Strategy = Patch | Again | Ask


def strategy(steps: Sequence[FailingStep], run: Run, retry: RetryPolicy) -> Strategy:
    """Choose what to do about the failing steps of the run's head, with the reason."""
    judged = [step for step in steps if step.signal.type in JUDGED]
    if judged:
        step = judged[0]
        return Ask(
            f"`{step.check.name}` is a {step.signal.type.value} finding: {step.signal.message}"
        )
    patched = tuple(step for step in steps if step.signal.type in PATCHED)
    if patched:
        kinds = ", ".join(sorted({step.signal.type.value for step in patched}))
        return Patch(patched, f"{kinds}: the code can be mended")
    done = dict(run.reruns)
    spent = [step for step in steps if done.get(step.check.name, 0) >= _allowed(step, retry)]
    unknown = tuple(step for step in spent if step.signal.type is FailureType.UNKNOWN)
    if unknown:
        return Patch(unknown, "unknown: running it again did not help")
    if spent:
        step = spent[0]
        times = done.get(step.check.name, 0)
        return Ask(
            f"`{step.check.name}` failed again after {times} re-runs ({step.signal.type.value}): "
            f"{step.signal.message}"
        )
    return _again(steps, done, retry)


def _allowed(step: FailingStep, retry: RetryPolicy) -> int:
    return retry.retries.get(step.signal.type.value, 0)


def _again(steps: Sequence[FailingStep], done: dict[str, int], retry: RetryPolicy) -> Strategy:
    fixed = [step for step in steps if step.check.kind is not CheckKind.JOB]
    if fixed:
        return Ask(
            f"`{fixed[0].check.name}` failed for a reason outside the code "
            f"({fixed[0].signal.type.value}), and only its own system can run it again"
        )
    counts = {**done, **{step.check.name: done.get(step.check.name, 0) + 1 for step in steps}}
    first = steps[0]
    return Again(
        checks=tuple(step.check for step in steps),
        delay_s=max(_rerun_delay_s(step, done.get(step.check.name, 0), retry) for step in steps),
        counts=tuple(sorted(counts.items())),
        reason=f"{first.signal.type.value}: {first.signal.message}",
    )


def _rerun_delay_s(step: FailingStep, done: int, retry: RetryPolicy) -> float:
    """Return what the log asked for, or seed 4's `min(base·mult^n, cap)`, in seconds."""
    if step.signal.retry_after_s is not None:
        return step.signal.retry_after_s
    multiplier = retry.multipliers.get(step.signal.type.value, 1.0)
    return min(retry.base_s * multiplier**done, retry.cap_s)


def rejected_delay_s(rejected: int, retry: RetryPolicy, seed: str) -> float:
    """Return the wait after the `rejected`-th rejected attempt: `min(10·2^(n-1), 600)` (seed 1).

    Jitter of ±30 % comes before the cap, from `seed`, so that a replay waits the same.
    """
    delay = retry.rejected_base_s * 2.0 ** max(rejected - 1, 0)
    if retry.jitter:
        share = sha256(f"{seed}:{rejected}".encode()).digest()[0] / 255
        delay *= 0.7 + 0.6 * share
    return min(delay, retry.rejected_cap_s)


def due(run: Run, now: datetime) -> bool:
    """Say whether the run has waited long enough."""
    return run.wake_at is None or now >= run.wake_at - timedelta(milliseconds=500)


def spent(run: Run, checks: Sequence[str], *, fallback: bool, retry: RetryPolicy) -> str:
    """Return why no further attempt of this tier is allowed; empty when one is."""
    counted = run.attempts[run.since :]
    if len(counted) >= retry.total_attempts:
        return f"all {retry.total_attempts} attempts of this run are used up"
    tier = [attempt for attempt in counted if attempt.fallback is fallback]
    for check in checks:
        used = sum(check in attempt.failing for attempt in tier)
        if used >= retry.per_step_attempts:
            which = "fallback" if fallback else "primary"
            return f"`{check}` was tried {used} times by the {which} backends"
    return ""
