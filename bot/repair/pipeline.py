"""One attempt: a plan, a backend, the guard, the gatekeeper, the analysis, the commit, the push.

Each function takes the pass after an outcome and returns it with the next effect; `machine.advance`
says which comes when. Plan, analysis and QA pass are only made where they are configured. An
attempt ends pushed, posted (for a fork), at a gate, rejected, or with a person.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from bot.config.schema import BackendName, PlanningPolicy
from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.effects import (
    BackendEnded,
    CommitBuilt,
    Consulted,
    Verified,
)
from bot.domain.runs import Attempt, Gate, Result, RunState, Strategy
from bot.domain.values import (
    CheckState,
    Conclusion,
    FailureType,
    Purpose,
    Question,
    Task,
    Verification,
)
from bot.failures.fingerprint import fingerprint
from bot.repair import approvals, attempts, guard, messages, plans, progress, retry
from bot.repair.closing import (
    Pass,
    Phase,
    Step,
    choose,
    close,
    comment,
    escalate,
    give_up,
    put,
    with_attempt,
)
from bot.repair.strategy import COURSES, Patch
from bot.routing.chain import Route, route

FIXERS = BackendName("fixers", "")
OUTAGES = frozenset(
    {Ending.RATE_LIMITED, Ending.USAGE_LIMIT, Ending.UNAVAILABLE, Ending.NETWORK, Ending.DISK_FULL}
)
OUTAGE_ROUNDS = 10  # times an attempt waits for a backend before it counts as failed
OUTAGE_WAIT_S = 60.0
STORED_DIFF_CHARACTERS = 60_000
VERDICT = re.compile(r"^\s*VERDICT:\s*(yes|no)\b", re.IGNORECASE | re.MULTILINE)


def open_attempt(state: Pass, patch: Patch) -> Step:
    """Open the next attempt, or go on with one that waited for a backend."""
    state = replace(state, steps=patch.steps, gates=patch.gates)
    run, facts = state.open_run, state.seen
    last = run.attempts[-1] if run.attempts else None
    waits = last is not None and (last.result is Result.WORKING or last.unpaid)
    if last is not None and waits and last.head == run.head:
        return _resume(state, last)
    count = attempts.count(facts.comments, state.policy.trusted_markers)
    chosen = route(state.policy, count, state.pull.number)
    failing = tuple(step.check.name for step in state.steps)
    if over := _no_more(state, failing, fallback=chosen.fallback, asked=state.asked):
        return give_up(state, *over, headline="giving up")
    trigger = patch.trigger or progress.turns(run, state.policy.retry, fallback=chosen.fallback)
    planned = plans.planned(run, state.steps, facts.now, trigger)
    replanned = len(planned.deltas) > len(run.deltas)
    state = choose(
        replace(state, run=planned),
        Strategy.REPLAN if replanned else Strategy.PATCH,
        patch.reason,
        inputs=(
            ("attempts counted on the pull request", str(count)),
            ("tier", "fallback" if chosen.fallback else "primary"),
            *((("replanned because of", trigger),) if replanned else ()),
        ),
        attempt=count + 1,
    )
    attempt = _new_attempt(state, count + 1, chosen, patch.reason)
    run = state.open_run
    run = msgspec.structs.replace(run, attempts=(*run.attempts, attempt), wake_at=None)
    return replace(_routed(state, chosen), run=run, phase=Phase.OPENING), comment(run, attempt)


def _resume(state: Pass, last: Attempt) -> Step:
    last = msgspec.structs.replace(last, result=Result.WORKING, ended_at=None, unpaid=False)
    run = put(msgspec.structs.replace(state.open_run, wake_at=None), last)
    state = _routed(state, route(state.policy, last.number - 1, state.pull.number))
    planned = bool(run.plans and run.plans[-1].text)  # who planned is not asked again
    state = with_attempt(replace(state, run=run, planned=planned), tried=(), reason="")
    return next_backend(state, state.seen.now)


def _routed(state: Pass, chosen: Route) -> Pass:
    chain = _with_fixers(state, chosen.chain)
    return replace(state, chain=chain, announce=chosen.notices)


def _new_attempt(state: Pass, number: int, chosen: Route, reason: str) -> Attempt:
    run, facts, steps = state.open_run, state.seen, state.steps
    nth = attempts.tries_on(facts.comments, state.pull.number, run.head) + 1
    skipped = (f"{name}: {why}" for name, why in chosen.skipped)
    return Attempt(
        number=number,
        trigger=attempts.trigger(state.pull.number, run.head, nth),
        head=run.head,
        started_at=facts.now,
        fallback=chosen.fallback,
        failing=tuple(step.check.name for step in steps),
        types=tuple(step.signal.type.value for step in steps),
        error_key=progress.key([step.signal.fingerprint for step in steps]),
        evidence=messages.evidence_of(steps),
        notices=(reason, *chosen.notices, *skipped),
        plan=run.plans[-1].id,
        passed=tuple(one.name for one in facts.checks if one.state is CheckState.PASSED),
    )


def _no_more(
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


def _with_fixers(state: Pass, chain: tuple[BackendName, ...]) -> tuple[BackendName, ...]:
    """Put the fixers first where one may apply: they cost nothing."""
    lint = any(step.signal.type is FailureType.LINT for step in state.steps)
    return (FIXERS, *chain) if lint and state.policy.fixers else chain


def next_backend(state: Pass, now: datetime) -> Step:
    """Have the next backend of the chain try; without one the attempt is over."""
    if not state.chain:
        return _exhausted(state, now)
    backend, rest = state.chain[0], state.chain[1:]
    if not state.planned and state.policy.planners and state.proofs and backend != FIXERS:
        return _ask_for_plan(replace(state, planned=True))
    state = replace(
        with_attempt(
            state, backend=backend.name, model=backend.model, session="", verification=None, diff=""
        ),
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
    told = plans.feedback(state.open_run) if state.policy.qa.feedback else ""
    return _start(state, _task(state, told), state.kept)


def _start(state: Pass, task: Task, onto: str) -> Step:
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
    )
    return replace(state, phase=Phase.FIXING), work


def _task(state: Pass, feedback: str = "", *, again: bool = False) -> Task:
    return Task(
        pull=state.pull,
        title=state.found.title,
        steps=state.steps,
        commands=tuple(command.run for command in state.proofs),
        feedback=feedback,
        plan=plans.told(state.open_run),
        again=again,
    )


# --- the drains beside the fix: planning and analysis -------------------------------------------


def _ask_for_plan(state: Pass) -> Step:
    limit = _limits_s(state.policy.planning)[0]
    told = plans.feedback(state.open_run) if state.policy.qa.feedback else ""
    question = Question(Purpose.PLAN, _task(state, told))
    names = tuple(one.name for one in state.policy.planners)
    ask = _consult(state, names, question, limit)
    return replace(state, phase=Phase.PLANNING), ask


def _consult(
    state: Pass, backends: tuple[str, ...], question: Question, within_s: float, onto: str = ""
) -> effects.Consult:
    run, number = state.open_run, state.attempt.number
    return effects.Consult(backends, run.head, question, within_s, run.id, number, onto)


def _limits_s(planning: PlanningPolicy) -> tuple[float, float]:
    """Return how much of the time is for the plans and how much for making one of them."""
    return planning.within_s * 2 / 3, planning.within_s / 3


def consulted(state: Pass, heard: Consulted) -> Step:
    """Take a plan or a judgement; what nobody gave is done without."""
    usage = [state.attempt.usage, *(one.answer.usage for one in heard.opinions)]
    state = with_attempt(state, usage=messages.total(usage))
    said = [one for one in heard.opinions if one.answer.ending is Ending.NO_CHANGE]
    texts = tuple(guard.redact(one.answer.text) for one in said)
    names = tuple(one.backend for one in said)
    if state.phase is Phase.ANALYSING:
        return _analysed(state, texts, heard.at)
    if state.phase is Phase.PLANNING and len(texts) > 1:
        return _ask_for_one(replace(state, opinions=texts, by=names))
    if state.phase is Phase.SYNTHESIZING:
        texts = texts or state.opinions[:1]
        names = state.by if said else state.by[:1]
    if not texts:
        failed = "; ".join(f"{one.backend}: {_why_not(one.answer)}" for one in heard.opinions)
        state = _noted(state, f"no plan was made: {failed}")
        return next_backend(state, heard.at)
    run = plans.written(state.open_run, texts[0], names)
    return next_backend(replace(state, run=run, opinions=(), by=()), heard.at)


def _noted(state: Pass, notice: str) -> Pass:
    return with_attempt(state, notices=(*state.attempt.notices, notice))


def _ask_for_one(state: Pass) -> Step:
    """Have one plan made out of several."""
    policy = state.policy
    maker = policy.planning.synthesis or policy.planners[0].name
    question = Question(Purpose.SYNTHESIS, _task(state), opinions=state.opinions)
    limit = _limits_s(policy.planning)[1]
    ask = _consult(state, (maker,), question, limit)
    return replace(state, phase=Phase.SYNTHESIZING), ask


def _analysed(state: Pass, texts: Sequence[str], at: datetime) -> Step:
    """Reject a proved change when half of the analysts say that it does not do what was planned."""
    verdicts = [(found[1] == "yes", text) for text in texts if (found := VERDICT.search(text))]
    against = [text for yes, text in verdicts if not yes]
    if not verdicts:
        state = _noted(state, "no analyst judged the change")
    elif 2 * len(against) >= len(verdicts):
        reason = " ".join(VERDICT.sub("", against[0]).split())[:600]
        return _reject(state, f"the analysis says no: {reason}", at)
    else:
        state = _noted(state, f"{len(verdicts) - len(against)} of {len(verdicts)} analysts agree")
    return _prove(state, at)


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
        summary=guard.redact(answer.text)[:4_000],
        session=answer.session,
    )
    if answer.ending is Ending.BUDGET:
        return _unpaid(state, answer, ended.at)
    if attempt.backend != FIXERS.name and answer.ending not in OUTAGES:
        state = replace(state, reached=True)
    if answer.ending is not Ending.EDITED or not ended.diff.strip():
        if attempt.qa and attempt.verification is not None:
            why = f"{attempt.verification.reason}; sent back: {_why_not(answer)}"
            return _reject(state, why, ended.at)
        return _skip(state, _why_not(answer), ended.at)
    verdict = guard.examine(ended.diff, state.policy.guard)
    if verdict.blocks:
        reason = "the proposed change was stopped: " + verdict.told
        if verdict.another_way and state.chain and not attempt.qa:
            return _skip(state, reason, ended.at)
        if not verdict.approvable:
            return escalate(state, reason, ended.at)
    objections = f"the guard objects: {verdict.told}" if verdict.blocks else ""
    findings = (one for one in state.gates if one not in guard.GATES.values())
    state = replace(state, gates=(*findings, *verdict.gates))
    state = with_attempt(
        state,
        reason=objections,
        diff=ended.diff[:STORED_DIFF_CHARACTERS],
        diff_fingerprint=guard.diff_fingerprint(ended.diff),
    )
    run = state.open_run
    ours = not state.found.fork  # only who may write to the repository pushes to its branches
    verify = effects.Verify(run.id, state.pull, run.head, ended.diff, state.proofs, ours)
    return replace(state, diff=ended.diff, phase=Phase.VERIFYING), verify


def _unpaid(state: Pass, answer: Answer, at: datetime) -> Step:
    """Have a person see to a budget that is used up: no backend has another one."""
    reason = (
        f"a budget is used up: {guard.redact(answer.detail)}. Raise it, or wait until it begins "
        "anew, and say /regreen fix"
    )
    return escalate(with_attempt(state, unpaid=True), reason, at)


def _why_not(answer: Answer) -> str:
    if answer.ending is Ending.EDITED:
        return "it says that it edited, but the tree is unchanged"
    detail = f": {guard.redact(answer.detail)}" if answer.detail else ""
    return f"{answer.ending.value.replace('_', ' ')}{detail}"


def verified(state: Pass, outcome: Verified) -> Step:
    """Go on with what was proved; send back or reject what was not."""
    verdict = outcome.verification
    state = with_attempt(state, verification=verdict)
    if verdict.approved:
        if state.policy.analysts and state.attempt.backend != FIXERS.name:
            return _ask_analysts(state)
        return _prove(state, outcome.at)
    failed = [result for result in verdict.results if not result.passed]
    if failed:
        state = with_attempt(state, error_key=fingerprint(failed[0].output))
    if state.attempt.backend == FIXERS.name:  # the next backend goes on from what they mended
        kept = replace(state, kept=state.diff)
        return _skip(kept, f"not enough alone: {verdict.reason}", outcome.at)
    if _may_send_back(state):
        return _send_back(state, verdict)
    return _reject(state, verdict.reason, outcome.at)


def _may_send_back(state: Pass) -> bool:
    qa, attempt = state.policy.qa, state.attempt
    sessions = sum(one.qa > 0 for one in state.open_run.attempts[:-1])
    return qa.enabled and attempt.qa < qa.max_iterations and sessions < qa.max_sessions


def _send_back(state: Pass, verdict: Verification) -> Step:
    """Have the same backend mend its own change by what the gatekeeper found (seed 1)."""
    nth = state.attempt.qa + 1
    state = with_attempt(state, qa=nth)
    state = _noted(state, f"sent back to {state.attempt.backend} ({nth}): {verdict.reason}")
    told = f"The gatekeeper rejected it: {verdict.reason}\n{plans.shown(verdict)}"
    return _start(state, _task(state, told, again=True), state.diff)


def _ask_analysts(state: Pass) -> Step:
    question = Question(Purpose.ANALYSIS, _task(state), diff=state.diff)
    names = tuple(one.name for one in state.policy.analysts)
    ask = _consult(state, names, question, state.policy.planning.within_s, onto=state.diff)
    return replace(state, phase=Phase.ANALYSING), ask


def _prove(state: Pass, at: datetime) -> Step:
    """Commit a proved patch, hold it at its gate, or post a fork's for its author to apply."""
    state = with_attempt(state, ended_at=at)
    if state.found.fork:
        state = with_attempt(state, result=Result.PATCH_POSTED)
        return close(state, RunState.WAITING_PERSON, "a verified patch waits to be applied")
    if state.gates:
        return _hold(state, at)
    return _commit(state)


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
    push = effects.Push(state.pull, state.found.head_branch, run.intent, run.head)
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
    if _gated(state):  # no patch for a finding: a person has to judge it, another try would not
        last = attempt.tried[-1][1] if attempt.tried else "no backend is configured"
        return escalate(state, f"no patch could be prepared: {last}", now)
    if models or (state.policy.fallback and not attempt.fallback):
        last = attempt.tried[-1][1] if attempt.tried else "no primary backend is configured"
        return _reject(state, f"no usable change: {last}", now)
    last = attempt.tried[-1][1] if attempt.tried else "none is configured for such a failure"
    reason = f"no backend could mend it: {last}"
    state = with_attempt(state, result=Result.GAVE_UP, reason=reason, ended_at=now)
    return give_up(state, RunState.GAVE_UP, reason)


def _gated(state: Pass) -> bool:
    return any(COURSES[step.signal.type].gated for step in state.steps)


def _reject(state: Pass, reason: str, at: datetime) -> Step:
    """End the attempt without a push; the next one follows after its backoff, if one may."""
    state = with_attempt(state, result=Result.REJECTED, reason=reason, ended_at=at)
    run, attempt = state.open_run, state.attempt
    following = route(state.policy, attempt.number, state.pull.number)
    if over := _no_more(state, attempt.failing, fallback=following.fallback):
        ending, why = over
        result = Result.BLOCKED if ending is RunState.BLOCKED else Result.GAVE_UP
        state = with_attempt(state, result=result, reason=f"{reason}; giving up, because {why}")
        return give_up(state, ending, why)
    rejected = sum(one.result is Result.REJECTED for one in run.attempts if one.head == run.head)
    delay_s = retry.rejected_delay_s(rejected, state.policy.retry, str(run.id))
    run = msgspec.structs.replace(run, wake_at=at + timedelta(seconds=delay_s))
    waits = f"attempt {attempt.number} was rejected, the next follows in {delay_s:.0f} s"
    return close(replace(state, run=run), RunState.WAITING_DELAY, waits, wake_after_s=delay_s)
