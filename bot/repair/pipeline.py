"""One attempt: a backend, the guard, the gatekeeper, the commit, the push.

Each function takes the pass after an outcome and returns it with the next effect; `machine.advance`
says which comes when. An attempt ends pushed, posted (for a fork), rejected, or with a person.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec

from bot.config.schema import BackendName
from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.effects import (
    BackendEnded,
    CommitBuilt,
    Verified,
)
from bot.domain.runs import Attempt, Result, Run, RunState
from bot.domain.values import (
    Conclusion,
    FailureType,
    Task,
)
from bot.failures.fingerprint import fingerprint
from bot.repair import attempts, gate, messages, progress, retry
from bot.repair.closing import (
    Pass,
    Phase,
    Step,
    close,
    comment,
    escalate,
    put,
    with_attempt,
)
from bot.routing.chain import route

FIXERS = BackendName("fixers", "")
OUTAGES = frozenset(
    {Ending.RATE_LIMITED, Ending.USAGE_LIMIT, Ending.UNAVAILABLE, Ending.NETWORK, Ending.DISK_FULL}
)
OUTAGE_ROUNDS = 10  # times an attempt waits for a backend before it counts as failed
OUTAGE_WAIT_S = 60.0
STORED_DIFF_CHARACTERS = 60_000


def open_attempt(state: Pass, why: str) -> Step:
    """Open the next attempt, or go on with one that waited for a backend."""
    run, facts = state.open_run, state.seen
    last = run.attempts[-1] if run.attempts else None
    if last is not None and last.result is Result.WORKING and last.head == run.head:
        chosen = route(state.policy, last.number - 1, state.pull.number)
        run = put(msgspec.structs.replace(run, wake_at=None), last)
        chain = _with_fixers(state, chosen.chain)
        state = replace(state, run=run, chain=chain, announce=chosen.notices)
        return next_backend(with_attempt(state, tried=(), reason=""), facts.now)
    count = attempts.count(facts.comments, state.policy.trusted_markers)
    chosen = route(state.policy, count, state.pull.number)
    failing = tuple(step.check.name for step in state.steps)
    if not state.asked and (refusal := _no_more(state, failing, fallback=chosen.fallback)):
        return close(state, RunState.GAVE_UP, refusal, headline="giving up")
    nth = attempts.tries_on(facts.comments, state.pull.number, run.head) + 1
    attempt = Attempt(
        number=count + 1,
        trigger=attempts.trigger(state.pull.number, run.head, nth),
        head=run.head,
        started_at=facts.now,
        fallback=chosen.fallback,
        failing=failing,
        types=tuple(step.signal.type.value for step in state.steps),
        error_key=_key([step.signal.fingerprint for step in state.steps]),
        evidence=messages.evidence_of(state.steps),
        notices=(why, *chosen.notices, *(f"{name}: {reason}" for name, reason in chosen.skipped)),
    )
    run = msgspec.structs.replace(run, attempts=(*run.attempts, attempt), wake_at=None)
    state = replace(
        state,
        run=run,
        chain=_with_fixers(state, chosen.chain),
        announce=chosen.notices,
        phase=Phase.OPENING,
    )
    return state, comment(run, attempt)


def _no_more(state: Pass, failing: Sequence[str], *, fallback: bool) -> str:
    run, limits = state.open_run, state.policy.retry
    return retry.spent(run, failing, fallback=fallback, retry=limits) or progress.stuck(
        run.attempts[run.since :], fallback=fallback, retry=limits
    )


def _with_fixers(state: Pass, chain: tuple[BackendName, ...]) -> tuple[BackendName, ...]:
    """Put the fixers first where one may apply: they cost nothing."""
    lint = any(step.signal.type is FailureType.LINT for step in state.steps)
    return (FIXERS, *chain) if lint and state.policy.fixers else chain


def _key(fingerprints: Sequence[str]) -> str:
    known = sorted(one for one in fingerprints if one)
    return sha256("\n".join(known).encode()).hexdigest()[:16] if known else ""


def next_backend(state: Pass, now: datetime) -> Step:
    """Have the next backend of the chain try; without one the attempt is over."""
    if not state.chain:
        return _exhausted(state, now)
    backend, rest = state.chain[0], state.chain[1:]
    state = replace(
        with_attempt(state, backend=backend.name, model=backend.model, verification=None, diff=""),
        chain=rest,
        phase=Phase.FIXING,
    )
    if not state.proofs:
        return escalate(
            state,
            "no command is known that could prove a mend: name one under [commands] in "
            ".github/regreen.toml on the base branch",
            now,
        )
    task = Task(
        pull=state.pull,
        title=state.found.title,
        steps=state.steps,
        commands=tuple(command.run for command in state.proofs),
        feedback=_feedback(state.open_run),
    )
    fallback = state.attempt.fallback and backend != FIXERS
    announce = state.announce if fallback else ()
    head = state.open_run.head
    return state, effects.RunBackend(backend.name, fallback, head, task, state.kept, announce)


def _feedback(run: Run) -> str:
    """Tell the next backend what has been tried on this head and why it did not do."""
    parts: list[str] = []
    for attempt in run.attempts[-3:]:
        verdict = attempt.verification
        if attempt.head != run.head or verdict is None or verdict.approved:
            continue
        failed = [result for result in verdict.results if not result.passed]
        shown = failed[0].output[-3_000:] if failed else ""
        parts.append(
            f"Attempt {attempt.number} by {attempt.backend} proposed:\n{attempt.diff[:4_000]}\n"
            f"It was rejected: {verdict.reason}\n{shown}"
        )
    return "\n\n".join(parts)


def _skip(state: Pass, reason: str, now: datetime) -> Step:
    """Note why this backend did not do, and have the next one try."""
    tried = (*state.attempt.tried, (state.attempt.backend, reason))
    return next_backend(with_attempt(state, tried=tried), now)


def backend_ended(state: Pass, ended: BackendEnded) -> Step:
    """Guard what a backend changed, then have it verified; else the next one tries."""
    answer, attempt = ended.answer, state.attempt
    state = with_attempt(
        state,
        usage=messages.total([attempt.usage, answer.usage]),
        summary=gate.redact(answer.text)[:4_000],
    )
    if attempt.backend != FIXERS.name and answer.ending not in OUTAGES:
        state = replace(state, reached=True)
    if answer.ending is not Ending.EDITED or not ended.diff.strip():
        return _skip(state, _why_not(answer), ended.at)
    verdict = gate.examine(ended.diff, state.policy.guard)
    if verdict.blocks:
        reason = "the proposed change was stopped: " + "; ".join(
            f"{finding.path}: {finding.message}" for finding in verdict.findings[:5]
        )
        if not verdict.waits_for_person and state.chain:
            return _skip(state, reason, ended.at)
        return escalate(state, reason, ended.at)
    state = with_attempt(
        state,
        diff=ended.diff[:STORED_DIFF_CHARACTERS],
        diff_fingerprint=gate.diff_fingerprint(ended.diff),
    )
    run = state.open_run
    verify = effects.Verify(run.id, state.pull, run.head, ended.diff, state.proofs)
    return replace(state, diff=ended.diff, phase=Phase.VERIFYING), verify


def _why_not(answer: Answer) -> str:
    if answer.ending is Ending.EDITED:
        return "it says that it edited, but the tree is unchanged"
    detail = f": {gate.redact(answer.detail)}" if answer.detail else ""
    return f"{answer.ending.value.replace('_', ' ')}{detail}"


def verified(state: Pass, outcome: Verified) -> Step:
    """Commit what was proved; reject what was not."""
    verdict = outcome.verification
    state = with_attempt(state, verification=verdict)
    if verdict.approved:
        return _prove(with_attempt(state, ended_at=outcome.at))
    failed = [result for result in verdict.results if not result.passed]
    if failed:
        state = with_attempt(state, error_key=fingerprint(failed[0].output))
    if state.attempt.backend == FIXERS.name:  # the next backend goes on from what they mended
        kept = replace(state, kept=state.diff)
        return _skip(kept, f"not enough alone: {verdict.reason}", outcome.at)
    return _reject(state, verdict.reason, outcome.at)


def _prove(state: Pass) -> Step:
    """Commit a proved patch; post a fork's for its author to apply."""
    run, attempt = state.open_run, state.attempt
    if state.found.fork:
        state = with_attempt(state, result=Result.PATCH_POSTED)
        return close(state, RunState.WAITING_PERSON, "a verified patch waits to be applied")
    message = messages.commit_message(run, attempt)
    at = attempt.started_at.replace(microsecond=0)
    build = effects.BuildCommit(state.pull, run.head, state.diff, message, at)
    return replace(state, phase=Phase.COMMITTING), build


