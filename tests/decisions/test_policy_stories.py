"""The policy at work: what each kind of failure comes to, and what is kept of it."""

from collections.abc import Sequence

import pytest

from bot.config.schema import BackendName, RetryPolicy
from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.runs import Result, RunState, Strategy, Wish
from bot.domain.values import (
    Check,
    CheckState,
    Conclusion,
    FailingStep,
    FailureType,
    Location,
    Record,
    Sha,
)
from bot.repair.messages import notice_marker
from tests.support.stories import (
    DIFF,
    HEAD,
    ONE_PASS,
    OTHER,
    PUSHED,
    UNDONE,
    World,
    a_check,
    a_policy,
    a_pull,
    a_step,
)

ONE, TWO, THREE = (Sha(letter * 40) for letter in "123")
LINT = FailureType.LINT


def a_world(*steps: FailingStep, **changes) -> World:
    world = World(**changes)
    fail(world, *steps)
    return world


def fail(world: World, *steps: FailingStep, passed: Sequence[str] = ()) -> None:
    """Have CI end at the head with these failures."""
    green: list[Check] = [a_check(name, CheckState.PASSED) for name in passed]
    world.steps, world.checks = steps, (*green, *(step.check for step in steps))


def land(world: World, *steps: FailingStep, passed: Sequence[str] = ()) -> None:
    """Let GitHub show what the run pushed, with CI ended on it; without failures it is green."""
    world.pull = a_pull(head=world.run.head)
    fail(world, *steps, passed=passed if steps or passed else ("test",))


def variants(count: int) -> list[str]:
    return [DIFF.replace("+x = 2", f"+x = {number}") for number in range(count)]


def counted(world: World) -> tuple[int, int, int]:
    """Return how often jobs ran again, backends were asked, and the branch was pushed to."""
    kinds = (effects.Rerun, effects.RunBackend, effects.Push)
    re_runs, backends, pushes = (len(world.made(kind)) for kind in kinds)
    return re_runs, backends, pushes


# --- each kind, from red to rest ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "made", "rest"),
    [
        (FailureType.LINT, (0, 1, 1), RunState.WAITING_CI),
        (FailureType.TYPECHECK, (0, 1, 1), RunState.WAITING_CI),
        (FailureType.TEST_ASSERT, (0, 1, 1), RunState.WAITING_CI),
        (FailureType.RUNTIME, (0, 1, 1), RunState.WAITING_CI),
        (FailureType.SCHEMA_MIGRATION, (0, 1, 1), RunState.WAITING_CI),
        (FailureType.SECURITY, (0, 1, 0), RunState.WAITING_PERSON),
        (FailureType.POLICY, (0, 1, 0), RunState.WAITING_PERSON),
        (FailureType.TRANSIENT, (3, 0, 0), RunState.WAITING_PERSON),
        (FailureType.INFRA, (2, 0, 0), RunState.WAITING_PERSON),
        (FailureType.RATE_LIMIT, (3, 0, 0), RunState.WAITING_PERSON),
        (FailureType.UNKNOWN, (2, 1, 1), RunState.WAITING_CI),
    ],
)
def test_each_kind_comes_to_its_rest(kind, made, rest):
    world = a_world(a_step(kind, locations=(Location("app.py", 1),)))
    for _ in range(6):
        world.play()
        world.later(100)
        if world.made(effects.Push):
            break
    assert (counted(world), world.state()) == (made, rest)


