"""What may stand beside the fix: a plan before it, a QA pass after a rejection, an analysis."""

import pytest

from bot.config.schema import BackendName, PlanningPolicy, Policy, QaPolicy, RetryPolicy
from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.runs import Result, RunState, Wish
from bot.domain.values import FailureType, Purpose, Usage
from tests.support.stories import DIFF, HEAD, ONE_PASS, World, a_check, a_policy, a_step

ANN, BEN, CAT = (BackendName(name, "") for name in ("ann", "ben", "cat"))
DOWN = Answer(Ending.UNAVAILABLE, detail="503")
OTHER_DIFF = DIFF.replace("+x = 2", "+x = 3")


def said(text: str, **usage) -> Answer:
    return Answer(Ending.NO_CHANGE, text, usage=Usage(**usage))


# --- planning -----------------------------------------------------------------------------------


def planning(*planners: BackendName, **changes) -> Policy:
    return a_policy(planners=planners, **changes)


def a_lint_world(**changes) -> World:
    step = a_step(FailureType.LINT, "lint")
    return World(steps=(step,), checks=(a_check("lint"),), **changes)


def test_a_plan_is_made_before_the_first_model_and_told_to_it():
    world = World(policy=planning(ANN))
    names = world.play()
    assert names[2:6] == ["Comment", "Consult", "ChooseBackend", "RunBackend"]
    (asked,) = world.made(effects.Consult)
    assert (asked.backends, asked.head, asked.onto) == (("ann",), HEAD, "")
    assert (asked.question.purpose, asked.question.task.plan) == (Purpose.PLAN, "")
    assert asked.question.task.steps == world.steps
    assert world.made(effects.RunBackend)[0].task.plan == "said by plan"
    assert (world.run.plans[-1].text, world.run.plans[-1].by) == ("said by plan", ("ann",))
    assert "said by plan" in world.comments[0].body


def test_without_planners_nobody_is_asked():
    world = World()
    world.play()
    assert world.made(effects.Consult) == []
    assert world.made(effects.RunBackend)[0].task.plan == ""


def test_the_fixers_need_no_plan():
    world = a_lint_world(policy=planning(ANN))
    world.play()
    assert world.made(effects.Consult) == []


def test_a_plan_is_made_once_fixers_are_not_enough():
    world = a_lint_world(policy=planning(ANN), verdicts=[False, True])
    names = world.play()
    assert names[3:8] == ["RunBackend", "Verify", "Consult", "ChooseBackend", "RunBackend"]
    assert world.made(effects.RunBackend)[1].task.plan == "said by plan"


def test_several_plans_become_one():
    policy = planning(ANN, BEN, planning=PlanningPolicy(synthesis="cat"))
    opinions = {"ann": said("do a"), "ben": said("do b"), "cat": said("do both")}
    world = World(policy=policy, opinions=opinions)
    world.play()
    first, second = world.made(effects.Consult)
    assert (first.backends, second.backends) == (("ann", "ben"), ("cat",))
    assert second.question.purpose is Purpose.SYNTHESIS
    assert second.question.opinions == ("do a", "do b")
    assert world.made(effects.RunBackend)[0].task.plan == "do both"
    assert world.run.plans[-1].by == ("ann", "ben")


def test_without_a_name_the_first_planner_makes_one_of_them():
    world = World(policy=planning(ANN, BEN))
    world.play()
    assert world.made(effects.Consult)[1].backends == ("ann",)


@pytest.mark.parametrize("within", [120.0, 30.0])
def test_two_thirds_of_the_time_are_for_the_plans_and_the_rest_for_making_one(within):
    world = World(policy=planning(ANN, BEN, planning=PlanningPolicy(within_s=within)))
    world.play()
    limits = [asked.within_s for asked in world.made(effects.Consult)]
    assert limits == [within * 2 / 3, within / 3]


@pytest.mark.parametrize(
    ("opinions", "asked", "plan", "by"),
    [
        pytest.param({"ann": DOWN}, 1, "said by plan", ("ben",), id="one answers"),
        pytest.param(
            {"ann": said("do a"), "ben": said("do b"), "cat": DOWN},
            2,
            "do a",
            ("ann",),
            id="nobody makes one of them: the first is taken",
        ),
        pytest.param({"ann": DOWN, "ben": DOWN}, 1, "", (), id="nobody answers"),
    ],
)
def test_what_nobody_gave_is_done_without(opinions, asked, plan, by):
    policy = planning(ANN, BEN, planning=PlanningPolicy(synthesis="cat"))
    world = World(policy=policy, opinions=opinions)
    world.play()
    assert len(world.made(effects.Consult)) == asked
    assert world.made(effects.RunBackend)[0].task.plan == plan
    assert (world.run.plans[-1].text, world.run.plans[-1].by) == (plan, by)
    assert world.state() is RunState.WAITING_CI
    noted = "no plan was made: ann: unavailable: 503; ben: unavailable: 503"
    assert (noted in world.run.attempts[-1].notices) is (not plan)


