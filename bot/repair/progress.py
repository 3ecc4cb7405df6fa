"""Are we going round in circles? The same error or the same diff again and again says yes.

Streaks are counted within a tier: a fallback backend begins afresh, or it would never get its turn.
"""

from collections.abc import Sequence
from itertools import takewhile

from bot.config.schema import RetryPolicy
from bot.domain.runs import Attempt


def stuck(attempts: Sequence[Attempt], *, fallback: bool, retry: RetryPolicy) -> str:
    """Return why going on makes no sense; empty while there is progress."""
    tier = [attempt for attempt in attempts if attempt.fallback is fallback]
    if _streak([attempt.error_key for attempt in tier]) >= retry.same_error:
        return f"the same error came back {retry.same_error} times"
    if _streak([attempt.diff_fingerprint for attempt in tier]) >= retry.same_diff:
        return f"the same change was proposed {retry.same_diff} times"
    return ""


def _streak(keys: Sequence[str]) -> int:
    """Return how often the last key stands at the end; an empty key is no key."""
    if not keys or not keys[-1]:
        return 0
    return sum(1 for _ in takewhile(lambda key: key == keys[-1], reversed(keys)))