# --- blocked, or given up -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("diffs", "made", "state", "reason"),
    [
        (variants(1) * 9, 3, RunState.BLOCKED, "the same change was proposed 3 times"),
        (variants(9), 3, RunState.GAVE_UP, "`test` was tried 3 times by the primary backends"),
    ],
    ids=["the same change", "another each time"],
)
def test_a_run_that_ends_without_a_mend_says_why(diffs, made, state, reason):
    world = World(diffs=diffs, verdicts=[False] * 9)
    for _ in range(9):
        world.play()
        world.later(1000)
    assert (world.state(), world.run.reason) == (state, reason)
    assert len(world.run.attempts) == made
    assert world.run.choices[-1].strategy is Strategy.GIVE_UP
    blocked = state is RunState.BLOCKED
    result = Result.BLOCKED if blocked else Result.GAVE_UP
    assert world.run.choices[-1].result is world.run.attempts[-1].result is result
    headline = world.comments[-1].body.partition("\n")[0]
    assert ("no progress on" if blocked else "giving up on") in headline
    assert reason.replace("`", "") in world.comments[-1].body.replace("`", "")
    assert world.cards[-1].conclusion is Conclusion.ACTION_REQUIRED


def test_the_same_error_in_ci_three_times_is_no_progress():
    retry = RetryPolicy(per_step_attempts=5, total_attempts=10, jitter=False)
    world = a_world(a_step(), policy=a_policy(retry=retry), diffs=variants(9))
    world.commits = [ONE, TWO, THREE]
    for _ in range(4):
        world.play()
        land(world, a_step())
    assert world.state() is RunState.BLOCKED
    assert world.run.reason == "the same error came back 3 times"
    assert len(world.made(effects.Push)) == 3


def test_the_day_s_limit_is_no_progress_and_who_asks_does_not_lift_it():
    world = World(recent=12)
    for wish in (Wish.LOOK, Wish.FIX):
        world.play(wish, by="mona")
        assert world.state() is RunState.BLOCKED
        assert "12 attempts were made on this pull request within a day" in world.run.reason
    assert world.made(effects.RunBackend) == []
    assert len(world.comments) == 1, "it is said once"
    world.recent = 11
    world.play(Wish.FIX, by="mona")
    assert len(world.made(effects.RunBackend)) == 1


def test_who_asks_lifts_the_limits_of_the_run():
    world = World(verdicts=[False] * 9)
    for _ in range(4):
        world.play()
        world.later(1000)
    assert world.state() is RunState.BLOCKED
    world.play(Wish.FIX)
    assert len(world.made(effects.RunBackend)) == 4


# --- flaky or real ------------------------------------------------------------------------------

FLAKY = Record(seen=4, flaked=3)


def test_a_known_flaky_test_is_run_again_and_never_touched():
    world = a_world(a_step(record=FLAKY))
    world.play()
    assert counted(world) == (1, 0, 0)
    assert "passed without a change 3 of 4 times" in world.comments[0].body
    land(world)
    world.play()
    assert world.state() is RunState.GREEN


def test_a_flaky_test_that_fails_a_third_time_is_mended():
    world = a_world(a_step(record=FLAKY))
    for _ in range(3):
        world.play()
    assert counted(world) == (2, 1, 1)


def test_what_passed_without_a_change_is_remembered_as_flaky():
    world = a_world(a_step(FailureType.TRANSIENT, fingerprint="f1"))
    world.play()
    land(world)
    world.play()
    (remembered,) = world.made(effects.Remember)
    (seen,) = remembered.observations
    assert (seen.check, seen.fingerprint, seen.test, seen.flaked) == (
        "test",
        "f1",
        "test broke",
        True,
    )


def test_what_our_push_mended_is_remembered_as_real():
    world = a_world(a_step(fingerprint="f1"))
    world.play()
    land(world)
    world.play()
    (remembered,) = world.made(effects.Remember)
    assert [(one.fingerprint, one.flaked) for one in remembered.observations] == [("f1", False)]


def test_after_our_push_a_job_that_passed_when_run_again_was_flaky_and_the_mended_one_real():
    world = a_world(a_step(fingerprint="f1"))
    world.play()
    land(world, a_step(FailureType.INFRA, "net", fingerprint="f2"), passed=("test",))
    world.play()
    land(world)
    world.play()
    (remembered,) = world.made(effects.Remember)
    told = {one.fingerprint: one.flaked for one in remembered.observations}
    assert told == {"f1": False, "f2": True}


