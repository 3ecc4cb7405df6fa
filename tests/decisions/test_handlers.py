"""What is decided about each event, from the facts."""

import pytest

import handlers
from bot.config.schema import ApprovalPolicy
from bot.domain.decisions import (
    Acknowledge,
    Decision,
    Ignore,
    Judge,
    Reset,
    Settle,
    Stop,
    Supersede,
    Tell,
)
from bot.domain.events import (
    ButtonPressed,
    Change,
    ChecksChanged,
    CommandGiven,
    GateAnswered,
    InstallationChanged,
    Pinged,
    PullChanged,
    RetryAsked,
    Swept,
)
from bot.domain.facts import EventFacts, Need
from bot.domain.runs import Attempt, GateState, Plan, Result, RunState, Scratch
from bot.repair import approvals, explain, replies
from handlers import commands
from tests.support.pulls import HEAD, NOW, OTHER, REF, a_comment, a_pull, a_run

RED = ChecksChanged("octo/app", HEAD, "lint", red=True, pull=REF)
GREEN = ChecksChanged("octo/app", HEAD, "lint", red=False, pull=REF)
FAR = ChecksChanged("octo/app", HEAD, "lint", red=True)


def facts(**known):
    return EventFacts(now=NOW, **({"pull": a_pull()} | known))


def an_ask(why):
    return Settle(REF, why, now=True, again=True, head=HEAD, by="ada")


def changed(change, head=HEAD):
    return PullChanged(REF, head, change)


def ignored(event, known):
    verdict = handlers.decide(event, known).verdict
    assert isinstance(verdict, Ignore), verdict
    return verdict.reason


# --- checks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "known"),
    [
        pytest.param(RED, facts(), id="red"),
        pytest.param(RED, facts(pull=a_pull(draft=True)), id="red draft"),
        pytest.param(FAR, facts(pull=a_pull(head_repo="fork/app")), id="red fork"),
        pytest.param(RED, facts(run=a_run(state=RunState.GREEN)), id="red again after green"),
        pytest.param(GREEN, facts(run=a_run(state=RunState.WAITING_CI)), id="what a run waits for"),
        pytest.param(GREEN, facts(run=a_run(state=RunState.GAVE_UP)), id="green after giving up"),
        pytest.param(
            GREEN, facts(run=a_run(state=RunState.GREEN, head=OTHER)), id="green at a new head"
        ),
    ],
)
def test_checks_settle(event, known):
    verdict = handlers.decide(event, known).verdict
    assert isinstance(verdict, Settle)
    assert verdict.pull == REF
    assert not verdict.now
    assert not verdict.again


@pytest.mark.parametrize(
    ("event", "known", "reason"),
    [
        pytest.param(FAR, facts(pull=None), "no pull request", id="nobody's head"),
        pytest.param(RED, facts(pull=a_pull(open=False)), "closed", id="closed"),
        pytest.param(RED, facts(pull=a_pull(head=OTHER)), "head has moved since", id="stale"),
        pytest.param(GREEN, facts(), "not red", id="green and nothing at work"),
        pytest.param(GREEN, facts(run=a_run(state=RunState.GREEN)), "green", id="known green"),
    ],
)
def test_checks_are_ignored(event, known, reason):
    assert reason in ignored(event, known)


def test_a_check_on_the_scratch_branch_is_news_to_the_run_that_waits_for_it():
    scratch = Scratch("regreen/verify/7-1", "diff", commit=OTHER)
    event = ChecksChanged("octo/app", OTHER, "test", red=False, pull=REF)
    run = a_run(state=RunState.WAITING_PROOF, scratch=scratch)
    verdict = handlers.decide(event, facts(run=run)).verdict
    assert verdict == Settle(REF, "test completed on regreen/verify/7-1")
    gone = a_run(state=RunState.WAITING_CI)
    assert "head has moved since" in ignored(event, facts(run=gone))


