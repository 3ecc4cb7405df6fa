"""What to do about the failures of a head: mend, run again, plan anew, wait, or ask.

`COURSES` is the table by kind. Around it stand four rules that come first: a failure of the base
branch is not ours to mend; two unknown failures, or more than three kinds at once, take a new plan;
a failure that is known to be flaky is run again before anyone touches the code; what can be mended
without a person's approval goes before what cannot.
"""

from collections.abc import Mapping, Sequence

from bot.config.schema import RetryPolicy
from bot.domain.runs import Run, Strategy
from bot.domain.values import Check, CheckKind, FailingStep, FailureType, Value, Variant
from bot.failures.taxonomy import requires_replan
from bot.repair.retry import rerun_delay_s


class Course(Value, frozen=True):
    """What is done about a kind of failure: `first`, and `then` once it was run again enough.

    What is `gated` may be prepared, and goes out when a person approves it.
    """

    first: Strategy
    then: Strategy = Strategy.PATCH
    gated: bool = False


COURSES: Mapping[FailureType, Course] = {
    FailureType.LINT: Course(Strategy.PATCH),
    FailureType.TYPECHECK: Course(Strategy.PATCH),
    FailureType.TEST_ASSERT: Course(Strategy.PATCH),
    FailureType.RUNTIME: Course(Strategy.PATCH),
    FailureType.SCHEMA_MIGRATION: Course(Strategy.PATCH),
    FailureType.SECURITY: Course(Strategy.PATCH, gated=True),
    FailureType.POLICY: Course(Strategy.PATCH, gated=True),
    FailureType.TRANSIENT: Course(Strategy.RETRY, Strategy.ESCALATE),
    FailureType.INFRA: Course(Strategy.RETRY, Strategy.ESCALATE),
    FailureType.RATE_LIMIT: Course(Strategy.RETRY, Strategy.ESCALATE),
    FailureType.UNKNOWN: Course(Strategy.RETRY, Strategy.REPLAN),
}


class Patch(Variant, frozen=True):
    """Have these failing steps mended; a `trigger` says what made a new plan necessary.

    `gates` are the approvals without which the change must not go out.
    """

    steps: tuple[FailingStep, ...]
    reason: str
    gates: tuple[str, ...] = ()
    trigger: str = ""


class Again(Variant, frozen=True):
    """Run the failed jobs again after `delay_s`; `counts` are the re-runs once that is done."""

    checks: tuple[Check, ...]
    delay_s: float
    counts: tuple[tuple[str, int], ...]
    reason: str


class Await(Variant, frozen=True):
    """Wait until the base branch is mended: it fails in the same way."""

    checks: tuple[str, ...]
    reason: str


class Ask(Variant, frozen=True):
    """Stop and ask a person."""

    reason: str


Move = Patch | Again | Await | Ask


def strategy(steps: Sequence[FailingStep], run: Run, retry: RetryPolicy) -> Move:
    """Choose what to do about the failing steps of the run's head, with the reason."""
    here = [step for step in steps if not step.upstream]
    if not here:
        return _await(steps)
    mended = [step for step in here if step.check.name in run.upstream]
    if mended and (again := _after_base(mended, run, retry)):
        return again
    own = [step for step in here if step not in mended]
    if not own:
        return Ask(
            f"`{mended[0].check.name}` failed on the base branch and is mended there: bring this "
            "branch up to date with it, then the check can pass"
        )
    code = [step for step in own if _course(step).first is Strategy.PATCH]
    real = [step for step in code if not flaky(step, run, retry)]
    if move := _replan(own, real):
        return move
    if free := tuple(step for step in real if not _course(step).gated):
        kinds = ", ".join(sorted({step.signal.type.value for step in free}))
        return Patch(free, f"{kinds}: the code can be mended")
    if gated := tuple(step for step in real if _course(step).gated):
        return _prepare(gated)
    return _run_again(own, run, retry)


def _course(step: FailingStep) -> Course:
    return COURSES[step.signal.type]


def flaky(step: FailingStep, run: Run, retry: RetryPolicy) -> bool:
    """Say whether this failure went away by itself before, and has not come back too often now."""
    record = step.record
    known = record.seen >= retry.flaky_seen and record.rate >= retry.flaky_rate
    verdicts = dict(run.reruns).get(step.check.name, 0) + 1
    ours = step.check.kind is CheckKind.JOB  # no other system can be asked to run it again
    return known and ours and not _course(step).gated and verdicts < retry.flaky_streak


