"""What a pass does about a change that waits at its gate: take the answer, remind, give it up.

Who may answer is said in `approvals.py`; how a change comes to a gate in `pipeline.py`.
"""

from dataclasses import replace

import msgspec

from bot.domain import effects
from bot.domain.runs import Gate, GateState, RunState, Wish
from bot.repair import approvals, messages, pipeline
from bot.repair.closing import Pass, Phase, Step, give_up, park, play, put


def answer(state: Pass) -> Step:
    """Let out what waits at the gate, or throw it away; nothing if it waits no more."""
    run, now, by = state.run, state.seen.now, state.request.by
    gate = run.gate if run is not None else None
    if run is None or gate is None or gate.head not in (state.request.head, run.head):
        return park(state, "nothing waits for an approval")
    run = msgspec.structs.replace(run, generation=state.generation, updated_at=now)
    if state.request.wish is Wish.REJECT:
        run = approvals.ended(run, GateState.REJECTED, now, by=by, note=state.request.why)
        reason = f"{by} rejected the change"
        reason += f": {state.request.why}" if state.request.why else ""
        run = put(run, msgspec.structs.replace(run.attempts[-1], reason=reason))
        return give_up(replace(state, run=run), RunState.GAVE_UP, reason)
    run = approvals.ended(run, GateState.APPROVED, now, by=by, note=state.request.why)
    return pipeline.let_out(replace(state, run=run), gate)


def tend(state: Pass, gate: Gate) -> Step:
    """Remind people of what waits at the gate, once; in the end, give it up."""
    run, now = state.open_run, state.seen.now
    if now >= gate.expires_at:
        state = replace(state, run=approvals.ended(run, GateState.EXPIRED, now))
        days = (gate.expires_at - gate.asked_at).days
        return give_up(state, RunState.GAVE_UP, f"nobody approved the change within {days} days")
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
