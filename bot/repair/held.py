"""What makes a proved change wait for a person, besides what the guard read in its diff."""

from dataclasses import replace

from bot.domain.values import Verification
from bot.repair.closing import Pass, with_attempt
from bot.repair.guard import WEAKENED_TESTS

_CHARACTERS = 600


def for_weaker_tests(state: Pass, verdict: Verification) -> Pass:
    """Hold a change after which the project's runners would run or ask less than before."""
    if not verdict.weakened:
        return state
    told = f"the tests ask less than before: {'; '.join(verdict.weakened)}"[:_CHARACTERS]
    reason = f"{state.attempt.reason}; {told}" if state.attempt.reason else told
    gates = tuple(dict.fromkeys((*state.gates, WEAKENED_TESTS)))
    return with_attempt(replace(state, gates=gates), reason=reason)