def test_planners_are_asked_once_an_attempt_however_many_backends_try():
    chain = (BackendName("first", ""), BackendName("second", ""))
    policy = planning(ANN, primary=chain, qa=QaPolicy(enabled=True))
    world = World(policy=policy, verdicts=[False, False, False, True])
    world.answers["first"] = Answer(Ending.INVALID, detail="no patch")
    world.play()
    asked = [effect.backend for effect in world.made(effects.RunBackend)]
    assert asked == ["first"] * 3 + ["second"] * 3, "the first rests after three failures"
    assert len(world.made(effects.Consult)) == 1
    world.later(1000)
    world.play()
    assert len(world.made(effects.Consult)) == 2, "the next attempt asks again"


def test_an_outage_of_the_backends_does_not_have_the_plan_made_again():
    world = World(policy=planning(ANN))
    world.answers["first"] = [DOWN] * ONE_PASS + [DOWN, Answer(Ending.EDITED)]
    for _ in range(3):
        world.play()
        world.later(61)
    assert len(world.made(effects.Push)) == 1
    assert len(world.made(effects.Consult)) == 1
    assert {made.task.plan for made in world.made(effects.RunBackend)} == {"said by plan"}


def test_after_an_outage_of_planners_and_backends_both_are_asked_again():
    world = World(policy=planning(ANN), opinions={"ann": DOWN})
    world.answers["first"] = [DOWN] * ONE_PASS + [Answer(Ending.EDITED)]
    world.play()
    world.later(61)
    world.opinions = {}
    world.play()
    plans = [made.task.plan for made in world.made(effects.RunBackend)]
    assert plans == [""] * ONE_PASS + ["said by plan"]


def test_a_new_plan_asks_again_and_is_told_with_its_goals():
    retry = RetryPolicy(per_step_attempts=9, total_attempts=9, same_error=9, jitter=False)
    steps = (a_step(FailureType.UNKNOWN, "one"), a_step(FailureType.UNKNOWN, "two"))
    world = World(
        policy=planning(ANN, retry=retry), steps=steps, diffs=[DIFF, OTHER_DIFF], verdicts=[False]
    )
    world.play()
    world.opinions = {"ann": said("another way")}
    world.later(1000)
    world.play()
    asked = world.made(effects.Consult)[1].question.task.plan
    assert "go another way than attempt 1: test failed" in asked
    assert world.made(effects.RunBackend)[1].task.plan == f"{asked}\nanother way"
    assert [plan.text for plan in world.run.plans] == ["said by plan", "another way"]
    assert world.run.deltas[-1].new == world.run.plans[-1].id == world.run.attempts[-1].plan


def test_what_a_plan_cost_is_counted_and_its_secrets_are_struck_out():
    key = "AKIA" + "Q3EGRVXNKWYZ4T7P"
    opinions = {"ann": said(f"use {key}", input_tokens=7, output_tokens=3, cost_usd=0.5)}
    world = World(policy=planning(ANN), opinions=opinions)
    world.play()
    usage = world.run.attempts[-1].usage
    assert (usage.input_tokens, usage.output_tokens, usage.cost_usd) == (17, 8, 0.51)
    assert key not in repr(world.run) + world.comments[0].body
    assert key not in world.made(effects.RunBackend)[0].task.plan


def test_a_new_head_ends_the_planning():
    superseded = effects.Superseded("a new head")
    world = World(policy=planning(ANN), outcomes={effects.Consult: superseded})
    world.play()
    assert world.state() is RunState.SUPERSEDED
    assert world.made(effects.RunBackend) == []


# --- the QA pass --------------------------------------------------------------------------------


def qa(**changes) -> Policy:
    return a_policy(qa=QaPolicy(**{"enabled": True, **changes}))


def test_it_is_off_by_default():
    world = World(verdicts=[False])
    world.play()
    assert len(world.made(effects.RunBackend)) == 1
    assert world.run.attempts[-1].qa == 0


