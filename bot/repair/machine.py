"""Every state of a pass and every transition. Nothing else moves a run.

    READING -> CLASSIFYING -> OPENING -> [PLANNING -> [SYNTHESIZING]] -> CHOOSING ->
        FIXING -> VERIFYING -> [REVIEWING -> REVIEWED] -> [ANALYSING] ->
        COMMITTING -> INTENDING -> PUSHING
    FIXING, VERIFYING -> CHOOSING          the next lane when one failed
    FIXING -> [RETRYING] -> FIXING         the same one, when that passes by itself
    VERIFYING -> FIXING                    the same one, for a QA pass
    CHOOSING -> WAITING -> CHOOSING        when no lane can be used for a moment
    ANALYSING -> OFFERING                  to have the repository's own checks judge the change
    READING -> PROVING -> PROVED           what they say; then COMMITTING, or it is rejected
    CLASSIFYING -> RERUNNING               when no code is to blame
    CLASSIFYING -> UNDOING -> INTENDING    when two pushes in a row made it worse
    ANALYSING -> POSTING                   a fork: its patch is posted, nothing is pushed
    READING -> COMMITTING                  when a person let out what waited at the gate
    and from anywhere -> CLOSING: the report, step by step, then the end of the pass.

`begin` and `advance` are pure: same state and outcome, same answer. The shell performs the effect,
records its outcome durably and hands it back, so a pass killed anywhere is simply played again.
A pass ends when there is nothing to do but wait; the next event, delay or person begins another.
The steps of an attempt stand in `pipeline.py`, who works at it in `backends.py`, the endings in
`closing.py`.
"""

from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from bot.config.schema import Policy
from bot.domain import effects
from bot.domain.effects import (
    BackendChosen,
    BackendEnded,
    Commented,
    CommitBuilt,
    Consulted,
    FactsRead,
    FailuresRead,
    HeadMoved,
    Outcome,
    Paused,
    ProofRead,
    Pushed,
    Recorded,
    Refused,
    Superseded,
    Verified,
)
from bot.domain.errors import ConfigError
from bot.domain.runs import (
    GateState,
    Request,
    Result,
    Run,
    RunState,
    Strategy,
    Wish,
)
from bot.domain.values import CheckState, Pull, PullRef, RunId
from bot.repair import (
    approvals,
    backends,
    commands,
    gates,
    green,
    messages,
    narrow,
    outgoing,
    pipeline,
    progress,
    repository,
    retry,
    scratch,
    strategy,
    undoing,
)
from bot.repair.closing import (
    Pass,
    Phase,
    Step,
    ask,
    choose,
    close,
    escalate,
    leave,
    park,
    play,
    put,
    with_attempt,
)

STALE_READ_S = 5.0
LAG_S = 60.0  # how long after our push GitHub may still show the head before it
NO_CI_S = 1800.0  # a pushed commit that no check has begun on by then will have none


def begin(
    policy: Policy,
    pull: PullRef,
    *,
    run_id: RunId,
    generation: int,
    newest: Run | None,
    request: Request,
) -> Step:
    """Begin a pass; `run_id` is used if a new run begins."""
    return Pass(policy, pull, run_id, generation, request, newest), effects.ReadFacts(pull)


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
            return backends.next_backend(with_attempt(state, comment=number), state.seen.now)
        case BackendChosen():
            return backends.chosen(state, outcome)
        case Paused(at=at):
            retries = state.phase is Phase.RETRYING
            return backends.retry(state) if retries else backends.next_backend(state, at)
        case BackendEnded():
            return pipeline.backend_ended(state, outcome)
        case Consulted():
            return pipeline.consulted(state, outcome)
        case Verified():
            return pipeline.verified(state, outcome)
        case Recorded():
            return pipeline.recorded(state, outcome)
        case ProofRead():
            return scratch.judged(state, outcome)
        case CommitBuilt():
            tried = state.phase is Phase.OFFERING
            return scratch.offer(state, outcome) if tried else outgoing.intend(state, outcome)
        case effects.Done() if state.phase is Phase.POSTING:
            return outgoing.posted(state)
        case effects.Done():
            return _ran_again(state) if state.phase is Phase.RERUNNING else outgoing.push(state)
        case Pushed() if state.phase is Phase.OFFERING:
            return scratch.offered(state, outcome)
        case Pushed(at=at):
            return undoing.undone(state, at) if state.undoing else outgoing.pushed(state, at)


