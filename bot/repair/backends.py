"""Who works at an attempt: the fixers, then one lane after the other, until one brings a change.

The fixers go first where they may apply: they cost nothing. Then the lane works that does best now
(`bot/routing`); what the end of its call means stands in one table (`routing/meaning.py`). A short
wait is a pause within the pass; a longer one ends the pass, is told on the pull request, and the
next pass goes on. What the environment did uses up no attempt, unless it lasts too long.
"""

from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from bot.config.schema import BackendName, PlanningPolicy
from bot.domain import effects
from bot.domain.answers import Answer, DrainMode, Ending
from bot.domain.effects import BackendChosen, BackendEnded
from bot.domain.runs import Result, RunState
from bot.domain.values import FailureType, Purpose, Question, Task
from bot.repair import guard, plans, scratch, unpaid
from bot.repair.closing import (
    Pass,
    Phase,
    Step,
    close,
    escalate,
    give_up,
    reject,
    with_attempt,
)
from bot.repair.strategy import COURSES
from bot.routing.meaning import (
    MEANINGS,
    SHORT_S,
    After,
    Again,
    Halt,
    Onward,
    Then,
    Through,
    after,
    told,
)
from bot.routing.tasks import kinds

FIXERS = BackendName("fixers", "")
# How long an attempt waits for a backend before it counts as failed: less where a fallback follows.
PATIENCE, PATIENCE_BEFORE_FALLBACK = timedelta(days=1), timedelta(minutes=10)
FIRST_ROUND_S, LONGEST_ROUND_S = 10.0, 300.0  # between two rounds that people are told of
CHOSEN = 12  # choices kept with an attempt: the newest


def ready(state: Pass, chain: tuple[BackendName, ...], announce: tuple[str, ...]) -> Pass:
    """Return the pass at the beginning of an attempt that goes by this chain."""
    lint = any(step.signal.type is FailureType.LINT for step in state.steps)
    fixing = lint and state.policy.fixers and bool(state.proofs)
    return replace(state, chain=chain, fixing=fixing, tried=(), left="", announce=announce)


def next_backend(state: Pass, now: datetime) -> Step:
    """Have the fixers try, then the best lane; without a chain the attempt is over."""
    if not state.fixing and not state.chain:
        return _exhausted(state, now)
    if not provable(state):
        return escalate(
            state,
            "no command is known that could prove a mend: name one under [commands] in "
            ".github/regreen.toml on the base branch",
            now,
        )
    if state.fixing:
        return _begin(replace(state, fixing=False, lane="", provider=""), FIXERS)
    if not state.planned and state.policy.planners:
        return _ask_for_plan(replace(state, planned=True))
    ask = effects.ChooseBackend(
        state.pull,
        state.attempt.number - 1,
        kinds(state.steps),
        tried=state.tried,
        left=state.left,
    )
    return replace(state, left="", phase=Phase.CHOOSING), ask


def provable(state: Pass) -> bool:
    """Tell whether anything could prove a mend."""
    return bool(state.proofs) or scratch.alone(state)


def chosen(state: Pass, choice: BackendChosen) -> Step:
    """Have the chosen lane work; wait where there is none."""
    if not choice.lane:
        return _without(state, choice)
    name = next(one for one in state.chain if one.name == choice.backend)
    why = f"{_shown(choice.backend, choice.provider)} works: {'; '.join(choice.reasons)}"
    others = (f"{key} does not: {reason}" for key, reason in choice.skipped)
    known = [one for one in state.attempt.chosen if one != why]
    kept = (*known, ". ".join((why, *others)))[-CHOSEN:]
    state = with_attempt(state, chosen=kept, side=choice.side)
    state = replace(state, lane=choice.lane, provider=choice.provider, failures=0)
    return _begin(state, name)


def _begin(state: Pass, backend: BackendName) -> Step:
    state = with_attempt(
        state, backend=backend.name, model=backend.model, session="", verification=None, diff=""
    )
    feedback = plans.feedback(state.open_run) if state.policy.qa.feedback else ""
    return start(state, task(state, feedback), state.kept)


