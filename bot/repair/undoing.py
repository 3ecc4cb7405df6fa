"""Undoing our own pushes, when two in a row made it worse: one commit on top, nothing rewritten."""

from dataclasses import replace
from datetime import datetime

import msgspec

from bot.domain import effects
from bot.domain.runs import Result, RunState, Strategy
from bot.domain.values import Conclusion, Sha
from bot.repair import messages, progress
from bot.repair.closing import Pass, Phase, Step, choose, close, comment


def undo(state: Pass, good: Sha) -> Step:
    """Put back what the branch held before the first of them, by a commit on top."""
    run = state.open_run
    bad = progress.last_pushes(run)
    names = ", ".join(f"`{name}`" for name in sorted({one for a in bad for one in a.worse}))
    reason = f"attempts {bad[0].number} and {bad[1].number} turned {names} red, so both are undone"
    state = choose(state, Strategy.ROLLBACK, reason, result=Result.ROLLED_BACK)
    message = messages.rollback_message(run, reason)
    at = state.seen.now.replace(microsecond=0)
    build = effects.BuildRevert(state.pull, run.head, good, message, at)
    return replace(state, phase=Phase.UNDOING, undoing=True, why=reason), build


def undone(state: Pass, at: datetime) -> Step:
    """Report the rollback and leave the rest to CI: with other failures, other attempts follow."""
    old, now_at = state.open_run, state.open_run.intent
    assert now_at is not None
    bad = progress.last_pushes(old)
    undone = tuple(
        msgspec.structs.replace(one, result=Result.ROLLED_BACK) if one in bad else one
        for one in old.attempts
    )
    first = undone[old.attempts.index(bad[0])]
    lines = [messages.quote(state.why, 600), f"The branch is back at what it held, as {now_at}."]
    title = f"Undid two attempts as {now_at[:10]}"
    card = messages.card(old, old.head, title, lines, Conclusion.NEUTRAL, state.steps)
    run = msgspec.structs.replace(old, attempts=undone, head=now_at, pushed_at=at, reruns=())
    return close(
        replace(state, run=run, steps=()),
        RunState.WAITING_CI,
        "CI runs on what the branch held before",
        headline="undid what made it worse",
        lines=lines,
        first=[effects.ShowCard(card), comment(run, first)],
    )
