"""A pass of a run, from what it sees to how it ends."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.config.schema import BackendName
from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.runs import FINAL, Result, RunState, Wish
from bot.domain.values import CheckKind, CheckState, Conclusion, FailureType, Sha
from tests.support.stories import (
    DIFF,
    HEAD,
    OTHER,
    PUSHED,
    World,
    a_check,
    a_policy,
    a_pull,
    a_step,
)

MEND = [
    "ReadFacts",
    "ReadFailures",
    "Comment",
    "RunBackend",
    "Verify",
    "BuildCommit",
    "SaveRun",
    "Push",
    "ShowCard",
    "Comment",
    "ShowCard",
    "EndPass",
]


def test_a_failing_test_is_mended_proved_and_pushed():
    world = World()
    assert world.play() == MEND
    assert world.state() is RunState.WAITING_CI
    assert world.run.head == world.run.intent == PUSHED
    attempt = world.run.attempts[-1]
    assert (attempt.number, attempt.backend, attempt.result) == (1, "first", Result.PATCH_APPLIED)
    push = world.made(effects.Push)[0]
    assert (push.branch, push.commit, push.lease) == ("topic", PUSHED, HEAD)


def test_the_intent_is_stored_before_the_push():
    world = World()
    names = world.play()
    saved = next(effect for effect in world.done if isinstance(effect, effects.SaveRun))
    assert saved.run.intent == PUSHED
    assert names.index("SaveRun") < names.index("Push")


def test_lint_goes_to_the_fixers_first_and_asks_no_model():
    world = World(steps=(a_step(FailureType.LINT, "lint"),), checks=(a_check("lint"),))
    world.play()
    assert [effect.backend for effect in world.made(effects.RunBackend)] == ["fixers"]
    assert world.run.attempts[-1].backend == "fixers"


def test_what_the_fixers_cannot_mend_goes_to_the_model_in_the_same_attempt():
    world = World(
        steps=(a_step(FailureType.LINT, "lint"),),
        answers={"fixers": Answer(Ending.NO_CHANGE, detail="nothing to fix")},
    )
    world.play()
    assert [effect.backend for effect in world.made(effects.RunBackend)] == ["fixers", "first"]
    assert [one.number for one in world.run.attempts] == [1]
    assert world.run.attempts[-1].tried == (("fixers", "no change: nothing to fix"),)


def test_what_the_fixers_mended_is_kept_when_the_model_must_do_the_rest():
    steps = (a_step(FailureType.LINT, "lint"), a_step(FailureType.TEST_ASSERT, "test"))
    both = DIFF.replace("+x = 2", "+x = 3")
    world = World(steps=steps, diffs=[DIFF, both], verdicts=[False, True])
    world.play()
    assert [effect.onto for effect in world.made(effects.RunBackend)] == ["", DIFF]
    assert world.made(effects.BuildCommit)[0].diff == both


def test_fixers_alone_are_not_asked_twice_for_the_same():
    steps = (a_step(FailureType.LINT, "lint"),)
    world = World(policy=a_policy(primary=()), steps=steps, verdicts=[False])
    world.play()
    assert world.state() is RunState.GAVE_UP
    assert "not enough alone" in world.comments[0].body
    world.later(1000)
    assert world.play() == ["ReadFacts"]


def test_colours_of_a_log_do_not_reach_people():
    answer = Answer(Ending.INVALID, "\x1b[31mred\x1b[0m", "\x1b[1;32mgreen\x1b[m")
    world = World(answers={"first": answer})
    world.play()
    assert "[31m" not in world.comments[0].body
    assert "[1;32m" not in world.comments[0].body


def test_green_after_the_push_ends_the_run_and_retires_the_count():
    world = World()
    world.play()
    world.pull, world.checks = a_pull(head=PUSHED), (a_check(state=CheckState.PASSED),)
    assert world.play() == [
        "ReadFacts",
        "Remember",
        "Comment",
        "ShowCard",
        "RetireMarkers",
        "EndPass",
    ]
    assert world.state() is RunState.GREEN
    assert world.cards[-1].conclusion is Conclusion.SUCCESS
    assert world.cards[-1].head == PUSHED
    assert "green again" in world.comments[0].body.splitlines()[0]
    assert "retired attempt=1" in world.comments[0].body


def test_three_rejections_switch_to_the_fallback():
    policy = a_policy(fallback=(BackendName("backend_for_failed_pr", "model-2"),))
    world = World(policy=policy, verdicts=[False, False, False, True])
    for _ in range(4):
        world.play()
        world.later(1000)
    used = [(effect.backend, effect.fallback) for effect in world.made(effects.RunBackend)]
    assert used == [("first", False)] * 3 + [("backend_for_failed_pr", True)]
    assert world.made(effects.RunBackend)[3].announce == (
        "Switched to fallback backend for PR #7 (attempt 3)",
        "Using fallback backend: model-2",
    )
    assert world.wakes == [10.0, 20.0, 40.0]
    assert [one.number for one in world.run.attempts] == [1, 2, 3, 4]
    assert len({one.trigger for one in world.run.attempts}) == 4
    assert world.state() is RunState.WAITING_CI


def test_without_a_fallback_three_attempts_per_step_are_the_end():
    diffs = [DIFF.replace("+x = 2", f"+x = {number}") for number in range(5)]
    world = World(diffs=diffs, verdicts=[False] * 5)
    for _ in range(5):
        world.play()
        world.later(1000)
    assert len(world.made(effects.RunBackend)) == 3
    assert world.state() is RunState.GAVE_UP
    assert world.cards[-1].conclusion is Conclusion.ACTION_REQUIRED
    assert "tried 3 times" in world.run.reason


def test_the_same_diff_three_times_is_no_progress():
    world = World(verdicts=[False] * 9)
    for _ in range(9):
        world.play()
        world.later(1000)
    assert len(world.run.attempts) == 3
    assert world.state() is RunState.BLOCKED
    assert world.run.reason == "the same change was proposed 3 times"


def test_a_second_event_for_the_same_head_does_not_count_again():
    world = World(verdicts=[False] * 3)
    world.play()
    assert world.play() == ["ReadFacts", "EndPass"]  # it waits for its backoff
    assert len(world.run.attempts) == 1


def test_an_earlier_count_in_the_comments_leads_straight_to_the_fallback():
    policy = a_policy(fallback=(BackendName("backend_for_failed_pr", "model-2"),))
    world = World(policy=policy, verdicts=[False] * 3)
    for _ in range(3):
        world.play()
        world.later(1000)
    fresh = World(policy=policy, comments=world.comments)
    fresh.play()
    assert fresh.made(effects.RunBackend)[0].fallback
    fewer = World(policy=policy, comments=world.comments[:2])
    fewer.play()
    assert not fewer.made(effects.RunBackend)[0].fallback


@pytest.mark.parametrize(
    "kind", [FailureType.TRANSIENT, FailureType.INFRA, FailureType.RATE_LIMIT, FailureType.UNKNOWN]
)
def test_what_code_did_not_cause_is_run_again(kind):
    world = World(steps=(a_step(kind),))
    assert world.play()[:3] == ["ReadFacts", "ReadFailures", "Rerun"]
    assert world.made(effects.RunBackend) == []
    assert world.state() is RunState.WAITING_CI
    assert "<!-- regreen notice" in world.comments[0].body


def test_re_runs_end_after_the_table_s_number_and_share_one_comment():
    world = World(steps=(a_step(FailureType.INFRA),))
    for _ in range(4):
        world.play()
        world.later(1000)
    assert len(world.made(effects.Rerun)) == 2
    assert world.state() is RunState.WAITING_PERSON
    assert len(world.comments) == 1


def test_a_person_may_have_the_jobs_run_again_when_their_number_is_used_up():
    world = World(steps=(a_step(FailureType.INFRA),))
    for _ in range(3):
        world.play()
        world.later(1000)
    assert world.state() is RunState.WAITING_PERSON
    world.play(Wish.FIX)
    assert len(world.made(effects.Rerun)) == 3
    assert world.state() is RunState.WAITING_CI


def test_an_unknown_failure_becomes_a_patch_when_running_it_again_did_not_help():
    world = World(steps=(a_step(FailureType.UNKNOWN),))
    for _ in range(3):
        world.play()
    assert len(world.made(effects.Rerun)) == 2
    assert len(world.made(effects.Push)) == 1


def test_a_re_run_waits_as_long_as_the_log_asked():
    world = World(steps=(a_step(FailureType.RATE_LIMIT, retry_after_s=120.0),))
    world.play()
    assert world.made(effects.Rerun) == []
    assert world.wakes == [120.0]
    world.later(30)
    world.play()
    assert world.made(effects.Rerun) == []
    world.later(91)
    world.play()
    assert len(world.made(effects.Rerun)) == 1


def test_a_status_of_another_system_cannot_be_run_again_from_here():
    step = a_step(FailureType.TRANSIENT, source=CheckKind.STATUS)
    world = World(steps=(step,))
    world.play()
    assert world.state() is RunState.WAITING_PERSON


def test_a_policy_that_names_no_file_is_a_person_s():
    world = World(steps=(a_step(FailureType.POLICY),))
    world.play()
    assert world.made(effects.RunBackend) == []
    assert world.state() is RunState.WAITING_PERSON
    assert world.cards[-1].conclusion is Conclusion.ACTION_REQUIRED


def test_a_leaked_secret_is_stopped_and_not_shown():
    key = "AKIA" + "Q3EGRVXNKWYZ4T7P"
    leak = DIFF.replace("+x = 2", f'+aws_access_key_id = "{key}"')
    world = World(diffs=[leak])
    world.play()
    assert world.made(effects.Verify) == []
    assert world.made(effects.Push) == []
    assert world.state() is RunState.WAITING_PERSON
    assert world.run.attempts[-1].result is Result.ESCALATED
    assert key not in world.comments[0].body + repr(world.run) + repr(world.cards)


def test_what_a_backend_complains_of_is_stored_without_secrets():
    key = "AKIA" + "Q3EGRVXNKWYZ4T7P"
    world = World(answers={"first": Answer(Ending.AUTH, f"said {key}", f"refused {key}")})
    world.play()
    assert key not in repr(world.run) + world.comments[0].body
    assert "refused" in world.comments[0].body


def test_an_answer_that_is_no_patch_fails_the_attempt_with_its_reason():
    world = World(answers={"first": Answer(Ending.INVALID, detail="the answer holds no patch")})
    world.play()
    assert world.run.attempts[-1].result is Result.REJECTED
    assert "the answer holds no patch" in world.comments[0].body
    assert world.state() is RunState.WAITING_DELAY


def test_an_outage_of_every_backend_waits_and_does_not_count():
    down = Answer(Ending.UNAVAILABLE, detail="503")
    world = World(answers={"first": [down, down, Answer(Ending.EDITED)]})
    for _ in range(3):
        world.play()
        world.later(61)
    assert [one.number for one in world.run.attempts] == [1]
    assert world.run.attempts[0].result is Result.PATCH_APPLIED
    assert len(world.comments) == 1


@pytest.mark.parametrize("phase", ["RunBackend", "Verify", "BuildCommit", "Push"])
def test_a_new_head_supersedes_the_run_at_every_step(phase):
    world = World(outcomes={getattr(effects, phase): effects.Superseded("a new head was pushed")})
    world.play()
    assert world.state() is RunState.SUPERSEDED
    assert world.run.attempts[-1].result is Result.SUPERSEDED
    assert world.cards[-1].conclusion is Conclusion.NEUTRAL
    assert "superseded" in world.comments[0].body


def test_a_new_head_between_passes_ends_the_run_and_the_next_pass_begins_another():
    world = World(verdicts=[False])
    world.play()
    first = world.run
    world.pull = a_pull(head=OTHER)
    world.play()
    assert (world.run.id, world.state()) == (first.id, RunState.SUPERSEDED)
    assert world.wakes[-1] == 0.0
    world.play()
    assert world.run.id != first.id
    assert world.run.attempts[0].head == OTHER


def test_a_stale_reading_after_our_push_is_no_new_head():
    world = World()
    world.play()
    assert world.play() == ["ReadFacts", "EndPass"]  # GitHub still shows the old head
    assert world.state() is RunState.WAITING_CI
    assert world.wakes == [5.0]


def test_somebody_who_forces_the_old_head_back_is_respected():
    world = World()
    world.play()
    world.generation += 1  # their push was heard of
    world.play()
    assert world.state() is RunState.SUPERSEDED


def test_a_closed_pull_request_ends_the_run():
    world = World(verdicts=[False])
    world.play()
    world.pull = a_pull(open=False)
    world.play()
    assert world.state() is RunState.CLOSED
    assert world.run.reason == "the pull request is closed"


def test_nothing_is_done_while_checks_are_running():
    world = World(checks=(a_check(), a_check("slow", CheckState.PENDING)))
    assert world.play() == ["ReadFacts", "EndPass"]
    assert world.state() is RunState.WAITING_CI
    assert world.comments == []


def test_a_red_check_is_remembered_until_the_last_one_ends_green():
    """The last check may pass: without a run its success would be no news to anybody."""
    world = World(checks=(a_check(), a_check("slow", CheckState.PENDING)))
    world.play()
    assert not world.run.ended
    world.checks = (a_check(), a_check("slow", CheckState.PASSED))
    assert world.play() == MEND


def test_a_person_s_word_does_not_wait_for_a_check_that_never_ends():
    world = World(checks=(a_check(), a_check("hangs", CheckState.PENDING)))
    world.play()
    assert world.play(Wish.FIX) == MEND


@pytest.mark.parametrize("pull", [a_pull(), a_pull(head_repo="stranger/shop")], ids=["own", "fork"])
def test_what_was_asked_while_checks_ran_is_done_when_they_have_ended(pull):
    world = World(pull=pull, policy=a_policy(autofix=False))
    world.checks = (a_check(state=CheckState.PENDING),)
    world.play(Wish.FIX)
    world.checks = (a_check(),)
    world.play()
    assert len(world.made(effects.RunBackend)) == 1


def test_a_fork_that_was_pushed_to_after_the_word_waits_for_another():
    world = World(pull=a_pull(head_repo="stranger/shop"))
    world.play()
    world.pull = a_pull(head_repo="stranger/shop", head=OTHER)
    for _ in range(3):
        world.play(Wish.FIX, asked_at=HEAD)
        world.play()
    assert world.made(effects.ReadFailures) == []
    assert world.state() is RunState.WAITING_PERSON


@pytest.mark.parametrize("why", ["nothing", "success"])
def test_a_cancelled_check_is_not_green(why):
    others = () if why == "nothing" else (a_check("lint", CheckState.PASSED),)
    world = World()
    world.play()
    world.pull = a_pull(head=PUSHED)
    world.checks = (a_check(state=CheckState.CANCELLED), *others)
    assert world.play() == ["ReadFacts", "EndPass"]
    assert world.state() is RunState.WAITING_CI
    world.checks = (*world.checks, a_check(state=CheckState.PASSED))  # another run of the same job
    world.play()
    assert world.state() is RunState.GREEN


def test_a_pushed_commit_that_no_check_looks_at_is_shown_to_a_person():
    world = World()
    world.play()
    world.pull, world.checks = a_pull(head=PUSHED), ()
    world.later(900)
    world.play()
    assert world.state() is RunState.WAITING_CI
    world.later(1000)
    world.play()
    assert world.state() is RunState.WAITING_PERSON
    assert "no check has begun" in world.comments[-1].body


def test_green_resets_the_count_whoever_made_it_green():
    world = World(verdicts=[False] * 9)
    for _ in range(4):
        world.play()
        world.later(1000)
    assert world.run.ended
    world.pull, world.checks = a_pull(head=OTHER), (a_check(state=CheckState.PASSED),)
    assert world.play() == ["ReadFacts", "RetireMarkers"]
    assert all("retired" in one.body for one in world.comments if "attempt=" in one.body)
    assert world.play() == ["ReadFacts"]


def test_a_reset_is_not_undone_by_what_is_said_later():
    world = World()
    world.play()
    world.play(Wish.RESET)
    world.pull, world.steps = a_pull(head=PUSHED), (a_step(FailureType.SECURITY),)
    world.play()
    assert world.state() is RunState.WAITING_PERSON
    assert "retired attempt=1" in world.comments[0].body


def test_a_re_run_that_is_refused_asks_a_person_and_claims_nothing():
    refused = effects.Refused("the run is older than 30 days")
    world = World(steps=(a_step(FailureType.INFRA),), outcomes={effects.Rerun: refused})
    world.play()
    assert world.state() is RunState.WAITING_PERSON
    assert "older than 30 days" in world.comments[0].body
    assert "ran the failed jobs again" not in world.comments[0].body


def test_a_run_that_a_person_asked_for_goes_on_where_autofix_is_off():
    world = World(policy=a_policy(autofix=False), verdicts=[False, True])
    world.play(Wish.FIX)
    assert world.state() is RunState.WAITING_DELAY
    world.later(11)
    world.play()
    assert world.state() is RunState.WAITING_CI
    assert len(world.made(effects.Push)) == 1


def test_somebody_who_forces_the_old_head_back_unheard_is_respected():
    """The fence knows that head already, so it does not rise again."""
    world = World()
    world.play()
    world.later(61)
    world.play()
    assert world.state() is RunState.SUPERSEDED
    world.play()
    assert world.run.attempts[0].head == HEAD


@pytest.mark.parametrize("wish", [Wish.STOP, Wish.RESET])
def test_a_wish_is_heard_though_a_new_head_has_come(wish):
    world = World(verdicts=[False] * 3)
    world.play()
    world.pull = a_pull(head=OTHER)
    world.play(wish, "mona asked")
    if wish is Wish.STOP:
        assert (world.state(), world.run.head) == (RunState.STOPPED, OTHER)
        assert world.play() == ["ReadFacts"]
    else:
        assert "retired attempt=1" in world.comments[0].body


def test_a_green_pull_request_without_a_run_is_left_alone():
    world = World(checks=(a_check(state=CheckState.PASSED),))
    assert world.play() == ["ReadFacts"]


def test_a_fork_waits_for_a_writer_and_gets_a_patch_instead_of_a_push():
    world = World(pull=a_pull(head_repo="stranger/shop"))
    assert "ReadFailures" not in world.play()
    assert world.made(effects.RunBackend) == []
    assert world.state() is RunState.WAITING_PERSON
    world.play(Wish.FIX, "octo asked")
    assert world.made(effects.Push) == []
    assert world.made(effects.BuildCommit) == []
    assert "git apply" in world.comments[-1].body
    assert world.run.attempts[-1].result is Result.PATCH_POSTED


@pytest.mark.parametrize(
    ("changes", "trusted"),
    [({}, True), ({"head_repo": "stranger/shop"}, False), ({"head_repo": ""}, False)],
)
def test_only_the_repository_s_own_branches_are_trusted_ground(changes, trusted):
    """Who may push to them may write to the repository; a deleted fork is a fork."""
    world = World(pull=a_pull(**changes))
    world.play()
    world.play(Wish.FIX, "octo asked")
    assert {one.trusted for one in world.made(effects.Verify)} == {trusted}


def test_stop_holds_until_somebody_asks_again():
    world = World(verdicts=[False])
    world.play()
    world.play(Wish.STOP, "mona asked")
    assert world.state() is RunState.STOPPED
    world.later(1000)
    assert world.play() == ["ReadFacts"]
    world.play(Wish.FIX)
    assert world.state() is RunState.WAITING_CI


def test_stop_before_any_run_keeps_the_head_untouched():
    world = World()
    world.play(Wish.STOP, "mona asked")
    assert world.play() == ["ReadFacts"]
    assert world.made(effects.RunBackend) == []


@pytest.mark.parametrize("open_", [True, False])
def test_a_stop_leaves_a_run_of_its_generation(open_):
    world = World(pull=a_pull(open=open_), generation=4)
    world.play(Wish.STOP, "mona asked")
    assert (world.state(), world.run.generation) == (RunState.STOPPED, 4)


def test_reset_forgives_the_attempts_and_retires_their_markers():
    world = World(verdicts=[False] * 6)
    for _ in range(2):
        world.play()
        world.later(1000)
    world.play(Wish.RESET)
    assert all("retired" in one.body for one in world.comments)
    world.play()
    assert world.run.attempts[-1].number == 1


def test_autofix_off_acts_only_when_asked():
    world = World(policy=a_policy(autofix=False))
    assert world.play() == ["ReadFacts"]
    world.play(Wish.FIX)
    assert world.state() is RunState.WAITING_CI


def test_a_broken_repository_config_asks_a_person_and_names_the_line():
    world = World(config="[commands]\ntest = 3\n")
    world.play()
    assert world.state() is RunState.WAITING_PERSON
    assert ".github/regreen.toml" in world.comments[0].body
    assert world.made(effects.RunBackend) == []


def test_a_refused_push_asks_a_person():
    world = World(outcomes={effects.Push: effects.Refused("the branch is protected")})
    world.play()
    assert world.state() is RunState.WAITING_PERSON
    assert "the branch is protected" in world.comments[0].body


KINDS = st.sampled_from(list(FailureType))
ENDINGS = st.sampled_from(list(Ending))


@given(
    kinds=st.lists(KINDS, min_size=1, max_size=3),
    endings=st.lists(ENDINGS, max_size=8),
    verdicts=st.lists(st.booleans(), max_size=8),
    wishes=st.lists(st.sampled_from(list(Wish)), min_size=1, max_size=8),
    moves=st.lists(st.integers(0, 3), max_size=8),
)
def test_every_pass_ends_and_attempts_stay_within_their_limit(
    kinds, endings, verdicts, wishes, moves
):
    steps = tuple(a_step(kind, f"job-{at}") for at, kind in enumerate(kinds))
    world = World(
        steps=steps,
        checks=tuple(step.check for step in steps),
        answers={"first": [Answer(ending) for ending in endings] + [Answer(Ending.EDITED)] * 40},
        verdicts=list(verdicts),
    )
    ended = {}
    for at, wish in enumerate(wishes):
        if at < len(moves) and moves[at] == 0:
            world.pull = a_pull(head=Sha(f"{at:040x}"))
        before = world.newest
        assert len(world.play(wish)) < 40
        world.now += timedelta(seconds=700)
        if world.newest is not None and before is not None and before.id == world.run.id:
            unasked = wish is not Wish.FIX
            assert not (unasked and before.state in FINAL) or world.state() in FINAL
        if world.newest is not None:
            ended[world.run.id] = world.run
    for run in ended.values():
        asked = sum(wish is Wish.FIX for wish in wishes)
        assert len(run.attempts[run.since :]) <= world.policy.retry.total_attempts + asked
