"""Are we getting anywhere? The same again and again says no; green that turned red says worse.

Streaks are counted within a tier: a fallback backend begins afresh, or it would never get its turn.
"""

from collections.abc import Sequence
from hashlib import sha256
from itertools import takewhile

from bot.config.schema import RetryPolicy
from bot.domain.runs import Attempt, Result, Run, Strategy
from bot.domain.values import FailingStep, Sha
from bot.repair.strategy import COURSES, flaky


def stuck(attempts: Sequence[Attempt], *, fallback: bool, recent: int, retry: RetryPolicy) -> str:
    """Return why going on makes no sense; empty while there is progress.

    `recent` is how many attempts the pull request saw within a day, whatever their runs: when
    something undoes what we do, each run may well be green and the whole still goes in circles.
    """
    tier = [attempt for attempt in attempts if attempt.fallback is fallback]
    if same_errors(tier) >= retry.same_error:
        return f"the same error came back {retry.same_error} times"
    if _streak([attempt.diff_fingerprint for attempt in tier]) >= retry.same_diff:
        return f"the same change was proposed {retry.same_diff} times"
    if recent >= retry.daily_attempts:
        return (
            f"{recent} attempts were made on this pull request within a day: something undoes them"
        )
    return ""


def same_errors(attempts: Sequence[Attempt]) -> int:
    """Return how many of the last attempts ended with the same error."""
    return _streak([attempt.error_key for attempt in attempts])


def turns(run: Run, retry: RetryPolicy, *, fallback: bool) -> str:
    """Say what makes the same plan senseless: it made things worse, or is about to be stuck."""
    tier = [one for one in run.attempts[run.since :] if one.fallback is fallback]
    if tier and tier[-1].worse:
        return "made_worse"
    return "same_error" if tier and same_errors(tier) == retry.same_error - 1 else ""


def key(fingerprints: Sequence[str]) -> str:
    """Return what is equal for the same failures; empty when none of them has a fingerprint."""
    known = sorted(one for one in fingerprints if one)
    return sha256("\n".join(known).encode()).hexdigest()[:16] if known else ""


def worse(run: Run, steps: Sequence[FailingStep], retry: RetryPolicy) -> tuple[str, ...] | None:
    """Return the checks that were green before our last push and that its code turned red.

    None when the newest attempt did not push the run's head, so that there is nothing to judge.
    """
    last = run.attempts[-1] if run.attempts else None
    if last is None or last.result is not Result.PATCH_APPLIED or last.commit != run.head:
        return None
    blamed = (
        step.check.name
        for step in steps
        if COURSES[step.signal.type].then is not Strategy.ESCALATE
        and not step.upstream
        and not flaky(step, run, retry)
    )
    return tuple(name for name in blamed if name in last.passed)


def last_pushes(run: Run) -> tuple[Attempt, ...]:
    """Return the attempts of our last two pushes; what was rejected between them moved nothing."""
    return tuple(one for one in run.attempts if one.result is Result.PATCH_APPLIED)[-2:]


def undo_to(run: Run) -> Sha | None:
    """Return the last good head when two pushes in a row made it worse and nobody pushed since."""
    match last_pushes(run):
        case before, last if before.worse and last.worse:
            ours = before.commit == last.head and last.commit == run.head
            return before.head if ours else None
    return None


def _streak(keys: Sequence[str]) -> int:
    """Return how often the last key stands at the end; an empty key is no key."""
    if not keys or not keys[-1]:
        return 0
    return sum(1 for _ in takewhile(lambda key: key == keys[-1], reversed(keys)))
