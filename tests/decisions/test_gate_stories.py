"""A change that waits for a person: how it comes to the gate, and how it leaves it."""

from datetime import timedelta

import pytest

import handlers
from bot.config.schema import ApprovalPolicy, BackendName, QaPolicy
from bot.domain import effects
from bot.domain.decisions import Ignore, Judge
from bot.domain.events import GateAnswered
from bot.domain.facts import EventFacts
from bot.domain.runs import GateState, Result, RunState, Strategy, Wish
from bot.domain.values import CheckState, Conclusion, FailureType, Location
from tests.support.stories import (
    DIFF,
    HEAD,
    NOON,
    OTHER,
    PULL,
    PUSHED,
    World,
    a_check,
    a_policy,
    a_pull,
    a_step,
)

AUDIT = a_step(FailureType.SECURITY, "audit")
APPROVED = [
    *("ReadFacts", "BuildCommit", "SaveRun", "Push"),
    *("ShowCard", "Record", "Comment", "ShowCard"),
]
DAY_S = 86_400.0
PROTECTED, WORKFLOW = (
    DIFF.replace("app.py", path) for path in ("AGENTS.md", ".github/workflows/ci")
)
OVERSIZED = DIFF.replace("@@ -1 +1 @@", "@@ -1 +1,1601 @@") + "+y = 1\n" * 1600
WEAKENED = """\
diff --git a/tests/test_app.py b/tests/test_app.py
deleted file mode 100644
--- a/tests/test_app.py
+++ /dev/null
@@ -1,2 +0,0 @@
-def test_x():
-    assert x == 1
"""
LINK = """\
diff --git a/link b/link
new file mode 120000
--- /dev/null
+++ b/link
@@ -0,0 +1 @@
+/etc/passwd
\\ No newline at end of file
"""


def a_world(**changes) -> World:
    return World(**{"steps": (AUDIT,), "checks": (a_check("audit"),), **changes})


def held(wish=Wish.LOOK, by="", **changes) -> World:
    """Return a world in which the mend of a finding waits at its gate."""
    world = a_world(**changes)
    world.play(wish, by=by)
    assert world.run.gate is not None, world.run.reason
    return world


def test_a_yes_that_comes_after_a_green_ci_pushes_nothing():
    world = held()
    world.checks = (a_check("audit", state=CheckState.PASSED),)
    world.play(Wish.APPROVE, by="grace")
    assert world.made(effects.Push) == []
    assert (world.state(), world.run.gates[0].state) == (RunState.GREEN, GateState.VOID)


# --- to the gate --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FailureType.SECURITY, FailureType.POLICY])
def test_a_finding_is_mended_and_proved_and_then_held(kind):
    world = a_world(steps=(a_step(kind, "audit", locations=(Location("app.py", 1),)),))
    assert world.play() == [
        "ReadFacts",
        "ReadFailures",
        "Comment",
        "ChooseBackend",
        "RunBackend",
        "Verify",
        "Comment",
        "ShowCard",
        "EndPass",
    ]
    gate = world.run.gate
    assert gate is not None
    assert (gate.types, gate.head, gate.diff) == ((kind.value,), HEAD, DIFF)
    assert (gate.asked_at, gate.asked_by) == (NOON, "")
    assert world.state() is RunState.WAITING_PERSON
    assert world.run.attempts[-1].result is Result.ESCALATED
    assert world.cards[-1].conclusion is Conclusion.ACTION_REQUIRED
    assert world.cards[-1].buttons == ("approve", "reject", "stop")
    assert world.wakes == [DAY_S]
    assert f"`/regreen approve {HEAD[:10]}`" in world.comments[0].body


def test_a_proof_with_fewer_tests_is_held_with_their_names():
    world = World(weakened=("1 test is not collected any more: test_app.py::test_x",))
    world.play()
    assert world.run.gate is not None
    assert world.run.gate.types == ("weakened_tests",)
    assert "not collected any more: test_app.py::test_x" in world.comments[0].body
    assert world.made(effects.Push) == []