# --- pull requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "known", "verdict"),
    [
        pytest.param(
            changed(Change.CLOSED),
            facts(pull=a_pull(open=False)),
            Supersede(REF, HEAD, "the pull request was closed", settle=False),
            id="closed",
        ),
        pytest.param(
            changed(Change.CLOSED),
            facts(pull=None),
            Supersede(REF, HEAD, "the pull request was closed", settle=False),
            id="closed and gone",
        ),
        pytest.param(
            changed(Change.PUSHED),
            facts(run=a_run(head=OTHER)),
            Supersede(REF, HEAD, "the pull request has a new head", settle=True),
            id="pushed",
        ),
        pytest.param(
            changed(Change.PUSHED, OTHER),
            facts(),
            Supersede(REF, HEAD, "the pull request has a new head", settle=True),
            id="pushed, and again since: the newest head wins",
        ),
        pytest.param(
            changed(Change.REOPENED),
            facts(),
            Settle(REF, "the pull request was reopened"),
            id="reopened",
        ),
    ],
)
def test_pulls(event, known, verdict):
    assert handlers.decide(event, known) == Decision(verdict)


@pytest.mark.parametrize(
    ("event", "known", "reason"),
    [
        pytest.param(changed(Change.CLOSED), facts(), "reopened since", id="reopened since"),
        pytest.param(
            changed(Change.PUSHED), facts(run=a_run(head=OTHER, intent=HEAD)), "our own", id="ours"
        ),
        pytest.param(
            changed(Change.PUSHED), facts(pull=a_pull(open=False)), "closed", id="pushed to closed"
        ),
        pytest.param(changed(Change.REOPENED), facts(pull=None), "closed", id="reopened and gone"),
        pytest.param(changed(Change.OPENED), facts(), "checks will tell", id="opened"),
    ],
)
def test_pulls_are_ignored(event, known, reason):
    assert reason in ignored(event, known)


# --- commands -----------------------------------------------------------------------------------


def command(words, **known):
    body = f"/regreen {words}"
    event = CommandGiven(REF, 33, "ada", 1, body)
    comment = a_comment(body, id=33, author="ada", author_id=1, mine=False)
    return event, facts(**({"permission": "write", "comment": comment} | known))


def decided(words, **known):
    return handlers.decide(*command(words, **known))


@pytest.mark.parametrize(
    ("words", "verdict", "reaction"),
    [
        ("help", Tell("ada asked: /regreen help"), "+1"),
        ("", Tell("ada asked: /regreen help"), "+1"),
        ("status", Tell("ada asked: /regreen status"), "eyes"),
        ("fix", an_ask("ada asked: /regreen fix"), "rocket"),
        ("FIX please", an_ask("ada asked: /regreen fix"), "rocket"),
        ("retry", an_ask("ada asked: /regreen retry"), "rocket"),
        ("stop", Stop(REF, "ada asked: /regreen stop"), "+1"),
        ("reset", Reset(REF, "ada asked: /regreen reset"), "+1"),
    ],
)
@pytest.mark.parametrize("permission", ["write", "maintain", "admin"])
def test_commands_by_writers(words, verdict, reaction, permission):
    decision = decided(words, permission=permission)
    assert decision.verdict == verdict
    assert decision.acknowledge is not None
    assert decision.acknowledge.reaction == reaction
    assert decision.acknowledge.comment == 33
    assert bool(decision.acknowledge.reply) == isinstance(verdict, Tell)


@pytest.mark.parametrize("permission", ["none", "read", "triage", ""])
@pytest.mark.parametrize("words", ["fix", "help", "nonsense"])
def test_commands_by_others_are_refused_without_a_word(permission, words):
    decision = decided(words, permission=permission)
    assert isinstance(decision.verdict, Ignore)
    assert decision.acknowledge == Acknowledge(REF, 33, "-1")


def test_a_comment_that_was_edited_since_is_refused():
    decision = decided("fix", comment=a_comment("/regreen fix it", mine=False))
    assert decision == Decision(
        Ignore("the comment was edited since"), Acknowledge(REF, 33, "confused")
    )


def test_a_comment_that_is_gone_is_refused_and_there_is_nothing_to_react_to():
    assert decided("fix", comment=None) == Decision(Ignore("the comment was deleted since"))


