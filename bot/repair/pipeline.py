"""One attempt: a plan, a backend, the guard, the gatekeeper, the analysis, the commit, the push.

Each function takes the pass after an outcome and returns it with the next effect; `machine.advance`
says which comes when. Plan, analysis and QA pass are only made where they are configured. An
attempt ends pushed, posted (for a fork), at a gate, rejected, or with a person.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import msgspec

from bot.config.schema import ReviewMode
from bot.domain import effects
from bot.domain.answers import Ending
from bot.domain.effects import (
    BackendEnded,
    Consulted,
    Recorded,
    Verified,
)
from bot.domain.runs import Attempt, Result, Strategy
from bot.domain.values import (
    CheckState,
    Purpose,
    Question,
    Verification,
)
from bot.failures.fingerprint import fingerprint
from bot.repair import (
    attempts,
    backends,
    guard,
    held,
    messages,
    outgoing,
    plans,
    progress,
    reviewing,
    scratch,
    unpaid,
)
from bot.repair.closing import (
    Pass,
    Phase,
    Step,
    choose,
    comment,
    escalate,
    give_up,
    no_more,
    put,
    reject,
    with_attempt,
)
from bot.repair.reviewing import VERDICT
from bot.repair.strategy import Patch
from bot.routing.chain import Route, route

STORED_DIFF_CHARACTERS = 60_000
ANALYSIS_GATE = "analysis"  # the approval that stands for analysts whom a budget kept silent


def open_attempt(state: Pass, patch: Patch) -> Step:
    """Open the next attempt, or go on with one that waited for a backend."""
    state = replace(state, steps=patch.steps, gates=patch.gates)
    run, facts = state.open_run, state.seen
    last = run.attempts[-1] if run.attempts else None
    waits = last is not None and (last.result is Result.WORKING or last.unpaid)
    if last is not None and waits and last.head == run.head:
        return _resume(state, last)
    count = attempts.count(facts.comments, state.policy.trusted_markers)
    tier = route(state.policy, count, state.pull.number)
    failing = tuple(step.check.name for step in state.steps)
    if over := no_more(state, failing, fallback=tier.fallback, asked=state.asked):
        return give_up(state, *over, headline="giving up")
    trigger = patch.trigger or progress.turns(run, state.policy.retry, fallback=tier.fallback)
    planned = plans.planned(run, state.steps, facts.now, trigger)
    replanned = len(planned.deltas) > len(run.deltas)
    state = choose(
        replace(state, run=planned),
        Strategy.REPLAN if replanned else Strategy.PATCH,
        patch.reason,
        inputs=(
            ("attempts counted on the pull request", str(count)),
            ("tier", "fallback" if tier.fallback else "primary"),
            *((("replanned because of", trigger),) if replanned else ()),
        ),
        attempt=count + 1,
    )
    attempt = _new_attempt(state, count + 1, tier, patch.reason)
    run = state.open_run
    run = msgspec.structs.replace(run, attempts=(*run.attempts, attempt), wake_at=None)
    state = backends.ready(state, tier.chain, tier.notices)
    return replace(state, run=run, phase=Phase.OPENING), comment(run, attempt)


def _resume(state: Pass, last: Attempt) -> Step:
    last = msgspec.structs.replace(last, result=Result.WORKING, ended_at=None, unpaid=False)
    run = put(msgspec.structs.replace(state.open_run, wake_at=None), last)
    tier = route(state.policy, last.number - 1, state.pull.number)
    state = backends.ready(state, tier.chain, tier.notices)
    planned = bool(run.plans and run.plans[-1].text)  # who planned is not asked again
    state = with_attempt(
        replace(state, run=run, planned=planned), tried=(), reason="", fallback=tier.fallback
    )
    return backends.next_backend(state, state.seen.now)


def _new_attempt(state: Pass, number: int, tier: Route, reason: str) -> Attempt:
    run, facts, steps = state.open_run, state.seen, state.steps
    nth = attempts.tries_on(facts.comments, state.pull.number, run.head) + 1
    skipped = (f"{name}: {why}" for name, why in tier.skipped)
    return Attempt(
        number=number,
        trigger=attempts.trigger(state.pull.number, run.head, nth),
        head=run.head,
        started_at=facts.now,
        fallback=tier.fallback,
        failing=tuple(dict.fromkeys(step.check.name for step in steps)),
        types=tuple(step.signal.type.value for step in steps),
        error_key=progress.key([step.signal.fingerprint for step in steps]),
        evidence=messages.evidence_of(steps),
        notices=(reason, *tier.notices, *skipped),
        plan=run.plans[-1].id,
        passed=tuple(one.name for one in facts.checks if one.state is CheckState.PASSED),
    )


# --- the drains beside the fix: planning and analysis -------------------------------------------


def consulted(state: Pass, heard: Consulted) -> Step:
    """Take a plan or a judgement; what nobody gave is done without."""
    usage = [state.attempt.usage, *(one.answer.usage for one in heard.opinions)]
    state = with_attempt(state, usage=messages.total(usage))
    said = [one for one in heard.opinions if one.answer.ending is Ending.NO_CHANGE]
    texts = tuple(guard.redact(one.answer.text) for one in said)
    names = tuple(one.backend for one in said)
    if state.phase is Phase.REVIEWING:
        return _reviewed(state, heard)
    if state.phase is Phase.ANALYSING:
        return _analysed(state, texts, heard)
    if state.phase is Phase.PLANNING and len(texts) > 1:
        return _ask_for_one(replace(state, opinions=texts, by=names))
    if state.phase is Phase.SYNTHESIZING:
        texts = texts or state.opinions[:1]
        names = state.by if said else state.by[:1]
    if not texts:
        failed = "; ".join(
            f"{one.backend}: {backends.why_not(one.answer)}" for one in heard.opinions
        )
        state = _noted(state, f"no plan was made: {failed}")
        return backends.next_backend(state, heard.at)
    run = plans.written(state.open_run, texts[0], names)
    return backends.next_backend(replace(state, run=run, opinions=(), by=()), heard.at)


def _noted(state: Pass, notice: str) -> Pass:
    return with_attempt(state, notices=(*state.attempt.notices, notice))


def _ask_for_one(state: Pass) -> Step:
    """Have one plan made out of several."""
    policy = state.policy
    maker = policy.planning.synthesis or policy.planners[0].name
    question = Question(Purpose.SYNTHESIS, backends.task(state), opinions=state.opinions)
    limit = backends.limits_s(policy.planning)[1]
    ask = backends.consult(state, (maker,), question, limit)
    return replace(state, phase=Phase.SYNTHESIZING), ask


def _analysed(state: Pass, texts: Sequence[str], heard: Consulted) -> Step:
    """Reject a proved change when half of the analysts say that it does not do what was planned.

    Analysts that are down do not hold up what is proved. Those that a budget of ours keeps from
    judging do: a cap must not be a way around them.
    """
    at = heard.at
    verdicts = [
        (found[1].lower() == "yes", text) for text in texts if (found := VERDICT.search(text))
    ]
    against = [text for yes, text in verdicts if not yes]
    if not verdicts:
        state = _noted(state, "no analyst judged the change")
        if refused := unpaid.capped(heard.opinions):
            if unpaid.waits(state, refused):
                return unpaid.wait(state, refused, at, "no analyst could judge the change: ")
            state = replace(state, gates=(*state.gates, ANALYSIS_GATE))
    elif 2 * len(against) >= len(verdicts):
        reason = " ".join(VERDICT.sub("", against[0]).split())[:600]
        return reject(state, f"the analysis says no: {reason}", at)
    else:
        state = _noted(state, f"{len(verdicts) - len(against)} of {len(verdicts)} analysts agree")
    return _prove(state, at)


def backend_ended(state: Pass, ended: BackendEnded) -> Step:
    """Guard what a backend changed, then have it verified; else the next one tries."""
    answer, attempt = ended.answer, state.attempt
    state = with_attempt(
        state,
        usage=messages.total([attempt.usage, answer.usage]),
        summary=guard.redact(answer.text)[:4_000],
        session=answer.session,
    )
    if ended.leaks:
        return held.for_leaks(state, ended)
    state, follows = backends.ended(state, ended)
    return follows or _guarded(state, ended)


def _guarded(state: Pass, ended: BackendEnded) -> Step:
    """Stop what may not be, note what a person has to approve, and have the rest verified."""
    attempt = state.attempt
    verdict = guard.examine(ended.diff, state.policy.guard, task=backends.task(state))
    for note in verdict.notes:
        state = _noted(state, note)
    if verdict.blocks:
        reason = "the proposed change was stopped: " + verdict.told
        if verdict.another_way and backends.others(state) and not attempt.qa:
            return backends.skip(state, reason, ended.at)
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
    state = replace(state, diff=ended.diff)
    if ended.preflight is not None and not ended.preflight.approved:
        return verified(state, Verified(ended.preflight, ended.at))
    if scratch.alone(state) and attempt.backend != backends.FIXERS.name:
        return _approved(with_attempt(state, verification=None), ended.at)  # of an earlier change
    run = state.open_run
    ours = not state.found.fork  # only who may write to the repository pushes to its branches
    verify = effects.Verify(run.id, state.pull, run.head, ended.diff, state.proofs, ours)
    key = f"{run.id}/{attempt.number}/{attempt.calls}"
    verify = msgspec.structs.replace(verify, lane=state.lane, key=key)
    return replace(state, phase=Phase.VERIFYING), verify


def verified(state: Pass, outcome: Verified) -> Step:
    """Go on with what was proved; send back or reject what was not."""
    verdict = outcome.verification
    state = with_attempt(state, verification=verdict)
    if verdict.approved:
        return _approved(held.for_weaker_tests(state, verdict), outcome.at)
    failed = [result for result in verdict.results if not result.passed]
    if failed:
        state = with_attempt(state, error_key=fingerprint(failed[0].output))
    if state.attempt.backend == backends.FIXERS.name:
        # The next backend goes on from what they mended.
        kept = replace(state, kept=state.diff)
        return backends.skip(kept, f"not enough alone: {verdict.reason}", outcome.at)
    return _rejected(state, verdict, outcome.at)


def _rejected(state: Pass, verdict: Verification, at: datetime) -> Step:
    if _may_send_back(state):
        return _send_back(state, verdict)
    return reject(state, verdict.reason, at)


# --- what else has a say in a proved change ------------------------------------------------------


def _approved(state: Pass, at: datetime) -> Step:
    """Have other models look at a change of a model's; those of the fixers need none."""
    if state.attempt.backend == backends.FIXERS.name:
        return _prove(state, at)
    if reviewing.mode(state) is not ReviewMode.OFF:
        return reviewing.ask(state, backends.task(state))
    return _compare(state, at)


