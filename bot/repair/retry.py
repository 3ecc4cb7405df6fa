"""When to try again, and when no more: delays and limits, all from `RetryPolicy`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from bot.config.schema import RetryPolicy
from bot.domain.runs import Run
from bot.domain.values import FailingStep


def rerun_delay_s(step: FailingStep, done: int, retry: RetryPolicy) -> float:
    """Return what the log asked for, or seed 4's `min(base·mult^n, cap)`, in seconds."""
    if step.signal.retry_after_s is not None:
        return step.signal.retry_after_s
    multiplier = retry.multipliers.get(step.signal.type.value, 1.0)
    return min(retry.base_s * multiplier**done, retry.cap_s)


def rejected_delay_s(rejected: int, retry: RetryPolicy, seed: str) -> float:
    """Return the wait after the `rejected`-th rejected attempt: `min(10·2^(n-1), 600)` (seed 1).

    Jitter of ±30 % comes before the cap, from `seed`, so that a replay waits the same.
    """
    delay = retry.rejected_base_s * retry.rejected_factor ** max(rejected - 1, 0)
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