def test_an_unknown_command_is_answered_with_those_that_exist():
    decision = decided("fx @everyone")
    assert isinstance(decision.verdict, Ignore)
    assert decision.acknowledge is not None
    assert decision.acknowledge.reaction == "confused"
    assert replies.help_text() in decision.acknowledge.reply


@pytest.mark.parametrize("words", ["fix", "retry"])
@pytest.mark.parametrize("pull", [a_pull(open=False), None], ids=["closed", "gone"])
def test_work_needs_an_open_pull_request(words, pull):
    decision = decided(words, pull=pull)
    assert isinstance(decision.verdict, Ignore)
    assert decision.acknowledge is not None
    assert decision.acknowledge.reaction == "confused"
    assert "open pull request" in decision.acknowledge.reply


def test_the_help_tells_of_every_command_and_of_no_other():
    assert set(replies.COMMANDS) == set(commands.COMMANDS)
    assert all(f"`/regreen {word}`" in replies.help_text() for word in commands.COMMANDS)


def test_the_status_says_where_the_run_stands():
    attempt = Attempt(
        number=2,
        trigger="pr-7-aaaaaaaaaaaa",
        head=HEAD,
        started_at=NOW,
        backend="qwen",
        result=Result.REJECTED,
        reason="tests failed, says @everyone",
    )
    run = a_run(state=RunState.WAITING_PERSON, reason="it is a secret", attempts=(attempt,))
    text = replies.status_text(a_pull(head=OTHER), run)
    assert "waiting for a person" in text
    assert "it is a secret" in text
    assert "attempt 2: rejected by `qwen`" in text
    assert "head is now bbbbbbbbbbbb" in text
    assert "@everyone" not in text, "nobody is called"


def test_the_status_of_nothing():
    assert "has not worked" in replies.status_text(a_pull(), None)


def test_every_state_has_its_words():
    assert all(replies.status_text(a_pull(), a_run(state=state)) for state in RunState)


# --- buttons ------------------------------------------------------------------------------------


def pressed(button, **known):
    event = ButtonPressed(REF, HEAD, button, "ada", 1)
    return handlers.decide(event, facts(**({"permission": "write"} | known)))


@pytest.mark.parametrize(
    ("button", "verdict"),
    [
        ("fix", an_ask("ada asked: /regreen fix")),
        ("rerun", an_ask("ada asked: /regreen retry")),
        ("stop", Stop(REF, "ada asked: /regreen stop")),
    ],
)
def test_buttons(button, verdict):
    assert pressed(button) == Decision(verdict)


@pytest.mark.parametrize(
    ("button", "known", "reason"),
    [
        pytest.param("fix", {"permission": "read"}, "may not", id="reader"),
        pytest.param("fix", {"pull": a_pull(head=OTHER)}, "moved", id="old head"),
        pytest.param("fix", {"pull": a_pull(open=False)}, "closed", id="closed"),
        pytest.param("fix", {"pull": None}, "closed", id="gone"),
        pytest.param("dance", {}, "no button", id="unknown"),
    ],
)
def test_buttons_are_ignored(button, known, reason):
    decision = pressed(button, **known)
    assert isinstance(decision.verdict, Ignore)
    assert reason in decision.verdict.reason


# --- answers at a gate --------------------------------------------------------------------------


def held(asked_by="mona", role="write", **changes):
    """Return a run whose change waits at the gate `r1-1` of the head."""
    run = a_run(asked_by=asked_by, state=RunState.WAITING_PERSON, **changes)
    policy = ApprovalPolicy(role=role)
    return approvals.opened(
        run, policy, types=("security",), diff="a diff", reason="it waits", at=NOW
    )


ANSWERED = approvals.ended(held(), GateState.VOID, NOW)


def a_judgement(reason="", *, approved):
    return Judge(REF, approved=approved, reason=reason, head=HEAD, by="ada", gate="r1-1")


YES, NO = a_judgement(approved=True), a_judgement(approved=False)