def test_a_rejected_change_goes_back_to_who_made_it_with_what_was_found():
    chain = (BackendName("first", "model-1"), BackendName("second", "model-2"))
    policy = a_policy(qa=QaPolicy(enabled=True), primary=chain)
    world = World(policy=policy, diffs=[DIFF, OTHER_DIFF], verdicts=[False, True])
    names = world.play()
    assert names[4:9] == ["RunBackend", "Verify", "RunBackend", "Verify", "BuildCommit"]
    first, second = world.made(effects.RunBackend)
    assert (first.backend, first.onto, first.task.again) == ("first", "", False)
    assert (second.backend, second.onto, second.task.again) == ("first", DIFF, True)
    assert second.head == HEAD
    assert "The gatekeeper rejected it: test failed" in second.task.feedback
    assert "out 6" in second.task.feedback, "what the command wrote"
    assert world.made(effects.BuildCommit)[0].diff == OTHER_DIFF
    attempt = world.run.attempts[-1]
    assert (attempt.number, attempt.qa, attempt.result) == (1, 1, Result.PATCH_APPLIED)
    assert "sent back to first (1): test failed" in attempt.notices
    assert len(world.comments) == 1


def test_who_made_the_change_goes_on_in_its_session_and_nobody_else_does():
    chain = (BackendName("first", "model-1"), BackendName("second", "model-2"))
    policy = a_policy(qa=QaPolicy(enabled=True, max_iterations=1), primary=chain)
    edited = Answer(Ending.EDITED, session="home.id")
    world = World(
        policy=policy, answers={"first": [edited, edited, *[DOWN] * 3]}, verdicts=[False, False]
    )
    world.play()
    world.later(60)
    world.play()
    told = [(effect.backend, effect.resume) for effect in world.made(effects.RunBackend)]
    assert told[:2] == [("first", ""), ("first", "home.id")]
    assert told[2:] == [("first", "")] * 3 + [("second", "")]


@pytest.mark.parametrize("tries", [0, 1, 2, 3])
def test_an_attempt_has_so_many_tries_and_no_more(tries):
    world = World(policy=qa(max_iterations=tries), verdicts=[False] * 9)
    world.play()
    assert len(world.made(effects.RunBackend)) == 1 + tries
    assert world.run.attempts[-1].qa == tries
    assert world.run.attempts[-1].result is Result.REJECTED
    assert world.state() is RunState.WAITING_DELAY


@pytest.mark.parametrize(("sessions", "asked"), [(0, 3), (1, 4), (2, 5), (3, 6), (9, 6)])
def test_a_run_has_so_many_attempts_with_a_qa_pass_and_no_more(sessions, asked):
    diffs = [DIFF.replace("+x = 2", f"+x = {number}") for number in range(9)]
    world = World(
        policy=qa(max_sessions=sessions, max_iterations=1), verdicts=[False] * 9, diffs=diffs
    )
    for _ in range(5):
        world.play()
        world.later(1000)
    assert len(world.run.attempts) == 3
    assert len(world.made(effects.RunBackend)) == asked


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(Ending.NO_CHANGE, detail="it is right"), "no change: it is right"),
        (Answer(Ending.RATE_LIMITED, detail="429"), "rate limited: 429"),
        (Answer(Ending.INVALID, detail="no patch"), "invalid: no patch"),
    ],
)
def test_who_has_no_other_change_leaves_the_first_reason(answer, why):
    world = World(
        policy=qa(), answers={"first": [Answer(Ending.EDITED), *[answer] * 3]}, verdicts=[False]
    )
    world.play()
    attempt = world.run.attempts[-1]
    assert (attempt.result, attempt.reason) == (
        Result.REJECTED,
        f"test failed; sent back: {why}",
    )
    assert attempt.diff == DIFF
    assert len(world.made(effects.Verify)) == 1
    assert world.state() is RunState.WAITING_DELAY


def test_the_fixers_are_not_sent_their_change_back():
    world = a_lint_world(policy=qa(), verdicts=[False, True])
    world.play()
    assert [made.backend for made in world.made(effects.RunBackend)] == ["fixers", "first"]


def test_a_mend_that_the_fixers_began_is_sent_back_whole():
    world = a_lint_world(policy=qa(), diffs=[DIFF, OTHER_DIFF], verdicts=[False, False, True])
    world.play()
    assert [made.onto for made in world.made(effects.RunBackend)] == ["", DIFF, OTHER_DIFF]


def test_without_feedback_the_next_attempt_is_told_nothing():
    for feedback in (True, False):
        policy = a_policy(qa=QaPolicy(feedback=feedback))
        world = World(policy=policy, verdicts=[False])
        world.play()
        world.later(1000)
        world.play()
        told = world.made(effects.RunBackend)[1].task.feedback
        assert ("It was rejected: test failed" in told) is feedback


