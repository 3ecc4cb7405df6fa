"""How a change is proved: in a preflight, by reviewers, by the repository's own checks."""

from datetime import timedelta

import pytest

from bot.config.schema import (
    BackendName,
    GatekeeperPolicy,
    QaPolicy,
    ReviewMode,
    ReviewPolicy,
    Verify,
)
from bot.domain import effects
from bot.domain.answers import Answer, Ending
from bot.domain.runs import Result, RunState, Wish
from bot.domain.values import (
    CheckState,
    CommandResult,
    FailureType,
    Purpose,
    ReviewFinding,
    Stage,
    Verification,
)
from bot.repair import scratch
from tests.support.stories import DIFF, HEAD, PUSHED, World, a_check, a_policy, a_pull, a_step

ANN, BEN, CAT = (BackendName(name, "") for name in ("ann", "ben", "cat"))
YES = Answer(Ending.NO_CHANGE, "VERDICT: yes\nfine")
NO = Answer(
    Ending.NO_CHANGE,
    "VERDICT: no\n- [high] src/app.py: it answers the test, not the question\n- low: a name",
)
DUMB = Answer(Ending.INVALID, "well…", detail="no verdict")
OTHER = DIFF.replace("+x = 2", "+x = 3")
BRANCH = "regreen/verify/7-1"


# --- the review drain ---------------------------------------------------------------------------


def reviewed(mode: ReviewMode, *answers: Answer, **changes) -> World:
    names = (ANN, BEN, CAT)[: len(answers)]
    policy = a_policy(reviewers=names, review=ReviewPolicy(mode=mode), **changes)
    opinions = {one.name: answer for one, answer in zip(names, answers, strict=True)}
    return World(policy=policy, opinions=opinions)


def test_reviewers_see_the_proved_change_and_their_word_stands_in_report_and_artifact():
    world = reviewed(ReviewMode.ADVISORY, NO, YES)
    names = world.play()
    assert names[5:8] == ["Verify", "Consult", "Record"]
    (asked,) = world.made(effects.Consult)
    assert (asked.question.purpose, asked.onto) == (Purpose.REVIEW, DIFF)
    assert (asked.backends, asked.question.diff) == (("ann", "ben"), DIFF)
    review = world.made(effects.Record)[0].verification.review
    assert (review.approved, review.skipped, review.mode) == (True, False, "advisory")
    assert review.engines == ("ann", "ben")
    assert review.findings == (
        ReviewFinding("high", "it answers the test, not the question", "src/app.py"),
        ReviewFinding("low", "a name"),
    )
    assert world.run.attempts[0].result is Result.PATCH_APPLIED
    assert "1 of 2 reviewers say no" in world.comments[0].body
    assert "it answers the test" in world.comments[0].body
    pushed = world.made(effects.Record)[-1].verification
    assert (pushed.merge_commit, pushed.review, pushed.at) == (PUSHED, review, world.now)


@pytest.mark.parametrize(
    ("mode", "answers", "result"),
    [
        (ReviewMode.ADVISORY, (NO, NO, NO), Result.PATCH_APPLIED),
        (ReviewMode.ADVISORY, (DUMB,), Result.PATCH_APPLIED),
        (ReviewMode.CONSENSUS, (NO, YES, YES), Result.PATCH_APPLIED),
        (ReviewMode.CONSENSUS, (NO, YES), Result.PATCH_APPLIED),
        (ReviewMode.CONSENSUS, (NO, NO, YES), Result.REJECTED),
        (ReviewMode.CONSENSUS, (NO, DUMB), Result.REJECTED),
        (ReviewMode.CONSENSUS, (DUMB, DUMB), Result.ESCALATED),
        (ReviewMode.GATE, (YES, YES), Result.PATCH_APPLIED),
        (ReviewMode.GATE, (YES, DUMB), Result.PATCH_APPLIED),
        (ReviewMode.GATE, (YES, YES, NO), Result.REJECTED),
        (ReviewMode.GATE, (DUMB,), Result.ESCALATED),
    ],
)
def test_what_each_mode_decides(mode, answers, result):
    world = reviewed(mode, *answers)
    world.play()
    assert world.run.attempts[0].result is result
    assert bool(world.made(effects.Push)) is (result is Result.PATCH_APPLIED)
    held = result is Result.ESCALATED
    assert (world.run.gate.types if world.run.gate else ()) == (("review",) if held else ())