@pytest.mark.parametrize(
    ("words", "verdict", "reaction"),
    [
        ("approve", YES, "rocket"),
        (f"approve {HEAD}", YES, "rocket"),
        (f"approve {HEAD[:7].upper()} well done", YES, "rocket"),
        ("reject", NO, "+1"),
        (
            "reject it  breaks @mona",
            a_judgement("it  breaks @mona", approved=False),
            "+1",
        ),
    ],
)
def test_an_answer_at_the_gate(words, verdict, reaction):
    decision = decided(words, run=held())
    assert decision.verdict == verdict
    assert decision.acknowledge == Acknowledge(REF, 33, reaction)


REFUSALS = [
    pytest.param("approve", {"run": None}, "no change waits", id="no run"),
    pytest.param("reject", {"run": a_run()}, "no change waits", id="no gate"),
    pytest.param("approve", {"run": ANSWERED}, "no change waits", id="answered before"),
    pytest.param("approve", {"run": held("ada")}, "another person must", id="requester"),
    pytest.param("approve", {"run": held("ADA")}, "another person must", id="requester, shouted"),
    pytest.param("approve", {"run": held(role="admin")}, "takes admin", id="no admin approves"),
    pytest.param("reject", {"run": held(role="admin")}, "takes admin", id="no admin rejects"),
    pytest.param(
        "approve", {"run": held(), "pull": a_pull(head=OTHER)}, "head has moved", id="moved head"
    ),
    pytest.param(f"approve {HEAD[:6]}", {"run": held()}, "not on aaaaaa", id="short sha"),
    pytest.param(f"approve {OTHER}", {"run": held()}, "not on bbbb", id="wrong sha"),
    pytest.param("approve please", {"run": held()}, "not on please", id="no sha"),
]


@pytest.mark.parametrize(("words", "known", "why"), REFUSALS)
def test_an_answer_that_does_not_count_is_told_why(words, known, why):
    decision = decided(words, **known)
    assert isinstance(decision.verdict, Ignore)
    assert why in decision.verdict.reason
    assert decision.acknowledge is not None
    assert decision.acknowledge.reaction == "confused"
    assert "Nothing was approved or rejected" in decision.acknowledge.reply
    assert why in decision.acknowledge.reply


@pytest.mark.parametrize("permission", ["none", "read", "triage"])
@pytest.mark.parametrize("words", ["approve", "reject"])
def test_readers_answer_nothing(words, permission):
    decision = decided(words, run=held(), permission=permission)
    assert isinstance(decision.verdict, Ignore)
    assert decision.acknowledge == Acknowledge(REF, 33, "-1")


@pytest.mark.parametrize("words", ["approve", "reject"])
@pytest.mark.parametrize("pull", [a_pull(open=False), None], ids=["closed", "gone"])
def test_an_answer_needs_an_open_pull_request(words, pull):
    decision = decided(words, run=held(), pull=pull)
    assert decision.verdict == Ignore("the pull request is closed")


FORK = {"pull": a_pull(head_repo="fork/app"), "run": a_run(state=RunState.WAITING_PERSON)}
LET_RUN = Settle(REF, "ada approved this commit", now=True, again=True, head=HEAD, by="ada")


@pytest.mark.parametrize("words", ["approve", f"approve {HEAD[:7]}"])
def test_to_approve_a_fork_is_to_have_it_mended_at_that_commit(words):
    assert decided(words, **FORK).verdict == LET_RUN
    assert pressed("approve", **FORK).verdict == LET_RUN


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        pytest.param(f"approve {OTHER}", {}, id="another commit was meant"),
        pytest.param("approve yes", {}, id="no commit was meant"),
        pytest.param("reject", {}, id="there is nothing to reject"),
        pytest.param("approve", {"run": None}, id="it was not asked"),
        pytest.param("approve", {"run": a_run(state=RunState.STOPPED)}, id="it was stopped"),
        pytest.param("approve", {"pull": a_pull()}, id="no fork"),
    ],
)
def test_a_fork_is_not_approved(words, changes):
    assert isinstance(decided(words, **{**FORK, **changes}).verdict, Ignore)


