"""What is done about each kind of failure: seed 4's table, and the rules that come before it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config.schema import RetryPolicy
from bot.domain.values import CheckKind, FailingStep, FailureType, Location, Record
from bot.repair.retry import rejected_delay_s, rerun_delay_s
from bot.repair.strategy import COURSES, Again, Ask, Await, Move, Patch, strategy
from tests.support.pulls import a_run
from tests.support.stories import a_step

SEED = RetryPolicy(jitter=False)
FILE = (Location("app.py", 3),)
FLAKY = Record(seen=4, flaked=3, last_at=datetime(2026, 2, 3, tzinfo=UTC))
UNKNOWN, LINT, TEST = FailureType.UNKNOWN, FailureType.LINT, FailureType.TEST_ASSERT
MENDED = [
    FailureType.LINT,
    FailureType.TYPECHECK,
    FailureType.TEST_ASSERT,
    FailureType.RUNTIME,
    FailureType.SCHEMA_MIGRATION,
]
FLEETING = [FailureType.TRANSIENT, FailureType.INFRA, FailureType.RATE_LIMIT]
# kind, re-runs before anything else, what follows them, and that one's gates and trigger
TABLE: list[tuple[FailureType, int, type[Move], tuple[str, ...], str]] = [
    (FailureType.LINT, 0, Patch, (), ""),
    (FailureType.TYPECHECK, 0, Patch, (), ""),
    (FailureType.TEST_ASSERT, 0, Patch, (), ""),
    (FailureType.RUNTIME, 0, Patch, (), ""),
    (FailureType.SCHEMA_MIGRATION, 0, Patch, (), ""),
    (FailureType.SECURITY, 0, Patch, ("security",), ""),
    (FailureType.POLICY, 0, Patch, ("policy",), ""),
    (FailureType.TRANSIENT, 3, Ask, (), ""),
    (FailureType.INFRA, 2, Ask, (), ""),
    (FailureType.RATE_LIMIT, 3, Ask, (), ""),
    (FailureType.UNKNOWN, 2, Patch, (), "unknown_persists"),
]


def decide(
    *steps: FailingStep,
    reruns: dict[str, int] | None = None,
    upstream: Sequence[str] = (),
    retry: RetryPolicy = SEED,
) -> Move:
    run = a_run(reruns=tuple(sorted((reruns or {}).items())), upstream=tuple(upstream))
    return strategy(steps, run, retry)


def patched(*steps: FailingStep, **known: Any) -> Patch:
    move = decide(*steps, **known)
    assert isinstance(move, Patch), move
    return move


def again(*steps: FailingStep, **known: Any) -> Again:
    move = decide(*steps, **known)
    assert isinstance(move, Again), move
    return move


def asked(*steps: FailingStep, **known: Any) -> str:
    move = decide(*steps, **known)
    assert isinstance(move, Ask), move
    return move.reason


def names(move: Patch) -> list[str]:
    return [step.check.name for step in move.steps]


# --- the table ----------------------------------------------------------------------------------


def test_every_kind_has_its_row_here_and_there():
    assert [row[0] for row in TABLE] == list(dict.fromkeys(row[0] for row in TABLE))
    assert {row[0] for row in TABLE} == set(FailureType) == set(COURSES)


@pytest.mark.parametrize(("kind", "reruns", "then", "gates", "trigger"), TABLE, ids=str)
def test_the_table(kind, reruns, then, gates, trigger):
    step = a_step(kind, locations=FILE)
    for done in range(reruns):
        move = again(step, reruns={"test": done})
        assert move.checks == (step.check,)
        assert move.counts == (("test", done + 1),)
        assert move.reason == f"{kind.value}: test broke"
    end = decide(step, reruns={"test": reruns})
    assert isinstance(end, then)
    if isinstance(end, Patch):
        assert (end.steps, end.gates, end.trigger) == ((step,), gates, trigger)
    assert end.reason


def test_who_is_asked_learns_what_was_tried():
    reason = asked(a_step(FailureType.INFRA), reruns={"test": 2})
    assert reason == "`test` failed again after 2 re-runs (infra): test broke"


def test_the_limits_are_the_policy_s():
    retry = RetryPolicy(retries={"infra": 5})
    assert again(a_step(FailureType.INFRA), reruns={"test": 4}, retry=retry).checks
    assert asked(a_step(FailureType.TRANSIENT), retry=retry), "no number means none"


@pytest.mark.parametrize("kind", [*FLEETING, FailureType.UNKNOWN])
@pytest.mark.parametrize("source", [CheckKind.STATUS, CheckKind.CHECK_RUN])
def test_what_another_system_ran_cannot_be_run_again_from_here(kind, source):
    reason = asked(a_step(kind, source=source))
    assert "only its own system can run it again" in reason
    assert ("outside the code" in reason) is (kind is not UNKNOWN), "of the unknown nothing is said"


# --- delays -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "delays"),
    [
        (FailureType.TRANSIENT, [1.0, 2.0, 4.0]),
        (FailureType.INFRA, [1.0, 1.5]),
        (FailureType.RATE_LIMIT, [1.0, 2.0, 4.0]),
        (FailureType.UNKNOWN, [1.0, 1.5]),
    ],
)
def test_re_runs_back_off_as_the_seed_says(kind, delays):
    step = a_step(kind)
    assert [again(step, reruns={"test": n}).delay_s for n in range(len(delays))] == delays


@pytest.mark.parametrize("wait", [0.0, 5.0, 3600.0])
def test_the_log_s_own_word_wins_over_base_and_cap(wait):
    assert again(a_step(FailureType.RATE_LIMIT, retry_after_s=wait)).delay_s == wait


def test_of_several_the_longest_wait_counts():
    slow = a_step(FailureType.RATE_LIMIT, "slow", retry_after_s=90.0)
    move = again(a_step(FailureType.INFRA), slow)
    assert move.delay_s == 90.0
    assert move.counts == (("slow", 1), ("test", 1))


@given(
    base=st.floats(0, 100),
    factor=st.floats(0, 10),
    done=st.integers(0, 20),
    cap=st.floats(0, 1000),
)
def test_the_law_of_backoff(base, factor, done, cap):
    retry = RetryPolicy(base_s=base, cap_s=cap, multipliers={"infra": factor})
    delay = rerun_delay_s(a_step(FailureType.INFRA), done, retry)
    assert delay == min(base * factor**done, cap)


@pytest.mark.parametrize(
    ("rejected", "delay"),
    [(1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 320), (7, 600), (8, 600), (50, 600)],
)
def test_rejected_attempts_back_off_as_the_other_seed_says(rejected, delay):
    assert rejected_delay_s(rejected, SEED, "run") == delay


@given(rejected=st.integers(1, 30), seed=st.text(max_size=8))
def test_jitter_stays_below_the_cap_and_a_replay_waits_the_same(rejected, seed):
    shaken = rejected_delay_s(rejected, RetryPolicy(), seed)
    plain = 10 * 2.0 ** (rejected - 1)
    assert min(0.7 * plain, 600) <= shaken <= min(1.3 * plain + 1e-6, 600)
    assert shaken == rejected_delay_s(rejected, RetryPolicy(), seed)


# --- gates --------------------------------------------------------------------------------------


def test_a_policy_that_names_no_file_is_a_person_s():
    reason = asked(a_step(FailureType.POLICY, "dco"))
    assert reason == "`dco` is a policy finding: dco broke"


def test_findings_are_prepared_together_and_each_has_its_gate():
    security = a_step(FailureType.SECURITY, "audit")
    policy = a_step(FailureType.POLICY, "license", locations=FILE)
    move = patched(security, policy, a_step(FailureType.POLICY, "dco"))
    assert names(move) == ["audit", "license"]
    assert move.gates == ("policy", "security")


# --- several at once ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MENDED)
@pytest.mark.parametrize("finding", [FailureType.SECURITY, FailureType.POLICY])
def test_what_is_free_goes_before_what_needs_an_approval(kind, finding):
    free = a_step(kind, "free")
    for steps in ([free, a_step(finding, locations=FILE)], [a_step(finding), free]):
        move = patched(*steps)
        assert (move.steps, move.gates) == ((free,), ())


@pytest.mark.parametrize("fleeting", [*FLEETING, FailureType.UNKNOWN])
@pytest.mark.parametrize("kind", [*MENDED, FailureType.SECURITY])
def test_code_goes_before_what_the_code_did_not_cause(kind, fleeting):
    code = a_step(kind, "code")
    for steps in ([code, a_step(fleeting)], [a_step(fleeting), code]):
        assert patched(*steps, reruns={"test": 9}).steps == (code,)


def test_kinds_that_code_mends_are_mended_together():
    move = patched(a_step(LINT, "lint"), a_step(FailureType.TYPECHECK, "types"), a_step(TEST))
    assert names(move) == ["lint", "types", "test"]
    assert move.reason == "lint, test_assert, typecheck: the code can be mended"
    assert move.trigger == ""


def test_the_unknown_is_planned_for_while_another_has_re_runs_left():
    steps = (a_step(UNKNOWN, "what"), a_step(FailureType.TRANSIENT, "net"))
    assert names(patched(*steps, reruns={"what": 2, "net": 1})) == ["what"]


# --- a new plan ---------------------------------------------------------------------------------


def test_two_unknown_failures_take_a_new_plan_at_once():
    move = patched(a_step(UNKNOWN, "one"), a_step(UNKNOWN, "two"), a_step(FailureType.INFRA, "net"))
    assert (names(move), move.trigger) == (["one", "two"], "unknown_signals")


def test_with_two_unknown_ones_what_is_known_is_planned_for_as_well_but_nothing_gated():
    steps = [a_step(UNKNOWN, "one"), a_step(LINT, "lint"), a_step(UNKNOWN, "two")]
    move = patched(*steps, a_step(FailureType.SECURITY, "audit"))
    assert (names(move), move.trigger, move.gates) == (
        ["one", "lint", "two"],
        "unknown_signals",
        (),
    )


def test_more_than_three_kinds_take_a_new_plan_with_the_root_cause_first():
    """The failures come ranked, the root cause first."""
    types = [a_step(FailureType.TYPECHECK, "types"), a_step(LINT, "lint")]
    rest = [a_step(TEST), a_step(FailureType.RUNTIME, "e2e"), a_step(FailureType.TYPECHECK, "old")]
    move = patched(*types, *rest)
    assert (names(move), move.trigger) == (["types", "old"], "many_types")
    assert move.reason == "4 kinds of failure at once: `types` first, it may bring the rest"


def test_three_kinds_are_not_too_many():
    steps = [a_step(LINT, "lint"), a_step(FailureType.TYPECHECK, "types"), a_step(TEST)]
    assert patched(*steps).trigger == ""


def test_many_kinds_of_which_no_code_can_mend_one_are_run_again():
    steps = [a_step(kind, kind.value) for kind in (*FLEETING, UNKNOWN)]
    assert len(again(*steps).checks) == 4


def test_many_kinds_of_which_all_that_code_can_mend_is_gated_wait_at_the_gate():
    steps = [a_step(kind, kind.value) for kind in (*FLEETING, FailureType.SECURITY)]
    assert patched(*steps).gates == ("security",)


# --- what was seen before -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "flaked", "flaky"),
    [(0, 0, False), (1, 1, False), (2, 1, True), (2, 2, True), (5, 2, False), (4, 2, True)],
)
def test_a_failure_is_flaky_from_the_thresholds_on(seen, flaked, flaky):
    move = decide(a_step(record=Record(seen, flaked)))
    assert isinstance(move, Again if flaky else Patch)


def test_the_third_flaky_verdict_in_a_row_is_real():
    moves = [type(decide(a_step(record=FLAKY), reruns={"test": n})) for n in range(4)]
    assert moves == [Again, Again, Patch, Patch]


def test_a_flaky_re_run_says_what_is_known():
    reason = again(a_step(record=FLAKY)).reason
    assert "passed without a change 3 of 4 times, last on 2026-02-03" in reason


@pytest.mark.parametrize("source", [CheckKind.STATUS, CheckKind.CHECK_RUN])
def test_a_flaky_check_of_another_system_is_mended_for_it_cannot_be_run_again(source):
    assert isinstance(decide(a_step(record=FLAKY, source=source)), Patch)


def test_a_finding_is_never_flaky():
    assert patched(a_step(FailureType.SECURITY, record=FLAKY)).gates == ("security",)


def test_the_real_failure_is_mended_first_and_the_flaky_one_left_alone():
    move = patched(a_step(name="odd", record=FLAKY), a_step(LINT, "lint"))
    assert names(move) == ["lint"]


# --- upstream -----------------------------------------------------------------------------------


def test_what_fails_on_the_base_branch_as_well_waits_for_it():
    move = decide(a_step(upstream=True), a_step(LINT, "lint", upstream=True))
    assert isinstance(move, Await)
    assert move.checks == ("lint", "test")
    assert "the base branch fails in the same way" in move.reason


def test_what_only_this_branch_breaks_is_mended_and_the_rest_left_to_the_base():
    assert names(patched(a_step(upstream=True), a_step(LINT, "lint"))) == ["lint"]


def test_the_kinds_of_the_base_branch_do_not_count():
    steps = [a_step(kind, kind.value, upstream=kind is not LINT) for kind in MENDED]
    assert (patched(*steps).trigger, names(patched(*steps))) == ("", ["lint"])


def test_once_the_base_is_mended_the_job_runs_again_once_and_then_a_person_is_asked():
    step = a_step()
    assert "green again" in again(step, upstream=["test"]).reason
    assert "bring this branch up to date" in asked(step, upstream=["test"], reruns={"test": 1})


def test_a_status_that_the_base_broke_is_a_person_s():
    assert "up to date" in asked(a_step(source=CheckKind.STATUS), upstream=["test"])


def test_what_the_base_broke_does_not_keep_the_rest_from_being_mended():
    steps = (a_step(), a_step(LINT, "lint"))
    assert [check.name for check in again(*steps, upstream=["test"]).checks] == ["test"]
    assert names(patched(*steps, upstream=["test"], reruns={"test": 1})) == ["lint"]


# --- laws ---------------------------------------------------------------------------------------

CHECKS = ["lint", "test", "build", "e2e", "audit"]
STEPS = st.lists(
    st.builds(
        a_step,
        st.sampled_from(list(FailureType)),
        st.sampled_from(CHECKS),
        source=st.sampled_from(list(CheckKind)),
        retry_after_s=st.none() | st.floats(0, 86_400),
        locations=st.sampled_from([(), FILE]),
        record=st.builds(Record, st.integers(0, 5), st.integers(0, 5)),
        upstream=st.booleans(),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda step: step.check.name,
)
RERUNS = st.dictionaries(st.sampled_from(CHECKS), st.integers(0, 5))
BASE = st.lists(st.sampled_from(CHECKS), unique=True)


def most(step: FailingStep, upstream: Sequence[str]) -> int:
    """Return how often a step may be run again, whatever the reason."""
    flaky = SEED.flaky_streak - 1
    table = SEED.retries.get(step.signal.type.value, 0)
    return max(flaky, table, int(step.check.name in upstream))


@given(steps=STEPS, reruns=RERUNS, upstream=BASE)
def test_there_is_always_a_move_and_it_has_a_reason(steps, reruns, upstream):
    move = decide(*steps, reruns=reruns, upstream=upstream)
    assert move.reason
    match move:
        case Patch():
            assert move.steps
            assert set(names(move)) <= {step.check.name for step in steps if not step.upstream}
            gated = [COURSES[step.signal.type].gated for step in move.steps]
            assert all(gated) == any(gated) == bool(move.gates)
        case Again():
            known = {step.check.name: step for step in steps if not step.upstream}
            counts = dict(move.counts)
            for check in move.checks:
                assert check.kind is CheckKind.JOB
                assert counts[check.name] == reruns.get(check.name, 0) + 1
                assert counts[check.name] <= most(known[check.name], upstream)
            assert move.delay_s >= 0
        case Await():
            assert set(move.checks) == {step.check.name for step in steps}
        case Ask():
            assert any(f"`{step.check.name}`" in move.reason for step in steps)


@given(steps=STEPS, upstream=BASE)
def test_running_again_always_comes_to_an_end(steps, upstream):
    reruns: dict[str, int] = {}
    for _ in range(sum(most(step, upstream) for step in steps) + 1):
        move = decide(*steps, reruns=reruns, upstream=upstream)
        if not isinstance(move, Again):
            return
        reruns = dict(move.counts)
    pytest.fail("it is run again and again")


@given(steps=STEPS, reruns=RERUNS)
def test_nothing_gated_is_prepared_while_something_free_can_be_mended(steps, reruns):
    move = decide(*steps, reruns=reruns)
    if isinstance(move, Patch) and move.gates:
        free = [s for s in steps if s.signal.type in MENDED and not s.upstream]
        assert all(step.record.seen for step in free), "only what is known to be flaky may wait"