def _refused(state: Pass, reason: str) -> Step:
    if state.run is None:
        return replace(state, phase=Phase.ENDED), None
    before = (Phase.CLASSIFYING, Phase.OPENING, Phase.RERUNNING)
    if state.phase in before or state.undoing:
        return ask(state, reason)
    if state.phase is Phase.POSTING:
        state = with_attempt(state, diff="", summary="")  # the comment shows both
    return escalate(state, reason, state.seen.now)


# --- reading: is there anything to do? --------------------------------------------------------


def _read(state: Pass) -> Step:
    pull = state.seen.pull
    if pull is None:
        return leave(state, RunState.CLOSED, "the pull request is gone")
    live = state.newest if state.newest is not None and not state.newest.ended else None
    state = replace(state, run=live)
    wish = state.request.wish
    if wish in (Wish.STOP, Wish.RESET):
        return _obey(state, pull)
    if not pull.open:
        return leave(state, RunState.CLOSED, "the pull request is closed")
    if live is not None and pull.head not in (live.head, live.intent):
        return _other_head(state, live, pull)
    red = any(check.state is CheckState.FAILED for check in state.seen.checks)
    if wish in (Wish.APPROVE, Wish.REJECT) and red:  # else it went green without the change
        return gates.answer(state)
    return _judge(state, pull)


def _judge(state: Pass, pull: Pull) -> Step:
    """Go by the colours: a person's word does not wait for checks that still run, if one is red."""
    checks = state.seen.checks
    passed = {check.name for check in checks if check.state is CheckState.PASSED}
    states = {check.state for check in checks}
    red = CheckState.FAILED in states
    cancelled = any(c.state is CheckState.CANCELLED and c.name not in passed for c in checks)
    green_now = bool(passed) and not (red or cancelled or CheckState.PENDING in states)
    if state.run is not None and state.run.scratch is not None and not green_now:
        return scratch.tend(state)
    if CheckState.PENDING in states and not (red and state.asked):
        return _wait(state, pull, "its checks are running", red=red)
    if not red:
        if cancelled:
            return _wait(state, pull, "a check was cancelled", red=False)
        return green.ended(state, pull) if passed else _nothing_ran(state, pull)
    if state.run is not None and (gate := state.run.gate) and not state.asked:
        return gates.tend(state, gate)
    if reason := _not_now(state, pull):
        return park(state, reason)
    return _work(state, state.run or _new_run(state, pull), pull)


def _wait(state: Pass, pull: Pull, reason: str, *, red: bool) -> Step:
    """Wait for checks to end; what was seen and asked is kept, for the last one may be green."""
    if (red or state.asked) and not _not_now(state, pull):
        run = state.run or _new_run(state, pull)
        if _asked(state, pull):
            run = msgspec.structs.replace(run, asked=pull.head)
        if state.asked:  # it waits for no person and no delay any more
            run = approvals.ended(run, GateState.VOID, state.seen.now)
            run = msgspec.structs.replace(run, state=RunState.WORKING, asked_by=state.request.by)
        state = replace(state, run=run)
    return park(state, reason)


def _nothing_ran(state: Pass, pull: Pull) -> Step:
    """Wait for a first check; ask a person when none has begun long after our push."""
    run = state.run
    if run is not None and run.intent == pull.head and run.pushed_at is not None:
        late = (state.seen.now - run.pushed_at).total_seconds() > NO_CI_S
        if run.state is RunState.WAITING_CI and late and not state.seen.checks:
            return ask(state, "no check has begun on the pushed commit, so nothing says it is good")
    return _wait(state, pull, "no check ended", red=False)