def intend(state: Pass, built: CommitBuilt) -> Step:
    """Store what is about to be pushed, so that the webhook it causes is known as ours."""
    state = with_attempt(state, commit=built.commit)
    run = msgspec.structs.replace(state.open_run, intent=built.commit)
    return replace(state, run=run, phase=Phase.INTENDING), effects.SaveRun(run)


def push(state: Pass) -> Step:
    """Push the stored commit, and only onto the head that was read."""
    attempt = state.attempt
    assert attempt.commit is not None
    push = effects.Push(state.pull, state.found.head_branch, attempt.commit, state.open_run.head)
    return replace(state, phase=Phase.PUSHING), push


def pushed(state: Pass, at: datetime) -> Step:
    """Report the push and leave the rest to CI."""
    old, commit = state.open_run, state.attempt.commit
    assert commit is not None
    state = with_attempt(state, result=Result.PATCH_APPLIED, ended_at=at)
    lines = [f"Attempt {state.attempt.number} pushed {commit}."]
    title = f"Pushed a fix as {commit[:10]}"
    card = messages.card(old, old.head, title, lines, Conclusion.NEUTRAL, state.steps)
    run = msgspec.structs.replace(state.open_run, head=commit, wake_at=None, reruns=())
    return close(
        replace(state, run=run, steps=()),
        RunState.WAITING_CI,
        "CI runs on the pushed commit",
        first=[effects.ShowCard(card)],
    )