def start(state: Pass, task: Task, onto: str) -> Step:
    """Have the attempt's backend work, over the head with *onto* applied."""
    attempt = state.attempt
    fallback = attempt.fallback and attempt.backend != FIXERS.name
    announce = state.announce if fallback and not attempt.qa else ()
    run = state.open_run
    work = effects.RunBackend(
        attempt.backend,
        fallback,
        run.head,
        task,
        run.id,
        attempt.number,
        onto=onto,
        resume=attempt.session,
        announce=announce,
        lane=state.lane,
        provider=state.provider,
        call=attempt.calls,
        preflight=state.proofs if state.policy.gatekeeper.preflight else (),
    )
    state = with_attempt(state, calls=attempt.calls + 1)
    return replace(state, work=work, phase=Phase.FIXING), work


def task(state: Pass, feedback: str = "", *, again: bool = False) -> Task:
    """Return what a backend is told of this attempt."""
    return Task(
        pull=state.pull,
        title=state.found.title,
        steps=state.steps,
        commands=tuple(command.run for command in state.proofs),
        feedback=feedback,
        plan=plans.told(state.open_run),
        again=again,
    )


def _ask_for_plan(state: Pass) -> Step:
    limit = limits_s(state.policy.planning)[0]
    feedback = plans.feedback(state.open_run) if state.policy.qa.feedback else ""
    question = Question(Purpose.PLAN, task(state, feedback))
    names = tuple(one.name for one in state.policy.planners)
    return replace(state, phase=Phase.PLANNING), consult(state, names, question, limit)


def consult(
    state: Pass, backends: tuple[str, ...], question: Question, within_s: float, onto: str = ""
) -> effects.Consult:
    """Return the effect that asks several backends at once."""
    run, number = state.open_run, state.attempt.number
    return effects.Consult(backends, run.head, question, within_s, run.id, number, onto)


def limits_s(planning: PlanningPolicy) -> tuple[float, float]:
    """Return how much of the time is for the plans and how much for making one of them."""
    return planning.within_s * 2 / 3, planning.within_s / 3


# --- after a call ----------------------------------------------------------------------------


def ended(state: Pass, call: BackendEnded) -> tuple[Pass, Step | None]:
    """Take in how a call ended; return what follows, None where there is a change to look at."""
    answer, ending = call.answer, call.answer.ending
    if ending is Ending.EDITED and not call.diff.strip():
        ending = Ending.NO_CHANGE
    if state.attempt.backend == FIXERS.name:
        then = _after_fixers(ending)
    else:
        state = replace(state, failures=state.failures + 1)
        retry_after_s = answer.retry_after_s
        then = after(
            ending,
            failures=state.failures,
            fit=call.fit,
            max_retries=state.policy.drains.max_retries,
            retry_after_s=retry_after_s,
        )
        if answer.mode is DrainMode.FORMAT_RETRY and ending is Ending.INVALID:
            then = Onward(told(ending))  # it was asked twice already
        if MEANINGS[ending].counts:
            state = with_attempt(replace(state, reached=True), outages=0, waiting_since=None)
    match then:
        case Through():
            return state, None
        case Again(after_s=after_s):
            return state, _again(state, (answer.retry_after_s or 0.0) if call.up else after_s)
        case Halt(person=person):
            return state, unpaid.halted(state, answer, person, call.at)
        case Onward():
            return state, _onward(state, answer, call.at)


def _after_fixers(ending: Ending) -> After:
    """Say what follows the fixers: they are no lane, and are never asked twice."""
    meaning = MEANINGS[ending]
    if meaning.then is Then.STOP:
        return Halt(meaning.person)
    return Through() if meaning.then is Then.GO_ON else Onward(told(ending))


def _again(state: Pass, after_s: float) -> Step:
    """Give the same lane the same task again, after a moment."""
    if after_s > 0:
        return replace(state, phase=Phase.RETRYING), effects.Pause(state.pull, after_s)
    return retry(state)


def retry(state: Pass) -> Step:
    """Repeat the last call."""
    assert state.work is not None
    calls = state.attempt.calls
    work = msgspec.structs.replace(state.work, announce=(), call=calls)
    state = with_attempt(state, calls=calls + 1)
    return replace(state, work=work, phase=Phase.FIXING), work


def _onward(state: Pass, answer: Answer, at: datetime) -> Step:
    """Leave a lane; a change that was sent back to it is rejected instead."""
    attempt = state.attempt
    if attempt.qa and attempt.verification is not None:
        why = f"{attempt.verification.reason}; sent back: {why_not(answer)}"
        return reject(state, why, at)
    lane = state.lane if MEANINGS[answer.ending].rest is not None else ""
    return skip(replace(state, left=lane), why_not(answer), at)