@pytest.mark.parametrize(
    ("diff", "gate"),
    [(PROTECTED, "protected_path"), (OVERSIZED, "oversized"), (WEAKENED, "weakened_tests")],
    ids=["protected path", "oversized", "weakened tests"],
)
def test_what_the_guard_objects_to_is_held_once_it_is_proved(diff, gate):
    world = World(diffs=[diff])
    names = world.play()
    assert names.index("Verify") < names.index("ShowCard")
    assert world.made(effects.Push) == []
    assert world.run.gate is not None
    assert world.run.gate.types == (gate,)
    assert world.run.gate.diff == diff
    assert "the guard objects" in world.run.gate.reason


def test_what_is_not_proved_never_comes_to_the_gate():
    world = World(diffs=[OVERSIZED], verdicts=[False])
    world.play()
    assert world.run.gates == ()
    assert world.state() is RunState.WAITING_DELAY


def test_a_finding_whose_mend_the_guard_objects_to_waits_for_both():
    world = held(diffs=[PROTECTED])
    assert world.run.gate is not None
    assert world.run.gate.types == ("security", "protected_path")


def test_another_backend_may_find_a_way_around_a_protected_path():
    chain = (BackendName("first", ""), BackendName("second", ""))
    world = World(policy=a_policy(primary=chain), diffs=[PROTECTED, DIFF])
    world.play()
    assert world.run.gates == ()
    assert len(world.made(effects.Push)) == 1
    assert world.run.attempts[-1].backend == "second"


def test_an_objection_to_a_change_that_was_sent_back_does_not_hold_the_next_one():
    policy = a_policy(qa=QaPolicy(enabled=True))
    world = World(policy=policy, diffs=[WEAKENED, DIFF], verdicts=[False, True])
    world.play()
    assert world.run.gates == ()
    assert world.made(effects.BuildCommit)[0].diff == DIFF


def test_nor_does_it_stand_in_the_reason_of_a_finding_s_gate():
    policy = a_policy(qa=QaPolicy(enabled=True))
    world = held(policy=policy, diffs=[WEAKENED, DIFF], verdicts=[False, True])
    assert world.run.gate is not None
    assert world.run.gate.types == ("security",)
    assert world.run.gate.reason == "the proved change waits for an approval (security)"


@pytest.mark.parametrize("steps", [(AUDIT,), (a_step(),)], ids=["finding", "test"])
@pytest.mark.parametrize(
    "diff",
    [DIFF.replace("+x = 2", '+key = "AKIA' + 'Q3EGRVXNKWYZ4T7P"'), LINK, WORKFLOW],
    ids=["secret", "link", "workflow"],
)
def test_what_nobody_may_let_out_is_a_person_s_without_a_gate(diff, steps):
    world = World(steps=steps, diffs=[diff])
    world.play()
    assert world.made(effects.Verify) == []
    assert world.run.gates == ()
    assert world.state() is RunState.WAITING_PERSON


def test_a_finding_that_no_backend_can_mend_is_a_person_s_without_a_gate():
    world = a_world(policy=a_policy(primary=()))
    world.play()
    assert world.run.gates == ()
    assert world.state() is RunState.WAITING_PERSON
    assert "no patch could be prepared" in world.run.reason


def test_a_fork_s_mend_is_posted_for_nothing_is_pushed():
    world = a_world(pull=a_pull(head_repo="stranger/shop"))
    world.play(Wish.FIX)
    assert world.run.gates == ()
    assert world.run.attempts[-1].result is Result.PATCH_POSTED


# --- yes ----------------------------------------------------------------------------------------