def _exhausted(state: Pass, now: datetime) -> Step:
    """No backend is left: wait if all were out of reach, else the attempt has failed."""
    attempt = state.attempt
    models = [reason for backend, reason in attempt.tried if backend != FIXERS.name]
    if models and not state.reached and attempt.outages < OUTAGE_ROUNDS:
        until = now + timedelta(seconds=OUTAGE_WAIT_S)
        reason = f"no backend can be reached, I try again at {until:%H:%M:%S} UTC: {models[-1]}"
        state = with_attempt(state, outages=attempt.outages + 1, reason=reason)
        run = msgspec.structs.replace(state.open_run, wake_at=until)
        state = replace(state, run=run)
        return close(state, RunState.WAITING_DELAY, reason, wake_after_s=OUTAGE_WAIT_S)
    if models or (state.policy.fallback and not attempt.fallback):
        last = attempt.tried[-1][1] if attempt.tried else "no primary backend is configured"
        return _reject(state, f"no usable change: {last}", now)
    last = attempt.tried[-1][1] if attempt.tried else "none is configured for such a failure"
    reason = f"no backend could mend it: {last}"
    state = with_attempt(state, result=Result.GAVE_UP, reason=reason, ended_at=now)
    return close(state, RunState.GAVE_UP, reason)


def _reject(state: Pass, reason: str, at: datetime) -> Step:
    """End the attempt without a push; the next one follows after its backoff, if one may."""
    state = with_attempt(state, result=Result.REJECTED, reason=reason, ended_at=at)
    run, attempt = state.open_run, state.attempt
    following = route(state.policy, attempt.number, state.pull.number)
    if refusal := _no_more(state, attempt.failing, fallback=following.fallback):
        given_up = f"{reason}; giving up, because {refusal}"
        state = with_attempt(state, result=Result.GAVE_UP, reason=given_up)
        return close(state, RunState.GAVE_UP, refusal)
    rejected = sum(one.result is Result.REJECTED for one in run.attempts if one.head == run.head)
    delay_s = retry.rejected_delay_s(rejected, state.policy.retry, str(run.id))
    run = msgspec.structs.replace(run, wake_at=at + timedelta(seconds=delay_s))
    waits = f"attempt {attempt.number} was rejected, the next follows in {delay_s:.0f} s"
    return close(replace(state, run=run), RunState.WAITING_DELAY, waits, wake_after_s=delay_s)