def test_the_same_observation_has_the_same_key_and_another_head_another():
    keys = []
    for head in (HEAD, HEAD, OTHER):
        world = a_world(a_step(FailureType.TRANSIENT), pull=a_pull(head=head))
        world.play()
        fail(world, passed=("test",))
        world.play()
        keys += [one.key for one in world.made(effects.Remember)[0].observations]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    "steps",
    [
        (a_step(fingerprint=""),),
        (a_step(upstream=True),),
        (a_step(FailureType.INFRA, "net", fingerprint=""), a_step(upstream=True)),
    ],
    ids=["no fingerprint", "upstream", "upstream beside another"],
)
def test_of_what_cannot_be_told_again_or_was_the_base_s_nothing_is_remembered(steps):
    world = a_world(*steps)
    world.play()
    land(world)
    world.play()
    assert world.state() is RunState.GREEN
    flaked = [one for made in world.made(effects.Remember) for one in made.observations]
    assert all(not one.flaked and one.fingerprint for one in flaked)


# --- the base branch is broken ------------------------------------------------------------------


def test_what_the_base_branch_breaks_is_reported_once_and_nothing_is_pushed():
    world = a_world(a_step(upstream=True))
    world.play()
    assert world.state() is RunState.WAITING_BASE
    assert counted(world) == (0, 0, 0)
    assert "the base branch is broken" in world.comments[0].body.partition("\n")[0]
    assert world.cards[-1].conclusion is Conclusion.NEUTRAL
    for _ in range(4):
        world.later(900)
        assert world.play() == ["ReadFacts", "ReadFailures", "EndPass"]
    assert world.state() is RunState.WAITING_BASE
    assert (len(world.comments), len(world.run.choices)) == (1, 1)


def test_however_many_look_at_a_broken_base_only_one_look_follows():
    """Else every event and every sweep would add an endless row of looks of its own."""
    world = a_world(a_step(upstream=True))
    for _ in range(30):
        world.play()
        world.later(100)
    assert world.wakes == [900.0] * 4


def test_in_another_order_it_is_the_same_broken_base():
    steps = (a_step(upstream=True), a_step(LINT, "lint", upstream=True))
    world = a_world(*steps)
    world.play()
    fail(world, *reversed(steps))
    assert world.play() == ["ReadFacts", "ReadFailures", "EndPass"]


def test_another_broken_check_of_the_base_is_told():
    world = a_world(a_step(upstream=True))
    world.play()
    fail(world, a_step(upstream=True), a_step(LINT, "lint", upstream=True))
    world.play()
    assert len(world.comments) == 1
    assert "`lint`, `test`" in world.comments[0].body.replace("\u200b", "")


def test_once_the_base_is_green_the_job_runs_again_and_then_a_person_is_asked():
    world = a_world(a_step(upstream=True))
    world.play()
    world.later(5000)
    fail(world, a_step())
    world.play()
    assert counted(world) == (1, 0, 0)
    assert world.run.choices[-1].reason == "`test`: the base branch is green again"
    world.play()
    assert world.state() is RunState.WAITING_PERSON
    assert "up to date" in world.run.reason
    assert counted(world) == (1, 0, 0)


def test_once_the_base_is_green_and_the_check_as_well_the_run_is_done():
    world = a_world(a_step(upstream=True))
    world.play()
    land(world)
    world.play()
    assert world.state() is RunState.GREEN
    assert "green again" in world.comments[0].body.partition("\n")[0]


def test_what_the_branch_breaks_itself_is_mended_all_the_same():
    world = a_world(a_step(upstream=True), a_step(LINT, "lint"))
    world.play()
    assert counted(world) == (0, 1, 1)
    assert world.run.attempts[-1].failing == ("lint",)
    land(world, a_step(upstream=True), passed=("lint",))
    world.play()
    assert world.state() is RunState.WAITING_BASE