def _obey(state: Pass, pull: Pull) -> Step:
    """Stop or reset. A stopped head stays stopped, even if no run had begun for it."""
    if state.request.wish is Wish.STOP:
        newest = state.newest
        known = newest if newest is not None and newest.head == pull.head else None
        run = state.run or known or _new_run(state, pull)
        if not _lags(run, pull, state.seen.now):
            run = msgspec.structs.replace(run, head=pull.head)
        run = msgspec.structs.replace(run, generation=state.generation)
        return close(replace(state, run=run), RunState.STOPPED, state.request.why)
    retire = effects.RetireMarkers(state.pull)
    if state.run is None:
        return play(replace(state, phase=Phase.CLOSING, script=(retire,)))
    run = msgspec.structs.replace(state.run, since=len(state.run.attempts))
    script = (retire, effects.EndPass(run))
    return play(replace(state, run=run, phase=Phase.CLOSING, script=script))


def _lags(run: Run, pull: Pull, now: datetime) -> bool:
    """Say whether GitHub may still show a head that our own push has just replaced."""
    known = {sha for attempt in run.attempts for sha in (attempt.head, attempt.commit)}
    ours = pull.head != run.head and pull.head in known and run.pushed_at is not None
    return ours and run.pushed_at is not None and (now - run.pushed_at).total_seconds() < LAG_S


def _other_head(state: Pass, live: Run, pull: Pull) -> Step:
    """Tell a new head from a reading that is older than our own push."""
    if _lags(live, pull, state.seen.now) and state.generation == live.generation:
        return park(state, "GitHub still shows the head before our push", STALE_READ_S)
    if _asked(state, pull):
        asked = msgspec.structs.replace(
            live, asked=pull.head, asked_by=state.request.by or live.asked_by
        )
        state = replace(state, run=asked)
    return leave(state, RunState.SUPERSEDED, "a new head was pushed", wake_after_s=0.0)


def _asked(state: Pass, pull: Pull) -> bool:
    """Say whether a person asked for this head, perhaps of the run before a new head came."""
    if state.asked and (not pull.fork or state.request.head == pull.head):
        return True  # a fork's code runs only as the person saw it: its author may push at any time
    newest = state.newest
    handed_on = newest is not None and newest.state is RunState.SUPERSEDED
    return handed_on and newest is not None and newest.asked == pull.head


def _not_now(state: Pass, pull: Pull) -> str:
    """Say why nothing is done about a red head for now; empty when something is."""
    newest = state.newest
    if _asked(state, pull):
        return ""
    if not state.policy.autofix and state.run is None:  # what was begun is brought to its end
        return "automatic repair is off here: a person may ask with /regreen fix"
    if newest is None or newest.head != pull.head:
        return ""
    if newest.state in (RunState.GAVE_UP, RunState.BLOCKED, RunState.STOPPED):
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
        notice=_notice(state.newest),
    )


def _notice(newest: Run | None) -> int:
    """Return the notice that a new run goes on with: who answers ours by a push gets no other."""
    handed_on = (RunState.SUPERSEDED, RunState.BLOCKED)
    return newest.notice if newest is not None and newest.state in handed_on else 0


def _work(state: Pass, run: Run, pull: Pull) -> Step:
    failing = tuple(check for check in state.seen.checks if check.state is CheckState.FAILED)
    names = {check.name for check in failing}
    run = msgspec.structs.replace(
        run,
        head=pull.head,
        reruns=run.reruns if run.head == pull.head and not state.asked else (),
        generation=state.generation,
        state=RunState.WORKING,
        asked=pull.head if _asked(state, pull) else run.asked,
        asked_by=_asker(state, run),
        upstream=tuple(one for one in run.upstream if one in names and not state.asked),
        updated_at=state.seen.now,
    )
    run = approvals.ended(run, GateState.VOID, state.seen.now)
    state = replace(state, run=run, phase=Phase.CLASSIFYING)
    if pull.fork and run.asked != pull.head:
        return ask(
            state,
            "this comes from a fork, so nothing of it runs until a person with write permission "
            f"says /regreen fix for {pull.head[:10]}",
        )
    return state, effects.ReadFailures(
        state.pull, pull.head, pull.base, pull.base_branch, failing, state.policy.patterns
    )


def _asker(state: Pass, run: Run) -> str:
    """Return who asked for this try, perhaps of the run before a new head came."""
    if state.asked:
        return state.request.by
    newest = state.newest
    handed_on = newest is not None and newest.state is RunState.SUPERSEDED and not run.attempts
    return newest.asked_by if handed_on and newest is not None else run.asked_by


