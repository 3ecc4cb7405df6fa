"""`verify = "ci"` and `"both"`: the repository's own checks judge a change before its branch moves.

The change is pushed to a branch of ours, `regreen/verify/<pull>-<attempt>`, as a commit that is not
the one that goes out later: what was said of the one must not count for the other. The pass ends,
and looks again when GitHub tells of a check, and now and then. However the run goes on, the branch
is deleted with the pass that ends the waiting (`closing.close`). Where that is refused, the run
goes on without it, and it is tried again later, each time after longer and not for ever.

Workflows that only `pull_request` triggers do not run for a branch. No pull request is opened for
that: we say that no check ran, and do as the setting says without one.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import msgspec

from bot.config.schema import GatekeeperPolicy, Verify
from bot.domain import effects
from bot.domain.effects import CommitBuilt, ProofRead, Recorded
from bot.domain.runs import Run, RunState, Scratch
from bot.domain.values import (
    SCRATCH,
    Check,
    CheckState,
    CommandResult,
    Stage,
    Verification,
)
from bot.repair import messages, retry
from bot.repair.closing import (
    Pass,
    Phase,
    Step,
    close,
    escalate,
    play,
    reject,
    with_attempt,
)

WHERE = "GitHub"  # instead of a sandbox's name
DROPS = 6  # tries to delete a branch; at a look a minute the last one is 26 hours after the first
DROP_FACTOR = 6  # by which each wait for the next one is longer
ENDED = (CheckState.PASSED, CheckState.FAILED, CheckState.CANCELLED, CheckState.NEUTRAL)


def wanted(state: Pass) -> bool:
    """Say whether the change is to be judged by the repository's checks; a fork's never is."""
    return state.policy.gatekeeper.verify is not Verify.LOCAL and not state.found.fork


def alone(state: Pass) -> bool:
    """Say whether those checks are all that judges it."""
    return wanted(state) and state.policy.gatekeeper.verify is Verify.CI


def build(state: Pass) -> Step:
    """Make the commit for the scratch branch; the run knows the branch before it is there."""
    run, attempt = state.open_run, state.attempt
    branch = f"{SCRATCH}{state.pull.number}-{attempt.number}"
    scratch = Scratch(branch, state.diff, state.gates)
    message = f"{messages.commit_message(run, attempt).rstrip()}\nRegreen-Verify: {branch}\n"
    at = attempt.started_at.replace(microsecond=0)
    commit = effects.BuildCommit(state.pull, run.head, state.diff, message, at)
    run = msgspec.structs.replace(run, scratch=scratch)
    return replace(state, run=run, phase=Phase.OFFERING), commit


def offer(state: Pass, built: CommitBuilt) -> Step:
    """Push the commit to its scratch branch."""
    scratch = msgspec.structs.replace(_scratch(state), commit=built.commit)
    run = msgspec.structs.replace(state.open_run, scratch=scratch)
    push = effects.OfferScratch(state.pull, scratch.branch, built.commit)
    return replace(state, run=run), push


def offered(state: Pass, outcome: effects.Pushed) -> Step:
    """End the pass: the checks take their time."""
    look_s = state.policy.gatekeeper.ci_look_s
    scratch = msgspec.structs.replace(_scratch(state), pushed_at=outcome.at)
    wake_at = outcome.at + timedelta(seconds=look_s)
    run = msgspec.structs.replace(state.open_run, scratch=scratch, wake_at=wake_at)
    reason = f"the repository's own checks run on {scratch.branch}"
    return close(replace(state, run=run), RunState.WAITING_PROOF, reason, wake_after_s=look_s)


def tend(state: Pass) -> Step:
    """Look at the checks on the scratch branch."""
    commit = _scratch(state).commit
    assert commit is not None
    run = msgspec.structs.replace(state.open_run, generation=state.generation)
    read = effects.ReadProof(state.pull, commit, state.found.base_branch)
    return replace(state, run=run, phase=Phase.PROVING), read


def judged(state: Pass, read: ProofRead) -> Step:
    """Wait on, or record what the checks say; what is red on the base branch counts for nothing."""
    scratch, limits = _scratch(state), state.policy.gatekeeper
    assert scratch.pushed_at is not None
    waited_s = (read.at - scratch.pushed_at).total_seconds()
    failed = [
        one.name
        for one in read.checks
        if one.state is CheckState.FAILED and one.name not in read.upstream
    ]
    if failed:
        names = ", ".join(f"`{name}`" for name in failed[:5])
        return _record(state, read, f"the repository's own checks fail on the change: {names}")
    if reason := _undecided(state, read):
        pending = any(one.state is CheckState.PENDING for one in read.checks)
        state, waited_s = _since_cancelled(state, read, waited_s, pending=pending)
        limit_s = limits.ci_wait_s if pending else limits.ci_start_s
        if waited_s < limit_s:
            return _wait(state, read, limits)
        late = f"within {limit_s:.0f} s" if not pending else f"have not ended in {limit_s:.0f} s"
        return _without(state, f"{reason} {late}", read)
    return _record(state, read, "")


def drop_again_s(limits: GatekeeperPolicy, tried: int) -> float | None:
    """Return when to delete a branch that stayed *tried* times; None when it is given up."""
    return limits.ci_look_s * DROP_FACTOR ** (tried - 1) if tried < DROPS else None


def waits_on(run: Run | None, branch: str) -> bool:
    """Say whether a change of this run is judged on the branch: its name may have come again."""
    return run is not None and run.scratch is not None and run.scratch.branch == branch


def _undecided(state: Pass, read: ProofRead) -> str:
    """Return what is not known yet of the checks; empty when all is."""
    branch = _scratch(state).branch
    if not read.checks:
        return (
            f"no check ran on {branch} (workflows that pull_request alone triggers do not run "
            "for a pushed branch): none began"
        )
    if any(one.state is CheckState.PENDING for one in read.checks):
        return f"the checks on {branch}"
    if cancelled := _cancelled(read):
        names = ", ".join(f"`{name}`" for name in cancelled[:5])
        return f"cancelled on {branch}, which is no verdict: {names}; none began anew"
    passed = {one.name for one in read.checks if one.state is CheckState.PASSED}
    missing = [
        name for name in state.attempt.failing if name not in passed and name not in read.upstream
    ]
    if not missing:
        return ""
    names = ", ".join(f"`{name}`" for name in missing[:5])
    return f"no check ran on {branch} that could judge {names}: none passed"


def _cancelled(read: ProofRead) -> list[str]:
    """Return the checks that were cancelled and have not passed otherwise."""
    passed = {one.name for one in read.checks if one.state is CheckState.PASSED}
    return [
        one.name
        for one in read.checks
        if one.state is CheckState.CANCELLED and one.name not in {*passed, *read.upstream}
    ]


def _since_cancelled(
    state: Pass, read: ProofRead, waited_s: float, *, pending: bool
) -> tuple[Pass, float]:
    """Return how long is waited: a check that was cancelled has its whole time to begin anew."""
    scratch = _scratch(state)
    at = (scratch.cancelled_at or read.at) if _cancelled(read) and not pending else None
    scratch = msgspec.structs.replace(scratch, cancelled_at=at)
    run = msgspec.structs.replace(state.open_run, scratch=scratch)
    return replace(state, run=run), (read.at - at).total_seconds() if at is not None else waited_s


def _wait(state: Pass, read: ProofRead, limits: GatekeeperPolicy) -> Step:
    """Go on waiting; a look between two must not bring one more of those that follow each other."""
    run = state.open_run
    early = not retry.due(run, read.at)
    wake_at = run.wake_at if early else read.at + timedelta(seconds=limits.ci_look_s)
    run = msgspec.structs.replace(run, wake_at=wake_at)
    end = effects.EndPass(run, None if early else limits.ci_look_s)
    return play(replace(state, run=run, phase=Phase.CLOSING, script=(end,)))


def _without(state: Pass, reason: str, read: ProofRead) -> Step:
    """Go on by the local verdict where there is one; else ask a person."""
    state = with_attempt(state, notices=(*state.attempt.notices, reason))
    if state.policy.gatekeeper.verify is Verify.CI:
        return escalate(state, reason, read.at)
    return _record(state, read, f"{reason}, so the proof in the sandbox decides", silent=True)


def _record(state: Pass, read: ProofRead, reason: str, *, silent: bool = False) -> Step:
    """Have the verdict written; checks that are *silent* leave it to the sandbox."""
    verdict = Verification(
        approved=not reason or silent,
        reason=reason or f"every check passed on {_scratch(state).branch}",
        results=tuple(_results(read)),
        diff_fingerprint=state.attempt.diff_fingerprint,
        sandbox=WHERE,
        at=read.at,
        stage=Stage.CI,
        evidence=((messages.SILENT, reason),) if silent else (),
    )
    record = effects.Record(state.pull, state.open_run.id, verdict)
    return replace(state, phase=Phase.PROVED), record


def recorded(state: Pass, outcome: Recorded) -> tuple[Pass, Step | None]:
    """Return the pass with the verdict, and how it ends when that is a no."""
    verdict, scratch = outcome.verification, _scratch(state)
    state = with_attempt(state, ci=verdict)
    if not verdict.approved:
        return state, reject(state, verdict.reason, outcome.at)
    return replace(state, diff=scratch.diff, gates=scratch.gates), None


def _results(read: ProofRead) -> Iterator[CommandResult]:
    logs = dict(read.logs)
    for one in read.checks:
        if one.state in ENDED:
            yield _result(one, logs.get(one.name, one.summary), upstream=one.name in read.upstream)


def _result(check: Check, output: str, *, upstream: bool) -> CommandResult:
    cancelled = check.state is CheckState.CANCELLED
    passed = check.state is not CheckState.FAILED and not cancelled
    return CommandResult(
        name=check.name,
        command=check.url or check.name,
        exit_code=0 if passed else 1,
        passed=passed,
        allow_fail=upstream or cancelled,
        seconds=0.0,
        output=output,
        note="the base branch fails, too" if upstream else check.state.value,
    )


def _scratch(state: Pass) -> Scratch:
    scratch = state.open_run.scratch
    assert scratch is not None
    return scratch
