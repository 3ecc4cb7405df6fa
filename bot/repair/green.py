"""A pull request is green: how that came, and what it tells of the failures before."""

from dataclasses import replace

import msgspec

from bot.domain import effects
from bot.domain.runs import Result, Run, RunState
from bot.domain.values import Observation, Pull
from bot.repair import attempts
from bot.repair.closing import Pass, Phase, Step, close, play, put


def ended(state: Pass, pull: Pull) -> Step:
    """End the run, and keep what the green tells; the count of attempts begins anew."""
    run = state.run
    if run is None:  # whoever made it green: what was counted for it counts no more
        counted = attempts.live(state.seen.comments)
        retire = (effects.RetireMarkers(state.pull),) if counted else ()
        script = (*_remembered(state.newest, pull), *retire)
        return play(replace(state, phase=Phase.CLOSING, script=script))
    run = msgspec.structs.replace(run, head=pull.head)
    if run.attempts and run.attempts[-1].result is Result.PATCH_APPLIED:
        run = put(run, msgspec.structs.replace(run.attempts[-1], green=True))
    title = "Green again" if run.attempts else "Green again without a change to the code"
    headline = "green again" if run.notice else ""
    lines = [_how_green(run, title)]
    state = replace(state, run=run)
    first = _remembered(run, pull)
    return close(state, RunState.GREEN, title, headline=headline, lines=lines, first=first)


def _how_green(run: Run, title: str) -> str:
    """Say what made it green, as far as that is known."""
    if times := max((count for _, count in run.reruns), default=0):
        return f"{title}: the failed jobs passed when they ran again (re-run {times})."
    if run.attempts and run.attempts[-1].green:
        return f"Attempt {run.attempts[-1].number} mended it."
    return f"{title}: nothing fails any more."


def _remembered(run: Run | None, pull: Pull) -> tuple[effects.Remember, ...]:
    """Keep what the green tells of a run that ends now, or had ended red at this head."""
    if run is None or run.head != pull.head or run.state is RunState.GREEN:
        return ()
    if not (seen := _observed(run)):
        return ()
    return (effects.Remember(run.pull, seen),)


def _observed(run: Run) -> tuple[Observation, ...]:
    """Return what the green tells of the failures before it.

    What failed on this very commit went away by itself; what our last push mended was real.
    """
    last = run.attempts[-1] if run.attempts else None
    mended = last.head if last is not None and last.commit == run.head else None
    found = {
        f"{run.id}:{choice.head}:{one.check}:{one.fingerprint}": Observation(
            key=f"{run.id}:{choice.head}:{one.check}:{one.fingerprint}",
            check=one.check,
            fingerprint=one.fingerprint,
            test=one.message,
            flaked=choice.head == run.head,
        )
        for choice in run.choices
        if choice.head in (run.head, mended)
        for one in choice.judged
        if one.fingerprint and not one.upstream and one.check not in run.upstream
    }
    return tuple(found.values())