def test_what_came_of_a_qa_pass_is_guarded_as_well():
    leak = DIFF.replace("+x = 2", '+key = "AKIA' + 'Q3EGRVXNKWYZ4T7P"')
    world = World(policy=qa(), diffs=[DIFF, leak], verdicts=[False])
    world.play()
    assert len(world.made(effects.Verify)) == 1
    assert world.state() is RunState.WAITING_PERSON
    assert leak not in repr(world.run)


# --- analysis -----------------------------------------------------------------------------------


def analysed(*words: str, **changes) -> World:
    """Play a pass whose proved change is judged by as many analysts as there are words."""
    names = ("ann", "ben", "cat")[: len(words)]
    analysts = tuple(BackendName(name, "") for name in names)
    opinions = {name: said(word) for name, word in zip(names, words, strict=True)}
    world = World(policy=a_policy(analysts=analysts), opinions=opinions, **changes)
    world.play()
    return world


YES, NO = "It does.\nVERDICT: yes", "verdict: No\nIt mends something else."


def test_analysts_see_the_proved_change_and_the_plan():
    world = World(policy=a_policy(planners=(ANN,), analysts=(BEN, CAT)))
    names = world.play()
    assert names[3:5] == ["Consult", "ChooseBackend"]
    assert names[5:9] == ["RunBackend", "Verify", "Consult", "BuildCommit"]
    asked = world.made(effects.Consult)[1]
    assert (asked.backends, asked.head, asked.onto) == (("ben", "cat"), HEAD, DIFF)
    assert (asked.question.purpose, asked.question.diff) == (Purpose.ANALYSIS, DIFF)
    assert asked.question.task.plan == "said by plan"


@pytest.mark.parametrize(
    ("words", "pushed", "noted"),
    [
        ((YES,), True, "1 of 1 analysts agree"),
        ((NO,), False, ""),
        ((YES, YES), True, "2 of 2 analysts agree"),
        ((YES, NO), False, ""),
        ((YES, NO, NO), False, ""),
        ((NO, YES, YES), True, "2 of 3 analysts agree"),
        (("I cannot say",), True, "no analyst judged the change"),
        (("VERDICT: yesterday",), True, "no analyst judged the change"),
        (("the VERDICT: no is mine",), True, "no analyst judged the change"),
        (("hm", NO), False, ""),
        (("hm", YES), True, "1 of 1 analysts agree"),
        (("Verdict: YES",), True, "1 of 1 analysts agree"),
    ],
)
def test_half_of_the_analysts_reject_and_the_unreadable_do_not_count(words, pushed, noted):
    world = analysed(*words)
    assert len(world.made(effects.Push)) == pushed
    attempt = world.run.attempts[-1]
    if pushed:
        assert noted in attempt.notices
    else:
        assert attempt.result is Result.REJECTED
        assert attempt.reason == "the analysis says no: It mends something else."
        assert world.state() is RunState.WAITING_DELAY


def test_analysts_out_of_reach_do_not_hold_up_what_is_proved():
    world = World(policy=a_policy(analysts=(ANN,)), opinions={"ann": DOWN})
    world.play()
    assert len(world.made(effects.Push)) == 1
    assert "no analyst judged the change" in world.run.attempts[-1].notices


def test_what_the_analysis_said_is_told_to_the_next_attempt():
    world = analysed(NO)
    world.opinions = {"ann": said(YES)}
    world.later(1000)
    world.play()
    assert "It mends something else." in world.made(effects.RunBackend)[1].task.feedback
    assert len(world.made(effects.Push)) == 1


def test_the_fixers_need_no_analysis():
    world = a_lint_world(policy=a_policy(analysts=(ANN,)), opinions={"ann": said(NO)})
    world.play()
    assert world.made(effects.Consult) == []
    assert len(world.made(effects.Push)) == 1


def test_what_is_not_proved_is_not_analysed():
    assert analysed(YES, verdicts=[False]).made(effects.Consult) == []


@pytest.mark.parametrize(("word", "held"), [(YES, True), (NO, False)])
def test_a_finding_s_mend_is_analysed_before_it_is_held(word, held):
    world = analysed(word, steps=(a_step(FailureType.SECURITY),))
    assert (world.run.gate is not None) is held
    assert world.made(effects.Push) == []


def test_a_change_that_is_let_out_is_not_analysed_again():
    world = analysed(YES, steps=(a_step(FailureType.SECURITY),))
    world.play(Wish.APPROVE, by="hubot")
    assert len(world.made(effects.Consult)) == 1
    assert len(world.made(effects.Push)) == 1