def test_a_no_tells_the_next_attempt_and_a_qa_pass_why():
    world = reviewed(ReviewMode.GATE, NO, qa=QaPolicy(enabled=True, max_iterations=1))
    world.diffs = [DIFF, OTHER]
    world.play()
    again = world.made(effects.RunBackend)[1]
    assert again.task.again
    assert "it answers the test, not the question" in again.task.feedback


@pytest.mark.parametrize(
    ("platform", "config", "mode"),
    [
        (ReviewMode.ADVISORY, "[review]\nmode = 'gate'", "gate"),
        (ReviewMode.GATE, "[review]\nmode = 'off'", "gate"),
        (ReviewMode.OFF, "[review]\nmode = 'consensus'", "consensus"),
    ],
)
def test_a_repository_may_ask_for_more_never_for_less(platform, config, mode):
    world = reviewed(platform, YES)
    world.config = "[commands]\ntest = 'pytest -q'\n" + config
    world.play()
    assert world.made(effects.Record)[0].verification.review.mode == mode


@pytest.mark.parametrize("mode", [ReviewMode.OFF, ReviewMode.GATE])
def test_without_reviewers_or_switched_off_nobody_is_asked(mode):
    reviewers = (ANN,) if mode is ReviewMode.OFF else ()
    world = World(policy=a_policy(reviewers=reviewers, review=ReviewPolicy(mode=mode)))
    world.play()
    assert world.made(effects.Consult) == []
    assert len(world.made(effects.Push)) == 1


def test_the_analysis_still_follows_the_review():
    world = reviewed(ReviewMode.GATE, YES, analysts=(CAT,))
    world.opinions["cat"] = YES
    world.play()
    purposes = [one.question.purpose for one in world.made(effects.Consult)]
    assert purposes == [Purpose.REVIEW, Purpose.ANALYSIS]
    assert len(world.made(effects.Push)) == 1


# --- the preflight ------------------------------------------------------------------------------


class Early(World):
    """A world in which the first change fails its preflight."""

    def backend(self, effect: effects.RunBackend) -> effects.Outcome:
        ended = super().backend(effect)
        assert isinstance(ended, effects.BackendEnded)
        if not effect.preflight or self.verdicts:
            return ended
        self.verdicts = [True]
        failed = CommandResult(
            name="test",
            command="pytest -q",
            exit_code=1,
            passed=False,
            allow_fail=False,
            seconds=0.5,
            output="1 failed early",
        )
        verdict = Verification(
            approved=False, reason="it failed early", results=(failed,), stage=Stage.PREFLIGHT
        )
        return effects.BackendEnded(ended.answer, ended.diff, ended.at, verdict)


def test_a_change_that_fails_its_preflight_costs_no_verification():
    policy = a_policy(
        gatekeeper=GatekeeperPolicy(preflight=True), qa=QaPolicy(enabled=True, max_iterations=1)
    )
    world = Early(policy=policy, diffs=[DIFF, OTHER])
    names = world.play()
    assert names[3:7] == ["ChooseBackend", "RunBackend", "RunBackend", "Verify"]
    first, second = world.made(effects.RunBackend)
    assert [one.run for one in first.preflight] == ["pytest -q"]
    assert "1 failed early" in second.task.feedback
    assert world.run.attempts[0].result is Result.PATCH_APPLIED