def test_a_yes_pushes_the_held_change_onto_the_head_and_says_who_let_it_out():
    world = held()
    assert world.play(Wish.APPROVE, "looks right", by="hubot") == [*APPROVED, "EndPass"]
    (commit,) = world.made(effects.BuildCommit)
    assert (commit.parent, commit.diff) == (HEAD, DIFF)
    assert commit.message.endswith("Regreen-Attempt: 1\nRegreen-Approved-By: hubot\n")
    (push,) = world.made(effects.Push)
    assert (push.commit, push.lease, push.branch) == (PUSHED, HEAD, "topic")
    (gate,) = world.run.gates
    assert (gate.state, gate.by, gate.note) == (GateState.APPROVED, "hubot", "looks right")
    assert gate.diff == ""
    assert world.state() is RunState.WAITING_CI
    assert world.run.attempts[-1].result is Result.PATCH_APPLIED
    assert "**Approved** by hubot" in world.comments[0].body


def test_the_whole_change_goes_out_however_long_it_is():
    long = DIFF.replace("+x = 2", "+x = '" + "y" * 70_000 + "'")
    world = held(diffs=[long])
    world.play(Wish.APPROVE, by="hubot")
    assert world.made(effects.BuildCommit)[0].diff == long


def test_no_backend_and_no_proof_is_run_again_for_a_yes():
    world = held()
    world.play(Wish.APPROVE, by="hubot")
    assert len(world.made(effects.RunBackend)) == len(world.made(effects.Verify)) == 1


def test_two_yeses_push_once():
    world = held()
    gate = world.gate
    world.play(Wish.APPROVE, by="hubot", gate=gate)
    world.pull = a_pull(head=PUSHED)
    world.play(Wish.APPROVE, by="octo", gate=gate)
    assert len(world.made(effects.Push)) == 1
    assert world.run.gates[0].by == "hubot"


@pytest.mark.parametrize("wish", [Wish.APPROVE, Wish.REJECT])
@pytest.mark.parametrize(
    "word",
    [
        pytest.param({"gate": "run-0-2"}, id="another gate"),
        pytest.param({"gate": ""}, id="no gate"),
        pytest.param({"asked_at": OTHER}, id="another head"),
    ],
)
def test_a_word_counts_only_for_the_gate_and_head_at_which_it_was_given(wish, word):
    world = held()
    before = world.run
    assert world.play(wish, by="hubot", **word) == ["ReadFacts", "EndPass"]
    assert world.made(effects.Push) == []
    assert world.run == before


def test_a_yes_that_comes_after_another_change_took_the_place_lets_nothing_out():
    """The person saw the first change; what waits now nobody has looked at."""
    world = held()
    seen = world.gate
    world.diffs = [DIFF.replace("+x = 2", "+x = 3")]
    world.play(Wish.FIX, by="mona")
    world.play(Wish.APPROVE, by="hubot", gate=seen)
    assert world.made(effects.Push) == []
    assert world.gate not in {"", seen}


@pytest.mark.parametrize("wish", [Wish.APPROVE, Wish.REJECT])
def test_where_nothing_waits_a_word_changes_nothing(wish):
    fresh = World()
    assert fresh.play(wish, by="hubot") == ["ReadFacts"]
    waiting = World(verdicts=[False])
    waiting.play()
    state, attempts = waiting.state(), waiting.run.attempts
    assert waiting.play(wish, by="hubot") == ["ReadFacts", "EndPass"]
    assert (waiting.state(), waiting.run.attempts) == (state, attempts)


def test_a_push_that_is_refused_after_the_yes_asks_a_person():
    world = held(outcomes={effects.Push: effects.Refused("the branch is protected")})
    world.play(Wish.APPROVE, by="hubot")
    assert world.state() is RunState.WAITING_PERSON
    assert "the branch is protected" in world.comments[0].body