def test_what_the_base_broke_once_is_ours_when_we_break_it_later():
    world = a_world(a_step(upstream=True))
    world.play()
    fail(world, a_step(LINT, "lint"), passed=("test",))
    world.play()
    assert counted(world) == (0, 1, 1)
    land(world, a_step(), passed=("lint",))
    world.play()
    assert counted(world) == (0, 2, 2), "it is neither run again nor left to a person"


def test_who_asks_has_it_mended_here_to_the_end():
    world = a_world(a_step(upstream=True), verdicts=[False, True])
    world.play()
    world.play(Wish.FIX, by="mona")
    assert world.state() is RunState.WAITING_DELAY
    world.later(1000)
    world.play()
    assert counted(world) == (0, 2, 1)


def test_a_word_for_no_gate_leaves_the_wait_for_the_base_as_it_is():
    world = a_world(a_step(upstream=True))
    world.play()
    world.play(Wish.APPROVE, by="hubot")
    assert world.state() is RunState.WAITING_BASE


# --- made worse ---------------------------------------------------------------------------------


def made_worse(*, between: int = 0, **changes) -> World:
    """Return a world in which two pushes turned `lint` red; `between` were rejected in between."""
    retry = RetryPolicy(per_step_attempts=9, total_attempts=9, jitter=False)
    policy = a_policy(retry=changes.pop("retry", retry), fixers=False)
    world = World(policy=policy, diffs=variants(9), **changes)
    world.commits = [ONE, TWO, THREE]
    world.verdicts = [True, *[False] * between]
    fail(world, a_step(), passed=("lint",))
    world.play()
    for _ in range(between + 1):
        land(world, a_step(LINT, "lint", fingerprint=f"f{world.run.head}"), passed=("types",))
        world.play()
        world.later(1000)
    land(world, a_step(FailureType.TYPECHECK, "types"), passed=("lint",))
    return world


@pytest.mark.parametrize("between", [0, 1])
def test_two_pushes_that_made_it_worse_are_undone_by_one_commit_on_top(between):
    world = made_worse(between=between)
    first, last = world.run.attempts[0], world.run.attempts[-1]
    assert (first.worse, last.head, world.run.head) == (("lint",), ONE, TWO)
    assert world.play() == [
        "ReadFacts",
        "ReadFailures",
        "BuildRevert",
        "SaveRun",
        "Push",
        "ShowCard",
        "Comment",
        "Comment",
        "Comment",
        "ShowCard",
        "EndPass",
    ]
    (revert,) = world.made(effects.BuildRevert)
    assert (revert.parent, revert.like) == (TWO, HEAD)
    assert f"Regreen-Run: {world.run.id}" in revert.message
    push = world.made(effects.Push)[-1]
    assert (push.commit, push.lease) == (UNDONE, TWO)
    saved = world.made(effects.SaveRun)[-1].run
    assert saved.intent == UNDONE, "the push is known as ours"
    assert (world.run.head, world.state()) == (UNDONE, RunState.WAITING_CI)
    results = [one.result for one in world.run.attempts]
    rolled, rejected = Result.ROLLED_BACK, Result.REJECTED
    assert results == [rolled, *[rejected] * between, rolled]
    choice = world.run.choices[-1]
    assert (choice.strategy, choice.result) == (Strategy.ROLLBACK, Result.ROLLED_BACK)
    for comment in (world.comments[0], world.comments[between + 1]):
        assert "undone, for it turned" in comment.body.partition("\n")[0]


def test_after_a_rollback_the_run_goes_on_within_its_limits():
    world = made_worse(retry=RetryPolicy(jitter=False))
    world.play()
    land(world, a_step(), passed=("lint",))
    world.play()
    assert world.run.attempts[-1].number == 3
    assert world.run.attempts[-1].head == UNDONE
    world.commits, world.verdicts = [], [False] * 9
    for _ in range(9):
        world.play()
        world.later(1000)
    assert world.run.ended
    assert len(world.run.attempts) <= world.policy.retry.total_attempts