@pytest.mark.parametrize(("button", "verdict"), [("approve", YES), ("reject", NO)])
def test_the_buttons_of_the_gate(button, verdict):
    assert pressed(button, run=held()) == Decision(verdict)


@pytest.mark.parametrize("button", ["approve", "reject"])
@pytest.mark.parametrize(
    ("known", "why"),
    [
        pytest.param({"run": a_run()}, "no change waits", id="no gate"),
        pytest.param({"run": held(), "permission": "read"}, "may not press", id="reader"),
        pytest.param({"run": held(role="admin")}, "takes admin", id="writer"),
        pytest.param({"run": held(), "pull": a_pull(head=OTHER)}, "moved", id="old head"),
    ],
)
def test_a_button_of_the_gate_that_does_not_count(button, known, why):
    verdict = pressed(button, **known).verdict
    assert isinstance(verdict, Ignore)
    assert why in verdict.reason


def test_who_asked_cannot_press_approve():
    verdict = pressed("approve", run=held("ada")).verdict
    assert isinstance(verdict, Ignore)


# --- our own interface --------------------------------------------------------------------------


def an_answer(*, approved=True, gate="r1-1", sha=HEAD, reason="", **known):
    event = GateAnswered(REF, gate, approved, sha, "ada", reason)
    return handlers.decide(event, facts(**({"permission": "write", "run": held()} | known)))


def test_an_answer_over_the_api():
    assert an_answer() == Decision(YES)
    assert an_answer(approved=False) == Decision(NO)
    reasoned = a_judgement("it is wrong", approved=False)
    assert an_answer(approved=False, reason="it is wrong") == Decision(reasoned)


@pytest.mark.parametrize(
    ("known", "why"),
    [
        pytest.param({"run": None}, "does not wait any more", id="no run"),
        pytest.param({"run": a_run()}, "does not wait any more", id="no gate"),
        pytest.param({"run": ANSWERED}, "does not wait any more", id="answered before"),
        pytest.param({"gate": "r1-2"}, "does not wait any more", id="another gate"),
        pytest.param({"run": held("ada")}, "another person must", id="requester"),
        pytest.param({"permission": "read"}, "takes write", id="reader"),
        pytest.param({"permission": "none"}, "takes write", id="stranger"),
        pytest.param({"run": held(role="admin")}, "takes admin", id="writer"),
        pytest.param({"pull": a_pull(head=OTHER)}, "head has moved", id="moved head"),
        pytest.param({"sha": OTHER}, "not on bbbb", id="another commit"),
        pytest.param({"sha": ""}, "names the commit", id="no commit"),
        pytest.param({"pull": a_pull(open=False)}, "closed", id="closed"),
        pytest.param({"pull": None}, "closed", id="gone"),
    ],
)
def test_an_answer_over_the_api_that_does_not_count(known, why):
    verdict = an_answer(**known).verdict
    assert isinstance(verdict, Ignore)
    assert why in verdict.reason


@pytest.mark.parametrize(
    "known",
    [{"permission": "read"}, {"pull": a_pull(open=False)}, {"gate": "r1-2"}, {"run": a_run()}],
    ids=["reader", "closed", "another gate", "no gate"],
)
def test_a_rejection_over_the_api_that_does_not_count(known):
    assert isinstance(an_answer(approved=False, **known).verdict, Ignore)


def a_retry(**known):
    event = RetryAsked(REF, "r1", "ada")
    run = a_run(state=RunState.GAVE_UP)
    return handlers.decide(event, facts(**({"permission": "write", "run": run} | known)))


def test_another_try_over_the_api():
    assert a_retry() == Decision(an_ask("ada asked: /regreen retry"))


@pytest.mark.parametrize(
    ("known", "why"),
    [
        pytest.param({"permission": "read"}, "may not give commands", id="reader"),
        pytest.param({"permission": "none"}, "may not give commands", id="stranger"),
        pytest.param({"pull": a_pull(open=False)}, "closed", id="closed"),
        pytest.param({"pull": None}, "closed", id="gone"),
        pytest.param({"run": None}, "newer run", id="no run"),
        pytest.param({"run": a_run(id="r2")}, "newer run", id="another run"),
        pytest.param({"pull": a_pull(head=OTHER)}, "head has moved", id="moved head"),
    ],
)
def test_another_try_over_the_api_that_does_not_count(known, why):
    verdict = a_retry(**known).verdict
    assert isinstance(verdict, Ignore)
    assert why in verdict.reason