def test_what_an_earlier_change_failed_is_not_said_of_the_one_that_the_checks_judge():
    policy = a_policy(
        gatekeeper=GatekeeperPolicy(preflight=True, verify=Verify.CI),
        qa=QaPolicy(enabled=True, max_iterations=1),
        reviewers=(ANN,),
        review=ReviewPolicy(mode=ReviewMode.GATE),
    )
    world = Early(policy=policy, diffs=[DIFF, OTHER], opinions={"ann": YES})
    world.play()
    assert world.state() is RunState.WAITING_PROOF
    proof = world.run.attempts[0].verification
    assert proof is not None
    assert (proof.approved, proof.stage, proof.results) == (True, Stage.GATEKEEPER, ())


def test_without_the_setting_there_is_none():
    world = World()
    world.play()
    assert world.made(effects.RunBackend)[0].preflight == ()


# --- the repository's own checks ----------------------------------------------------------------


def by_ci(verify: Verify = Verify.CI, **changes) -> World:
    limits = GatekeeperPolicy(verify=verify, ci_start_s=120, ci_wait_s=600, ci_look_s=60)
    return World(policy=a_policy(gatekeeper=limits), **changes)


def look(world: World, *states: tuple[str, CheckState], after_s: float = 60.0) -> list[str]:
    """Look at the checks on the scratch branch after a while."""
    world.later(after_s)
    world.tried = tuple(a_check(name, state) for name, state in states)
    return world.play()


OFFER = [
    "ReadFacts",
    "ReadFailures",
    "Comment",
    "ChooseBackend",
    "RunBackend",
    "BuildCommit",
    "OfferScratch",
]
REPORT = ["Comment", "ShowCard"]
GOES_OUT = ["BuildCommit", "SaveRun", "Push", "ShowCard", "Record", *REPORT]
GREEN, RED, RUNNING = CheckState.PASSED, CheckState.FAILED, CheckState.PENDING
CANCELLED = CheckState.CANCELLED


def test_the_branch_moves_only_when_the_repository_s_checks_are_green_on_another():
    world = by_ci()
    assert world.play() == [*OFFER, *REPORT, "EndPass"]
    assert (world.state(), world.wakes) == (RunState.WAITING_PROOF, [60.0])
    (offered,) = world.made(effects.OfferScratch)
    assert world.run.scratch is not None
    assert (offered.branch, world.run.scratch.branch) == (BRANCH, BRANCH)
    tried = world.made(effects.BuildCommit)[0]
    assert (tried.parent, tried.diff) == (HEAD, DIFF)
    assert f"Regreen-Verify: {BRANCH}" in tried.message
    assert world.cards[-1].conclusion is None
    assert BRANCH in world.comments[0].body

    assert look(world, ("test", RUNNING)) == ["ReadFacts", "ReadProof", "EndPass"]
    assert look(world, ("test", GREEN), ("lint", GREEN)) == [
        *("ReadFacts", "ReadProof", "Record"),
        *GOES_OUT,
        *("DropScratch", "EndPass"),
    ]
    assert world.made(effects.DropScratch) == [effects.DropScratch(world.run.pull, BRANCH)]
    attempt = world.run.attempts[0]
    assert (attempt.result, attempt.commit) == (Result.PATCH_APPLIED, PUSHED)
    assert "Regreen-Verify" not in world.made(effects.BuildCommit)[1].message
    first, last = (one.verification for one in world.made(effects.Record))
    assert (first.stage, first.approved, last.merge_commit) == (Stage.CI, True, PUSHED)
    assert [one.name for one in first.results] == ["test", "lint"]
    assert "**CI** on a scratch branch: `test`, `lint` passed" in world.comments[0].body


def test_both_proves_in_the_sandbox_first_and_a_no_there_is_enough():
    world = by_ci(Verify.BOTH, verdicts=[False, True])
    assert "OfferScratch" not in world.play()
    world.later(3_600)
    assert world.play()[-5:] == ["BuildCommit", "OfferScratch", *REPORT, "EndPass"]
    assert world.made(effects.OfferScratch)[0].branch == "regreen/verify/7-2"