# --- deciding: what kind of failure, what to do -----------------------------------------------


def _failures_read(state: Pass, read: FailuresRead) -> Step:
    steps, run = read.steps, state.open_run
    if state.asked or run.asked == run.head:  # who asks wants it mended here, come what may
        steps = tuple(msgspec.structs.replace(step, upstream=False) for step in steps)
    state = replace(state, steps=steps)
    lines = [line for step in read.steps for line in step.run_lines]
    try:
        proofs = commands.commands_for(read.repository_config, dict(read.manifests), lines)
        review = repository.asked(read.repository_config, dict(read.manifests)).review
    except ConfigError as error:
        return ask(state, str(error))
    return _classified(replace(state, proofs=narrow.first(proofs, steps), review=review))


def _classified(state: Pass) -> Step:
    run, policy = state.open_run, state.policy
    worse = progress.worse(run, state.steps, policy.retry)
    if worse is not None:
        run = put(run, msgspec.structs.replace(run.attempts[-1], worse=worse))
        state = replace(state, run=run)
    if worse and (good := progress.undo_to(run)):
        return undoing.undo(state, good)
    match strategy.strategy(state.steps, run, policy.retry):
        case strategy.Ask(reason):
            return ask(state, reason)
        case strategy.Await() as wait:
            return _await_base(state, wait)
        case strategy.Again() as again:
            return _run_again(state, again)
        case strategy.Patch() as patch:
            return pipeline.open_attempt(state, patch)


def _await_base(state: Pass, wait: strategy.Await) -> Step:
    """Push nothing while the base branch fails in the same way; look again now and then."""
    run, now, again_s = state.open_run, state.seen.now, state.policy.base_look_s
    until = now + timedelta(seconds=again_s)
    if run.upstream == wait.checks:
        early = not retry.due(run, now)  # another look is on its way: each must not bring one more
        wake_at = run.wake_at if early else until
        run = msgspec.structs.replace(run, state=RunState.WAITING_BASE, wake_at=wake_at)
        end = effects.EndPass(run, None if early else again_s)
        return play(replace(state, run=run, phase=Phase.CLOSING, script=(end,)))
    state = replace(state, run=msgspec.structs.replace(run, upstream=wait.checks, wake_at=until))
    state = choose(state, Strategy.RETRY, wait.reason, result=Result.RETRIED, backoff_s=again_s)
    return close(
        state,
        RunState.WAITING_BASE,
        wait.reason,
        headline="the base branch is broken",
        lines=[messages.quote(wait.reason, 600), "I look again when it is green."],
        wake_after_s=again_s,
    )


def _run_again(state: Pass, again: strategy.Again) -> Step:
    run, now = state.open_run, state.seen.now
    why = messages.quote(again.reason)
    waited = _waited(state)
    if not waited:
        state = choose(
            state, Strategy.RETRY, again.reason, result=Result.RETRIED, backoff_s=again.delay_s
        )
        run = state.open_run
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
    run = msgspec.structs.replace(run, reruns=again.counts, wake_at=None)
    key = f"{run.id}:{_times(run)}"
    state = replace(state, run=run, why=why, phase=Phase.RERUNNING)
    return state, effects.Rerun(state.pull, run.head, again.checks, key)


def _waited(state: Pass) -> bool:
    """Say whether the run has waited for this re-run, so that it was decided before."""
    newest, choices = state.newest, state.open_run.choices
    if newest is None or newest.state is not RunState.WAITING_DELAY or not choices:
        return False
    return choices[-1].strategy is Strategy.RETRY and retry.due(newest, state.seen.now)


def _times(run: Run) -> int:
    return max(count for _, count in run.reruns)


def _ran_again(state: Pass) -> Step:
    """Report a re-run, once it was accepted."""
    times = _times(state.open_run)
    return close(
        state,
        RunState.WAITING_CI,
        "the failed jobs run again",
        headline="ran the failed jobs again",
        lines=[
            state.why,
            f"So the failed jobs run again, with the code as it is (re-run {times}).",
        ],
    )