def test_an_older_yes_does_not_sign_a_later_change():
    world = held(outcomes={effects.Push: effects.Refused("the branch is protected")})
    world.play(Wish.APPROVE, by="hubot")
    world.later(60)
    world.outcomes, world.steps = {}, (a_step(),)
    world.play(Wish.FIX, by="mona")
    assert world.state() is RunState.WAITING_CI
    assert "Approved-By" in world.made(effects.BuildCommit)[0].message
    assert "Approved-By" not in world.made(effects.BuildCommit)[1].message
    assert "Approved" not in world.comments[-1].body


# --- no -----------------------------------------------------------------------------------------


def test_a_no_ends_the_run_with_its_reason():
    world = held()
    world.play(Wish.REJECT, "it hides <!-- regreen attempt=9 --> the flaw", by="hubot")
    assert world.state() is RunState.GAVE_UP
    assert world.run.reason.startswith("hubot rejected the change: it hides")
    (gate,) = world.run.gates
    assert (gate.state, gate.by, gate.diff) == (GateState.REJECTED, "hubot", "")
    assert world.run.choices[-1].strategy is Strategy.GIVE_UP
    assert "giving up on `audit`" in world.comments[0].body.partition("\n")[0]
    assert "hubot rejected the change" in world.comments[0].body
    assert "attempt=9 -->" in world.comments[0].body
    assert "<!-- regreen attempt=9" not in world.comments[0].body
    world.later(1000)
    assert world.play() == ["ReadFacts"]
    assert world.made(effects.Push) == []


# --- void ---------------------------------------------------------------------------------------


def test_a_push_voids_the_gate_and_the_next_run_has_another():
    world = held()
    seen = world.gate
    world.pull = a_pull(head=OTHER)
    world.play()
    assert (world.state(), world.run.gates[0].state) == (RunState.SUPERSEDED, GateState.VOID)
    assert world.run.gates[0].diff == ""
    assert "went on without it" in world.comments[0].body
    world.play(Wish.APPROVE, by="hubot", gate=seen, asked_at=HEAD)
    assert world.made(effects.Push) == []
    world.play()
    assert world.run.gate is not None
    assert (world.run.gate.head, world.run.gate.id == seen) == (OTHER, False)
    world.play(Wish.APPROVE, by="hubot", gate=seen, asked_at=HEAD)
    assert world.made(effects.Push) == []


@pytest.mark.parametrize("wish", [Wish.APPROVE, Wish.REJECT])
def test_a_word_that_meets_a_new_head_supersedes_the_run(wish):
    world = held()
    gate = world.gate
    world.pull = a_pull(head=OTHER)
    world.play(wish, by="hubot", gate=gate, asked_at=HEAD)
    assert world.state() is RunState.SUPERSEDED
    assert world.run.gates[0].state is GateState.VOID
    assert world.made(effects.Push) == []


def test_green_voids_the_gate():
    world = held()
    world.checks = (a_check("audit", CheckState.PASSED),)
    world.play()
    assert (world.state(), world.run.gates[0].state) == (RunState.GREEN, GateState.VOID)
    world.play(Wish.APPROVE, by="hubot")
    assert world.made(effects.Push) == []


@pytest.mark.parametrize("closed", [True, False], ids=["close", "stop"])
def test_a_close_and_a_stop_void_the_gate(closed):
    world = held()
    world.pull = a_pull(open=not closed)
    world.play(Wish.LOOK if closed else Wish.STOP, "mona asked")
    assert world.run.ended
    assert world.run.gates[0].state is GateState.VOID


def test_to_ask_for_another_try_voids_the_gate_and_begins_anew():
    world = held()
    world.later(60)
    world.diffs = [DIFF.replace("+x = 2", "+x = 3")]
    world.play(Wish.FIX, by="mona")
    first, second = world.run.gates
    assert (first.state, first.diff) == (GateState.VOID, "")
    assert (second.state, second.asked_by) == (GateState.PENDING, "mona")
    assert "+x = 3" in second.diff
    assert [one.number for one in world.run.attempts] == [1, 2]
    assert "is void" not in world.comments[1].body, "this one waits"