def test_a_check_that_fails_there_rejects_the_change_at_once():
    world = by_ci()
    world.play()
    names = look(world, ("test", RED), ("slow", RUNNING))
    assert names == ["ReadFacts", "ReadProof", "Record", *REPORT, "DropScratch", "EndPass"]
    attempt = world.run.attempts[0]
    assert (attempt.result, world.state()) == (Result.REJECTED, RunState.WAITING_DELAY)
    assert attempt.reason == "the repository's own checks fail on the change: `test`"
    assert world.made(effects.Push) == []


def test_what_is_red_on_the_base_branch_counts_for_nothing():
    world = by_ci(upstream=("docs",))
    world.play()
    assert "Push" in look(world, ("test", GREEN), ("docs", RED))


@pytest.mark.parametrize(
    ("states", "says"),
    [
        ((), "no check ran on regreen/verify/7-1"),
        ((("lint", GREEN),), "could judge `test`"),
        ((("test", CheckState.NEUTRAL),), "could judge `test`"),
        ((("test", CANCELLED), ("lint", GREEN)), "cancelled on regreen/verify/7-1"),
        ((("test", CANCELLED), ("lint", CANCELLED)), "no verdict: `test`, `lint`"),
        ((("test", GREEN), ("lint", CANCELLED)), "no verdict: `lint`"),
    ],
)
@pytest.mark.parametrize("verify", [Verify.CI, Verify.BOTH])
def test_where_no_check_judges_it_a_person_does_or_the_sandbox_did(verify, states, says):
    world = by_ci(verify)
    world.play()
    assert look(world, *states)[-1] == "EndPass"
    assert world.state() is RunState.WAITING_PROOF
    names = look(world, *states, after_s=60.5)
    if CANCELLED in dict(states).values():  # it has its time to begin anew
        assert (names[-1], world.wakes) == ("EndPass", [60.0] * 3)
        names = look(world, *states, after_s=60.5)
    assert "DropScratch" in names
    attempt = world.run.attempts[0]
    if verify is Verify.CI:
        assert (attempt.result, world.state()) == (Result.ESCALATED, RunState.WAITING_PERSON)
        assert says in attempt.reason
    else:
        assert attempt.result is Result.PATCH_APPLIED
        assert attempt.ci is not None
        assert says in attempt.ci.reason
        assert "the proof in the sandbox decides" in world.comments[0].body
    assert any(says in one for one in attempt.notices)


def test_what_is_cancelled_late_is_looked_at_again_and_may_begin_anew():
    world = by_ci()
    world.play()
    look(world, ("test", RUNNING), after_s=300)
    look(world, ("test", CANCELLED))
    assert (world.state(), world.wakes[-1]) == (RunState.WAITING_PROOF, 60.0)
    look(world, ("test", RUNNING))
    look(world, ("test", CANCELLED))
    assert world.state() is RunState.WAITING_PROOF
    assert "Push" in look(world, ("test", CANCELLED), ("test", GREEN))


@pytest.mark.parametrize("own", [(a_check(state=CANCELLED),), ()], ids=["cancelled", "none"])
def test_the_wait_survives_checks_that_say_nothing_on_the_pull_request_itself(own):
    world = by_ci()
    world.play()
    world.checks = own
    assert look(world, ("test", RUNNING))[1:] == ["ReadProof", "EndPass"]
    assert (world.state(), world.wakes) == (RunState.WAITING_PROOF, [60.0, 60.0])


def test_checks_that_never_end_are_waited_for_within_a_limit():
    world = by_ci()
    world.play()
    look(world, ("test", RUNNING), after_s=599)
    assert world.state() is RunState.WAITING_PROOF
    look(world, ("test", RUNNING), after_s=2)
    assert world.state() is RunState.WAITING_PERSON
    assert "have not ended in 600 s" in world.run.reason


def test_a_look_between_two_brings_no_third():
    """Each webhook brings a look; were each to bring another one, they would never end."""
    world = by_ci()
    world.play()
    for _ in range(5):
        look(world, ("test", RUNNING), after_s=1)
    assert world.wakes == [60.0]
    look(world, ("test", RUNNING), after_s=60)
    assert world.wakes == [60.0, 60.0]


