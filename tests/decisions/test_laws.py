"""What holds of a run whatever happens to its pull request."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.config.schema import BackendName, QaPolicy, RetryPolicy
from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.runs import GateState, Result, Run, RunState, Wish
from bot.domain.values import CheckState, FailingStep, FailureType, Location, Record, Sha
from tests.support.stories import DIFF, World, a_check, a_policy, a_pull, a_step

PROTECTED = DIFF.replace("app.py", "AGENTS.md")
LIMITS = RetryPolicy(jitter=False)
HEADS = [Sha(f"{number:040x}") for number in range(3)]
NAMES = ["lint", "test", "audit"]


@dataclass(frozen=True)
class Happening:
    """What changed since the last pass, who asks for what, and after how long."""

    steps: tuple[FailingStep, ...]
    others: CheckState
    head: int | None  # a push of somebody's, else what we left
    wish: Wish
    by: str
    later_s: float


STEPS = st.lists(
    st.builds(
        a_step,
        st.sampled_from(list(FailureType)),
        st.sampled_from(NAMES),
        locations=st.sampled_from([(), (Location("app.py", 1),)]),
        record=st.builds(Record, st.integers(0, 3), st.integers(0, 3)),
        upstream=st.booleans(),
        retry_after_s=st.sampled_from([None, None, 90.0]),
    ),
    max_size=3,
    unique_by=lambda step: step.check.name,
)
HAPPENINGS = st.builds(
    Happening,
    STEPS.map(tuple),
    st.sampled_from([CheckState.PASSED, CheckState.PASSED, CheckState.PENDING]),
    st.sampled_from([None, None, None, 0, 1, 2]),
    st.sampled_from([Wish.LOOK] * 4 + list(Wish)),
    st.sampled_from(["mona", "hubot"]),
    st.sampled_from([1.0, 100.0, 1_000.0, 90_000.0]),
)


def happens(world: World, what: Happening) -> None:
    """Play the pass that follows; who asks has permission, which is the handlers' to see to."""
    left = world.newest.head if world.newest is not None else HEADS[0]
    world.pull = a_pull(head=left if what.head is None else HEADS[what.head])
    world.steps = what.steps
    red = {step.check.name for step in what.steps}
    others = [a_check(name, what.others) for name in NAMES if name not in red]
    world.checks = (*(step.check for step in what.steps), *others)
    world.play(what.wish, by=what.by)
    world.later(what.later_s)


def a_busy_world(diffs: list[str], verdicts: list[bool], endings: list[Ending]) -> World:
    ann = (BackendName("ann", ""),)
    policy = a_policy(
        retry=LIMITS, qa=QaPolicy(enabled=True), planners=ann, analysts=ann, fixers=False
    )
    answers = [*(Answer(ending) for ending in endings), *[Answer(Ending.EDITED)] * 200]
    world = World(policy=policy, diffs=diffs, verdicts=verdicts)
    world.answers["first"] = answers
    world.commits = [Sha(f"{number + 100:040x}") for number in range(100)]
    return world


def holds(run: Run, asked: int) -> None:
    """Assert what is true of a run between its passes."""
    pending = [gate for gate in run.gates if gate.state is GateState.PENDING]
    assert len(pending) <= 1
    assert all(gate.diff for gate in pending)
    assert not any(gate.diff for gate in run.gates if gate not in pending)
    if pending:
        assert run.state is RunState.WAITING_PERSON
        assert pending[0].head == run.head
    assert run.state is not RunState.WORKING or run.ended
    assert len(run.attempts[run.since :]) <= LIMITS.total_attempts + asked
    plans = [plan.id for plan in run.plans]
    assert len(set(plans)) == len(plans)
    assert all(one.plan in plans for one in run.attempts)
    assert all(delta.new in plans for delta in run.deltas)
    numbers = [choice.number for choice in run.choices]
    assert numbers == sorted(set(numbers))
    assert all(choice.reason and choice.inputs for choice in run.choices)
    at_work = [one.result is Result.WORKING for one in run.attempts]
    assert not any(at_work[:-1])


def pushed_well(world: World) -> None:
    """Assert that each commit of ours was proved, and let out by a person where it had to be."""
    done = world.done
    for at, effect in enumerate(done):
        if not isinstance(effect, effects.BuildCommit):
            continue
        proofs = [one for one in done[:at] if isinstance(one, effects.Verify)]
        assert any(one.diff == effect.diff and one.head == effect.parent for one in proofs)
        guarded = effect.diff == PROTECTED
        assert not guarded or "Regreen-Approved-By: " in effect.message


@settings(max_examples=60)
@given(
    what=st.lists(HAPPENINGS, min_size=1, max_size=14),
    diffs=st.lists(st.sampled_from([DIFF, PROTECTED]), max_size=20),
    verdicts=st.lists(st.booleans(), max_size=20),
    endings=st.lists(st.sampled_from(list(Ending)), max_size=6),
)
def test_whatever_happens(what, diffs, verdicts, endings):
    world = a_busy_world(diffs, verdicts, endings)
    asked = 0
    for one in what:
        asked += one.wish in {Wish.FIX, Wish.RESET}
        happens(world, one)
        if world.newest is not None:
            holds(world.newest, asked)
    pushed_well(world)