def test_to_ask_while_other_checks_run_voids_the_gate_at_once():
    world = held()
    world.checks = (a_check("audit", CheckState.PENDING),)
    world.play(Wish.FIX, by="mona")
    assert world.run.gates[0].state is GateState.VOID
    assert world.state() is RunState.WAITING_CI
    world.checks = (a_check("audit"),)
    world.play()
    assert world.run.gate is not None
    assert world.run.gate.asked_by == "mona"


def test_a_look_leaves_the_gate_alone():
    world = held()
    for checks in [world.checks, (*world.checks, a_check("slow", CheckState.PENDING))]:
        world.checks = checks
        world.later(600)
        assert world.play() == ["ReadFacts", "EndPass"]
        assert world.run.gate is not None
    assert world.wakes == [DAY_S]


# --- who may answer -----------------------------------------------------------------------------


def answered_by(world: World, login: str):
    event = GateAnswered(PULL, world.gate, approved=True, sha=HEAD, by=login)
    facts = EventFacts(world.now, world.pull, world.newest, "admin")
    return handlers.decide(event, facts).verdict


@pytest.mark.parametrize("looks", [0, 1])
def test_who_asked_for_the_try_cannot_let_it_out_whatever_pass_prepared_it(looks):
    world = a_world(verdicts=[False] * looks)
    world.play(Wish.FIX, by="Mona")
    for _ in range(looks):
        world.later(1000)
        world.play()
    assert isinstance(answered_by(world, "mona"), Ignore)
    assert isinstance(answered_by(world, "hubot"), Judge)


def test_who_asked_before_a_push_cannot_let_out_what_came_of_it():
    world = a_world(pull=a_pull(head=OTHER))
    world.play(Wish.STOP)
    world.play(Wish.FIX, by="mona")
    world.pull = a_pull()
    world.play()
    world.play()
    assert world.run.gate is not None
    assert isinstance(answered_by(world, "mona"), Ignore)


# --- reminder and end ---------------------------------------------------------------------------


def test_a_gate_reminds_once_and_then_expires():
    world = held()
    world.later(DAY_S - 1)
    assert world.play() == ["ReadFacts", "EndPass"]
    world.later(1)
    assert world.play() == ["ReadFacts", "Comment", "EndPass"]
    assert "a proved change still waits" in world.comments[1].body
    assert f"`/regreen approve {HEAD[:10]}`" in world.comments[1].body
    assert world.wakes == [DAY_S, 6 * DAY_S]
    for _ in range(5):
        world.later(DAY_S)
        assert world.play() == ["ReadFacts", "EndPass"]
    assert len(world.comments) == 2
    assert world.run.gate is not None
    world.later(DAY_S)
    world.play()
    assert (world.state(), world.run.gates[0].state) == (RunState.GAVE_UP, GateState.EXPIRED)
    until = NOON + timedelta(days=7)
    assert world.run.reason == f"nobody approved the change until {until:%Y-%m-%d %H:%M} UTC"
    assert "giving up on `audit`" in world.comments[0].body.partition("\n")[0]
    assert len(world.comments) == 2
    assert world.play() == ["ReadFacts"]


def test_an_expired_gate_takes_no_word():
    world = held(policy=a_policy(approvals=ApprovalPolicy(expire_s=60.0)))
    gate = world.gate
    assert world.wakes == [60.0]
    world.later(60)
    world.play()
    world.play(Wish.APPROVE, by="hubot", gate=gate)
    assert world.made(effects.Push) == []


def test_a_yes_after_the_end_that_no_pass_has_seen_yet_lets_nothing_out():
    world = held()
    world.later(8 * DAY_S)
    world.play(Wish.APPROVE, by="hubot")
    assert world.made(effects.Push) == []
    assert world.run.gates[0].state is GateState.EXPIRED
