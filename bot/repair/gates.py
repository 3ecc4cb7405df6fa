"""What a pass does about a change that waits at its gate: take the answer, remind, give it up.

Who may answer is said in `approvals.py`; how a change comes to a gate in `outgoing.py`.
"""

from dataclasses import replace

import msgspec

from bot.domain import effects
from bot.domain.runs import Gate, GateState, Result, RunState, Wish
from bot.repair import approvals, messages, outgoing
from bot.repair.closing import Pass, Phase, Step, give_up, park, play, with_attempt


def answer(state: Pass) -> Step:
    """Let out what waits at the gate, or throw it away; nothing if it waits no more.

    Another change may wait there by now: the word counts for the gate at which it was given.
    """
    run, now, word = state.run, state.seen.now, state.request
    gate = run.gate if run is not None else None
    if run is None or gate is None or (gate.id, gate.head) != (word.gate, word.head):
        return park(state, "nothing waits for an approval")
    run = msgspec.structs.replace(run, generation=state.generation, updated_at=now)
    if now >= gate.expires_at:
        return tend(replace(state, run=run), gate)
    if word.wish is Wish.REJECT:
        run = approvals.ended(run, GateState.REJECTED, now, by=word.by, note=word.why)
        why = f": {word.why}" if word.why else ""
        return _throw_away(replace(state, run=run), f"{word.by} rejected the change{why}")
    run = approvals.ended(run, GateState.APPROVED, now, by=word.by, note=word.why)
    return outgoing.let_out(replace(state, run=run), gate)


def _throw_away(state: Pass, reason: str) -> Step:
    state = with_attempt(state, result=Result.GAVE_UP, reason=reason)
    return give_up(state, RunState.GAVE_UP, reason)


def tend(state: Pass, gate: Gate) -> Step:
    """Remind people of what waits at the gate, once; in the end, give it up."""
    run, now = state.open_run, state.seen.now
    if now >= gate.expires_at:
        state = replace(state, run=approvals.ended(run, GateState.EXPIRED, now))
        until = f"{gate.expires_at:%Y-%m-%d %H:%M} UTC"
        return _throw_away(state, f"nobody approved the change until {until}")
    if gate.reminders or now < gate.remind_at:
        return park(state, run.reason)
    run = msgspec.structs.replace(
        approvals.reminded(run), generation=state.generation, updated_at=now
    )
    key = messages.reminder_marker(gate)
    reminder = effects.Comment(run.pull, key, messages.reminder_comment(run, gate))
    assert run.gate is not None
    end = effects.EndPass(run, approvals.next_look_s(run.gate, now))
    return play(replace(state, run=run, phase=Phase.CLOSING, script=(reminder, end)))