def test_a_rollback_that_is_refused_asks_a_person_and_is_not_tried_again():
    world = made_worse()
    world.outcomes = {effects.Push: effects.Refused("the branch is protected")}
    world.play()
    assert world.state() is RunState.WAITING_PERSON
    assert world.play() == ["ReadFacts", "EndPass"]


def test_a_push_of_theirs_in_between_is_never_undone():
    world = made_worse()
    world.pull = a_pull(head=OTHER)
    world.play()
    world.play()
    assert world.made(effects.BuildRevert) == []


def test_a_failure_that_went_away_by_itself_was_not_made_worse():
    world = World(policy=a_policy(fixers=False), diffs=variants(9))
    world.commits = [ONE, TWO]
    fail(world, a_step(), passed=("lint",))
    world.play()
    land(world, a_step(FailureType.UNKNOWN, "lint"), passed=("test",))
    world.play()
    blamed = world.run.attempts[0].worse
    land(world, a_step(), passed=("lint",))
    world.play()
    assert (blamed, world.run.attempts[0].worse) == (("lint",), ())
    assert world.run.choices[-1].strategy is Strategy.PATCH, "not a new plan for being worse"


# --- what is kept of a decision -----------------------------------------------------------------


def test_every_choice_says_why_by_what_and_about_which_failures():
    world = a_world(a_step(FailureType.UNKNOWN), verdicts=[False] * 9)
    for _ in range(9):
        world.play()
        world.later(1000)
    choices = world.run.choices
    again, plan, end = Strategy.RETRY, Strategy.REPLAN, Strategy.GIVE_UP
    assert [one.strategy for one in choices] == [again, again, plan, plan, plan, end]
    assert [one.number for one in choices] == [1, 2, 3, 4, 5, 6]
    for choice in choices:
        assert choice.reason
        assert choice.head == HEAD
        (judged,) = choice.judged
        assert (judged.check, judged.type, judged.fingerprint) == (
            "test",
            FailureType.UNKNOWN,
            "fp-test",
        )
        inputs = dict(choice.inputs)
        assert inputs["total attempts allowed"] == "6"
        assert inputs["attempts allowed per check"] == "3"
        assert inputs["re-runs of test"].endswith("2 allowed")
    assert [dict(one.inputs)["re-runs of test"][0] for one in choices] == list("012222")
    assert [dict(one.inputs)["attempts of this run"] for one in choices] == list("000123")
    assert [one.attempt for one in choices] == [0, 0, 1, 2, 3, 0]
    assert dict(choices[2].inputs)["replanned because of"] == "unknown_persists"
    assert dict(choices[2].inputs)["tier"] == "primary"


def test_what_is_known_of_flakiness_and_of_the_base_are_inputs():
    world = a_world(a_step(record=FLAKY), a_step(FailureType.INFRA, "net", upstream=True))
    world.play()
    inputs = dict(world.run.choices[-1].inputs)
    assert inputs["test passed without a change"] == "3 of 4 times"
    assert inputs["net on the base branch"] == "fails in the same way"


def test_a_wait_is_decided_once_and_says_how_long():
    world = a_world(a_step(FailureType.RATE_LIMIT, retry_after_s=120.0))
    world.play()
    world.later(121)
    world.play()
    assert counted(world) == (1, 0, 0)
    (choice,) = world.run.choices
    assert (choice.strategy, choice.result, choice.backoff_s) == (
        Strategy.RETRY,
        Result.RETRIED,
        120.0,
    )


def test_each_re_run_is_a_choice_of_its_own_though_other_waits_have_passed():
    world = a_world(a_step(), verdicts=[False])
    world.play()
    world.later(1000)
    fail(world, a_step(FailureType.TRANSIENT))
    world.play()
    assert [one.strategy for one in world.run.choices] == [Strategy.PATCH, Strategy.RETRY]