def skip(state: Pass, reason: str, now: datetime) -> Step:
    """Note why this backend did not do, and have the next one try."""
    backend = _shown(state.attempt.backend, state.provider)
    state = with_attempt(state, tried=(*state.attempt.tried, (backend, reason)))
    tried = (*state.tried, state.lane) if state.lane else state.tried
    return next_backend(replace(state, tried=tried), now)


def others(state: Pass) -> bool:
    """Tell whether the chain has another backend that this task was not given to."""
    done = {name.partition("/")[0] for name, _ in state.attempt.tried}
    done.add(state.attempt.backend)
    return any(one.name not in done for one in state.chain)


def why_not(answer: Answer) -> str:
    """Return why a backend did not do, and what a person has to do about it, if anything."""
    if answer.ending is Ending.EDITED:
        return "it says that it edited, but the tree is unchanged"
    detail = f": {guard.redact(answer.detail)}" if answer.detail else ""
    return f"{told(answer.ending)}{detail}"


def _shown(backend: str, provider: str) -> str:
    return f"{backend}/{provider}" if provider else backend


# --- no backend ------------------------------------------------------------------------------


def _without(state: Pass, choice: BackendChosen) -> Step:
    """Wait until there may be news of a backend, unless one gave an answer that counts."""
    if state.reached:
        return _exhausted(state, choice.at)
    now, attempt, drains = choice.at, state.attempt, state.policy.drains
    why = "; ".join(f"{key}: {reason}" for key, reason in choice.skipped)
    why = why or _last(state, "all of them failed")
    if drains.own_rounds and attempt.outages + 1 >= drains.max_cycles:
        trips = f"in {attempt.outages + 1} trips through the chain"
        return reject(state, f"no backend could be used {trips}: {why}", now)
    round_s = _round_s(state)
    news_s = round_s
    if choice.wait_until is not None:
        news_s = max((choice.wait_until - now).total_seconds(), 0.5)
    if drains.own_rounds:
        news_s = max(news_s, round_s)
    state = replace(state, tried=(), left="")
    if news_s <= SHORT_S and not state.paused:  # longer, or again, is for people to know
        if drains.own_rounds:
            state = with_attempt(state, outages=attempt.outages + 1)
        return replace(state, paused=True, phase=Phase.WAITING), effects.Pause(state.pull, news_s)
    follows = bool(state.policy.fallback) and not attempt.fallback
    since = attempt.waiting_since or now
    ends = since + (PATIENCE_BEFORE_FALLBACK if follows else PATIENCE)
    if now >= ends:
        return reject(state, f"no backend could be used since {since:%H:%M} UTC: {why}", now)
    wait_s = min(max(news_s, round_s), (ends - now).total_seconds())
    until = now + timedelta(seconds=wait_s)
    reason = f"no backend can be used now, I try again at {until:%H:%M:%S} UTC: {why}"
    state = with_attempt(state, outages=attempt.outages + 1, waiting_since=since, reason=reason)
    state = replace(state, run=msgspec.structs.replace(state.open_run, wake_at=until))
    return close(state, RunState.WAITING_DELAY, reason, wake_after_s=wait_s)


def _round_s(state: Pass) -> float:
    """Return the least wait before the next trip through the chain."""
    drains, trips = state.policy.drains, state.attempt.outages
    if drains.own_rounds:
        return drains.backoff_ms(trips) / 1_000
    return min(FIRST_ROUND_S * 2.0 ** min(trips, 16), LONGEST_ROUND_S)


def _last(state: Pass, otherwise: str) -> str:
    """Return why the last backend that was tried did not do."""
    return state.attempt.tried[-1][1] if state.attempt.tried else otherwise


def _exhausted(state: Pass, now: datetime) -> Step:
    """No backend is left: the attempt has failed."""
    attempt = state.attempt
    if any(COURSES[step.signal.type].gated for step in state.steps):
        # No patch for a finding: a person has to judge it, another try would not.
        last = _last(state, "no backend is configured")
        return escalate(state, f"no patch could be prepared: {last}", now)
    if state.chain or (state.policy.fallback and not attempt.fallback):
        last = _last(state, "no primary backend is configured")
        return reject(state, f"no usable change: {last}", now)
    last = _last(state, "none is configured for such a failure")
    reason = f"no backend could mend it: {last}"
    state = with_attempt(state, result=Result.GAVE_UP, reason=reason, ended_at=now)
    return give_up(state, RunState.GAVE_UP, reason)