def _reviewed(state: Pass, heard: Consulted) -> Step:
    """Keep the review in the artifact of what was proved."""
    found = reviewing.judge(reviewing.mode(state), heard.opinions)
    refused = unpaid.capped(heard.opinions) if found.holds else None
    if refused and unpaid.waits(state, refused):
        return unpaid.wait(state, refused, heard.at, "no reviewer could judge the change: ")
    gates = (*state.gates, reviewing.GATE) if found.holds else state.gates
    state = replace(state, gates=gates, phase=Phase.REVIEWED)
    proof = state.attempt.verification or Verification(
        approved=True,
        reason="the repository's own checks are to prove it",
        diff_fingerprint=state.attempt.diff_fingerprint,
        at=heard.at,
    )
    proof = msgspec.structs.replace(proof, review=found.review)
    return state, effects.Record(state.pull, state.open_run.id, proof)


def recorded(state: Pass, outcome: Recorded) -> Step:
    """Go on after a review, or after the repository's own checks."""
    if state.phase is Phase.PROVED:
        state, ended = scratch.recorded(state, outcome)
        return ended or outgoing.out(state, outcome.at)
    proof = outcome.verification
    state = with_attempt(state, verification=proof)
    review = proof.review
    if review is not None and not review.approved and not review.skipped:
        said = msgspec.structs.replace(proof, reason=f"the review says no: {review.reason}")
        return _rejected(state, said, outcome.at)
    return _compare(state, outcome.at)


def _compare(state: Pass, at: datetime) -> Step:
    return _ask_analysts(state) if state.policy.analysts else _prove(state, at)


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
    return backends.start(state, backends.task(state, told, again=True), state.diff)


def _ask_analysts(state: Pass) -> Step:
    question = Question(Purpose.ANALYSIS, backends.task(state), diff=state.diff)
    names = tuple(one.name for one in state.policy.analysts)
    ask = backends.consult(state, names, question, state.policy.planning.within_s, onto=state.diff)
    return replace(state, phase=Phase.ANALYSING), ask


def _prove(state: Pass, at: datetime) -> Step:
    """Post a fork's patch for its author to apply; have the repository's checks judge others."""
    state = with_attempt(state, ended_at=at)
    if state.found.fork:
        return outgoing.post(state)
    if scratch.wanted(state):
        return scratch.build(with_attempt(state, ended_at=None))
    return outgoing.out(state, at)