@pytest.mark.parametrize(
    ("change", "wish"),
    [
        pytest.param({}, Wish.STOP, id="stopped"),
        pytest.param({"pull": a_pull(open=False)}, Wish.LOOK, id="closed"),
        pytest.param({"pull": None}, Wish.LOOK, id="gone"),
        pytest.param({"checks": (a_check(state=GREEN),)}, Wish.LOOK, id="green"),
        pytest.param({"pull": a_pull(head="d" * 40)}, Wish.LOOK, id="another head"),
    ],
)
def test_however_the_run_goes_on_the_scratch_branch_goes(change, wish):
    world = by_ci()
    world.play()
    world.later(90)
    for name, value in change.items():
        setattr(world, name, value)
    assert "DropScratch" in world.play(wish, "enough")
    assert world.run.scratch is None
    assert world.made(effects.Push) == []


def test_a_refused_scratch_branch_asks_a_person_and_is_cleaned_up():
    world = by_ci()
    world.outcomes[effects.OfferScratch] = effects.Refused("a rule forbids such branches")
    assert world.play()[-2:] == ["DropScratch", "EndPass"]
    assert (world.state(), world.run.reason) == (
        RunState.WAITING_PERSON,
        "a rule forbids such branches",
    )


def test_a_scratch_branch_that_stays_is_deleted_later_but_not_for_ever():
    world = by_ci()
    world.outcomes[effects.DropScratch] = effects.Refused("a rule forbids it")
    world.play()
    run = world.run
    look(world, ("test", GREEN))
    assert (world.run.attempts[0].result, world.run.scratch) == (Result.PATCH_APPLIED, None)
    limits = world.policy.gatekeeper
    waits = [scratch.drop_again_s(limits, tried) for tried in range(1, 8)]
    assert waits == [60, 360, 2_160, 12_960, 77_760, None, None]
    assert scratch.waits_on(run, BRANCH)
    others = ((world.run, BRANCH), (run, f"{BRANCH}1"), (None, BRANCH))
    assert not any(scratch.waits_on(*one) for one in others)


def test_nothing_of_a_fork_is_pushed_not_even_there():
    world = by_ci(Verify.BOTH, pull=a_pull(head_repo="other/repo"))
    world.play(Wish.FIX, by="owner")
    assert world.made(effects.OfferScratch) == []
    assert world.run.attempts[0].result is Result.PATCH_POSTED


def test_a_gate_is_asked_after_the_checks():
    world = by_ci(steps=(a_step(FailureType.SECURITY),))
    world.play()
    look(world, ("test", GREEN))
    assert world.run.gate is not None
    assert (world.state(), world.run.gate.types) == (RunState.WAITING_PERSON, ("security",))
    assert world.made(effects.Push) == []


def test_with_the_repository_s_checks_no_command_need_be_known():
    world = by_ci(steps=(a_step(),), config="[commands]\n")
    assert world.play() == [*OFFER, *REPORT, "EndPass"]


def test_the_fixers_are_proved_in_the_sandbox_all_the_same():
    world = by_ci(steps=(a_step(FailureType.LINT, "lint"),), checks=(a_check("lint"),))
    names = world.play()
    assert names[3:7] == ["RunBackend", "Verify", "BuildCommit", "OfferScratch"]


def test_a_person_s_word_does_not_begin_a_second_try_meanwhile():
    world = by_ci()
    world.play()
    world.later(5)
    assert world.play(Wish.FIX, by="owner") == ["ReadFacts", "ReadProof", "EndPass"]
    assert len(world.run.attempts) == 1


def test_the_wait_survives_pending_checks_on_the_pull_request_itself():
    world = by_ci()
    world.play()
    world.checks = (a_check(state=RUNNING),)
    assert look(world, ("test", RUNNING))[1] == "ReadProof"
    assert world.state() is RunState.WAITING_PROOF
    assert world.run.wake_at == world.now + timedelta(seconds=60)
