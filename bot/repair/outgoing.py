"""A proved change goes out: held at its gate or committed, the push intended, then made.

That of a fork is not pushed: it is posted, on the same people's word as a push.
"""

from dataclasses import replace
from datetime import datetime

import msgspec

from bot.domain import effects
from bot.domain.effects import CommitBuilt
from bot.domain.runs import Gate, Result, RunState
from bot.domain.values import Conclusion, Sha
from bot.repair import approvals, held, messages
from bot.repair.closing import Pass, Phase, Step, close, escalate, with_attempt


def out(state: Pass, at: datetime) -> Step:
    """Commit what is proved, or hold it at its gate."""
    state = with_attempt(state, ended_at=at)
    return _hold(state, at) if state.gates else _commit(state)


def _hold(state: Pass, at: datetime) -> Step:
    """Have the proved change wait for a person's yes."""
    objections = f": {state.attempt.reason}" if state.attempt.reason else ""
    reason = f"the proved change waits for an approval ({', '.join(state.gates)}){objections}"
    policy = state.policy.approvals
    run = approvals.opened(
        state.open_run, policy, types=state.gates, diff=state.diff, reason=reason, at=at
    )
    assert run.gate is not None
    wake_s = approvals.next_look_s(run.gate, at)
    return escalate(replace(state, run=run), reason, at, wake_after_s=wake_s)


def let_out(state: Pass, gate: Gate) -> Step:
    """Commit what a person let out."""
    return _commit(replace(state, diff=gate.diff))


def _commit(state: Pass) -> Step:
    run, attempt = state.open_run, state.attempt
    message = messages.commit_message(run, attempt)
    at = attempt.started_at.replace(microsecond=0)
    build = effects.BuildCommit(state.pull, run.head, state.diff, message, at)
    return replace(state, phase=Phase.COMMITTING), build


def intend(state: Pass, built: CommitBuilt) -> Step:
    """Store what is about to be pushed, so that the webhook it causes is known as ours."""
    if not state.undoing:
        state = with_attempt(state, commit=built.commit)
    run = msgspec.structs.replace(state.open_run, intent=built.commit)
    return replace(state, run=run, phase=Phase.INTENDING), effects.SaveRun(run)


def push(state: Pass) -> Step:
    """Push the stored commit, and only onto the head that was read."""
    run = state.open_run
    assert run.intent is not None
    words = () if state.undoing else held.words(run)
    push = effects.Push(state.pull, state.found.head_branch, run.intent, run.head, words)
    return replace(state, phase=Phase.PUSHING), push


def pushed(state: Pass, at: datetime) -> Step:
    """Report the push and leave the rest to CI."""
    old, commit = state.open_run, state.attempt.commit
    assert commit is not None
    state = with_attempt(state, result=Result.PATCH_APPLIED, reason="", ended_at=at)
    lines = [f"Attempt {state.attempt.number} pushed {commit}."]
    title = f"Pushed a fix as {commit[:10]}"
    card = messages.card(old, old.head, title, lines, Conclusion.NEUTRAL, state.steps)
    run = msgspec.structs.replace(
        state.open_run, head=commit, pushed_at=at, wake_at=None, reruns=()
    )
    return close(
        replace(state, run=run, steps=()),
        RunState.WAITING_CI,
        "CI runs on the pushed commit",
        first=[effects.ShowCard(card), *_pushed_as(state, commit)],
    )


def _pushed_as(state: Pass, commit: Sha) -> list[effects.Record]:
    """Have the artifact of the proof say which commit it became."""
    attempt = state.attempt
    proof = attempt.ci or attempt.verification
    if proof is None or proof.at is None:
        return []
    proof = msgspec.structs.replace(proof, merge_commit=commit)
    return [effects.Record(state.pull, state.open_run.id, proof)]


def post(state: Pass) -> Step:
    """Have the word looked at again on which a fork's patch is posted."""
    state = replace(state, phase=Phase.POSTING)
    return state, effects.CheckWords(state.pull, held.words(state.open_run))


def posted(state: Pass) -> Step:
    """Post a fork's patch for its author to apply."""
    state = with_attempt(state, result=Result.PATCH_POSTED)
    return close(state, RunState.WAITING_PERSON, "a verified patch waits to be applied")
