"""What holds a proved change back, besides what the guard read in its diff.

Tests that ask less than before have it wait for a person, and a secret stops it. A person's word
counts as long as that person may give it: whoever asked for the try, or let the change out, is
looked up once more right before the push, or before a fork's patch is posted
(`bot/runtime/interpreter.py`).
"""

from dataclasses import replace

from bot.domain.effects import BackendEnded
from bot.domain.runs import GateState, Run
from bot.domain.values import Verification
from bot.repair.closing import Pass, Step, escalate, with_attempt
from bot.repair.guard import WEAKENED_TESTS

WRITE = "write"
_CHARACTERS = 600
_NAMED = 5


def for_weaker_tests(state: Pass, verdict: Verification) -> Pass:
    """Hold a change after which the project's runners would run or ask less than before."""
    if not verdict.weakened:
        return state
    told = f"the tests ask less than before: {'; '.join(verdict.weakened)}"[:_CHARACTERS]
    reason = f"{state.attempt.reason}; {told}" if state.attempt.reason else told
    gates = tuple(dict.fromkeys((*state.gates, WEAKENED_TESTS)))
    return with_attempt(replace(state, gates=gates), reason=reason)


def for_leaks(state: Pass, ended: BackendEnded) -> Step:
    """Have a person see to a change that adds a secret: no approval lets it out."""
    told = "; ".join(ended.leaks[:_NAMED])
    return escalate(state, f"the proposed change was stopped: {told}", ended.at)


def words(run: Run) -> tuple[tuple[str, str], ...]:
    """Return on whose word a push stands, with the role that it takes; none when on nobody's."""
    found: list[tuple[str, str]] = []
    if run.asked_by and run.asked == run.head:
        found.append((run.asked_by, WRITE))
    gate = run.gates[-1] if run.gates else None
    if gate is not None and gate.state is GateState.APPROVED and gate.head == run.head:
        found.append((gate.by, gate.role))
    return tuple(found)
