"""Every state of a pass and every transition. Nothing else moves a run.

    READING -> CLASSIFYING -> OPENING -> FIXING -> VERIFYING -> COMMITTING -> INTENDING -> PUSHING
                                            ^          |
                                            +----------+   the next backend, when one failed
    and from anywhere -> CLOSING: the report, step by step, then the end of the pass.

`begin` and `advance` are pure: same state and outcome, same answer. The shell performs the effect,
records its outcome durably and hands it back, so a pass killed anywhere is simply played again.
A pass ends when there is nothing to do but wait; the next event, delay or person begins another.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec

from bot.config.schema import BackendName, Policy
from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.effects import (
    BackendEnded,
    Commented,
    CommitBuilt,
    FactsRead,
    FailuresRead,
    HeadMoved,
    Outcome,
    Pushed,
    Refused,
    Superseded,
    Verified,
)
from bot.domain.errors import ConfigError
from bot.domain.runs import Attempt, Result, Run, RunState, Wish
from bot.domain.values import (
    CheckState,
    Conclusion,
    FailureType,
    Pull,
    PullRef,
    RunId,
    Task,
)
from bot.failures.fingerprint import fingerprint
from bot.repair import attempts, commands, gate, messages, progress, retry
from bot.repair.closing import (
    Pass,
    Phase,
    Step,
    ask,
    close,
    comment,
    escalate,
    leave,
    park,
    play,
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
STALE_READ_S = 5.0
STORED_DIFF_CHARACTERS = 60_000


def begin(
    policy: Policy,
    pull: PullRef,
    *,
    run_id: RunId,
    generation: int,
    newest: Run | None,
    wish: Wish = Wish.LOOK,
    why: str = "",
) -> Step:
    """Begin a pass; `run_id` is used if a new run begins."""
    state = Pass(policy, pull, run_id, generation, wish, why, newest)
    return state, effects.ReadFacts(pull)


def advance(  # noqa: C901, PLR0911, PLR0912 -- this match is the table; cutting it would hide it
    state: Pass, outcome: Outcome
) -> Step:
    """Return the pass after *outcome* and the next effect; no effect means that it has ended."""
    if state.phase is Phase.CLOSING:
        return play(state, outcome)
    match outcome:
        case Superseded(reason=reason) | HeadMoved(reason=reason):
            return leave(state, RunState.SUPERSEDED, reason)
        case Refused(reason=reason):
            return _refused(state, reason)
        case FactsRead(facts=facts):
            return _read(replace(state, facts=facts))
        case FailuresRead():
            return _failures_read(state, outcome)
        case Commented(comment=number):
            return _next_backend(with_attempt(state, comment=number), state.seen.now)
        case BackendEnded():
            return _backend_ended(state, outcome)
        case Verified():
            return _verified(state, outcome)
        case CommitBuilt():
            return _intend(state, outcome)
        case effects.Done():
            return _push(state)
        case Pushed(at=at):
            return _pushed(state, at)


def _refused(state: Pass, reason: str) -> Step:
    if state.run is None:
        return replace(state, phase=Phase.ENDED), None
    if state.phase in (Phase.CLASSIFYING, Phase.OPENING):
        return ask(state, reason)
    return escalate(state, reason, state.seen.now)


# --- reading: is there anything to do? --------------------------------------------------------


def _read(state: Pass) -> Step:
    pull = state.seen.pull
    if pull is None:
        return leave(state, RunState.CLOSED, "the pull request is gone")
    if not pull.open:
        return leave(state, RunState.CLOSED, "the pull request is closed")
    live = state.newest if state.newest is not None and not state.newest.ended else None
    if live is not None and pull.head not in (live.head, live.intent):
        return _other_head(replace(state, run=live), live, pull)
    state = replace(state, run=live)
    if state.wish in (Wish.STOP, Wish.RESET):
        return _obey(state, pull)
    states = {check.state for check in state.seen.checks}
    if CheckState.PENDING in states:
        return park(state, "its checks are running")
    if CheckState.FAILED not in states:
        return _green(state, pull) if CheckState.PASSED in states else park(state, "no check ended")
    if reason := _not_now(state, pull):
        return park(state, reason)
    return _work(state, live or _new_run(state, pull), pull)


def _obey(state: Pass, pull: Pull) -> Step:
    """Stop or reset. A stopped head stays stopped, even if no run had begun for it."""
    if state.wish is Wish.STOP:
        newest = state.newest
        known = newest if newest is not None and newest.head == pull.head else None
        run = state.run or known or _new_run(state, pull)
        return close(replace(state, run=run), RunState.STOPPED, state.why)
    retire = effects.RetireMarkers(state.pull)
    if state.run is None:
        return play(replace(state, phase=Phase.CLOSING, script=(retire,)))
    run = msgspec.structs.replace(state.run, since=len(state.run.attempts))
    script = (retire, effects.EndPass(run))
    return play(replace(state, run=run, phase=Phase.CLOSING, script=script))


def _other_head(state: Pass, live: Run, pull: Pull) -> Step:
    """Tell a new head from a reading that is older than our own push."""
    ours = pull.head in {attempt.head for attempt in live.attempts}
    if ours and state.generation == live.generation:
        return park(state, "GitHub still shows the head before our push", STALE_READ_S)
    if state.asked:
        state = replace(state, run=msgspec.structs.replace(live, asked=pull.head))
    if state.wish is Wish.STOP:
        return leave(state, RunState.STOPPED, state.why)
    return leave(state, RunState.SUPERSEDED, "a new head was pushed", wake_after_s=0.0)


def _asked(state: Pass, pull: Pull) -> bool:
    """Say whether a person asked for this head, perhaps of the run before a new head came."""
    newest = state.newest
    handed_on = newest is not None and newest.state is RunState.SUPERSEDED
    return state.asked or (handed_on and newest is not None and newest.asked == pull.head)


def _not_now(state: Pass, pull: Pull) -> str:
    """Say why nothing is done about a red head for now; empty when something is."""
    newest = state.newest
    if _asked(state, pull):
        return ""
    if not state.policy.autofix:
        return "automatic repair is off here: a person may ask with /regreen fix"
    if newest is None or newest.head != pull.head:
        return ""
    if newest.state in (RunState.GAVE_UP, RunState.STOPPED):
        return f"the run of this head has ended: {newest.reason}"
    if newest.state is RunState.WAITING_PERSON:
        return f"a person must act first: {newest.reason}"
    if newest.state is RunState.WAITING_DELAY and not retry.due(newest, state.seen.now):
        return "it waits for its next try"
    return ""


def _new_run(state: Pass, pull: Pull) -> Run:
    now = state.seen.now
    return Run(
        id=state.run_id,
        pull=state.pull,
        state=RunState.WORKING,
        head=pull.head,
        generation=state.generation,
        started_at=now,
        updated_at=now,
    )


def _work(state: Pass, run: Run, pull: Pull) -> Step:
    run = msgspec.structs.replace(
        run,
        head=pull.head,
        reruns=run.reruns if run.head == pull.head else (),
        generation=state.generation,
        state=RunState.WORKING,
        asked=pull.head if _asked(state, pull) else run.asked,
        updated_at=state.seen.now,
    )
    state = replace(state, run=run, phase=Phase.CLASSIFYING)
    if pull.fork and run.asked != pull.head:
        return ask(
            state,
            "this comes from a fork, so nothing of it runs until a person with write permission "
            f"says /regreen fix for {pull.head[:10]}",
        )
    failing = tuple(check for check in state.seen.checks if check.state is CheckState.FAILED)
    return state, effects.ReadFailures(state.pull, pull.head, pull.base, failing)


def _green(state: Pass, pull: Pull) -> Step:
    run = state.run
    if run is None:
        return replace(state, phase=Phase.ENDED), None
    run = msgspec.structs.replace(run, head=pull.head)
    if run.attempts and run.attempts[-1].result is Result.PATCH_APPLIED:
        run = put(run, msgspec.structs.replace(run.attempts[-1], green=True))
    title = "Green again" if run.attempts else "Green again without a change to the code"
    headline = "green again" if run.notice else ""
    return close(replace(state, run=run), RunState.GREEN, title, headline=headline)


# --- deciding: what kind of failure, what to do -----------------------------------------------


def _failures_read(state: Pass, read: FailuresRead) -> Step:
    state = replace(state, steps=read.steps)
    lines = [line for step in read.steps for line in step.run_lines]
    try:
        proofs = commands.commands_for(read.repository_config, dict(read.manifests), lines)
    except ConfigError as error:
        return ask(state, str(error))
    return _classified(replace(state, proofs=proofs))


def _classified(state: Pass) -> Step:
    match retry.strategy(state.steps, state.open_run, state.policy.retry):
        case retry.Ask(reason):
            return ask(state, reason)
        case retry.Again() as again:
            return _run_again(state, again)
        case retry.Patch(steps, reason):
            return _attempt(replace(state, steps=steps), reason)


def _run_again(state: Pass, again: retry.Again) -> Step:
    run, now = state.open_run, state.seen.now
    why = messages.quote(again.reason)
    waited = run.wake_at is not None and retry.due(run, now)
    if again.delay_s > state.policy.settle_s and not waited and not state.asked:
        until = now + timedelta(seconds=again.delay_s)
        state = replace(state, run=msgspec.structs.replace(run, wake_at=until))
        return close(
            state,
            RunState.WAITING_DELAY,
            "waiting before the failed jobs run again",
            headline="waiting before the failed jobs run again",
            lines=[why, f"They run again at {until:%H:%M:%S} UTC."],
            wake_after_s=again.delay_s,
        )
    times = max(count for _, count in again.counts)
    run = msgspec.structs.replace(run, reruns=again.counts, wake_at=None)
    key = f"{run.id}:{times}"
    return close(
        replace(state, run=run),
        RunState.WAITING_CI,
        "the failed jobs run again",
        headline="ran the failed jobs again",
        lines=[why, f"No code is to blame, so the failed jobs run again (re-run {times})."],
        first=[effects.Rerun(state.pull, run.head, again.checks, key)],
    )


def _attempt(state: Pass, why: str) -> Step:
    """Open the next attempt, or go on with one that waited for a backend."""
    run, facts = state.open_run, state.seen
    last = run.attempts[-1] if run.attempts else None
    if last is not None and last.result is Result.WORKING and last.head == run.head:
        chosen = route(state.policy, last.number - 1, state.pull.number)
        run = put(msgspec.structs.replace(run, wake_at=None), last)
        chain = _with_fixers(state, chosen.chain)
        state = replace(state, run=run, chain=chain, announce=chosen.notices)
        return _next_backend(with_attempt(state, tried=(), reason=""), facts.now)
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


# --- one attempt: backend, guard, gatekeeper, commit, push ------------------------------------


def _next_backend(state: Pass, now: datetime) -> Step:
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
    run = effects.RunBackend(backend.name, fallback, state.open_run.head, task, announce)
    return state, run


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
    return _next_backend(with_attempt(state, tried=tried), now)


def _backend_ended(state: Pass, ended: BackendEnded) -> Step:
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
    detail = f": {answer.detail}" if answer.detail else ""
    return f"{answer.ending.value.replace('_', ' ')}{detail}"


def _verified(state: Pass, verified: Verified) -> Step:
    verdict = verified.verification
    state = with_attempt(state, verification=verdict)
    if verdict.approved:
        return _prove(with_attempt(state, ended_at=verified.at))
    failed = [result for result in verdict.results if not result.passed]
    if failed:
        state = with_attempt(state, error_key=fingerprint(failed[0].output))
    if state.attempt.backend == FIXERS.name and state.chain:
        return _skip(state, f"not proved: {verdict.reason}", verified.at)
    return _reject(state, verdict.reason, verified.at)


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


def _intend(state: Pass, built: CommitBuilt) -> Step:
    """Store what is about to be pushed, so that the webhook it causes is known as ours."""
    state = with_attempt(state, commit=built.commit)
    run = msgspec.structs.replace(state.open_run, intent=built.commit)
    return replace(state, run=run, phase=Phase.INTENDING), effects.SaveRun(run)


def _push(state: Pass) -> Step:
    attempt = state.attempt
    assert attempt.commit is not None
    push = effects.Push(state.pull, state.found.head_branch, attempt.commit, state.open_run.head)
    return replace(state, phase=Phase.PUSHING), push


def _pushed(state: Pass, at: datetime) -> Step:
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
    if models:
        return _reject(state, f"no usable change: {models[-1]}", now)
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