def _await(steps: Sequence[FailingStep]) -> Await:
    names = tuple(sorted({step.check.name for step in steps}))  # GitHub's order may change
    shown = ", ".join(f"`{name}`" for name in names)
    return Await(
        names, f"{shown}: the base branch fails in the same way, so the mend belongs there"
    )


def _after_base(steps: Sequence[FailingStep], run: Run, retry: RetryPolicy) -> Again | None:
    """Run again what the base branch broke and has mended; once, for the head may lack the mend."""
    done = dict(run.reruns)
    if any(step.check.kind is not CheckKind.JOB or done.get(step.check.name) for step in steps):
        return None
    return _again(steps, done, retry, f"`{steps[0].check.name}`: the base branch is green again")


def _replan(own: Sequence[FailingStep], real: Sequence[FailingStep]) -> Patch | None:
    """Plan anew when patching one failure after the other makes no sense (seed 4)."""
    if not requires_replan([step.signal for step in own]):
        return None
    unknown = [step for step in own if step.signal.type is FailureType.UNKNOWN]
    if len(unknown) > 1:
        steps = tuple(step for step in own if step in real or step in unknown)
        free = tuple(step for step in steps if not _course(step).gated)
        return Patch(free, "several checks fail and nothing says why", trigger="unknown_signals")
    free = tuple(step for step in real if not _course(step).gated)
    if not free:
        return None
    root = tuple(step for step in free if step.signal.type is free[0].signal.type)
    kinds = len({step.signal.type for step in own})
    reason = (
        f"{kinds} kinds of failure at once: `{root[0].check.name}` first, it may bring the rest"
    )
    return Patch(root, reason, trigger="many_types")


def _prepare(steps: tuple[FailingStep, ...]) -> Move:
    """Prepare a patch for a finding; a policy that names no file is not the code's to satisfy."""
    first = steps[0]
    finding = f"`{first.check.name}` is a {first.signal.type.value} finding: {first.signal.message}"
    in_code = tuple(
        step for step in steps if step.signal.type is FailureType.SECURITY or step.signal.locations
    )
    if not in_code:
        return Ask(finding)
    gates = tuple(sorted({step.signal.type.value for step in in_code}))
    return Patch(in_code, f"{finding}; a patch may be prepared, a person lets it out", gates)


def _run_again(steps: Sequence[FailingStep], run: Run, retry: RetryPolicy) -> Move:
    done = dict(run.reruns)
    spent = [step for step in steps if done.get(step.check.name, 0) >= _allowed(step, retry)]
    if unknown := tuple(s for s in spent if _course(s).then is Strategy.REPLAN):
        return Patch(unknown, "unknown: running it again did not help", trigger="unknown_persists")
    if spent:
        step = spent[0]
        times = done.get(step.check.name, 0)
        return Ask(
            f"`{step.check.name}` failed again after {times} re-runs ({step.signal.type.value}): "
            f"{step.signal.message}"
        )
    if fixed := [step for step in steps if step.check.kind is not CheckKind.JOB]:
        kind = fixed[0].signal.type
        told = kind is not FailureType.UNKNOWN
        why = "for a reason outside the code" if told else "and its log does not say why"
        return Ask(
            f"`{fixed[0].check.name}` failed {why} ({kind.value}), and only its own system can run "
            "it again"
        )
    return _again(steps, done, retry, _why_again(steps[0]))


def _allowed(step: FailingStep, retry: RetryPolicy) -> int:
    if _course(step).first is Strategy.PATCH:  # flaky, as we came here
        return retry.flaky_streak - 1
    return retry.retries.get(step.signal.type.value, 0)


def _why_again(step: FailingStep) -> str:
    signal, record = step.signal, step.record
    if _course(step).first is Strategy.RETRY:
        return f"{signal.type.value}: {signal.message}"
    last = f", last on {record.last_at:%Y-%m-%d}" if record.last_at else ""
    return (
        f"`{step.check.name}` is known to be flaky (it passed without a change {record.flaked} of "
        f"{record.seen} times{last}): {signal.message}"
    )


def _again(
    steps: Sequence[FailingStep], done: Mapping[str, int], retry: RetryPolicy, reason: str
) -> Again:
    counts = {**done, **{step.check.name: done.get(step.check.name, 0) + 1 for step in steps}}
    return Again(
        checks=tuple(step.check for step in steps),
        delay_s=max(rerun_delay_s(step, done.get(step.check.name, 0), retry) for step in steps),
        counts=tuple(sorted(counts.items())),
        reason=reason,
    )
