"""A pass of a run, and the ways in which it ends.

Ending is a script: the comment, the check run and the stored run, one effect after the other. What
those effects answer changes nothing any more, so `machine.advance` only hands out the next one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

import msgspec

from bot.config.schema import BackendName, Policy, ReviewMode
from bot.domain import effects
from bot.domain.effects import Commented, Effect, Outcome
from bot.domain.facts import RepairFacts
from bot.domain.runs import (
    Attempt,
    GateState,
    Request,
    Result,
    Run,
    RunState,
    Strategy,
    Wish,
)
from bot.domain.values import Command, Conclusion, FailingStep, Pull, PullRef, RunId
from bot.repair import approvals, attempts, messages, progress, retry
from bot.repair.choices import chosen
from bot.routing.chain import route


class Phase(Enum):
    """Where a pass stands: what it waits to hear of."""

    READING = "reading"
    CLASSIFYING = "classifying"
    RERUNNING = "rerunning"
    UNDOING = "undoing"
    OPENING = "opening"
    CHOOSING = "choosing"
    WAITING = "waiting"
    RETRYING = "retrying"
    PLANNING = "planning"
    SYNTHESIZING = "synthesizing"
    FIXING = "fixing"
    VERIFYING = "verifying"
    REVIEWING = "reviewing"
    REVIEWED = "reviewed"
    ANALYSING = "analysing"
    OFFERING = "offering"
    PROVING = "proving"
    PROVED = "proved"
    COMMITTING = "committing"
    INTENDING = "intending"
    PUSHING = "pushing"
    POSTING = "posting"
    CLOSING = "closing"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Pass:
    """One stretch of a run's work; `script` holds the effects that remain once it is closing.

    `chain` are the backends of the tier, `fixing` says that the fixers are still to try. `lane` and
    `provider` are who works, `failures` how often it failed with this task, `work` its last call.
    `tried` are the lanes that failed with this task, `left` the one that it has just left by that
    lane's fault. `reached` says that a backend's answer made the attempt one of those that count,
    `paused` that the pass has waited for one.
    `kept` is what the fixers changed, if that was not enough alone. `opinions` are the plans that
    one is made of, `by` who wrote them, `gates` the approvals without which nothing goes out.
    `proofs` are the commands that prove a mend, `announce` lines for the log. `why` gives the
    reason of a re-run or a rollback. `noticing` says that the notice has just been posted. `review`
    is how strict the reviewers are.
    """

    policy: Policy
    pull: PullRef
    run_id: RunId
    generation: int
    request: Request
    newest: Run | None
    why: str = ""
    phase: Phase = Phase.READING
    run: Run | None = None
    facts: RepairFacts | None = None
    steps: tuple[FailingStep, ...] = ()
    proofs: tuple[Command, ...] = ()
    announce: tuple[str, ...] = ()
    chain: tuple[BackendName, ...] = ()
    fixing: bool = False
    lane: str = ""
    provider: str = ""
    failures: int = 0
    work: effects.RunBackend | None = None
    tried: tuple[str, ...] = ()
    left: str = ""
    reached: bool = False
    paused: bool = False
    undoing: bool = False
    planned: bool = False
    opinions: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    diff: str = ""
    kept: str = ""
    noticing: bool = False
    review: ReviewMode = ReviewMode.OFF
    script: tuple[Effect, ...] = ()

    @property
    def asked(self) -> bool:
        """Whether a person asked for a try."""
        return self.request.wish is Wish.FIX

    @property
    def open_run(self) -> Run:
        """The run at work; only called once there is one."""
        assert self.run is not None
        return self.run

    @property
    def seen(self) -> RepairFacts:
        """The facts; only called once they are read."""
        assert self.facts is not None
        return self.facts

    @property
    def found(self) -> Pull:
        """The pull request; only called once it is known to be there."""
        assert self.seen.pull is not None
        return self.seen.pull

    @property
    def attempt(self) -> Attempt:
        """The attempt at work; only called once one is open."""
        return self.open_run.attempts[-1]


Step = tuple[Pass, Effect | None]


def leave(state: Pass, ending: RunState, reason: str, wake_after_s: float | None = None) -> Step:
    """End the run because its pull request went on without it."""
    run = state.run or (state.newest if state.newest and not state.newest.ended else None)
    if run is None:
        return replace(state, phase=Phase.ENDED), None
    return close(replace(state, run=run), ending, reason, wake_after_s=wake_after_s)


def park(state: Pass, reason: str, wake_after_s: float | None = None) -> Step:
    """End the pass without doing anything; the run, if there is one, waits as it did."""
    run = state.run
    if run is None:
        return replace(state, phase=Phase.ENDED), None
    if run.state not in WAITING:
        run = msgspec.structs.replace(run, state=RunState.WAITING_CI, reason=reason)
    end = effects.EndPass(msgspec.structs.replace(run, generation=state.generation), wake_after_s)
    return play(replace(state, run=run, phase=Phase.CLOSING, script=(end,)))


def ask(state: Pass, reason: str) -> Step:
    """Stop before an attempt and ask a person."""
    state = choose(state, Strategy.ESCALATE, reason, result=Result.ESCALATED)
    return close(state, RunState.WAITING_PERSON, reason, headline="a person is needed")


def escalate(state: Pass, reason: str, at: datetime, *, wake_after_s: float | None = None) -> Step:
    """Stop the attempt where it is and ask a person."""
    state = with_attempt(state, result=Result.ESCALATED, reason=reason, ended_at=at)
    state = choose(state, Strategy.ESCALATE, reason, result=Result.ESCALATED)
    return close(state, RunState.WAITING_PERSON, reason, wake_after_s=wake_after_s)


def give_up(state: Pass, ending: RunState, reason: str, headline: str = "") -> Step:
    """End the run without having mended it."""
    result = Result.BLOCKED if ending is RunState.BLOCKED else Result.GAVE_UP
    state = choose(state, Strategy.GIVE_UP, reason, result=result)
    return close(state, ending, reason, headline=headline)


def reject(state: Pass, reason: str, at: datetime) -> Step:
    """End the attempt without a push; the next one follows after its backoff, if one may."""
    state = with_attempt(state, result=Result.REJECTED, reason=reason, ended_at=at)
    run, attempt = state.open_run, state.attempt
    following = route(state.policy, attempt.number, state.pull.number)
    if over := no_more(state, attempt.failing, fallback=following.fallback):
        ending, why = over
        result = Result.BLOCKED if ending is RunState.BLOCKED else Result.GAVE_UP
        state = with_attempt(state, result=result, reason=f"{reason}; giving up, because {why}")
        return give_up(state, ending, why)
    rejected = sum(one.result is Result.REJECTED for one in run.attempts if one.head == run.head)
    delay_s = retry.rejected_delay_s(rejected, state.policy.retry, str(run.id))
    run = msgspec.structs.replace(run, wake_at=at + timedelta(seconds=delay_s))
    waits = f"attempt {attempt.number} was rejected, the next follows in {delay_s:.0f} s"
    return close(replace(state, run=run), RunState.WAITING_DELAY, waits, wake_after_s=delay_s)


def no_more(
    state: Pass, failing: Sequence[str], *, fallback: bool, asked: bool = False
) -> tuple[RunState, str] | None:
    """Return how and why the run ends here; None when another attempt may follow.

    Who asks lifts every limit but the day's: a bot with a person's account may ask for ever.
    """
    run, limits = state.open_run, state.policy.retry
    counted, recent = () if asked else run.attempts[run.since :], state.seen.recent
    if reason := progress.stuck(counted, fallback=fallback, recent=recent, retry=limits):
        return RunState.BLOCKED, reason
    if not asked and (reason := retry.spent(run, failing, fallback=fallback, retry=limits)):
        return RunState.GAVE_UP, reason
    return None


def choose(
    state: Pass,
    strategy: Strategy,
    reason: str,
    *,
    inputs: Sequence[tuple[str, str]] = (),
    attempt: int = 0,
    result: Result = Result.WORKING,
    backoff_s: float | None = None,
) -> Pass:
    """Keep in the run what was decided and what it went by."""
    run = chosen(
        state.open_run,
        state.policy,
        at=state.seen.now,
        strategy=strategy,
        reason=reason,
        steps=state.steps,
        inputs=inputs,
        attempt=attempt,
        result=result,
        backoff_s=backoff_s,
    )
    return replace(state, run=run)


def close(
    state: Pass,
    ending: RunState,
    reason: str,
    *,
    headline: str = "",
    lines: Sequence[str] = (),
    first: Sequence[Effect] = (),
    wake_after_s: float | None = None,
) -> Step:
    """End the pass: perform *first*, then report and store.

    A *headline* makes the run's notice say so; without one the attempt's comment tells it.
    """
    run = msgspec.structs.replace(
        state.open_run, state=ending, reason=reason, updated_at=state.seen.now
    )
    if run.attempts:
        run = put(run, _closed_attempt(run.attempts[-1], ending, reason))
    if run.ended:
        run = approvals.ended(run, GateState.VOID, state.seen.now)
    script = list(first)
    if run.attempts and run.attempts[-1].comment:
        script.append(comment(run, run.attempts[-1]))
    if headline:
        shown = lines or [messages.quote(reason, 600)]
        body = messages.notice_comment(run, headline, shown)
        script.append(effects.Comment(run.pull, messages.notice_marker(run.id), body, run.notice))
    title = reason or ending.value.replace("_", " ")
    card = messages.card(run, run.head, title, [], CONCLUSIONS[ending], state.steps)
    script.append(effects.ShowCard(card))
    if ending is RunState.GREEN:
        script.append(effects.RetireMarkers(run.pull))
    if run.scratch is not None and ending is not RunState.WAITING_PROOF:
        script.append(effects.DropScratch(run.pull, run.scratch.branch))
        run = msgspec.structs.replace(run, scratch=None)
    script.append(effects.EndPass(run, wake_after_s))
    noticing = bool(headline) and not run.notice
    closing = replace(state, run=run, phase=Phase.CLOSING, script=tuple(script), noticing=noticing)
    return play(closing)


WAITING = (
    RunState.WAITING_DELAY,
    RunState.WAITING_PERSON,
    RunState.WAITING_BASE,
    RunState.WAITING_PROOF,
)
CONCLUSIONS = {
    RunState.WAITING_CI: None,
    RunState.WAITING_PROOF: None,
    RunState.WAITING_DELAY: None,
    RunState.WORKING: None,
    RunState.WAITING_PERSON: Conclusion.ACTION_REQUIRED,
    RunState.WAITING_BASE: Conclusion.NEUTRAL,
    RunState.GAVE_UP: Conclusion.ACTION_REQUIRED,
    RunState.BLOCKED: Conclusion.ACTION_REQUIRED,
    RunState.GREEN: Conclusion.SUCCESS,
    RunState.SUPERSEDED: Conclusion.NEUTRAL,
    RunState.CLOSED: Conclusion.NEUTRAL,
    RunState.STOPPED: Conclusion.NEUTRAL,
}


def _closed_attempt(attempt: Attempt, ending: RunState, reason: str) -> Attempt:
    """End an attempt that was still at work with its run."""
    over = (RunState.SUPERSEDED, RunState.CLOSED, RunState.STOPPED, RunState.GREEN)
    if attempt.result is not Result.WORKING or ending not in over:
        return attempt
    return msgspec.structs.replace(attempt, result=Result.SUPERSEDED, reason=reason)


def play(state: Pass, outcome: Outcome | None = None) -> Step:
    """Hand out the next effect of the script; a pass without one has ended."""
    state = _remember_notice(state, outcome)
    if not state.script:
        return replace(state, phase=Phase.ENDED), None
    return replace(state, script=state.script[1:]), state.script[0]


def _remember_notice(state: Pass, outcome: Outcome | None) -> Pass:
    """Keep the id of a notice just posted, so that the next one edits it."""
    if not isinstance(outcome, Commented) or not state.noticing:
        return state
    end = state.script[-1]
    known = {attempt.comment for attempt in state.open_run.attempts}
    if not isinstance(end, effects.EndPass) or end.run.notice or outcome.comment in known:
        return state
    run = msgspec.structs.replace(end.run, notice=outcome.comment)
    last = effects.EndPass(run, end.wake_after_s)
    return replace(state, run=run, script=(*state.script[:-1], last))


def comment(run: Run, attempt: Attempt) -> effects.Comment:
    """Return the effect that brings the newest attempt's comment up to date.

    What a reset has forgiven stays out of the count, however often its comment is edited, and so
    does what our own budget ended, as long as it does not go on.
    """
    key = attempts.marker(attempt.number, attempt.trigger, run.id)
    body = messages.attempt_comment(run, attempt)
    forgiven = len(run.attempts) <= run.since or attempt.unpaid
    body = attempts.retired(body) if forgiven else body
    return effects.Comment(run.pull, key, body, attempt.comment)


def put(run: Run, attempt: Attempt) -> Run:
    """Return the run with its newest attempt replaced."""
    return msgspec.structs.replace(run, attempts=(*run.attempts[:-1], attempt))


def with_attempt(state: Pass, **changes: object) -> Pass:
    """Return the pass with its newest attempt changed."""
    attempt = msgspec.structs.replace(state.attempt, **changes)
    return replace(state, run=put(state.open_run, attempt))