def test_a_new_plan_keeps_its_delta_and_names_what_was_tried():
    retry = RetryPolicy(per_step_attempts=9, total_attempts=9, same_error=9, jitter=False)
    world = a_world(
        a_step(FailureType.UNKNOWN, "one"),
        a_step(FailureType.UNKNOWN, "two"),
        policy=a_policy(retry=retry),
        diffs=variants(9),
        verdicts=[False] * 9,
    )
    for _ in range(3):
        world.play()
        world.later(1000)
    assert [one.triggered_by for one in world.run.deltas] == ["unknown_signals"] * 3
    assert [one.original for one in world.run.deltas] == ["", "run-0.plan1", "run-0.plan2"]
    assert world.run.deltas[1].added == ("go another way than attempt 1: test failed",)
    told = [effect.task.plan for effect in world.made(effects.RunBackend)]
    assert "go another way" not in told[0]
    assert "go another way than attempt 1: test failed" in told[1]


def test_the_attempt_before_the_last_of_the_same_error_is_planned_anew():
    retry = RetryPolicy(per_step_attempts=9, total_attempts=9, jitter=False)
    world = World(policy=a_policy(retry=retry), diffs=variants(9))
    world.commits = [ONE, TWO, THREE]
    for _ in range(3):
        world.play()
        land(world, a_step())
    strategies = [one.strategy for one in world.run.choices]
    assert strategies == [Strategy.PATCH, Strategy.PATCH, Strategy.REPLAN]
    (delta,) = world.run.deltas
    assert delta.triggered_by == "same_error"
    assert "go another way than attempt 1: CI stayed red" in delta.added


def test_a_plan_that_does_not_change_is_no_new_plan():
    steps = (a_step(FailureType.UNKNOWN, "one"), a_step(FailureType.UNKNOWN, "two"))
    refused = effects.Refused("the branch is protected")
    world = a_world(*steps, outcomes={effects.Push: refused})
    world.play()
    world.play(Wish.FIX, by="mona")
    made = [one.strategy for one in world.run.choices if one.attempt]
    assert made == [Strategy.REPLAN, Strategy.PATCH]
    assert len(world.run.deltas) == 1


# --- notices ------------------------------------------------------------------------------------


def test_a_run_after_a_new_head_goes_on_with_the_notice_of_the_one_before():
    """Who answers each notice by a push would otherwise get another one each time."""
    world = a_world(a_step(FailureType.INFRA))
    world.play()
    for letter in "efgh":
        world.pull = a_pull(head=Sha(letter * 40))
        world.play()
        world.play()
    assert len(world.made(effects.Rerun)) == 5
    (notice,) = world.comments
    assert notice_marker(world.run.id) in notice.body


def test_a_run_after_a_green_one_has_a_notice_of_its_own():
    world = a_world(a_step(FailureType.INFRA))
    world.play()
    land(world)
    world.play()
    fail(world, a_step(FailureType.INFRA))
    world.pull = a_pull(head=OTHER)
    world.play()
    assert len(world.comments) == 2


# --- the drains beside the fix: see test_drain_stories.py; gates: see test_gate_stories.py ------


def test_a_fallback_begins_afresh_where_the_primary_was_stuck():
    fallback = (BackendName("backend_for_failed_pr", "model-2"),)
    world = World(policy=a_policy(fallback=fallback), verdicts=[False] * 9)
    for _ in range(9):
        world.play()
        world.later(1000)
    used = [effect.fallback for effect in world.made(effects.RunBackend)]
    assert used == [False] * 3 + [True] * 3
    assert world.state() is RunState.BLOCKED


def test_an_outage_and_a_rejection_do_not_count_for_each_other():
    down = Answer(Ending.UNAVAILABLE, detail="503")
    world = World(answers={"first": [*[down] * ONE_PASS, Answer(Ending.EDITED)]}, verdicts=[False])
    world.play()
    world.later(61)
    world.play()
    assert [one.result for one in world.run.attempts] == [Result.REJECTED]
    assert world.wakes == [10.0, 10.0]
    assert world.run.head == HEAD != PUSHED