# --- telling ------------------------------------------------------------------------------------


def test_explain_and_plan_tell_of_the_newest_run():
    run = a_run(plans=(Plan("r1.plan1", NOW, ("mend lint (lint): unused import",)),))
    for words, told in [
        ("explain", explain.explain_markdown(run)),
        ("plan", explain.plan_markdown(run)),
    ]:
        decision = decided(words, run=run)
        assert decision.verdict == Tell(f"ada asked: /regreen {words}")
        assert decision.acknowledge == Acknowledge(REF, 33, "eyes", told)
        assert "mend lint (lint): unused import" in told


@pytest.mark.parametrize("words", ["explain", "plan"])
def test_of_no_run_there_is_nothing_to_tell(words):
    decision = decided(words)
    assert decision.acknowledge is not None
    assert "has not worked on this pull request" in decision.acknowledge.reply


@pytest.mark.parametrize("words", ["explain", "plan", "status", "help"])
def test_telling_needs_no_open_pull_request(words):
    assert isinstance(decided(words, pull=a_pull(open=False), run=a_run()).verdict, Tell)


# --- the rest -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        pytest.param(facts(), Settle(REF, "the sweep found it"), id="open"),
        pytest.param(facts(run=a_run()), Settle(REF, "the sweep found it"), id="at work"),
        pytest.param(
            facts(run=a_run(head=OTHER, intent=HEAD)),
            Settle(REF, "the sweep found it"),
            id="our own push",
        ),
        pytest.param(
            facts(run=a_run(head=OTHER)),
            Supersede(REF, HEAD, "the pull request has a new head", settle=True),
            id="a push that was missed",
        ),
        pytest.param(
            facts(pull=a_pull(open=False), run=a_run()),
            Supersede(REF, HEAD, "the pull request was closed", settle=False),
            id="a close that was missed",
        ),
        pytest.param(
            facts(pull=None, run=a_run()),
            Supersede(REF, HEAD, "the pull request was closed", settle=False),
            id="gone",
        ),
        pytest.param(
            facts(pull=a_pull(open=False), run=a_run(state=RunState.GREEN)),
            Ignore("the pull request is closed"),
            id="closed and done",
        ),
        pytest.param(facts(pull=None), Ignore("the pull request is closed"), id="nothing"),
    ],
)
def test_the_sweep(known, verdict):
    assert handlers.decide(Swept(REF), known) == Decision(verdict)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (InstallationChanged(8, "created", ("octo/app",)), "8: created octo/app; the next sweep"),
        (InstallationChanged(8, "deleted"), "8: deleted; its runs end"),
        (Pinged("Keep it simple."), "Keep it simple."),
    ],
)
def test_what_is_only_noted(event, said):
    assert said in ignored(event, facts(pull=None))


@pytest.mark.parametrize(
    ("event", "needs"),
    [
        (RED, {Need.PULL, Need.RUN}),
        (changed(Change.PUSHED), {Need.PULL, Need.RUN}),
        (command("fix")[0], {Need.PULL, Need.RUN, Need.PERMISSION, Need.COMMENT}),
        (ButtonPressed(REF, HEAD, "fix", "ada", 1), {Need.PULL, Need.RUN, Need.PERMISSION}),
        (
            GateAnswered(REF, "r1-1", approved=True, sha=HEAD, by="ada"),
            {Need.PULL, Need.RUN, Need.PERMISSION},
        ),
        (RetryAsked(REF, "r1", "ada"), {Need.PULL, Need.RUN, Need.PERMISSION}),
        (InstallationChanged(8, "created"), set()),
        (Swept(REF), {Need.PULL, Need.RUN}),
        (Pinged(), set()),
    ],
)
def test_needs(event, needs):
    assert handlers.needs(event) == needs
